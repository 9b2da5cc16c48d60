"""Drops the candidates outside the regions of the principal's team and of its parents, and orders the rest.

By priority and, within one, by weight. Residency fails closed: where no endpoint is left, the answer is a 403, never
another region.
"""

from math import inf
from operator import attrgetter
from random import Random
from typing import Final, final

from proxy import Endpoint, Exchange, Refusal, Team, Teams

_by_priority: Final = attrgetter("priority")


@final
class Routing:
    """The order of one exchange's candidates, drawn anew for each."""

    __slots__ = ("_random", "_restricted")

    def __init__(self, teams: Teams, random: Random) -> None:
        self._random = random
        self._restricted = teams.derive(_restricted)

    def route(self, exchange: Exchange) -> None:
        """Raises the Refusal of an exchange that no endpoint may serve."""
        self._keep_to_regions(exchange)
        if len(exchange.candidates) > 1:
            self._order(exchange)

    def _keep_to_regions(self, exchange: Exchange) -> None:
        """Drop what any team of the lineage may not use. Without a principal no residency is known."""
        principal = exchange.principal
        if principal is None:
            return
        restricted = self._restricted.of(principal.team)
        if restricted is None:
            message = f"Team {principal.team} is not configured at this gateway."
            raise exchange.refuse(403, message, reason="TEAM_UNKNOWN")
        for team in restricted:
            keep = [endpoint for endpoint in exchange.candidates if endpoint.region in team.regions]
            if len(keep) < len(exchange.candidates):
                exchange.narrow(keep, f"outside the regions of team {team.name} ({', '.join(team.regions)})")
                if not keep:
                    raise self._nowhere(exchange, principal.team, restricted)

    def _nowhere(self, exchange: Exchange, name: str, restricted: tuple[Team, ...]) -> Refusal:
        allowed = sorted(set.intersection(*(set(team.regions) for team in restricted)))
        return exchange.refuse(
            403,
            f"Team {name} may be served only from {', '.join(allowed)}, and this route has no endpoint there."
            if allowed
            else f"Team {name} and its parents have no region in common, so no endpoint may serve it.",
            reason="NO_ENDPOINT_IN_REGION",
        )

    def _order(self, exchange: Exchange) -> None:
        candidates = exchange.candidates
        # A file, cache or batch exists in one account only: always look for it in the same order.
        tied = len({endpoint.priority for endpoint in candidates}) < len(candidates)
        key = self._drawn if tied and not exchange.operation.account_bound else _by_priority
        exchange.candidates = sorted(candidates, key=key)  # a new list: the old one may be shared

    def _drawn(self, endpoint: Endpoint) -> tuple[int, float]:
        """Efraimidis and Spirakis, 2006: sorting by these keys is drawing by weight without putting back.

        Their u ** (1 / weight), descending, is here an exponential variate, ascending. Weight 0 comes last.
        """
        return endpoint.priority, self._random.expovariate(endpoint.weight) if endpoint.weight > 0 else inf


def _restricted(lineage: tuple[Team, ...]) -> tuple[Team, ...]:
    return tuple(team for team in lineage if team.regions)
