"""The files of the usage log: one a day, whole lines only, one writer a file.

`Writer` appends groups of lines from a thread; `UsageLog` opens and closes it. Nothing here knows what a record
is or awaits anything. `usage-2026-01-31.jsonl` is the file of what was *written* on that day, in UTC;
`usage-2026-01-31.2.jsonl` is a second writer's (another process, or the new instance during a reload).
"""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

FILE_MODE = 0o640  # names of people are in it; a log shipper reads it through its group
_BLOCK_BYTES = 1 << 16

# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)


class Journal:
    """Appends to today's file. Not for two threads at a time."""

    def __init__(self, folder: Path, log: FilteringBoundLogger, *, sync: bool) -> None:
        self._folder = folder
        self._log = log
        self._sync = sync
        self._file: Path | None = None
        self._fd = -1
        self._day = ""
        self._end = 0  # where whole lines end
        self._torn = False  # there may be bytes past `_end`

    @property
    def name(self) -> str | None:
        """The file's name; None before the first is open."""
        return self._file.name if self._file else None

    def open(self, now: float) -> None:
        """Mend every file that no living writer holds, then open today's. Raises OSError."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        for file in sorted(self._folder.glob("usage-*.jsonl")):
            try:
                fd = _lock(file)
            except PermissionError:  # an archive somebody closed: no reason not to start
                self._log.warning("usage log: not checked for a torn last line, no right to write it", file=file.name)
                continue
            if fd is not None:
                try:
                    self._mend(fd, file)
                finally:
                    os.close(fd)
        self._rotate(_day(now))

    def append(self, group: bytes, now: float) -> None:
        """Write whole lines, all of them or none. Raises OSError; the same call may then be made again."""
        self._cut_back()
        day = _day(now)
        if day != self._day or not self._in_place():
            self._rotate(day)
        self._end = os.fstat(self._fd).st_size
        self._torn = True
        try:
            _write(self._fd, group)
            if self._sync:
                # After a failed sync Linux may call the pages clean (they were never written): the retry must
                # write them again, hence the cut below.
                _sync_data(self._fd)
        except OSError:
            self._cut_back()
            raise
        self._torn = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)  # drops the lock as well
        self._fd, self._day = -1, ""

    def _cut_back(self) -> None:
        """Take a half-written group out, so that a retry doubles nothing. We alone write here: see `_lock`."""
        if self._torn:
            os.ftruncate(self._fd, self._end)
            self._torn = False

    def _in_place(self) -> bool:
        """False when the open file was moved or deleted: what is written to it would be found by nobody."""
        if self._file is None or self._fd < 0:
            return False
        try:
            return os.path.samestat(os.stat(self._file), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _rotate(self, day: str) -> None:
        """Open that day's file; the old one stays open until the new one is."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        file, fd = self._claim(day)
        try:
            self._mend(fd, file)
            if self._sync:
                _sync_folder(self._folder)
        except OSError:
            os.close(fd)
            raise
        self.close()
        self._file, self._fd, self._day = file, fd, day

    def _claim(self, day: str) -> tuple[Path, int]:
        """The first of that day's files without a living writer."""
        number = 1
        while True:
            file = self._folder / (f"usage-{day}.jsonl" if number == 1 else f"usage-{day}.{number}.jsonl")
            fd = _lock(file, create=True)
            if fd is not None:
                return file, fd
            number += 1

    def _mend(self, fd: int, file: Path) -> None:
        """See to a last line that has no newline: complete it, or move it aside to a `.torn` file."""
        size = os.fstat(fd).st_size
        whole = _end_of_lines(fd, size)
        if whole == size:
            return
        tail = os.pread(fd, size - whole, whole)
        if _is_object(tail):
            _write(fd, b"\n")
            self._log.warning("usage log: a whole last line had no newline and got one", file=file.name)
            return
        aside = file.with_name(file.name + ".torn")
        out = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        try:
            _write(out, tail + b"\n")
            os.fsync(out)  # before it goes from its first place
        finally:
            os.close(out)
        os.ftruncate(fd, whole)
        self._log.error(
            "usage log: a torn last line was moved aside", file=file.name, moved_to=aside.name, bytes=len(tail)
        )


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def _lock(file: Path, *, create: bool = False) -> int | None:
    """Open a file as its only writer; None when it has one.

    Appends of two processes do not mix, but cutting a torn group back would cut the other's lines off.
    """
    fd = os.open(file, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0), FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd


def _write(fd: int, data: bytes) -> None:
    """In one write; a full disk takes a part of it and says so by the count, and only the next one fails."""
    while data:
        data = data[os.write(fd, data) :]


def _end_of_lines(fd: int, size: int) -> int:
    """The offset after the last newline."""
    end = size
    while end:
        start = max(0, end - _BLOCK_BYTES)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _is_object(text: bytes) -> bool:
    """A JSON object that lost its end cannot be read as one: what can be is whole."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _sync_folder(folder: Path) -> None:
    """A new file's name lives in its folder: without this it may be gone after a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
