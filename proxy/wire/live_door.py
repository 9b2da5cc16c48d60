"""Where a WebSocket handshake goes: to aiohttp, which takes its connection over for good.

`server.py` hands it a request that our own parser has read and the guard has let pass; aiohttp reads the same head
again, written anew. One request a connection: a handshake that is refused ends it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from proxy.head import RawField
from proxy.operation import UNKNOWN
from proxy.refusal import Refusal
from proxy.wire.bounds import Bounds
from proxy.wire.door import Door
from proxy.wire.guard import MAX_HEADERS, NOT_HTTP
from proxy.wire.intake import READER_BYTES, Frugal, Intake
from proxy.wire.request import Request
from proxy.wire.response import refusal_response

_log: Final = logging.getLogger("proxy.wire")


class LiveDoor(web.Server):
    """aiohttp's low-level server, without sockets of its own.

    Args:
        attend: runs the session that was asked for.
    """

    def __init__(
        self,
        attend: Callable[["LiveVisitor", web.BaseRequest], Awaitable[web.StreamResponse]],
        door: Door,
        bounds: Bounds,
    ) -> None:
        super().__init__(
            self._attended,
            request_factory=self._request,
            handler_cancellation=True,  # else a caller that leaves is noticed only at the next write
            auto_decompress=False,
            access_log=None,
            logger=_log,
            keepalive_timeout=bounds.keepalive_seconds,
            read_bufsize=READER_BYTES,
            max_line_size=bounds.header_bytes,
            max_field_size=bounds.header_bytes,
            max_headers=MAX_HEADERS,
        )
        self.door = door
        self.intake = Intake()
        self._attend = attend

    def visitor(self, asked: Request, target: str) -> "LiveVisitor":
        """The protocol for the connection that brought this handshake."""
        # As aiohttp's own `__call__` makes it; pinned by tests/wire/test_aiohttp_private.py.
        return LiveVisitor(self, asked, target, loop=self._loop, **self._kwargs)

    async def _attended(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._attend(cast(LiveVisitor, request.protocol), request)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return _Request(message, payload, protocol, writer, task, self._loop)


class LiveVisitor(Frugal, RequestHandler):
    """One connection, taken over.

    Attributes:
        asked: the handshake, as it came.
        target: of it, as the guard has it.
    """

    def __init__(self, live: LiveDoor, asked: Request, target: str, **kwargs: Any) -> None:
        super().__init__(live, **kwargs)
        self.intake = live.intake
        self.asked = asked
        self.target = target
        self._door = live.door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._door.arrived(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.left(self)
        super().connection_lost(exc)

    def hurry(self, seconds: float) -> None:
        """A session is under way from the beginning."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer in Google's shape. aiohttp's own answer and log line would echo the request line, keys and all."""
        if status < 500:
            return ended_with(Refusal(status, NOT_HTTP, reason="HTTP"))
        _log.error("the gateway failed on a request", exc_info=exc)
        return ended_with(Refusal(status, "An internal error has occurred.", reason="INTERNAL"))


class _Request(web.BaseRequest):
    @property
    def keep_alive(self) -> bool:
        return False


def written_anew(asked: Request, behind: bytes) -> bytes:
    """The handshake's head as it came, and what came behind it.

    aiohttp refuses a doubled User-Agent, which it needs for nothing; what goes up is made from the head as it came.
    """
    lines = [f"GET {asked.target} HTTP/1.1".encode("latin-1"), *map(b": ".join, _without_doubles(asked))]
    return b"\r\n".join((*lines, b"", behind))


def ended_with(refusal: Refusal) -> web.StreamResponse:
    """An answer where no exchange gave one; the connection is not to be trusted further."""
    response = refusal_response(refusal, UNKNOWN, [])
    response.force_close()
    return response


def _without_doubles(asked: Request) -> Iterator[RawField]:
    agents = 0
    for field in asked.headers.raw:
        agent = field[0].lower() == b"user-agent"
        agents += agent
        if not agent or agents == 1:
            yield field
