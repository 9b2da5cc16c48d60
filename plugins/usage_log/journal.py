"""The files of the usage log: a new one each day and at a size, whole lines only, one writer a file.

`Writer` appends groups of lines from a thread; `UsageLog` opens and closes it. Nothing here knows what a record
is or awaits anything. `usage-2026-01-31.jsonl` is the file of what was *written* on that day, in UTC;
`usage-2026-01-31.2.jsonl` is a second writer's (another process, or the new instance during a reload), or what
came when the first one was full. No file is ever renamed, or cut but for a group that was half written.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from plugins.usage_log.lock import FILE_MODE, lock

_BLOCK_BYTES = 1 << 16

# macOS has no fdatasync.
sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


def nowhere(file: str, offset: int) -> None:
    """For who need not know where a group goes."""


class Journal:
    """Appends to today's file. Not for two threads at a time.

    Args:
        sync: whether each group is to outlive a power cut.
        max_bytes: no group is begun in a file that it would make larger; a group is never divided.
        write: what writes, and `sync_data` what syncs: a test's seam for disks that fail.
    """

    def __init__(
        self,
        folder: Path,
        log: FilteringBoundLogger,
        *,
        sync: bool,
        max_bytes: int,
        write: Callable[[int, bytes], int] = os.write,
        sync_data: Callable[[int], None] = sync_data,
    ) -> None:
        self._folder = folder
        self._log = log
        self._sync = sync
        self._max_bytes = max_bytes
        self._write = write
        self._sync_data = sync_data
        self._file: Path | None = None
        self._fd = -1
        self._day = ""
        self._number = 0  # of the file in its day
        self._distrusted = False  # a sync of it failed
        self._end = 0  # where whole lines end
        self._torn = False  # there may be bytes past `_end`

    @property
    def name(self) -> str | None:
        """The file's name; None before the first is open."""
        return self._file.name if self._file else None

    def open(self, now: float) -> None:
        """Mend every file that no living writer holds, then open today's. Raises OSError."""
        self._make_folder()
        for file in sorted(self._folder.glob("usage-*.jsonl")):
            try:
                fd = lock(file, append=True)
            except FileNotFoundError:  # archived just now
                continue
            except PermissionError:  # an archive somebody closed: no reason not to start
                self._log.warning("usage log: not checked for a torn last line, no right to write it", file=file.name)
                continue
            if fd is not None:
                try:
                    self._mend(fd, file)
                finally:
                    os.close(fd)
        self._rotate(_day(now), 1, 1)

    def append(self, group: bytes, now: float, before: Callable[[str, int], None] = nowhere) -> None:
        """Write whole lines, all of them or none. Raises OSError; the same call may then be made again.

        `before` is told the file's name and length, just before the first byte is written.
        """
        self._cut_back()
        day = _day(now)
        if day != self._day:
            self._rotate(day, 1, len(group))
        elif not self._in_place():
            self._rotate(day, self._number, len(group))
        elif self._distrusted or not self._has_room(self._fd, len(group)):
            self._rotate(day, self._number + 1, len(group))
        assert self._file is not None
        self._end = os.fstat(self._fd).st_size
        before(self._file.name, self._end)
        self._torn = True
        try:
            self._write_all(self._fd, group)
            if self._sync:
                self._sync_group()
        except OSError:
            self._cut_back()
            raise
        self._torn = False

    def _sync_group(self) -> None:
        """After a failure Linux may call the pages clean although they were never written: no more of that file."""
        try:
            self._sync_data(self._fd)
        except OSError:
            self._distrusted = True
            raise

    def _has_room(self, fd: int, more_bytes: int) -> bool:
        size = os.fstat(fd).st_size
        return not size or size + more_bytes <= self._max_bytes

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)  # drops the lock as well
        self._fd, self._day = -1, ""

    def _cut_back(self) -> None:
        """Take a half-written group out, so that a retry doubles nothing. We alone write here: see `lock`.

        While that fails nothing else is written either: a delay is mended, a doubled record is not.
        """
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

    def _make_folder(self) -> None:
        if self._folder.is_dir():
            return
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        if self._sync:
            sync_folder(self._folder.parent)

    def _rotate(self, day: str, number: int, more_bytes: int) -> None:
        """Open a file of that day, from that number on; the old one stays open until the new one is."""
        self._make_folder()
        file, fd, number = self._claim(day, number, more_bytes)
        try:
            self._mend(fd, file)
            if self._sync:
                sync_folder(self._folder)
        except OSError:
            os.close(fd)
            raise
        self.close()
        self._file, self._fd, self._day, self._number = file, fd, day, number
        self._distrusted = False

    def _claim(self, day: str, number: int, more_bytes: int) -> tuple[Path, int, int]:
        """The first of that day's files, from that number on, that has no living writer, and room."""
        while True:
            file = self._folder / (f"usage-{day}.jsonl" if number == 1 else f"usage-{day}.{number}.jsonl")
            fd = lock(file, create=True, append=True)
            if fd is not None:
                if self._has_room(fd, more_bytes):
                    return file, fd, number
                os.close(fd)
            number += 1

    def _mend(self, fd: int, file: Path) -> None:
        """See to a last line that has no newline: complete it, or move it aside to a `.torn` file."""
        size = os.fstat(fd).st_size
        whole = _end_of_lines(fd, size)
        if whole == size:
            return
        tail = os.pread(fd, size - whole, whole)
        if _is_object(tail):
            self._write_all(fd, b"\n")
            self._log.warning("usage log: a whole last line had no newline and got one", file=file.name)
            return
        aside = file.with_name(file.name + ".torn")
        out = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        try:
            self._write_all(out, tail + b"\n")
            os.fsync(out)  # before it goes from its first place
        finally:
            os.close(out)
        os.ftruncate(fd, whole)
        self._log.error(
            "usage log: a torn last line was moved aside", file=file.name, moved_to=aside.name, bytes=len(tail)
        )

    def _write_all(self, fd: int, data: bytes) -> None:
        """In one write; a full disk takes a part of it and says so by the count, and only the next one fails."""
        while data:
            data = data[self._write(fd, data) :]


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


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


def sync_folder(folder: Path) -> None:
    """A new file's name lives in its folder: without this it may be gone after a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
