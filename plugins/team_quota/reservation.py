"""How many tokens and images to take before the call, from what the request says of itself.

Pure functions of the operation and its intent. An estimate, not a bound: a prompt may be denser than four
bytes a token, a model may think past its answer, a stored file may be long. What the answer says replaces it,
and what it was short of is counted then.
"""

from typing import Final

from plugins.team_quota.plan import Plan
from proxy import Exchange, Intent, Operation, Take

# Tokens of one image by the size asked for: the dearest current model of each (Gemini fact 4.3). Only for
# reserving; what is settled is what the answer says.
_IMAGE_TOKENS: Final[dict[str, int]] = {"512": 747, "1K": 1290, "2K": 1680, "4K": 3767}

# An answer may hold images that nobody asked for: they are counted, but their limit is no reason to refuse.
# 2**53 - 1 is the largest integer that a store in another language counts exactly.
_UNBOUNDED: Final = 2**53 - 1

# Methods that run nothing (RFC 9110 section 9.2.1), should their path mean nothing to us.
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# In the names of models that draw (Gemini fact 0), whatever a request to them says that it wants.
_DRAWING: Final = ("image", "banana")


def depends_on_body(operation: Operation, plan: Plan) -> bool:
    return plan.sized and operation.generates


def sized_takes(exchange: Exchange, plan: Plan, intent: Intent | None, default_output_tokens: int) -> list[Take]:
    """What to take of tokens and images; `intent` where it depends on the body."""
    if intent is None:
        return _unread(exchange, plan, default_output_tokens)
    takes: list[Take] = []
    if plan.tokens:
        estimate = estimate_tokens(exchange.operation, intent, default_output_tokens)
        takes += [rule.take(estimate) for rule in plan.tokens]
    if not plan.images:
        return takes
    if intent.wants_images:
        takes += [rule.take(max(1, intent.image_count)) for rule in plan.images]
    else:
        # Nothing is taken of images nobody asked for; but a model that may draw all the same is not asked once
        # the limit is overshot.
        ceiling = None if _may_draw(exchange.model) else _UNBOUNDED
        takes += [rule.take(0, ceiling) for rule in plan.images]
    return takes


def estimate_tokens(operation: Operation, intent: Intent, default_output_tokens: int) -> int:
    """The tokens to expect. The numbers are the caller's: one below zero must not become a negative reservation."""
    if "embed" in operation.name.lower():
        output = 0  # vectors are not tokens, and some models answer without counts (Gemini fact 4.4)
    elif (bound := intent.max_output_tokens) is not None and bound > 0:
        output = bound * max(1, intent.candidate_count)
    elif intent.wants_images:
        output = _IMAGE_TOKENS.get(intent.image_size or "1K", _IMAGE_TOKENS["4K"]) * max(1, intent.image_count)
    else:
        output = default_output_tokens * max(1, intent.candidate_count)
    return max(0, intent.input_tokens) + output


def _unread(exchange: Exchange, plan: Plan, default_output_tokens: int) -> list[Take]:
    """What has a name and runs no model takes nothing. What has none may run one: that is not free for it."""
    if exchange.operation.name != "unknown":
        return []
    tokens = 0 if exchange.request.method in _READS else default_output_tokens
    return [*(rule.take(tokens) for rule in plan.tokens), *(rule.take(0) for rule in plan.images)]


def _may_draw(model: str | None) -> bool:
    return model is None or any(word in model for word in _DRAWING)
