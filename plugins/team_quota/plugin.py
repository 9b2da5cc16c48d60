"""The exchange plugin: takes what the team and every parent have room for, lets pass, settles.

It needs a principal and a store. Reserving first keeps an overspend to what the estimates of calls in flight were
short of; checking first and counting afterwards lets all of them pass. It refuses to cut an answer under way, to
guess a model's name, or to count what no limit is set for.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import msgspec

from plugins.team_quota.plan import Plan, plan_of, rules_of
from plugins.team_quota.refusal import REFUSED_BY, refusal
from plugins.team_quota.reservation import depends_on_body, sized_takes
from plugins.team_quota.settlement import amounts_used, calls_used
from proxy import Denied, Exchange, ExchangeNext, Plugin, Seconds, Services, Take


class TeamQuota(Plugin):
    """Reserves requests, tokens, images and concurrency along the principal's lineage."""

    class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        default_output_tokens: int = 4096  # reserved when a request does not bound its output
        # Gives concurrency back after a crash, with a store that outlives us. Longer than the longest
        # exchange: a Flex call may take 30 minutes (Gemini fact 6.3).
        lease: Seconds = Seconds(3600)

    config: Config
    needs = frozenset({"principal"})
    provides = frozenset({"limits"})

    def __init__(self, config: Config, services: Services) -> None:
        super().__init__(config, services)
        if config.default_output_tokens < 0:
            raise ValueError(f"default_output_tokens: expected 0 or more, found {config.default_output_tokens}")
        if config.lease <= 0:
            raise ValueError("lease: expected a duration longer than 0s")
        self._plan_of = services.teams.derive(plan_of)

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        plan = self._plan(exchange)
        if not plan.calls:
            await self._sized(exchange, plan, call_next)
            return
        # One call first: whoever may make none now must not have us read a body for it.
        store = self.services.store
        grant = await store.take(plan.calls, lease_seconds=self.config.lease)
        if isinstance(grant, Denied):
            raise refusal(exchange, plan.rules[grant.take.counter], grant)
        try:
            await self._sized(exchange, plan, call_next)
        finally:
            await store.settle(grant, calls_used(exchange, plan))

    async def explain(self, exchange: Exchange) -> list[str]:
        plan = self._plan(exchange)
        lines = []
        for take in (*plan.calls, *await self._sizes(exchange, plan)):
            rule = plan.rules[take.counter]
            used = await self.services.store.used(take)
            if used + take.amount > take.ceiling:
                raise refusal(exchange, rule, Denied(take, used, None))
            left = max(0, rule.limit.amount - used)
            lines.append(f"team {rule.team}: {rule.limit}, {left} left, this would reserve {take.amount}")
        return lines

    async def status(self) -> Mapping[str, Any]:
        status: dict[str, list[dict[str, Any]]] = {}
        for team in self.services.teams.values():
            for rule in rules_of(team):
                used = await self.services.store.used(rule.take(0))
                left = max(0, rule.limit.amount - used)
                status.setdefault(team.name, []).append({"limit": str(rule.limit), "used": used, "left": left})
        return status

    def _plan(self, exchange: Exchange) -> Plan:
        team = exchange.principal.team if exchange.principal is not None else ""
        plan = self._plan_of(team)
        if plan is None:
            exchange.reply_headers.append(REFUSED_BY)
            raise exchange.refuse(403, f"Team {team} is not configured at this gateway.", reason="TEAM_UNKNOWN")
        return plan

    def _sized(self, exchange: Exchange, plan: Plan, call_next: ExchangeNext) -> Awaitable[None]:
        """The rest of the exchange, within the limits that depend on its size where there are any."""
        return self._within(exchange, plan, call_next) if plan.tokens or plan.images else call_next(exchange)

    async def _within(self, exchange: Exchange, plan: Plan, call_next: ExchangeNext) -> None:
        takes = await self._sizes(exchange, plan)
        if not takes:
            await call_next(exchange)
            return
        store = self.services.store
        grant = await store.take(takes, lease_seconds=self.config.lease)
        if isinstance(grant, Denied):
            raise refusal(exchange, plan.rules[grant.take.counter], grant)
        try:
            await call_next(exchange)
        finally:
            await store.settle(grant, amounts_used(exchange, plan, takes))

    async def _sizes(self, exchange: Exchange, plan: Plan) -> Sequence[Take]:
        """What to take of tokens and images. Reads the body only for a limit that depends on it."""
        intent = await exchange.intent() if depends_on_body(exchange.operation, plan) else None
        return sized_takes(exchange, plan, intent, self.config.default_output_tokens)
