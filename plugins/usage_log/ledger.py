"""What the usage log does for an exchange: lets it in, opens a line of it before each attempt, closes it at its end.

`UsageLog` is the plugin around it. An exchange is let in while its end can be written down for sure. Its opening stands
in the write-ahead file, where its record takes that one's place; the writer takes it on from there. An ordinary end has
no record but its line.
"""

from collections.abc import Awaitable, Callable
from typing import final

from structlog.typing import FilteringBoundLogger

from plugins.usage_log.charging import charge_of, usual_charge
from plugins.usage_log.ending import ending_of, is_ordinary
from plugins.usage_log.forms import Forms
from plugins.usage_log.logger import RecordLogger
from plugins.usage_log.opening import opening_of
from plugins.usage_log.record import Form
from plugins.usage_log.write_ahead import WriteAhead
from plugins.usage_log.writer import Writer
from proxy import Attempt, Clock, Exchange, ExchangeNext, Prices, Services, put_charge


@final
class Ledger:
    """Of one usage log. All on the loop; nothing here waits but `hold`."""

    def __init__(self, ahead: WriteAhead, writer: Writer, records: RecordLogger, services: Services) -> None:
        self._ahead = ahead
        self._writer = writer
        self._records = records
        self._may_skip: bool = records.is_bare
        self._clock: Clock = services.clock
        self._prices: Prices = services.prices
        self._log: FilteringBoundLogger = services.log
        self._forms = Forms(services.teams)
        self._opened: dict[str, Form] = {}  # by id: whose line is an opening

    def unready(self) -> str | None:
        """Why records cannot be kept just now."""
        if self._writer.error is not None:
            return f"the usage log cannot be written: {self._writer.error}"
        if self._ahead.error is not None:
            return f"the usage log's write-ahead file has no room: {self._ahead.error}"
        return f"{self._writer.queued} records wait for a disk that hangs" if self._writer.full else None

    async def hold(
        self, exchange: Exchange, call_next: ExchangeNext, make_room: Callable[[Exchange], Awaitable[None]]
    ) -> None:
        """Run the rest of the exchange, and write down how it ended. `make_room` lets it in where that takes a wait."""
        if not self.enter_at_once():
            await make_room(exchange)
        try:
            await call_next(exchange)
        finally:
            self.close(exchange)

    def enter_at_once(self) -> bool:
        """Let an exchange in; `close` must follow. False where records cannot be kept, or room has to be made first."""
        return self.unready() is None and self._ahead.enter_at_once()

    def open(self, attempt: Attempt) -> None:
        """Raises OSError: the attempt must not be sent."""
        exchange = attempt.exchange
        # Made anew for another attempt: what came of the one before is in it.
        form = self._opened[exchange.id] = self._forms.find(exchange)
        kind, line = opening_of(form, attempt)
        if not self._ahead.put(exchange.id, line, kind):
            raise OSError("no room in the write-ahead file")

    def close(self, exchange: Exchange) -> None:
        """Price and write the record, whatever became of the exchange."""
        try:
            ended = exchange.ended
            form = self._opened.get(exchange.id)
            if form is not None:
                del self._opened[exchange.id]
            if form is None or not form.fits(exchange):
                form = self._forms.find(exchange)
            if ended is None:
                ended = self._clock.monotonic()
            if not (self._may_skip and self._write_line(form, exchange, ended)):
                self._write_record(form, exchange, ended)
        finally:
            self._ahead.leave()

    def _write_line(self, form: Form, exchange: Exchange, ended: float) -> bool:
        """False: it is no ordinary one."""
        usage = exchange.usage
        if usage is None or not is_ordinary(form, exchange):
            return False
        try:
            charge = usual_charge(form, usage, self._prices)
            line = None if charge is None else ending_of(form, exchange, ended, charge)
        except Exception:  # ours, or a plugin put there what does not belong: a record takes anything
            self._log.exception("usage log: no line could be made, but of the whole record", record=exchange.id)
            return False
        if line is None:
            return False
        exchange.charge = charge
        self._writer.write(exchange.id, line)
        return True

    def _write_record(self, form: Form, exchange: Exchange, ended: float) -> None:
        record = form.fill(exchange, ended)
        charge = exchange.charge = charge_of(record, self._prices, self._log)
        put_charge(record, charge)
        self._records.write(record)
