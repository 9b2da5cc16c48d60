"""The exchange plugin: what it needs, and what it tells."""

from random import Random

from plugins.regional_routing.routing import Routing
from proxy import Exchange, NoConfig, Plugin, Services


class RegionalRouting(Plugin):
    """Residency, then priority, then weight."""

    needs = frozenset({"principal"})
    provides = frozenset({"residency"})

    def __init__(self, config: NoConfig, services: Services, *, random: Random | None = None) -> None:
        super().__init__(config, services)
        self._routing = Routing(services.teams, random or Random())  # noqa: S311 - spreads load, keeps no secret

    def before_exchange(self, exchange: Exchange) -> None:
        self._routing.route(exchange)

    async def explain(self, exchange: Exchange) -> list[str]:
        self._routing.route(exchange)
        within = "in the file's order" if exchange.operation.account_bound else "drawn by weight"
        return [
            f"try {place}: {endpoint.name} (region {endpoint.region}, priority {endpoint.priority}, {within}"
            + (")" if exchange.operation.account_bound else f" {endpoint.weight})")
            for place, endpoint in enumerate(exchange.candidates, 1)
        ]
