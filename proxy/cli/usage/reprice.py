"""`weir usage reprice`: each record priced again, by the price file of its own version, or by another one.

By its own version it proves that every amount in the log follows from the record and the file that the gateway kept:
the same fields, the same file, the same digits. By another it says what would have been charged. It never changes a
record.
"""

import copy
from collections import Counter
from decimal import Context, Decimal
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.settings import DEFAULT_CONFIG, Config, load_or_exit
from proxy.cli.usage.lines import printable
from proxy.cli.usage.scope import In, Model, More, Scope, Since, Team, Until, scope_or_exit
from proxy.cli.usage.stream import records_in
from proxy.config.bind import ConfigError
from proxy.config.prices import Dated, read_prices
from proxy.gemini.price_list import PriceList
from proxy.gemini.prices import PriceBook
from proxy.price import fixed, put_charge
from proxy.record import UsageRecord
from proxy.usage import UsageState

SHOWN = 10  # records that differ; the first ones say what went wrong
# All that a charge writes into a record.
_CHARGED = (
    *("tier", "image_size", "pricing", "cost", "cost_currency", "price", "price_currency", "price_list", "prices"),
    "charges",
)
_EXACT = Context(prec=240)  # as the price book's own: no amount has more digits


class Verdict(msgspec.Struct):
    """How the recorded amounts compare with those that follow from the kept price files."""

    equal: int = 0
    different: int = 0
    malformed: int = 0
    missing: Counter[str] = msgspec.field(default_factory=Counter)  # records by the version that is not kept
    unversioned: int = 0  # written without any price file: nothing to follow from
    examples: list[tuple[str, str, str]] = []  # id, recorded, priced again


def reprice(
    config: Config = DEFAULT_CONFIG,
    prices: Annotated[
        Path | None, typer.Option(help="What it would have cost by this price file.", metavar="FILE")
    ] = None,
    since: Since = None,
    until: Until = None,
    team: Team = None,
    model: Model = None,
    paths: In = None,
    more: More = None,
) -> None:
    """Price every record again; exit status 1 where a recorded amount does not follow."""
    scope = scope_or_exit(config, [*(paths or ()), *(more or ())], since=since, until=until, team=team, model=model)
    if prices is not None:
        _show_otherwise(scope, _book_or_exit(prices))
        return
    verdict = verdict_on(scope, load_or_exit(config, with_secrets=False).server.state / "prices")
    _show(verdict)
    if verdict.different or verdict.missing or verdict.malformed:
        raise typer.Exit(1)


def verdict_on(scope: Scope, kept: Path) -> Verdict:
    """Price each record by `VERSION.toml` in the folder of kept files."""
    verdict = Verdict()
    books: dict[str, PriceBook | None] = {}
    for record in records_in(scope):
        if record is None:
            verdict.malformed += 1
            continue
        if record.prices is None:
            verdict.unversioned += 1
            continue
        if record.prices not in books:
            books[record.prices] = _kept_book(kept, record.prices)
        book = books[record.prices]
        if book is None:
            verdict.missing[record.prices] += 1
            continue
        again = _again(record, book)
        if all(getattr(record, name) == getattr(again, name) for name in _CHARGED):
            verdict.equal += 1
            continue
        verdict.different += 1
        if len(verdict.examples) < SHOWN:
            verdict.examples.append((record.id, _amounts(record), _amounts(again)))
    return verdict


def _kept_book(kept: Path, version: str) -> PriceBook | None:
    """The version names a file of that folder and nothing else: it is text from a log."""
    file = kept / f"{version}.toml"
    if file.parent != kept or not file.is_file():
        return None
    dated = _read_or_exit(file)
    return PriceBook(dated.prices, version)


def _book_or_exit(file: Path) -> PriceBook:
    dated = _read_or_exit(file)
    return PriceBook(dated.prices, dated.version)


def _read_or_exit(file: Path) -> Dated[PriceList]:
    try:
        return read_prices(file, PriceList)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(f"{error.file}: {problem}", err=True)
        raise typer.Exit(1) from None


def _again(record: UsageRecord, book: PriceBook) -> UsageRecord:
    again = copy.copy(record)
    put_charge(again, book.charge(record))
    return again


def _amounts(record: UsageRecord) -> str:
    cost = "no cost" if record.cost is None else f"cost {record.cost} {record.cost_currency}"
    price = "no price" if record.price is None else f"price {record.price} {record.price_currency}"
    return f"{record.pricing}, {cost}, {price}, tier {record.tier or '-'}"


def _show(verdict: Verdict) -> None:
    missing = verdict.missing.total()
    typer.echo(f"{verdict.equal:,} equal, {verdict.different:,} different, {missing:,} whose version is missing")
    for name, recorded, again in verdict.examples:
        typer.echo(f"  {printable(name)}: recorded {printable(recorded)}; priced again {printable(again)}")
    for version, count in verdict.missing.most_common():
        typer.echo(f"  version {printable(version)} is not kept: {count:,}")
    if verdict.unversioned:
        typer.echo(f"{verdict.unversioned:,} were written without a price file")
    if verdict.malformed:
        typer.echo(f"warning: {verdict.malformed:,} lines are no usage record", err=True)


class _Sums(msgspec.Struct):
    """Of one team and model, by currency."""

    exchanges: int = 0
    unpriced: int = 0  # by the other file
    cost: dict[str, Decimal] = {}
    cost_otherwise: dict[str, Decimal] = {}
    price: dict[str, Decimal] = {}
    price_otherwise: dict[str, Decimal] = {}


def _show_otherwise(scope: Scope, book: PriceBook) -> None:
    sums, malformed, repeated = _otherwise(scope, book)
    names = ("team", "model", "exchanges", "unpriced", "cost", "would cost", "price", "would be the price")
    table = Table(*names[:2], box=SIMPLE_HEAD, pad_edge=False)
    for name in names[2:]:
        table.add_column(name, justify="right", overflow="fold")
    for (team, model), of in sorted(sums.items()):
        amounts = (of.cost, of.cost_otherwise, of.price, of.price_otherwise)
        counts = (f"{of.exchanges:,}", f"{of.unpriced:,}" if of.unpriced else "")
        table.add_row(Text(printable(team)), Text(printable(model)), *counts, *map(_by_currency, amounts))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = console.measure(table, options=console.options.update(max_width=1 << 16)).maximum
    console.print(table)
    if repeated:
        typer.echo(f"{repeated:,} records of what another record charges, not counted", err=True)
    if malformed:
        typer.echo(f"warning: {malformed:,} lines are no usage record", err=True)


def _otherwise(scope: Scope, book: PriceBook) -> tuple[dict[tuple[str, str], _Sums], int, int]:
    sums: dict[tuple[str, str], _Sums] = {}
    malformed = repeated = 0
    charged_once: dict[str, UsageRecord] = {}  # the one that counts so far
    for record in records_in(scope):
        if record is None:
            malformed += 1
        elif record.once is None:
            _sum_up(sums, record, book)
        else:
            repeated += record.once in charged_once
            other = charged_once.get(record.once, record)
            charged_once[record.once] = min(record, other, key=_rank)
    for record in charged_once.values():
        _sum_up(sums, record, book)
    return sums, malformed, repeated


def _rank(record: UsageRecord) -> tuple[int, Decimal, str, str]:
    """As `query.py` chooses among records of what is charged once."""
    cost = Decimal(-1) if record.cost is None else Decimal(record.cost)
    whole = record.usage_state is UsageState.FINAL
    return list(UsageState).index(record.usage_state), Decimal(0) if whole else -cost, record.time, record.id


def _sum_up(sums: dict[tuple[str, str], _Sums], record: UsageRecord, book: PriceBook) -> None:
    again = _again(record, book)
    of = sums.setdefault((record.team or "-", record.model or "-"), _Sums())
    of.exchanges += 1
    of.unpriced += again.cost is None
    _add(of.cost, record.cost, record.cost_currency)
    _add(of.cost_otherwise, again.cost, again.cost_currency)
    _add(of.price, record.price, record.price_currency)
    _add(of.price_otherwise, again.price, again.price_currency)


def _add(sums: dict[str, Decimal], amount: str | None, currency: str | None) -> None:
    if amount is not None and currency is not None:
        sums[currency] = _EXACT.add(sums.get(currency, Decimal(0)), Decimal(amount))


def _by_currency(sums: dict[str, Decimal]) -> str:
    return "\n".join(f"{fixed(amount)} {currency}" for currency, amount in sorted(sums.items())) or "-"
