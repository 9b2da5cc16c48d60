"""What would happen to a request: each plugin is asked in order, sees what those before it said, and runs nothing."""

from pathlib import Path

from proxy import Exchange, ExchangeNext, NoConfig, Plugin, Principal
from proxy.config.schema import PluginSettings, RouteTable, Server, Settings
from proxy.engine.explain import Explanation, NoRelay, Step, explain
from proxy.engine.snapshot import Snapshot, build_plugins
from tests.support import ManualClock, make_endpoint, make_exchange, make_services


class Asked(Plugin):
    """Fails if it is run."""

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        raise AssertionError("an explanation runs no plugin")


class Knows(Asked):
    async def explain(self, exchange: Exchange) -> list[str]:
        exchange.principal = Principal("ada", "studio")
        return ["it is ada"]


class Silent(Asked):
    pass


class Narrows(Asked):
    async def explain(self, exchange: Exchange) -> list[str]:
        assert exchange.principal is not None
        exchange.narrow(
            [one for one in exchange.candidates if one.region == "eu"], f"{exchange.principal.team} is in eu"
        )
        return ["only eu", "by residency"]


class Refuses(Asked):
    async def explain(self, exchange: Exchange) -> list[str]:
        raise exchange.refuse(429, "No more today.", reason="ENOUGH")


ENDPOINTS = (make_endpoint("us", region="us"), make_endpoint("eu", region="eu"), make_endpoint("eu-2", region="eu"))


async def explained(*plugins: type[Plugin], target: str = "/v1/x?key=planted") -> tuple[Explanation, Exchange]:
    names = [plugin.__name__.lower() for plugin in plugins]
    settings = Settings(
        Path("routes.toml"),
        Server(),
        {"u": ENDPOINTS},
        {},
        {name: PluginSettings(name, plugin, NoConfig()) for name, plugin in zip(names, plugins, strict=True)},
        (RouteTable(name="v1", match="/v1/**", upstream="u", plugins=names),),
    )
    made = build_plugins(settings, lambda name: make_services(name=name), None)
    exchange = make_exchange(target=target, candidates=[])
    exchange.relay = NoRelay()
    return await explain(Snapshot(settings, made, ManualClock()), exchange), exchange


async def test_each_plugin_sees_what_the_one_before_it_found() -> None:
    explanation, exchange = await explained(Knows, Silent, Narrows)
    assert explanation == Explanation(
        method="POST",
        path="/v1/x",
        operation="generateContent",
        model="gemini-2.5-flash",
        route="v1",
        upstream="u",
        team="studio",
        subject="ada",
        steps=[Step("knows", ["it is ada"]), Step("narrows", ["only eu", "by residency"])],
        candidates=["eu (eu) https://eu.example", "eu-2 (eu) https://eu-2.example"],
        excluded=["us: studio is in eu"],
    )
    assert exchange.attempts == []


async def test_a_refusal_ends_it_with_what_was_said_before() -> None:
    explanation, _ = await explained(Knows, Refuses, Narrows)
    assert [step.plugin for step in explanation.steps] == ["knows"]
    assert explanation.refusal == "429 ENOUGH: No more today."
    assert explanation.team == "studio"


async def test_a_path_of_no_route() -> None:
    explanation, _ = await explained(Knows, target="/v2/x")
    assert (explanation.route, explanation.upstream, explanation.steps) == (None, None, [])
    assert explanation.refusal == "404 NO_ROUTE: No route of this gateway takes this path."
    assert explanation.candidates == []


async def test_no_secret_of_the_query_is_repeated() -> None:
    explanation, _ = await explained(Knows, Narrows)
    assert "planted" not in repr(explanation)


async def test_what_the_core_would_refuse_is_told_too() -> None:
    """Every candidate out, as when all circuits are open: the real run answers 503."""

    class DropsAll(Plugin):
        async def explain(self, exchange: Exchange) -> list[str]:
            exchange.narrow([], "circuit open")
            return ["all circuits are open"]

    explanation, _ = await explained(Knows, DropsAll)
    assert explanation.refusal == "503 NO_ENDPOINT: No endpoint is left to take this request."
    assert len(explanation.excluded) == 3
