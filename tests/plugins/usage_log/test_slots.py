"""Lines in slots: read back whole, in whatever order the slots lie, and nothing that does not count."""

import mmap
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plugins.usage_log.slots import (
    LIVE_AT,
    ROOM_BYTES,
    SLOT_BYTES,
    Entry,
    Kind,
    Slot,
    pack,
    parts_of,
    pieces,
    read_back,
)


def slots_of(number: int, line: bytes, *, live: int = 1) -> list[bytes]:
    parts = parts_of(len(line))
    return [
        pack(number, Kind.ENDED, part, parts, piece, 0 if part else live).ljust(SLOT_BYTES, b"\0")
        for part, piece in enumerate(pieces(line))
    ]


@pytest.mark.parametrize(
    ("length", "parts"), [(0, 1), (1, 1), (ROOM_BYTES, 1), (ROOM_BYTES + 1, 2), (2 * ROOM_BYTES, 2)]
)
def test_how_many_slots_a_line_takes(length: int, parts: int) -> None:
    assert parts_of(length) == parts


@given(st.lists(st.integers(1, 3 * ROOM_BYTES), max_size=5), st.randoms(use_true_random=False))
def test_every_line_is_read_back_in_any_order(lengths: list[int], chance: random.Random) -> None:
    lines = {number: chance.randbytes(length) for number, length in enumerate(lengths, 1)}
    slots = [slot for number, line in lines.items() for slot in slots_of(number, line)] + [bytes(SLOT_BYTES)]
    chance.shuffle(slots)

    assert set(read_back(slots)) == {Entry(number, Kind.ENDED, line) for number, line in lines.items()}


def test_what_is_not_live_is_not_there() -> None:
    assert list(read_back(slots_of(1, b"a" * 9000, live=0))) == []


@pytest.mark.parametrize("at", [0, 8, 16, 30])
def test_a_live_slot_that_was_changed_is_handed_out_as_it_is(at: int) -> None:
    (slot,) = slots_of(1, b"line")
    changed = slot[:at] + b"\x55" + slot[at + 1 :]

    if at == 30:  # past the line: nobody's business
        assert list(read_back([changed])) == [Entry(1, Kind.ENDED, b"line")]
    else:
        assert list(read_back([changed])) == [changed]


def test_a_line_that_lacks_a_part_is_handed_out_as_it_is() -> None:
    first, second = slots_of(7, b"a" * (ROOM_BYTES + 1))

    assert list(read_back([first])) == [first]
    assert list(read_back([second])) == []
    other = slots_of(8, b"b" * (ROOM_BYTES + 1))[1]
    assert list(read_back([first, other])) == [first]


def test_the_live_byte_is_where_it_is_said_to_be() -> None:
    (slot,) = slots_of(1, b"line", live=0)

    assert list(read_back([slot[:LIVE_AT] + b"\1" + slot[LIVE_AT + 1 :]])) == [Entry(1, Kind.ENDED, b"line")]


@given(st.integers(1, 1 << 40), st.sampled_from([Kind.OPENING, Kind.BRIEF, Kind.ENDED]), st.binary(max_size=ROOM_BYTES))
@example(1, Kind.ENDED, b"a" * 1000)
@example(1, Kind.ENDED, b"a" * 1001)
@example(1, Kind.ENDED, b"a" * 2000)
@example(1, Kind.ENDED, b"a" * 2001)
@example((1 << 32) + 5, Kind.BRIEF, b"a" * ROOM_BYTES)
def test_the_quick_way_lays_the_same_bytes(number: int, kind: Kind, line: bytes) -> None:
    with mmap.mmap(-1, 3 * mmap.PAGESIZE) as page:
        page[:] = b"\x55" * len(page)
        quick, slow = Slot(page, SLOT_BYTES), Slot(page, 0)
        quick.lay_line(number, kind, line)
        content = pack(number, kind, 0, 1, line)
        slow.lay(content)
        assert page[SLOT_BYTES : SLOT_BYTES + len(content)] == page[: len(content)] == content
        assert page[2 * SLOT_BYTES :] == b"\x55" * SLOT_BYTES, "the next slot's"


def test_a_slot_is_one_page_of_its_map() -> None:
    with mmap.mmap(-1, 3 * mmap.PAGESIZE) as page:
        slot = Slot(page, SLOT_BYTES)
        slot.lay_line(7, Kind.ENDED, b"line")
        assert list(read_back([page[SLOT_BYTES : 2 * SLOT_BYTES]])) == []
        slot.count()
        slot.touch()
        assert list(read_back([page[SLOT_BYTES : 2 * SLOT_BYTES]])) == [Entry(7, Kind.ENDED, b"line")]
        slot.count_no_more()
        assert list(read_back([page[SLOT_BYTES : 2 * SLOT_BYTES]])) == []
        assert not any(page[:SLOT_BYTES] + page[2 * SLOT_BYTES :])
