"""How lines lie in a write-ahead file: each in slots of one page, with a head that says what it holds.

`WriteAhead` writes slots into a map of the file, `recovery` reads them back when the process that wrote them is
gone. A line counts from the moment in which one byte, its first slot's `live`, is set: whoever is killed while it
copies has written nothing. Pure bytes; no file is opened here.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from isal.isal_zlib import crc32  # zlib's, in a fifth of its time

SLOT_BYTES = 4096  # a page: slots never share one, and most records fit into one
PLACE_SLOTS = 2  # the file begins with them: places of the usage log, written in turns
LIVE_AT = 4  # offset of the byte that makes a line count
MOST_PARTS = 255

_MAGIC = b"\xffW\xfe1"  # no UTF-8 text holds it
_HEAD = struct.Struct("<4sBBBBIIQ")  # magic, live, kind, part, parts, length, checksum, number
ROOM_BYTES = SLOT_BYTES - _HEAD.size


class Kind(IntEnum):
    """What a line is."""

    OPENING = 1  # the record of an exchange whose attempt is about to be sent
    ENDED = 2  # a finished record, until it is in the usage log
    PLACE = 3  # where in the usage log the last group was put


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
        piece = slot[_HEAD.size : _HEAD.size + length]
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
