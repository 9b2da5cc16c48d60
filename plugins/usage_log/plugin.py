"""The outermost plugin of every route: whatever becomes of an exchange, its record reaches the journal.

The loader makes it from its table in the routes file. Around each attempt it opens a line that outlives the
process, before a byte goes up; around the exchange it prices and writes the record. It refuses an exchange only
while records cannot be written: an unrecorded exchange is an unpaid one.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from plugins.usage_log.journal import Journal
from plugins.usage_log.ledger import Ledger
from plugins.usage_log.logger import record_logger
from plugins.usage_log.recovery import recover
from plugins.usage_log.write_ahead import WriteAhead
from plugins.usage_log.writer import Writer
from proxy import (
    Attempt,
    Bytes,
    Exchange,
    ExchangeNext,
    Plugin,
    Refusal,
    Seconds,
    Services,
)

REFUSED = "USAGE_LOG_UNWRITABLE"


class UsageLogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table of a usage log. `durability` says what openings and records survive."""

    path: Path | None = None  # the folder; default: `usage` in the folder of `[server] state`
    flush_every: Seconds = Seconds(0.05)
    durability: Literal["process", "power"] = "process"  # power: a sync before each attempt and after each group
    max_bytes: Bytes = Bytes(1 << 30)  # of a file; then the day goes on in another
    queue: int = 10_000  # records that may wait for a disk that hangs: 10 MB of ordinary ones


class UsageLog(Plugin):
    """One line an exchange: completed, refused, failed, left by its caller, or lost with our own process."""

    Config = UsageLogConfig

    def __init__(self, config: UsageLogConfig, services: Services) -> None:
        super().__init__(config, services)
        if config.flush_every <= 0:
            raise ValueError("flush_every: must be more than 0")
        if config.queue < 1:
            raise ValueError("queue: must be at least 1")
        if config.max_bytes < 1:
            raise ValueError("max_bytes: must be at least 1 B")
        self._clock = services.clock
        self._prices = services.prices
        self._folder = config.path or services.state / "usage"
        self._sync = config.durability == "power"
        self._journal = Journal(self._folder, services.log, sync=self._sync, max_bytes=config.max_bytes)
        self._ahead = WriteAhead(self._folder, services.clock, services.log, sync=self._sync)
        self._writer = Writer(
            self._journal,
            self._ahead,
            services,
            flush_every_seconds=config.flush_every,
            capacity=config.queue,
        )
        self._ledger = Ledger(self._ahead, self._writer, record_logger(self._writer), services)
        self._turned_away = 0

    async def start(self) -> None:
        """Mend and recover what a crash left behind. Raises OSError: without a journal nothing may start."""
        await asyncio.to_thread(self._open)
        self._writer.start()

    def _open(self) -> None:
        now = self._clock.time()
        try:
            self._journal.open(now)
            recover(self._folder, self._journal, self._prices, self.services.log, now)
            self._ahead.open()
        except OSError as error:
            self._close()
            raise OSError(error.errno, f"{error.strerror or error}: the usage log in {self._folder}") from error
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        """After a start that failed, too: where it was a reload's, the process goes on, and must not keep locks."""
        self._ahead.close()
        self._journal.close()

    async def stop(self) -> None:
        """Write everything that waits, then close."""
        await self._writer.stop()
        await self._ahead.stop()
        await asyncio.to_thread(self._journal.close)

    def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> Coroutine[Any, Any, None]:
        return self._ledger.hold(exchange, call_next, self._enter)

    async def _enter(self, exchange: Exchange) -> None:
        if self.unready() is not None:
            raise self._turn_away(exchange)
        try:
            await self._ahead.enter()
        except OSError as error:
            raise self._turn_away(exchange) from error

    def before_attempt(self, attempt: Attempt) -> Awaitable[None] | None:
        try:
            self._ledger.open(attempt)
        except OSError as error:
            raise self._refusal(attempt.exchange) from error
        return self._synced(attempt.exchange) if self._sync else None

    async def _synced(self, exchange: Exchange) -> None:
        try:
            await self._ahead.synced(exchange.id)
        except OSError as error:
            raise self._refusal(exchange) from error

    def unready(self) -> str | None:
        return self._ledger.unready()

    def _turn_away(self, exchange: Exchange) -> Refusal:
        """Has no record, for there is no room for one; counted here, and by the metrics."""
        self._turned_away += 1
        return self._refusal(exchange)

    def _refusal(self, exchange: Exchange) -> Refusal:
        message = "The gateway cannot write its usage log and takes no requests until it can."
        return exchange.refuse(503, message, reason=REFUSED, retry_after=self._writer.RETRY_SECONDS)

    async def status(self) -> Mapping[str, Any]:
        """What waits, what is on disk, and what keeps it from getting there."""
        return {
            "queued": self._writer.queued,
            "written": self._writer.written,
            "file": self._journal.name,
            "error": self.unready(),
            "turned_away": self._turned_away,
            "ahead": {"file": self._ahead.name, "lines": self._ahead.held, "bytes": self._ahead.size_bytes},
        }
