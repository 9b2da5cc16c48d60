"""`weir usage tail` over files that a gateway is writing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from plugins.usage_log.record import record_of
from proxy import AttemptRecord, Outcome, Pricing, Teams, Usage, UsageState
from proxy.cli.usage import usage
from proxy.cli.usage.scope import usage_folder
from tests.support import make_endpoint, make_exchange

COMMAND = [sys.executable, "-c", "from proxy.cli.usage import usage; usage()"]


UPSTREAM = """
[[upstreams.u.endpoints]]
name = "a"
url = "https://a.example"
credential = { api_key = "env:WEIR_TEST_KEY_NOT_SET" }

[[routes]]
name = "all"
match = "/**"
upstream = "u"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "routes.toml"
    file.write_text(UPSTREAM)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "var" / "usage"
    path.mkdir(parents=True)
    return path


def line(id: str, *, second: int = 0, **fields: Any) -> bytes:
    exchange = make_exchange(team="studio")
    exchange.id = id
    exchange.received_at += second
    exchange.status, exchange.outcome = 200, Outcome.COMPLETED
    record = record_of(exchange, exchange.started + 0.1, Teams())
    for name, value in fields.items():
        setattr(record, name, value)
    return msgspec.json.encode(record) + b"\n"


def tail(config: Path, *options: str) -> Result:
    return CliRunner().invoke(usage, ["tail", "-c", str(config), "--no-follow", *options])


def ids(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [json.loads(text)["id"] for text in result.stdout.splitlines()]


def test_the_last_lines(config: Path, folder: Path) -> None:
    (folder / "usage-2025-06-15.jsonl").write_bytes(b"".join(line(str(n)) for n in range(12)))

    assert ids(tail(config, "--json")) == [str(n) for n in range(2, 12)]
    assert ids(tail(config, "--json", "--lines", "3")) == ["9", "10", "11"]
    assert ids(tail(config, "--json", "--lines", "0")) == []
    assert ids(tail(config, "--json", "--lines", "99")) == [str(n) for n in range(12)]


def test_json_is_the_line_as_it_is(config: Path, folder: Path) -> None:
    odd = line("a")[:-2] + b', "later_field": 1}\n'
    (folder / "usage-2025-06-15.jsonl").write_bytes(odd)

    assert tail(config, "--json").stdout_bytes == odd


def test_lines_of_more_than_one_day_and_longer_than_a_block(config: Path, folder: Path) -> None:
    (folder / "usage-2025-06-09.jsonl").write_bytes(line("a") + line("b", labels={"x": "y" * 200_000}) + line("c"))
    (folder / "usage-2025-06-10.jsonl").write_bytes(line("d"))
    (folder / "usage-2025-06-11.jsonl").write_bytes(b"")
    (folder / "usage-2025-06-11.jsonl.torn").write_bytes(b'{"id\n')

    assert ids(tail(config, "--json", "--lines", "3")) == ["b", "c", "d"]
    assert ids(tail(config, "--json", "--lines", "9")) == ["a", "b", "c", "d"]


def test_workers_of_one_day_are_merged_by_time(config: Path, folder: Path) -> None:
    (folder / "usage-2025-06-15.jsonl").write_bytes(line("1", second=1) + line("4", second=4))
    (folder / "usage-2025-06-15.2.jsonl").write_bytes(line("2", second=2) + line("3", second=3))
    (folder / "usage-2025-06-15.10.jsonl").write_bytes(line("0", second=0) + line("5", second=5))

    assert ids(tail(config, "--json", "--lines", "5")) == ["1", "2", "3", "4", "5"]


def test_filters_look_past_what_they_leave_out(config: Path, folder: Path) -> None:
    other = line("x", team="other", model="gemini-3-pro-image") * 2000
    (folder / "usage-2025-06-15.jsonl").write_bytes(line("a") + other + line("none", team=None, model=None))

    assert ids(tail(config, "--json", "--team", "studio")) == ["a"]
    assert ids(tail(config, "--json", "--model", "gemini-2.5-*")) == ["a"]
    assert ids(tail(config, "--json", "--model", "gemini-3-*", "--lines", "2")) == ["x", "x"]
    assert ids(tail(config, "--json", "--team", "studio", "--model", "gemini-3-*")) == []


def test_a_half_written_line_is_left_for_later(config: Path, folder: Path) -> None:
    (folder / "usage-2025-06-15.jsonl").write_bytes(line("a") + line("b")[:-1])

    assert ids(tail(config, "--json")) == ["a"]


def test_a_line_that_is_no_record_is_complained_of(config: Path, folder: Path) -> None:
    (folder / "usage-2025-06-15.jsonl").write_bytes(line("a") + b"\x00\x1b[31mrubbish\n" + line("b"))
    result = tail(config)

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "not a usage record: \\x00\\x1b[31mrubbish\n"


def test_a_person_can_read_it(config: Path, folder: Path) -> None:
    usage_counts = Usage(input_tokens=12, cached_tokens=3, output_tokens=40, thought_tokens=7, images=1)
    attempts = [
        AttemptRecord(endpoint="b", region="eu", started_ms=0.0, error="connect_failed"),
        AttemptRecord(endpoint="c", region="eu", started_ms=0.0, status=503),
        AttemptRecord(endpoint="a", region="eu", started_ms=0.0, status=200),
    ]
    full = line(
        "a",
        endpoint="eu-1",
        region="eu",
        attempts=attempts,
        first_byte_ms=300.4,
        total_ms=61_249.0,
        usage=usage_counts,
        usage_state=UsageState.PARTIAL,
        outcome=Outcome.UPSTREAM_BROKE,
        pricing=Pricing.ESTIMATED,
        cost="0.138472",
        cost_currency="USD",
        price="0.0000412",
        price_currency="EUR",
    )
    bare = line("b", team=None, subject=None, model=None, outcome=Outcome.REFUSED, status=401, reason="NO_CREDENTIAL")
    (folder / "usage-2025-06-15.jsonl").write_bytes(full + bare)
    result = tail(config)

    assert result.stdout.splitlines() == [
        (
            "2025-06-15 15:06:40Z  upstream_broke  200  studio/ada  generateContent gemini-2.5-flash  eu-1 (eu)"
            "  3 attempts: b connect_failed, c 503, a 200  first 300ms total 61.2s"
            "  in 12 cached 3 out 40 thoughts 7 images 1 (partial)  $0.1385 for 0.000041 EUR (estimated)"
        ),
        (
            "2025-06-15 15:06:40Z  refused         401  -/-  generateContent -  no endpoint  NO_CREDENTIAL"
            "  first - total 100ms  unpriced"
        ),
    ]


def test_a_stranger_s_text_cannot_drive_the_terminal(config: Path, folder: Path) -> None:
    (folder / "usage-2025-06-15.jsonl").write_bytes(line("a", model="x\x1b[2J\r\n[red]", endpoint=make_endpoint().name))
    (text,) = tail(config).stdout.splitlines()

    assert "x\\x1b[2J\\r\\n[red]" in text


def test_no_file_yet_is_said_on_stderr(config: Path, tmp_path: Path) -> None:
    result = tail(config)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"no usage log in {tmp_path / 'var' / 'usage'} yet\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "var/usage"),
        ('[server]\nstate = "data"', "data/usage"),
        ('[server]\nstate = "data"\n[plugins.usage_log]\npath = "bills"', "bills"),
        ('[plugins.usage]\nuse = "usage_log"\npath = "/srv/bills"', "/srv/bills"),
        ('[plugins.usage_log]\ndurability = "power"', "var/usage"),
        ('[plugins.first]\nuse = "usage_log"\n[plugins.second]\nuse = "usage_log"\npath = "bills"', "bills"),
    ],
)
def test_the_folder_is_where_the_routes_file_says(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(UPSTREAM + text)

    assert usage_folder(file) == tmp_path / expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "No such file"),
        ("[server", "Expected ']'"),
        (f"plugins = 3\n{UPSTREAM}", "plugins"),
        (f'{UPSTREAM}\n[plugins.usage_log]\npth = "bills"', 'unknown key "pth"'),
    ],
)
def test_a_routes_file_that_cannot_be_read(tmp_path: Path, text: str | None, complaint: str) -> None:
    file = tmp_path / "routes.toml"
    if text is not None:
        file.write_text(text)
    result = tail(file)

    assert (result.exit_code, result.stdout) == (1, "")
    assert str(file) in result.stderr
    assert complaint in result.stderr


@contextmanager
def following(config: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    command = [*COMMAND, "tail", "-c", str(config), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, process.stdout, process.stderr
        finally:
            if process.poll() is None:
                process.kill()


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as out:
        out.write(data)


def test_it_follows_from_before_the_first_file_through_half_lines_and_days(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "var" / "usage"
    with following(config, "--json", "--team", "studio") as (process, out, err):
        assert b"waiting for the first exchange" in err.readline()
        folder.mkdir(parents=True)
        first, second = folder / "usage-2025-06-15.jsonl", folder / "usage-2025-06-16.jsonl"
        append(first, line("1") + line("other", team="other"))
        assert out.readline() == line("1")
        append(first, line("2")[:40])
        append(second, line("3"))  # a new day; the old file still gets the rest of its line
        assert out.readline() == line("3")
        append(first, line("2")[40:])
        assert out.readline() == line("2")
        half = second.stat().st_size
        append(second, line("4")[:40])
        append(first, line("5"))
        assert out.readline() == line("5")
        os.truncate(second, half)  # the gateway takes a half-written group back
        append(second, line("4"))
        assert out.readline() == line("4")
        first.rename(tmp_path / "archived")
        append(first, line("6"))
        assert out.readline() == line("6")

        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert err.read() == b""


def test_it_ends_quietly_when_its_reader_has_gone(config: Path, folder: Path) -> None:
    file = folder / "usage-2025-06-15.jsonl"
    append(file, line("1"))
    with following(config) as (process, out, err):
        assert out.readline().startswith(b"2025-06-15 15:06:40Z  completed       200  studio/ada")
        out.close()
        append(file, line("2"))
        assert process.wait(60) == 0
        assert err.read() == b""


@pytest.mark.parametrize(
    ("amounts", "shown"),
    [
        ({"cost": "0.138472", "price": "0.138472"}, "  $0.1385"),
        ({"cost": "0.24", "price": "0.09"}, "  $0.2400 for $0.0900"),
        ({"cost": "0.0000000126", "price": "0.0000000126"}, "  $0.000000013"),
        ({"cost": "0", "price": "0"}, "0ms"),
        ({"cost": "12345.6", "price": None}, "  $12,345.6000"),
    ],
)
def test_what_it_costs(config: Path, folder: Path, amounts: dict[str, str], shown: str) -> None:
    currencies = {"cost_currency": "USD", "price_currency": "USD"}
    priced = line("a", pricing=Pricing.PRICED, **amounts, **currencies)
    (folder / "usage-2025-06-15.jsonl").write_bytes(priced)

    assert tail(config).stdout.rstrip().endswith(shown)
