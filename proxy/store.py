"""Shared counters in two verbs: `take` before the work, `settle` when its true size is known.

Quotas use it; `stores/` implements it. All or nothing: a take over several counters (a team and its
parents) grants all of them or none. A grant is a lease: what is not settled in time comes back by itself,
so that a crash leaks nothing. Implementations take time from the clock they are given.

A store that has its counters at hand answers at once, one that must ask elsewhere returns what to await: quotas are
asked several times an exchange, and must not pay for a wait that there is not.
"""

from collections.abc import Awaitable, Sequence
from typing import Protocol, final

from proxy.team import Window


@final
class Take:
    """`amount` of one counter, which may not go above `ceiling` in its window. A fact: it does not change.

    Attributes:
        counter: such as "team/studio/tokens/minute".
        window: None is a gauge (concurrency): what is taken stays taken until settled or expired.
    """

    __slots__ = ("amount", "ceiling", "counter", "window")

    def __init__(self, counter: str, amount: int, ceiling: int, window: Window | None) -> None:
        self.counter = counter
        self.amount = amount
        self.ceiling = ceiling
        self.window = window

    def __repr__(self) -> str:
        return f"Take({self.counter!r}, {self.amount}, {self.ceiling}, {self.window!r})"


class Grant:
    """What the store let us take, to be settled once. Each store makes its own kind, and knows the rest by it."""

    __slots__ = ("takes",)

    def __init__(self, takes: tuple[Take, ...]) -> None:
        self.takes = takes


@final
class Denied:
    """Nothing was taken.

    Attributes:
        take: the one whose counter had no room.
        used: of that counter, by now.
        retry_after: seconds until the same take can pass; None: a gauge, or never (amount > ceiling).
    """

    __slots__ = ("retry_after", "take", "used")

    def __init__(self, take: Take, used: int, retry_after: float | None) -> None:
        self.take = take
        self.used = used
        self.retry_after = retry_after


class Store(Protocol):
    """Counters shared by everything that enforces the same limits."""

    def take(self, takes: Sequence[Take], lease_seconds: float) -> Grant | Denied | Awaitable[Grant | Denied]:
        """Take all of `takes`, or none and say which one had no room."""

    def settle(self, grant: Grant, amounts: dict[str, int]) -> Awaitable[None] | None:
        """Replace what was taken by what was used, counter by counter (absent: 0 used).

        Once per grant; a second call, or one after the lease ran out, changes nothing. `amounts` may
        exceed what was taken: the overshoot is counted.
        """

    async def used(self, take: Take) -> int:
        """How much of the counter is taken or used now; for `/status` and `weir explain`."""
