"""Counters of one process: the default store, without a single suspension.

Quotas call it through the `Store` protocol; the composition root makes one for the life of the process.
Its methods are async only because the protocol is: none of them ever yields to the loop, so a take over
several counters is atomic without a lock. It refuses to share: two processes with a `MemoryStore` each
grant their own limits (`--workers` needs a shared store).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from operator import itemgetter

from proxy.plugin import Clock
from proxy.store import Denied, Grant, Take
from proxy.team import Window

_MICROSECONDS = 1_000_000
_SLIDING_SECONDS: dict[Window, int] = {"second": 1, "minute": 60, "hour": 3600}

_SWEEP_FROM = 1024  # counters; below it, looking for idle ones is not worth the time

# How long until a take can pass. Ordered, so that the longest of several is their maximum.
_FITS = -1.0
_UNKNOWN = 0.0  # a full gauge has room when somebody settles, and nobody knows when
_NEVER = inf


class _Gauge:
    """What is held now. Comes back when settled, or when its lease runs out."""

    __slots__ = ("bucket", "level")

    def __init__(self) -> None:
        self.bucket = 0
        self.level = 0

    def used(self) -> int:
        return self.level

    def add(self, amount: int) -> None:
        self.level += amount

    def settle(self, bucket: int, taken: int, used: int) -> None:
        self.level -= taken  # whatever was used: the work is over

    def lapse(self, bucket: int, taken: int) -> None:
        self.level -= taken

    def wait(self, amount: int, ceiling: int) -> float:
        return _FITS if self.level + amount <= ceiling else _UNKNOWN

    def idle(self) -> bool:
        return self.level == 0


class _Sliding:
    """The last `length`, estimated from two buckets: all of the current one, the unexpired part of the previous.

    A fixed window lets twice the ceiling through around its border at once; this one lets the second
    ceiling trickle in as the first one ages, as a token bucket would. Integer microseconds, so that the
    wait it names is exact; monotonic, so that a stepped wall clock neither empties nor freezes it.
    """

    __slots__ = ("_length", "_monotonic", "bucket", "current", "previous")

    def __init__(self, monotonic: Callable[[], float], seconds: int) -> None:
        self._monotonic = monotonic
        self._length = seconds * _MICROSECONDS
        self.bucket = int(monotonic() * _MICROSECONDS)  # when the current bucket began
        self.current = 0
        self.previous = 0

    def _age(self) -> int:
        """Microseconds into the current bucket, after turning to it."""
        now = int(self._monotonic() * _MICROSECONDS)
        age = now - self.bucket
        length = self._length
        if age >= length:
            if age < 2 * length:
                self.previous = self.current
                self.bucket += length
            else:
                self.previous = 0
                self.bucket = now
            self.current = 0
            age = now - self.bucket
        return age

    def used(self) -> int:
        age = self._age()
        if not self.previous:
            return self.current
        return self.current - (-self.previous * (self._length - age) // self._length)  # rounded up

    def add(self, amount: int) -> None:
        self.current += amount

    def settle(self, bucket: int, taken: int, used: int) -> None:
        if bucket == self.bucket:
            self.current += used - taken
        elif bucket == self.bucket - self._length:
            self.previous += used - taken

    def lapse(self, bucket: int, taken: int) -> None:
        """Keeps it: see `MemoryStore._lapse`."""

    def wait(self, amount: int, ceiling: int) -> float:
        if self.used() + amount <= ceiling:
            return _FITS
        length = self._length
        room = ceiling - amount - self.current
        if room >= 0:
            # Passes in this bucket: solve previous * (length - age) <= room * length for age.
            age = length - room * length // self.previous
        else:
            # Passes in the next one, where what is current now is the previous.
            room = ceiling - amount
            age = length + (length - room * length // self.current if self.current > room else 0)
        # One more microsecond, because seconds as floats may round down on their way back here.
        return (age - self._age() + 1) / _MICROSECONDS

    def idle(self) -> bool:
        return int(self._monotonic() * _MICROSECONDS) - self.bucket >= 2 * self._length


class _Calendar:
    """One UTC day or month: starts from nothing when the next begins, as a bill does.

    The only counter by the wall clock. A clock stepped back over midnight begins the earlier day afresh;
    keeping the later one instead would lock a team out for as long as the clock had been wrong.
    """

    __slots__ = ("_end", "_month", "_time", "bucket", "current")

    def __init__(self, time: Callable[[], float], *, month: bool) -> None:
        self._time = time
        self._month = month
        self.bucket = 0  # unix seconds, its first
        self._end = 0  # unix seconds, the first of the next
        self.current = 0

    def used(self) -> int:
        now = self._time()
        if not self.bucket <= now < self._end:
            start = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            if self._month:
                start = start.replace(day=1)
                end = (start + timedelta(days=31)).replace(day=1)
            else:
                end = start + timedelta(days=1)
            self.bucket, self._end, self.current = int(start.timestamp()), int(end.timestamp()), 0
        return self.current

    def add(self, amount: int) -> None:
        self.current += amount

    def settle(self, bucket: int, taken: int, used: int) -> None:
        if bucket == self.bucket:
            self.current += used - taken

    def lapse(self, bucket: int, taken: int) -> None:
        """Keeps it: see `MemoryStore._lapse`."""

    def wait(self, amount: int, ceiling: int) -> float:
        return _FITS if self.used() + amount <= ceiling else self._end - self._time()

    def idle(self) -> bool:
        return not self.bucket <= self._time() < self._end


_Counter = _Gauge | _Sliding | _Calendar
_Held = list[tuple[_Counter, int, Take]]  # the counter, the bucket it was taken in, what was taken


class MemoryStore:
    """`proxy.store.Store` in a dict. One loop, one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counters: dict[tuple[str, Window | None], _Counter] = {}
        self._sweep_at = _SWEEP_FROM
        self._leases: dict[str, _Held] = {}
        self._due: list[tuple[float, str]] = []  # heap of (monotonic deadline, grant id), settled ones included
        self._serial = count(1)

    async def take(self, takes: Sequence[Take], *, lease_seconds: float) -> Grant | Denied:
        now = self._clock.monotonic()
        self._lapse(now)
        held: _Held = []
        for take in takes:
            counter = self._counters.get((take.counter, take.window)) or self._open(take)
            if take.amount < 0 or counter.used() + take.amount > take.ceiling:
                for earlier, bucket, taken in held:
                    earlier.settle(bucket, taken.amount, 0)
                if take.amount < 0:
                    raise ValueError(f"a take of {take.amount} {take.counter} would be a gift")
                return self._denied(takes)
            counter.add(take.amount)
            held.append((counter, counter.bucket, take))
        taken_at = self._clock.time()
        grant = Grant(str(next(self._serial)), tuple(takes), taken_at, taken_at + lease_seconds)
        self._leases[grant.id] = held
        heappush(self._due, (now + lease_seconds, grant.id))
        return grant

    async def settle(self, grant: Grant, amounts: Mapping[str, int]) -> None:
        self._lapse(self._clock.monotonic())
        for counter, bucket, take in self._leases.pop(grant.id, ()):
            counter.settle(bucket, take.amount, amounts.get(take.counter, 0))
        # Settled leases stay in the heap until due, which may be an hour. The event loop drops its cancelled
        # timers by the same rule (asyncio.base_events, _MIN_CANCELLED_TIMER_HANDLES_FRACTION).
        if len(self._due) > 2 * len(self._leases) + 64:
            self._due = [lease for lease in self._due if lease[1] in self._leases]
            heapify(self._due)

    async def used(self, take: Take) -> int:
        self._lapse(self._clock.monotonic())
        counter = self._counters.get((take.counter, take.window))
        return counter.used() if counter else 0

    def _open(self, take: Take) -> _Counter:
        """A new counter; drops the idle ones each time their number doubles, so that a drop costs nothing per take."""
        if len(self._counters) >= self._sweep_at:
            self._counters = {key: counter for key, counter in self._counters.items() if not counter.idle()}
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._counters))
        counter: _Counter
        if take.window is None:
            counter = _Gauge()
        elif take.window in _SLIDING_SECONDS:
            counter = _Sliding(self._clock.monotonic, _SLIDING_SECONDS[take.window])
        else:
            counter = _Calendar(self._clock.time, month=take.window == "month")
        self._counters[take.counter, take.window] = counter
        return counter

    def _lapse(self, now: float) -> None:
        """End the leases that ran out.

        A gauge comes back: whatever held it is gone. A window keeps what was reserved: nobody will say any
        more what was used, the upstream bills it all the same, and the window forgets it by itself.
        """
        while self._due and self._due[0][0] <= now:
            for counter, bucket, take in self._leases.pop(heappop(self._due)[1], ()):
                counter.lapse(bucket, take.amount)

    def _denied(self, takes: Sequence[Take]) -> Denied:
        """Name the take that has to wait longest: by then the other windows have room too."""
        take, wait = max(((take, self._wait(take)) for take in takes), key=itemgetter(1))
        counter = self._counters.get((take.counter, take.window))
        return Denied(take, counter.used() if counter else 0, wait if _UNKNOWN < wait < _NEVER else None)

    def _wait(self, take: Take) -> float:
        if take.amount > take.ceiling:
            return _NEVER
        counter = self._counters.get((take.counter, take.window))
        return counter.wait(take.amount, take.ceiling) if counter else _FITS
