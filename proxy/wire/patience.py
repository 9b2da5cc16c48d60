"""Waits that end: one timer for all the waits of one task, one after the other.

The relay waits for pieces thousands of times in an exchange; a timeout context for each would cost more than
the piece. This keeps a single timer and moves only a deadline. Also the way to end a wait from outside, as
when the caller has left. Not for two waits at once.
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The wait ended for `reason` and not for what was awaited."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Patience:
    """One task's patience with its peers."""

    __slots__ = ("_closed_for", "_deadline", "_ended_by", "_loop", "_seconds", "_task", "_timer", "_too_late")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None  # set while it waits
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = 0.0
        self._deadline = 0.0
        self._too_late = ""  # the reason, should the wait under way run out
        self._ended_by: str | None = None  # the reason for which the wait under way was cancelled
        self._closed_for: str | None = None  # the reason for which all waits end

    async def wait(self, awaitable: Awaitable[T], seconds: float, reason: str) -> T:
        """Await at most `seconds`, or until `interrupt`. Raises Interrupted."""
        if self._closed_for is not None:
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            raise Interrupted(self._closed_for)
        self._task = task = asyncio.current_task(self._loop)
        assert task is not None
        self._seconds = seconds
        self._too_late = reason
        self.extend()
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._ended_by is None or task.uncancel():
                raise  # somebody else wants the task to end as well
            ended_by, self._ended_by = self._ended_by, None
            raise Interrupted(ended_by) from None
        finally:
            self._task = None
            if self._ended_by is not None:  # what was awaited made something else of our cancellation
                self._ended_by = None
                if task.cancelling():
                    task.uncancel()

    def extend(self, seconds: float | None = None) -> None:
        """Something moved: the wait under way begins anew, with another length if one is given."""
        if seconds is not None:
            self._seconds = seconds
        self._deadline = self._loop.time() + self._seconds

    def interrupt(self, reason: str) -> None:
        """End the wait under way, and every later one, for `reason`."""
        self._closed_for = reason
        self._end(reason)

    def close(self) -> None:
        """No more waits: let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return  # nobody waits; the next wait arms it
        if self._loop.time() < self._deadline:
            self._arm()
        else:
            self._end(self._too_late)

    def _end(self, reason: str) -> None:
        if self._task is not None and self._ended_by is None:
            self._ended_by = reason
            self._task.cancel()
