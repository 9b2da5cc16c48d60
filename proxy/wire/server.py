"""The public listener: turns each request into an exchange and runs it apart from its connection.

It is handed one callable, `run(exchange)`, and knows nothing of routes or plugins. An exchange is a task of its own:
when the caller leaves, its relay is told, and the exchange goes on to its orderly end.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from proxy.exchange import Exchange
from proxy.gemini.paths import parse_operation
from proxy.gemini.visibility import hidden_usage
from proxy.head import RequestHead
from proxy.operation import UNKNOWN
from proxy.plugin import Clock
from proxy.principal import Continuation
from proxy.refusal import Refusal
from proxy.wire.bounds import Bounds
from proxy.wire.caller import Caller
from proxy.wire.credentials import Credentials
from proxy.wire.door import Door, bind
from proxy.wire.drains import Drains
from proxy.wire.familiar import Meaning
from proxy.wire.gear import Gear
from proxy.wire.guard import Rejected, accepted_target, assert_c_parser
from proxy.wire.http_relay import HttpRelay
from proxy.wire.ids import new_id
from proxy.wire.line import Landing
from proxy.wire.live_door import LiveDoor, LiveVisitor, ended_with, written_anew
from proxy.wire.live_relay import LiveRelay
from proxy.wire.pool import Pool
from proxy.wire.reply import Reply
from proxy.wire.request import Request
from proxy.wire.response import full_house, phrase, refusal_fields
from proxy.wire.uploads import Uploads
from proxy.wire.watch import Watch

Run = Callable[[Exchange], Awaitable[None]]
_UnderWay = tuple["asyncio.Task[None]", Exchange, HttpRelay | LiveRelay]

LAST_SECONDS: Final = 5.0  # for what was cut at the end of a stop to write its record
_log = logging.getLogger("proxy.wire")


class PublicListener:
    """Listens, and keeps account of the exchanges under way."""

    def __init__(self, run: Run, clock: Clock, bounds: Bounds, uploads: Uploads) -> None:
        self._run = run
        self._clock = clock
        self._time, self._monotonic = clock.time, clock.monotonic
        self._bounds = bounds
        self._uploads = uploads
        self._pool = Pool(bounds)
        self._drains = Drains(bounds.drains)
        self._cutting = False
        self._under_way: dict[Caller | LiveVisitor, _UnderWay] = {}
        self._gear: Gear
        self._loop: asyncio.AbstractEventLoop
        self._door: Door | None = None
        self._live: LiveDoor | None = None
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
        self._loop = asyncio.get_running_loop()
        watch, bounds, landing = Watch(), self._bounds, Landing()
        self._gear = Gear(self._pool, Credentials(), self._drains, self._uploads, self._clock, bounds, watch)

        def caller() -> Caller:
            return Caller(self, door, landing, bounds, watch)

        self._door = door = Door(caller, most=bounds.connections, full=full_house())
        self._live = LiveDoor(self._attend, door, bounds)
        await door.open(sockets, tls)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one when 0 was asked for."""
        assert self._address is not None
        return self._address

    @property
    def in_flight(self) -> int:
        return len(self._under_way)

    @property
    def connections(self) -> int:
        return len(self._door.inside) if self._door else 0

    @property
    def turned_away(self) -> int:
        """Connections beyond `[server] connections`, since the start."""
        return self._door.turned_away if self._door else 0

    async def stop(self) -> None:
        """Let nobody in, let the exchanges end within `[server.timeouts] shutdown`, then cut the rest."""
        if self._door is not None and self._live is not None:
            until = self._loop.time() + self._bounds.shutdown_seconds
            await self._door.shut(self._bounds.shutdown_seconds)
            await self._ended(until - self._loop.time())  # also those whose callers have left
            self._cutting = True
            await asyncio.sleep(0)  # what has only just begun must take its first step: it cannot end in order before
            for task, _, _ in self._under_way.values():
                task.cancel()
            await self._ended(LAST_SECONDS)
            await self._live.shutdown(LAST_SECONDS)
            self._door.close()
            self._gear.watch.close()
        await self._pool.stop()

    async def _ended(self, within_seconds: float) -> None:
        tasks = [task for task, _, _ in self._under_way.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, within_seconds))

    # --- what a caller asks for ---

    def begin(self, caller: Caller, request: Request) -> None:
        familiar = request.familiar
        meaning = None if familiar is None else familiar.meaning
        continuation: Continuation | Refusal | None = None
        if meaning is None or self._cutting:
            try:
                target = self._accepted(request)
            except Rejected as rejected:
                self._reject(caller, request, rejected)
                return
            target, continuation = self._uploads.open(target)
            operation = parse_operation(request.method, target)
            hides_usage = hidden_usage(operation, request.method, target, request.headers)
            meaning = Meaning(target, operation, hides_usage)
            if familiar is not None and continuation is None:  # an upload's address is good for some time only
                familiar.meaning = meaning
        head = RequestHead(request.method, meaning.target, request.headers, caller.peer)
        relay = HttpRelay(request, head, meaning.operation, self._gear)
        exchange = self._exchange(head, meaning, continuation, relay)
        # As the loop's `create_task` makes it, but for the name, which that one would count and format.
        task = asyncio.Task(self._run_to_end(caller, request, exchange, relay), loop=self._loop, name=exchange.id)
        self._under_way[caller] = task, exchange, relay

    def begin_session(self, caller: Caller, request: Request, behind: bytes) -> None:
        assert self._live is not None
        try:
            target = self._accepted(request)
        except Rejected as rejected:
            self._reject(caller, request, rejected)
            return
        caller.hand_over(self._live.visitor(request, target), written_anew(request, behind))

    def left(self, caller: Caller) -> None:
        _, exchange, relay = self._under_way[caller]
        relay.caller_left(exchange)

    def _exchange(
        self,
        head: RequestHead,
        meaning: Meaning,
        continuation: Continuation | Refusal | None,
        relay: HttpRelay | LiveRelay,
    ) -> Exchange:
        now = self._time()
        exchange_id = new_id(now)
        exchange = Exchange(
            exchange_id,
            head,
            meaning.operation,
            relay,
            received_at=now,
            started=self._monotonic(),
            hides_usage=meaning.hides_usage,
            continuation=continuation,
        )
        exchange.reply_headers.append(("x-weir-exchange", exchange_id))
        return exchange

    def _accepted(self, request: Request) -> str:
        if self._cutting:  # nothing that begins now would end
            raise Rejected(503, "The gateway is stopping; try again.", "STOPPING")
        return accepted_target(request)

    def _reject(self, caller: Caller, request: Request, rejected: Rejected) -> None:
        """An answer to what never became an exchange; the connection is not to be trusted further."""
        self._say(caller, request, Refusal(rejected.code, rejected.message, reason=rejected.reason))

    def _say(self, caller: Caller, request: Request, refusal: Refusal) -> None:
        request.keep_alive = False
        fields, body = refusal_fields(refusal, UNKNOWN, [])
        reply = Reply(request)
        reply.whole(refusal.code, phrase(refusal.code), fields, body)
        caller.answered(reply)

    async def _run_to_end(self, caller: Caller, request: Request, exchange: Exchange, relay: HttpRelay) -> None:
        failed = False
        try:
            await self._run(exchange)
        except Exception:
            failed = True
            _log.exception("the gateway failed on a request")
        finally:
            relay.close()
            del self._under_way[caller]
            if failed and not relay.answered:
                self._say(caller, request, Refusal(500, "An internal error has occurred.", reason="INTERNAL"))
            else:
                caller.answered(relay.reply)

    # --- sessions ---

    async def _attend(self, visitor: LiveVisitor, request: web.BaseRequest) -> web.StreamResponse:
        exchange, relay = self._session(visitor, request)
        task = self._loop.create_task(self._run_session(visitor, exchange))
        self._under_way[visitor] = task, exchange, relay
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                relay.caller_left(exchange)
            raise
        # Without a response the caller left before it could get one: nobody reads this.
        return relay.response or ended_with(Refusal(499, "The caller left.", reason="CLIENT_GONE"))

    def _session(self, visitor: LiveVisitor, request: web.BaseRequest) -> tuple[Exchange, LiveRelay]:
        asked = visitor.asked
        target, continuation = self._uploads.open(visitor.target)
        head = RequestHead(asked.method, target, asked.headers, asked.connection.peer)
        operation = parse_operation(asked.method, target)
        if not operation.model_in_body:
            # A session on a path that we do not know as Live may well run a model: no GET is only a read then.
            operation = operation.on(None, generates=True)
        reply_headers: list[tuple[str, str]] = []
        relay = LiveRelay(request, head, operation, self._gear, reply_headers)
        meaning = Meaning(target, operation, hidden_usage(operation, head.method, target, head.headers))
        exchange = self._exchange(head, meaning, continuation, relay)
        reply_headers += exchange.reply_headers
        exchange.reply_headers = reply_headers  # the relay's own list: it may have to answer before `run`
        return exchange, relay

    async def _run_session(self, visitor: LiveVisitor, exchange: Exchange) -> None:
        try:
            await self._run(exchange)
        finally:
            del self._under_way[visitor]
