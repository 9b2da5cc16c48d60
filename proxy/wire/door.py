"""The door of one process: its listening sockets, the connections it let in, and how it shuts without loss.

`server.py` builds its aiohttp server on `Door`, opens it at the start and shuts it at the stop. The sockets may
be other processes' as well: what waits in their queue when this door shuts is accepted by one of those. It
knows nothing of exchanges, and never cuts a request under way.
"""

import asyncio
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web import RequestPayloadError
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from proxy.wire.intake import Frugal, Intake

BACKLOG = 1024  # connections that may wait to be accepted; Linux cuts it to net.core.somaxconn
HANDSHAKE_SECONDS = 10.0  # of TLS, before a connection counts; asyncio's own limit is 60
GOODBYE_SECONDS = 2.0  # of TLS, for the caller's close_notify; asyncio's own limit is 30
SETTLE_SECONDS = 0.05  # for connections that are accepted and have no transport yet
LAST_CALL_SECONDS = 1.0  # in which an idle connection may bring one more request, to be told that it is the last
_POLL_SECONDS = 0.02


class Sockets(NamedTuple):
    """What one process listens on, made by another: its supervisor."""

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket]


def bind(address: str) -> list[socket.socket]:
    """Listening sockets for every address that "HOST:PORT" is. Raises OSError when it is taken, and names it."""
    host, _, port = address.rpartition(":")
    sockets: list[socket.socket] = []
    try:
        # "localhost" may be two addresses, one of each family.
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for family, place in dict.fromkeys((family, place[:2]) for family, _, _, _, place in found):
            sockets.append(socket.create_server(cast(Any, place), family=family, backlog=BACKLOG))
    except socket.gaierror as error:
        raise OSError(error.errno, f"{address}: {error.strerror}") from error
    except OSError as error:
        for made in sockets:
            made.close()
        # Its own text holds the address a second time.
        raise OSError(error.errno, f"{address}: {os.strerror(error.errno or 0).lower()}") from error
    return sockets


class Door(web.Server):
    """aiohttp's low-level server that knows its connections: those its `__call__` makes must be `Visitor`s.

    Args:
        most: connections let in at once; the next gets the answer `full` and is closed.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        most: int = sys.maxsize,
        full: bytes = b"",
        **kwargs: Any,
    ) -> None:
        super().__init__(self._attended, request_factory=self._request, **kwargs)
        self._handler = handler
        self._most = most
        self._full = full
        self.intake = Intake()
        self._listeners: list[asyncio.Server] = []
        self._has_tls = False
        self.inside: set[Visitor] = set()
        self._arriving: set[Visitor] = set()  # accepted, but still without a transport, or in its TLS handshake
        self.turned_away = 0
        self.last_call = False  # every answer from now on ends its connection

    async def open(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Let connections in. The door closes the sockets when it shuts."""
        self._has_tls = tls is not None
        for sock in sockets:
            listener = await asyncio.get_running_loop().create_server(
                self._visitor,
                sock=sock,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=GOODBYE_SECONDS if tls else None,
            )
            self._listeners.append(listener)

    async def shut(self, within_seconds: float) -> None:
        """Let nobody in any more, and wait until everybody has left, or the time is over.

        Two reasons why closing at once loses requests (bench/restart.py shows it): aiohttp closes idle connections
        that never were told, and CPython resets what it has accepted but not yet given a transport.
        """
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        for listener in self._listeners:
            for sock in listener.sockets:
                # Nothing on uvloop, which needs none of it: accept and transport are one step there.
                loop.remove_reader(sock.fileno())
        if self._listeners:
            await asyncio.sleep(SETTLE_SECONDS)
        for listener in self._listeners:
            listener.close()
        self.last_call = True
        handshakes_until = began + (LAST_CALL_SECONDS if self._has_tls and self._listeners else 0)
        self._listeners.clear()
        while (self.inside or time.monotonic() < handshakes_until) and time.monotonic() < began + within_seconds:
            for visitor in list(self.inside):
                if visitor.idle_for(since=began) >= LAST_CALL_SECONDS:
                    visitor.force_close()
            await asyncio.sleep(_POLL_SECONDS)

    def _visitor(self) -> asyncio.Protocol:
        if len(self.inside) + len(self._arriving) >= self._most:
            self.turned_away += 1
            return _TurnedAway(self._full)
        visitor = cast(Visitor, self())
        self._arriving.add(visitor)
        if self._has_tls:  # one whose handshake fails is never told to us again
            late = HANDSHAKE_SECONDS + 1
            visitor.handshake_timer = self._loop.call_later(late, self._arriving.discard, visitor)
        return visitor

    def arrived(self, visitor: "Visitor") -> None:
        """It has a transport now."""
        if visitor.handshake_timer is not None:
            visitor.handshake_timer.cancel()
            visitor.handshake_timer = None
        self._arriving.discard(visitor)
        self.inside.add(visitor)

    async def _attended(self, request: web.BaseRequest) -> web.StreamResponse:
        visitor = cast(Visitor, request.protocol)
        visitor.idle_since = None
        try:
            return await self._handler(request)
        finally:
            visitor.idle_since = time.monotonic()
            visitor.answered += 1

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        cast(Visitor, protocol).body = payload
        return _Request(message, payload, protocol, writer, task, self._loop)


class Visitor(Frugal, RequestHandler):
    """One connection inside."""

    def __init__(self, door: Door, **kwargs: Any) -> None:
        super().__init__(door, **kwargs)
        self.door = door
        self.intake = door.intake
        self.idle_since: float | None = None  # None while a request is under way
        self.answered = 0  # requests
        self.body: StreamReader | None = None  # of the last request
        self.handshake_timer: asyncio.TimerHandle | None = None

    @property
    def between_requests(self) -> bool:
        """Every request that came was answered, and its body has come whole: an early answer leaves that to follow.

        aiohttp counts a request at the end of its head.
        """
        return self._request_count == self.answered and (self.body is None or self.body.is_eof())

    def idle_for(self, since: float) -> float:
        """Seconds without a request, counted from `since` on."""
        return 0.0 if self.idle_since is None else time.monotonic() - max(since, self.idle_since)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._end_body()

    def _end_body(self) -> None:
        """aiohttp queues an answer to bytes that are no HTTP, and tells nothing to who reads the body they are in."""
        body = self._messages[-2][1] if len(self._messages) > 1 else self.body
        if body is None or body.is_eof():
            return
        if self._request_count - 1 > self.answered:  # else nobody reads it but aiohttp, to be rid of it
            body.set_exception(RequestPayloadError("not well-formed"))
        body.feed_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.idle_since = time.monotonic()
        self.door.arrived(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.door.inside.discard(self)
        super().connection_lost(exc)


class _Request(web.BaseRequest):
    """Asked at the head of each answer whether its connection stays: RFC 9112 section 9.6."""

    @property
    def keep_alive(self) -> bool:
        visitor = cast(Visitor, self.protocol)
        return super().keep_alive and not visitor.door.last_call


class _TurnedAway(asyncio.Protocol):
    """One connection too many: answered before it asks, so that it costs nothing, and closed."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        transport.write(self._answer)
        transport.close()
