"""One timer for every wait of a process, set for the earliest: a wait that ends in time costs a set's add and discard.

`Patience` and the callers' idle connections are watched. A deadline that moved later is found out when the timer rings.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Watched(Protocol):
    """Somebody who waits.

    Attributes:
        deadline: in the loop's time; may be moved later at any moment without a word.
    """

    deadline: float

    def run_out(self) -> None:
        """Its time is over; it is not watched any more."""


class Watch:
    """See the module. Of one loop."""

    __slots__ = ("_loop", "_rings_at", "_time", "_timer", "_watched")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._time: Callable[[], float] = self._loop.time
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = float("inf")

    def now(self) -> float:
        return self._time()

    def add(self, watched: Watched) -> None:
        self._watched.add(watched)
        if watched.deadline < self._rings_at:
            self._set(watched.deadline)

    def discard(self, watched: Watched) -> None:
        self._watched.discard(watched)

    def close(self) -> None:
        """Nobody is watched any more."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings_at = float("inf")
        now = self._time()
        over = [watched for watched in self._watched if watched.deadline <= now]
        self._watched.difference_update(over)
        for watched in over:
            watched.run_out()
        if self._watched:
            earliest = min(watched.deadline for watched in self._watched)
            if earliest < self._rings_at:
                self._set(earliest)
