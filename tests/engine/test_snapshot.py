"""One compiled configuration: which instances it holds, which route takes what, and when it has ended."""

import asyncio
from pathlib import Path

import msgspec
import pytest
import structlog

from proxy import Continuation, Endpoint, Exchange, ExchangeNext, Outcome, Plugin, Refusal, ResponseHead, Services
from proxy.config.schema import PluginSettings, RouteTable, Server, Settings
from proxy.engine.generations import Generations
from proxy.engine.snapshot import Snapshot, build_plugins
from proxy.metrics import Metrics
from proxy.runner import Runner
from tests.support import ManualClock, ScriptedRelay, make_endpoint, make_exchange, make_services

FIRST, SECOND = make_endpoint("first", priority=1), make_endpoint("second", priority=0)


class Marks(Plugin):
    """Says on the exchange that it ran."""

    class Config(msgspec.Struct, frozen=True):
        mark: str = "-"

    def __init__(self, config: Config, services: Services) -> None:
        super().__init__(config, services)
        if config.mark == "bad":
            raise ValueError("mark: no such mark")

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        exchange.labels[self.services.name] = self.config.mark
        await call_next(exchange)


class Swallows(Plugin):
    """Breaks the law of plugins: it neither calls on nor refuses."""

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        return


def settings(*routes: RouteTable, **plugins: Plugin | object) -> Settings:
    bound = {
        name: PluginSettings(name, Swallows if config is None else Marks, config) for name, config in plugins.items()
    }
    return Settings(
        Path("routes.toml"),
        Server(),
        {"u": (FIRST, SECOND), "v": (make_endpoint("third"),)},
        {},
        bound,
        routes or (RouteTable(name="all", match="/**", upstream="u", plugins=list(plugins)),),
    )


def build(wanted: Settings, previous: Snapshot | None = None) -> Snapshot:
    plugins = build_plugins(wanted, lambda name: make_services(name=name), previous)
    return Snapshot(wanted, plugins, ManualClock())


async def run(snapshot: Snapshot, target: str = "/x", relay: ScriptedRelay | None = None) -> Exchange:
    exchange = make_exchange(relay, target=target, candidates=[])
    await run_exchange(snapshot, exchange)
    return exchange


async def run_exchange(snapshot: Snapshot, exchange: Exchange) -> None:
    """As the process does it; a refusal that the caller was answered with is raised."""
    generations = Generations(snapshot, structlog.get_logger())
    await Runner(generations, Metrics(lambda: 0), ManualClock()).run(exchange)
    relay = exchange.relay
    assert isinstance(relay, ScriptedRelay)
    if relay.refusal is not None:
        raise relay.refusal


# --- routes -------------------------------------------------------------------------------------------------


async def test_the_first_route_that_matches_takes_it() -> None:
    snapshot = build(
        settings(
            RouteTable(name="files", match="/v1beta/files/**", upstream="v", on_disconnect="cancel"),
            RouteTable(name="rest", match="/**", upstream="u", plugins=["a"]),
            RouteTable(name="never", match="/v1beta/**", upstream="v"),
            a=Marks.Config("of-a"),
        )
    )
    files, rest = await run(snapshot, "/v1beta/files/1?key=/v1"), await run(snapshot, "/v1beta/models")
    assert (files.route, files.on_disconnect, files.labels) == ("files", "cancel", {})
    assert (rest.route, rest.on_disconnect, rest.labels) == ("rest", "drain", {"a": "of-a"})
    assert files.endpoint == make_endpoint("third")


async def test_a_path_of_no_route_is_a_404() -> None:
    snapshot = build(settings(RouteTable(name="v1", match="/v1/**", upstream="u")))
    with pytest.raises(Refusal, match="No route") as refused:
        await run(snapshot, "/v2")
    assert (refused.value.code, refused.value.reason) == (404, "NO_ROUTE")


async def test_a_route_is_found_for_each_path_however_often_and_however_many_there_are() -> None:
    snapshot = build(
        settings(
            RouteTable(name="files", match="/v1beta/files/*", upstream="v"),
            RouteTable(name="rest", match="/v1beta/**", upstream="u"),
        )
    )
    for _ in range(2):
        for number in range(1000):
            assert (await run(snapshot, f"/v1beta/files/{number}?a={number}")).route == "files"
            assert (await run(snapshot, f"/v1beta/files/{number}/x")).route == "rest"
        for target, reason in (("/v1beta/../files/1", "AMBIGUOUS_PATH"), ("/v1/files/1", "NO_ROUTE")):
            with pytest.raises(Refusal) as refused:
                await run(snapshot, target)
            assert refused.value.reason == reason


async def test_candidates_come_by_priority_and_are_each_exchange_s_own() -> None:
    snapshot = build(settings())
    relay = ScriptedRelay()
    one = await run(snapshot, relay=relay)
    assert relay.opened == ["second"]
    one.candidates.clear()
    assert (await run(snapshot)).candidates == [SECOND, FIRST]


async def test_an_upload_goes_on_at_the_endpoint_it_began_at() -> None:
    relay = ScriptedRelay()
    exchange = make_exchange(relay, target="/x", candidates=[])
    exchange.continuation = Continuation("first", None, 0.0)
    await run_exchange(build(settings()), exchange)
    assert relay.opened == ["first"]
    assert [exclusion.endpoint for exclusion in exchange.exclusions] == [SECOND]


async def test_an_upload_whose_endpoint_is_gone_is_refused_within_the_chain() -> None:
    exchange = make_exchange(target="/x", candidates=[])
    exchange.continuation = Continuation("third", None, 0.0)
    with pytest.raises(Refusal, match="Start the upload again") as refused:
        await run_exchange(build(settings(a=Marks.Config("ran"))), exchange)
    assert (refused.value.code, exchange.reason) == (404, "UPLOAD_ENDPOINT_GONE")
    assert exchange.labels == {"a": "ran"}, "the plugins, and with them the usage log, have seen it"


async def test_a_plugin_that_ends_nothing_is_a_500() -> None:
    with pytest.raises(Refusal) as refused:
        await run(build(settings(bad=None)))
    assert (refused.value.code, refused.value.message) == (500, "A plugin ended the exchange without an answer.")


# --- instances ----------------------------------------------------------------------------------------------


async def test_plugins_are_made_once_however_many_routes_name_them() -> None:
    routes = [RouteTable(name=name, match="/**", upstream="u", plugins=["a"]) for name in "xy"]
    snapshot = build(settings(*routes, a=Marks.Config(), unused=Marks.Config()))
    assert set(snapshot.plugins) == {"a"}
    assert [route.plugins for route in snapshot.routes] == [(snapshot.plugins["a"],)] * 2


async def test_an_equal_table_keeps_the_instance() -> None:
    old = build(settings(a=Marks.Config("1"), b=Marks.Config("1"), c=Marks.Config("1")))
    new = build(settings(a=Marks.Config("1"), b=Marks.Config("2"), c=None), old)
    assert new.plugins["a"] is old.plugins["a"]
    assert new.plugins["b"] is not old.plugins["b"]
    assert type(new.plugins["c"]) is Swallows, "another class under the same name is another plugin"
    assert build(settings(a=Marks.Config("1"))).plugins["a"] is not old.plugins["a"]


def test_a_plugin_that_cannot_work_is_named_by_its_table() -> None:
    with pytest.raises(ValueError, match=r"^plugins\.a: mark: no such mark$"):
        build_plugins(settings(a=Marks.Config("bad")), lambda name: make_services(name=name), None)


# --- its end ------------------------------------------------------------------------------------------------


class HeldRelay(ScriptedRelay):
    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def open(self, endpoint: Endpoint, last: bool = False) -> ResponseHead:
        await self.go_on.wait()
        return await super().open(endpoint, last)


async def test_it_has_ended_when_no_exchange_runs_on_it() -> None:
    snapshot = build(settings())
    async with asyncio.timeout(60):
        await snapshot.ended()
        relays = [HeldRelay(), HeldRelay()]
        runs = [asyncio.create_task(run(snapshot, relay=relay)) for relay in relays]
        await asyncio.sleep(0)
        ended = asyncio.create_task(snapshot.ended())
        for relay, running in zip(relays, runs, strict=True):
            assert not ended.done()
            relay.go_on.set()
            assert (await running).outcome is Outcome.COMPLETED
        await ended


async def test_its_end_can_be_waited_for_again() -> None:
    snapshot = build(settings())
    async with asyncio.timeout(60):
        for _ in range(2):
            relay = HeldRelay()
            running = asyncio.create_task(run(snapshot, relay=relay))
            await asyncio.sleep(0)
            waiting = [asyncio.create_task(snapshot.ended()) for _ in range(2)]
            await asyncio.sleep(0)
            assert not any(waiter.done() for waiter in waiting)
            relay.go_on.set()
            await running
            await asyncio.gather(*waiting)


async def test_a_refusal_and_a_cancellation_end_an_exchange_too() -> None:
    snapshot = build(settings(bad=None))
    async with asyncio.timeout(60):
        with pytest.raises(Refusal):
            await run(snapshot)
        await snapshot.ended()
        snapshot = build(settings())
        held = asyncio.create_task(run(snapshot, relay=HeldRelay()))
        await asyncio.sleep(0)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        await snapshot.ended()
