"""The exchange plugin: takes what the team and every parent have room for, lets pass, settles.

It needs a principal and a store. What it does to an exchange is in `quotas`; here are its settings, and what it tells.
"""

from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from plugins.team_quota.plan import rules_of
from plugins.team_quota.quotas import Quotas
from plugins.team_quota.refusal import refusal
from proxy import Denied, Exchange, ExchangeNext, Plugin, Seconds, Services


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
        self._quotas = Quotas(
            services.teams,
            services.store,
            lease_seconds=config.lease,
            default_output_tokens=config.default_output_tokens,
        )

    def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> Coroutine[Any, Any, None]:
        return self._quotas.hold(exchange, call_next)

    async def explain(self, exchange: Exchange) -> list[str]:
        plan = self._quotas.plan(exchange)
        lines = []
        for take in (*plan.calls, *await self._quotas.sizes(exchange, plan)):
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
