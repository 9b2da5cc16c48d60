"""What a killed process left in its write-ahead file becomes records of the usage log, each exactly once.

`UsageLog` calls it at its start, in a thread, before anything is served. An ended exchange is written as it is; one
under way becomes a record with outcome `lost`, priced at its estimate. What was written already is found by the
place that was noted before the last group. Nothing is dropped: what cannot be read is set aside, and said.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from plugins.usage_log.charging import charge_into
from plugins.usage_log.journal import Journal
from plugins.usage_log.lock import FILE_MODE, lock
from plugins.usage_log.logger import render
from plugins.usage_log.opening import from_brief
from plugins.usage_log.places import Places, boot_id
from plugins.usage_log.slots import PLACE_SLOTS, ROOM_BYTES, SLOT_BYTES, Entry, Kind, pack, read_back
from proxy import Outcome, Prices, UsageRecord

KILLED = "GATEWAY_KILLED"

_READ_SLOTS = 256
# msgspec raises the second for text that is not UTF-8, and it is no DecodeError; the third is a brief line's.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, struct.error)


class _Head(msgspec.Struct):
    """What is asked of a line: any version of the record has it."""

    id: str
    time: str


def recover(folder: Path, journal: Journal, prices: Prices, log: FilteringBoundLogger, now: float) -> None:
    """See to every write-ahead file whose process is gone. The journal is open. Raises OSError."""
    for file in sorted(folder.glob("ahead-*.wal")):
        fd = lock(file)
        if fd is None:
            continue
        try:
            if os.fstat(fd).st_size:
                _recover(file, fd, folder, journal, prices, log, now)
                os.ftruncate(fd, 0)
        finally:
            os.close(fd)


def _recover(
    file: Path, fd: int, folder: Path, journal: Journal, prices: Prices, log: FilteringBoundLogger, now: float
) -> None:
    left = Left(fd)
    if left.torn:
        aside = file.with_name(file.name + ".torn")
        _set_aside(aside, left.torn)
        log.error(
            "usage log: unreadable lines of a write-ahead file were moved aside",
            file=file.name,
            moved_to=aside.name,
            lines=len(left.torn),
        )
    if not left.lines:
        return
    written = _written(folder, left, log)
    missing = [entry for exchange, entry in left.lines.items() if exchange not in written]
    lines = [entry.line if entry.kind is Kind.ENDED else lost(entry.line, prices, log) for entry in missing]
    if lines:
        journal.append(b"".join(lines), now, left.note)
    log.warning(
        "usage log: recovered what a killed process left",
        file=file.name,
        ended=sum(entry.kind is Kind.ENDED for entry in missing),
        lost=sum(entry.kind is Kind.OPENING for entry in missing),
        written_before=len(written),
    )


def lost(line: bytes, prices: Prices, log: FilteringBoundLogger) -> bytes:
    """The record of an exchange that was under way when its process was killed."""
    try:
        record = msgspec.json.decode(line, type=UsageRecord)
    except msgspec.ValidationError:
        return line  # another version's: an opening is a record already, of an unpriced loss
    record.outcome, record.reason = Outcome.LOST, KILLED
    charge_into(record, prices, log)
    return render(record)


def _whole(entry: Entry) -> Entry:
    """A record, of whatever kind the line is. Raises `_UNREADABLE`."""
    if entry.kind is not Kind.BRIEF:
        return entry
    return Entry(entry.number, Kind.OPENING, from_brief(entry.line))


_UNKNOWN = Places("", ())


class Left:
    """The content of a write-ahead file.

    Attributes:
        lines: by the id of the exchange, its last line.
        torn: slots that count and cannot be read.
        places: where they may have been written; None when that is not known.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.lines: dict[str, Entry] = {}
        self.torn: list[bytes] = []
        self.places: Places | None = None
        self._placed = 0
        self.oldest = ""
        for entry in sorted(self._entries(), key=lambda entry: entry.number):
            if entry.kind is Kind.PLACE:
                self._placed, self.places = entry.number, msgspec.json.decode(entry.line, type=Places)
                continue
            try:
                whole = _whole(entry)
                head = msgspec.json.decode(whole.line, type=_Head)
            except _UNREADABLE:
                self.torn.append(entry.line)
                continue
            self.lines[head.id] = whole
            self.oldest = min(self.oldest or head.time, head.time)

    def note(self, file: str, offset: int) -> None:
        """Note where the lines go now: a recovery that is killed as well is not made twice."""
        self.places = (self.places or _UNKNOWN).with_one_more(file, offset)
        line = msgspec.json.encode(self.places)
        if len(line) > ROOM_BYTES:
            line = msgspec.json.encode(_UNKNOWN)
        self._placed += 1
        content = pack(self._placed, Kind.PLACE, 0, 1, line, live=1)
        os.pwrite(self._fd, content, self._placed % PLACE_SLOTS * SLOT_BYTES)

    def _entries(self) -> Iterator[Entry]:
        for found in read_back(self._slots()):
            if isinstance(found, Entry):
                yield found
            else:
                self.torn.append(found)

    def _slots(self) -> Iterator[bytes]:
        start = 0
        while block := os.pread(self._fd, _READ_SLOTS * SLOT_BYTES, start):
            start += len(block)
            for at in range(0, len(block) - SLOT_BYTES + 1, SLOT_BYTES):
                yield block[at : at + SLOT_BYTES]


def _written(folder: Path, left: Left, log: FilteringBoundLogger) -> set[str]:
    """Those that the usage log holds: killed after it wrote them, and before it could say so."""
    places = left.places or _UNKNOWN
    if places.boot and places.boot == boot_id():
        ranges = [(folder / place.file, place.offset) for place in places.places]
    else:
        # The machine was restarted: parts of the file may be older than others, also the place. Its file counts all
        # the same: a clock that was set back writes to a day before that on which an exchange began.
        day = min([left.oldest[:10], *(_day_of(place.file) for place in places.places)])
        ranges = [(file, 0) for file in sorted(folder.glob("usage-*.jsonl")) if _day_of(file.name) >= day]
    written: set[str] = set()
    for file, offset in ranges:
        try:
            written.update(each for each in _ids(file, offset) if each in left.lines)
        except FileNotFoundError:
            log.warning("usage log: a file is gone that may hold records which are now written again", file=file.name)
    return written


def _day_of(name: str) -> str:
    return name.removeprefix("usage-")[:10]


def _ids(file: Path, offset: int) -> Iterator[str]:
    with file.open("rb") as source:
        source.seek(offset if offset <= os.fstat(source.fileno()).st_size else 0)
        for line in source:
            try:
                yield msgspec.json.decode(line, type=_Head).id
            except _UNREADABLE:  # torn, or somebody else's
                continue


def _set_aside(file: Path, torn: Iterable[bytes]) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE), "wb") as out:
        out.write(b"\n".join(torn) + b"\n")
        out.flush()
        os.fsync(out.fileno())
