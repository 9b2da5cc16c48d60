"""aiohttp's connector, TLS and parser without ClientSession, between a bare `web.Server` and the wire ("L6c"): the
measuring rod of our goals. The answer's head and body are written straight to the caller's transport.
"""

import asyncio
from typing import cast

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from aiohttp.client_reqrep import ClientRequest
from yarl import URL

from bench.relay import READ_BYTES, SMALL_BYTES, going_down, going_up, run, start_of, trust
from bench.targets import Target

TARGETS = (
    Target(
        name="aiohttp-connector",
        label="aiohttp connector, bare (L6c)",
        start=start_of("bench.targets.aiohttp_connector"),
        phases=("small", "events", "image", "tls", "slow", "sealed"),
        note="no ClientSession; checks nobody, logs nothing, no deadline",
    ),
)


class Written(web.StreamResponse):
    """What a handler returns when the answer is on the wire already."""

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def relay(base: str) -> "Relay":
    return Relay(base)


class Relay:
    def __init__(self, base: str) -> None:
        url = URL(base)
        tls = trust()
        self._host = base.partition("://")[2].encode()
        self._connector = TCPConnector(limit=0, use_dns_cache=False, ssl=tls)
        session = ClientSession(connector=self._connector)
        loop = asyncio.get_running_loop()
        self._template = ClientRequest("POST", url, loop=loop, session=session, ssl=tls)  # the pool's key
        self._timeout = ClientTimeout(total=None, sock_connect=10)
        self._written = Written()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read() if request.body_exists else b""
        head = [b"%b %b HTTP/1.1\r\nHost: %b" % (request.method.encode(), request.raw_path.encode(), self._host)]
        head += [b"%b: %b" % field for field in going_up(request.raw_headers)]
        connection = await self._connector.connect(self._template, [], self._timeout)
        up = connection.protocol
        assert up is not None
        up.set_response_params(auto_decompress=False, read_until_eof=True, read_bufsize=READ_BYTES)
        wire = cast(asyncio.Transport, up.transport)
        wire.write(b"%b\r\nContent-Length: %d\r\n\r\n%b" % (b"\r\n".join(head), len(body), body))
        answer, content = await up.read()
        length = answer.headers.get("Content-Length")
        lines = [b"HTTP/1.1 %d %b" % (answer.code, answer.reason.encode())]
        lines += [b"%b: %b" % field for field in going_down(answer.raw_headers)]
        lines.append(b"\r\n" if length else b"Transfer-Encoding: chunked\r\n\r\n")
        down, protocol = request.transport, request.protocol
        if down is None:
            connection.close()
            return self._written
        start = b"\r\n".join(lines)
        if length and int(length) <= SMALL_BYTES:
            down.write(start + await content.read())
        else:
            down.write(start)
            while chunk := await content.readany():
                down.write(chunk if length else b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if protocol.writing_paused:
                    await protocol._drain_helper()
            if not length:
                down.write(b"0\r\n\r\n")
        connection.release()
        return self._written


if __name__ == "__main__":
    run(relay)
