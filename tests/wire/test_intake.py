"""What a stream holds when its reader stops, counted in bytes on both loops: at most 256 KiB, whatever the size."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import strategies as st

from proxy.endpoint import Endpoint
from proxy.wire.caller import Caller
from proxy.wire.connector import Connector
from proxy.wire.fast_answer import FastAnswer
from proxy.wire.fast_road import FastRoad
from proxy.wire.inflow import READ_BYTES, Inflow
from proxy.wire.intake import READER_BYTES, Frugal, Intake, next_piece
from proxy.wire.patience import Patience
from proxy.wire.plain_road import PlainAnswer, PlainRoad
from proxy.wire.request_body import RequestBody
from proxy.wire.upstream import Upstream
from proxy.wire.upstream_head import UpstreamHead
from proxy.wire.watch import Watch
from tests.support.bounds import BOUNDS
from tests.support.certificate import HOST, write_pair
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes
from tests.support.wire import make_request

MOST = 256 << 10
Road = FastRoad | PlainRoad
SIZE = 20_000_000
BIG = b"x" * SIZE
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
FRAMINGS = {
    "length": (f"Content-Length: {SIZE}", BIG),
    "one chunk": ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, BIG)),
    "many chunks": ("Transfer-Encoding: chunked", (b"2000\r\n" + BIG[:8192] + b"\r\n") * (SIZE // 8192) + b"0\r\n\r\n"),
}
both_loops = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
all_framings = pytest.mark.parametrize(("field", "body"), FRAMINGS.values(), ids=FRAMINGS)


@both_loops
@all_framings
def test_a_caller_that_does_not_read(
    field: str, body: bytes, loop: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(f"HTTP/1.1 200 OK\r\n{field}\r\n\r\n".encode() + body)
        await writer.drain()

    async def held() -> int:
        async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            async with deaf(weir) as wire:
                await asyncio.get_running_loop().sock_sendall(wire, request_bytes(method="GET", close=False))
                return await most_held(weir, upwards=False)

    assert run(loop, held) <= MOST


@both_loops
@all_framings
def test_an_endpoint_that_does_not_read(
    field: str, body: bytes, loop: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def script(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await over.wait()

    async def held() -> int:
        async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            async with deaf(weir) as wire:
                data = request_bytes(field, close=False) + body
                sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(wire, data))
                try:
                    return await most_held(weir, upwards=True)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    over.set()

    assert run(loop, held) <= MOST


@both_loops
@all_framings
@pytest.mark.parametrize("make_road", [FastRoad, PlainRoad])
def test_an_answer_that_nobody_takes(make_road: type[Road], field: str, body: bytes, loop: Callable[[], Any]) -> None:
    """On either road, before anything went down: the half of a stream."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(f"HTTP/1.1 200 OK\r\n{field}\r\n\r\n".encode() + body)
        await writer.drain()

    async def held() -> int:
        async with raw_upstream(script) as upstream, road_to(make_road) as road:
            answer = await ask(road, upstream.url, RequestBody(make_request(has_body=False), BOUNDS, Watch()))
            kept = answer._inflow if isinstance(answer, FastAnswer) else answer._response.content
            size = -1
            while size < 0 or size != held_in(kept):
                size = held_in(kept)
                await asyncio.sleep(0.05)
            total = 0
            while piece := await answer.read():
                total += len(piece)
            assert SIZE - 8192 < total <= SIZE
            answer.close()
            return size

    assert 0 < run(loop, held) <= MOST // 2


@both_loops
@all_framings
@pytest.mark.parametrize("make_road", [FastRoad, PlainRoad])
def test_an_upload_that_nobody_takes(make_road: type[Road], field: str, body: bytes, loop: Callable[[], Any]) -> None:
    over = asyncio.Event()

    async def script(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await over.wait()

    async def held() -> int:
        async with raw_upstream(script) as upstream, road_to(make_road) as road:
            request = make_request(ended=False, length=SIZE if field.startswith("Content-Length") else None)
            asking = asyncio.create_task(ask(road, upstream.url, RequestBody(request, NO_REPLAY, Watch())))
            line: Any = request.connection
            fed = 0
            while fed < SIZE:
                if line.reading:
                    request.body.feed(BIG[:READ_BYTES])
                    fed += READ_BYTES
                    await asyncio.sleep(0)
                else:
                    await asyncio.sleep(0.05)
                    if not line.reading:
                        break
            unsent = sum(wire.get_write_buffer_size() for wire in transports(road))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            over.set()
            return request.body._held_bytes + unsent

    assert 0 < run(loop, held) <= MOST


@both_loops
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("ours", [False, True], ids=["the loop's TLS", "ours"])
def test_what_a_tls_peer_sent_before_it_closed_is_not_lost(
    ours: bool, slow: bool, loop: Callable[[], Any], tmp_path: Path
) -> None:
    """uvloop forgets what it has decrypted and not handed on when the peer closes behind it."""
    write_pair(tmp_path)
    size = 4_000_000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await writer.drain()
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as wire:
            wire.shutdown(socket.SHUT_WR)  # no close_notify, no wait for one

    async def received() -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        connector: aiohttp.TCPConnector = Connector(ssl=trusted)
        if not ours:
            connector = aiohttp.TCPConnector(ssl=trusted)
            connector._factory = partial(_Sparing, asyncio.get_running_loop())
        async with aiohttp.ClientSession(connector=connector, read_bufsize=READER_BYTES) as session:
            port = server.sockets[0].getsockname()[1]
            response = await session.get(f"https://127.0.0.1:{port}/", server_hostname=HOST)
            total = 0
            while piece := await next_piece(response.content):
                total += len(piece)
                if slow:
                    await asyncio.sleep(0.001)
            response.close()
        server.close()
        return total

    assert run(loop, received) == size


class _Sparing(Frugal, ResponseHandler):
    intake = Intake()


@given(st.lists(st.integers(0, 3 * READ_BYTES), max_size=12), st.integers(0, 12))
def test_pieces_are_what_was_fed_and_never_large(sizes: list[int], before: int) -> None:
    async def main() -> None:
        protocol = BaseProtocol(asyncio.get_running_loop())
        protocol.connection_made(asyncio.Transport())
        reader = StreamReader(protocol, 1 << 20)
        data = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
        got = b""
        for piece in data[:before]:
            reader.feed_data(piece)
        if any(data[:before]):
            got += await next_piece(reader)
        for piece in data[before:]:
            reader.feed_data(piece)
        reader.feed_eof()
        while piece := await next_piece(reader):
            assert len(piece) <= READ_BYTES
            got += piece
        assert got == b"".join(data)

    asyncio.run(main())


async def test_it_raises_what_the_reader_was_told() -> None:
    protocol = BaseProtocol(asyncio.get_running_loop())
    protocol.connection_made(asyncio.Transport())
    reader = StreamReader(protocol, 1 << 16)
    waiting = asyncio.create_task(next_piece(reader))
    await asyncio.sleep(0)
    reader.set_exception(ConnectionResetError("gone"))
    for piece in (waiting, next_piece(reader)):
        with pytest.raises(ConnectionResetError):
            await piece


# --- what is counted ----------------------------------------------------------------------------------------

NO_REPLAY = BOUNDS._replace(replay_bytes=0)


@asynccontextmanager
async def road_to(make_road: type[Road]) -> AsyncIterator[Road]:
    connector = Connector(limit=0)
    road = make_road(connector, BOUNDS)
    try:
        yield road
    finally:
        await road.stop()
        await connector.close()


async def ask(road: Road, url: str, body: RequestBody) -> FastAnswer | PlainAnswer:
    return await road.send(Endpoint("a", url, "global"), UpstreamHead("POST", "/", []), body, Patience(Watch()))


def held_in(kept: Any) -> int:
    size: int = kept._held_bytes if isinstance(kept, Inflow) else kept._size
    return size


def transports(road: Road) -> list[Any]:
    if isinstance(road, PlainRoad):
        return [protocol.transport for protocol in road._connector._acquired if isinstance(protocol, ResponseHandler)]
    return [connection.transport for connection in connections_of(road)]


def connections_of(road: FastRoad) -> list[Upstream]:
    return [connection for connections in road._connections.values() for connection in connections._open]


def run(loop: Callable[[], Any], main: Callable[[], Any]) -> int:
    async def guarded() -> int:
        async with asyncio.timeout(60):
            result: int = await main()
            return result

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(guarded())


@asynccontextmanager
async def deaf(weir: Gateway) -> AsyncIterator[socket.socket]:
    """A caller's connection that nobody reads from."""
    with socket.socket() as wire:
        wire.setblocking(False)
        await asyncio.get_running_loop().sock_connect(wire, (weir.host, weir.port))
        yield wire


async def most_held(weir: Gateway, *, upwards: bool) -> int:
    """The most that the one stream held on its way to a standstill: not taken, in hand and unsent."""
    most = 0
    road = weir.app.public._pool._road
    assert isinstance(road, FastRoad)
    while True:
        await asyncio.sleep(0)
        upstream = connections_of(road)
        downstream = [caller for caller in weir.app.public._door.inside if isinstance(caller, Caller)]
        if not (upstream and downstream):
            continue
        (up,), (down,) = upstream, downstream
        assert down._serving is not None
        if not upwards and up._reader.said is None:
            continue
        if upwards:
            source, sink, paused = down._serving.body, up.transport, up._writing_paused
        else:
            source, sink, paused = up._reader.inflow, down._transport, down.paused
        assert sink is not None
        most = max(most, source._held_bytes + sink.get_write_buffer_size() + READ_BYTES)
        if source._paused and paused:
            assert source._held_bytes
            return most
