"""Regional routing: residency that fails closed, then priority, then weight."""

from collections import Counter
from random import Random

import pytest

from plugins.regional_routing import RegionalRouting
from proxy import Endpoint, Exchange, NoConfig, Operation, Refusal, Team
from proxy.engine.chain import wrap_exchange
from tests.support import make_endpoint, make_exchange, make_services

FILE = Operation("files.get", api="gemini", account_bound=True)
EU, US, GLOBAL = (make_endpoint(region, region=region) for region in ("eu", "us", "global"))


def make_routing(*teams: Team, seed: int = 1) -> RegionalRouting:
    services = make_services(teams={team.name: team for team in teams})
    return RegionalRouting(NoConfig(), services, random=Random(seed))


async def route(routing: RegionalRouting, exchange: Exchange) -> list[str]:
    """The candidates' names as the next layer sees them."""
    seen: list[Endpoint] = []

    async def look(exchange: Exchange) -> None:
        seen.extend(exchange.candidates)

    await wrap_exchange([routing], look)(exchange)
    return [endpoint.name for endpoint in seen]


async def test_a_team_keeps_to_its_regions_and_the_rest_says_why_it_is_out() -> None:
    exchange = make_exchange(candidates=[US, EU, GLOBAL], team="studio")
    assert await route(make_routing(Team("studio", regions=("eu",))), exchange) == ["eu"]
    assert [(out.endpoint.name, out.reason) for out in exchange.exclusions] == [
        ("us", "outside the regions of team studio (eu)"),
        ("global", "outside the regions of team studio (eu)"),
    ]


async def test_a_parents_regions_bind_its_children() -> None:
    routing = make_routing(Team("acme", regions=("eu", "us")), Team("studio", parent="acme", regions=("us", "global")))
    assert await route(routing, make_exchange(candidates=[EU, US, GLOBAL], team="studio")) == ["us"]


async def test_no_endpoint_in_region_is_refused_and_never_served_elsewhere() -> None:
    exchange = make_exchange(candidates=[US, GLOBAL], team="studio")
    with pytest.raises(Refusal) as caught:
        await route(make_routing(Team("studio", regions=("eu", "ch"))), exchange)
    assert (caught.value.code, caught.value.reason) == (403, "NO_ENDPOINT_IN_REGION")
    assert caught.value.message == "Team studio may be served only from ch, eu, and this route has no endpoint there."
    assert exchange.candidates == []


async def test_regions_without_overlap_are_refused() -> None:
    routing = make_routing(Team("acme", regions=("eu",)), Team("studio", parent="acme", regions=("us",)))
    with pytest.raises(Refusal, match="no region in common"):
        await route(routing, make_exchange(candidates=[EU, US], team="studio"))


async def test_a_team_that_is_gone_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        await route(make_routing(), make_exchange(candidates=[EU], team="studio"))
    assert (caught.value.code, caught.value.reason) == (403, "TEAM_UNKNOWN")


async def test_without_a_principal_there_is_only_an_order() -> None:
    candidates = [make_endpoint("b", priority=1), make_endpoint("a", priority=0)]
    assert await route(make_routing(), make_exchange(candidates=candidates)) == ["a", "b"]


async def test_within_one_priority_the_first_is_drawn_by_weight() -> None:
    routing = make_routing()
    candidates = [make_endpoint("a", weight=3), make_endpoint("b", weight=1), make_endpoint("z", priority=1, weight=99)]
    orders = Counter([tuple(await route(routing, make_exchange(candidates=candidates))) for _ in range(4000)])
    assert set(orders) == {("a", "b", "z"), ("b", "a", "z")}
    assert orders["a", "b", "z"] / 4000 == pytest.approx(0.75, abs=0.03)


async def test_weight_zero_is_the_last_resort_of_its_priority() -> None:
    routing = make_routing()
    candidates = [make_endpoint("spare", weight=0), make_endpoint("a"), make_endpoint("later", priority=1)]
    orders = {tuple(await route(routing, make_exchange(candidates=candidates))) for _ in range(50)}
    assert orders == {("a", "spare", "later")}


async def test_what_one_account_owns_is_looked_for_in_the_same_order_each_time() -> None:
    routing = make_routing()
    candidates = [make_endpoint("c", priority=1), make_endpoint("a", weight=1), make_endpoint("b", weight=50)]
    orders = {tuple(await route(routing, make_exchange(candidates=candidates, operation=FILE))) for _ in range(50)}
    assert orders == {("a", "b", "c")}


async def test_the_routes_own_list_is_left_as_it_was() -> None:
    shared = [make_endpoint("b", priority=1), make_endpoint("a")]
    await route(make_routing(), make_exchange(candidates=shared))
    assert [endpoint.name for endpoint in shared] == ["b", "a"]


async def test_explain_gives_the_order_and_the_reasons() -> None:
    routing = make_routing(Team("studio", regions=("eu",)))
    exchange = make_exchange(candidates=[US, make_endpoint("x", region="eu", weight=2), EU], team="studio")
    exchange.candidates[2] = make_endpoint("y", region="eu", priority=3)
    assert await routing.explain(exchange) == [
        "try 1: x (region eu, priority 0, drawn by weight 2)",
        "try 2: y (region eu, priority 3, drawn by weight 1)",
    ]
    assert [out.endpoint.name for out in exchange.exclusions] == ["us"]
    bound = make_exchange(candidates=[EU], operation=FILE, team="studio")
    assert await routing.explain(bound) == ["try 1: eu (region eu, priority 0, in the file's order)"]
