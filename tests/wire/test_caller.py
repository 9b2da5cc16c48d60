"""Callers that leave, stall or speak an older HTTP: what they cost, what they get, what the record says."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy import Exchange, ExchangeNext, Outcome, Plugin, UsageState
from proxy.endpoint import Endpoint
from proxy.head import RawField
from proxy.operation import Operation
from proxy.wire.credentials import Credentials
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, Script, answers, raw_upstream, read_message, request_bytes, send_bytes
from tests.tools import with_stand_ins

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
USAGE = (
    b'data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"totalTokenCount":7}}\r\n\r\n'
)
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Waits(Plugin):
    """Holds each exchange until the test lets it go on."""

    entered: asyncio.Event
    go_on: asyncio.Event

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        Waits.entered.set()
        await Waits.go_on.wait()
        await call_next(exchange)


async def idle(weir: Gateway) -> None:
    async with asyncio.timeout(60):
        while weir.app.public.in_flight:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def unread(weir: Gateway) -> AsyncIterator[tuple[socket.socket, Any]]:
    """A caller that reads nothing, with the gateway's end of its connection: between them is room for a few KB."""
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        caller.setblocking(False)
        async with asyncio.timeout(60):
            await asyncio.get_running_loop().sock_connect(caller, (weir.host, weir.port))
            while not weir.app.public.connections:
                await asyncio.sleep(0.01)
            assert weir.app.public._door is not None
            inside: Any
            (inside,) = weir.app.public._door.inside
            inside._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            yield caller, inside


async def test_nothing_is_sent_for_a_caller_that_already_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draining is for what already runs: a generation begun for nobody would be paid for."""
    Waits.entered, Waits.go_on = asyncio.Event(), asyncio.Event()
    more = f'[plugins.waits]\nuse = "{__name__}:Waits"\n'
    async with raw_upstream(answers(OK)) as upstream:
        async with gateway(
            tmp_path, routes(upstream.url, plugins='["usage", "waits"]', more=more), monkeypatch
        ) as weir:
            _, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Content-Length: 1", body=b"x"))
            await Waits.entered.wait()
            writer.transport.abort()
            while weir.app.public.connections:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            Waits.go_on.set()
            await idle(weir)
    assert upstream.requests == []
    (record,) = weir.records()
    assert (record.outcome, record.status, record.attempts[0].sent) == (Outcome.CLIENT_GONE, None, False)


async def test_a_caller_that_leaves_while_it_is_asked_for_its_body_is_not_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Waits.entered, Waits.go_on = asyncio.Event(), asyncio.Event()
    more = f'[plugins.waits]\nuse = "{__name__}:Waits"\n'
    async with gateway(
        tmp_path, routes("http://127.0.0.1:9", plugins='["usage", "waits"]', more=more), monkeypatch
    ) as weir:
        _, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(request_bytes("Content-Length: 5", "Expect: 100-continue"))
        await Waits.entered.wait()
        writer.transport.abort()
        Waits.go_on.set()
        await idle(weir)
    (record,) = weir.records()
    assert record.outcome in (Outcome.CLIENT_GONE, Outcome.UPSTREAM_FAILED)
    assert record.reason != "INTERNAL"


def held_stream(finish: asyncio.Event, size: int) -> Script:
    """A stream that fills every buffer, and its usage at the end, when told."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(SSE)
        for _ in range(size // 65536):
            writer.write(chunk(b": " + b"x" * 65532 + b"\r\n"))
            await writer.drain()
        await finish.wait()
        writer.write(chunk(USAGE) + b"0\r\n\r\n")
        await writer.drain()

    return script


async def test_a_reader_that_stalls_falls_under_the_drain_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = asyncio.Event()
    finish.set()
    async with raw_upstream(held_stream(finish, 30_000_000)) as upstream:
        text = routes(upstream.url, server='timeouts = { caller_idle = "300ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            _, writer = await asyncio.open_connection(weir.host, weir.port, limit=1024)
            writer.write(request_bytes("Content-Length: 0", target=STREAM))
            async with asyncio.timeout(60):
                while not upstream.requests:
                    await asyncio.sleep(0.01)
                await idle(weir)
            writer.close()
    (record,) = weir.records()
    assert (record.outcome, record.reason, record.usage_state) == (Outcome.CLIENT_GONE, "CALLER_IDLE", UsageState.FINAL)
    assert record.usage is not None
    assert record.usage.total_tokens == 7


@pytest.mark.parametrize(
    ("server", "drained"), [("drains = 1", [True, False]), ('sizes = { drain = "128 KiB" }', [False])]
)
async def test_drains_are_bounded(
    server: str, drained: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In number, and in bytes; beyond that a caller that leaves is a call that ends."""
    finish = asyncio.Event()
    size = 1_000_000 if "drain = " in server else 65536
    async with raw_upstream(held_stream(finish, size)) as upstream:
        async with gateway(tmp_path, routes(upstream.url, server=server), monkeypatch) as weir:
            for _ in drained:
                reader, writer = await asyncio.open_connection(weir.host, weir.port)
                writer.write(request_bytes("Content-Length: 0", target=STREAM))
                await reader.readexactly(100)
                writer.transport.abort()
                await asyncio.sleep(0.1)
            finish.set()
            await idle(weir)
    assert sorted(record.usage_state is UsageState.FINAL for record in weir.records()) == sorted(drained)


async def test_an_upload_that_stalls_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(answers(OK)) as upstream:
        text = routes(upstream.url, server='timeouts = { caller_idle = "100ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 10", body=b"half"))
    assert got.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    (record,) = weir.records()
    assert (record.outcome, record.status, record.reason) == (Outcome.CLIENT_GONE, 408, "BODY_STALLED")
    assert record.request_bytes == 4


async def test_the_wait_for_the_first_byte_begins_after_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answers(OK)) as upstream:
        text = routes(upstream.url, server='timeouts = { first_byte = "600ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Transfer-Encoding: chunked"))
            for _ in range(8):
                writer.write(chunk(b"x" * 1000))
                await asyncio.sleep(0.1)
            writer.write(b"0\r\n\r\n")
            async with asyncio.timeout(60):
                head, _ = await read_message(reader)
            writer.close()
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert len(upstream.requests[0][1]) == 8000


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        ((), b'{"serviceTier": "flex"}', 200),
        (("X-Vertex-AI-LLM-Shared-Request-Type: flex",), b"{}", 200),
        ((), b'{"serviceTier": "standard"}', 504),
    ],
)
async def test_a_flex_call_may_take_its_time(
    lines: tuple[str, ...], body: bytes, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        await asyncio.sleep(0.4)
        writer.write(OK)

    async with raw_upstream(script) as upstream:
        text = routes(upstream.url, server='timeouts = { first_byte = "100ms", flex_first_byte = "20s" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            got = await send_bytes(
                weir.host, weir.port, request_bytes(*lines, f"Content-Length: {len(body)}", body=body)
            )
    assert int(got.split()[1]) == status


async def test_a_bad_chunk_in_the_middle_ends_the_answer_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp closes such a connection and tells nobody: the caller would wait for `upstream_idle`, minutes."""
    go_on = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(SSE + chunk(USAGE))
        await go_on.wait()
        writer.write(b"zz\r\nnot a chunk\r\n")
        await writer.drain()
        await reader.read()

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(request_bytes("Content-Length: 0", target=STREAM, close=False))
        async with asyncio.timeout(60):
            await reader.readuntil(USAGE)
            go_on.set()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()
    (record,) = weir.records()
    assert (record.outcome, record.usage_state) == (Outcome.UPSTREAM_BROKE, UsageState.PARTIAL)


async def test_an_older_caller_sees_the_end_of_a_body_without_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP/1.0 has no chunks: only the end of the connection can end such a body."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"hello") + b"0\r\n\r\n"
    async with raw_upstream(answers(answer)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert got.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
async def test_an_upgrade_that_nobody_needs_is_ignored(
    upgrade: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110 section 7.8 lets a server ignore it: some clients always offer h2c, and no POST opens a WebSocket."""
    async with raw_upstream(answers(OK)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            lines = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMA")
            request = request_bytes(*lines, "Content-Length: 1", body=b"x", close=False)
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request)
            async with asyncio.timeout(60):
                head, _ = await read_message(reader)
            writer.close()
    assert int(head.split()[1]) == 200
    (record,) = weir.records()
    assert record.status == 200
    sent, body = upstream.requests[0]
    assert b"upgrade" not in sent.lower()
    assert body == b"x"


async def test_an_error_inside_a_stream_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = b'{\n  "error": {\n    "code": 503,\n    "message": "overloaded",\n    "status": "UNAVAILABLE"\n  }\n}\n'
    answer = SSE + chunk(USAGE) + chunk(error) + b"0\r\n\r\n"
    async with raw_upstream(answers(answer)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0", target=STREAM))
    assert error in got
    (record,) = weir.records()
    assert (record.outcome, record.status, record.reason) == (Outcome.COMPLETED, 200, "503 UNAVAILABLE")


@pytest.fixture
async def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Gateway]]:
    """A gateway whose endpoint answers any number of requests with a small body."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(OK)

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        yield lambda: weir


async def test_callers_that_come_and_go_leave_nothing_behind(many: Callable[[], Gateway]) -> None:
    weir = many()
    await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 1", body=b"x"))
    before = len(asyncio.all_tasks())
    for number in range(200):
        _, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(request_bytes("Content-Length: 1", body=b"x"))
        await writer.drain()
        if number % 2:
            await asyncio.sleep(0)
        writer.transport.abort()
    await idle(weir)
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) <= before + 4  # the pooled connections of the script's end
    assert weir.app.public._drains._count == 0


class Slow(Credentials):
    """Asks the test for each credential."""

    asked: asyncio.Event
    go_on: asyncio.Event

    async def field_for(self, endpoint: Endpoint, operation: Operation) -> RawField | None:
        Slow.asked.set()
        await Slow.go_on.wait()
        return await super().field_for(endpoint, operation)


@with_stand_ins
@pytest.mark.parametrize("policy", ["drain", "cancel"])
async def test_nothing_is_sent_for_a_caller_that_leaves_while_a_token_is_fetched(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a connection is at hand: a Google token may take ten seconds."""
    Slow.asked, Slow.go_on = asyncio.Event(), asyncio.Event()

    async def serve(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(OK)

    async with raw_upstream(serve) as upstream:
        async with gateway(tmp_path, routes(upstream.url, route=f'on_disconnect = "{policy}"'), monkeypatch) as weir:
            await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 1", body=b"x"))
            public = weir.app.public
            public._gear.credentials = Slow()
            _, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Content-Length: 1", body=b"x"))
            async with asyncio.timeout(60):
                await Slow.asked.wait()
                writer.transport.abort()
                while weir.app.public.connections:
                    await asyncio.sleep(0.01)
            Slow.go_on.set()
            await idle(weir)
    assert len(upstream.requests) == 1
    assert [attempt.sent for record in weir.records() for attempt in record.attempts] == [True, False]


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_counts_in_hand_are_not_lost_with_a_caller_that_takes_nothing(
    framing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole answer has come; the caller leaves while its last piece waits to be taken, and nobody reads on."""
    counts = b'"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":5,"totalTokenCount":12}'
    body = b'{"candidates":[{"content":{"parts":[{"text":"' + b"x" * 50_000 + b'"}]}}],' + counts + b"}"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    length = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(body) + b"0\r\n\r\n"
    async with raw_upstream(answers(length if framing == "length" else chunks)) as upstream:
        async with gateway(tmp_path, routes(upstream.url, route='on_disconnect = "cancel"'), monkeypatch) as weir:
            async with unread(weir) as (caller, inside):
                request = request_bytes("Content-Length: 2", target=GENERATE, body=b"{}")
                await asyncio.get_running_loop().sock_sendall(caller, request)
                while not inside.paused:
                    await asyncio.sleep(0.01)
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            await idle(weir)
    (record,) = weir.records()
    assert record.outcome is Outcome.CLIENT_GONE
    assert record.usage is not None
    assert record.usage.total_tokens == 12


async def test_a_caller_that_takes_nothing_does_not_hold_its_connection_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few KB may stay unsent without a pause: the exchange ends, and the end of the connection waits for them."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + bytes(4000)

    async def serve(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(ok)

    server = 'timeouts = { keepalive = "200ms", caller_idle = "200ms" }'
    async with (
        raw_upstream(serve) as upstream,
        gateway(tmp_path, routes(upstream.url, server=server), monkeypatch) as weir,
    ):
        async with unread(weir) as (caller, inside):
            asked = 0
            while not inside._transport.get_write_buffer_size():
                await asyncio.get_running_loop().sock_sendall(caller, request_bytes(method="GET", close=False))
                asked += 1
                while len(upstream.requests) < asked or weir.app.public.in_flight:
                    await asyncio.sleep(0)
            while weir.app.public.connections:
                await asyncio.sleep(0.01)
