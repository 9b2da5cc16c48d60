"""Limits of a team and its parents: reserve before the call, settle with what it really used.

An exchange plugin; it needs a principal and a store, and lets pass what the team and every parent have room
for. Reserving first bounds an overspend by what is in flight; checking first and counting afterwards
does not. It refuses to cut an answer under way, to guess a model's name, or to count what no limit is set for.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import msgspec

from proxy import (
    Denied,
    Exchange,
    ExchangeNext,
    Grant,
    Intent,
    Limit,
    Operation,
    Outcome,
    Plugin,
    Refusal,
    Seconds,
    Services,
    Take,
    Team,
    Usage,
    UsageState,
)

# Tokens of one image by the size asked for: the dearest current model of each (Gemini fact 4.3). Only for
# reserving; what is settled is what the answer says.
_IMAGE_TOKENS = {"512": 747, "1K": 1290, "2K": 1680, "4K": 3767}

# An answer may hold images that nobody asked for: they are counted, but their limit is no reason to refuse.
# 2**53 - 1 is the largest integer that a store in another language counts exactly.
_UNBOUNDED = 2**53 - 1

_REFUSED_BY = ("x-weir-refused-by", "team_quota")


class _Rule(msgspec.Struct, frozen=True):
    """A team's limit and its counter in the store."""

    team: str
    limit: Limit
    counter: str

    def take(self, amount: int, ceiling: int | None = None) -> Take:
        return Take(self.counter, amount, self.limit.amount if ceiling is None else ceiling, self.limit.per)


class _Plan(msgspec.Struct, frozen=True):
    """A lineage's rules, made once for each configuration."""

    lineage: tuple[Team, ...]
    rules: dict[str, _Rule]  # by counter
    calls: tuple[Take, ...]  # requests and concurrency: one each, the same for every exchange
    requests: tuple[str, ...]  # the counters of `calls` that count requests
    tokens: tuple[_Rule, ...]
    images: tuple[_Rule, ...]


def _rules(team: Team) -> list[_Rule]:
    """The team's rules; of two limits of one unit and window the smaller counts."""
    smallest: dict[str, _Rule] = {}
    for limit in sorted(team.limits, key=lambda limit: limit.amount):
        counter = f"team/{team.name}/{limit.unit}" + (f"/{limit.per}" if limit.per else "")
        smallest.setdefault(counter, _Rule(team.name, limit, counter))
    return list(smallest.values())


def _plan(lineage: tuple[Team, ...]) -> _Plan:
    rules = [rule for team in lineage for rule in _rules(team)]
    return _Plan(
        lineage=lineage,
        rules={rule.counter: rule for rule in rules},
        calls=tuple(rule.take(1) for rule in rules if rule.limit.unit in ("requests", "concurrent")),
        requests=tuple(rule.counter for rule in rules if rule.limit.unit == "requests"),
        tokens=tuple(rule for rule in rules if rule.limit.unit == "tokens"),
        images=tuple(rule for rule in rules if rule.limit.unit == "images"),
    )


def _total_tokens(usage: Usage) -> int:
    """Google's own sum, or ours where the answer had none (embeddings, Gemini fact 4.4)."""
    return usage.total_tokens or usage.input_tokens + usage.output_tokens + usage.thought_tokens + usage.tool_tokens


class TeamQuota(Plugin):
    """Reserves requests, tokens, images and concurrency along the principal's lineage."""

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        default_output_tokens: int = 4096  # reserved when a request does not bound its output
        # Gives concurrency back after a crash, with a store that outlives us. Longer than the longest
        # exchange: a Flex call may take 30 minutes (Gemini fact 6.3).
        lease: Seconds = Seconds(3600)

    config: Config
    needs = frozenset({"principal"})

    def __init__(self, config: Config, services: Services) -> None:
        super().__init__(config, services)
        if config.default_output_tokens < 0:
            raise ValueError(f"default_output_tokens: expected 0 or more, found {config.default_output_tokens}")
        if config.lease <= 0:
            raise ValueError("lease: expected a duration longer than 0s")
        self._plans: dict[str, _Plan] = {}

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        plan = self._plan(exchange)
        if not plan.rules:
            return await call_next(exchange)
        takes = await self._takes(exchange, plan)
        grant = await self.services.store.take(takes, lease_seconds=self.config.lease)
        if isinstance(grant, Denied):
            raise _refusal(exchange, plan.rules[grant.take.counter], grant)
        try:
            await call_next(exchange)
        finally:
            await self.services.store.settle(grant, _used(exchange, plan, grant))

    async def explain(self, exchange: Exchange) -> list[str]:
        plan = self._plan(exchange)
        lines = []
        for take in await self._takes(exchange, plan):
            rule = plan.rules[take.counter]
            used = await self.services.store.used(take)
            if used + take.amount > take.ceiling:
                raise _refusal(exchange, rule, Denied(take, used, None))
            left = max(0, rule.limit.amount - used)
            lines.append(f"team {rule.team}: {rule.limit}, {left} left, this would reserve {take.amount}")
        return lines

    async def status(self) -> Mapping[str, Any]:
        status: dict[str, list[dict[str, Any]]] = {}
        for team in self.services.teams.values():
            for rule in _rules(team):
                used = await self.services.store.used(rule.take(0))
                left = max(0, rule.limit.amount - used)
                status.setdefault(team.name, []).append({"limit": str(rule.limit), "used": used, "left": left})
        return status

    def _plan(self, exchange: Exchange) -> _Plan:
        """The lineage's plan; a reload brings new teams, hence another lineage and a new plan."""
        team = exchange.principal.team if exchange.principal else ""
        lineage = self.services.teams.lineage(team)
        if not lineage:
            self._plans.pop(team, None)
            exchange.reply_headers.append(_REFUSED_BY)
            raise exchange.refuse(403, f"Team {team} is not configured at this gateway.", reason="UNKNOWN_TEAM")
        plan = self._plans.get(team)
        if plan is None or plan.lineage != lineage:
            plan = self._plans[team] = _plan(lineage)
        return plan

    async def _takes(self, exchange: Exchange, plan: _Plan) -> Sequence[Take]:
        """What to reserve. Reads the body only for a limit that depends on it."""
        if not (plan.tokens or plan.images):
            return plan.calls
        if not exchange.operation.generates:
            # What has no name may run a model all the same: it reserves nothing, yet what its answer says counts.
            unnamed = (*plan.tokens, *plan.images) if exchange.operation.name == "unknown" else ()
            return [*plan.calls, *(rule.take(0) for rule in unnamed)]
        intent = await exchange.intent()
        takes = list(plan.calls)
        if plan.tokens:
            estimate = self._estimate(exchange.operation, intent)
            takes += [rule.take(estimate) for rule in plan.tokens]
        if intent.wants_images:
            takes += [rule.take(max(1, intent.image_count)) for rule in plan.images]
        else:
            takes += [rule.take(0, _UNBOUNDED) for rule in plan.images]
        return takes

    def _estimate(self, operation: Operation, intent: Intent) -> int:
        """An upper bound of the tokens, as good as the request lets us make one.

        The numbers are the caller's: one below zero must not become a negative reservation.
        """
        if "embed" in operation.name.lower():
            output = 0  # vectors are not tokens, and some models answer without counts (Gemini fact 4.4)
        elif intent.max_output_tokens is not None:
            output = max(0, intent.max_output_tokens) * max(1, intent.candidate_count)
        elif intent.wants_images:
            size = _IMAGE_TOKENS.get(intent.image_size or "1K", _IMAGE_TOKENS["4K"])
            output = size * max(1, intent.image_count)
        else:
            output = self.config.default_output_tokens * max(1, intent.candidate_count)
        return max(0, intent.input_tokens) + output


def _used(exchange: Exchange, plan: _Plan, grant: Grant) -> dict[str, int]:
    """What each counter is settled with. Concurrency is left out: nothing of it remains.

    - Requests count once an endpoint was tried.
    - Final counts are taken as they are.
    - Partial ones are a lower bound of what Google generated and bills: whoever hangs up early must not
      pay less than was reserved, so the larger of both counts until the window forgets it.
    - No counts: nothing if nothing can have been generated, else the reservation stays.
    """
    if not exchange.attempts:
        return {}
    amounts = dict.fromkeys(plan.requests, 1)
    usage = exchange.usage
    if usage is None and _in_vain(exchange):
        return amounts
    final = exchange.usage_state is UsageState.FINAL
    for take in grant.takes:
        unit = plan.rules[take.counter].limit.unit
        if unit in ("tokens", "images"):
            seen = 0 if usage is None else usage.images if unit == "images" else _total_tokens(usage)
            amounts[take.counter] = seen if final else max(seen, take.amount)
    return amounts


def _in_vain(exchange: Exchange) -> bool:
    """Every endpoint failed or said no. What a caller left before its answer may be running all the same.

    The exchange's own status does not tell: it is ours (499, 502) after a head of 200 too.
    """
    return all(
        attempt.status >= 400
        if attempt.status is not None
        else attempt.error not in (None, "caller_gone") or exchange.outcome is Outcome.REFUSED
        for attempt in exchange.attempts
    )


def _refusal(exchange: Exchange, rule: _Rule, denied: Denied) -> Refusal:
    """Our no, in the words of Google's: `QuotaFailure` as SDKs and gemini-cli read it.

    gemini-cli gives the model up for a quotaId with "PerDay" in it, waits a minute for "PerMinute", and
    reads "Please retry in Xs" (Gemini fact 2.4). What can never pass is a 400: clients repeat a 429 up to
    ten times, and none of them a 400.
    """
    exchange.reply_headers.append(_REFUSED_BY)
    limit, amount = rule.limit, denied.take.amount
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {
                    "quotaMetric": f"weir/team_{limit.unit}",
                    "quotaId": f"Team{limit.unit.capitalize()}" + (f"Per{limit.per.capitalize()}" if limit.per else ""),
                    "quotaDimensions": {"team": rule.team},
                    "quotaValue": str(limit.amount),
                }
            ],
        }
    ]
    if amount > limit.amount:
        message = f"Team {rule.team} may use {limit}; this request may need {amount} and can never pass."
        if limit.unit == "tokens":
            message += " Set a smaller maxOutputTokens."
        return exchange.refuse(400, message, reason="TEAM_QUOTA_TOO_SMALL", details=details)
    if limit.unit == "concurrent":
        message = f"Team {rule.team} has {denied.used} requests under way, as many as it may."
    elif denied.used >= limit.amount:
        message = f"Team {rule.team} has used its {limit}."
    else:
        message = f"Team {rule.team} has used {denied.used} of its {limit}, and this request may need {amount}."
    if denied.retry_after is not None:
        message += f" Please retry in {ceil(denied.retry_after * 10) / 10}s."
    return exchange.refuse(429, message, reason="TEAM_QUOTA_EXCEEDED", retry_after=denied.retry_after, details=details)
