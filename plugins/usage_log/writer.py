"""Group commit: lines wait in memory and in the write-ahead file, a background task writes them together.

The record logger hands it lines; `UsageLog` starts and stops it. A line stays until the journal says that it is
written: a full disk delays records and never drops one. What cannot be written by the end of `stop` is in the
write-ahead file, and the next start writes it.
"""

import asyncio
from typing import ClassVar, Final, final

from plugins.usage_log.journal import Journal
from plugins.usage_log.slots import Kind
from plugins.usage_log.write_ahead import WriteAhead
from proxy import Services

GROUP: Final = 256  # lines that do not wait for the pause; 100 in one sync were measured at 146 k lines a second
LAST_TRIES: Final = 5  # at stop, RETRY_SECONDS apart: long enough for a log rotation to free the disk


_ENDED: Final = Kind.ENDED


@final
class Writer:
    """The queue and the task that empties it.

    Attributes:
        written: lines on disk since the start.
        error: why the last write failed; None when it did not.
    """

    RETRY_SECONDS: ClassVar[float] = 1.0

    def __init__(
        self,
        journal: Journal,
        ahead: WriteAhead,
        services: Services,
        *,
        flush_every_seconds: float,
        capacity: int,
    ) -> None:
        self._journal = journal
        self._ahead = ahead
        self._clock = services.clock
        self._log = services.log
        self._flush_every_seconds = flush_every_seconds
        self._capacity = capacity
        self._ids: list[str] = []
        self._lines: list[bytes] = []  # of those ids
        self._unsafe: set[str] = set()  # those of them that memory alone holds
        self._some = asyncio.Event()  # a line waits
        self._in_a_hurry = False  # not to wait out the pause: a whole group waits, or we stop
        self._resting: asyncio.Future[None] | None = None  # the pause
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.written = 0
        self.error: str | None = None

    @property
    def queued(self) -> int:
        return len(self._lines)

    @property
    def full(self) -> bool:
        """Too many wait, for a disk that neither takes them nor fails."""
        return len(self._lines) >= self._capacity

    def write(self, id: str, line: bytes) -> None:
        if not self._ahead.put(id, line, _ENDED):
            self._unsafe.add(id)
        self._ids.append(id)
        self._lines.append(line)
        waiting = len(self._lines)
        if waiting == 1:
            self._some.set()
        elif waiting == GROUP and self.error is None:
            self._hurry()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="usage log writer")

    async def stop(self) -> None:
        """Write what waits. Raises nothing for a disk that will not take it."""
        self._stopping = True
        self._some.set()
        self._hurry()
        if self._task is not None:
            await asyncio.wait({self._task})
        for tries_left in reversed(range(LAST_TRIES)):
            if await self._flush() or not tries_left:
                break
            await self._clock.sleep(self.RETRY_SECONDS)
        if self._lines:
            self._leave(in_place=await asyncio.to_thread(self._ahead.in_place))

    def _leave(self, *, in_place: bool) -> None:
        """Say where the records are that no usage file holds."""
        unsafe = self._unsafe if in_place else set(self._ids)
        for exchange, line in zip(self._ids, self._lines, strict=True):
            if exchange in unsafe:
                self._log.critical("usage log: this record is in no file", record=line.decode())
        waiting = len(self._lines) - len(unsafe)
        if waiting:
            self._log.error("usage log: records wait for the next start", file=self._ahead.name, records=waiting)
        self._ids.clear()
        self._lines.clear()

    async def _run(self) -> None:
        while not self._stopping:
            await self._some.wait()
            await self._pause(self._flush_every_seconds if self.error is None else self.RETRY_SECONDS)
            await self._flush()

    async def _pause(self, seconds: float) -> None:
        """Wait that long by the clock we were given, or until somebody is in a hurry."""
        if not self._in_a_hurry:
            self._resting = asyncio.ensure_future(self._clock.sleep(seconds))
            await asyncio.wait({self._resting})
            self._resting = None

    def _hurry(self) -> None:
        self._in_a_hurry = True
        if self._resting is not None:
            self._resting.cancel()

    async def _flush(self) -> bool:
        """Write all that waits, in one go; False when it could not be and still waits."""
        count = len(self._lines)
        if not self._stopping:
            self._in_a_hurry = False
        if not count:
            return True
        try:
            await asyncio.to_thread(self._journal.append, b"".join(self._lines), self._clock.time(), self._ahead.place)
        except Exception as error:  # whatever it is, the task must live on
            self._failed(error)
            return False
        self._ahead.done(self._ids[:count])
        if self._unsafe:
            self._unsafe.difference_update(self._ids[:count])
        del self._lines[:count], self._ids[:count]
        self.written += count
        if self.error is not None:
            self.error = None
            self._log.warning("usage log: writing again", file=self._journal.name, records=count)
        if not self._lines and not self._stopping:
            self._some.clear()
        elif len(self._lines) >= GROUP:
            self._hurry()
        return True

    def _failed(self, error: Exception) -> None:
        if self.error is None:
            self._log.error(
                "usage log: cannot write; nothing is let in, records are kept",
                file=self._journal.name,
                error=repr(error),
                queued=len(self._lines),
            )
        self.error = repr(error)
