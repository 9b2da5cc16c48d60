"""The relay of a WebSocket session: Gemini's Live API, and any other path that is asked to upgrade.

`server.py` makes one for each handshake; `engine/forward.py` drives it through the `Relay` protocol. A Live session
names its model in its first frame alone (Gemini fact 1.4), so that the caller's handshake must be accepted before
that is known: what is refused later is told by a close frame. The same frame goes to one endpoint after the other
until one answers it. What is said in a session that stands is `session.py`'s business.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

from aiohttp import web
from multidict import CIMultiDict

from proxy.endpoint import Endpoint
from proxy.exchange import Exchange
from proxy.gemini.credentials import without_credentials
from proxy.gemini.live import read_setup, status_of_close, told
from proxy.head import Headers, RequestHead, ResponseHead
from proxy.operation import Intent, Operation
from proxy.refusal import CallerGone, EndpointFailed, Refusal
from proxy.usage import Outcome
from proxy.wire.credentials import CredentialFailed
from proxy.wire.gear import Gear
from proxy.wire.handshake import HANDSHAKE_FIELDS, HandshakeRefused, accept, acceptable, offered
from proxy.wire.headers import BadHeader, decode, request_fields
from proxy.wire.leg import Close, Frame, Leg
from proxy.wire.metering import Metering
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.response import RelayedResponse, refusal_response
from proxy.wire.session import STOPPING, Session

T = TypeVar("T")

SETUP_SECONDS = 30.0  # at most, for a handshake and for the answer to a first frame; Google takes about one


class _Answer(NamedTuple):
    """What an endpoint made of the session: it stands (`leg`), or was refused, by a close frame or by HTTP."""

    head: ResponseHead
    leg: Leg | None = None
    first: Frame | None = None  # that it said already
    close: Close | None = None
    refused: HandshakeRefused | None = None


class LiveRelay:
    """See the module. `response` is what the server hands to aiohttp once the exchange has ended."""

    def __init__(
        self,
        request: web.BaseRequest,
        head: RequestHead,
        operation: Operation,
        gear: Gear,
        reply_headers: list[tuple[str, str]],
    ) -> None:
        self.response: web.StreamResponse | None = None
        self._request = request
        self._head = head
        self._operation = operation
        self._gear = gear
        self._reply_headers = reply_headers  # the exchange's own list: a handshake may be answered before `run`
        self._patience = Patience(gear.watch)
        self._offered = offered(head)
        self._caller: Leg | None = None  # once its handshake is accepted
        self._caller_close: Close | None = None  # that it sent before there was a session
        self._setup: Frame | None = None  # its first frame
        self._held: _Answer | None = None  # the best so far, while another endpoint may do better
        self._session: Session | None = None
        self._left = False
        self._answered = False

    @property
    def replayable(self) -> bool:
        return not self._left  # until an endpoint has answered the first frame nothing else was read

    @property
    def request_bytes(self) -> int:
        return (len(self._setup.data) if self._setup else 0) + (self._session.received if self._session else 0)

    @property
    def answered(self) -> bool:
        return self._answered or self._left

    def caller_left(self, exchange: Exchange) -> None:
        """The caller's connection is gone, and with it the session: there is nothing to read on for."""
        self._left = True
        self._patience.interrupt("caller_left")
        if self._session is not None:
            self._session.caller_left()

    async def read_intent(self) -> Intent:
        if not self._operation.model_in_body:
            return Intent(stream=True)
        return read_setup(self._operation, (await self._first_frame()).data)

    async def open(self, endpoint: Endpoint, last: bool = False) -> ResponseHead:
        if self._left:
            raise CallerGone("it left before anything was sent")
        self._check_handshake()
        target, fields = without_credentials(self._head.target), await self._fields_for(endpoint)
        try:
            dialled = self._gear.pool.dial(endpoint, target, fields, self._offered)
            leg = await self._wait_for_endpoint(dialled)
        except HandshakeRefused as refused:
            answer = _Answer(refused.head, refused=refused)
        else:
            answer = await self._begin(leg)
        await self._let_go()
        self._held = answer
        return answer.head

    async def run(self, exchange: Exchange) -> None:
        answer = self._held
        assert answer is not None, "nothing was opened"
        if answer.leg is None:
            await self._pass_refusal_on(exchange, answer)
            return
        self._held = None
        endpoint = answer.leg
        if self._setup is not None and exchange.intent_read is None:
            with contextlib.suppress(ValueError):  # the endpoint has judged it; this is for the record's model
                exchange.intent_read = read_setup(self._operation, self._setup.data)
        exchange.status = answer.head.status
        meter = Metering(self._operation, answer.head)  # of any session: what Google adds tomorrow is not free for that
        try:
            caller = self._caller or await self._accept(endpoint.fields, endpoint.protocol)
            self._session = Session(exchange, caller, endpoint, meter, self._gear.bounds, lambda: self._began(exchange))
            if self._left:
                self._session.caller_left()
            await self._session.run(answer.first)
        except CallerGone:
            self._answered = True  # there is nobody to answer
            await endpoint.close(Close(1001))
            exchange.outcome, exchange.reason, exchange.status = Outcome.CLIENT_GONE, "CALLER_LEFT", None
        except BaseException:
            if self._session is None:  # else it has closed both
                await endpoint.close(Close(1001))
            raise
        finally:
            complete = self._session is not None and self._session.complete
            exchange.usage, exchange.usage_state, _ = meter.finish(complete=complete)

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        await self._let_go()
        if self._left:
            return
        self._answered = True
        if self._caller is None:
            self.response = refusal_response(refusal, self._operation, exchange.reply_headers)
        else:
            close = Close(1008 if refusal.code < 500 else 1011, refusal.message)
            await self._caller.close(self._caller_close or close)

    def _began(self, exchange: Exchange) -> None:
        self._answered = True
        exchange.first_byte = self._gear.clock.monotonic()

    async def _begin(self, leg: Leg) -> _Answer:
        """A Live session stands when the endpoint has answered the first frame; any other when it is connected."""
        if not self._operation.model_in_body:
            return _Answer(leg.head, leg)
        try:
            if self._caller is None:
                await self._accept(CIMultiDict(), leg.protocol)
            setup = await self._first_frame()
            said = await self._wait_for_endpoint(_answer_to(leg, setup))
        except ConnectionError:
            await leg.close(Close(1001))
            raise EndpointFailed("disconnected", sent=True) from None
        except BaseException:
            await leg.close(Close(1001))
            raise
        if isinstance(said, Frame):
            return _Answer(leg.head, leg, said)
        await leg.close(said.onward())
        if not said.said:
            raise EndpointFailed("disconnected", sent=True)
        return _Answer(ResponseHead(status_of_close(said.code, said.reason), "", Headers(())), close=said)

    async def _first_frame(self) -> Frame:
        """The caller's first frame, read once. Raises CallerGone."""
        if self._setup is None:
            self._check_handshake()
            caller = self._caller or await self._accept(CIMultiDict(), next(iter(self._offered), None))
            try:
                waiting = caller.next_message()
                said = await self._wait(waiting, self._gear.bounds.caller_idle_seconds, "caller_idle")
            except (ConnectionError, Interrupted) as error:
                idle = isinstance(error, Interrupted) and error.reason == "caller_idle"
                raise CallerGone("no first frame came", stalled=idle) from None
            if isinstance(said, Close):
                self._caller_close = said.onward()
                raise CallerGone(f"it closed with {said.code} before its first frame")
            self._setup = said
        return self._setup

    async def _accept(self, fields: CIMultiDict[str], protocol: str | None) -> Leg:
        """Accept the caller's handshake: from now on all that we can say is frames. Raises CallerGone."""
        fields.extend(self._reply_headers)
        try:
            caller, response = await accept(self._request, fields, [protocol] if protocol else [], self._gear.bounds)
        except ConnectionError:
            raise CallerGone("it left during its handshake") from None
        # One subprotocol was agreed on, and every endpoint that is asked later has to agree to the same.
        self._offered = [caller.protocol] if caller.protocol else []
        self._caller = caller
        self.response = response
        return caller

    async def _pass_refusal_on(self, exchange: Exchange, answer: _Answer) -> None:
        """No endpoint did better than to refuse: the caller gets its words, by HTTP where that can still be."""
        self._answered = True
        exchange.status = answer.head.status
        exchange.first_byte = self._gear.clock.monotonic()
        exchange.outcome = Outcome.COMPLETED
        if answer.close is not None:
            assert self._caller is not None, "an endpoint answered a first frame that nobody sent"
            exchange.reason = f"CLOSED_{answer.close.code}"
            await self._caller.close(answer.close.onward())
            return
        refused = answer.refused
        assert refused is not None
        if self._caller is not None:
            code = 1008 if answer.head.status < 500 and answer.head.status != 429 else 1011  # Google's own for a quota
            await self._caller.close(Close(code, told(answer.head.status, refused.body)))
            return
        refused.fields.extend(exchange.reply_headers)
        self.response = response = RelayedResponse(answer.head, refused.fields)
        exchange.response_bytes = len(refused.body)
        try:
            await response.prepare(self._request)
            await response.write_eof(refused.body)
        except ConnectionError:
            exchange.outcome = Outcome.CLIENT_GONE

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None and held.leg is not None:
            await held.leg.close(Close(1001))

    async def _wait_for_endpoint(self, awaitable: Awaitable[T]) -> T:
        seconds = min(self._gear.bounds.first_byte_seconds, SETUP_SECONDS)
        try:
            return await self._wait(awaitable, seconds, "first_byte_timeout")
        except Interrupted as stop:
            if stop.reason == "first_byte_timeout":
                raise EndpointFailed("first_byte_timeout", sent=True) from None
            raise CallerGone(stop.reason) from None

    async def _wait(self, awaitable: Awaitable[T], seconds: float, reason: str) -> T:
        """Raises Interrupted."""
        try:
            return await self._patience.wait(awaitable, seconds, reason)
        except asyncio.CancelledError:
            await self._let_go()
            if self._caller is not None:
                await self._caller.close(STOPPING)
            raise

    def _check_handshake(self) -> None:
        if self._caller is None and not acceptable(self._request, self._gear.bounds):
            raise Refusal(400, "The WebSocket handshake is malformed (RFC 6455).", reason="BAD_HANDSHAKE")

    async def _fields_for(self, endpoint: Endpoint) -> CIMultiDict[str]:
        """The handshake's fields for this endpoint, made anew from the original head for every attempt."""
        try:
            credential = await self._gear.credentials.field_for(endpoint, self._operation)
        except CredentialFailed as error:
            raise EndpointFailed("no_credential", sent=False) from error
        try:
            return decode(request_fields(self._head.headers.raw, credential, HANDSHAKE_FIELDS))
        except BadHeader as error:
            raise Refusal(400, f"The request cannot be forwarded: {error}.", reason="BAD_HEADER") from error


async def _answer_to(leg: Leg, setup: Frame) -> Frame | Close:
    with contextlib.suppress(ConnectionError):  # it may have said why before it left
        await leg.send(setup)
    return await leg.next_message()
