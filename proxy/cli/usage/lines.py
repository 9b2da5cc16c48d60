"""Lines of the usage log for a person: which to show, and how one reads.

`weir usage` picks and prints through it. A line that is no record is complained of, never passed over: hiding what
cannot be read would hide money. Names in a record are strangers' text, and cannot drive the terminal.
"""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from proxy.record import Pricing, UsageRecord
from proxy.usage import AttemptRecord, Outcome, UsageState

OUTCOME_STYLES = {
    Outcome.COMPLETED: "green",
    Outcome.REFUSED: "yellow",
    Outcome.UPSTREAM_FAILED: "bold red",
    Outcome.UPSTREAM_BROKE: "red",
    Outcome.CLIENT_GONE: "magenta",
    Outcome.LOST: "bold red reverse",
}


class Filter(msgspec.Struct, frozen=True):
    """Which lines to show."""

    team: str | None
    model: str | None  # a shell pattern

    def __call__(self, line: bytes) -> bool:
        record = _decode(line)
        if record is None:
            return True  # to be complained of
        if self.team is not None and record.team != self.team:
            return False
        return self.model is None or fnmatchcase(record.model or "", self.model)


def _decode(line: bytes) -> UsageRecord | None:
    try:
        return msgspec.json.decode(line, type=UsageRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def ended(line: bytes) -> float:
    """When its exchange ended, in unix seconds; 0 for what is no record."""
    record = _decode(line)
    return 0.0 if record is None else datetime.fromisoformat(record.time).timestamp() + record.total_ms / 1000


def show_raw(line: bytes) -> None:
    typer.echo(line, nl=False)


class Readable:
    """Shows a line of the log to a person; in colour only on a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def show(self, line: bytes) -> None:
        record = _decode(line)
        if record is None:
            typer.echo(f"not a usage record: {printable(line[:200].decode(errors='replace').rstrip())}", err=True)
            return
        with self._console.capture() as rendered:  # rich would end us with status 1 when a pipe closes
            self._console.print(text_of(record))
        typer.echo(rendered.get(), nl=False)


def text_of(record: UsageRecord) -> Text:
    """One exchange in one line: when, how it ended, who, what, where, how long, what it used."""
    style = OUTCOME_STYLES[record.outcome]
    parts = [
        (record.time[:19].replace("T", " ") + "Z", "dim"),
        (f"{record.outcome:<15} {record.status or '-':>3}", style),
        (f"{record.team or '-'}/{record.subject or '-'}", "cyan"),
        (f"{record.operation} {record.model or '-'}", "bold"),
        (
            f"{record.endpoint} ({record.region})" if record.endpoint else "no endpoint",
            "" if record.endpoint else "dim",
        ),
    ]
    if record.reason:
        parts.append((record.reason, style))
    if len(record.attempts) > 1:
        tries = ", ".join(f"{attempt.endpoint} {_result(attempt)}" for attempt in record.attempts)
        parts.append((f"{len(record.attempts)} attempts: {tries}", "yellow"))
    first = "-" if record.first_byte_ms is None else _duration(record.first_byte_ms)
    parts.append((f"first {first} total {_duration(record.total_ms)}", ""))
    parts.append((_used(record), "blue"))
    parts.append((_charged(record), "bold red" if record.pricing is Pricing.UNPRICED else "green"))
    return Text("  ").join(Text(printable(text), style) for text, style in parts if text)


def _used(record: UsageRecord) -> str:
    usage = record.usage
    if usage is None:
        return ""
    counts = {
        "in": usage.input_tokens,
        "cached": usage.cached_tokens,
        "out": usage.output_tokens,
        "thoughts": usage.thought_tokens,
        "images": usage.images,
    }
    text = " ".join(f"{name} {count}" for name, count in counts.items() if count)
    return text + " (partial)" if record.usage_state is UsageState.PARTIAL else text


def _charged(record: UsageRecord) -> str:
    """What it costs us and, where that is another amount, what its team pays. Nothing for what is free."""
    if record.pricing is Pricing.UNPRICED:
        return "unpriced"
    cost, price = _money(record.cost, record.cost_currency), _money(record.price, record.price_currency)
    text = cost if price == cost else " ".join(filter(None, (cost, price and f"for {price}")))
    return f"{text} (estimated)" if record.pricing is Pricing.ESTIMATED else text


def _money(amount: str | None, currency: str | None) -> str:
    """Short, for a glance: four decimals, or two digits of what is less than a cent."""
    try:
        value = Decimal(amount or 0)
    except InvalidOperation:
        return f"{amount} {currency}"
    if not value:
        return ""
    text = f"{value:,.4f}" if value >= Decimal("0.01") else f"{value:.{max(4, 1 - value.adjusted())}f}"
    return f"${text}" if currency == "USD" else f"{text} {currency}"


def _result(attempt: AttemptRecord) -> str:
    return attempt.error or str(attempt.status or "unfinished")


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.0f}ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f}s"


def printable(text: str) -> str:
    """A model's name or a path is a stranger's text; escape sequences in it must not reach the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
