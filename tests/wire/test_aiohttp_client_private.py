"""Names of aiohttp's client that are not promised to stay as they are, one test for each that we touch.

Each test shows what the name does for us and, beside it, what aiohttp does without: when an upgrade changes
either, this file says which of our lines to look at, before an endpoint notices.
"""

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler

from proxy.wire.connector import Connector, Destination
from tests.support.gateway import gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes, send_bytes

# --- ClientSession._retry_connection ------------------------------------------------------------------------


async def _hang_up(upstream: RawUpstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await upstream.read(reader)


async def test_retry_connection_repeats_a_get_behind_our_back() -> None:
    async with raw_upstream(_hang_up) as upstream, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(upstream.url)
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("road", ["fast", "plain"])
async def test_without_it_the_endpoint_sees_each_request_once(
    road: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(_hang_up) as upstream:
        text = routes(upstream.url, server=f'road = "{road}"')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            await send_bytes(weir.host, weir.port, request_bytes(method=method))
    assert len(upstream.requests) == 1
    (record,) = weir.records()
    assert [attempt.error for attempt in record.attempts] == ["disconnected"]


# --- TCPConnector._factory, StreamReader._buffer and _wait, StreamWriter.write's LIMIT -----------------------


class _Of(ResponseHandler):
    """A protocol of ours."""


async def test_the_factory_makes_the_protocols_of_upstream_connections() -> None:
    async with raw_upstream(_hang_up) as upstream:
        connector = aiohttp.TCPConnector()
        connector._factory = partial(_Of, asyncio.get_running_loop())
        async with aiohttp.ClientSession(connector=connector) as session:
            waiting = asyncio.create_task(session.post(upstream.url))
            while not any(isinstance(protocol, _Of) for protocol in connector._acquired):
                await asyncio.sleep(0)
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await waiting


async def test_a_reader_holds_pieces_as_they_were_fed_and_read_raises_its_limits() -> None:
    protocol = BaseProtocol(asyncio.get_running_loop())
    protocol.connection_made(asyncio.Transport())
    reader = StreamReader(protocol, 10)
    assert reader.get_read_buffer_limits() == (10, 20)
    reader.feed_data(b"12345")
    reader.feed_data(b"678")
    assert list(reader._buffer) == [b"12345", b"678"]
    assert reader.read_nowait(5) == b"12345"
    assert await reader.read(1000) == b"678"
    assert reader.get_read_buffer_limits() == (1000, 2000)
    waiting = asyncio.create_task(reader._wait("a test"))
    await asyncio.sleep(0)
    reader.feed_data(b"9")
    await waiting


@pytest.mark.parametrize(("limit", "waits"), [({}, False), ({"LIMIT": 0}, True)])
async def test_a_writer_asks_the_transport_only_past_its_limit(limit: dict[str, int], waits: bool) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        request.protocol.pause_writing()
        writer: Any = request.writer
        writing = asyncio.create_task(writer.write(b"x" * 100, **limit))
        await asyncio.sleep(0)
        assert writing.done() is not waits
        request.protocol.resume_writing()
        await writing
        raise web.HTTPNoContent

    running = web.Server(handler, access_log=None)
    listener = await asyncio.get_running_loop().create_server(running, "127.0.0.1", 0)
    answer = await send_bytes(*listener.sockets[0].getsockname()[:2], request_bytes(method="GET"))
    assert answer.startswith(b"x" * 100 + b"HTTP/1.1 204")
    await running.shutdown(0)
    listener.close()
    await listener.wait_closed()


async def test_an_empty_first_piece_sends_the_head() -> None:
    """The plain road stands on it."""
    more = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b""
        await more.wait()
        yield b"x"

    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        more.set()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream, aiohttp.ClientSession() as session, asyncio.timeout(60):
        assert (await session.post(upstream.url, data=pieces())).status == 200


# --- BaseProtocol._pause_transport_reading and _resume_transport_reading ------------------------------------


def test_pauses_go_through_two_methods() -> None:
    calls: list[str] = []

    class Watched(BaseProtocol):
        def _pause_transport_reading(self) -> None:
            calls.append("pause")

        def _resume_transport_reading(self) -> None:
            calls.append("resume")

    protocol: Any = Watched(asyncio.new_event_loop())
    protocol._upgraded = True
    protocol.pause_reading()
    protocol.resume_reading()
    protocol._pause_reading_for_buffer()
    protocol._resume_reading_for_buffer()
    protocol._loop.close()
    assert calls == ["pause", "resume"] * 2


# --- BaseConnector._acquired, ResponseHandler._payload ------------------------------------------------------


async def test_a_connection_is_among_the_acquired_while_a_request_has_it() -> None:
    """`Connection.data_received` stands on the set staying the same, `connection_lost` on the payload."""
    go_on = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            await go_on.wait()
            writer.write(b"ok")

    async with raw_upstream(script) as upstream, aiohttp.ClientSession() as session, asyncio.timeout(60):
        assert session.connector is not None
        in_use = session.connector._acquired
        for _ in range(2):
            go_on.clear()
            response = await session.get(upstream.url)
            (protocol,) = in_use
            assert protocol._payload is response.content
            go_on.set()
            assert await response.read() == b"ok"
            assert not in_use
    assert upstream.connections == 1


async def test_without_us_an_answer_nobody_asked_for_is_the_next_ones() -> None:
    sent = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await sent.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")
        await upstream.read(reader)

    async with raw_upstream(script) as upstream, aiohttp.ClientSession() as session, asyncio.timeout(60):
        assert await (await session.get(upstream.url)).read() == b"ok"
        assert session.connector is not None
        (((protocol, _),),) = session.connector._conns.values()
        sent.set()
        while not protocol.should_close:
            await asyncio.sleep(0)
        assert await (await session.get(upstream.url)).read() == b"stray"


# --- UploadTracker._add_bytes and _attempt_finished ---------------------------------------------------------


@pytest.mark.parametrize(("pieces", "calls"), [([b"", b"x"], ["bytes", "end"]), ([b""], ["end"])])
async def test_a_tracker_is_told_of_bytes_and_of_the_end(pieces: list[bytes], calls: list[str]) -> None:
    heard: list[str] = []

    class Told(aiohttp.UploadTracker):
        def _add_bytes(self, gen: int, size: int, wire_position: int) -> None:
            heard.append("bytes")

        def _attempt_finished(self, gen: int) -> None:
            heard.append("end")

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with raw_upstream(_hang_up) as upstream, aiohttp.ClientSession() as session, asyncio.timeout(60):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(upstream.url, data=body(), upload_tracker=Told())
    assert heard == calls


async def test_a_tracker_forgets_what_it_was_not_asked_for_before_a_disconnect() -> None:
    async def script(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"x\r\n")

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    tracker = aiohttp.UploadTracker()
    async with raw_upstream(script) as upstream, aiohttp.ClientSession() as session, asyncio.timeout(60):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(upstream.url, data=body(), upload_tracker=tracker)
    assert tracker.bytes_written == 0


# --- TCPConnector._create_direct_connection and _wrap_create_connection, ClientRequest without a session -----


class _Counted(asyncio.Protocol):
    """A protocol of ours, that knows nothing of aiohttp's."""

    transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


async def test_dialling_makes_our_protocol_and_nothing_of_it_is_aiohttps() -> None:
    async with raw_upstream(_hang_up) as upstream, asyncio.timeout(60):
        connector = Connector(limit=0)
        protocol = await connector.dial(Destination(upstream.url, _Counted))
        assert isinstance(protocol, _Counted)
        assert protocol.transport.get_protocol() is protocol
        assert not connector._acquired
        assert not connector._conns
        await connector.close()
        assert not protocol.transport.is_closing(), "a connection that was dialled is whose dialled it"
        protocol.transport.abort()


async def test_what_is_dialled_is_what_the_session_would_have_dialled() -> None:
    """The connector asks a request for its address and whether TLS is spoken, and has the rest of itself."""
    connector = Connector(limit=0)
    for url, is_ssl, port in (("https://a.example", True, 443), ("http://a.example:81", False, 81)):
        destination = Destination(url, _Counted)
        assert (destination.is_ssl(), destination.host, destination.port) == (is_ssl, "a.example", port)
        assert (destination.ssl, destination.server_hostname, destination.proxy) == (True, None, None)
        context = connector._get_ssl_context(destination)
        assert (context is not None) is is_ssl
        if context is not None:
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert connector._get_fingerprint(destination) is None
    await connector.close()


def test_the_connectors_steps_take_what_we_give_them() -> None:
    direct = inspect.signature(aiohttp.TCPConnector._create_direct_connection)
    assert list(direct.parameters)[:4] == ["self", "req", "traces", "timeout"]
    wrap = inspect.signature(aiohttp.TCPConnector._wrap_create_connection)
    assert {"addr_infos", "req", "timeout", "client_error"} <= set(wrap.parameters)
