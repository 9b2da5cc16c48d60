"""Waits that end: those of one task, one after the other, each at most so long, or until something from outside.

The relay waits for pieces thousands of times in an exchange; a timeout context for each would cost more than the piece.
All waits of a process share one timer, `Watch`. Also the way to end a wait from outside, as when the caller has left.
Not for two waits at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, final

from proxy.wire.watch import Watch

T = TypeVar("T")


class Interrupted(Exception):
    """The wait ended for `reason` and not for what was awaited.

    Attributes:
        sent: said by a road: the request had gone up whole, and may be running.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = False  # no class's attribute: compiled, that would be none at all


@final
class Patience:
    """One task's patience with its peers.

    Attributes:
        reprieve: asked once, when the next `outlast` runs out: how many seconds longer it waits. None: none.
    """

    __slots__ = (
        "_closed_for",
        "_ended_by",
        "_future",
        "_seconds",
        "_task",
        "_too_late",
        "_watch",
        "deadline",
        "reprieve",
    )

    def __init__(self, watch: Watch) -> None:
        self.deadline = 0.0
        self.reprieve: Callable[[], float] | None = None
        self._watch = watch
        self._task: asyncio.Task[object] | None = None  # set while `wait` waits
        self._future: asyncio.Future[Any] | None = None  # set while `outlast` does
        self._seconds = 0.0
        self._too_late = ""  # the reason, should the wait under way run out
        self._ended_by: str | None = None  # the reason for which the wait under way was cancelled
        self._closed_for: str | None = None  # the reason for which all waits end

    async def wait(self, awaitable: Awaitable[T], seconds: float, reason: str) -> T:
        """Await at most `seconds`, or until `interrupt`. Raises Interrupted."""
        if self._closed_for is not None:
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            raise Interrupted(self._closed_for)
        self._task = task = asyncio.current_task()
        assert task is not None
        self._seconds = seconds
        self._too_late = reason
        self.deadline = self._watch.now() + seconds
        self._watch.add(self)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._ended_by is None or task.uncancel():
                raise  # somebody else wants the task to end as well
            ended_by, self._ended_by = self._ended_by, None
            raise Interrupted(ended_by) from None
        finally:
            self._task = None
            self._watch.discard(self)
            if self._ended_by is not None:  # what was awaited made something else of our cancellation
                self._ended_by = None
                if task.cancelling():
                    task.uncancel()

    async def outlast(self, future: "asyncio.Future[T]", seconds: float, reason: str) -> T:
        """As `wait`, for a future of which nobody else waits: cheaper, since it is failed and no task cancelled."""
        self.begin(future, seconds, reason)
        try:
            return await future
        finally:
            self.end()

    def begin(self, future: "asyncio.Future[T]", seconds: float, reason: str) -> None:
        """What `outlast` does before it awaits, for who cannot spare a coroutine; `end` must follow."""
        if self._closed_for is not None:
            raise Interrupted(self._closed_for)
        self._future = future
        self._seconds = seconds
        self._too_late = reason
        self.deadline = self._watch.now() + seconds
        self._watch.add(self)

    def end(self) -> None:
        self._future = self.reprieve = None
        self._watch.discard(self)

    def extend(self, seconds: float | None = None) -> None:
        """Something moved: the wait under way begins anew, with another length if one is given."""
        if seconds is not None:
            sooner = seconds < self._seconds
            self._seconds = seconds
        else:
            sooner = False
        self.deadline = self._watch.now() + self._seconds
        if sooner and (self._task is not None or self._future is not None):
            self._watch.add(self)

    def interrupt(self, reason: str) -> None:
        """End the wait under way, and every later one, for `reason`."""
        self._closed_for = reason
        self._end(reason)

    def run_out(self) -> None:
        reprieve, self.reprieve = self.reprieve, None
        seconds = reprieve() if reprieve is not None else 0.0
        if seconds > 0:
            self.deadline = self._watch.now() + seconds
            self._watch.add(self)
        else:
            self._end(self._too_late)

    def _end(self, reason: str) -> None:
        if self._future is not None:
            if not self._future.done():
                self._future.set_exception(Interrupted(reason))
        elif self._task is not None and self._ended_by is None:
            self._ended_by = reason
            self._task.cancel()
