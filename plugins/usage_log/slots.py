"""How lines lie in a write-ahead file: each in slots of one page, with a head that says what it holds.

`WriteAhead` writes slots into a map of the file, `recovery` reads them back when the process that wrote them is
gone. A line counts from the moment in which one byte, its first slot's `live`, is set: whoever is killed while it
copies has written nothing. Pure bytes; no file is opened here.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from mmap import mmap
from typing import Any, Final, NamedTuple, final

from isal import isal_zlib

SLOT_BYTES: Final = 4096  # a page: slots never share one, and most records fit into one
PLACE_SLOTS: Final = 2  # the file begins with them: places of the usage log, written in turns
LIVE_AT: Final = 4  # offset of the byte that makes a line count
MOST_PARTS: Final = 255

_MAGIC: Final = b"\xffW\xfe1"  # no UTF-8 text holds it
_HEAD: Final = struct.Struct("<4sBBBBIIQ")  # magic, live, kind, part, parts, length, checksum, number
_HEAD_BYTES: Final = 24
ROOM_BYTES: Final = SLOT_BYTES - _HEAD_BYTES

crc32: Final[Any] = isal_zlib.crc32  # zlib's, in a fifth of its time


class Kind(IntEnum):
    """What a line is."""

    OPENING = 1  # the record of an exchange whose attempt is about to be sent
    ENDED = 2  # a finished record, until it is in the usage log
    PLACE = 3  # where in the usage log the last group was put
    BRIEF = 4  # an opening in brief, as `opening` makes and reads it


# The first five fields of a line that takes one slot and does not count yet, by its kind.
_ENDED: Final = Kind.ENDED
_BRIEF: Final = Kind.BRIEF
_ENDED_FRONT: Final = struct.pack("<4sBBBB", _MAGIC, 0, Kind.ENDED, 0, 1)
_BRIEF_FRONT: Final = struct.pack("<4sBBBB", _MAGIC, 0, Kind.BRIEF, 0, 1)
_OPENING_FRONT: Final = struct.pack("<4sBBBB", _MAGIC, 0, Kind.OPENING, 0, 1)
# Those as one, the other three, and the line itself with zeros behind it: as far as an opening goes, a record, or any.
_SHORT_BYTES: Final = 1000
_MIDDLE_BYTES: Final = 2000
_lay_short: Final[Any] = struct.Struct(f"<8sIIQ{_SHORT_BYTES}s").pack_into
_lay_middle: Final[Any] = struct.Struct(f"<8sIIQ{_MIDDLE_BYTES}s").pack_into
_lay_any: Final[Any] = struct.Struct(f"<8sIIQ{ROOM_BYTES}s").pack_into


@final
class Slot:
    """A page of the map, and what `WriteAhead` knows of the line that begins on it.

    Its offsets are kept as the objects that a map takes.

    Attributes:
        is_opening: what the line is; it counts by this slot's live byte.
        more: the other slots of a long one.
        replaced: where lines begin that count until this one is on the disk.
    """

    __slots__ = ("_live_at", "_page", "_start", "is_opening", "more", "replaced")

    def __init__(self, page: mmap, start: int) -> None:
        self._page = page
        self._start: Any = start
        self._live_at: Any = start + LIVE_AT
        self.is_opening = False
        self.more: list[Slot] | None = None
        self.replaced: list[Slot] | None = None

    def lay(self, content: bytes) -> None:
        start: int = self._start
        self._page[start : start + len(content)] = content

    def lay_line(self, number: int, kind: Kind, line: bytes) -> None:
        """What `pack` makes of a line that takes one slot and does not count yet; without a copy of it."""
        front = _ENDED_FRONT if kind is _ENDED else _BRIEF_FRONT if kind is _BRIEF else _OPENING_FRONT
        boxed: Any = number  # once, for two callees
        size = len(line)
        checksum: Any = crc32(line, boxed)  # which takes the low half of it
        lay = _lay_short if size <= _SHORT_BYTES else _lay_middle if size <= _MIDDLE_BYTES else _lay_any
        lay(self._page, self._start, front, size, checksum, boxed, line)

    def count(self) -> None:
        """From here on its line counts."""
        self._page[self._live_at] = 1

    def count_no_more(self) -> None:
        self._page[self._live_at] = 0

    def touch(self) -> None:
        """Make its page dirty."""
        self._page[self._start] = self._page[self._start]

    def taken(self) -> "list[Slot]":
        """All that this line takes, and those that it replaced."""
        found = [self, *(self.more or ())]
        for slot in self.replaced or ():
            found += slot.taken()
        return found


class Entry(NamedTuple):
    """One line, read back. Of two with the same id the one with the higher number is the later."""

    number: int
    kind: Kind
    line: bytes


def parts_of(length: int) -> int:
    """How many slots a line of so many bytes takes."""
    return max(1, -(-length // ROOM_BYTES))


def pack(number: int, kind: Kind, part: int, parts: int, piece: bytes, live: int = 0) -> bytes:
    """A slot's content. The checksum is of the number too: a piece never passes for one of another line."""
    checksum = crc32(piece, number & 0xFFFFFFFF)
    return _HEAD.pack(_MAGIC, live, kind, part, parts, len(piece), checksum, number) + piece


def pieces(line: bytes) -> list[bytes]:
    return [line[start : start + ROOM_BYTES] for start in range(0, len(line), ROOM_BYTES)]


def read_back(slots: Iterable[bytes]) -> Iterator[Entry | bytes]:
    """Every line that counts; a slot that says it does and cannot be read comes as it is."""
    firsts: list[tuple[int, Kind, int, bytes, bytes]] = []
    rest: dict[tuple[int, int], bytes] = {}
    for slot in slots:
        magic, live, kind, part, parts, length, checksum, number = _HEAD.unpack_from(slot)
        if magic != _MAGIC:
            if live:  # half of it is lost, by a power cut
                yield slot
            continue
        piece = slot[_HEAD_BYTES : _HEAD_BYTES + length]
        whole = crc32(piece, number & 0xFFFFFFFF) == checksum and len(piece) == length and kind in _KINDS
        if part and whole:
            rest[number, part] = piece
        elif live and not part:
            if whole:
                firsts.append((number, Kind(kind), parts, piece, slot))
            else:
                yield slot
    for number, kind, parts, piece, slot in firsts:
        line = [piece, *(rest[number, part] for part in range(1, parts) if (number, part) in rest)]
        yield Entry(number, kind, b"".join(line)) if len(line) == parts else slot


_KINDS = frozenset(Kind)
