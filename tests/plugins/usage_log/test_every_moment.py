"""A kill between any two statements: what the disk has then is given to another start, and each record is there once.

The interpreter stops at each line of the files that write; the folder as it is at that moment is what a kill would
leave. Each such folder is recovered, and so is what a kill of that recovery leaves.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
import structlog

from plugins.usage_log import ahead_file, recovery, slots, write_ahead
from plugins.usage_log import journal as journal_file
from plugins.usage_log.forms import Forms
from plugins.usage_log.journal import Journal
from plugins.usage_log.logger import render
from plugins.usage_log.opening import opening_of
from plugins.usage_log.record import record_of
from plugins.usage_log.slots import ROOM_BYTES, Kind
from plugins.usage_log.write_ahead import WriteAhead
from proxy import Attempt, AttemptRecord, Charge, Outcome, Pricing, Teams, UsageRecord
from tests.support import ManualClock, make_endpoint, make_exchange

NOW = 1_750_000_000.0
FILES = {module.__file__ for module in (ahead_file, journal_file, recovery, slots, write_ahead)}
Folder = dict[str, bytes]


class Free:
    def charge(self, record: UsageRecord) -> Charge:
        return Charge(pricing=Pricing.ESTIMATED)


class Moments:
    """The different states of a folder, each with what was known when it was first seen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.opened: set[str] = set()
        self.ended: set[str] = set()
        self.seen: list[tuple[Folder, set[str], set[str]]] = []
        self._states: set[tuple[tuple[str, bytes], ...]] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            state = {file.name: file.read_bytes() for file in self._folder.iterdir()}
            key = tuple(sorted(state.items()))
            if key not in self._states:
                self._states.add(key)
                self.seen.append((state, set(self.opened), set(self.ended)))
        return self._trace


class Process:
    """A journal that writes a few bytes at a time, and a write-ahead file, under a watch."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self.moments = Moments(folder)
        self.forms = Forms(Teams())
        self.journal = a_journal(folder, sync=sync)
        self.ahead = WriteAhead(folder, ManualClock(), structlog.get_logger(), sync=sync, chunk_slots=16)
        self.ahead.open()

    def put(self, id: str, kind: Kind, bytes_more: int = 0) -> bytes:
        exchange = make_exchange(team="s" * bytes_more)
        exchange.id = id
        if kind is Kind.ENDED:
            exchange.outcome = Outcome.COMPLETED
        if kind is Kind.BRIEF:
            exchange.attempts.append(AttemptRecord(endpoint="a", region="eu", started_ms=0.4))
            attempt = Attempt(exchange, make_endpoint("a"), exchange.attempts[0])
            made, line = opening_of(self.forms.find(exchange), attempt)
            assert made is kind
        else:
            line = render(record_of(exchange, exchange.started, Teams()))
        with self.moments.watched():
            assert self.ahead.put(id, line, kind)
        (self.moments.ended if kind is Kind.ENDED else self.moments.opened).add(id)
        return line

    def write(self, **lines: bytes) -> None:
        with self.moments.watched():
            self.journal.append(b"".join(lines.values()), NOW, self.ahead.place)
            self.ahead.done(lines)

    def close(self) -> None:
        self.ahead.close()
        self.journal.close()


def a_journal(folder: Path, *, sync: bool = False) -> Journal:
    def few(fd: int, data: bytes) -> int:
        return os.write(fd, data[:400])

    journal = Journal(folder, structlog.get_logger(), sync=sync, max_bytes=3000, write=few)
    journal.open(NOW)
    return journal


def recover(state: Folder, folder: Path, moments: Moments | None = None) -> dict[str, UsageRecord]:
    """Start on such a folder; the records that are there then."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in state.items():
        (folder / name).write_bytes(content)
    journal = a_journal(folder)
    with moments.watched() if moments else nullcontext():
        recovery.recover(folder, journal, Free(), structlog.get_logger(), NOW)
    journal.close()
    lines = [line for file in folder.glob("usage-*.jsonl") for line in file.read_bytes().splitlines()]
    found = [msgspec.json.decode(line, type=UsageRecord) for line in lines]
    by_id = {record.id: record for record in found}
    assert len(by_id) == len(found), "a record was doubled"
    return by_id


@pytest.mark.skipif(not slots.__file__.endswith(".py"), reason="nobody can stop at a line of what is compiled")
@pytest.mark.parametrize("sync", [False, True])
def test_a_kill_between_any_two_statements(tmp_path: Path, sync: bool) -> None:
    folder = tmp_path / "living"
    folder.mkdir()
    process = Process(folder, sync=sync)
    process.put("a", Kind.BRIEF)
    process.put("b", Kind.OPENING, 2 * ROOM_BYTES)
    process.put("a", Kind.OPENING)
    a = process.put("a", Kind.ENDED)
    c = process.put("c", Kind.ENDED)
    process.write(a=a, c=c)
    b = process.put("b", Kind.ENDED, ROOM_BYTES)
    process.put("d", Kind.BRIEF)
    process.write(b=b)  # into the next file: the first is full
    d = process.put("d", Kind.ENDED)
    process.write(d=d)
    process.close()

    states = process.moments.seen
    assert len(states) > 40
    for number, (state, opened, ended) in enumerate(states):
        again = tmp_path / "again"
        moments = Moments(again) if number % 3 == 0 else None
        found = recover(state, again, moments)
        assert opened | ended <= found.keys()
        assert all(found[each].outcome is Outcome.COMPLETED for each in ended)
        for killed, *_ in moments.seen if moments else ():
            assert recover(killed, tmp_path / "once more").keys() == found.keys()
