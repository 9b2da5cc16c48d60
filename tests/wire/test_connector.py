"""Connections to endpoints under TLS: trusted, refused, cut off, and read in small pieces."""

import asyncio
import datetime
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import uvloop

from proxy.wire.connector import Connection, Connector
from proxy.wire.intake import READ_BYTES
from tests.support.certificate import HOST, write_pair

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
    """By asyncio's TLS on both loops: `SSLProtocol` and its `max_size` are not promised to stay."""

    async def main() -> None:
        async with endpoint(tmp_path) as (url, go_on):
            connector = Connector(ssl=ssl.create_default_context(cafile=tmp_path / "cert.pem"))
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get(url, server_hostname=HOST) as response:
                    assert response.connection is not None
                    assert isinstance(response.connection.protocol, Connection)
                    transport: Any = response.connection.transport
                    assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
                    tls = transport._ssl_protocol
                    assert isinstance(tls, SSLProtocol)
                    assert len(tls.get_buffer(1 << 20)) == READ_BYTES
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


def test_a_bad_chunk_under_tls_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when an endpoint that reads nothing any more has at last said goodbye."""
    monkeypatch.setattr("asyncio.constants.SSL_SHUTDOWN_TIMEOUT", 3600.0)
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
