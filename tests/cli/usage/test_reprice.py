"""`weir usage reprice`: recorded amounts follow from the record and its price file, or it says which do not."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from proxy import Outcome, UsageRecord, put_charge
from proxy.cli.usage import usage
from proxy.config.prices import read_prices
from proxy.gemini.price_list import PriceList
from proxy.gemini.prices import PriceBook
from tests.support.usage_log import ROUTES, lines, make_record, write_log

PRICES = Path(__file__).parents[3] / "config" / "prices.toml"


class Kept:
    """A gateway's state: a log that was priced, and the price file that it was priced with."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "routes.toml"
        self.config.write_text(ROUTES)
        self.log = folder / "var" / "usage" / "usage-2026-11-10.jsonl"
        dated = read_prices(PRICES, PriceList)
        self.version = dated.version
        self.file = dated.keep(folder / "var" / "prices")
        self._book = PriceBook(dated.prices, dated.version)

    def priced(self, id: str, **fields: Any) -> UsageRecord:
        record = make_record(id, **fields)
        put_charge(record, self._book.charge(record))
        return record

    def reprice(self, *options: str) -> Result:
        return CliRunner().invoke(usage, ["reprice", "-c", str(self.config), *options])


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_recorded_amounts_follow(kept: Kept) -> None:
    records = [
        kept.priced("1"),
        kept.priced("2", model="gemini-9-x"),
        kept.priced("3", outcome=Outcome.REFUSED, status=429, attempts=[], usage=None),
    ]
    assert records[0].cost == "0.138472"
    write_log(kept.log, *records)
    later = kept.priced("4", time="2026-11-11T00:00:00.000Z", model="gemini-2.5-flash")
    write_log(kept.log.with_name("usage-2026-11-11.jsonl"), later)

    result = kept.reprice()
    assert (result.exit_code, result.stdout) == (0, "4 equal, 0 different, 0 whose version is missing\n")
    assert kept.reprice("--since", "2026-11-11").stdout.startswith("1 equal,")


def test_what_does_not_follow_is_shown_with_both_amounts(kept: Kept) -> None:
    changed = [kept.priced(f"changed-{number}") for number in range(12)]
    for record in changed:
        record.cost = "0.14"
    write_log(kept.log.with_suffix(".jsonl.gz"), kept.priced("1"), *changed)
    result = kept.reprice()

    assert result.exit_code == 1
    head, *rest = result.stdout.splitlines()
    assert head == "1 equal, 12 different, 0 whose version is missing"
    assert len(rest) == 10
    assert rest[0] == (
        "  changed-0: recorded priced, cost 0.14 USD, price 0.138472 USD, tier standard;"
        " priced again priced, cost 0.138472 USD, price 0.138472 USD, tier standard"
    )


def test_a_changed_line_of_a_charge_is_a_difference(kept: Kept) -> None:
    record = kept.priced("1")
    record.charges = record.charges[::-1]
    write_log(kept.log, record)

    assert kept.reprice().stdout.startswith("0 equal, 1 different")


def test_a_version_that_is_not_kept_is_named(kept: Kept) -> None:
    outside = kept.priced("2")
    outside.prices = f"../prices/{kept.version}"
    unversioned = make_record("3", prices=None)
    write_log(kept.log, make_record("1", prices="2025-01-01.ffffffff"), outside, unversioned)
    result = kept.reprice()

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "0 equal, 0 different, 2 whose version is missing",
        "  version 2025-01-01.ffffffff is not kept: 1",
        f"  version ../prices/{kept.version} is not kept: 1",
        "1 were written without a price file",
    ]


def test_lines_that_are_no_record_prove_nothing(kept: Kept) -> None:
    kept.log.parent.mkdir(parents=True)
    kept.log.with_suffix(".jsonl.gz").write_bytes(gzip.compress(lines([kept.priced("1")]) + b"rubbish\n\n{}\n"))
    result = kept.reprice()

    assert (result.exit_code, result.stderr) == (1, "warning: 2 lines are no usage record\n")


def test_what_it_would_have_cost(kept: Kept, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(PRICES.read_text().replace("output_image = 120", "output_image = 60"))
    write_log(
        kept.log,
        kept.priced("1"),
        kept.priced("2", once="batches/1"),
        kept.priced("3", once="batches/1"),
        kept.priced("4", team="lab", model="gemini-9-x"),
    )
    result = kept.reprice("--prices", str(other))

    assert result.exit_code == 0, result.output
    lab, studio = (line.split() for line in result.stdout.splitlines() if "gemini" in line)
    assert lab == ["lab", "gemini-9-x", "1", "1", "-", "-", "-", "-"]
    assert studio[:3] == ["studio", "gemini-3-pro-image", "2"]
    # One standard; one batch, whose own price the other file has left as it is.
    assert studio[3:7] == ["0.207708", "USD", "0.140508", "USD"]
    assert "1 records of what another record charges" in result.stderr


def test_a_price_file_with_faults_is_explained(kept: Kept, tmp_path: Path) -> None:
    write_log(kept.log, kept.priced("1"))
    broken = tmp_path / "broken.toml"
    broken.write_text("date = 3")
    result = kept.reprice("--prices", str(broken))

    assert result.exit_code == 1
    assert str(broken) in result.stderr


def test_a_damaged_gzip_file_is_an_error(kept: Kept) -> None:
    data = bytearray(gzip.compress(lines([kept.priced("1")])))
    data[10] = 0xFF  # the first block's head: of a kind that there is not
    kept.log.parent.mkdir(parents=True)
    kept.log.with_suffix(".jsonl.gz").write_bytes(data)
    result = kept.reprice()

    assert (result.exit_code, result.stdout) == (1, "")
    assert "usage-2026-11-10.jsonl.gz" in result.stderr


def test_a_gzip_file_that_was_cut_is_an_error(kept: Kept) -> None:
    records = [kept.priced(str(number)) for number in range(50)]
    kept.log.parent.mkdir(parents=True)
    kept.log.with_suffix(".jsonl.gz").write_bytes(gzip.compress(lines(records))[:-30])
    result = kept.reprice()

    assert result.exit_code == 1
    assert "usage-2026-11-10.jsonl.gz" in result.stderr


def test_it_changes_no_record(kept: Kept) -> None:
    write_log(kept.log, make_record("1", prices=kept.version, cost="9"))
    before = kept.log.read_bytes()
    kept.reprice()

    assert kept.log.read_bytes() == before
    assert msgspec.json.decode(before, type=UsageRecord).cost == "9"
