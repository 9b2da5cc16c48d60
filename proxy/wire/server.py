"""The public listener: turns each request into an exchange and runs it apart from its connection.

It is handed one callable, `run(exchange)`, and knows nothing of routes or plugins. aiohttp's low-level server
is used because routing is ours and the raw target must stay raw. An exchange is a task of its own: when the
caller leaves, aiohttp cancels the handler, and the exchange goes on to its orderly end.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

from proxy.exchange import Exchange
from proxy.gemini.paths import parse_operation
from proxy.gemini.visibility import hidden_usage
from proxy.head import Headers, RequestHead
from proxy.operation import Operation
from proxy.plugin import Clock
from proxy.wire.bounds import Bounds
from proxy.wire.connection import Server, full_house, rejection
from proxy.wire.credentials import Credentials
from proxy.wire.door import bind
from proxy.wire.doubled import restore
from proxy.wire.guard import Rejected, accepted_target, assert_c_parser
from proxy.wire.handshake import is_handshake
from proxy.wire.http_relay import Drains, HttpRelay
from proxy.wire.intake import READER_BYTES
from proxy.wire.live_relay import LiveRelay
from proxy.wire.pool import Pool
from proxy.wire.request_body import RequestBody
from proxy.wire.uploads import Uploads

Run = Callable[[Exchange], Awaitable[None]]

LINGER_SECONDS = 2.0  # reading a body that nobody wanted, before the connection is closed
LAST_SECONDS = 5.0  # for what was cut at the end of a stop to write its record
MAX_HEADERS = 128
_log = logging.getLogger("proxy.wire")


class PublicListener:
    """Listens, and keeps account of the exchanges under way."""

    def __init__(self, run: Run, clock: Clock, bounds: Bounds, uploads: Uploads) -> None:
        self._run = run
        self._clock = clock
        self._bounds = bounds
        self._uploads = uploads
        self._pool = Pool(bounds)
        self._credentials = Credentials()
        self._drains = Drains(bounds.drains)
        self._cutting = False
        self._exchanges: set[asyncio.Task[None]] = set()
        self._server: Server | None = None
        self._address: tuple[str, int] | None = None

    async def start(
        self, address: str, sockets: Sequence[socket.socket] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Open the upstream pool and listen on "HOST:PORT", or on sockets that listen there already.

        Raises OSError when the address is taken.
        """
        assert_c_parser()
        await self._pool.start()
        if sockets is None:
            sockets = await asyncio.to_thread(bind, address)
        self._address = sockets[0].getsockname()[:2]
        self._server = Server(
            self._handle,
            handler_cancellation=True,  # else a caller that leaves is noticed only at the next write
            auto_decompress=False,
            access_log=None,
            logger=_log,
            keepalive_timeout=self._bounds.keepalive_seconds,
            lingering_time=LINGER_SECONDS,
            read_bufsize=READER_BYTES,
            max_line_size=self._bounds.header_bytes,
            max_field_size=self._bounds.header_bytes,
            max_headers=MAX_HEADERS,
            most=self._bounds.connections,
            full=full_house(),
        )
        await self._server.open(sockets, tls)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one when 0 was asked for."""
        assert self._address is not None
        return self._address

    @property
    def in_flight(self) -> int:
        return len(self._exchanges)

    @property
    def connections(self) -> int:
        return len(self._server.inside) if self._server else 0

    @property
    def turned_away(self) -> int:
        """Connections beyond `[server] connections`, since the start."""
        return self._server.turned_away if self._server else 0

    async def stop(self) -> None:
        """Let nobody in, let the exchanges end within `[server.timeouts] shutdown`, then cut the rest."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._bounds.shutdown_seconds
        if self._server is not None:
            await self._server.shut(self._bounds.shutdown_seconds)
        if self._exchanges:  # also those whose callers have left
            _, left = await asyncio.wait(self._exchanges, timeout=max(0.0, until - loop.time()))
            self._cutting = True
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=LAST_SECONDS)
        if self._server is not None:
            await self._server.shutdown(LAST_SECONDS)
        await self._pool.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._cutting:  # nothing that begins now would end
            return rejection(503, "The gateway is stopping; try again.", "STOPPING")
        try:
            target = accepted_target(request)
        except Rejected as rejected:
            return rejection(rejected.code, rejected.message, rejected.reason)
        exchange, relay = self._exchange(request, target)
        task = asyncio.get_running_loop().create_task(self._run_to_end(exchange, relay))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                relay.caller_left(exchange)
            raise
        # Without a response the caller left before it could get one: nobody reads this.
        return relay.response or rejection(499, "The caller left.", "CLIENT_GONE")

    async def _run_to_end(self, exchange: Exchange, relay: HttpRelay | LiveRelay) -> None:
        try:
            await self._run(exchange)
        finally:
            relay.close()

    def _exchange(self, request: web.BaseRequest, target: str) -> tuple[Exchange, HttpRelay | LiveRelay]:
        target, continuation = self._uploads.open(target)
        head = RequestHead(request.method, target, Headers(restore(request.raw_headers)), _peer(request.transport))
        operation = parse_operation(request.method, target)
        if is_handshake(request) and not operation.model_in_body:
            # A session on a path that we do not know as Live may well run a model: no GET is only a read then.
            operation = msgspec.structs.replace(operation, generates=True, model=None)
        now = self._clock.time()
        exchange_id = new_id(now)
        reply_headers = [("x-weir-exchange", exchange_id)]
        relay = self._relay(request, head, operation, reply_headers)
        exchange = Exchange(
            id=exchange_id,
            request=head,
            operation=operation,
            relay=relay,
            received_at=now,
            started=self._clock.monotonic(),
            hides_usage=hidden_usage(operation, request.method, target, head.headers),
            continuation=continuation,
            reply_headers=reply_headers,
        )
        return exchange, relay

    def _relay(
        self,
        request: web.BaseRequest,
        head: RequestHead,
        operation: Operation,
        reply_headers: list[tuple[str, str]],
    ) -> HttpRelay | LiveRelay:
        if is_handshake(request):
            return LiveRelay(
                request,
                head,
                operation,
                pool=self._pool,
                credentials=self._credentials,
                clock=self._clock,
                bounds=self._bounds,
                reply_headers=reply_headers,
            )
        body = RequestBody(
            request.content,
            exists=request.body_exists,
            length=request.content_length,
            bounds=self._bounds,
            ask_for_it=_continue(request),
        )
        return HttpRelay(
            request,
            head,
            operation,
            body,
            pool=self._pool,
            credentials=self._credentials,
            drains=self._drains,
            uploads=self._uploads,
            clock=self._clock,
            bounds=self._bounds,
        )


def new_id(now: float) -> str:
    """Sortable by time, unique without asking anybody: 12 hex digits of milliseconds, 16 of chance."""
    return f"{int(now * 1000):012x}{os.urandom(8).hex()}"


def _continue(request: web.BaseRequest) -> Callable[[], Awaitable[None]] | None:
    """RFC 9110 section 10.1.1: say 100 Continue, once somebody wants the body. Not to HTTP/1.0."""
    if request.version != (1, 1) or request.headers.get("Expect", "").lower() != "100-continue":
        return None

    async def ask() -> None:
        writer: Any = request.writer
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.output_size = 0  # the head of the answer is still to come

    return ask


def _peer(transport: asyncio.Transport | None) -> str:
    name = transport.get_extra_info("peername") if transport is not None else None
    return name[0] if isinstance(name, tuple) else ""
