"""The relay of one HTTP exchange: the request's bytes up, the answer's bytes down, usage read on the way.

`server.py` makes one for each request; `engine/forward.py` drives it through the `Relay` protocol. It keeps
the caller's leaving from the rest of the gateway: by the route's policy it reads on to learn the true usage,
or hangs up, and either way the exchange ends in an orderly manner. It decides nothing about who may pass.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, final

from proxy.endpoint import Endpoint
from proxy.exchange import Exchange
from proxy.gemini.framings import DIRECT_BYTES
from proxy.gemini.intent import read_intent
from proxy.head import RequestHead, ResponseHead
from proxy.operation import Intent, Operation
from proxy.refusal import CallerGone, EndpointFailed, Refusal
from proxy.usage import Outcome
from proxy.wire.answer import ONE_WRITE, Answer, AnswerBroke, rest_of
from proxy.wire.credentials import CredentialFailed
from proxy.wire.gear import Gear
from proxy.wire.headers import encoded
from proxy.wire.metering import Metering
from proxy.wire.overhearing import Hearing, note_what_was_asked
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.reply import Reply
from proxy.wire.request import Request
from proxy.wire.request_body import RequestBody
from proxy.wire.response import phrase, refusal_fields
from proxy.wire.uploads import OVER
from proxy.wire.upstream_head import upstream_head

_COMPLETED: Final = Outcome.COMPLETED
_CLIENT_GONE: Final = Outcome.CLIENT_GONE


@final
class HttpRelay:
    """See the module. A `Sink` of its answer's pieces.

    Attributes:
        reply: the answer to the caller.
        body: the request's.
    """

    __slots__ = (
        "_answer",
        "_caller_left",
        "_drain_timer",
        "_drained",
        "_exchange",
        "_gear",
        "_head",
        "_hearing",
        "_meter",
        "_operation",
        "_patience",
        "_request",
        "_was_asked",
        "body",
        "reply",
    )

    def __init__(self, request: Request, head: RequestHead, operation: Operation, gear: Gear) -> None:
        self.reply = Reply(request)
        self.body = RequestBody(request, gear.bounds, gear.watch)
        self._request = request
        self._head = head
        self._operation = operation
        self._gear = gear
        self._patience = Patience(gear.watch)
        self._hearing: Hearing | None = None
        if operation.billed_by_body and self.body.exists:
            self._hearing = Hearing(operation, head, gear.bounds.spool_bytes)
            self.body.heard_by = self._hearing.overhear
        self._answer: Answer | None = None  # held: the best so far, while another endpoint may do better
        self._exchange: Exchange | None = None  # set while its answer goes down
        self._meter: Metering | None = None
        self._was_asked = False  # for the intent
        self._caller_left = False
        self._drained = 0  # bytes read on after that
        self._drain_timer: asyncio.TimerHandle | None = None  # set while we drain

    @property
    def replayable(self) -> bool:
        # While an upload still runs towards an answer that came early, another one would be a second reader of it.
        return self.body.replayable and not self._caller_left and not (self._answer and self._answer.uploading)

    @property
    def request_bytes(self) -> int:
        return self.body.received

    @property
    def answered(self) -> bool:
        return self._caller_left or self.reply.begun

    def caller_left(self, exchange: Exchange) -> None:
        """The caller is gone: read on, or hang up, by the route's policy. May be called by another task."""
        if self._caller_left:
            return
        self._caller_left = self.body.caller_left = True
        if exchange.on_disconnect == "drain" and self._gear.drains.enter():
            loop, seconds = asyncio.get_running_loop(), self._gear.bounds.drain_seconds
            self._drain_timer = loop.call_later(seconds, self._patience.interrupt, "drained_enough")
        else:
            self._patience.interrupt("caller_left")

    def close(self) -> None:
        """The exchange is over: let go of every timer, file and connection."""
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._gear.drains.leave()
        if self._answer is not None:
            self._answer.close()
        self.body.close()

    def read_intent(self) -> Intent | Awaitable[Intent]:
        self.body.heard_by = None
        self._was_asked = True
        if b"content-encoding" not in self._head.headers.first:
            whole = self.body.at_once(DIRECT_BYTES)
            if whole is not None:
                return read_intent(self._operation, self._head.target, whole)
        return self._read_intent()

    async def _read_intent(self) -> Intent:
        hearing = Hearing(self._operation, self._head, self._gear.bounds.spool_bytes)
        if self.body.exists:
            await self.body.read_whole(hearing.hear)
        return hearing.intent()

    async def open(self, endpoint: Endpoint, last: bool = False) -> ResponseHead:
        if self._caller_left:
            raise CallerGone("it left before anything was sent")  # draining is for what already runs
        head, gear = self._head, self._gear
        credential = gear.credentials.at_hand(endpoint, self._operation)
        if credential is None:
            try:
                credential = await gear.credentials.field_for(endpoint, self._operation)
            except CredentialFailed as error:
                raise EndpointFailed("no_credential", sent=False) from error
            if self._caller_left:
                raise CallerGone("it left before anything was sent")
        self.body.once = last and self._was_asked  # else somebody may still ask what is in it
        try:
            flex = head.headers.first.get(b"x-vertex-ai-llm-shared-request-type") == b"flex"
            going_up = upstream_head(head, credential, self._request.kept)
            answer = await gear.pool.send(endpoint, going_up, self.body, self._patience, flex=flex)
        except Interrupted as stop:
            raise CallerGone(stop.reason, sent=stop.sent) from None
        if self._answer is not None:
            self._answer.close()
        self._answer = answer
        return answer.head

    async def run(self, exchange: Exchange) -> None:
        answer = self._answer
        assert answer is not None, "nothing was opened"
        self.body.let_go()
        status, length = answer.head.status, answer.length
        connection = self._request.connection
        self._exchange = exchange
        self._meter = meter = Metering(self._operation, answer.head, self._head.target)
        whole = False
        try:
            pieces = answer.here()  # what came together with the head goes down together with it
            if length is not None and length <= ONE_WRITE and not answer.over:
                pieces += await rest_of(answer)  # and so does all that is small
            while True:
                last = answer.over
                self._pass_on(pieces, last=last)
                if not self._caller_left and connection.paused:
                    await self._wait_for_caller(exchange)
                if meter.behind:
                    await meter.catch_up()
                if last:
                    break
                pieces = answer.here() or await answer.more(self)
            whole = True
            exchange.outcome = _CLIENT_GONE if self._caller_left else _COMPLETED
        except AnswerBroke as broke:
            broke.__traceback__ = None  # the answer keeps it, and it would keep this frame, which holds the answer
            # the plain road also breaks the answer off when the caller's own upload did, towards an early answer
            of_caller = self.body.failure is not None
            self._break_off(exchange, Outcome.CLIENT_GONE if of_caller else Outcome.UPSTREAM_BROKE, str(broke))
        except Interrupted as stop:
            upstream = stop.reason == "upstream_idle" and self.body.failure is None
            self._break_off(exchange, Outcome.UPSTREAM_BROKE if upstream else Outcome.CLIENT_GONE, stop.reason)
        finally:
            self._exchange = None  # it holds us
            exchange.usage, exchange.usage_state, error = meter.finish(complete=whole)
            exchange.reason = exchange.reason or error  # an error of Google's inside its 200
            exchange.once = meter.once
            note_what_was_asked(exchange, self._hearing, status)

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        if self._caller_left:
            return
        if self.reply.begun:
            self._request.connection.abort()
            return
        extra = [*exchange.reply_headers, OVER] if refusal is exchange.continuation else exchange.reply_headers
        if self.body.unasked or self.body.failure is not None:
            # Whether the body comes is the caller's guess; only a new connection is sure.
            self._request.keep_alive = False
        fields, body = refusal_fields(refusal, self._operation, extra)
        self.reply.whole(refusal.code, phrase(refusal.code), fields, body)

    def pour(self) -> bool:
        """While the exchange waits for more: pieces go down in the turn of the loop in which they were read."""
        answer, meter, connection = self._answer, self._meter, self._request.connection
        assert answer is not None
        assert meter is not None
        if self._caller_left or connection.paused or meter.behind:
            return False
        self._pass_on(answer.here(), last=False)
        self._patience.extend()
        return not (connection.paused or meter.behind)

    def _pass_on(self, pieces: list[bytes], *, last: bool) -> None:
        """Every piece goes down as it comes, before anybody looks at it; a slow caller slows the endpoint."""
        exchange, answer, meter, reply = self._exchange, self._answer, self._meter, self.reply
        assert exchange is not None
        assert answer is not None
        assert meter is not None
        if self._caller_left:
            pass
        elif reply.begun:
            reply.send(pieces, last=last)
        else:
            self._begin(exchange, answer, pieces, last=last)
        # Of one read, so it is fed as one: more, while the meter is behind with the first, would hold up the loop.
        read = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        size = len(read)
        if size:
            meter.feed(read)
        exchange.response_bytes += size
        if self._caller_left:
            self._drained += size
            if self._drained > self._gear.bounds.drain_bytes:
                self._patience.interrupt("drained_enough")

    def _begin(self, exchange: Exchange, answer: Answer, pieces: list[bytes], *, last: bool) -> None:
        head, came, added = answer.head, answer.as_it_came, encoded(exchange.reply_headers)
        account_bound, reply = self._operation.account_bound, self.reply
        in_chunks = answer.length is None
        if not came or account_bound or not reply.pass_on(came, added, pieces, in_chunks=in_chunks, last=last):
            fields = list(answer.fields)
            if account_bound and 200 <= head.status < 300:
                fields = self._gear.uploads.rewrite(fields, exchange, self._request)
            reply.begin(head.status, head.reason, fields + added, pieces, last=last)
        exchange.status = head.status
        exchange.first_byte = self._gear.clock.monotonic()

    async def _wait_for_caller(self, exchange: Exchange) -> None:
        """So much is unsent that its taking must be waited for; notice if the caller leaves now."""
        seconds = self._gear.bounds.caller_idle_seconds
        try:
            await self._patience.wait(self._request.connection.drain(), seconds, "caller_idle")
        except ConnectionError:
            self.caller_left(exchange)
        except Interrupted as stop:
            if stop.reason != "caller_idle":
                raise
            exchange.reason = "CALLER_IDLE"
            self._request.connection.abort()
            self.caller_left(exchange)

    def _break_off(self, exchange: Exchange, outcome: Outcome, why: str) -> None:
        """The answer ends here: what the caller got of it must look cut short (RFC 9112 section 8)."""
        if not self.answered:
            raise exchange.refuse(
                502, f"The endpoint's answer broke off ({why}).", reason="UPSTREAM_BROKE", outcome=outcome
            )
        exchange.outcome = outcome
        exchange.reason = why.upper()
        self._request.connection.abort()
