"""Counters of one process: the default store, without a single suspension.

Quotas call it through the `Store` protocol; the composition root makes one for the life of the process.
Its methods are async only because the protocol is: none of them ever yields to the loop, so a take over
several counters is atomic without a lock. It refuses to share: two processes with a `MemoryStore` each
grant their own limits (`--workers` needs a shared store).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from math import inf
from operator import itemgetter

from proxy.plugin import Clock
from proxy.store import Denied, Grant, Take
from proxy.team import Window

_MICROSECONDS = 1_000_000
_SLIDING_SECONDS: dict[Window, int] = {"second": 1, "minute": 60, "hour": 3600}

_SWEEP_FROM = 1024  # counters; below it, looking for idle ones is not worth the time
_LAPSE_SECONDS = 1.0  # between two looks at all leases

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

    def used(self, now: int) -> int:
        return self.level

    def take(self, amount: int, ceiling: int, now: int) -> bool:
        if self.level + amount > ceiling:
            return False
        self.level += amount
        return True

    def settle(self, bucket: int, taken: int, used: int) -> None:
        self.level -= taken  # whatever was used: the work is over

    def wait(self, amount: int, ceiling: int, now: int) -> float:
        return _FITS if self.level + amount <= ceiling else _UNKNOWN

    def idle(self, now: int) -> bool:
        return self.level == 0


class _Sliding:
    """The last `length`, estimated from two buckets: all of the current one, the unexpired part of the previous.

    A fixed window lets twice the ceiling through around its border at once; this one lets the second
    ceiling trickle in as the first one ages, as a token bucket would. Integer microseconds, so that the
    wait it names is exact; monotonic, so that a stepped wall clock neither empties nor freezes it.
    """

    __slots__ = ("_length", "bucket", "current", "previous")

    def __init__(self, seconds: int, now: int) -> None:
        self._length = seconds * _MICROSECONDS
        self.bucket = now  # when the current bucket began
        self.current = 0
        self.previous = 0

    def _age(self, now: int) -> int:
        """Microseconds into the current bucket, after turning to it."""
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

    def used(self, now: int) -> int:
        age = self._age(now)
        if not self.previous:
            return self.current
        return self.current - (-self.previous * (self._length - age) // self._length)  # rounded up

    def take(self, amount: int, ceiling: int, now: int) -> bool:
        if self.used(now) + amount > ceiling:
            return False
        self.current += amount
        return True

    def settle(self, bucket: int, taken: int, used: int) -> None:
        if bucket == self.bucket:
            self.current += used - taken
        elif bucket == self.bucket - self._length:
            self.previous += used - taken

    def wait(self, amount: int, ceiling: int, now: int) -> float:
        if self.used(now) + amount <= ceiling:
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
        return (age - self._age(now) + 1) / _MICROSECONDS

    def idle(self, now: int) -> bool:
        return now - self.bucket >= 2 * self._length


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

    def used(self, now: int) -> int:
        time = self._time()
        if not self.bucket <= time < self._end:
            start = datetime.fromtimestamp(time, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            if self._month:
                start = start.replace(day=1)
                end = (start + timedelta(days=31)).replace(day=1)
            else:
                end = start + timedelta(days=1)
            self.bucket, self._end, self.current = int(start.timestamp()), int(end.timestamp()), 0
        return self.current

    def take(self, amount: int, ceiling: int, now: int) -> bool:
        if self.used(now) + amount > ceiling:
            return False
        self.current += amount
        return True

    def settle(self, bucket: int, taken: int, used: int) -> None:
        if bucket == self.bucket:
            self.current += used - taken

    def wait(self, amount: int, ceiling: int, now: int) -> float:
        return _FITS if self.used(now) + amount <= ceiling else self._end - self._time()

    def idle(self, now: int) -> bool:
        return not self.bucket <= self._time() < self._end


_Counter = _Gauge | _Sliding | _Calendar
_Held = Sequence[tuple[_Counter, int, Take]]  # the counter, the bucket it was taken in, what was taken

_SETTLED: tuple[float, _Held] = (_NEVER, ())


class MemoryStore:
    """`proxy.store.Store` in a dict. One loop, one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counters: dict[tuple[str, Window | None], _Counter] = {}
        self._sweep_at = _SWEEP_FROM
        self._leases: dict[str, tuple[float, _Held]] = {}  # by grant id; with the monotonic deadline
        self._due = inf  # monotonic: when to look for leases that ran out
        self._serial = count(1)

    async def take(self, takes: Sequence[Take], *, lease_seconds: float) -> Grant | Denied:
        moment = self._clock.monotonic()
        if moment >= self._due:
            self._lapse(moment)
        now = int(moment * _MICROSECONDS)
        counters = self._counters
        held: list[tuple[_Counter, int, Take]] = []
        for take in takes:
            counter = counters.get((take.counter, take.window)) or self._open(take, now)
            if take.amount < 0 or not counter.take(take.amount, take.ceiling, now):
                for earlier, bucket, taken in held:
                    earlier.settle(bucket, taken.amount, 0)
                if take.amount < 0:
                    raise ValueError(f"a take of {take.amount} {take.counter} would be a gift")
                return self._denied(takes, now)
            held.append((counter, counter.bucket, take))
        taken_at = self._clock.time()
        grant = Grant(str(next(self._serial)), tuple(takes), taken_at, taken_at + lease_seconds)
        deadline = moment + lease_seconds
        self._leases[grant.id] = (deadline, held)
        if deadline < self._due:  # noqa: PLR1730 - `min` is a call, and hardly ever is this true
            self._due = deadline
        return grant

    async def settle(self, grant: Grant, amounts: Mapping[str, int]) -> None:
        deadline, held = self._leases.pop(grant.id, _SETTLED)
        if self._clock.monotonic() >= deadline:
            _lapse(held)
            return
        for counter, bucket, take in held:
            used = amounts.get(take.counter, 0)
            if used != take.amount or take.window is None:  # a gauge comes back whatever was used
                counter.settle(bucket, take.amount, used)

    async def used(self, take: Take) -> int:
        moment = self._clock.monotonic()
        if moment >= self._due:
            self._lapse(moment)
        counter = self._counters.get((take.counter, take.window))
        return counter.used(int(moment * _MICROSECONDS)) if counter else 0

    def _open(self, take: Take, now: int) -> _Counter:
        """A new counter; drops the idle ones each time their number doubles, so that a drop costs nothing per take."""
        if len(self._counters) >= self._sweep_at:
            for key in [key for key, counter in self._counters.items() if counter.idle(now)]:
                del self._counters[key]
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._counters))
        counter: _Counter
        if take.window is None:
            counter = _Gauge()
        elif take.window in _SLIDING_SECONDS:
            counter = _Sliding(_SLIDING_SECONDS[take.window], now)
        else:
            counter = _Calendar(self._clock.time, month=take.window == "month")
        self._counters[take.counter, take.window] = counter
        return counter

    def _lapse(self, moment: float) -> None:
        """End the leases that ran out, and note when to look again: however many run out, once a second is enough."""
        for id_ in [id_ for id_, (deadline, _) in self._leases.items() if deadline <= moment]:
            _lapse(self._leases.pop(id_)[1])
        first = min((deadline for deadline, _ in self._leases.values()), default=inf)
        self._due = max(first, moment + _LAPSE_SECONDS)

    def _denied(self, takes: Sequence[Take], now: int) -> Denied:
        """Name the take that has to wait longest: by then the other windows have room too."""
        take, wait = max(((take, self._wait(take, now)) for take in takes), key=itemgetter(1))
        counter = self._counters.get((take.counter, take.window))
        return Denied(take, counter.used(now) if counter else 0, wait if _UNKNOWN < wait < _NEVER else None)

    def _wait(self, take: Take, now: int) -> float:
        if take.amount > take.ceiling:
            return _NEVER
        counter = self._counters.get((take.counter, take.window))
        return counter.wait(take.amount, take.ceiling, now) if counter else _FITS


def _lapse(held: _Held) -> None:
    """A gauge comes back: whatever held it is gone.

    A window keeps what was reserved: nobody will say any more what was used, the upstream bills it all the same, and
    the window forgets it by itself.
    """
    for counter, _, take in held:
        if isinstance(counter, _Gauge):
            counter.level -= take.amount
