"""The sums of a usage report: what was used and what it cost, one row for each group and pair of currencies.

`report.py` asks for them over the table that `query.py` made; `report_text.py` prints them. Sums are
exact decimals. Two currencies are never added.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.cli.usage.query import Reading, exact, sum_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What one may group by, and the field it is.
GROUPS = {
    "team": "team",
    "user": "subject",
    "key": "key_id",
    "model": "model",
    "operation": "operation",
    "day": "time[:10]",
    "month": "time[:7]",
    "route": "route",
    "endpoint": "endpoint",
    "region": "region",
    "tier": "tier",
    "image_size": "image_size",
    "outcome": "outcome",
    "pricing": "pricing",
}
COUNTS = {
    "exchanges": "count(*)",
    "input_tokens": "coalesce(sum(usage.input_tokens), 0)",
    "cached_tokens": "coalesce(sum(usage.cached_tokens), 0)",
    "output_tokens": "coalesce(sum(usage.output_tokens), 0)",
    "thought_tokens": "coalesce(sum(usage.thought_tokens), 0)",
    "images": "coalesce(sum(usage.images), 0)",
    "estimated": "count(*) FILTER (pricing = 'estimated')",
    "unpriced": "count(*) FILTER (pricing = 'unpriced')",
}
FIELDS = (
    *("team", "subject", "key_id", "model", "operation", "route", "endpoint", "region", "tier", "image_size"),
    *("outcome", "pricing", "cost", "cost_currency", "price", "price_currency"),
    *("usage.input_tokens", "usage.cached_tokens", "usage.output_tokens", "usage.thought_tokens", "usage.images"),
    *("attempts.endpoint", "attempts.error", "attempts.sent", "attempts.status"),
)
_UNPRICED = """
    SELECT model, operation, count(*) FROM records WHERE pricing = 'unpriced'
    GROUP BY model, operation ORDER BY count(*) DESC, model, operation
"""
_UNANSWERED = """
    SELECT attempt.endpoint, model, attempt.error, count(*)
    FROM (SELECT model, unnest(attempts) AS attempt FROM records)
    WHERE attempt.sent AND attempt.status IS NULL
    GROUP BY ALL ORDER BY count(*) DESC, attempt.endpoint, model, attempt.error
"""


class Row(msgspec.Struct, frozen=True):
    """One line: a group's exchanges in one pair of currencies, what Google charges us and what we charge."""

    group: tuple[str | None, ...]
    counts: tuple[int, ...]  # in the order of COUNTS
    cost: Decimal | None
    cost_currency: str | None
    price: Decimal | None
    price_currency: str | None


class Report(msgspec.Struct, frozen=True):
    """All of it, before it is text."""

    by: tuple[str, ...]
    rows: list[Row]
    totals: list[Row]
    unpriced: list[tuple[str | None, str, int]]  # model, operation, exchanges
    unanswered: list[tuple[str, str | None, str | None, int]]  # endpoint, model, error, attempts
    reading: Reading


def report_of(connection: "DuckDBPyConnection", by: Sequence[str], read: Reading) -> Report:
    """The report over the table `records`."""
    return Report(
        by=tuple(by),
        rows=rows_by(connection, by),
        totals=rows_by(connection, ()),
        unpriced=connection.execute(_UNPRICED).fetchall(),
        unanswered=connection.execute(_UNANSWERED).fetchall(),
        reading=read,
    )


def rows_by(connection: "DuckDBPyConnection", by: Sequence[str]) -> list[Row]:
    """One row for each group and pair of currencies that it has."""
    groups = [f"{GROUPS[name]} AS by_{name}" for name in by]
    columns = ", ".join([*groups, *COUNTS.values()])
    order = ", ".join(
        [*(f"by_{name} NULLS LAST" for name in by), "cost_currency NULLS LAST", "price_currency NULLS LAST"]
    )
    found = connection.execute(
        f"SELECT {columns}, {sum_of('cost')}, cost_currency, {sum_of('price')}, price_currency "
        f"FROM records GROUP BY {', '.join([*(f'by_{name}' for name in by), 'cost_currency', 'price_currency'])} "
        f"ORDER BY {order}"
    ).fetchall()
    rows = [_row(line, len(by)) for line in found]
    return [row for _, of_a_group in groupby(rows, lambda row: row.group) for row in _fold(list(of_a_group))]


def _row(line: Sequence[Any], width: int) -> Row:
    group, counts, amounts = line[:width], line[width : width + len(COUNTS)], line[width + len(COUNTS) :]
    cost, cost_rest, cost_currency, price, price_rest, price_currency = amounts
    return Row(
        tuple(group), tuple(counts), exact(cost, cost_rest), cost_currency, exact(price, price_rest), price_currency
    )


def _fold(rows: list[Row]) -> list[Row]:
    """Exchanges without an amount are in no currency: they count in their group's first row."""
    last = rows[-1]
    if len(rows) == 1 or last.cost_currency is not None or last.price_currency is not None:
        return rows
    counts = tuple(map(sum, zip(rows[0].counts, last.counts, strict=True)))
    return [msgspec.structs.replace(rows[0], counts=counts), *rows[1:-1]]
