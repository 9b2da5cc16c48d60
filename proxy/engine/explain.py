"""Says what would happen to a request, without letting it happen: for `weir explain`.

Runs nothing of the chain; asks each plugin of the route in order. What a plugin sets (a principal) or drops
(candidates) is seen by the next, as in the real run.
"""

import msgspec

from proxy.endpoint import Endpoint
from proxy.engine.forward import admit
from proxy.engine.snapshot import Route, Snapshot
from proxy.exchange import Exchange
from proxy.head import ResponseHead
from proxy.operation import Intent
from proxy.refusal import Refusal


class Step(msgspec.Struct, frozen=True):
    """What one plugin says, by its table's name."""

    plugin: str
    says: list[str]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `weir explain` and of the admin listener's `/explain`."""

    method: str
    path: str
    operation: str
    model: str | None
    route: str | None = None
    upstream: str | None = None
    team: str | None = None
    subject: str | None = None
    steps: list[Step] = []
    candidates: list[str] = []  # "name (region) url", in the order they would be tried
    excluded: list[str] = []  # "name: reason"
    refusal: str | None = None  # "CODE REASON: message"


class NoRelay:
    """The relay of an exchange that is only talked about."""

    replayable = False
    request_bytes = 0
    answered = False

    async def read_intent(self) -> Intent:
        return Intent()

    async def open(self, endpoint: Endpoint, last: bool = False) -> ResponseHead:
        raise RuntimeError("an explanation opens nothing")

    async def run(self, exchange: Exchange) -> None:
        raise RuntimeError("an explanation relays nothing")

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        raise RuntimeError("an explanation answers nobody")


async def explain(snapshot: Snapshot, exchange: Exchange) -> Explanation:
    """Ask the plugins of the exchange's route. Takes no quota and counts nothing."""
    route: Route | None = None
    steps: list[Step] = []
    refusal: Refusal | None = None
    try:
        route = snapshot.assign_route(exchange)
        for name, plugin in zip(route.settings.plugins, route.plugins, strict=True):
            if says := await plugin.explain(exchange):
                steps.append(Step(name, says))
        admit(exchange)
    except Refusal as raised:
        refusal = raised
    return Explanation(
        method=exchange.request.method,
        path=exchange.request.path,
        operation=exchange.operation.name,
        model=exchange.model,
        route=exchange.route,
        upstream=route.settings.upstream if route else None,
        team=exchange.principal.team if exchange.principal else None,
        subject=exchange.principal.subject if exchange.principal else None,
        steps=steps,
        candidates=[f"{endpoint.name} ({endpoint.region}) {endpoint.url}" for endpoint in exchange.candidates],
        excluded=[f"{exclusion.endpoint.name}: {exclusion.reason}" for exclusion in exchange.exclusions],
        refusal=f"{refusal.code} {refusal.reason}: {refusal.message}" if refusal else None,
    )
