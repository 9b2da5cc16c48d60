"""What an endpoint's connection carries from one exchange to the next: nothing; and what is known of a body sent."""

import asyncio
import gc
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from proxy import Outcome
from tests.support.gateway import gateway, routes
from tests.support.raw import RawUpstream, answers, raw_upstream, read_chunks, read_message, request_bytes, send_bytes

both_roads = pytest.mark.parametrize("road", ['road = "fast"', 'road = "plain"'], ids=["fast", "plain"])
STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
FRAMINGS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n%02d\r\n0\r\n\r\n",
    "no body": b"HTTP/1.1 204 Number %02d\r\n\r\n",
}


@pytest.mark.parametrize("stray", [STRAY, STRAY[:20], b"\r\n"], ids=["an answer", "half of one", "a line"])
@pytest.mark.parametrize("when", ["with the end", "later", "at the start"])
@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
@both_roads
async def test_what_nobody_asked_for_is_no_answer_to_the_next(
    road: str, framing: bytes, when: str, stray: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp keeps it with the idle connection, and takes it for the next answer: every one from then on is late."""
    let_go = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = upstream.connections == 1
        if first and when == "at the start":
            writer.write(stray)
        try:
            while True:
                await upstream.read(reader)
                answer = framing % len(upstream.requests)
                writer.write(answer[:-1])
                await asyncio.sleep(0.02)
                writer.write(answer[-1:] + (stray if first and when == "with the end" else b""))
                await asyncio.sleep(0.02)
                writer.write(stray if first and when == "later" else b"")
        finally:
            let_go.set()

    async with (
        raw_upstream(script) as upstream,
        gateway(tmp_path, routes(upstream.url, server=road), monkeypatch) as weir,
    ):
        await send_bytes(weir.host, weir.port, request_bytes(method="GET"))
        if stray == STRAY or when == "later":
            async with asyncio.timeout(60):
                await let_go.wait()
        for number in (2, 3):
            got = await send_bytes(weir.host, weir.port, request_bytes(method="GET"))
            assert b"stray" not in got
            head, _, body = got.partition(b"\r\n\r\n")
            assert b"%02d" % number in (body or head.split(b"\r\n")[0])


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"5\r\nhello\r\n"], ids=["a whole one of no bytes", "a beginning"])
@both_roads
async def test_a_body_that_went_up_is_not_sent_again(
    road: str, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it went up before the endpoint hung up: it may be running."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        upstream.requests.append((await reader.readuntil(b"\r\n\r\n"), await reader.readexactly(len(body))))

    async with raw_upstream(script) as upstream:
        text = routes(upstream.url, upstream.url, server=road)
        async with gateway(tmp_path, text, monkeypatch) as weir, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Transfer-Encoding: chunked", close=False))
            await asyncio.sleep(0.02)
            writer.write(body)
            head, _ = await read_message(reader)
            writer.close()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert len(upstream.requests) == 1
    (record,) = weir.records()
    assert [(attempt.error, attempt.sent) for attempt in record.attempts] == [("disconnected", True)]


@both_roads
async def test_a_body_of_which_nothing_went_up_is_sent_again(
    road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if upstream.connections == 1:
            await reader.readuntil(b"\r\n\r\n")
            hung_up.set()
            return
        await reader.readuntil(b"\r\n\r\n")
        upstream.requests.append((b"", await read_chunks(reader)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    hung_up = asyncio.Event()
    async with raw_upstream(script) as upstream:
        text = routes(upstream.url, upstream.url, server=road)
        async with gateway(tmp_path, text, monkeypatch) as weir, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Transfer-Encoding: chunked", close=False))
            await hung_up.wait()
            while upstream.connections == 1:
                await asyncio.sleep(0)
            writer.write(b"5\r\nhello\r\n0\r\n\r\n")
            assert (await read_message(reader))[1] == b"ok"
            writer.close()
    assert upstream.requests == [(b"", b"hello")]
    (record,) = weir.records()
    assert [attempt.sent for attempt in record.attempts] == [False, True]


@pytest.mark.parametrize("line", [b"Content-Length: 300000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
@both_roads
async def test_a_reset_is_no_end_of_an_answer(
    road: str, line: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even of one that ends with its connection; and nobody is told but who reads it."""
    arrived = asyncio.Event()
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n186a0\r\n" + b"x" * 70_000)
        await arrived.wait()
        wire = writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url, server=road), monkeypatch) as weir, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes(method="GET", close=False))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(70_000)
            arrived.set()
            rest = b""
            try:
                while piece := await reader.read(1 << 16):
                    rest += piece
            except ConnectionResetError:
                pass
            writer.close()
    assert b"\r\n0\r\n\r\n" not in rest, "it looks whole"
    assert head.startswith(b"HTTP/1.1 200 ")
    (record,) = weir.records()
    assert record.outcome is Outcome.UPSTREAM_BROKE
    gc.collect()
    assert faults == []


@both_roads
async def test_a_bad_chunk_ends_an_answer_at_once(road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"zz\r\n")
    async with (
        raw_upstream(script) as upstream,
        gateway(tmp_path, routes(upstream.url, server=road), monkeypatch) as weir,
    ):
        await send_bytes(weir.host, weir.port, request_bytes(method="GET"))
    (record,) = weir.records()
    assert record.outcome in (Outcome.UPSTREAM_BROKE, Outcome.UPSTREAM_FAILED)
