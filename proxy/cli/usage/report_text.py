"""A usage report as a table for people, as CSV for a spreadsheet, or as JSON for a program.

`report.py` makes the report and hands it here. Amounts are written to their last digit in every form. Names in it
are strangers' text: they drive neither a terminal nor a spreadsheet.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, TextIO

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.usage.lines import printable
from proxy.cli.usage.report_rows import COUNTS, Report, Row
from proxy.price import fixed

AMOUNT_NAMES = ("cost", "cost_currency", "price", "price_currency")
_LEAST_PLACES = 2  # of an amount in the table, as money is read
_LISTED = 20  # below the table; a caller may ask for as many models as it likes
_HEADINGS = {
    "input_tokens": "input",
    "cached_tokens": "cached",
    "output_tokens": "output",
    "thought_tokens": "thoughts",
}
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


def show_json(report: Report, out: TextIO) -> None:
    """One document; amounts are text, so that no reader rounds them."""
    document = {
        "by": report.by,
        "rows": [_named(report.by, row) for row in report.rows],
        "totals": [_named((), row) for row in report.totals],
        "unpriced": [
            {"model": model, "operation": operation, "exchanges": count} for model, operation, count in report.unpriced
        ],
        "unanswered_attempts": [
            {"endpoint": endpoint, "model": model, "error": error, "attempts": count}
            for endpoint, model, error, count in report.unanswered
        ],
        "malformed_lines": report.reading.malformed,
        "repeated_records": report.reading.repeated,
    }
    out.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def show_csv(report: Report, out: TextIO) -> None:
    """The rows alone, without totals: a spreadsheet would add those to the rest."""
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow([*report.by, *COUNTS, *AMOUNT_NAMES])
    for row in report.rows:
        lines.writerow([*map(cell, row.group), *row.counts, *_amounts(row)])


def cell(text: str | None) -> str | None:
    """A stranger's text in a spreadsheet: what begins like a formula gets a quote before it (OWASP, CSV injection)."""
    return f"'{text}" if text is not None and text.startswith(_FORMULA_BEGINS) else text


def show_table(report: Report, out: TextIO) -> None:
    """Rows and totals, then what they leave open."""
    console = Console(file=out, highlight=False)
    table = _table(report, _whole)
    if console.is_terminal and _width(console, table) > console.width:
        table = _table(report, _short)  # of tokens; money keeps its digits
    parts: list[Table | Text] = [table, *_below(report)]
    # No number is folded: a file has no edge, and a terminal breaks what is still too long by itself.
    console.width = max(console.width, *(_width(console, part) for part in parts))
    for part in parts:
        console.print(part)


def _width(console: Console, part: Table | Text) -> int:
    return console.measure(part, options=console.options.update(max_width=1 << 16)).maximum


def _table(report: Report, written: Callable[[int], str]) -> Table:
    rows, totals = report.rows, report.totals
    # A count that is zero everywhere only pushes the others off the screen.
    shown = [number for number, _ in enumerate(COUNTS) if number == 0 or any(row.counts[number] for row in totals)]
    places = {name: _places(getattr(row, name) for row in (*rows, *totals)) for name in ("cost", "price")}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=bool(report.by), footer_style="bold")
    for number, name in enumerate(report.by):
        table.add_column(Text(name), footer="total" if number == 0 else "")
    for number in shown:
        heading = _HEADINGS.get(name := list(COUNTS)[number], name)
        table.add_column(heading, _lines(written(row.counts[number]) for row in totals), justify="right")
    for name, digits in places.items():
        footer = _lines(_amount(row, name, digits) for row in totals)
        table.add_column(name, footer, justify="right")
    for row in rows:
        group = [Text("-" if text is None else printable(text)) for text in row.group]
        counts = [written(row.counts[number]) for number in shown]
        table.add_row(*group, *counts, *(_amount(row, name, digits) for name, digits in places.items()))
    return table


def _below(report: Report) -> Iterator[Text]:
    if report.unpriced:
        yield Text("No price is known for:", style="bold red")
        for model, operation, count in report.unpriced[:_LISTED]:
            yield Text(f"  {printable(model or 'no model')}  {printable(operation)}  {count:,}")
        yield from _rest(len(report.unpriced))
    if report.unanswered:
        yield Text("Attempts without an answer, which the endpoint may have run and billed:", style="bold yellow")
        for endpoint, model, error, count in report.unanswered[:_LISTED]:
            names = (endpoint, model or "no model", error or "unfinished")
            yield Text("  ".join(("", *map(printable, names), f"{count:,}")))
        yield from _rest(len(report.unanswered))


def _rest(found: int) -> Iterator[Text]:
    if found > _LISTED:
        yield Text(f"  and {found - _LISTED:,} more, all of them in --format json")


def _whole(count: int) -> str:
    return f"{count:,}"


def _short(count: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return f"{count:,}"


def _named(by: Iterable[str], row: Row) -> dict[str, Any]:
    names = (*by, *COUNTS, *AMOUNT_NAMES)
    return dict(zip(names, (*row.group, *row.counts, *_amounts(row)), strict=True))


def _amounts(row: Row) -> tuple[str | None, ...]:
    cost, price = (None if amount is None else fixed(amount) for amount in (row.cost, row.price))
    return cost, row.cost_currency, price, row.price_currency


def _places(amounts: Iterable[Decimal | None]) -> int:
    """Decimals enough for each of them, so that a column's points stand in one line."""
    texts = [fixed(amount) for amount in amounts if amount is not None]
    return max([_LEAST_PLACES, *(len(text.partition(".")[2]) for text in texts)])


def _amount(row: Row, name: str, places: int) -> str:
    amount: Decimal | None = getattr(row, name)
    return "-" if amount is None else f"{amount:,.{places}f} {getattr(row, f'{name}_currency')}"


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(texts)
