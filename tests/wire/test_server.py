"""Connections and the exchanges on them: reuse, pipelines, old callers, many at once, and a stop under load."""

import asyncio
import hashlib
import json
import logging
import socket
from pathlib import Path

import pytest

from proxy import Exchange, Outcome
from proxy.app import SystemClock, uploads_of
from proxy.config.schema import Server
from proxy.wire.server import PublicListener
from tests.support.bounds import BOUNDS
from tests.support.gateway import TEAM_KEYS, Gateway, gateway, routes
from tests.support.raw import RawUpstream, Script, raw_upstream, read_message, request_bytes, send_bytes

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
AUTH = '[plugins.auth]\nkeys = "keys.toml"\n'
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
UPGRADE = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


def always(answer: bytes = b"") -> Script:
    """Answer every request of every connection; without an answer given, each gets its own target back."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await upstream.read(reader)
            target = head.split(b" ", 2)[1]
            writer.write(answer or b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    return script


class Held:
    """An endpoint that has sent half an answer, and sends the rest when it is told to."""

    def __init__(self) -> None:
        self.sent_half = asyncio.Event()
        self.go_on = asyncio.Event()

    async def script(self, upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        self.sent_half.set()
        await self.go_on.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        await writer.drain()


# --- one connection -----------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(always()) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        async with asyncio.timeout(60):
            for number in range(10):
                writer.write(request_bytes("Content-Length: 3", target=f"/{number}", body=b"abc", close=False))
                head, body = await read_message(reader)
                assert body == b"/%d" % number
                assert b"connection:" not in head.lower()
        writer.close()
        assert upstream.connections == 1
    assert [record.path for record in weir.records()] == [f"/{number}" for number in range(10)]


async def test_pipelined_requests_are_answered_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(always()) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        for number in range(20):  # with bodies that look like requests, and some in chunks
            body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            writer.write(
                request_bytes(f"Content-Length: {len(body)}", target=f"/{number}", body=body, close=False)
                if number % 2
                else request_bytes(
                    "Transfer-Encoding: chunked",
                    target=f"/{number}",
                    body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
                    close=False,
                )
            )
        async with asyncio.timeout(60):
            answers = [(await read_message(reader))[1] for _ in range(20)]
        writer.close()
    assert answers == [b"/%d" % number for number in range(20)]
    assert len(weir.records()) == 20


async def test_an_idle_connection_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that sends its head too slowly."""
    text = routes("http://127.0.0.1:9", server='timeouts = { keepalive = "50ms" }')
    async with gateway(tmp_path, text, monkeypatch) as weir, asyncio.timeout(60):
        for sent in (b"", b"GET /x HTTP/1.1\r\nHost: a\r\n"):
            assert await send_bytes(weir.host, weir.port, sent) == b""
    assert weir.records() == []


@pytest.mark.parametrize("asks", [b"", b"Connection: keep-alive\r\n"], ids=["", "keep-alive"])
async def test_a_caller_of_http_1_0_gets_no_chunks(
    asks: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the connection is the end of the body, whatever the caller would like."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    async with raw_upstream(always(chunked)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, b"GET /x HTTP/1.0\r\n" + asks + b"\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == b"hello world"


async def test_a_caller_whose_body_stops_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = routes("http://127.0.0.1:9", server='timeouts = { caller_idle = "50ms" }')
    async with gateway(tmp_path, text, monkeypatch) as weir, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(request_bytes("Content-Length: 5", body=b"hel", close=False))
        head, body = await read_message(reader)
        writer.close()
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(body)["error"]["message"] == "The request's body stopped arriving."
    (record,) = weir.records()
    assert (record.status, record.reason, record.request_bytes) == (408, "BODY_STALLED", 3)


@pytest.mark.parametrize("seen_whole", [False, True])
async def test_a_bad_chunk_in_a_body_ends_the_exchange_at_once(
    seen_whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(b"k").hexdigest()))
    limits = '[teams.studio]\nlimits = [{ tokens = 100000, per = "minute" }]\n'
    quota = {"plugins": '["usage", "auth", "team_quota"]', "more": limits + AUTH} if seen_whole else {}
    async with raw_upstream(script) as upstream, asyncio.timeout(60):
        async with gateway(tmp_path, routes(upstream.url, **quota), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            lines = ("x-goog-api-key: k", "Transfer-Encoding: chunked")
            writer.write(request_bytes(*lines, target=GENERATE, body=b"1\r\n{\r\n", close=False))
            while not weir.app.public.in_flight:
                await asyncio.sleep(0)
            writer.write(b"zz\r\n")
            answer = await reader.read()
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(body)["error"]["message"] == "The request's body is not well-formed HTTP."
    (record,) = weir.records()
    assert (record.outcome, record.status, record.reason) == (Outcome.CLIENT_GONE, 400, "BODY_MALFORMED")


async def test_a_bad_chunk_behind_an_early_answer_only_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys.toml").write_text("")
    text = routes("http://127.0.0.1:9", plugins='["usage", "auth"]', more=AUTH)
    async with gateway(tmp_path, text, monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        async with asyncio.timeout(60):
            writer.write(request_bytes("Transfer-Encoding: chunked", close=False) + b"1\r\n{\r\n")
            head, _ = await read_message(reader)
            writer.write(b"zz\r\n")
            await reader.read()
        writer.close()
    assert head.startswith(b"HTTP/1.1 403 ")
    assert caplog.text == ""


@pytest.mark.parametrize("field", ["Transfer-Encoding: chunked", "Content-Length: 1000000"])
async def test_an_endpoint_may_answer_before_the_body_begins(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await reader.read()

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(request_bytes(field, close=False))
        async with asyncio.timeout(60):
            head, body = await read_message(reader)
        writer.close()
    assert (head.split(b" ", 2)[1], body) == (b"413", b"no")


# --- answers without a body ---------------------------------------------------------------------------------

BODYLESS = {
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4711\r\nX-A: 1\r\n\r\n", True),
    "HEAD of a stream": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", False),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", False),
    "304": ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', False),
    "an empty 200": ("POST", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
}


@pytest.mark.parametrize(("method", "answer", "has_length"), BODYLESS.values(), ids=BODYLESS)
async def test_an_answer_without_a_body_leaves_the_connection_in_order(
    method: str, answer: bytes, has_length: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(always(answer)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            async with asyncio.timeout(60):
                for _ in range(3):
                    writer.write(request_bytes(method=method, close=False))
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.split(b"\r\n")[0] == answer.split(b"\r\n")[0]
                    assert (b"content-length:" in head.lower()) is has_length
                    assert b"transfer-encoding" not in head.lower()
            writer.close()
        assert upstream.connections == 1
    assert [record.outcome for record in weir.records()] == [Outcome.COMPLETED] * 3


# --- an upgrade that is none -----------------------------------------------------------------------------


async def test_a_body_under_an_upgrade_is_not_taken_for_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-69243: aiohttp before 3.14.3 read the body of a declined upgrade as the next request."""
    body = request_bytes(target="/smuggled", method="GET")
    async with raw_upstream(always(OK)) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        request = request_bytes("Connection: Upgrade", *UPGRADE, f"Content-Length: {len(body)}", body=body, close=False)
        got = await send_bytes(weir.host, weir.port, request + request_bytes(target="/next", method="GET"))
    assert [record.path for record in weir.records()] == ["/x", "/next"]
    assert got.count(b"HTTP/1.1 ") == 2


# --- many at once -------------------------------------------------------------------------------------------


async def test_200_exchanges_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All reach the endpoint before the first is answered: nothing queues (aiohttp's pool would at 100)."""
    here = asyncio.Barrier(200)

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await upstream.read(reader)
        await here.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            bodies = [b"%d" % number * 1000 for number in range(200)]
            async with asyncio.timeout(60):
                got = await asyncio.gather(
                    *(
                        send_bytes(weir.host, weir.port, request_bytes(f"Content-Length: {len(body)}", body=body))
                        for body in bodies
                    )
                )
            assert weir.app.public.in_flight == 0
    assert [answer.partition(b"\r\n\r\n")[2] for answer in got] == bodies
    records = weir.records()
    assert [record.outcome for record in records] == [Outcome.COMPLETED] * 200
    assert len({record.id for record in records}) == 200


# --- the end ------------------------------------------------------------------------------------------------


async def test_a_stop_lets_what_is_under_way_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()

    async def end_it_once_nobody_is_let_in(weir: Gateway) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(weir.host, weir.port)
            except OSError:
                break
            writer.close()
        assert weir.app.public.in_flight == 1
        held.go_on.set()

    async with raw_upstream(held.script) as upstream, asyncio.timeout(60):
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            call = asyncio.create_task(send_bytes(weir.host, weir.port, request_bytes(target=GENERATE)))
            await held.sent_half.wait()
            end = asyncio.create_task(end_it_once_nobody_is_let_in(weir))
        await end
        got = await call
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"4\r\nlast\r\n0\r\n\r\n")
    (record,) = weir.records()
    assert (record.outcome, record.response_bytes) == (Outcome.COMPLETED, 9)


async def test_what_outlasts_the_stop_is_cut_and_recorded_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    async with raw_upstream(held.script) as upstream, asyncio.timeout(60):
        text = routes(upstream.url, server='timeouts = { shutdown = "100ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes(target=GENERATE))
            await reader.readuntil(b"first")
        got = await reader.read()
        writer.close()
    assert b"0\r\n\r\n" not in got, "a truncated answer must look truncated"
    (record,) = weir.records()
    assert record.outcome is Outcome.LOST
    assert (record.endpoint, record.status, record.response_bytes) == ("a", 200, 5)


async def test_an_address_that_is_taken_is_an_oserror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = routes("http://127.0.0.1:9").replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}", 1)
        with pytest.raises(OSError, match="address already in use"):
            async with gateway(tmp_path, text, monkeypatch):
                raise AssertionError("it started")


async def test_a_fault_of_ours_is_a_500_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def run(exchange: Exchange) -> None:
        raise RuntimeError("of the gateway's own")

    clock = SystemClock()
    public = PublicListener(run, clock, BOUNDS, uploads_of(Server(), clock))
    await public.start("127.0.0.1:0")
    answer = await send_bytes(*public.address, request_bytes(target="/x?key=planted", method="GET", close=False))
    await public.stop()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert json.loads(body)["error"]["message"] == "An internal error has occurred."
    assert [(record.name, record.levelno) for record in caplog.records] == [("proxy.wire", logging.ERROR)]
    assert "planted" not in caplog.text + answer.decode()
