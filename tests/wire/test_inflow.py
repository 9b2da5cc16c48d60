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


def test_a_whole_read_does_not_stop_reading() -> None:
    """It is taken before the next; to stop and begin again would be two system calls a read of every large body."""
    body, line = inflow()
    body.feed(bytes(READ_BYTES))
    assert line.turns == 0
    assert body.take() == bytes(READ_BYTES)
    body.feed(bytes(READ_BYTES))
    body.feed(b"x")
    assert not line.reading


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


# --- a sink -------------------------------------------------------------------------------------------------


class Basin:
    """Takes what it may, and says whether the taker may sleep on."""

    def __init__(self, body: Inflow, *, reads: int = 1 << 20) -> None:
        self.body = body
        self.reads = reads
        self.got: list[list[bytes]] = []  # by read

    def pour(self) -> bool:
        if not self.reads:
            return False
        self.reads -= 1
        self.got.append(self.body.here())
        return self.reads > 0

    @property
    def whole(self) -> bytes:
        return b"".join(piece for pieces in self.got for piece in pieces)


async def test_what_a_read_brings_goes_to_the_sink_and_nobody_wakes() -> None:
    body, line = inflow()
    sink = Basin(body)
    arrival = body.arrival(sink)
    for number in range(3):
        for _ in range(3):  # the pieces of one read, more than would be held otherwise
            body.feed(bytes([number]) * 30_000)
        assert len(sink.got) == number, "not before the read is over, and all of it then"
        body.settle()
    assert [[piece[0] for piece in pieces] for pieces in sink.got] == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert not arrival.done()
    assert (line.turns, body.came_bytes) == (0, 270_000)
    body.feed(b"last")
    body.end()
    body.settle()
    assert arrival.done(), "the end, and what came with it, is the taker's"
    assert (len(sink.got), body.here(), body.exhausted) == (3, [b"last"], True)


async def test_a_sink_that_has_enough_leaves_the_rest_to_the_taker() -> None:
    body, line = inflow()
    sink = Basin(body, reads=1)
    arrival = body.arrival(sink)
    body.feed(b"one")
    body.feed(b"read")
    body.settle()
    assert arrival.done()
    assert (sink.got, body.here()) == ([[b"one", b"read"]], [])
    arrival = body.arrival(sink)
    for _ in range(4):
        body.feed(bytes(30_000))
    body.settle()
    assert arrival.done()
    assert not line.reading, "what it left is more than may be held"
    rest = []
    while pieces := body.here():
        assert sum(map(len, pieces)) <= READ_BYTES
        rest += pieces
    assert (len(rest), line.reading) == (4, True)
    sink.reads = 1
    body.feed(b"later")
    body.settle()
    assert (len(sink.got), body.take()) == (1, b"later"), "a sink stands for one wait"


async def test_of_many_pieces_a_sink_gets_no_more_at_once_than_anybody() -> None:
    """What a write of them holds is more than what they contain."""
    body, _ = inflow()
    sink = Basin(body)
    arrival = body.arrival(sink)
    for number in range(2000):
        body.feed(number.to_bytes(60))
    body.settle()
    assert not arrival.done()
    assert sink.whole == b"".join(number.to_bytes(60) for number in range(2000))
    assert all(len(pieces) * (60 + 50) <= READ_BYTES for pieces in sink.got)


async def test_a_sink_that_fails_fails_its_taker_and_not_the_connection() -> None:
    class Leaky(Basin):
        def pour(self) -> bool:
            raise ZeroDivisionError

    body, _ = inflow()
    arrival = body.arrival(Leaky(body))
    body.feed(b"some")
    body.settle()
    assert arrival.done()
    body.feed(b"more")  # before the taker has had its turn: it must not go down behind a gap
    body.end()
    with pytest.raises(ZeroDivisionError):
        body.take()


async def test_nothing_goes_to_the_sink_of_a_wait_that_was_given_up() -> None:
    body, line = inflow()
    sink = Basin(body)
    body.arrival(sink).cancel()
    body.feed(bytes(READ_BYTES + 1))
    body.settle()
    assert (sink.got, line.reading) == ([], False)
    assert body.take() == bytes(READ_BYTES + 1)


@given(st.lists(st.lists(st.integers(1, 70_000), min_size=1, max_size=6), max_size=8), st.integers(0, 9))
def test_with_a_sink_or_without_the_body_is_the_same(reads: list[list[int]], enough: int) -> None:
    async def main() -> None:
        body, _ = inflow()
        sink = Basin(body, reads=enough)
        wanted, number = b"", 0
        arrival = body.arrival(sink)
        for sizes in reads:
            for size in sizes:
                number += 1
                wanted += bytes([number]) * size
                body.feed(bytes([number]) * size)
            body.settle()
            if arrival.done():  # the taker's turn
                while pieces := body.here():
                    sink.got.append(pieces)
                arrival = body.arrival(sink)
        body.end()
        while not body.exhausted:
            sink.got.append(body.here())
        assert sink.whole == wanted

    asyncio.run(main())
