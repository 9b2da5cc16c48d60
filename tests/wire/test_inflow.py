"""A body on its way in: order, ends, failures, and how little is held."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.inflow import HELD_BYTES, READ_BYTES, Inflow
from tests.support.wire import Line


def inflow() -> tuple[Inflow, Line]:
    line = Line()
    return Inflow(line), line


async def all_of(body: Inflow) -> list[bytes]:
    pieces = []
    while piece := await body.next():
        pieces.append(piece)
    return pieces


async def test_pieces_come_out_as_they_went_in() -> None:
    body, _ = inflow()
    assert body.take() is None
    reading = asyncio.create_task(all_of(body))
    for piece in (b"one", b"two"):
        await asyncio.sleep(0)
        body.feed(piece)
        await asyncio.sleep(0)
    body.end()
    assert await reading == [b"one", b"two"]
    assert (body.came_bytes, body.ended, body.exhausted) == (6, True, True)
    assert body.take() == b""


def test_small_pieces_that_wait_are_joined_and_large_ones_are_not_copied() -> None:
    body, _ = inflow()
    large = bytes(20 << 10)
    for piece in (b"a", b"b", large, b"c"):
        body.feed(piece)
    assert body.take() == b"ab" + large + b"c"
    body.feed(large)
    body.feed(b"d")
    assert body.take() is large
    assert body.take() == b"d"


@given(st.lists(st.integers(1, 60_000), max_size=20))
def test_no_piece_is_larger_than_a_read(sizes: list[int]) -> None:
    body, _ = inflow()
    data = [bytes([number]) * min(size, READ_BYTES) for number, size in enumerate(sizes)]
    for piece in data:
        body.feed(piece)
    body.end()
    taken = []
    while piece := body.take():
        taken.append(piece)
    assert b"".join(taken) == b"".join(data)
    assert all(len(piece) <= READ_BYTES for piece in taken)


def test_reading_stops_above_the_bound_and_begins_below_half_of_it() -> None:
    body, line = inflow()
    body.feed(bytes(HELD_BYTES - 100))
    assert line.reading
    body.feed(b"x")
    body.feed(b"y")
    assert not line.reading
    assert line.turns == 1
    assert body.take() == bytes(HELD_BYTES - 100)
    assert line.reading
    assert body.take() == b"xy"
    assert line.turns == 2


def test_a_body_in_tiny_pieces_is_held_for_what_it_takes() -> None:
    """A chunk of one byte takes fifty beside it: counted by content alone, a stream would hold megabytes."""
    body, line = inflow()
    while line.reading:
        body.feed(b"x")
    assert body.came_bytes < HELD_BYTES // 40
    while not line.reading:
        assert body.take()
    assert body.take() is None


def test_reading_begins_again_also_behind_a_body_that_was_taken_at_once() -> None:
    """Else a caller with a body of just that size would never be read again."""
    body, line = inflow()
    body.feed(bytes(HELD_BYTES + 1))
    assert not line.reading
    body.end()
    assert body.whole() == bytes(HELD_BYTES + 1)
    assert line.reading


def test_a_failure_comes_behind_what_came_before_it() -> None:
    body, _ = inflow()
    body.feed(b"some")
    body.fail(ConnectionResetError("gone"))
    body.fail(ValueError("a second one is not told"))
    assert body.take() == b"some"
    with pytest.raises(ConnectionResetError):
        body.take()


async def test_who_waits_is_told_of_a_failure() -> None:
    body, _ = inflow()
    reading = asyncio.create_task(body.next())
    await asyncio.sleep(0)
    body.fail(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        await reading


def test_a_body_that_has_ended_does_not_fail() -> None:
    body, _ = inflow()
    body.feed(b"all")
    body.end()
    body.fail(ConnectionResetError("later"))
    assert [body.take(), body.take()] == [b"all", b""]


async def test_a_wait_that_was_given_up_loses_nothing() -> None:
    body, _ = inflow()
    first = asyncio.create_task(body.next())
    await asyncio.sleep(0)
    body.feed(b"kept")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    body.end()
    assert await all_of(body) == [b"kept"]


def test_all_of_it_at_once_only_when_it_is_all_there() -> None:
    body, _ = inflow()
    assert body.whole() is None
    body.feed(b"a")
    assert body.whole() is None
    body.feed(b"b")
    body.end()
    assert body.whole() == b"ab"
    assert body.exhausted
    taken, _ = inflow()
    taken.feed(b"a")
    taken.take()
    taken.end()
    assert taken.whole() is None
    empty, _ = inflow()
    empty.end()
    assert empty.whole() == b""


def test_what_nobody_wants_is_counted_and_dropped() -> None:
    body, line = inflow()
    body.feed(bytes(HELD_BYTES + 1))
    assert not line.reading
    body.discard()
    assert line.reading
    body.feed(bytes(HELD_BYTES + 1))
    assert line.reading
    assert body.came_bytes == 2 * HELD_BYTES + 2
    body.end()
    assert body.exhausted
