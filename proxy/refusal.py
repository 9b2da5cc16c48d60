"""The exceptions of the contract: an answer of our own, "try another endpoint", and "nobody is left".

A plugin raises what `exchange.refuse(...)` returns; the relay, which knows no exchange, raises a bare `Refusal`
that the engine marks on it. What a refusal looks like on the wire is `gemini/errors.py`'s business.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.usage import Outcome


class Refusal(Exception):
    """An answer of our own instead of the upstream's.

    Attributes:
        code: HTTP status, 400 to 599.
        message: one sentence for the caller. Never holds a secret.
        reason: UPPER_SNAKE word for logs and for `ErrorInfo.reason` (google.rpc.ErrorInfo).
        retry_after: seconds until it is worth trying again, sent as `Retry-After` and as `RetryInfo`.
        details: further google.rpc detail objects, each with its `@type`.
        outcome: how the exchange ends by it.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str,
        retry_after: float | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        outcome: Outcome = Outcome.REFUSED,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_after = retry_after
        self.details = details
        self.outcome = outcome


class EndpointFailed(Exception):
    """This endpoint gave no answer, or may not be asked now; another one may.

    Raised by `Relay.open` and by attempt plugins (an open circuit, a full pace).

    Attributes:
        reason: lower_snake word for the attempt's record, e.g. `connect_failed`, `circuit_open`.
        sent: True when a part of the request may have reached the upstream, so that repeating it could
            run it twice (RFC 9110 section 9.2.2).
        retry_after: seconds until the endpoint may be worth asking again, if known.
    """

    def __init__(self, reason: str, *, sent: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.retry_after = retry_after


class CallerGone(Exception):
    """The caller left, or stopped sending its body, before its answer began. No endpoint is to blame.

    Raised by the relay; plugins let it pass.

    Attributes:
        stalled: it is still there, but its body stopped coming; it gets an answer.
        malformed: what it sent in the middle of its body is not HTTP; it gets an answer.
        sent: its request had gone up whole, and may be running: it left before the answer began.
    """

    def __init__(self, why: str, *, stalled: bool = False, malformed: bool = False, sent: bool = False) -> None:
        super().__init__(why)
        self.stalled = stalled
        self.malformed = malformed
        self.sent = sent
