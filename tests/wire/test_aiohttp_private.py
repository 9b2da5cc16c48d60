"""Names of aiohttp that are not promised to stay as they are, one test for each that we touch.

Each test shows what the name does for us and, beside it, what aiohttp does without: when an upgrade changes
either, this file says which of our lines to look at, before a caller notices.
"""

import asyncio
import inspect
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDict

from proxy.head import Headers, ResponseHead
from proxy.wire.connection import Connection, Server
from proxy.wire.guard import assert_c_parser
from proxy.wire.response import RelayedResponse
from proxy.wire.server import _continue
from tests.support.gateway import gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, read_message, request_bytes, send_bytes

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def connected(
    handler: Handler, server: type[web.Server] = web.Server
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to this handler."""
    running = server(handler, access_log=None)
    listener = await asyncio.get_running_loop().create_server(running, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname()[:2])
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.close()
        await running.shutdown(0)
        listener.close()
        await listener.wait_closed()


# --- ClientSession._retry_connection ------------------------------------------------------------------------


async def _hang_up(upstream: RawUpstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await upstream.read(reader)


async def test_retry_connection_repeats_a_get_behind_our_back() -> None:
    async with raw_upstream(_hang_up) as upstream, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(upstream.url)
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_without_it_the_endpoint_sees_each_request_once(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(_hang_up) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        await send_bytes(weir.host, weir.port, request_bytes(method=method))
    assert len(upstream.requests) == 1
    (record,) = weir.records()
    assert [attempt.error for attempt in record.attempts] == ["disconnected"]


# --- StreamResponse._prepare_headers ------------------------------------------------------------------------

HEAD = ResponseHead(200, "OK", Headers([]))


async def test_prepare_headers_is_where_aiohttp_signs_its_answers() -> None:
    async def stock(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "2"})
        await response.prepare(request)
        await response.write_eof(b"ok")
        return response

    async def ours(request: web.BaseRequest) -> web.StreamResponse:
        response = RelayedResponse(HEAD, CIMultiDict({"Content-Length": "2"}), at_once=True)
        await response.prepare(request)
        await response.write_eof(b"ok")
        return response

    assert {b"server", b"content-type"} <= await _names(stock)
    assert await _names(ours) == {b"content-length", b"date"}


async def test_what_the_endpoint_signed_stays() -> None:
    async def ours(request: web.BaseRequest) -> web.StreamResponse:
        fields = CIMultiDict({"Server": "ESF", "Content-Type": "text/plain", "Content-Length": "2"})
        response = RelayedResponse(HEAD, fields, at_once=True)
        await response.prepare(request)
        await response.write_eof(b"ok")
        return response

    async with connected(ours) as (reader, writer):
        writer.write(request_bytes(method="GET", close=False))
        head, _ = await read_message(reader)
    assert b"\r\nServer: ESF\r\nContent-Type: text/plain\r\n" in head


async def _names(handler: Handler) -> set[bytes]:
    async with connected(handler) as (reader, writer):
        writer.write(request_bytes(method="GET", close=False))
        head, _ = await read_message(reader)
    return {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line}


# --- StreamResponse._send_headers_immediately ---------------------------------------------------------------


class _Writes:
    """A transport that counts how often it is written to."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.sizes: list[int] = []

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self._transport.write(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.sizes.append(sum(map(len, pieces)))
        self._transport.writelines(pieces)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.mark.parametrize(("at_once", "after_head", "after_body"), [(True, 0, 1), (False, 1, 2)])
async def test_send_headers_immediately_decides_when_the_head_leaves(
    at_once: bool, after_head: int, after_body: int
) -> None:
    seen: list[int] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        request.protocol.transport = writes = _Writes(request.transport)  # type: ignore[assignment]
        response = RelayedResponse(HEAD, CIMultiDict({"Content-Length": "2"}), at_once=at_once)
        await response.prepare(request)
        seen.append(len(writes.sizes))
        await response.write_eof(b"ok")
        seen.append(len(writes.sizes))
        return response

    async with connected(handler) as (reader, writer):
        writer.write(request_bytes(method="GET", close=False))
        assert (await read_message(reader))[1] == b"ok"
    assert seen == [after_head, after_body]


# --- Server.__call__, _loop and _kwargs ---------------------------------------------------------------------


async def _never(_: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("no request is sent")


async def test_calling_the_server_makes_the_protocol_of_a_connection() -> None:
    kwargs: dict[str, Any] = {"max_field_size": 1234, "max_line_size": 1235, "keepalive_timeout": 7.0}
    ours, stock = Server(_never, **kwargs)(), web.Server(_never, **kwargs)()
    assert type(stock) is RequestHandler
    assert type(ours) is Connection
    assert ours.max_field_size == stock.max_field_size == 1234
    assert ours.max_line_size == stock.max_line_size == 1235
    assert ours.keepalive_timeout == stock.keepalive_timeout == 7.0
    assert ours._loop is asyncio.get_running_loop()


# --- RequestHandler.handle_error ----------------------------------------------------------------------------


def test_handle_error_is_still_called_with_what_we_expect() -> None:
    assert inspect.signature(Connection.handle_error) == inspect.signature(RequestHandler.handle_error)


async def test_handle_error_of_aiohttp_shows_the_request_line_and_ours_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = {}
    for server in (web.Server, Server):
        async with connected(_never, server) as (reader, writer):
            writer.write(b"GET /x?key=planted HTTP/1.1\r\nHost: a\r\nbad field: planted\r\n\r\n")
            answers[server] = await reader.read(), caplog.text
            caplog.clear()
    assert "planted" in answers[web.Server][1]
    assert b"planted" in answers[web.Server][0]
    assert b"planted" not in answers[Server][0]
    assert "planted" not in answers[Server][1]
    assert json.loads(answers[Server][0].partition(b"\r\n\r\n")[2])["error"]["code"] == 400


async def test_handle_error_answers_for_a_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_: web.BaseRequest) -> web.StreamResponse:
        raise RuntimeError("of the gateway's own")

    async with connected(fails, Server) as (reader, writer):
        writer.write(request_bytes(target="/x?key=planted", method="GET", close=False))
        answer = await reader.read()
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (error["code"], error["message"]) == (500, "An internal error has occurred.")
    assert b"of the gateway" not in answer
    assert [(record.name, record.levelno) for record in caplog.records] == [("proxy.wire", logging.ERROR)]
    assert "planted" not in caplog.text


# --- StreamWriter.output_size -------------------------------------------------------------------------------


async def test_output_size_counts_the_interim_answer_until_we_reset_it() -> None:
    sizes: list[int] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        writer: Any = request.writer
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        sizes.append(writer.output_size)
        ask = _continue(request)
        assert ask is not None
        await ask()
        sizes.append(writer.output_size)
        return web.Response(text=await request.text())

    async with connected(handler) as (reader, writer):
        writer.write(request_bytes("Content-Length: 5", "Expect: 100-continue", close=False))
        for _ in range(2):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        head, body = await read_message(reader)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"hello"
    assert sizes == [25, 0]


# --- http_parser: the C parser and the other one ------------------------------------------------------------


def test_the_c_parser_is_the_one_that_runs() -> None:
    assert_c_parser()


def test_the_pure_python_parser_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from proxy.wire.guard import assert_c_parser; assert_c_parser()"],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: aiohttp runs on its pure-Python HTTP parser" in done.stderr


# --- web_protocol._ErrInfo, RequestHandler._messages --------------------------------------------------------


async def test_what_is_no_http_is_queued_and_the_body_in_which_it_came_not_told() -> None:
    seen: list[StreamReader] = []

    async def reads(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.content)
        await request.read()
        raise AssertionError("the body never ends")

    async with connected(reads) as (_, writer):
        writer.write(request_bytes("Transfer-Encoding: chunked", close=False))
        while not seen:
            await asyncio.sleep(0)
        handler: Any = seen[0]._protocol
        writer.write(b"zz\r\n")
        while not handler._messages:
            await asyncio.sleep(0)
        assert isinstance(handler._messages[-1][0], _ErrInfo)
        assert seen[0].exception() is None
        assert not seen[0].is_eof()


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

    async with connected(handler) as (reader, writer):
        writer.write(request_bytes(method="GET", close=False))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"x" * 100 + b"HTTP/1.1 204")


async def test_an_empty_first_piece_sends_the_head() -> None:
    """`RequestBody.pieces` stands on it."""
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
