"""Callers that never pause, over raw sockets: each request is either answered whole or counted as failed."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.raw import RawUpstream, Script, read_message, request_bytes

CALL = "/v1beta/models/gemini-2.5-flash:generateContent"
BODY = b'{"contents": [{"parts": [{"text": "hello"}]}]}'
ANSWER = b'{"candidates": [], "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}'


def quick(delay_seconds: float = 0.0) -> Script:
    """An endpoint that answers everything, after that time, and keeps its connections."""

    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_message(reader)
            if delay_seconds:
                await asyncio.sleep(delay_seconds)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )
            await writer.drain()

    return script


class Load:
    """What its callers saw. `failures` holds the time of each and what it was."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.answered = 0
        self.failures: list[tuple[float, str]] = []
        self._place = host, port
        self._tls = tls
        self._over = False

    @asynccontextmanager
    async def of(self, *, staying: int = 0, closing: int = 0) -> AsyncIterator["Load"]:
        """So many callers on connections that stay, and so many with a new one for each request."""
        tasks = [
            asyncio.create_task(self._call(close=close))
            for close, count in ((False, staying), (True, closing))
            for _ in range(count)
        ]
        try:
            yield self
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    async def more(self, count: int) -> None:
        """Wait until so many more were answered."""
        until = self.answered + count
        async with asyncio.timeout(60):
            while self.answered < until:
                await asyncio.sleep(0.01)

    async def _call(self, *, close: bool) -> None:
        while not self._over:
            await self._connection(close=close)

    async def _connection(self, *, close: bool) -> None:
        """Requests on one connection until its end is announced; an end without that is a failure."""
        request = request_bytes(f"Content-Length: {len(BODY)}", body=BODY, target=CALL, close=close)
        writer = None
        try:
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection(*self._place, ssl=self._tls)
            while not self._over:
                async with asyncio.timeout(60):
                    writer.write(request)
                    head, body = await read_message(reader)
                if not head.startswith(b"HTTP/1.1 200 ") or body != ANSWER:
                    self._fail(head.decode())
                    return
                self.answered += 1
                if b"\r\nconnection: close\r\n" in head.lower():
                    return
        except (OSError, EOFError, TimeoutError) as error:
            self._fail(repr(error))
        finally:
            if writer is not None:
                writer.close()

    def _fail(self, what: str) -> None:
        self.failures.append((time.monotonic(), what))
