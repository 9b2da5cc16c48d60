"""Who is let in, for how long without a request, and how the door shuts, over real sockets."""

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest

from proxy import Outcome
from proxy.wire.door import LAST_CALL_SECONDS, bind
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import (
    STREAM_BEGINS,
    STREAM_ENDS,
    RawUpstream,
    Script,
    in_two,
    raw_upstream,
    read_message,
    request_bytes,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer_ok(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await upstream.read(reader)
        writer.write(OK)


class Held:
    """Answers nothing until the test lets it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    @property
    def script(self) -> Script:
        async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await upstream.read(reader)
            self.asked.set()
            await self.go_on.wait()
            writer.write(OK)
            await answer_ok(upstream, reader, writer)

        return script


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(request_bytes(method="GET", close=False))
    head, body = await read_message(reader)
    assert body == b"ok"
    return head


async def stops_letting_in(weir: Gateway) -> None:
    while not weir.app.public._door.last_call:  # type: ignore[union-attr]
        await asyncio.sleep(0.005)


# --- the cap ------------------------------------------------------------------------------------------------


async def test_a_connection_too_many_is_told_so_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(answer_ok) as upstream, asyncio.timeout(60):
        async with gateway(tmp_path, routes(upstream.url, server="connections = 2"), monkeypatch) as weir:
            inside = [await asyncio.open_connection(weir.host, weir.port) for _ in range(2)]
            for each in inside:
                await ask(*each)
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            head, body = await read_message(reader)
            assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"\r\nConnection: close\r\n" in head
            assert json.loads(body)["error"]["details"][0]["reason"] == "CONNECTIONS"
            assert await reader.read() == b""
            writer.close()
            metrics = (await asyncio.to_thread(weir.app.metrics))[0].decode()
            assert "\nweir_connections 2.0\n" in metrics
            assert "\nweir_connections_refused_total 1.0\n" in metrics
            inside[0][1].close()
            while weir.app.public.connections == 2:
                await asyncio.sleep(0.005)
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            await ask(reader, writer)
            for _, each in (*inside, (reader, writer)):
                each.close()
    assert [record.status for record in weir.records()] == [200] * 3


async def test_a_burst_is_counted_before_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio accepts a whole queue of connections before the first of them has its transport."""
    async with gateway(tmp_path, routes("http://127.0.0.1:9", server="connections = 5"), monkeypatch) as weir:
        async with asyncio.timeout(60):
            opened = await asyncio.gather(*(asyncio.open_connection(weir.host, weir.port) for _ in range(40)))
            while weir.app.public.connections + weir.app.public.turned_away < 40:
                await asyncio.sleep(0.005)
        assert (weir.app.public.connections, weir.app.public.turned_away) == (5, 35)
        for _, writer in opened:
            writer.close()


# --- how long it may be silent ------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: a\r\nX-A"])
async def test_silence_before_or_in_a_head_ends_the_connection(
    sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = routes("http://127.0.0.1:9", server='timeouts = { keepalive = "300ms" }')
    async with gateway(tmp_path, text, monkeypatch) as weir, asyncio.timeout(60):
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(sent)
        assert await reader.read() == b""
        assert 0.25 < time.monotonic() - began < 30.0
        writer.close()
    assert weir.records() == []


async def test_a_head_that_drips_has_no_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second request's on a connection."""
    async with raw_upstream(answer_ok) as upstream, asyncio.timeout(60):
        text = routes(upstream.url, server='timeouts = { keepalive = "300ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            await ask(reader, writer)
            began = time.monotonic()
            ended = asyncio.create_task(reader.read())
            for byte in b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Drip: " + b"x" * 1000:
                if ended.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.wait((ended,), timeout=0.05)
            assert await ended == b""
            assert time.monotonic() - began < 5.0
            writer.close()
    assert len(weir.records()) == 1


# --- how it shuts -------------------------------------------------------------------------------------------


async def test_an_idle_connection_may_ask_once_more_and_is_told_that_it_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answer_ok) as upstream, asyncio.timeout(60):
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            assert b"connection:" not in (await ask(reader, writer)).lower()
            stopping = asyncio.create_task(weir.app.stop())
            await stops_letting_in(weir)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(weir.host, weir.port)
            assert b"\r\nConnection: close\r\n" in await ask(reader, writer)
            assert await reader.read() == b""
            began = time.monotonic()
            await stopping
            assert time.monotonic() - began < LAST_CALL_SECONDS, "nobody is left to wait for"
            writer.close()
    assert [record.outcome for record in weir.records()] == [Outcome.COMPLETED] * 2


async def test_what_is_under_way_is_told_that_it_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    async with raw_upstream(held.script) as upstream, asyncio.timeout(60):
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            asked = asyncio.create_task(ask(reader, writer))
            await held.asked.wait()
            stopping = asyncio.create_task(weir.app.stop())
            await stops_letting_in(weir)
            held.go_on.set()
            assert b"\r\nConnection: close\r\n" in await asked
            assert await reader.read() == b""
            await stopping
            writer.close()


async def test_an_answer_that_began_before_the_end_does_not_hold_it_up_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    async with raw_upstream(in_two(STREAM_BEGINS, go_on, STREAM_ENDS)) as upstream, asyncio.timeout(60):
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes(close=False))
            assert b"connection:" not in (await reader.readuntil(b"first")).lower()
            stopping = asyncio.create_task(weir.app.stop())
            await stops_letting_in(weir)
            began = time.monotonic()
            go_on.set()
            assert (await reader.read()).endswith(b"last\r\n0\r\n\r\n"), "the gateway closes, the caller does not"
            await stopping
            assert time.monotonic() - began < LAST_CALL_SECONDS + 3
            writer.close()


async def test_a_connection_that_stays_idle_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answer_ok) as upstream, asyncio.timeout(60):
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            await ask(reader, writer)
            began = time.monotonic()
            await weir.app.stop()
            assert LAST_CALL_SECONDS <= time.monotonic() - began < LAST_CALL_SECONDS + 3
            assert await reader.read() == b""
            writer.close()


# --- its sockets --------------------------------------------------------------------------------------------


def test_localhost_is_every_address_it_has() -> None:
    found = {place[4][0] for place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    sockets = bind("localhost:0")
    assert {sock.getsockname()[0] for sock in sockets} == found
    for sock in sockets:
        sock.close()


def test_an_address_that_is_taken_is_named() -> None:
    (taken,) = bind("127.0.0.1:0")
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    with taken, pytest.raises(OSError, match=f"{address}: address already in use"):
        bind(address)


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(OSError, match=r"no-such-host\.invalid:80: "):
        bind("no-such-host.invalid:80")
