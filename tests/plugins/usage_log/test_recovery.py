"""What a killed process left: each record once, the lost ones priced at their estimate, nothing dropped."""

import errno
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from plugins.usage_log import recovery
from plugins.usage_log.forms import Forms
from plugins.usage_log.journal import Journal
from plugins.usage_log.logger import render
from plugins.usage_log.opening import opening_of
from plugins.usage_log.record import record_of
from plugins.usage_log.slots import SLOT_BYTES, Kind
from plugins.usage_log.write_ahead import WriteAhead
from proxy import Attempt, AttemptRecord, Charge, Outcome, Prices, Pricing, Team, Teams, UsageRecord
from tests.plugins.usage_log.disk import largest_file
from tests.support import ManualClock, make_endpoint, make_exchange

NOW = 1_750_000_000.0
FILE = "usage-2025-06-15.jsonl"


class Estimates:
    """A price list that prices what is lost alone."""

    def charge(self, record: UsageRecord) -> Charge:
        assert (record.outcome, record.reason) == (Outcome.LOST, recovery.KILLED)
        return Charge(pricing=Pricing.ESTIMATED, cost=Decimal("0.25"), price=Decimal("0.30"))


def line_of(id: str, **fields: Any) -> bytes:
    exchange = make_exchange(team="studio")
    record = record_of(exchange, exchange.started + 1, Teams())
    for name, value in ({"id": id} | fields).items():
        setattr(record, name, value)
    return render(record)


ENDED = {"outcome": Outcome.COMPLETED, "status": 200}


class Dead:
    """The journal and write-ahead file of a process; `die` leaves both as a kill does."""

    def __init__(self, folder: Path, *, sync: bool = False) -> None:
        self.journal = a_journal(folder)
        self.ahead = WriteAhead(folder, ManualClock(), structlog.get_logger(), sync=sync, chunk_slots=16)
        self.ahead.open()

    def write(self, *lines: bytes) -> None:
        self.journal.append(b"".join(lines), NOW, self.ahead.place)

    def die(self) -> None:
        self.ahead.close()
        self.journal.close()


def a_journal(folder: Path, **seams: Any) -> Journal:
    journal = Journal(folder, structlog.get_logger(), sync=False, max_bytes=1 << 30, **seams)
    journal.open(NOW)
    return journal


def recover(folder: Path, prices: Prices | None = None) -> list[dict[str, Any]]:
    """As `UsageLog` does at its start; what it logged."""
    journal = a_journal(folder)
    try:
        with capture_logs() as logs:
            recovery.recover(folder, journal, prices or Estimates(), structlog.get_logger(), NOW)
    finally:
        journal.close()
    return [dict(log) for log in logs]


def records(folder: Path) -> dict[str, UsageRecord]:
    lines = [line for file in sorted(folder.glob("usage-*.jsonl")) for line in file.read_bytes().splitlines()]
    found = [msgspec.json.decode(line, type=UsageRecord) for line in lines]
    by_id = {record.id: record for record in found}
    assert len(by_id) == len(found), "a record was doubled"
    return by_id


def test_ended_and_lost(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.ahead.put("ended", line_of("ended"), Kind.OPENING)
    dead.ahead.put("ended", line_of("ended", **ENDED), Kind.ENDED)
    dead.ahead.put("lost", line_of("lost"), Kind.OPENING)
    dead.die()

    (log,) = recover(tmp_path)

    found = records(tmp_path)
    assert found.keys() == {"ended", "lost"}
    assert (found["ended"].outcome, found["ended"].status, found["ended"].reason) == (Outcome.COMPLETED, 200, None)
    assert (found["lost"].outcome, found["lost"].reason) == (Outcome.LOST, "GATEWAY_KILLED")
    assert (found["lost"].pricing, found["lost"].cost, found["lost"].price) == (Pricing.ESTIMATED, "0.25", "0.3")
    assert (log["log_level"], log["ended"], log["lost"], log["written_before"]) == ("warning", 1, 1, 0)
    assert (tmp_path / "ahead-1.wal").stat().st_size == 0
    assert recover(tmp_path) == []


def test_what_was_written_before_it_could_be_said_is_not_written_again(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.write(line_of("before"))
    for each in ("a", "b", "c"):
        dead.ahead.put(each, line_of(each, **ENDED), Kind.ENDED)
    dead.write(line_of("a", **ENDED), line_of("b", **ENDED))
    dead.die()

    (log,) = recover(tmp_path)

    assert records(tmp_path).keys() == {"before", "a", "b", "c"}
    assert (log["ended"], log["written_before"]) == (1, 2)


def test_only_what_came_after_the_noted_place_is_read(tmp_path: Path) -> None:
    """Gigabytes stand before it."""
    dead = Dead(tmp_path)
    dead.write(line_of("x", **ENDED))
    dead.write(line_of("before"))
    dead.ahead.put("x", line_of("x", **ENDED), Kind.ENDED)
    dead.die()

    (log,) = recover(tmp_path)

    assert (log["ended"], log["written_before"]) == (1, 0)


def test_a_group_cut_in_a_line_is_completed(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    lines = {each: line_of(each, **ENDED) for each in ("a", "b", "c")}
    for each, line in lines.items():
        dead.ahead.put(each, line, Kind.ENDED)
    dead.write(*lines.values())
    os.truncate(tmp_path / FILE, len(lines["a"]) + 100)
    dead.die()

    logs = recover(tmp_path)

    assert records(tmp_path).keys() == {"a", "b", "c"}
    assert (logs[-1]["ended"], logs[-1]["written_before"]) == (2, 1)


def test_after_a_restart_of_the_machine_every_file_of_those_days_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place may be newer than other pages of the file, which were not written before the power went."""
    dead = Dead(tmp_path)
    dead.write(line_of("a", **ENDED))
    dead.write(line_of("b", **ENDED))
    for each in ("a", "b", "c"):
        dead.ahead.put(each, line_of(each, **ENDED), Kind.ENDED)
    dead.die()
    (tmp_path / "usage-2025-06-14.jsonl").write_bytes(b"of a day before: not even read")
    monkeypatch.setattr(recovery, "boot_id", lambda: "another")

    (log,) = [log for log in recover(tmp_path) if "ended" in log]

    assert (log["ended"], log["written_before"]) == (1, 2)


@pytest.mark.parametrize("again", ["same boot", "another"])
def test_a_recovery_that_is_killed_after_it_wrote_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    dead = Dead(tmp_path)
    dead.write(line_of("x", **ENDED))
    dead.ahead.put("x", line_of("x", **ENDED), Kind.ENDED)
    dead.ahead.put("y", line_of("y", **ENDED), Kind.ENDED)
    dead.ahead.put("z", line_of("z"), Kind.OPENING)
    dead.die()
    left = (tmp_path / "ahead-1.wal").read_bytes()
    truncate = os.ftruncate

    def killed(fd: int, length: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "ftruncate", killed)
    with pytest.raises(KeyboardInterrupt):
        recover(tmp_path)
    monkeypatch.setattr(os, "ftruncate", truncate)
    assert (tmp_path / "ahead-1.wal").read_bytes() != left, "where it wrote is noted"
    if again == "another":
        monkeypatch.setattr(recovery, "boot_id", lambda: "another")

    (log,) = recover(tmp_path)

    assert records(tmp_path).keys() == {"x", "y", "z"}
    assert (log["ended"], log["lost"], log["written_before"]) == (0, 0, 3)


def test_a_full_disk_keeps_everything_for_another_start(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    for number in range(5):
        dead.ahead.put(f"{number}", line_of(f"{number}", **ENDED), Kind.ENDED)
    dead.die()

    with largest_file(1000), pytest.raises(OSError, match="too large"):
        recover(tmp_path)
    assert records(tmp_path) == {}

    recover(tmp_path)
    assert records(tmp_path).keys() == {"0", "1", "2", "3", "4"}


def test_a_living_process_is_left_alone(tmp_path: Path) -> None:
    living = Dead(tmp_path)
    living.ahead.put("x", line_of("x"), Kind.OPENING)

    assert recover(tmp_path) == []

    living.die()
    assert len(recover(tmp_path)) == 1


def test_what_cannot_be_read_is_set_aside_and_said(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.ahead.put("good", line_of("good", **ENDED), Kind.ENDED)
    dead.ahead.put("bad", line_of("bad", subject="planted-subject"), Kind.OPENING)
    dead.ahead.put("no record", b'["not a record"]\n', Kind.ENDED)
    dead.die()
    file = tmp_path / "ahead-1.wal"
    content = file.read_bytes()
    at = content.index(b"planted-subject")
    file.write_bytes(content[:at] + b"P" + content[at + 1 :])

    logs = recover(tmp_path)

    assert records(tmp_path).keys() == {"good"}
    aside = (tmp_path / "ahead-1.wal.torn").read_bytes()
    assert b"Planted-subject" in aside
    assert b'["not a record"]' in aside
    assert len(aside) > SLOT_BYTES
    assert [(log["log_level"], log.get("lines")) for log in logs] == [("error", 2), ("warning", None)]


def test_a_brief_opening_becomes_the_record_that_a_whole_one_does(tmp_path: Path) -> None:
    teams = Teams({"studio": Team("studio", price_list="resale")})
    forms, dead = Forms(teams), Dead(tmp_path)
    wanted = []
    for number in range(2):  # the second attempt's is whole
        exchange = make_exchange(team="studio")
        exchange.id = f"x-{number}"
        tried = [AttemptRecord(endpoint=name, region="eu", started_ms=2.5) for name in ("us-1", "eu-1")[: 1 + number]]
        exchange.attempts = tried
        kind, line = opening_of(
            forms.find(exchange), Attempt(exchange, make_endpoint(tried[-1].endpoint, region="eu"), tried[-1])
        )
        assert kind is (Kind.OPENING if number else Kind.BRIEF)
        dead.ahead.put(exchange.id, line, kind)
        tried[-1].sent = True
        record = record_of(exchange, exchange.started + 0.0025, teams)
        record.reason, record.pricing, record.cost, record.price = recovery.KILLED, Pricing.ESTIMATED, "0.25", "0.3"
        record.cost_currency = record.price_currency = "USD"
        record.price_list = None  # as `Estimates` has it
        wanted.append(record)
    dead.die()

    (log,) = recover(tmp_path)

    assert list(records(tmp_path).values()) == wanted
    assert (log["lost"], log["ended"]) == (2, 0)


def test_a_brief_opening_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.ahead.put("x", b"planted", Kind.BRIEF)
    dead.die()

    (log,) = recover(tmp_path)

    assert (log["log_level"], log["lines"]) == ("error", 1)
    assert (tmp_path / "ahead-1.wal.torn").read_bytes() == b"planted\n"


def test_an_opening_of_another_version_is_written_as_it_is(tmp_path: Path) -> None:
    line = b'{"schema":9,"time":"2025-06-15T15:06:40.000Z","id":"x","outcome":"lost","pricing":"unpriced"}\n'
    dead = Dead(tmp_path)
    dead.ahead.put("x", line, Kind.OPENING)
    dead.die()

    recover(tmp_path)

    assert (tmp_path / FILE).read_bytes() == line


def test_a_usage_file_that_was_taken_away_is_said(tmp_path: Path) -> None:
    """It may hold the record: a record doubled can be seen by its id, one that is missing cannot."""
    dead = Dead(tmp_path)
    dead.ahead.put("x", line_of("x", **ENDED), Kind.ENDED)
    dead.write(line_of("x", **ENDED))
    (tmp_path / FILE).rename(tmp_path / "archived")
    dead.ahead.place("usage-2025-06-14.jsonl", 0)
    dead.die()

    logs = recover(tmp_path)

    assert records(tmp_path).keys() == {"x"}
    assert [(log["log_level"], log["file"]) for log in logs] == [
        ("warning", "usage-2025-06-14.jsonl"),
        ("warning", "ahead-1.wal"),
    ]


def test_garbage_in_the_usage_log_does_not_keep_the_gateway_from_starting(tmp_path: Path) -> None:
    """A power cut may leave anything in pages that were never written."""
    dead = Dead(tmp_path)
    dead.ahead.put("x", line_of("x", **ENDED), Kind.ENDED)
    dead.ahead.put("y", line_of("y", **ENDED), Kind.ENDED)
    dead.write(b'{"id":"\xff\xfe","time":"x"}\n', b"\x00\x00\n", line_of("x", **ENDED))
    dead.die()

    (log,) = recover(tmp_path)

    assert (log["ended"], log["written_before"]) == (1, 1)
    assert (tmp_path / FILE).read_bytes().endswith(line_of("y", **ENDED))


def test_a_hundred_starts_on_a_full_disk_lose_nothing(tmp_path: Path) -> None:
    """Each notes where it was about to write; the notes must not outgrow their slot."""
    dead = Dead(tmp_path)
    for number in range(5):
        dead.ahead.put(f"{number}", line_of(f"{number}", **ENDED), Kind.ENDED)
    dead.die()

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    for _ in range(100):
        journal = a_journal(tmp_path, write=full)
        with pytest.raises(OSError, match="no space"):
            recovery.recover(tmp_path, journal, Estimates(), structlog.get_logger(), NOW)
        journal.close()

    (log,) = recover(tmp_path)
    assert log["ended"] == 5
    assert records(tmp_path).keys() == {"0", "1", "2", "3", "4"}


def test_notes_that_outgrow_their_slot_are_no_longer_trusted(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.ahead.put("x", line_of("x", **ENDED), Kind.ENDED)
    dead.ahead.put("y", line_of("y"), Kind.OPENING)
    dead.write(line_of("x", **ENDED))
    dead.die()
    with (tmp_path / "ahead-1.wal").open("rb+") as file:
        left = recovery.Left(file.fileno())
        for number in range(200):
            left.note(f"usage-2025-06-14.{number}.jsonl", 0)

    (log,) = recover(tmp_path)

    assert records(tmp_path).keys() == {"x", "y"}
    assert (log["lost"], log["written_before"]) == (1, 1)


def test_a_price_list_that_fails_does_not_keep_the_gateway_from_starting(tmp_path: Path) -> None:
    class Broken:
        def charge(self, record: UsageRecord) -> Charge:
            raise ArithmeticError("planted")

    dead = Dead(tmp_path)
    dead.ahead.put("x", line_of("x"), Kind.OPENING)
    dead.die()

    logs = recover(tmp_path, Broken())

    record = records(tmp_path)["x"]
    assert (record.outcome, record.pricing, record.cost) == (Outcome.LOST, Pricing.UNPRICED, None)
    assert [log["log_level"] for log in logs] == ["error", "warning"]


def test_a_clock_that_was_set_back_doubles_nothing_after_a_restart_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record began on the 16th, by the clock of then, and was written to the file of the 15th."""
    dead = Dead(tmp_path)
    line = line_of("x", time="2025-06-16T00:00:01.000Z", **ENDED)
    dead.ahead.put("x", line, Kind.ENDED)
    dead.write(line)
    dead.die()
    monkeypatch.setattr(recovery, "boot_id", lambda: "another")

    (log,) = recover(tmp_path)

    assert (log["ended"], log["written_before"]) == (0, 1)


@pytest.mark.parametrize("kind", [Kind.OPENING, Kind.ENDED])
def test_a_power_cut_that_kept_only_the_end_of_a_replaced_line(tmp_path: Path, kind: Kind) -> None:
    """The kernel may have written the page of the old line, that it counts no more, and not the page of the new one."""
    dead = Dead(tmp_path, sync=True)
    dead.ahead.put("x", line_of("x"), Kind.OPENING)
    file = tmp_path / "ahead-1.wal"
    synced = file.read_bytes()
    dead.ahead.put("x", line_of("x", status=200), kind)
    new = file.read_bytes()
    dead.die()
    old_page = synced.index(b'"id":"x"') // SLOT_BYTES * SLOT_BYTES
    page = slice(old_page, old_page + SLOT_BYTES)
    file.write_bytes(synced[: page.start] + new[page] + synced[page.stop :])

    recover(tmp_path)

    assert records(tmp_path).keys() == {"x"}
