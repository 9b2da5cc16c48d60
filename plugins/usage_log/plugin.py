"""The outermost plugin of every route: whatever becomes of an exchange, its record reaches the journal.

The loader makes it from its table in the routes file. It refuses an exchange only when records can no longer
be written and the queue of those that wait is full: an unrecorded exchange is an unpaid one.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from plugins.usage_log.journal import Journal
from plugins.usage_log.logger import record_logger
from plugins.usage_log.record import record_of
from plugins.usage_log.writer import Writer
from proxy import Exchange, ExchangeNext, Plugin, Seconds, Services


class UsageLogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table of a usage log. `durability` says what a record survives once it is written."""

    path: Path | None = None  # the folder; default: `usage` in the folder of `[server] state`
    flush_every: Seconds = Seconds(0.05)
    durability: Literal["process", "power"] = "process"  # power: fdatasync after each group
    queue: int = 10_000  # records that may wait for a disk that does not take them: 10 MB of ordinary ones


class UsageLog(Plugin):
    """One line an exchange: completed, refused, failed, left by its caller, or cut by our own shutdown."""

    Config = UsageLogConfig

    def __init__(self, config: UsageLogConfig, services: Services) -> None:
        super().__init__(config, services)
        if config.flush_every <= 0:
            raise ValueError("flush_every: must be more than 0")
        if config.queue < 1:
            raise ValueError("queue: must be at least 1")
        self._clock = services.clock
        self._journal = Journal(
            config.path or services.state / "usage", services.log, sync=config.durability == "power"
        )
        self._writer = Writer(self._journal, services, flush_every_seconds=config.flush_every, capacity=config.queue)
        self._records = record_logger(self._writer)
        self._turned_away = 0

    async def start(self) -> None:
        """Mend what a crash left behind, open today's file. Raises OSError: without a journal nothing may start."""
        await asyncio.to_thread(self._journal.open, self._clock.time())
        self._writer.start()

    async def stop(self) -> None:
        """Write everything that waits, then close."""
        await self._writer.stop()
        await asyncio.to_thread(self._journal.close)

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        if self._writer.full:
            # Has no record, for there is no room for one; counted here, and by the metrics.
            self._turned_away += 1
            raise exchange.refuse(
                503,
                "The gateway cannot write its usage log and takes no requests until it can.",
                reason="USAGE_LOG_FULL",
                retry_after=self._writer.RETRY_SECONDS,
            )
        try:
            await call_next(exchange)
        finally:
            ended = self._clock.monotonic() if exchange.ended is None else exchange.ended
            self._records.write(record_of(exchange, ended))

    async def status(self) -> Mapping[str, Any]:
        """What waits, what is on disk, and what keeps it from getting there."""
        return {
            "queued": self._writer.queued,
            "written": self._writer.written,
            "file": self._journal.name,
            "error": self._writer.error,
            "turned_away": self._turned_away,
        }
