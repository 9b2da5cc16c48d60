"""One call through the gateway, as plugins see it: request head to last byte.

`wire/` makes an `Exchange` for each request and hands it to the engine; plugins read and mark it; the
usage log writes down what it says at the end. Nothing here touches a socket or a byte of a body: those
are the `Relay`'s, which the innermost step of the engine drives.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, final

from proxy.endpoint import Endpoint
from proxy.head import RequestHead, ResponseHead
from proxy.operation import Intent, Operation
from proxy.price import Charge
from proxy.principal import Continuation, Principal
from proxy.refusal import CallerGone, Refusal
from proxy.usage import AttemptRecord, Outcome, Usage, UsageState

OnDisconnect = Literal["drain", "cancel"]

# An enum's member costs a compiled module three times what a global does, and each exchange begins with these.
_LOST: Final = Outcome.LOST
_NO_USAGE: Final = UsageState.NONE


class Exclusion(NamedTuple):
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

    def read_intent(self) -> Intent | Awaitable[Intent]:
        """Read as much of the body as it needs: at once where that has come, else by what is returned to be awaited.

        Raises ValueError when it is not what the path needs, Refusal (too large), CallerGone.
        """

    async def open(self, endpoint: Endpoint, last: bool = False) -> ResponseHead:
        """One try. Raises EndpointFailed. The answer opened before stays held until this one has a head.

        `last`: no other follows, for which the request would have to be kept.
        """

    async def run(self, exchange: "Exchange") -> None:
        """Send the held answer down to its last byte; meter it; set `outcome` and `usage`."""

    async def refuse(self, exchange: "Exchange", refusal: Refusal) -> None:
        """Answer by ourselves. Does nothing but cut the connection if a head has gone out already."""


@final
class Exchange:
    """One call. Plugins share facts through its fields; nobody keeps state of it elsewhere.

    Times: `received_at` is unix seconds; `started`, `first_byte` and `ended` are the clock's monotonic
    seconds, None until they happened.

    Attributes:
        continuation: of an upload; see `continued`.
        hides_usage: what would keep its usage from the meter, unless the route allows it.
        on_disconnect: of the route: read on for the true usage, or hang up.
        candidates: a plugin may reorder or narrow, until the first attempt.
        reply_headers: added to the head we send.
        endpoint: whose answer is relayed.
        status: sent to the caller.
        outcome: pessimistic: whoever learns better says so.
        charge: once the exchange has ended and was priced.
        once: charged once under this name, such as that of a batch whose results were read.
    """

    __slots__ = (
        "attempts",
        "candidates",
        "charge",
        "continuation",
        "ended",
        "endpoint",
        "exclusions",
        "first_byte",
        "hides_usage",
        "id",
        "intent_read",
        "labels",
        "on_disconnect",
        "once",
        "operation",
        "outcome",
        "principal",
        "reason",
        "received_at",
        "relay",
        "reply_headers",
        "request",
        "response_bytes",
        "route",
        "started",
        "status",
        "usage",
        "usage_state",
    )

    def __init__(
        self,
        id: str,
        request: RequestHead,
        operation: Operation,
        relay: Relay,
        *,
        received_at: float,
        started: float,
        hides_usage: str | None = None,
        continuation: Continuation | Refusal | None = None,
    ) -> None:
        self.id = id
        self.request = request
        self.operation = operation
        self.relay = relay
        self.received_at = received_at
        self.started = started
        self.first_byte: float | None = None
        self.ended: float | None = None
        self.continuation = continuation
        self.hides_usage = hides_usage
        self.route: str | None = None
        self.on_disconnect: OnDisconnect = "drain"
        self.candidates: list[Endpoint] = []
        self.exclusions: tuple[Exclusion, ...] = ()
        self.principal: Principal | None = None
        self.reply_headers: list[tuple[str, str]] = []
        self.attempts: list[AttemptRecord] = []
        self.endpoint: Endpoint | None = None
        self.status: int | None = None
        self.outcome: Outcome = _LOST
        self.reason: str | None = None
        self.usage: Usage | None = None
        self.usage_state: UsageState = _NO_USAGE
        self.charge: Charge | None = None
        self.once: str | None = None
        self.response_bytes = 0
        self.labels: dict[str, str] = {}
        self.intent_read: Intent | None = None

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
        asked = self.asked()
        return asked if isinstance(asked, Intent) else await asked

    def asked(self) -> Intent | Awaitable[Intent]:
        """As `intent`, at once where that can be: else returns what must be awaited for it."""
        intent = self.intent_read
        if intent is not None:
            return intent
        try:
            found = self.relay.read_intent()
        except (ValueError, CallerGone) as error:
            raise self._unreadable(error) from error
        except Refusal as refusal:
            self.mark(refusal)
            raise
        if not isinstance(found, Intent):
            return self._read(found)
        self.intent_read = found
        return found

    async def _read(self, reading: Awaitable[Intent]) -> Intent:
        try:
            self.intent_read = intent = await reading
        except (ValueError, CallerGone) as error:
            raise self._unreadable(error) from error
        except Refusal as refusal:
            self.mark(refusal)
            raise
        return intent

    def _unreadable(self, error: ValueError | CallerGone) -> Refusal:
        if isinstance(error, CallerGone):
            return self.caller_gone(error)
        return self.refuse(400, str(error), reason="BAD_BODY")

    def continued(self) -> Continuation | None:
        """The upload that this request goes on with, if any. Raises the Refusal of an address that is no good."""
        if isinstance(self.continuation, Refusal):
            self.mark(self.continuation)
            raise self.continuation
        return self.continuation

    def narrow(self, keep: Iterable[Endpoint], reason: str) -> None:
        """Drop every candidate that is not in `keep`, and remember why."""
        kept = list(keep)
        self.exclusions += tuple(Exclusion(endpoint, reason) for endpoint in self.candidates if endpoint not in kept)
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


@final
class Attempt:
    """One try at one endpoint. It ends at the response head, the last moment in which another may be tried.

    Attributes:
        last: there is no other.
    """

    __slots__ = ("endpoint", "exchange", "last", "record")

    def __init__(self, exchange: Exchange, endpoint: Endpoint, record: AttemptRecord, last: bool = False) -> None:
        self.exchange = exchange
        self.endpoint = endpoint
        self.record = record
        self.last = last
