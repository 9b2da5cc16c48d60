"""Both ends of the wire in bytes: a caller that sends exactly what it is told, an upstream that answers so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class RawUpstream:
    """A scripted endpoint. `requests` holds head and body of each request its script read."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []

    async def read(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        request = await read_message(reader)
        self.requests.append(request)
        return request


Script = Callable[[RawUpstream, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_upstream(script: Script) -> AsyncIterator[RawUpstream]:
    """`script` runs once a connection; the connection is closed when it returns."""
    upstream = RawUpstream()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        upstream.connections += 1
        try:
            await script(upstream, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the gateway hung up, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    upstream.url = f"http://{host}:{port}"
    try:
        yield upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one request or answer, by its Content-Length or chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"content-length:" in lower:
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        return head, await reader.readexactly(length)
    if b"transfer-encoding: chunked" in lower:
        return head, await read_chunks(reader)
    return head, b""


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


def answers(*parts: bytes) -> Script:
    """Read one request, answer these bytes, hang up."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return script


def in_two(first: bytes, go_on: asyncio.Event, rest: bytes) -> Script:
    """Read one request, answer the first half, and the rest when it may go on; hang up."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(first)
        await go_on.wait()
        writer.write(rest)
        await writer.drain()

    return script


# A stream that has begun, and how it ends.
STREAM_BEGINS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
STREAM_ENDS = b"4\r\nlast\r\n0\r\n\r\n"


async def send_bytes(host: str, port: int, data: bytes) -> bytes:
    """Send these bytes; all that comes back until the gateway hangs up."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def request_bytes(
    *lines: str, body: bytes = b"", target: str = "/x", method: str = "POST", close: bool = True
) -> bytes:
    """A well-formed request with these further header lines."""
    head = [f"{method} {target} HTTP/1.1", "Host: weir.example", *lines, *(["Connection: close"] if close else [])]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
