"""One call through the gateway, as plugins see it: request head to last byte.

`wire/` makes an `Exchange` for each request and hands it to the engine; plugins read and mark it; the
usage log writes down what it says at the end. Nothing here touches a socket or a byte of a body: those
are the `Relay`'s, which the innermost step of the engine drives.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from proxy.endpoint import Endpoint
from proxy.head import RequestHead, ResponseHead
from proxy.operation import Intent, Operation
from proxy.price import Charge
from proxy.principal import Continuation, Principal
from proxy.refusal import CallerGone, Refusal
from proxy.usage import AttemptRecord, Outcome, Usage, UsageState

OnDisconnect = Literal["drain", "cancel"]


class Exclusion(msgspec.Struct, frozen=True):
    """Why a candidate is out; for `weir explain` and the logs."""

    endpoint: Endpoint
    reason: str


class Relay(Protocol):
    """Moves the bytes of one exchange. The wire's HTTP relay, or a scripted one in tests."""

    @property
    def replayable(self) -> bool:
        """True while the whole request can still be sent again."""

    @property
    def request_bytes(self) -> int:
        """Of the body, read from the caller so far."""

    @property
    def answered(self) -> bool:
        """A head went out, or nobody is left to get one."""

    async def read_intent(self) -> Intent:
        """Read as much of the body as it needs.

        Raises ValueError when it is not what the path needs, Refusal (too large), CallerGone.
        """

    async def open(self, endpoint: Endpoint) -> ResponseHead:
        """One try. Raises EndpointFailed. The answer opened before stays held until this one has a head."""

    async def run(self, exchange: "Exchange") -> None:
        """Send the held answer down to its last byte; meter it; set `outcome` and `usage`."""

    async def refuse(self, exchange: "Exchange", refusal: Refusal) -> None:
        """Answer by ourselves. Does nothing but cut the connection if a head has gone out already."""


class Exchange(msgspec.Struct, kw_only=True, eq=False):
    """One call. Plugins share facts through its fields; nobody keeps state of it elsewhere.

    Times: `received_at` is unix seconds; `started`, `first_byte` and `ended` are the clock's monotonic
    seconds, None until they happened.
    """

    id: str
    request: RequestHead
    operation: Operation
    relay: Relay
    received_at: float
    started: float
    first_byte: float | None = None
    ended: float | None = None
    continuation: Continuation | Refusal | None = None  # of an upload; see `continued`
    hides_usage: str | None = None  # what would keep its usage from the meter, unless the route allows it
    route: str | None = None
    on_disconnect: OnDisconnect = "drain"  # of the route: read on for the true usage, or hang up
    candidates: list[Endpoint] = []  # a plugin may reorder or narrow
    exclusions: list[Exclusion] = []
    principal: Principal | None = None
    reply_headers: list[tuple[str, str]] = []  # added to the head we send
    attempts: list[AttemptRecord] = []
    endpoint: Endpoint | None = None  # whose answer is relayed
    status: int | None = None  # sent to the caller
    outcome: Outcome = Outcome.LOST  # pessimistic: whoever learns better says so
    reason: str | None = None
    usage: Usage | None = None
    usage_state: UsageState = UsageState.NONE
    charge: Charge | None = None  # once the exchange has ended and was priced
    once: str | None = None  # charged once under this name, such as that of a batch whose results were read
    response_bytes: int = 0
    labels: dict[str, str] = {}
    intent_read: Intent | None = None

    def __repr__(self) -> str:
        return f"Exchange({self.id})"  # its head holds a credential

    @property
    def request_bytes(self) -> int:
        return self.relay.request_bytes

    @property
    def model(self) -> str | None:
        """The model asked for, as far as it is known by now."""
        model = self.operation.model
        if model is None and self.intent_read is not None:
            return self.intent_read.model
        return model

    async def intent(self) -> Intent:
        """Read what the request asks for, once. Raises a 400 Refusal when the body is not what it must be."""
        if self.intent_read is None:
            try:
                self.intent_read = await self.relay.read_intent()
            except ValueError as error:
                raise self.refuse(400, str(error), reason="BAD_BODY") from error
            except Refusal as refusal:
                self.mark(refusal)
                raise
            except CallerGone as gone:
                raise self.caller_gone(gone) from gone
        return self.intent_read

    def continued(self) -> Continuation | None:
        """The upload that this request goes on with, if any. Raises the Refusal of an address that is no good."""
        if isinstance(self.continuation, Refusal):
            self.mark(self.continuation)
            raise self.continuation
        return self.continuation

    def narrow(self, keep: Iterable[Endpoint], reason: str) -> None:
        """Drop every candidate that is not in `keep`, and remember why."""
        kept = list(keep)
        self.exclusions += [Exclusion(endpoint, reason) for endpoint in self.candidates if endpoint not in kept]
        self.candidates = [endpoint for endpoint in self.candidates if endpoint in kept]

    def refuse(
        self,
        code: int,
        message: str,
        *,
        reason: str,
        retry_after: float | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        outcome: Outcome = Outcome.REFUSED,
    ) -> Refusal:
        """Mark how the exchange ends and return what to raise."""
        refusal = Refusal(code, message, reason=reason, retry_after=retry_after, details=details, outcome=outcome)
        self.mark(refusal)
        return refusal

    def mark(self, refusal: Refusal) -> None:
        """Note that the exchange ends by this refusal."""
        self.outcome = refusal.outcome
        self.status = refusal.code
        self.reason = refusal.reason

    def caller_gone(self, gone: CallerGone) -> Refusal:
        """Mark that nobody waits for an answer (499, as nginx and Google have it), or only for ours (408, 400)."""
        if gone.stalled:
            message = "The request's body stopped arriving."
            return self.refuse(408, message, reason="BODY_STALLED", outcome=Outcome.CLIENT_GONE)
        if gone.malformed:
            message = "The request's body is not well-formed HTTP."
            return self.refuse(400, message, reason="BODY_MALFORMED", outcome=Outcome.CLIENT_GONE)
        refusal = self.refuse(499, "The caller left.", reason="CLIENT_GONE", outcome=Outcome.CLIENT_GONE)
        self.status = None  # nothing was sent
        return refusal


class Attempt(msgspec.Struct, eq=False):
    """One try at one endpoint. It ends at the response head, the last moment in which another may be tried."""

    exchange: Exchange
    endpoint: Endpoint
    record: AttemptRecord
