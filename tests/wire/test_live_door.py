"""A handshake's way from our own connection to aiohttp's, on both loops, with and without TLS."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from proxy import Outcome
from tests.support.certificate import HOST, write_pair
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, read_message, request_bytes
from tests.support.sockets import Socket, socket_endpoint

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TLS = 'tls = { certificate = "cert.pem", key = "key.pem" }'
ASKS = (
    *("Connection: keep-alive, Upgrade", "Upgrade: websocket", "X-Between: 1"),
    *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
)
HANDSHAKE = request_bytes(*ASKS, target="/chat", method="GET", close=False)
HELLO = b"\x81\x85\0\0\0\0hello"  # RFC 6455 section 5.2: one text frame, masked with zeros
Connect = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(weir: Gateway, folder: Path, *, tls: bool) -> Connect:
    context = ssl.create_default_context(cafile=folder / "cert.pem") if tls else None
    return await asyncio.open_connection(weir.host, weir.port, ssl=context, server_hostname=HOST if tls else None)


async def echo(socket: Socket) -> None:
    await socket.send_bytes((await socket.receive()).data.encode())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("behind", [False, True], ids=["first", "behind another"])
def test_what_came_with_it_comes_along(
    behind: bool, loop: Callable[[], Any], tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fields, and a frame in the same segment."""
    write_pair(tmp_path)
    faults: list[Any] = []

    async def main() -> Gateway:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with socket_endpoint(echo) as endpoint, asyncio.timeout(60):
            text = routes(endpoint.url, server=TLS if tls else "")
            async with gateway(tmp_path, text, monkeypatch) as weir:
                reader, writer = await connect(weir, tmp_path, tls=tls)
                before = request_bytes("Upgrade: websocket", "Connection: upgrade", target="/http", close=False)
                writer.write((before if behind else b"") + HANDSHAKE + HELLO)
                if behind:
                    assert (await read_message(reader))[0].startswith(b"HTTP/1.1 ")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 ")
                assert await reader.readexactly(7) == b"\x82\x05hello"
                assert weir.app.public.connections == weir.app.public.in_flight == 1
                writer.close()
                while weir.app.public.connections or weir.app.public.in_flight:
                    await asyncio.sleep(0.01)
            got = endpoint.handshakes[-1].raw_headers
            assert [value for name, value in got if name.lower() == b"x-between"] == [b"1"]
        return weir

    with asyncio.Runner(loop_factory=loop) as runner:
        weir = runner.run(main())
    assert faults == []
    assert [record.path for record in weir.records()] == ["/http", "/chat"][0 if behind else 1 :]


REFUSED = {
    "malformed": (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X"), b"400", "BAD_HANDSHAKE"),
    "two Hosts": (HANDSHAKE.replace(b"X-Between", b"Host"), b"400", None),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_one_that_is_refused_ends_its_connection(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, status, reason = REFUSED[case]
    async with gateway(tmp_path, routes("http://127.0.0.1:9"), monkeypatch) as weir, asyncio.timeout(60):
        reader, writer = await connect(weir, tmp_path, tls=False)
        writer.write(sent)
        head, _ = await read_message(reader)
        assert head.split(b" ", 2)[1] == status
        assert b"\r\nConnection: close\r\n" in head
        assert await reader.read() == b""
        writer.close()
    assert [record.reason for record in weir.records()] == ([reason] if reason else [])


async def test_an_endpoints_refusal_passes_and_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no() -> web.Response:
        return web.Response(status=404, text="no such thing")

    async with socket_endpoint(refusal=no) as endpoint, asyncio.timeout(60):
        async with gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
            reader, writer = await connect(weir, tmp_path, tls=False)
            writer.write(HANDSHAKE)
            head, body = await read_message(reader)
            assert (head.split(b" ", 2)[1], body) == (b"404", b"no such thing")
            assert b"\r\nConnection: close\r\n" in head
            assert await reader.read() == b""
            writer.close()
    (record,) = weir.records()
    assert (record.outcome, record.status) == (Outcome.COMPLETED, 404)


async def test_a_doubled_user_agent_reaches_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp, on either side of a session, would refuse it or make one of it."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")

    lines = ("User-Agent: one", "X-A: 1", "User-Agent: two")
    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await connect(weir, tmp_path, tls=False)
        writer.write(request_bytes(*ASKS, *lines, method="GET", close=False))
        async with asyncio.timeout(60):
            head, body = await read_message(reader)
        writer.close()
    assert (head.split(b" ", 2)[1], body) == (b"404", b"no")
    ((sent, _),) = upstream.requests
    assert [line for line in sent.split(b"\r\n") if b"Agent" in line] == [b"User-Agent: one", b"User-Agent: two"]


@pytest.mark.parametrize("length", ["Content-Length: 0", "Content-Length: 5"])
async def test_with_a_body_it_is_none(length: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a real one are frames; an empty body is nothing that could follow."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await connect(weir, tmp_path, tls=False)
        writer.write(request_bytes(*ASKS, length, method="GET", close=False) + b"hello")
        async with asyncio.timeout(60):
            await read_message(reader)
        writer.close()
    ((head, body),) = upstream.requests
    is_session = length.endswith("0")
    assert (b"\r\nUpgrade: websocket\r\n".lower() in head.lower(), body) == (
        is_session,
        b"" if is_session else b"hello",
    )
