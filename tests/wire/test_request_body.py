"""One body, read once, sent as often as it may be."""

import asyncio

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from proxy import CallerGone, Refusal
from proxy.wire.bounds import Bounds
from proxy.wire.request_body import RequestBody
from tests.support.bounds import BOUNDS as DEFAULTS

BOUNDS = DEFAULTS._replace(replay_bytes=100, spool_bytes=1000, caller_idle_seconds=5)


def body_of(*pieces: bytes, bounds: Bounds = BOUNDS, ended: bool = True, length: int | None = None) -> RequestBody:
    return RequestBody(reader_of(*pieces, ended=ended), exists=True, length=length, bounds=bounds, ask_for_it=None)


def reader_of(*pieces: bytes, ended: bool = True) -> StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    reader = StreamReader(protocol, 1 << 16, loop=loop)
    for piece in pieces:
        reader.feed_data(piece)
    if ended:
        reader.feed_eof()
    return reader


async def ignore(piece: bytes) -> None:
    """Nobody looks at it."""


async def all_of(body: RequestBody) -> bytes:
    return b"".join([piece async for piece in body.pieces()])


async def test_a_small_body_is_sent_as_often_as_needed() -> None:
    body = body_of(b"hello ", b"world")
    assert [await all_of(body) for _ in range(3)] == [b"hello world"] * 3
    assert (body.replayable, body.complete, body.received) == (True, True, 11)


async def test_past_the_bound_it_is_sent_once() -> None:
    body = body_of(b"x" * 101)
    assert await all_of(body) == b"x" * 101
    assert not body.replayable


async def test_an_attempt_that_broke_off_is_begun_anew() -> None:
    reader = reader_of(b"first", ended=False)
    body = RequestBody(reader, exists=True, length=None, bounds=BOUNDS, ask_for_it=None)
    begun = body.pieces()
    assert await anext(begun) == b"first"
    await begun.aclose()
    reader.feed_data(b" second")
    reader.feed_eof()
    assert await all_of(body) == b"first second"


async def test_two_attempts_never_read_at_once() -> None:
    """aiohttp forbids two readers; a failed attempt may still be unwinding when the next begins."""
    reader = reader_of(ended=False)
    body = RequestBody(reader, exists=True, length=None, bounds=BOUNDS, ask_for_it=None)
    first = asyncio.create_task(all_of(body))
    await asyncio.sleep(0)
    second = asyncio.create_task(all_of(body))
    await asyncio.sleep(0)
    first.cancel()
    reader.feed_data(b"whole")
    reader.feed_eof()
    assert await second == b"whole"
    assert first.cancelled() or first.done()


@pytest.mark.parametrize("size", [50, 100, 101, 999])
async def test_what_is_read_whole_can_be_sent_again(size: int) -> None:
    """In memory up to the replay bound, on disk beyond it."""
    data = bytes(i % 251 for i in range(size))
    body = body_of(*(data[at : at + 30] for at in range(0, size, 30)))
    shown = bytearray()

    async def show(piece: bytes) -> None:
        shown.extend(piece)

    await body.read_whole(show)
    assert bytes(shown) == data
    assert [await all_of(body) for _ in range(2)] == [data, data]
    assert body.replayable
    body.close()


async def test_more_than_may_be_kept_is_refused() -> None:
    with pytest.raises(Refusal, match="larger than the 1000 bytes") as caught:
        await body_of(*[b"x" * 100] * 11).read_whole(ignore)
    assert caught.value.code == 413


async def test_a_caller_that_leaves_is_told_apart() -> None:
    reader = reader_of(b"some", ended=False)
    reader.set_exception(ConnectionResetError("gone"))
    body = RequestBody(reader, exists=True, length=10, bounds=BOUNDS, ask_for_it=None)
    with pytest.raises(CallerGone):
        await all_of(body)
    assert not body.replayable
    with pytest.raises(CallerGone):
        await all_of(body)


async def test_a_caller_that_stops_sending_is_not_waited_for() -> None:
    body = body_of(b"some", bounds=BOUNDS._replace(caller_idle_seconds=0.01), ended=False)
    with pytest.raises(CallerGone, match="after 4 bytes"):
        await all_of(body)
    body.close()


async def test_the_caller_is_asked_once_and_only_when_somebody_reads() -> None:
    asked: list[str] = []

    async def ask() -> None:
        asked.append("100 Continue")

    body = RequestBody(reader_of(b"x"), exists=True, length=1, bounds=BOUNDS, ask_for_it=ask)
    assert body.unasked
    assert asked == []
    await all_of(body)
    await all_of(body)
    assert asked == ["100 Continue"]
    assert not body.unasked


async def test_small_bodies_are_one_piece() -> None:
    assert await body_of(b"a", b"b", length=2).small(2) == b"ab"
    assert await body_of(b"a", b"b", length=2).small(1) is None
    assert await body_of(b"a", b"b", length=None).small(10) is None
    again = body_of(b"a", b"b", length=2)
    assert [await again.small(2), await all_of(again), await again.small(2)] == [b"ab"] * 3


async def test_a_small_body_that_may_not_be_kept_is_not_lost() -> None:
    body = body_of(b"abc", length=3, bounds=BOUNDS._replace(replay_bytes=2))
    assert await body.small(10) is None
    assert await all_of(body) == b"abc"


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=12), st.integers(0, 200), st.integers(0, 12))
def test_any_split_any_bound_any_break_is_the_same_body(pieces: list[bytes], bound: int, broken_after: int) -> None:
    async def run() -> None:
        body = body_of(*pieces, bounds=BOUNDS._replace(replay_bytes=bound))
        begun = body.pieces()
        for _ in range(min(broken_after, len(pieces))):
            await anext(begun, b"")
        await begun.aclose()
        if body.replayable:
            assert await all_of(body) == b"".join(pieces)
        else:
            assert body.received > bound

    asyncio.run(run())
