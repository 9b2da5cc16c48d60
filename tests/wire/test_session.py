"""A session's ends in bytes: one close frame each, whoever closes, leaves or stalls, and whom the record blames."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from proxy import Outcome
from tests.support.frames import BINARY, CLOSE, PING, TEXT, accept, close_frame, frame, handshake, read_frame
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, Script, raw_upstream
from tests.wire.test_live_relay import LIVE, VERTEX, idle

SETUP = b'{"setup": {"model": "models/gemini-3.8-live"}}'
READY = b'{"setupComplete": {}}'
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Endpoint:
    """Accepts a session, answers its first message, and notes every frame until the connection ends."""

    def __init__(self, *, answers_close: bool = True, closes: bool = False) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.gone = asyncio.Event()
        self._answers_close = answers_close
        self._closes = closes

    async def __call__(self, _: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await accept(reader, writer)
            self.frames.append(await read_frame(reader))
            writer.write(frame(BINARY, READY))
            while True:
                self.frames.append(await read_frame(reader))
                if self._closes and self.frames[-1][0] == PING:
                    writer.write(close_frame(4001, "mine"))
                if self.frames[-1][0] == CLOSE and self._answers_close:
                    writer.write(frame(CLOSE, self.frames[-1][1]))
        finally:
            self.gone.set()

    @property
    def closes(self) -> list[int]:
        return [int.from_bytes(payload[:2], "big") for kind, payload in self.frames if kind == CLOSE]


async def begin(weir: Gateway, path: str = LIVE, setup: bytes = SETUP) -> Streams:
    """A session that stands."""
    reader, writer = await asyncio.open_connection(weir.host, weir.port)
    writer.write(handshake(path) + frame(TEXT, setup, masked=True))
    await reader.readuntil(b"\r\n\r\n")
    assert await read_frame(reader) == (BINARY, READY)
    return reader, writer


async def closes_until_the_end(reader: asyncio.StreamReader) -> list[int]:
    codes = []
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            kind, payload = await read_frame(reader)
            if kind == CLOSE:
                codes.append(int.from_bytes(payload[:2], "big"))
    return codes


@pytest.mark.parametrize("answers_close", [True, False], ids=["answered", "unanswered"])
async def test_a_close_is_said_once(answers_close: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(answers_close=answers_close)
    async with raw_upstream(endpoint) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await begin(weir)
        writer.write(close_frame(4000, "done", masked=True))
        assert await closes_until_the_end(reader) == [4000]
        writer.close()
        async with asyncio.timeout(60):
            await endpoint.gone.wait()
        await idle(weir)
    assert endpoint.closes == [4000]
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.COMPLETED, "CALLER_CLOSED_4000")


async def test_both_close_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(closes=True)
    async with raw_upstream(endpoint) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await begin(weir)
        writer.write(frame(PING, b"now", masked=True) + close_frame(4000, "mine", masked=True))
        assert len(await closes_until_the_end(reader)) == 1
        writer.close()
        async with asyncio.timeout(60):
            await endpoint.gone.wait()
        await idle(weir)
    assert len(endpoint.closes) == 1
    (record,) = weir.records()
    assert (record.outcome, record.reason) in (
        (Outcome.COMPLETED, "CALLER_CLOSED_4000"),
        (Outcome.COMPLETED, "CLOSED_4001"),
    )


async def test_a_close_that_may_not_be_sent_breaks_the_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1006 stands for a connection that was lost (RFC 6455, section 7.4.1): nobody is told so by a frame."""
    endpoint = Endpoint()
    async with raw_upstream(endpoint) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await begin(weir)
        writer.write(close_frame(1006, masked=True))
        assert await closes_until_the_end(reader) == [1002]
        writer.close()
        await idle(weir)
    assert endpoint.closes == [1011]
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.CLIENT_GONE, "PROTOCOL_ERROR_1002")


async def test_half_a_close_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it ends a request: a caller that shuts its way up reads nothing any more, for all we know."""
    endpoint = Endpoint()
    async with raw_upstream(endpoint) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await begin(weir)
        writer.write_eof()
        assert await closes_until_the_end(reader) == []
        writer.close()
        await idle(weir)
    assert endpoint.closes == [1011]
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.CLIENT_GONE, "CALLER_LEFT")


async def test_the_side_that_stalls_is_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that takes nothing keeps us from reading its caller, whose pongs then wait with the rest."""

    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await read_frame(reader)
        writer.write(frame(BINARY, READY))
        await asyncio.Event().wait()

    async with raw_upstream(script) as upstream:
        text = routes(upstream.url, server='timeouts = { caller_idle = "1s", upstream_idle = "60s" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            _, writer = await begin(weir)
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(frame(BINARY, b"x" * 100_000, masked=True))
                    await writer.drain()
            writer.close()
            await idle(weir)
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.UPSTREAM_BROKE, "UPSTREAM_IDLE")


def waits_for(what: str, heard: asyncio.Event, gone: asyncio.Event) -> Script:
    """An endpoint that goes silent at a point of the opening; `gone` once we have let go of it."""

    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if what == "handshake":
            await reader.readuntil(b"\r\n\r\n")
        elif what == "refusal":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nhalf")
        else:
            await accept(reader, writer)
            await read_frame(reader)
        heard.set()
        await reader.read()
        gone.set()

    return script


@pytest.mark.parametrize("what", ["handshake", "refusal", "first message"])
async def test_a_caller_that_leaves_before_it_begins(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, gone = asyncio.Event(), asyncio.Event()
    async with raw_upstream(waits_for(what, heard, gone)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            _, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(handshake(LIVE) + frame(TEXT, SETUP, masked=True))
            async with asyncio.timeout(60):
                await heard.wait()
                writer.transport.abort()
                await gone.wait()
            await idle(weir)
    (record,) = weir.records()
    assert (record.outcome, record.reason, record.status) == (Outcome.CLIENT_GONE, "CLIENT_GONE", None)
    assert [attempt.error for attempt in record.attempts] == ["caller_gone"]


async def test_an_endpoint_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, gone = asyncio.Event(), asyncio.Event()
    async with raw_upstream(waits_for("first message", heard, gone)) as upstream:
        text = routes(upstream.url, server='timeouts = { first_byte = "500ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(handshake(LIVE) + frame(TEXT, SETUP, masked=True))
            await reader.readuntil(b"\r\n\r\n")
            assert await read_frame(reader) == (CLOSE, b"\x03\xf3No endpoint gave an answer (a: first_byte_timeout).")
            writer.write(close_frame(1011, masked=True))
            async with asyncio.timeout(60):
                await gone.wait()
            writer.close()
            await idle(weir)
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.UPSTREAM_FAILED, "UPSTREAM_FAILED")


async def test_a_model_of_vertex_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = b'{"setup": {"model": "projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash"}}'
    endpoint = Endpoint()
    async with raw_upstream(endpoint) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await begin(weir, VERTEX, setup)
        writer.write(close_frame(1000, masked=True))
        await closes_until_the_end(reader)
        writer.close()
        await idle(weir)
    assert endpoint.frames[0] == (TEXT, setup)
    (record,) = weir.records()
    assert (record.operation, record.model) == ("live", "gemini-live-2.5-flash")
