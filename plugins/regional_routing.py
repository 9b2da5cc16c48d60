"""Which endpoints may serve an exchange, and in which order they are tried.

An exchange plugin: it drops the candidates outside the regions of the principal's team and of its parents,
then orders the rest by priority and, within one, by weight. Residency fails closed: where no endpoint is
left, the answer is a 403, never another region. It asks no endpoint anything and knows nothing of health.
"""

from math import inf
from random import Random

from proxy import Endpoint, Exchange, ExchangeNext, NoConfig, Plugin, Refusal, Services


class RegionalRouting(Plugin):
    """Residency, then priority, then weight."""

    needs = frozenset({"principal"})
    provides = frozenset({"residency"})

    def __init__(self, config: NoConfig, services: Services, *, random: Random | None = None) -> None:
        super().__init__(config, services)
        self._random = random or Random()  # noqa: S311 - spreads load, keeps no secret

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        self._keep_to_regions(exchange)
        self._order(exchange)
        await call_next(exchange)

    async def explain(self, exchange: Exchange) -> list[str]:
        self._keep_to_regions(exchange)
        self._order(exchange)
        within = "in the file's order" if exchange.operation.account_bound else "drawn by weight"
        return [
            f"try {place}: {endpoint.name} (region {endpoint.region}, priority {endpoint.priority}, {within}"
            + (")" if exchange.operation.account_bound else f" {endpoint.weight})")
            for place, endpoint in enumerate(exchange.candidates, 1)
        ]

    def _keep_to_regions(self, exchange: Exchange) -> None:
        """Drop what any team of the lineage may not use. Without a principal no residency is known."""
        principal = exchange.principal
        if principal is None:
            return
        lineage = self.services.teams.lineage(principal.team)
        if not lineage:
            message = f"Team {principal.team} is not configured at this gateway."
            raise exchange.refuse(403, message, reason="TEAM_UNKNOWN")
        for team in lineage:
            if team.regions:
                keep = [endpoint for endpoint in exchange.candidates if endpoint.region in team.regions]
                if len(keep) < len(exchange.candidates):
                    exchange.narrow(keep, f"outside the regions of team {team.name} ({', '.join(team.regions)})")
                    if not keep:
                        raise self._nowhere(exchange, principal.team)

    def _nowhere(self, exchange: Exchange, name: str) -> Refusal:
        restrictions = [set(team.regions) for team in self.services.teams.lineage(name) if team.regions]
        allowed = sorted(set.intersection(*restrictions))
        return exchange.refuse(
            403,
            f"Team {name} may be served only from {', '.join(allowed)}, and this route has no endpoint there."
            if allowed
            else f"Team {name} and its parents have no region in common, so no endpoint may serve it.",
            reason="NO_ENDPOINT_IN_REGION",
        )

    def _order(self, exchange: Exchange) -> None:
        if len(exchange.candidates) < 2:
            return
        # A file, cache or batch exists in one account only: always look for it in the same order.
        key = _by_priority if exchange.operation.account_bound else self._drawn
        exchange.candidates = sorted(exchange.candidates, key=key)  # a new list: the old one may be shared

    def _drawn(self, endpoint: Endpoint) -> tuple[int, float]:
        """Efraimidis and Spirakis, 2006: sorting by these keys is drawing by weight without putting back.

        Their u ** (1 / weight), descending, is here an exponential variate, ascending. Weight 0 comes last.
        """
        return endpoint.priority, self._random.expovariate(endpoint.weight) if endpoint.weight > 0 else inf


def _by_priority(endpoint: Endpoint) -> tuple[int, float]:
    return endpoint.priority, 0.0
