"""What is left of a reservation when its exchange has ended.

- Requests count once an endpoint was tried. Of concurrency nothing remains.
- Final counts are taken as they are, but a sum of no tokens at all: every run has a prompt, so that an answer
  which names none (Imagen, OpenAI's images) left them out, and the reservation stays.
- Partial ones are a lower bound of what Google generated and bills: whoever hangs up early must not pay less
  than was reserved, so the larger of both counts until the window forgets it.
- No counts: nothing if nothing can have been generated, else the reservation stays.
"""

from typing import Final

from plugins.team_quota.plan import Plan
from proxy import AttemptRecord, Exchange, Outcome, Take, Usage, UsageState

_NOTHING: Final[dict[str, int]] = {}
_FINAL: Final = UsageState.FINAL


def calls_used(exchange: Exchange, plan: Plan) -> dict[str, int]:
    """What the counters of `plan.calls` are settled with; one that is not there with 0."""
    return plan.called if exchange.attempts else _NOTHING


def amounts_used(exchange: Exchange, plan: Plan, takes: tuple[Take, ...]) -> dict[str, int]:
    """What the counters of tokens and images are settled with; one that is not there with 0."""
    if not exchange.attempts:
        return _NOTHING
    usage = exchange.usage
    if usage is None:
        return _NOTHING if _in_vain(exchange) else {take.counter: take.amount for take in takes}
    final, tokens = exchange.usage_state is _FINAL, _total_tokens(usage)
    amounts: dict[str, int] = {}
    for take in takes:
        images = plan.rules[take.counter].unit == "images"
        seen = usage.images if images else tokens
        amounts[take.counter] = seen if final and (images or seen) else max(seen, take.amount)
    return amounts


def _total_tokens(usage: Usage) -> int:
    """Google's own sum, or ours where the answer had none (embeddings, Gemini fact 4.4)."""
    return usage.total_tokens or usage.input_tokens + usage.output_tokens + usage.thought_tokens + usage.tool_tokens


def _in_vain(exchange: Exchange) -> bool:
    """Every endpoint said no, or was never sent the request."""
    return all(_ran_nothing(exchange, attempt) for attempt in exchange.attempts)


def _ran_nothing(exchange: Exchange, attempt: AttemptRecord) -> bool:
    """What a caller left before its answer may be running all the same.

    The exchange's own status does not tell: it is ours (499, 502) after a head of 200 too.
    """
    if attempt.status is not None:
        return attempt.status >= 400
    if attempt.sent:
        return False
    return attempt.error not in (None, "caller_gone") or exchange.outcome is Outcome.REFUSED
