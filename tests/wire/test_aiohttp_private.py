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
from typing import Any

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from proxy.head import Headers, ResponseHead
from proxy.wire.door import Door
from proxy.wire.guard import assert_c_parser
from proxy.wire.live_door import LiveDoor, LiveVisitor
from proxy.wire.response import RelayedResponse
from tests.support.bounds import BOUNDS
from tests.support.raw import read_message, request_bytes
from tests.support.wire import make_request

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


# --- StreamResponse._prepare_headers ------------------------------------------------------------------------

HEAD = ResponseHead(200, "OK", Headers([]))


async def test_prepare_headers_is_where_aiohttp_signs_its_answers() -> None:
    async def stock(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "2"})
        await response.prepare(request)
        await response.write_eof(b"ok")
        return response

    async def ours(request: web.BaseRequest) -> web.StreamResponse:
        response = RelayedResponse(HEAD, CIMultiDict({"Content-Length": "2"}))
        await response.prepare(request)
        await response.write_eof(b"ok")
        return response

    assert {b"server", b"content-type"} <= await _names(stock)
    assert await _names(ours) == {b"content-length", b"date"}


async def test_what_the_endpoint_signed_stays() -> None:
    async def ours(request: web.BaseRequest) -> web.StreamResponse:
        fields = CIMultiDict({"Server": "ESF", "Content-Type": "text/plain", "Content-Length": "2"})
        response = RelayedResponse(HEAD, fields)
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


# --- Server.__call__, _loop and _kwargs ---------------------------------------------------------------------


class Live(LiveDoor):
    """With listeners, for these tests: each connection is a handshake's from its beginning."""

    def __init__(self, handler: Handler, **_: Any) -> None:
        async def attend(visitor: LiveVisitor, request: web.BaseRequest) -> web.StreamResponse:
            return await handler(request)

        super().__init__(attend, Door(self), BOUNDS)

    def __call__(self) -> LiveVisitor:
        return self.visitor(make_request(), "/")


async def _never(_: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("no request is sent")


async def test_a_visitor_is_made_as_aiohttp_makes_its_own() -> None:
    kwargs: dict[str, Any] = {"max_field_size": BOUNDS.header_bytes, "keepalive_timeout": BOUNDS.keepalive_seconds}
    ours, stock = Live(_never)(), web.Server(_never, **kwargs)()
    assert type(stock) is RequestHandler
    assert type(ours) is LiveVisitor
    assert ours.max_field_size == stock.max_field_size == BOUNDS.header_bytes
    assert ours.max_line_size == BOUNDS.header_bytes
    assert ours.keepalive_timeout == stock.keepalive_timeout == BOUNDS.keepalive_seconds
    assert ours._loop is stock._loop is asyncio.get_running_loop()


async def test_its_connection_ends_with_its_answer() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="no")

    async with connected(handler, Live) as (reader, writer):
        writer.write(request_bytes(method="GET", close=False) * 2)
        answer = await reader.read()
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"\r\nConnection: close\r\n" in answer


# --- RequestHandler.handle_error ----------------------------------------------------------------------------


def test_handle_error_is_still_called_with_what_we_expect() -> None:
    assert inspect.signature(LiveVisitor.handle_error) == inspect.signature(RequestHandler.handle_error)


async def test_handle_error_of_aiohttp_shows_the_request_line_and_ours_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = {}
    for server in (web.Server, Live):
        async with connected(_never, server) as (reader, writer):
            writer.write(b"GET /x?key=planted HTTP/1.1\r\nHost: a\r\nbad field: planted\r\n\r\n")
            answers[server] = await reader.read(), caplog.text
            caplog.clear()
    assert "planted" in answers[web.Server][1]
    assert b"planted" in answers[web.Server][0]
    assert b"planted" not in answers[Live][0]
    assert "planted" not in answers[Live][1]
    assert json.loads(answers[Live][0].partition(b"\r\n\r\n")[2])["error"]["code"] == 400


async def test_handle_error_answers_for_a_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_: web.BaseRequest) -> web.StreamResponse:
        raise RuntimeError("of the gateway's own")

    async with connected(fails, Live) as (reader, writer):
        writer.write(request_bytes(target="/x?key=planted", method="GET", close=False))
        answer = await reader.read()
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (error["code"], error["message"]) == (500, "An internal error has occurred.")
    assert b"of the gateway" not in answer
    assert [(record.name, record.levelno) for record in caplog.records] == [("proxy.wire", logging.ERROR)]
    assert "planted" not in caplog.text


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
