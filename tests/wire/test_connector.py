"""Connections to endpoints under TLS: trusted, refused, cut off, and read in small pieces."""

import asyncio
import datetime
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy import EndpointFailed
from proxy.endpoint import Endpoint
from proxy.wire.answer import Answer, AnswerBroke
from proxy.wire.connector import Connection, Connector
from proxy.wire.fast_road import FastRoad
from proxy.wire.intake import TLS_READ_BYTES, TLS_RECORD_BYTES
from proxy.wire.patience import Patience
from proxy.wire.plain_road import PlainRoad
from proxy.wire.request_body import RequestBody
from proxy.wire.upstream_head import UpstreamHead
from proxy.wire.upstream_tls import Tls
from proxy.wire.watch import Watch
from tests.support.bounds import BOUNDS
from tests.support.certificate import HOST, write_pair
from tests.support.raw import read_message
from tests.support.wire import make_request

A_DAY = datetime.timedelta(days=1)
both_loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@asynccontextmanager
async def endpoint(
    folder: Path, *, tls: bool = True, good_for: datetime.timedelta = A_DAY
) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Answers ok to every request, the body once it is told; without TLS it hangs up on whatever comes."""
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if tls:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
            await go_on.wait()
            writer.write(b"ok")
        else:
            await reader.read(1)
        writer.close()

    write_pair(folder, good_for=good_for)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if tls else None)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", go_on
    finally:
        server.close()


def run(loop: Callable[[], Any], main: Callable[[], Any]) -> Any:
    async def guarded() -> Any:
        async with asyncio.timeout(60):
            return await main()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(guarded())


@both_loops
def test_a_trusted_endpoint_is_read_in_small_pieces(loop: Callable[[], Any], tmp_path: Path) -> None:
    """By our TLS on both loops."""

    async def main() -> None:
        async with endpoint(tmp_path) as (url, go_on):
            connector = Connector(ssl=ssl.create_default_context(cafile=tmp_path / "cert.pem"))
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get(url, server_hostname=HOST) as response:
                    assert response.connection is not None
                    assert isinstance(response.connection.protocol, Connection)
                    transport: Any = response.connection.transport
                    assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
                    assert isinstance(transport, Tls)
                    assert len(transport.get_buffer(1 << 20)) == TLS_READ_BYTES
                    go_on.set()
                    assert await response.read() == b"ok"

    run(loop, main)


FAULTS = ["another name", "an address", "nobody we trust", "expired", "no TLS", "nobody there"]


@both_loops
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_handshake_is_a_failed_connection(
    fault: str, loop: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        good_for = -datetime.timedelta(seconds=10) if fault == "expired" else A_DAY
        async with endpoint(tmp_path, tls=fault != "no TLS", good_for=good_for) as (url, _):
            trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
            connector = Connector(ssl=True if fault == "nobody we trust" else trusted)
            name = {"another name": "other.example", "an address": None}.get(fault, HOST)
            async with aiohttp.ClientSession(connector=connector) as session:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await session.get("https://127.0.0.1:9/" if fault == "nobody there" else url, server_hostname=name)

    run(loop, main)
    assert caplog.text == ""


async def test_the_checks_are_on_unless_somebody_turns_them_off() -> None:
    """What aiohttp makes of `ssl=True`, the pool's way."""
    connector = Connector()
    request: Any = SimpleNamespace(is_ssl=lambda: True, ssl=True)
    context = connector._get_ssl_context(request)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    await connector.close()


@both_loops
def test_a_handshake_that_does_not_end_is_cut_off(loop: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
            gone.set()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with aiohttp.ClientSession(connector=Connector()) as session:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await session.get(url, timeout=aiohttp.ClientTimeout(connect=0.2))
            await gone.wait()
        server.close()

    run(loop, main)
    assert caplog.text == ""


def test_a_bad_chunk_under_tls_is_told_at_once(tmp_path: Path) -> None:
    """Not when an endpoint that reads nothing any more has at last said goodbye."""
    told = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        tls: Any = writer.transport
        tls._ssl_protocol._transport.pause_reading()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await told.wait()
        writer.write(b"zz\r\n")
        await told.wait()
        tls.abort()

    async def main() -> None:
        write_pair(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        connector = Connector(ssl=ssl.create_default_context(cafile=tmp_path / "cert.pem"))
        async with aiohttp.ClientSession(connector=connector) as session:
            port = server.sockets[0].getsockname()[1]
            response = await session.get(f"https://127.0.0.1:{port}/", server_hostname=HOST)
            assert await response.content.readany() == b"hello"
            told.set()
            told.clear()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.readany()
            response.close()
            told.set()
        server.close()

    run(asyncio.new_event_loop, main)


# --- both roads under TLS -----------------------------------------------------------------------------------

Road = FastRoad | PlainRoad
both_roads = pytest.mark.parametrize("make_road", [FastRoad, PlainRoad])
OK = b"HTTP/1.1 200 OK\r\n"


class Here(AbstractResolver):
    """Every name is this machine's."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """There is nothing to close."""


@asynccontextmanager
async def road_to(make_road: type[Road], folder: Path | None) -> AsyncIterator[Road]:
    trusted = True if folder is None else ssl.create_default_context(cafile=folder / "cert.pem")
    connector = Connector(ssl=trusted, resolver=Here(), limit=0)
    road = make_road(connector, BOUNDS)
    try:
        yield road
    finally:
        await road.stop()
        await connector.close()


@asynccontextmanager
async def tls_server(
    folder: Path, script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[str]:
    """Its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side is done
        finally:
            writer.close()

    write_pair(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def end_stream(writer: asyncio.StreamWriter) -> None:
    """Without close_notify, and without a wait for one. uvloop's own sockets do not allow it."""
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as wire:
        wire.shutdown(socket.SHUT_WR)


async def ask(road: Road, url: str, body: RequestBody | None = None) -> Answer:
    body = body or RequestBody(make_request(has_body=False), BOUNDS, Watch())
    return await road.send(Endpoint("a", url, "global"), UpstreamHead("POST", "/", []), body, Patience(Watch()))


@both_loops
@both_roads
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "an address"])
def test_what_a_road_says_of_a_failed_handshake(
    fault: str, make_road: type[Road], loop: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        good_for = -datetime.timedelta(seconds=10) if fault == "expired" else A_DAY
        async with endpoint(tmp_path, tls=fault != "no TLS", good_for=good_for) as (address, _):
            name = "other.example" if fault == "another name" else HOST
            port = 9 if fault == "nobody there" else address.rstrip("/").rpartition(":")[2]
            async with road_to(make_road, None if fault == "nobody we trust" else tmp_path) as road:
                with pytest.raises(EndpointFailed, match="connect_failed") as caught:
                    await ask(road, f"https://{name}:{port}")
                assert not caught.value.sent
                assert road.in_use == 0

    run(loop, main)
    assert caplog.text == ""


@both_loops
@both_roads
def test_requests_and_answers_under_tls(
    make_road: type[Road], loop: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Large ones up and down, the connection used again."""
    size = 3_000_000
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            _, body = await read_message(reader)
            writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            await writer.drain()

    async def main() -> None:
        async with tls_server(tmp_path, script) as url, road_to(make_road, tmp_path) as road:
            for _ in range(2):
                request = make_request(*[b"x" * 50_000] * (size // 50_000), length=size)
                answer = await ask(road, url, RequestBody(request, BOUNDS, Watch()))
                total = 0
                while piece := await answer.read():
                    assert len(piece) <= TLS_READ_BYTES + TLS_RECORD_BYTES
                    total += len(piece)
                answer.close()
                assert total == size
            if isinstance(road, FastRoad):
                (fast,) = [connection for kept in road._connections.values() for connection in kept._open]
                assert isinstance(fast.transport, Tls)
        assert connections == 1

    run(loop, main)
    assert caplog.text == ""


class Session:
    """Of TLS; counts what is read."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.reads = 0

    def read(self, size: int, buffer: memoryview) -> int:
        self.reads += 1
        return int(self._session.read(size, buffer))  # and raises where nothing is left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@both_loops
def test_a_record_is_read_once(loop: Callable[[], Any], tmp_path: Path) -> None:
    """To be told that nothing is left costs more than the read."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_message(reader)
            writer.write(OK + b"Content-Length: 2\r\n\r\nhi")
            await writer.drain()

    async def main() -> None:
        async with tls_server(tmp_path, script) as url, road_to(FastRoad, tmp_path) as road:
            counted = None
            for _ in range(4):
                answer = await ask(road, url)
                assert await answer.read() == b"hi"
                answer.close()
                if counted is None:
                    (fast,) = [connection for kept in road._connections.values() for connection in kept._open]
                    counted = fast.transport._session = Session(fast.transport._session)
            assert counted is not None
            assert counted.reads == 3

    run(loop, main)


@both_loops
@both_roads
@pytest.mark.parametrize("end", ["goodbye", "end of stream", "reset"])
def test_an_answer_until_close_under_tls(
    end: str, make_road: type[Road], loop: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a goodbye is an end of it: anybody on the way can end a stream."""
    arrived = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\nhi")
        await arrived.wait()
        if end == "reset":
            wire = writer.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif end == "end of stream":
            end_stream(writer)
            await reader.read()

    async def main() -> None:
        async with tls_server(tmp_path, script) as url, road_to(make_road, tmp_path) as road:
            answer = await ask(road, url)
            assert await answer.read() == b"hi"
            arrived.set()
            if end == "goodbye":
                assert await answer.read() == b""
            else:
                with pytest.raises(AnswerBroke):
                    await answer.read()
            answer.close()

    run(loop, main)
    assert caplog.text == ""


@both_loops
@both_roads
@pytest.mark.parametrize("slow", [False, True])
def test_all_that_a_tls_peer_sent_before_it_hung_up_is_read(
    slow: bool, make_road: type[Road], loop: Callable[[], Any], tmp_path: Path
) -> None:
    size = 4_000_000

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        await writer.drain()
        end_stream(writer)
        await reader.read()

    async def main() -> None:
        async with tls_server(tmp_path, script) as url, road_to(make_road, tmp_path) as road:
            answer = await ask(road, url)
            total = 0
            while piece := await answer.read():
                total += len(piece)
                if slow:
                    await asyncio.sleep(0.001)
            answer.close()
            assert total == size

    run(loop, main)


@both_loops
@both_roads
def test_a_bad_chunk_under_tls_ends_an_answer_at_once(
    make_road: type[Road],
    loop: Callable[[], Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not when an endpoint that reads nothing any more has at last said goodbye."""
    arrived, told = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await arrived.wait()
        writer.write(b"zz\r\n")
        await told.wait()
        writer.transport.abort()

    async def main() -> None:
        async with tls_server(tmp_path, script) as url, road_to(make_road, tmp_path) as road:
            answer = await ask(road, url)
            assert await answer.read() == b"hello"
            arrived.set()
            with pytest.raises(AnswerBroke):
                await answer.read()
            answer.close()
            told.set()

    run(loop, main)
    assert caplog.text == ""
