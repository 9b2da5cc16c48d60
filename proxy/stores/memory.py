"""Counters of one process: the default store, without a single suspension.

Quotas call it through the `Store` protocol; the composition root makes one for the life of the process.
It answers at once and never yields to the loop, so a take over several counters is atomic without a lock.
It refuses to share: two processes with a `MemoryStore` each grant their own limits (`--workers` needs a
shared store).
"""

from collections.abc import Sequence
from math import inf
from operator import itemgetter
from typing import Final, final, get_args

from proxy.plugin import Clock
from proxy.store import Denied, Grant, Store, Take
from proxy.stores.counters import FITS, MICROSECONDS, NEVER, UNKNOWN, Counter, counter_of
from proxy.team import Window

_SWEEP_FROM: Final = 1024  # counters; below it, looking for idle ones is not worth the time
_LAPSE_SECONDS: Final = 1.0  # between two looks at all leases


@final
class Lease(Grant):
    """A grant of this store's: for each of its takes the counter, and the bucket it was taken in.

    Attributes:
        deadline: monotonic seconds.
    """

    __slots__ = ("buckets", "counters", "deadline")

    def __init__(self, takes: tuple[Take, ...], deadline: float) -> None:
        super().__init__(takes)
        self.deadline = deadline
        self.counters: list[Counter] = []
        self.buckets: list[int] = []

    # No `strict`: without, `zip` is compiled to one loop; and what is denied half-way holds less than it asked for.

    def settle(self, amounts: dict[str, int]) -> None:
        for take, counter, bucket in zip(self.takes, self.counters, self.buckets):  # noqa: B905
            used = amounts.get(take.counter, 0)
            if used != take.amount or take.window is None:  # a gauge comes back whatever was used
                counter.settle(bucket, take.amount, used)

    def lapse(self) -> None:
        for take, counter in zip(self.takes, self.counters):  # noqa: B905
            counter.lapse(take.amount)


@final
class MemoryStore(Store):
    """`proxy.store.Store` in a dict. One loop, one thread."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._time = clock.time
        # By window, then by name: two look-ups of strings cost half of one by both.
        self._counters: dict[Window | None, dict[str, Counter]] = {window: {} for window in (*get_args(Window), None)}
        self._sweep_at = _SWEEP_FROM
        self._leases: set[Lease] = set()  # neither settled nor lapsed
        self._due = inf  # monotonic: when to look for leases that ran out

    def take(self, takes: Sequence[Take], lease_seconds: float) -> Grant | Denied:
        moment = self._monotonic()
        if moment >= self._due:
            self._lapse(moment)
        now = int(moment * MICROSECONDS)
        lease = Lease(tuple(takes), moment + lease_seconds)
        for take in lease.takes:
            counter = self._counters[take.window].get(take.counter)
            if counter is None:
                counter = self._open(take, now)
            if take.amount < 0 or not counter.take(take.amount, take.ceiling, now):
                lease.settle({})
                if take.amount < 0:
                    raise ValueError(f"a take of {take.amount} {take.counter} would be a gift")
                return self._denied(lease.takes, now)
            lease.counters.append(counter)
            lease.buckets.append(counter.bucket)
        self._leases.add(lease)
        if lease.deadline < self._due:  # noqa: PLR1730 - `min` is a call, and hardly ever is this true
            self._due = lease.deadline
        return lease

    def settle(self, grant: Grant, amounts: dict[str, int]) -> None:
        assert isinstance(grant, Lease), "a store settles its own grants"
        try:
            self._leases.remove(grant)
        except KeyError:
            return
        if self._monotonic() >= grant.deadline:
            grant.lapse()
        else:
            grant.settle(amounts)

    async def used(self, take: Take) -> int:
        moment = self._monotonic()
        if moment >= self._due:
            self._lapse(moment)
        counter = self._counters[take.window].get(take.counter)
        return counter.used(int(moment * MICROSECONDS)) if counter else 0

    def _open(self, take: Take, now: int) -> Counter:
        """A new counter; drops the idle ones each time their number doubles, so that a drop costs nothing per take."""
        if self._size() >= self._sweep_at:
            for counters in self._counters.values():
                for name in [name for name, counter in counters.items() if counter.idle(now)]:
                    del counters[name]
            self._sweep_at = max(_SWEEP_FROM, 2 * self._size())
        counter = self._counters[take.window][take.counter] = counter_of(take.window, now, self._time)
        return counter

    def _size(self) -> int:
        return sum(map(len, self._counters.values()))

    def _lapse(self, moment: float) -> None:
        """End the leases that ran out, and note when to look again: however many run out, once a second is enough."""
        for lease in [lease for lease in self._leases if lease.deadline <= moment]:
            self._leases.discard(lease)
            lease.lapse()
        first = min((lease.deadline for lease in self._leases), default=inf)
        self._due = max(first, moment + _LAPSE_SECONDS)

    def _denied(self, takes: tuple[Take, ...], now: int) -> Denied:
        """Name the take that has to wait longest: by then the other windows have room too."""
        take, wait = max(((take, self._wait(take, now)) for take in takes), key=itemgetter(1))
        counter = self._counters[take.window].get(take.counter)
        return Denied(take, counter.used(now) if counter else 0, wait if UNKNOWN < wait < NEVER else None)

    def _wait(self, take: Take, now: int) -> float:
        if take.amount > take.ceiling:
            return NEVER
        counter = self._counters[take.window].get(take.counter)
        return counter.wait(take.amount, take.ceiling, now) if counter else FITS
