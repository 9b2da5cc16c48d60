"""Google's bill, as it can be had: rows of a Cloud Billing export, or of the console's reports, as CSV or JSON.

`reconcile.py` reads it. Columns go by their dotted names (`sku.description`), by underscores, or by the console's
words ("SKU description"); JSON may be nested, one object a line or one array, as BigQuery exports it. A row that it
cannot read ends it: a bill that is read in part proves nothing.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

# By what names a column goes; of several that a file has, the first here: the console rounds what it calls "cost".
_NAMES = {
    "start": ("usage_start_time", "usage_start_date", "usage_date", "date", "day"),
    "service": ("service_description",),
    "sku": ("sku_description",),
    "cost": ("unrounded_cost", "unrounded_subtotal", "cost", "subtotal"),
    "currency": ("currency",),
    "conversion_rate": ("currency_conversion_rate",),
    "credits": ("credits",),
}
_NEEDED = ("start", "sku", "cost")
_PREAMBLE_ROWS = 50  # the console's cost table begins with an invoice's address


class BilledRow(msgspec.Struct, frozen=True):
    """A row of the bill, in US dollars."""

    day: str | None  # of the bill's own zone; None: a total, or what is of no day
    service: str
    sku: str
    cost: Decimal  # before credits
    credited: Decimal  # zero or less


class BillError(Exception):
    """What of the file cannot be read, and where."""


def read_bill(file: Path, zone: str) -> Iterator[BilledRow]:
    """Raises BillError, also midway."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as source:
            begins = source.read(1)
            source.seek(0)
            rows = _json_rows(source.read()) if begins in ("{", "[") else _csv_rows(source)
            for number, row in rows:
                try:
                    yield _billed(row, ZoneInfo(zone))
                except (ValueError, InvalidOperation) as error:
                    raise BillError(f"{file}, row {number}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error, msgspec.DecodeError) as error:
        raise BillError(f"cannot read {file}: {error}") from error


def _csv_rows(source: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    names: list[str] | None = None
    for number, cells in enumerate(csv.reader(source), start=1):
        if names is None:
            names = [_plain(cell) for cell in cells]
            if any(_column(dict.fromkeys(names), wanted) is None for wanted in _NEEDED):
                names = None
                if number > _PREAMBLE_ROWS:
                    break
        elif any(cells):
            yield number, dict(zip(names, cells, strict=False))
    if names is None:
        raise BillError("the file has no row with the columns usage_start_time, sku.description and cost")


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    decoder = msgspec.json.Decoder(float_hook=Decimal)  # a float would round a cost
    rows = decoder.decode(text) if text.startswith("[") else decoder.decode_lines(text)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise BillError(f"row {number}: expected an object")
        yield number, dict(_flat(row, ""))


def _flat(row: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{_plain(name)}_")
        else:
            yield prefix + _plain(name), value


def _plain(name: str) -> str:
    """`sku.description`, `SKU description` and `Unrounded cost ($)` without what is no word."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"\(.*?\)", "", name).strip().lower()).strip("_")


def _column(row: dict[str, Any], wanted: str) -> str | None:
    return next((name for name in _NAMES[wanted] if name in row), None)


def _billed(row: dict[str, Any], zone: ZoneInfo) -> BilledRow:
    def value(wanted: str) -> Any:
        name = _column(row, wanted)
        return None if name is None else row[name]

    sku = str(value("sku") or "").strip()
    dollars = _dollars(value("currency"), value("conversion_rate"))
    return BilledRow(
        day=_day(str(value("start") or "").strip(), zone) if sku else None,
        service=str(value("service") or "").strip(),
        sku=sku,
        cost=_amount(value("cost")) / dollars,
        credited=_credited(value("credits")) / dollars,
    )


def _day(text: str, zone: ZoneInfo) -> str:
    """A date is the bill's own day; a moment is one of UTC, where it does not say."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return text
    if re.fullmatch(r"[\d.]+(E\d+)?", text):  # BigQuery's JSON has seconds since 1970
        return datetime.fromtimestamp(float(text), UTC).astimezone(zone).date().isoformat()
    moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(zone).date().isoformat()


def _amount(value: Any) -> Decimal:
    amount = Decimal(str(value if value is not None else "").replace(",", "").strip() or 0)
    if not amount.is_finite():
        raise ValueError(f"expected an amount, found {value!r}")
    return amount


def _dollars(currency: Any, rate: Any) -> Decimal:
    """What one US dollar is in the bill's currency."""
    if currency in (None, "", "USD"):
        return Decimal(1)
    if rate in (None, "") or not _amount(rate):
        raise ValueError(f"the bill is in {currency} and has no currency_conversion_rate; prices are in USD")
    return _amount(rate)


def _credited(value: Any) -> Decimal:
    """A list of credits, or the text of one; elsewhere their sum."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = msgspec.json.decode(value)
    if isinstance(value, list):
        return sum((_amount(credit.get("amount")) for credit in value), Decimal(0))
    return _amount(value)
