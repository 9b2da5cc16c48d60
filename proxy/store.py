"""Shared counters in two verbs: `take` before the work, `settle` when its true size is known.

Quotas use it; `stores/` implements it. All or nothing: a take over several counters (a team and its
parents) grants all of them or none. A grant is a lease: what is not settled in time comes back by itself,
so that a crash leaks nothing. Implementations take time from the clock they are given.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from proxy.team import Window


class Take(msgspec.Struct, frozen=True):
    """`amount` of one counter, which may not go above `ceiling` in its window.

    `window` None is a gauge (concurrency): what is taken stays taken until settled or expired.
    """

    counter: str  # e.g. "team/studio/tokens/minute"
    amount: int
    ceiling: int
    window: Window | None


class Grant(msgspec.Struct, frozen=True):
    """What the store let us take."""

    id: str
    takes: tuple[Take, ...]
    taken_at: float  # unix seconds, the store's clock
    expires_at: float


class Denied(msgspec.Struct, frozen=True):
    """Nothing was taken; `take` is the counter that had no room."""

    take: Take
    used: int
    retry_after: float | None  # seconds until the same take can pass; None: a gauge, or never (amount > ceiling)


class Store(Protocol):
    """Counters shared by everything that enforces the same limits."""

    async def take(self, takes: Sequence[Take], *, lease_seconds: float) -> Grant | Denied:
        """Take all of `takes`, or none and say which one had no room."""

    async def settle(self, grant: Grant, amounts: Mapping[str, int]) -> None:
        """Replace what was taken by what was used, counter by counter (absent: 0 used).

        Once per grant; a second call, or one after the lease ran out, changes nothing. `amounts` may
        exceed what was taken: the overshoot is counted.
        """

    async def used(self, take: Take) -> int:
        """How much of the counter is taken or used now; for `/status` and `weir explain`."""
