"""The relay of one HTTP exchange: the request's bytes up, the answer's bytes down, usage read on the way.

`server.py` makes one for each request; `engine/forward.py` drives it through the `Relay` protocol. It keeps
the caller's leaving from the rest of the gateway: by the route's policy it reads on to learn the true usage,
or hangs up, and either way the exchange ends in an orderly manner. It decides nothing about who may pass.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from multidict import CIMultiDict

from proxy.endpoint import Endpoint
from proxy.exchange import Exchange
from proxy.gemini.credentials import without_credentials
from proxy.head import RequestHead, ResponseHead
from proxy.operation import Intent, Operation
from proxy.plugin import Clock
from proxy.refusal import CallerGone, EndpointFailed, Refusal
from proxy.usage import Outcome
from proxy.wire.bounds import Bounds
from proxy.wire.credentials import CredentialFailed, Credentials
from proxy.wire.headers import OF_THIS_HOP, BadHeader, decode, end_to_end, put_credential
from proxy.wire.metering import Metering
from proxy.wire.overhearing import Hearing, note_what_was_asked
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.pool import ONE_WRITE, Answer, AnswerBroke, Pool
from proxy.wire.request_body import RequestBody
from proxy.wire.response import RelayedResponse, refusal_response
from proxy.wire.uploads import OVER, Uploads

T = TypeVar("T")


class Drains:
    """How many answers are being read on for callers that left; one for all relays of a process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def enter(self) -> bool:
        """False when there are enough; else `leave` must follow."""
        if self._count >= self._most:
            return False
        self._count += 1
        return True

    def leave(self) -> None:
        self._count -= 1


class HttpRelay:
    """See the module. `response` is what the server hands to aiohttp once the exchange has ended."""

    def __init__(
        self,
        request: web.BaseRequest,
        head: RequestHead,
        operation: Operation,
        body: RequestBody,
        *,
        pool: Pool,
        credentials: Credentials,
        drains: Drains,
        uploads: Uploads,
        clock: Clock,
        bounds: Bounds,
    ) -> None:
        self.response: web.StreamResponse | None = None
        self._request = request
        self._head = head
        self._operation = operation
        self._body = body
        self._pool = pool
        self._credentials = credentials
        self._drains = drains
        self._uploads = uploads
        self._clock = clock
        self._bounds = bounds
        self._patience = Patience()
        self._hearing: Hearing | None = None
        if operation.billed_by_body and body.exists:
            self._hearing = Hearing(operation, head, bounds.spool_bytes)
            body.heard_by = self._hearing.overhear
        self._answer: Answer | None = None  # held: the best so far, while another endpoint may do better
        self._caller_left = False
        self._drained = 0  # bytes read on after that
        self._drain_timer: asyncio.TimerHandle | None = None  # set while we drain

    @property
    def replayable(self) -> bool:
        # While an upload still runs towards an answer that came early, another one would be a second reader of it.
        return self._body.replayable and not self._caller_left and not (self._answer and self._answer.uploading)

    @property
    def request_bytes(self) -> int:
        return self._body.received

    @property
    def answered(self) -> bool:
        return self._caller_left or self.response is not None

    def caller_left(self, exchange: Exchange) -> None:
        """The caller is gone: read on, or hang up, by the route's policy. May be called by another task."""
        if self._caller_left:
            return
        self._caller_left = True
        if exchange.on_disconnect == "drain" and self._drains.enter():
            loop = asyncio.get_running_loop()
            self._drain_timer = loop.call_later(self._bounds.drain_seconds, self._patience.interrupt, "drained_enough")
        else:
            self._patience.interrupt("caller_left")

    def close(self) -> None:
        """The exchange is over: let go of every timer, file and connection."""
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drains.leave()
        if self._answer is not None:
            self._answer.close()
        self._patience.close()
        self._body.close()

    async def read_intent(self) -> Intent:
        self._body.heard_by = None
        hearing = Hearing(self._operation, self._head, self._bounds.spool_bytes)
        if self._body.exists:
            await self._body.read_whole(hearing.hear)
        return hearing.intent()

    async def open(self, endpoint: Endpoint) -> ResponseHead:
        if self._caller_left:
            raise CallerGone("it left before anything was sent")  # draining is for what already runs
        fields = await self._fields_for(endpoint)
        target = without_credentials(self._head.target)
        try:
            answer = await self._pool.send(
                endpoint,
                self._head.method,
                target,
                fields,
                self._body,
                self._patience,
                flex=self._head.headers.get("x-vertex-ai-llm-shared-request-type") == "flex",
            )
        except Interrupted as stop:
            raise CallerGone(stop.reason) from None
        if self._answer is not None:
            self._answer.close()
        self._answer = answer
        return answer.head

    async def run(self, exchange: Exchange) -> None:
        answer = self._answer
        assert answer is not None, "nothing was opened"
        self._body.let_go()
        meter = Metering(self._operation, answer.head, self._head.target)
        if 200 <= answer.head.status < 300:
            self._uploads.rewrite(answer.fields, exchange, self._request)
        answer.fields.extend(exchange.reply_headers)
        whole = False
        try:
            if answer.length is not None and answer.length <= ONE_WRITE:
                await self._relay_at_once(exchange, answer, meter)
            else:
                await self._relay_piecewise(exchange, answer, meter)
            whole = True
            exchange.outcome = Outcome.CLIENT_GONE if self._caller_left else Outcome.COMPLETED
        except AnswerBroke as broke:
            # aiohttp also breaks the answer off when the caller's own upload did, towards an early answer
            of_caller = self._body.failure is not None
            self._break_off(exchange, Outcome.CLIENT_GONE if of_caller else Outcome.UPSTREAM_BROKE, str(broke))
        except Interrupted as stop:
            upstream = stop.reason == "upstream_idle"
            self._break_off(exchange, Outcome.UPSTREAM_BROKE if upstream else Outcome.CLIENT_GONE, stop.reason)
        finally:
            exchange.usage, exchange.usage_state, error = meter.finish(complete=whole)
            exchange.reason = exchange.reason or error  # an error of Google's inside its 200
            exchange.once = meter.once
            note_what_was_asked(exchange, self._hearing, answer.head.status)

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        if self._caller_left:
            return
        if self.response is not None and self.response.prepared:
            self._abort()
            return
        fields = exchange.reply_headers
        if refusal is exchange.continuation:
            fields = [*fields, OVER]
        self.response = refusal_response(refusal, self._operation, fields)
        if self._body.unasked or self._body.failure is not None:
            self.response.force_close()  # whether the body comes is the caller's guess; only a new connection is sure

    async def _relay_at_once(self, exchange: Exchange, answer: Answer, meter: Metering) -> None:
        """A small answer: read it all, then send head and body in one write."""
        pieces = []
        while piece := await answer.read():
            meter.feed(piece)
            if meter.behind:
                await meter.catch_up()
            pieces.append(piece)
        body = b"".join(pieces)
        exchange.response_bytes = len(body)
        response = RelayedResponse(answer.head, answer.fields, at_once=True)
        await self._begin(exchange, response)
        await self._down(exchange, response.write_eof, body)

    async def _relay_piecewise(self, exchange: Exchange, answer: Answer, meter: Metering) -> None:
        """Every piece goes down as it comes, before anybody looks at it; a slow caller slows the endpoint."""
        response = RelayedResponse(answer.head, answer.fields, at_once=False)
        await self._begin(exchange, response)
        while piece := await answer.read():
            await self._down(exchange, response.write, piece)
            exchange.response_bytes += len(piece)
            meter.feed(piece)
            if meter.behind:
                await meter.catch_up()
            if self._caller_left:
                self._drained += len(piece)
                if self._drained > self._bounds.drain_bytes:
                    self._patience.interrupt("drained_enough")
        await self._down(exchange, response.write_eof, b"")

    async def _begin(self, exchange: Exchange, response: RelayedResponse) -> None:
        await self._down(exchange, response.prepare, self._request)
        if not self._caller_left:
            self.response = response
            exchange.status = response.status
            exchange.first_byte = self._clock.monotonic()

    async def _down(self, exchange: Exchange, send: Callable[[T], Awaitable[object]], what: T) -> None:
        """Send something to the caller, unless it left; notice if it leaves now."""
        if self._caller_left:
            return
        try:
            await self._patience.wait(send(what), self._bounds.caller_idle_seconds, "caller_idle")
        except ConnectionError:
            self.caller_left(exchange)
        except Interrupted as stop:
            if stop.reason != "caller_idle":
                raise
            exchange.reason = "CALLER_IDLE"
            self._abort()
            self.caller_left(exchange)

    def _break_off(self, exchange: Exchange, outcome: Outcome, why: str) -> None:
        """The answer ends here: what the caller got of it must look cut short (RFC 9112 section 8)."""
        if not self.answered:
            raise exchange.refuse(
                502, f"The endpoint's answer broke off ({why}).", reason="UPSTREAM_BROKE", outcome=outcome
            )
        exchange.outcome = outcome
        exchange.reason = why.upper()
        self._abort()

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _fields_for(self, endpoint: Endpoint) -> CIMultiDict[str]:
        """The request's fields for this endpoint, made anew from the original head for every attempt."""
        try:
            credential = await self._credentials.field_for(endpoint, self._operation)
        except CredentialFailed as error:
            raise EndpointFailed("no_credential", sent=False) from error
        fields = put_credential(end_to_end(self._head.headers.raw, OF_THIS_HOP), credential)
        try:
            return decode(fields)
        except BadHeader as error:
            raise Refusal(400, f"The request cannot be forwarded: {error}.", reason="BAD_HEADER") from error
