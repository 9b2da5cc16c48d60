"""The journal's files, read while the gateway writes them: the last lines, then each new one.

`weir usage` polls it: the folder need not exist yet, network file systems send no events, and a busy gateway would
wake a watcher twenty times a second anyway. It hands out whole lines and never writes.
"""

import os
import re
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from proxy.cli.usage.lines import ended

_BLOCK_BYTES = 1 << 16
_NAME = re.compile(r"usage-(?P<day>\d{4}-\d{2}-\d{2})(?:\.(?P<number>\d+))?[^/]*\.jsonl(?:\.gz)?")


class Place(msgspec.Struct):
    """How far a file has been read, always to the end of a line; and which file it was."""

    inode: int
    offset: int


class Files:
    """The journal's files. Only whole lines are handed out: the gateway may be in the middle of one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[Path, Place] = {}

    @property
    def found(self) -> bool:
        """True once there is a file."""
        return bool(self._places)

    def last(self, count: int, wants: Callable[[bytes], bool]) -> list[bytes]:
        """The last wanted lines that there are now, oldest first. `new` goes on after them."""
        files = self._list()
        for file in files:
            with file.open("rb") as source:
                self._places[file] = Place(os.fstat(source.fileno()).st_ino, _end_of_lines(source))
        found: list[bytes] = []
        for _, of_a_day in groupby(reversed(files), key=lambda file: day_and_number(file)[0]):
            if len(found) >= count:
                break
            per_file = [_last_lines(file, self._places[file].offset, count, wants) for file in of_a_day]
            lines = [line for lines in per_file for line in lines]
            if len(per_file) > 1:  # several workers wrote that day, each its own file
                lines.sort(key=ended)
            found = lines + found
        return found[max(0, len(found) - count) :]

    def new(self) -> Iterator[bytes]:
        """The lines that came since the last call, file by file."""
        for file in self._list():
            try:
                source = file.open("rb")
            except FileNotFoundError:  # archived just now
                continue
            with source:
                status = os.fstat(source.fileno())
                place = self._places.get(file)
                if place is None or place.inode != status.st_ino:
                    place = self._places[file] = Place(status.st_ino, 0)
                # Shorter than what was read: the gateway took a half-written group back, and will write it again.
                place.offset = min(place.offset, status.st_size)
                source.seek(place.offset)
                for line in source:
                    if not line.endswith(b"\n"):
                        break
                    place.offset += len(line)
                    yield line

    def _list(self) -> list[Path]:
        """Oldest first."""
        return sorted(self._folder.glob("usage-*.jsonl"), key=day_and_number)


def day_and_number(file: Path) -> tuple[str, int]:
    """`usage-2026-01-31.2.jsonl`, gzipped or not, is the second file of its day; no day: no name of the journal's."""
    name = _NAME.fullmatch(file.name)
    return (name["day"], int(name["number"] or 1)) if name else ("", 1)


def _end_of_lines(source: BinaryIO) -> int:
    end = source.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        source.seek(start)
        newline = source.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _last_lines(file: Path, end: int, count: int, wants: Callable[[bytes], bool]) -> list[bytes]:
    return list(islice(filter(wants, _backwards(file, end)), count))[::-1]


def _backwards(file: Path, end: int) -> Iterator[bytes]:
    """The lines before `end`, last one first, reading no more of the file than is asked for."""
    with file.open("rb") as source:
        head = b""
        while end:
            start = max(0, end - _BLOCK_BYTES)
            source.seek(start)
            head, *lines = (source.read(end - start) + head).split(b"\n")
            yield from (line + b"\n" for line in reversed(lines) if line)
            end = start
        if head:
            yield head + b"\n"
