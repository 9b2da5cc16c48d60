"""`weir usage report`: sums that are exact, and nothing left out of them in silence."""

import io
import json
import os
import random
import sys
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from typer.testing import CliRunner, Result

from proxy import AttemptRecord, Outcome, Pricing, Usage, UsageState, fixed
from proxy.cli.usage import usage
from proxy.cli.usage.query import Reading
from proxy.cli.usage.report_rows import GROUPS, Report, Row
from proxy.cli.usage.report_text import show_table
from tests.support.usage_log import ROUTES, lines, make_record, unpriced, write_log

AMOUNTS = ("18,816.266236", "USD", "0.000000000000000000000000000000000001", "USD")


class Terminal(io.StringIO):
    """Eighty columns, as rich takes them where nobody says."""

    def __init__(self, out: io.StringIO) -> None:
        super().__init__()
        self.write = out.write  # type: ignore[method-assign]

    def isatty(self) -> bool:
        return True


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "routes.toml"
    file.write_text(ROUTES)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "usage"


def report(config: Path, *options: str) -> Result:
    return CliRunner().invoke(usage, ["report", "-c", str(config), *options])


def document(config: Path, *options: str) -> dict[str, Any]:
    result = report(config, "--format", "json", *options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_table_for_people(config: Path, folder: Path) -> None:
    lost = AttemptRecord(endpoint="b", region="eu", started_ms=0.1, error="upstream_timeout", sent=True)
    answered = AttemptRecord(endpoint="a", region="eu", started_ms=9.1, status=200, sent=True)
    write_log(
        folder / "usage-2026-11-10.jsonl",
        make_record("1"),
        make_record("2", attempts=[lost, answered], pricing=Pricing.ESTIMATED),
        make_record("3", team="lab", price="0.05", price_currency="EUR"),
        unpriced("4", team="lab"),
    )
    result = report(config, "--by", "team")

    assert result.exit_code == 0, result.output
    text = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    table = [" ".join(line.split()) for line in text]
    assert table[0] == "team exchanges input output thoughts images estimated unpriced cost price"
    assert table[2] == "lab 2 28 2,566 348 2 0 1 0.138472 USD 0.050000 EUR"
    assert table[3] == "studio 2 28 2,566 348 2 1 0 0.276944 USD 0.276944 USD"
    assert table[4:6] == [
        "total 2 28 2,566 348 2 0 1 0.138472 USD 0.050000 EUR",
        "2 28 2,566 348 2 1 0 0.276944 USD 0.276944 USD",
    ]
    assert table[6:8] == ["No price is known for:", "gemini-9-x generateContent 1"]
    assert table[8:] == [
        "Attempts without an answer, which the endpoint may have run and billed:",
        "b gemini-3-pro-image upstream_timeout 1",
    ]
    assert result.stderr == ""


def test_sums_over_ten_thousand_records_are_exact(config: Path, folder: Path) -> None:
    random_numbers = random.Random(5)
    costs: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
    prices: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
    tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
    records = []
    for number in range(10_000):
        team, currency = random_numbers.choice(["a", "b", "c"]), random_numbers.choice(["USD", "EUR"])
        cost = Decimal(random_numbers.randrange(10**12)).scaleb(-random_numbers.randrange(19))
        price = Decimal(random_numbers.randrange(10**24)).scaleb(-random_numbers.randrange(12, 39))
        count = random_numbers.randrange(1 << 40)
        costs[team, currency] += Fraction(cost)
        prices[team, currency] += Fraction(price)
        tokens[team, currency] += count
        amounts = {"cost": fixed(cost), "price": fixed(price), "price_currency": currency}
        records.append(make_record(str(number), team=team, usage=Usage(input_tokens=count), **amounts))
    write_log(folder / "usage-2026-11-10.jsonl", *records[:4000])
    write_log(folder / "usage-2026-11-11.jsonl.gz", *records[4000:])
    found = document(config, "--by", "team")["rows"]

    assert {(row["team"], row["price_currency"]): Fraction(row["cost"]) for row in found} == costs
    assert {(row["team"], row["price_currency"]): Fraction(row["price"]) for row in found} == prices
    assert {(row["team"], row["price_currency"]): row["input_tokens"] for row in found} == tokens
    assert sum(row["exchanges"] for row in found) == 10_000


def test_an_amount_that_cannot_be_added_is_said(config: Path, folder: Path) -> None:
    odd = [make_record("1", cost="many"), make_record("2", cost=f"0.{'1' * 39}"), make_record("3")]
    write_log(folder / "usage-2026-11-10.jsonl", *odd)

    assert "2 amounts that cannot be added" in report(config).stderr


@pytest.mark.parametrize("group", GROUPS)
def test_every_group(config: Path, folder: Path, group: str) -> None:
    write_log(folder / "usage-2026-11-10.jsonl", make_record("1"), unpriced("2"))
    rows = document(config, "--by", group)["rows"]

    assert group in rows[0]
    assert sum(row["exchanges"] for row in rows) == 2


def test_several_groups_in_their_order(config: Path, folder: Path) -> None:
    write_log(folder / "usage-2026-11-10.jsonl", make_record("1"), make_record("2", team=None))
    result = report(config, "--by", "day,team,day", "--format", "csv")

    head, *rows = result.stdout.splitlines()
    assert head.startswith("day,team,exchanges,input_tokens,")
    assert rows == [
        "2026-11-10,studio,1,14,0,1283,174,1,0,0,0.138472,USD,0.138472,USD",
        "2026-11-10,,1,14,0,1283,174,1,0,0,0.138472,USD,0.138472,USD",
    ]


def test_no_group_is_the_total(config: Path, folder: Path) -> None:
    write_log(folder / "usage-2026-11-10.jsonl", make_record("1"), make_record("2"))

    (row,) = document(config, "--by", "")["rows"]
    assert (row["exchanges"], row["cost"]) == (2, "0.276944")


def test_time_team_and_model_narrow_it(config: Path, folder: Path) -> None:
    write_log(
        folder / "usage-2026-11-10.jsonl",
        make_record("1", time="2026-11-09T23:59:59.999Z"),
        make_record("2", time="2026-11-10T00:00:00.000Z"),
        make_record("3", time="2026-11-10T23:59:59.999Z", team="lab"),
    )
    write_log(folder / "usage-2026-11-12.jsonl", make_record("4", time="2026-11-10T23:00:00.000Z", model="veo-3"))
    write_log(folder / "usage-2026-11-13.jsonl", make_record("5", time="2026-11-13T00:00:00.000Z"))

    def count(*options: str) -> int:
        return sum(row["exchanges"] for row in document(config, *options)["rows"])

    assert count() == 5
    assert count("--since", "2026-11-10", "--until", "2026-11-11") == 3  # one of them was written days later
    assert count("--since", "2026-11-10T01:00:00+01:00") == 4
    assert count("--until", "2026-11-10T00:00:00Z") == 1
    assert count("--since", "2026-11", "--until", "2026-12") == 5
    assert count("--team", "lab") == 1
    assert count("--model", "gemini-3-*") == 4
    assert count("--model", "veo-?", "--team", "studio") == 1


def test_what_is_charged_once_counts_once(config: Path, folder: Path) -> None:
    def batch(id: str, time: str, **fields: Any) -> Any:
        return make_record(id, time=time, once="batches/7", operation="batches.get", **fields)

    write_log(folder / "usage-2026-11-10.jsonl", batch("2", "2026-11-10T13:00:00.000Z", team="lab"), make_record("0"))
    write_log(folder / "usage-2026-11-10.2.jsonl", batch("1", "2026-11-10T12:30:00.000Z"))
    write_log(
        folder / "usage-2026-11-20.jsonl",
        batch("3", "2026-11-20T12:00:00.000Z"),
        make_record("4", time="2026-11-20T13:00:00.000Z", once="other"),
    )

    whole = document(config, "--by", "team")
    assert [(row["team"], row["exchanges"]) for row in whole["rows"]] == [("studio", 3)]
    assert whole["repeated_records"] == 2
    # Of another month, the first reading was charged where it happened.
    later = document(config, "--by", "team", "--since", "2026-11-15")
    assert [(row["team"], row["exchanges"]) for row in later["rows"]] == [("studio", 1)]
    # The team that read it second is charged in no report.
    assert document(config, "--team", "lab")["rows"] == []
    assert "2 records of what another record charges" in report(config).stderr


def test_counts_are_charged_in_the_place_of_what_began_without(config: Path, folder: Path) -> None:
    """An interaction in the background: its estimate, a look at it that was free, its counts, its counts again."""
    begun: dict[str, Any] = {"usage": None, "usage_state": UsageState.NONE, "pricing": Pricing.ESTIMATED, "cost": "9"}
    free = {**begun, "pricing": Pricing.PRICED, "cost": "0"}
    read = [
        make_record(str(number), time=f"2026-11-1{number}T12:00:00.000Z", once="interactions/7", **fields)
        for number, fields in enumerate((begun, free, {}, {"cost": "5"}))
    ]
    for record in read:
        write_log(folder / f"usage-{record.time[:10]}.jsonl", record)

    (row,) = document(config)["rows"]
    assert (row["exchanges"], row["cost"], row["estimated"]) == (1, "0.138472", 0)
    assert document(config, "--until", "2026-11-12")["rows"] == []
    assert document(config, "--since", "2026-11-13")["rows"] == []
    (row,) = document(config, "--in", str(folder / "usage-2026-11-10.jsonl"))["rows"]
    assert (row["cost"], row["estimated"]) == ("9", 1)


def test_a_reading_that_broke_off_early_does_not_make_the_rest_free(config: Path, folder: Path) -> None:
    def partial(id: str, cost: str | None) -> Any:
        return make_record(id, time=f"2026-11-10T12:0{id}:00.000Z", once="batches/7", cost=cost, usage_state="partial")

    write_log(folder / "usage-2026-11-10.jsonl", partial("1", None), partial("2", "0.5"), partial("3", "12"))
    (row,) = document(config)["rows"]
    assert (row["exchanges"], row["cost"]) == (1, "12")


def test_lines_that_are_no_record_are_counted_by_file(config: Path, folder: Path) -> None:
    rubbish = b'garbage\n[1]\n\xff\xfe\x00\n{"id": "x"}\n{"schema":1,"time":"2026-11-10T12'
    folder.mkdir(parents=True)
    (folder / "usage-2026-11-10.jsonl").write_bytes(lines([make_record("1")]) + rubbish)
    write_log(folder / "usage-2026-11-11.jsonl", make_record("2"))
    result = report(config, "--format", "json", "--since", "2026-11-10")
    found = json.loads(result.stdout)

    assert found["malformed_lines"] == {str(folder / "usage-2026-11-10.jsonl"): 5}
    assert sum(row["exchanges"] for row in found["rows"]) == 2
    assert "usage-2026-11-10.jsonl: 5 lines that are no usage record, not counted" in result.stderr


def test_other_files_plain_and_gzipped_whatever_their_names(config: Path, tmp_path: Path) -> None:
    plain = write_log(tmp_path / "o'clock [1]" / "a.jsonl", make_record("1"))
    gzipped = write_log(tmp_path / "b*.jsonl.gz", make_record("2"), make_record("3"))
    folder = write_log(tmp_path / "old" / "usage-2026-11-01.jsonl.gz", make_record("4")).parent

    assert document(config, "--in", str(plain), str(gzipped))["rows"][0]["exchanges"] == 3
    assert document(config, "--in", str(plain), "--in", str(folder), "--in", str(plain))["rows"][0]["exchanges"] == 2


def test_a_file_that_is_being_gzipped_counts_once(config: Path, folder: Path) -> None:
    plain = write_log(folder / "usage-2026-11-10.jsonl", make_record("1"))
    plain.with_name(plain.name + ".gz").write_bytes(b"\x1f\x8b half of it")

    assert document(config)["rows"][0]["exchanges"] == 1


def test_a_gzip_file_that_was_cut_is_an_error(config: Path, folder: Path) -> None:
    file = write_log(folder / "usage-2026-11-10.jsonl.gz", *(make_record(str(number)) for number in range(99)))
    file.write_bytes(file.read_bytes()[:-50])
    result = report(config)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "usage-2026-11-10.jsonl.gz" in result.stderr


def test_a_damaged_gzip_file_is_an_error(config: Path, folder: Path) -> None:
    """DuckDB would take what comes before the damage for the whole file."""
    file = write_log(folder / "usage-2026-11-10.jsonl.gz", *(make_record(os.urandom(20).hex()) for _ in range(9999)))
    data = bytearray(file.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 20):
        data[at] ^= 0xFF
    file.write_bytes(data)
    result = report(config)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "usage-2026-11-10.jsonl.gz" in result.stderr


def test_one_file_by_two_names_counts_once(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_log(folder / "usage-2026-11-10.jsonl", make_record("1"))
    (folder / "link.jsonl").symlink_to(file)
    monkeypatch.chdir(folder)

    paths = ["--in", str(file), "--in", file.name, "--in", "link.jsonl"]
    assert document(config, *paths)["rows"][0]["exchanges"] == 1


def test_a_link_to_nothing_is_an_error(config: Path, folder: Path) -> None:
    write_log(folder / "usage-2026-11-10.jsonl", make_record("1"))
    (folder / "usage-2026-11-11.jsonl").symlink_to("gone")
    result = report(config)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "usage-2026-11-11.jsonl" in result.stderr
    assert "SELECT" not in result.stderr


def test_a_day_of_a_week_is_a_day(config: Path, folder: Path) -> None:
    write_log(folder / "usage-2026-11-10.jsonl", make_record("1"))

    assert document(config, "--since", "2026-W46-2")["totals"][0]["exchanges"] == 1
    result = report(config, "--since", "2026-W46-3")
    assert (result.exit_code, "no records of that time" in result.stderr) == (0, True)


@pytest.mark.parametrize(
    ("options", "status", "complaint"),
    [
        (["--by", "team,shoe"], 2, "unknown 'shoe'; known are: team, user, key"),
        (["--since", "yesterday"], 2, "--since: expected a day such as 2026-11-01"),
        (["--until", "2026-13"], 2, "--until: expected a day"),
        ([], 1, "name the gateway's routes file with -c, or files with --in"),
        (["--in", "/nowhere/at/all"], 1, "no usage log at /nowhere/at/all"),
    ],
)
def test_what_it_cannot_do_it_says(config: Path, options: list[str], status: int, complaint: str) -> None:
    result = report(config, *options)

    assert (result.exit_code, result.stdout) == (status, "")
    assert complaint in result.stderr


def test_without_the_extra(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(folder / "usage-2026-11-10.jsonl", make_record("1"))
    monkeypatch.setitem(sys.modules, "duckdb", None)
    result = report(config)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'gemini-weir[report]'" in result.stderr


def test_a_stranger_s_text_drives_neither_terminal_nor_spreadsheet(config: Path, folder: Path) -> None:
    name = '=HYPERLINK("x")\x1b[2J[red]'
    write_log(folder / "usage-2026-11-10.jsonl", unpriced("1", model=name, outcome=Outcome.REFUSED))

    table = report(config, "--by", "model").stdout
    assert '=HYPERLINK("x")\\x1b[2J[red]' in table
    assert "\x1b" not in table
    assert report(config, "--by", "model", "--format", "csv").stdout.splitlines()[1].startswith("\"'=HYPERLINK")
    assert document(config, "--by", "model")["rows"][0]["model"] == name


def test_a_narrow_terminal_shortens_tokens_and_never_money() -> None:
    row = Row((), (1, 2_044_262_750, 0, 1_227_311, 0, 0, 0, 0), Decimal("18816.266236"), "USD", Decimal("1E-36"), "USD")
    out = io.StringIO()
    show_table(Report((), [row], [row], [], [], Reading({}, 0, 0)), out)
    narrow = io.StringIO()
    show_table(Report((), [row], [row], [], [], Reading({}, 0, 0)), Terminal(narrow))

    assert out.getvalue().split()[-7:] == ["1", "2,044,262,750", "1,227,311", *AMOUNTS]
    assert Text.from_ansi(narrow.getvalue()).plain.split()[-7:] == ["1", "2.0G", "1.2M", *AMOUNTS]


def test_a_long_list_below_the_table_is_cut_and_says_so(config: Path, folder: Path) -> None:
    write_log(folder / "usage-2026-11-10.jsonl", *(unpriced(str(number), model=f"m{number}") for number in range(25)))

    assert "  and 5 more, all of them in --format json" in report(config).stdout
    assert len(document(config)["unpriced"]) == 25
