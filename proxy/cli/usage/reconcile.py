"""`weir usage reconcile`: our log against Google's bill, by day and by what was used.

A row that only one side has is a row like any other, and a SKU that the table of names does not know is listed by
itself: nothing is left out because it does not fit. Costs are compared before credits.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.settings import DEFAULT_CONFIG, Config
from proxy.cli.usage.billing import BilledRow, BillError, read_bill
from proxy.cli.usage.lines import printable
from proxy.cli.usage.query import records_of
from proxy.cli.usage.report_text import cell
from proxy.cli.usage.scope import In, More, moment_or_exit, scope_or_exit
from proxy.cli.usage.skus import skus
from proxy.price import fixed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_HOURS = """
    SELECT time[:13], coalesce(model, 'no model'), coalesce(tier, 'standard'), line.meter, sum(amount(line.cost))
    FROM (
        SELECT time, model, tier, unnest(charges) AS line FROM records
        WHERE cost IS NOT NULL AND coalesce(tier, '') <> 'prepaid' -- paid by a commitment, which is a row of its own
    )
    GROUP BY ALL
"""
_UNPRICED = "SELECT count(*) FROM records WHERE pricing = 'unpriced'"

Place = tuple[str, str]  # a day, and what was used
Days = Callable[[str], bool]  # whether a day is to be compared

Since = Annotated[str | None, typer.Option(help="From this day or month of the bill on: 2026-11-01.", metavar="DAY")]
Until = Annotated[str | None, typer.Option(help="Before this day or month of the bill: 2026-12-01.", metavar="DAY")]


class Pair(msgspec.Struct):
    """What both sides have in one place. None: this side has nothing there."""

    ours: Decimal | None = None
    theirs: Decimal | None = None
    skus: set[str] = msgspec.field(default_factory=set)
    matched: bool = True  # False: a SKU without a name in the table

    @property
    def difference(self) -> Decimal:
        return (self.ours or Decimal(0)) - (self.theirs or Decimal(0))

    def share(self) -> Decimal | None:
        """Of what Google bills; None where that is nothing, and any difference is beyond every share."""
        return self.difference / self.theirs if self.theirs else None

    def beyond(self, tolerance: Decimal) -> bool:
        return abs(self.difference) > tolerance * abs(self.theirs or Decimal(0))


class Bill(msgspec.Struct):
    """Google's side: what the table has a name for, the days it speaks of, and the rest of the file in sum."""

    pairs: dict[Place, Pair] = {}
    days: set[str] = msgspec.field(default_factory=set)
    other_rows: int = 0  # of other services, and totals
    other_cost: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)


def reconcile(
    file: Annotated[Path, typer.Argument(help="Google's billing export, CSV or JSON.", metavar="FILE")],
    config: Config = DEFAULT_CONFIG,
    tolerance: Annotated[str, typer.Option(help="The share of Google's cost that may differ.")] = "0.01",
    output: Annotated[Literal["table", "csv"], typer.Option("--format", help="How to print it.")] = "table",
    since: Since = None,
    until: Until = None,
    paths: In = None,
    more: More = None,
) -> None:
    """Compare with Google's bill; exit status 1 where a row differs by more than the tolerance."""
    limit = _share_or_exit(tolerance)
    days = _days_or_exit(since, until)
    try:
        bill = billed(read_bill(file, skus().zone), days)
    except BillError as error:
        typer.echo(printable(str(error)), err=True)
        raise typer.Exit(1) from None
    # Not before `until`: the bill's last day ends when the next one of UTC has begun.
    scope = scope_or_exit(config, [*(paths or ()), *(more or ())], since=since)
    with records_of(scope, ("tier", "pricing", "cost", "charges")) as (connection, read):
        outside = add_ours(bill, connection, days)
        ((unpriced,),) = connection.execute(_UNPRICED).fetchall()
    for note in read.notes():
        typer.echo(f"warning: {note}", err=True)
    (_show_table if output == "table" else _show_csv)(bill, limit)
    if unpriced:
        typer.echo(f"{unpriced:,} exchanges without a price are on no side of ours", err=True)
    if outside:
        typer.echo(f"{fixed(outside)} USD of ours is of days that the bill does not speak of", err=True)
    if bill.other_rows:
        typer.echo(f"{bill.other_rows:,} rows of other services and totals: {fixed(bill.other_cost)} USD", err=True)
    if bill.credited:
        typer.echo(f"credits of {fixed(bill.credited)} USD are not taken off", err=True)
    if any(pair.beyond(limit) for pair in bill.pairs.values()):
        raise typer.Exit(1)


def _days_or_exit(since: str | None, until: str | None) -> Days:
    """Both sides have the bill's days: a day of UTC would cut its last one short."""
    first, end = moment_or_exit(since, "--since"), moment_or_exit(until, "--until")
    return lambda day: (first is None or day >= first[:10]) and (end is None or day < end[:10])


def billed(rows: Iterable[BilledRow], days: Days) -> Bill:
    """Google's side, by day and position."""
    bill = Bill()
    known = {service.lower() for service in skus().services}
    for row in rows:
        if row.day is not None and not days(row.day):
            continue
        if row.day is None or (row.service and row.service.lower() not in known):
            bill.other_rows += 1
            bill.other_cost += row.cost
            continue
        position = skus().of_sku(row.sku)
        place = (row.day, row.sku if position is None else str(position))
        pair = bill.pairs.setdefault(place, Pair(matched=position is not None))
        pair.theirs = (pair.theirs or Decimal(0)) + row.cost
        pair.skus.add(row.sku)
        bill.days.add(row.day)
        bill.credited += row.credited
    return bill


def add_ours(bill: Bill, connection: "DuckDBPyConnection", days: Days) -> Decimal:
    """Put the log's costs beside the bill's; what is of days before its first or after its last is summed up."""
    ours: defaultdict[Place, Decimal] = defaultdict(Decimal)
    for hour, model, tier, meter, cost in connection.execute(_HOURS).fetchall():
        if days(day := _billing_day(hour)):
            ours[day, str(skus().of_line(model, meter, tier))] += cost
    first, last = (min(bill.days), max(bill.days)) if bill.days else ("", "")
    outside = Decimal(0)
    for place, cost in ours.items():
        if first <= place[0] <= last:
            bill.pairs.setdefault(place, Pair()).ours = cost
        else:
            outside += cost
    return outside


@cache
def _billing_day(hour: str) -> str:
    """An hour of UTC belongs to the bill's day of its own zone, which no hour straddles."""
    return datetime.fromisoformat(f"{hour}:00").replace(tzinfo=UTC).astimezone(ZoneInfo(skus().zone)).date().isoformat()


def _share_or_exit(text: str) -> Decimal:
    try:
        share = Decimal(text)
        if share.is_finite() and share >= 0:
            return share
    except ArithmeticError:
        pass
    typer.echo(f"--tolerance: expected a share such as 0.01, found {text!r}", err=True)
    raise typer.Exit(2)


def _show_csv(bill: Bill, limit: Decimal) -> None:
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(("day", "position", "ours", "theirs", "difference", "share", "beyond", "matched", "skus"))
    for (day, position), pair in sorted(bill.pairs.items()):
        share = pair.share()
        ours, theirs = ("" if amount is None else fixed(amount) for amount in (pair.ours, pair.theirs))
        facts = (pair.beyond(limit), pair.matched, cell("; ".join(sorted(pair.skus))))
        lines.writerow((day, cell(position), ours, theirs, fixed(pair.difference), share, *facts))


def _show_table(bill: Bill, limit: Decimal) -> None:
    table = Table("day", "position", box=SIMPLE_HEAD, pad_edge=False, show_footer=True, footer_style="bold")
    total = Pair(
        ours=sum((pair.ours or Decimal(0) for pair in bill.pairs.values()), Decimal(0)),
        theirs=sum((pair.theirs or Decimal(0) for pair in bill.pairs.values()), Decimal(0)),
    )
    table.columns[0].footer = "total"
    for name, footer in zip(("ours", "theirs", "difference", "share"), _cells(total), strict=True):
        table.add_column(name, footer, justify="right", overflow="fold")
    table.add_column("")
    for (day, position), pair in sorted(bill.pairs.items()):
        mark = "beyond" if pair.beyond(limit) else ""
        if not pair.matched:
            mark += ", no name for this SKU" if mark else "no name for this SKU"
        style = "bold red" if pair.beyond(limit) else ""
        table.add_row(day, Text(printable(position)), *_cells(pair), Text(mark), style=style)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = console.measure(table, options=console.options.update(max_width=1 << 16)).maximum
    console.print(table)


def _cells(pair: Pair) -> tuple[str, str, str, str]:
    share = pair.share()
    ours, theirs = ("-" if amount is None else f"{amount:,.6f}" for amount in (pair.ours, pair.theirs))
    return ours, theirs, f"{pair.difference:+,.6f}", "-" if share is None else f"{share:+.2%}"
