"""The record's published shape: the schema in docs, the columns of a table, and what the guide says of each field."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

from proxy import ChargeLine, Outcome, Usage, UsageRecord
from proxy.cli.usage import usage
from proxy.cli.usage.columns import column_type, columns_of
from proxy.cli.usage.focus import COLUMNS
from proxy.cli.usage.schema import record_schema
from tests.support.usage_log import make_record, unpriced, write_log

DOCS = Path(__file__).parents[3] / "docs"
GUIDE = (DOCS / "usage.md").read_text()


def test_the_schema_in_docs_is_the_one_the_command_prints() -> None:
    """Renew it with: weir usage schema > docs/usage-record.schema.json"""
    printed = CliRunner().invoke(usage, ["schema"]).stdout
    assert printed == (DOCS / "usage-record.schema.json").read_text()
    Draft202012Validator.check_schema(json.loads(printed))


@pytest.mark.parametrize("outcome", Outcome)
def test_a_record_of_every_outcome_fits_it(outcome: Outcome) -> None:
    validator = Draft202012Validator(json.loads(msgspec.json.encode(record_schema())))
    for record in (make_record(outcome=outcome, once="b"), unpriced(outcome=outcome, usage=None, estimate=Usage())):
        validator.validate(json.loads(msgspec.json.encode(record)))
    with pytest.raises(ValidationError, match="not valid under any"):
        validator.validate(json.loads(msgspec.json.encode(make_record(outcome=outcome, cost=0.138))))


def test_every_field_has_a_column_type_that_the_engine_knows() -> None:
    columns = columns_of(UsageRecord, UsageRecord.__struct_fields__)
    assert list(columns) == list(UsageRecord.__struct_fields__)
    assert columns["cost"] == "VARCHAR"
    assert columns["labels"] == "MAP(VARCHAR, VARCHAR)"
    assert columns["charges"] == 'STRUCT("meter" VARCHAR, "quantity" BIGINT, "rate" VARCHAR, "cost" VARCHAR)[]'
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")


def test_a_part_of_a_field_is_a_column_of_that_alone() -> None:
    assert columns_of(UsageRecord, ("usage.images", "id", "attempts.sent", "usage.tier")) == {
        "usage": 'STRUCT("images" BIGINT, "tier" VARCHAR)',
        "id": "VARCHAR",
        "attempts": 'STRUCT("sent" BOOLEAN)[]',
    }


def test_what_has_no_column_type_is_refused() -> None:
    with pytest.raises(TypeError, match="no column type"):
        column_type(object)


def mapping(title: str) -> dict[str, str]:
    """A table of the guide: the first column's field, and the rest of its row."""
    text = GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \|(.*)\|$", text, re.MULTILINE))


def test_the_guide_maps_every_field() -> None:
    table = mapping("Fields under other names")
    names = {f"usage.{name}" for name in Usage.__struct_fields__} | {
        f"charges.{name}" for name in ChargeLine.__struct_fields__
    }

    assert set(table) == set(UsageRecord.__struct_fields__) - {"usage", "charges"} | names


def test_the_guide_s_focus_columns_exist() -> None:
    rows: Any = mapping("Fields under other names").values()
    named = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row.split("|")[1])}

    assert named
    assert named <= set(COLUMNS)


def test_the_guide_s_query_bills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(
        tmp_path / "var" / "usage" / "usage-2026-11-10.jsonl",
        make_record("1", once="batches/1"),
        make_record("2", once="batches/1"),
        make_record("3", time="2026-12-01T00:00:00.000Z"),
    )
    write_log(tmp_path / "var" / "usage" / "usage-2026-11-11.jsonl.gz", make_record("4"), unpriced("5"))
    monkeypatch.chdir(tmp_path)
    (query,) = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)
    with duckdb.connect() as connection:
        rows = connection.execute(query).fetchall()

    assert rows == [("studio", "USD", 2 * Decimal("0.138472")), ("studio", None, None)]
