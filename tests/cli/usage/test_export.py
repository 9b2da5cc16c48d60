"""`weir usage export`: every record and every cent of it arrives, in columns that others have named."""

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from typer.testing import CliRunner, Result

from proxy import ChargeLine, Pricing
from proxy.cli.usage import usage
from proxy.cli.usage.focus import COLUMNS
from tests.support.usage_log import make_record, unpriced, write_log

# FOCUS 1.2, the columns whose feature level is "Mandatory", and of these the ones that allow nulls.
MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
NULLABLE = {"ChargeClass"}  # null: no correction
# Null never where ChargeCategory is "Usage".
USAGE = {"ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "PricingCategory", "SkuId"}


def parquet_rows(file: Path) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM '{file}'")
        names = [name for name, *_ in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "csv": lambda file: list(csv.DictReader(file.read_text().splitlines())),
    "json": lambda file: [json.loads(line) for line in file.read_text().splitlines()],
    "parquet": parquet_rows,
}


def export(log: Path, out: Path, *options: str) -> Result:
    result = CliRunner().invoke(usage, ["export", "--in", str(log), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    return result


@pytest.fixture
def log(tmp_path: Path) -> Path:
    search = ChargeLine("search_queries", 2, "0.014", "0.028")
    return write_log(
        tmp_path / "usage-2026-11-10.jsonl",
        make_record("1"),
        make_record("2"),
        make_record("3", team=None, api="vertex", location="europe-west4", tier="prepaid", cost="0"),
        make_record("4", time="2026-12-31T23:00:00.000Z", pricing=Pricing.ESTIMATED, cost="0.028", charges=(search,)),
        unpriced("5"),
    )


def test_focus_has_every_mandatory_column_and_no_null_that_it_may_not(log: Path, tmp_path: Path) -> None:
    export(log, tmp_path / "focus.csv", "--focus")
    rows = list(csv.DictReader((tmp_path / "focus.csv").read_text().splitlines()))

    assert list(rows[0]) == list(COLUMNS)
    assert set(rows[0]) >= MANDATORY | USAGE
    assert len(rows) == 4 + 4 + 1
    empty = {name for row in rows for name in (MANDATORY | USAGE) - NULLABLE if not row[name]}
    assert empty == set()
    assert {row["ServiceCategory"] for row in rows} == {"AI and Machine Learning"}


def test_focus_costs_are_exact_and_follow_from_their_parts(log: Path, tmp_path: Path) -> None:
    result = export(log, tmp_path / "focus.csv", "--focus")
    rows = list(csv.DictReader((tmp_path / "focus.csv").read_text().splitlines()))

    # Two days of 0.138472, the prepaid one at what its lines say, and two searches.
    assert sum(Decimal(row["BilledCost"]) for row in rows) == 3 * Decimal("0.138472") + Decimal("0.028")
    for row in rows:
        assert Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"]) == Decimal(row["ListCost"])
    assert "1 exchanges without a price are not in it" in result.stderr
    assert "9 rows in" in result.stderr


def test_focus_says_who_when_and_what(log: Path, tmp_path: Path) -> None:
    export(log, tmp_path / "focus.csv", "--focus", "--billing-account", "01AB-O'Neil")
    rows = list(csv.DictReader((tmp_path / "focus.csv").read_text().splitlines()))
    image, search = (
        next(row for row in rows if row["SkuMeter"] == meter) for meter in ("output_image", "search_queries")
    )
    (regional,) = (row for row in rows if row["ServiceName"] == "Vertex AI" and row["SkuMeter"] == "thoughts")

    assert image["BillingAccountId"] == "01AB-O'Neil"
    assert (image["SubAccountId"], image["ResourceId"], image["RegionId"]) == ("studio", "gemini-3-pro-image", "global")
    assert (image["ConsumedQuantity"], image["ConsumedUnit"]) == ("2240", "Tokens")
    assert (image["PricingQuantity"], image["PricingUnit"]) == ("0.00224", "1000000 Tokens")
    assert (image["ListUnitPrice"], image["ListCost"], image["x_Exchanges"]) == ("120", "0.2688", "2")
    assert (image["ChargePeriodStart"], image["ChargePeriodEnd"]) == ("2026-11-10T00:00:00Z", "2026-11-11T00:00:00Z")
    assert (image["BillingPeriodStart"], image["BillingPeriodEnd"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert json.loads(image["Tags"])["weir/team"] == "studio"
    assert (search["PricingQuantity"], search["PricingUnit"], search["x_Pricing"]) == ("2", "Queries", "estimated")
    assert search["BillingPeriodEnd"] == "2027-01-01T00:00:00Z"
    assert (regional["RegionId"], regional["PricingCategory"], regional["SubAccountId"]) == (
        "europe-west4",
        "Committed",
        "",
    )


def test_focus_as_parquet_is_the_same_in_types(log: Path, tmp_path: Path) -> None:
    export(log, tmp_path / "focus.parquet", "--focus", "--format", "parquet")
    with duckdb.connect() as connection:
        source = f"'{tmp_path / 'focus.parquet'}'"
        query = f"SELECT sum(BilledCost), any_value(typeof(BilledCost)) FROM {source}"
        ((total, kind),) = connection.execute(query).fetchall()
    assert total == 3 * Decimal("0.138472") + Decimal("0.028")
    assert kind == "DECIMAL(38,18)"


@pytest.mark.parametrize("form", READERS)
def test_records_flattened(log: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"records.{form}"
    assert "5 records in" in export(log, out, "--format", form).stderr
    rows = READERS[form](out)
    by_id = {str(row["id"]): row for row in rows}

    assert set(by_id) == {"1", "2", "3", "4", "5"}
    assert str(by_id["1"]["usage_output_tokens"]) == "1283"
    assert Decimal(by_id["1"]["cost"]) == Decimal("0.138472")
    assert not by_id["5"]["cost"]
    charges: Any = by_id["1"]["charges"]
    assert msgspec.json.decode(charges, type=list[ChargeLine])[1].cost == "0.1344"


def test_a_formula_is_text_in_csv_alone(tmp_path: Path) -> None:
    log = write_log(tmp_path / "usage-2026-11-10.jsonl", unpriced("1", model="=1+1"))
    export(log, tmp_path / "a.csv")
    export(log, tmp_path / "a.json", "--format", "json")

    assert next(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))["model"] == "'=1+1"
    assert json.loads((tmp_path / "a.json").read_text())["model"] == "=1+1"


def test_where_it_cannot_write_it_says(log: Path, tmp_path: Path) -> None:
    for out, status in ((tmp_path, 2), (tmp_path / "no" / "such" / "folder.csv", 1)):
        result = CliRunner().invoke(usage, ["export", "--in", str(log), "--out", str(out)])
        assert result.exit_code == status
        assert str(out) in result.stderr
