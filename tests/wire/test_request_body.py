"""One body, read once, sent as often as it may be."""

import asyncio
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import CallerGone, Refusal
from proxy.wire.bounds import Bounds
from proxy.wire.http_relay import HttpRelay
from proxy.wire.inflow import READ_BYTES
from proxy.wire.request import Malformed, Request
from proxy.wire.request_body import RequestBody
from proxy.wire.spool import PIECE_BYTES, Spool
from proxy.wire.watch import Watch
from tests.support.bounds import BOUNDS as DEFAULTS
from tests.support.gateway import gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes, send_bytes
from tests.support.wire import Line, make_request

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
BOUNDS = DEFAULTS._replace(replay_bytes=100, spool_bytes=1000, caller_idle_seconds=5)


def body_of(*pieces: bytes, bounds: Bounds = BOUNDS, ended: bool = True, length: int | None = None) -> RequestBody:
    return RequestBody(make_request(*pieces, ended=ended, length=length), bounds, Watch())


def written_to(request: Request) -> list[bytes]:
    line = request.connection
    assert isinstance(line, Line)
    return line.written


async def ignore(piece: bytes) -> None:
    """Nobody looks at it."""


async def all_of(body: RequestBody) -> bytes:
    return b"".join([piece async for piece in body.pieces()])


async def test_a_small_body_is_sent_as_often_as_needed() -> None:
    body = body_of(b"hello ", b"world")
    assert [await all_of(body) for _ in range(3)] == [b"hello world"] * 3
    assert (body.replayable, body.complete, body.received) == (True, True, 11)


@pytest.mark.parametrize("sizes", [(60,), (30, 30), (60, 60), ()])
async def test_for_the_last_attempt_nothing_is_kept(sizes: tuple[int, ...]) -> None:
    """In memory or spooled; what was read goes up all the same."""
    whole = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    body = body_of(*whole)
    await body.read_whole(ignore)
    body.once = True
    pieces = body.pieces()
    assert not body.replayable
    assert b"".join([piece async for piece in pieces]) == b"".join(whole)
    body.close()


async def test_what_it_asks_for_is_known_still_when_nothing_is_kept() -> None:
    body = body_of(b'{"service_tier": "flex"}')
    assert body.at_once(50) is not None
    body.once = True
    await all_of(body)
    assert body.asks_for_flex()


async def test_past_the_bound_it_is_sent_once() -> None:
    body = body_of(b"x" * 101)
    assert await all_of(body) == b"x" * 101
    assert not body.replayable


async def test_an_attempt_that_broke_off_is_begun_anew() -> None:
    request = make_request(b"first", ended=False)
    body = RequestBody(request, BOUNDS, Watch())
    begun = body.pieces()
    assert await anext(begun) == b"first"
    request.body.feed(b" second")
    request.body.end()
    assert await all_of(body) == b"first second"


async def test_two_attempts_never_read_at_once() -> None:
    """A failed attempt may still be unwinding when the next begins."""
    request = make_request(ended=False)
    body = RequestBody(request, BOUNDS, Watch())
    first = asyncio.create_task(all_of(body))
    await asyncio.sleep(0)
    second = asyncio.create_task(all_of(body))
    await asyncio.sleep(0)
    first.cancel()
    request.body.feed(b"whole")
    request.body.end()
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


@pytest.mark.parametrize("piece", [1000, 50_000, PIECE_BYTES, PIECE_BYTES + 1])
@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES + 101, 3 * PIECE_BYTES + 7])
async def test_what_is_read_whole_into_a_file_is_the_same_bytes(size: int, piece: int) -> None:
    """Gathered, written and read in pieces of other sizes than those that came."""
    data = random.Random(size).randbytes(size)
    pieces = [data[at : at + piece] for at in range(0, size, piece)]
    body = body_of(*pieces, bounds=BOUNDS._replace(spool_bytes=size))
    await body.read_whole(ignore)
    assert [await all_of(body), await all_of(body)] == [data, data]
    assert max([len(piece) async for piece in body.pieces()]) <= max(PIECE_BYTES, piece)
    body.close()


async def test_what_was_cut_off_while_it_was_written_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a write that takes less than it was given is gone on with."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: pwrite(file, data[:1000], offset))
    spool = Spool()
    first, second, third = b"a" * PIECE_BYTES, b"b" * PIECE_BYTES, b"c" * 10
    await spool.keep(first)
    keeping = asyncio.create_task(spool.keep(second))
    await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait({keeping})
    assert keeping.cancelled()
    await spool.keep(third)
    assert await read_back(spool) == first + second + third
    spool.close()


async def read_back(spool: Spool) -> bytes:
    data = b""
    while piece := await spool.read_at(len(data)):
        data += piece
    return data


def test_flex_is_heard_in_the_pieces_of_an_upload() -> None:
    async def asks(*data: bytes) -> bool:
        body = body_of(*data)
        await all_of(body)
        return body.asks_for_flex()

    large = b"x" * READ_BYTES
    assert asyncio.run(asks(large, b'{"service_tier": "flex"}' + b" " * READ_BYTES, large))
    assert not asyncio.run(asks(large, b"flex", b'"standard"' + b" " * READ_BYTES))


async def test_more_than_may_be_kept_is_refused() -> None:
    with pytest.raises(Refusal, match="larger than the 1000 bytes") as caught:
        await body_of(*[b"x" * 100] * 11).read_whole(ignore)
    assert caught.value.code == 413


async def test_a_caller_that_leaves_is_told_apart() -> None:
    request = make_request(b"some", ended=False, length=10)
    request.body.fail(ConnectionResetError("gone"))
    body = RequestBody(request, BOUNDS, Watch())
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
    request = make_request(ended=False, length=1, waits_for_100=True)
    body = RequestBody(request, BOUNDS, Watch())
    assert body.at_once(10) is None
    assert body.unasked
    assert written_to(request) == []
    reading = asyncio.create_task(all_of(body))
    await asyncio.sleep(0)
    request.body.feed(b"x")
    request.body.end()
    await reading
    await all_of(body)
    assert written_to(request) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert not body.unasked


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_caller_that_did_not_wait_is_not_asked(at_once: bool) -> None:
    request = make_request(b"x", length=1, waits_for_100=True)
    body = RequestBody(request, BOUNDS, Watch())
    assert (body.at_once(10) if at_once else await all_of(body)) == b"x"
    assert not body.unasked
    assert written_to(request) == []


@pytest.mark.parametrize(("pieces", "length"), [((), 0), ((b"a",), 1), ((b"a", b"b"), None)])
async def test_what_has_come_whole_is_had_at_once_as_often_as_needed(
    pieces: tuple[bytes, ...], length: int | None
) -> None:
    body = body_of(*pieces, length=length)
    whole = b"".join(pieces)
    assert [body.at_once(2), await all_of(body), body.at_once(2)] == [whole] * 3
    assert (body.complete, body.received, body.replayable) == (True, len(whole), True)
    body.let_go()
    assert body.at_once(2) is None


async def test_what_has_not_come_or_is_too_large_or_must_be_heard_is_not_had_at_once() -> None:
    heard: list[bytes] = []

    async def hear(piece: bytes) -> None:
        heard.append(piece)

    assert body_of(b"ab", ended=False).at_once(10) is None
    assert body_of(b"ab").at_once(1) is None
    assert body_of(b"ab", bounds=BOUNDS._replace(replay_bytes=1)).at_once(10) is None
    body = body_of(b"ab")
    body.heard_by = hear
    assert body.at_once(10) is None
    assert await all_of(body) == b"ab"
    assert heard == [b"ab"]
    assert body.at_once(10) == b"ab"


async def test_what_was_read_whole_into_a_file_is_not_had_at_once() -> None:
    body = body_of(b"x" * 101)
    await body.read_whole(ignore)
    assert body.at_once(1000) is None
    body.close()


def test_flex_is_heard_at_once_too() -> None:
    async def asks(data: bytes) -> bool:
        body = body_of(data)
        body.at_once(100)
        return body.asks_for_flex()

    assert asyncio.run(asks(b'{"service_tier": "flex"}'))
    assert not asyncio.run(asks(b'{"service_tier": "standard"}'))


async def test_no_body_is_none_to_wait_for() -> None:
    body = RequestBody(make_request(has_body=False), BOUNDS, Watch())
    assert body.complete
    assert await all_of(body) == b""


@pytest.mark.parametrize(("error", "malformed"), [(Malformed("bad chunk"), True), (ConnectionResetError(), False)])
async def test_who_broke_the_body_off_is_told_apart(error: Exception, malformed: bool) -> None:
    request = make_request(b"some", ended=False)
    request.body.fail(error)
    with pytest.raises(CallerGone) as caught:
        await all_of(RequestBody(request, BOUNDS, Watch()))
    assert (caught.value.malformed, caught.value.stalled) == (malformed, False)


async def test_small_bodies_are_one_piece() -> None:
    assert await body_of(b"a", b"b", length=2).small(2) == b"ab"
    assert await body_of(b"a", b"b", length=2).small(1) is None
    assert await body_of(b"a", b"b", length=None).small(10) is None
    again = body_of(b"a", b"b", length=2)
    assert [await again.small(2), await all_of(again), await again.small(2)] == [b"ab"] * 3
    assert await again.small(2) is await again.small(2)  # and it is held once


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
        if body.replayable:
            assert await all_of(body) == b"".join(pieces)
        else:
            assert body.received > bound

    asyncio.run(run())


@pytest.mark.parametrize("length", [None, 5])
async def test_who_is_cancelled_while_the_body_is_listened_to_has_lost_no_piece(length: int | None) -> None:
    """The bill hears a gzipped body in steps, between which an endpoint may hang up: the next one gets all of it."""
    body = body_of(b"whole", length=length)
    heard = asyncio.Event()

    async def never_ends(piece: bytes) -> None:
        assert piece == b"whole"
        heard.set()
        await asyncio.get_running_loop().create_future()

    body.heard_by = never_ends
    first = asyncio.create_task(all_of(body) if length is None else body.small(10))
    await heard.wait()
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert body.replayable
    body.heard_by = None
    assert await all_of(body) == b"whole"


# --- through the whole gateway ------------------------------------------------------------------------------


@pytest.mark.parametrize("road", ["fast", "plain"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [100_000, 3 << 20])  # kept in memory, and beyond it in a file
async def test_the_next_endpoint_gets_all_of_it_and_none_is_kept_behind_the_last(
    size: int, chunked: bool, road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = json.dumps({"contents": [{"parts": [{"text": "x" * size}]}]}).encode()
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent) if chunked else sent
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(sent)}"
    has_come, go_on = asyncio.Event(), asyncio.Event()

    async def busy(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    async def answers(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        has_come.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_upstream(busy) as first, raw_upstream(answers) as second:
        reads = '[plugins.reads]\nuse = "tests.wire.test_live_relay:Reads"\n'
        text = routes(first.url, second.url, plugins='["usage", "reads"]', server=f'road = "{road}"', more=reads)
        async with gateway(tmp_path, text, monkeypatch) as weir, asyncio.timeout(60):
            asking = asyncio.create_task(
                send_bytes(weir.host, weir.port, request_bytes(length, body=framed, target=GENERATE))
            )
            await has_come.wait()
            ((_, exchange, relay),) = weir.app.public._under_way.values()
            assert isinstance(relay, HttpRelay)
            assert relay.body._kept is None
            assert exchange.intent_read is not None
            go_on.set()
            assert (await asking).endswith(b"ok")
    assert [body for _, body in (*first.requests, *second.requests)] == [sent, sent]
    (record,) = weir.records()
    assert [attempt.status for attempt in record.attempts] == [503, 200]
