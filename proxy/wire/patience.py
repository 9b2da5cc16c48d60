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

    __slots__ = ("_deadline", "_interrupted", "_loop", "_reason", "_task", "_timer", "_why")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None  # set while it waits
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._why = ""  # what running out means for the wait under way
        self._reason: str | None = None  # why the wait under way was cancelled
        self._interrupted: str | None = None  # why all waits end

    async def wait(self, awaitable: Awaitable[T], seconds: float, why: str) -> T:
        """Await at most `seconds`, or until `interrupt`. Raises Interrupted."""
        self._task = task = asyncio.current_task()
        assert task is not None
        self._deadline = self._loop.time() + seconds
        self._why = why
        if self._interrupted is not None:
            self._task = None
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            raise Interrupted(self._interrupted)
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()
        try:
            return await awaitable
        except asyncio.CancelledError:
            reason, self._reason = self._reason, None
            if reason is None:
                raise
            task.uncancel()
            raise Interrupted(reason) from None
        finally:
            self._task = None

    def interrupt(self, reason: str) -> None:
        """End the wait under way, and every later one, for `reason`."""
        self._interrupted = reason
        self._cancel(reason)

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
            self._cancel(self._why)

    def _cancel(self, reason: str) -> None:
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()
