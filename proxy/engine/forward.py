"""The innermost step: try the candidates, best first, until one answers; then relay it to the end.

Every retry of the gateway happens here and nowhere else, so that the record shows each one. The law: another
endpoint may be tried only before the first byte went down, with the request still whole, and never when the
request may already be running somewhere (RFC 9110 section 9.2.2).
"""

import asyncio

from proxy.endpoint import Endpoint
from proxy.exchange import Attempt, Exchange
from proxy.head import ResponseHead
from proxy.plugin import AttemptNext, Clock, ExchangeNext
from proxy.refusal import CallerGone, EndpointFailed, Refusal
from proxy.usage import AttemptRecord, Outcome

# Google refused or shed the request, or failed and bills nothing (Gemini fact 5); another account may take it.
RETRYABLE = frozenset({429, 500, 502, 503})
TIMED_OUT = 504  # it ran until Google's own deadline: to run it again elsewhere is for what is idempotent
# Reasons of EndpointFailed that mean "too much for now", the account's own limit or ours.
OVER_LIMIT = frozenset({"rate_limited", "paced"})
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def make_forward(attempt_once: AttemptNext, clock: Clock) -> ExchangeNext:
    """The core of the exchange onion, over a compiled attempt onion."""

    monotonic = clock.monotonic

    async def forward(exchange: Exchange) -> None:
        admit(exchange)
        held: Endpoint | None = None  # the endpoint whose answer the relay holds
        failure: EndpointFailed | None = None
        candidates, started = tuple(exchange.candidates), exchange.started  # settled: one is told that it is the last
        if exchange.operation.account_bound:
            # A file, cache or batch lives in the account that made it: elsewhere it is a misleading 404.
            candidates = candidates[:1]
        for place, endpoint in enumerate(candidates):
            record = AttemptRecord(
                endpoint=endpoint.name, region=endpoint.region, started_ms=_milliseconds(monotonic() - started)
            )
            exchange.attempts.append(record)
            another = False  # worth a try
            try:
                head = await attempt_once(Attempt(exchange, endpoint, record, place + 1 == len(candidates)))
            except EndpointFailed as error:
                failure = error.with_traceback(None)  # which holds this frame, and so the exchange
                record.error = error.reason
                record.sent = error.sent
                another = _may_repeat(exchange, error)
            except Refusal as refusal:
                record.error = refusal.reason.lower()
                exchange.mark(refusal)
                raise
            except asyncio.CancelledError:
                record.sent = True  # cut at a moment that nobody knows
                raise
            except CallerGone as gone:
                record.error = "caller_gone"
                record.sent = gone.sent
                raise exchange.caller_gone(gone) from gone
            else:
                held = endpoint
                record.status = head.status
                record.sent = True
                another = head.status >= 400 and _worth_another(exchange, head)
            finally:
                record.ended_ms = _milliseconds(monotonic() - started)
            if not another:
                break
        if held is None:
            assert failure is not None, "every attempt ends in an answer or a failure"
            raise _no_answer(exchange, failure)
        exchange.endpoint = held
        await exchange.relay.run(exchange)

    return forward


def admit(exchange: Exchange) -> None:
    """What is asked of every exchange, whatever plugins stand around it. Raises Refusal."""
    if exchange.continuation is not None:
        exchange.continued()  # where no plugin asked who calls, a bad address has gone unnoticed so far
    if exchange.hides_usage is not None:
        message = f"Leave out {exchange.hides_usage}: it would keep the usage of this call from its record."
        raise exchange.refuse(400, message, reason="USAGE_HIDDEN")
    if not exchange.candidates:
        message = "No endpoint is left to take this request."
        raise exchange.refuse(503, message, reason="NO_ENDPOINT", outcome=Outcome.UPSTREAM_FAILED)


def _may_repeat(exchange: Exchange, failure: EndpointFailed) -> bool:
    if failure.sent and exchange.request.method not in IDEMPOTENT:
        return False
    return exchange.relay.replayable


def _worth_another(exchange: Exchange, head: ResponseHead) -> bool:
    retryable = head.status in RETRYABLE or (head.status == TIMED_OUT and exchange.request.method in IDEMPOTENT)
    return retryable and exchange.relay.replayable


def _milliseconds(seconds: float) -> float:
    """To a tenth, as records show them; `round` takes four times as long."""
    return int(seconds * 10_000 + 0.5) / 10


def _no_answer(exchange: Exchange, failure: EndpointFailed) -> Refusal:
    tried = ", ".join(f"{attempt.endpoint}: {attempt.error}" for attempt in exchange.attempts)
    return exchange.refuse(
        _code(exchange, failure),
        f"No endpoint gave an answer ({tried}).",
        reason="UPSTREAM_FAILED",
        retry_after=failure.retry_after,
        outcome=Outcome.UPSTREAM_FAILED,
    )


def _code(exchange: Exchange, failure: EndpointFailed) -> int:
    """429 tells a caller to slow down, 503 to try again, 504 that time ran out, 502 that it may have run."""
    if all(attempt.error in OVER_LIMIT for attempt in exchange.attempts):
        return 429
    if failure.reason.endswith("timeout"):
        return 504
    return 502 if failure.sent else 503
