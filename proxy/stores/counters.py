"""What a counter counts in: a gauge, a window that slides, or a day or month of the calendar.

`MemoryStore` owns one of these for each counter. Amounts are whole numbers; `now` is monotonic, in microseconds.
None of them knows what it counts, for whom, or what it may reach.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final, final

from proxy.team import Window

MICROSECONDS: Final = 1_000_000  # of a second
_SLIDING_SECONDS: Final[dict[str, int]] = {"second": 1, "minute": 60, "hour": 3600}

# How long until a take can pass. Ordered, so that the longest of several is their maximum.
FITS: Final = -1.0
UNKNOWN: Final = 0.0  # a full gauge has room when somebody settles, and nobody knows when
NEVER: Final = inf


class Counter:
    """One of the three below.

    Attributes:
        bucket: names what is counted now; another one after a window has moved on. What is taken is taken in it.
    """

    __slots__ = ("bucket",)

    def __init__(self, bucket: int) -> None:
        self.bucket = bucket

    def used(self, now: int) -> int:
        raise NotImplementedError

    def take(self, amount: int, ceiling: int, now: int) -> bool:
        """Whether there was room; then it is taken."""
        raise NotImplementedError

    def settle(self, bucket: int, taken: int, used: int) -> None:
        """Replace what was taken in that bucket by what was used."""
        raise NotImplementedError

    def lapse(self, taken: int) -> None:
        """Nobody will settle it any more.

        A window keeps what was reserved: nobody will say what was used, the upstream bills it all the same, and the
        window forgets it by itself.
        """

    def wait(self, amount: int, ceiling: int, now: int) -> float:
        """Seconds until that much has room; or FITS, or UNKNOWN."""
        raise NotImplementedError

    def idle(self, now: int) -> bool:
        """Whether a new counter would say the same."""
        raise NotImplementedError


def counter_of(window: Window | None, now: int, time: Callable[[], float]) -> Counter:
    """A new counter. `time` gives unix seconds."""
    if window is None:
        return Gauge()
    if window in _SLIDING_SECONDS:
        return Sliding(_SLIDING_SECONDS[window], now)
    return Calendar(time, month=window == "month")


@final
class Gauge(Counter):
    """What is held now. Comes back when settled, or when its lease runs out."""

    __slots__ = ("level",)

    def __init__(self) -> None:
        super().__init__(0)
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

    def lapse(self, taken: int) -> None:
        self.level -= taken  # whatever held it is gone

    def wait(self, amount: int, ceiling: int, now: int) -> float:
        return FITS if self.level + amount <= ceiling else UNKNOWN

    def idle(self, now: int) -> bool:
        return self.level == 0


@final
class Sliding(Counter):
    """The last `length`, estimated from two buckets: all of the current one, the unexpired part of the previous.

    A fixed window lets twice the ceiling through around its border at once; this one lets the second
    ceiling trickle in as the first one ages, as a token bucket would. Integer microseconds, so that the
    wait it names is exact; monotonic, so that a stepped wall clock neither empties nor freezes it. A bucket's name is
    the moment that it began.
    """

    __slots__ = ("_length", "current", "previous")

    def __init__(self, seconds: int, now: int) -> None:
        super().__init__(now)
        self._length = seconds * MICROSECONDS
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
            return FITS
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
        return (age - self._age(now) + 1) / MICROSECONDS

    def idle(self, now: int) -> bool:
        return now - self.bucket >= 2 * self._length


@final
class Calendar(Counter):
    """One UTC day or month: starts from nothing when the next begins, as a bill does.

    The only counter by the wall clock. A clock stepped back over midnight begins the earlier day afresh;
    keeping the later one instead would lock a team out for as long as the clock had been wrong. A bucket's name is
    its first unix second.
    """

    __slots__ = ("_end", "_month", "_time", "current")

    def __init__(self, time: Callable[[], float], *, month: bool) -> None:
        super().__init__(0)
        self._time = time
        self._month = month
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
        return FITS if self.used(now) + amount <= ceiling else self._end - self._time()

    def idle(self, now: int) -> bool:
        return not self.bucket <= self._time() < self._end
