"""Makers of the facts a test needs, with everything it does not care about filled in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from proxy import (
    Endpoint,
    Exchange,
    Fetch,
    Headers,
    Operation,
    Prices,
    Principal,
    RequestHead,
    Services,
    Store,
    Team,
    Teams,
)
from proxy.gemini.prices import PriceBook
from tests.support.clock import ManualClock
from tests.support.relay import ScriptedRelay

GENERATE = Operation("generateContent", api="gemini", model="gemini-2.5-flash", generates=True)


def make_endpoint(name: str = "a", **fields: Any) -> Endpoint:
    return Endpoint(**{"name": name, "url": f"https://{name}.example", "region": "global"} | fields)


def make_exchange(
    relay: ScriptedRelay | None = None,
    *,
    method: str = "POST",
    target: str = "/v1beta/models/gemini-2.5-flash:generateContent",
    headers: Mapping[str, str] | None = None,
    operation: Operation = GENERATE,
    candidates: list[Endpoint] | None = None,
    team: str | None = None,
    clock: ManualClock | None = None,
) -> Exchange:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    clock = clock or ManualClock()
    exchange = Exchange(
        "x-1",
        RequestHead(method, target, Headers(raw), "127.0.0.1"),
        operation,
        relay or ScriptedRelay(),
        received_at=clock.time(),
        started=clock.monotonic(),
    )
    exchange.candidates = [make_endpoint()] if candidates is None else candidates
    if team is not None:
        exchange.principal = Principal(subject="ada", team=team)
    return exchange


async def no_fetch(url: str, **_: Any) -> Any:
    raise AssertionError(f"this test should not fetch {url}")


def make_services(
    *,
    name: str = "plugin",
    clock: ManualClock | None = None,
    store: Store | None = None,
    teams: Mapping[str, Team] | None = None,
    prices: Prices | None = None,
    fetch: Fetch = no_fetch,
    state: Path = Path("/nonexistent"),
) -> Services:
    return Services(
        name=name,
        clock=clock or ManualClock(),
        store=store,  # type: ignore[arg-type]
        teams=Teams(teams),
        prices=prices or PriceBook(),
        fetch=fetch,
        log=structlog.get_logger(),
        state=state,
    )
