"""The onion: order, what is left out of it, and what becomes of an exception."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy import Attempt, AttemptNext, EndpointFailed, Exchange, ExchangeNext, Outcome, Plugin, Refusal, ResponseHead
from proxy.engine.chain import wrap_attempt, wrap_exchange
from proxy.usage import AttemptRecord
from tests.support import answer, make_endpoint, make_exchange, make_services


class Notes(Plugin):
    """Writes down when it is entered and left."""

    def __init__(self, name: str, notes: list[str]) -> None:
        super().__init__(None, make_services(name=name))
        self.name = name
        self.notes = notes

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        self.notes.append(f"{self.name} in")
        try:
            await call_next(exchange)
        finally:
            self.notes.append(f"{self.name} out {exchange.outcome} {exchange.status}")


class Faulty(Plugin):
    def __init__(self, *, after: bool = False) -> None:
        super().__init__(None, make_services(name="faulty"))
        self.after = after

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        if self.after:
            await call_next(exchange)
        raise KeyError("a bug")

    async def around_attempt(self, attempt: Attempt, call_next: AttemptNext) -> ResponseHead:
        raise KeyError("a bug")


class AttemptOnly(Plugin):
    def __init__(self) -> None:
        super().__init__(None, make_services())

    async def around_attempt(self, attempt: Attempt, call_next: AttemptNext) -> ResponseHead:
        return await call_next(attempt)


async def completes(exchange: Exchange) -> None:
    await exchange.relay.open(make_endpoint())
    await exchange.relay.run(exchange)


def an_attempt(exchange: Exchange) -> Attempt:
    return Attempt(exchange, make_endpoint(), AttemptRecord(endpoint="a", region="global", started_ms=0.0))


async def test_first_in_the_list_is_outermost() -> None:
    notes: list[str] = []
    run = wrap_exchange([Notes("one", notes), Notes("two", notes)], completes)
    await run(make_exchange())
    assert notes == ["one in", "two in", "two out completed 200", "one out completed 200"]


async def test_a_hook_that_is_not_overridden_is_not_in_the_onion() -> None:
    notes: list[str] = []
    await wrap_exchange([AttemptOnly(), Notes("one", notes)], completes)(make_exchange())
    assert notes == ["one in", "one out completed 200"]

    async def opens(attempt: Attempt) -> ResponseHead:
        return answer()

    assert wrap_attempt([Notes("one", [])], opens) is opens


async def test_an_unknown_exception_is_a_500_that_outer_plugins_see() -> None:
    notes: list[str] = []
    run = wrap_exchange([Notes("usage", notes), Faulty()], completes)
    exchange = make_exchange()
    with pytest.raises(Refusal) as caught:
        await run(exchange)
    assert caught.value.code == 500
    assert "a bug" not in caught.value.message
    assert exchange.id in caught.value.message
    assert notes[-1] == "usage out refused 500"


async def test_a_fault_after_the_end_does_not_hide_how_it_ended() -> None:
    notes: list[str] = []
    run = wrap_exchange([Notes("usage", notes), Faulty(after=True)], completes)
    exchange = make_exchange()
    await run(exchange)
    assert (exchange.outcome, exchange.status) == (Outcome.COMPLETED, 200)
    assert notes[-1] == "usage out completed 200"


async def test_a_cleanup_that_fails_does_not_swallow_a_refusal() -> None:
    """Whoever is refused still gets an answer, if only a 500."""

    class FailsToRelease(Notes):
        async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
            try:
                await call_next(exchange)
            finally:
                raise KeyError("the store is gone")

    async def refuses(exchange: Exchange) -> None:
        raise exchange.refuse(503, "nobody answers", reason="UPSTREAM_FAILED", outcome=Outcome.UPSTREAM_FAILED)

    exchange = make_exchange()
    with pytest.raises(Refusal) as caught:
        await wrap_exchange([FailsToRelease("quota", [])], refuses)(exchange)
    assert (caught.value.code, exchange.status, exchange.outcome) == (500, 500, Outcome.REFUSED)


async def test_an_attempt_plugin_that_fails_fails_closed() -> None:
    async def opens(attempt: Attempt) -> ResponseHead:
        raise AssertionError("must not be reached")

    exchange = make_exchange()
    with pytest.raises(Refusal) as caught:
        await wrap_attempt([Faulty()], opens)(an_attempt(exchange))
    assert caught.value.code == 500


@pytest.mark.parametrize("error", [EndpointFailed("down", sent=False), Refusal(403, "no", reason="NO")])
async def test_known_exceptions_pass_as_they_are(error: Any) -> None:
    async def opens(attempt: Attempt) -> ResponseHead:
        raise error

    with pytest.raises(type(error)) as caught:
        await wrap_attempt([AttemptOnly()], opens)(an_attempt(make_exchange()))
    assert caught.value is error


class Decides(Plugin):
    """Asked before; waits where it is told to, and fails where it is told to."""

    def __init__(self, name: str, notes: list[str], *, waits: bool = False, fails: bool = False) -> None:
        super().__init__(None, make_services(name=name))
        self.name = name
        self.notes = notes
        self.waits = waits
        self.fails = fails

    def before_exchange(self, exchange: Exchange) -> Awaitable[None] | None:
        return self._decide()

    def before_attempt(self, attempt: Attempt) -> Awaitable[None] | None:
        return self._decide()

    def _decide(self) -> Awaitable[None] | None:
        if self.waits:
            return self._wait()
        self._note()
        return None

    async def _wait(self) -> None:
        await asyncio.sleep(0)
        self._note()

    def _note(self) -> None:
        self.notes.append(f"{self.name} decides")
        if self.fails:
            raise KeyError("a bug")


async def test_who_only_decides_is_asked_at_its_place_in_the_list() -> None:
    notes: list[str] = []
    plugins = [Decides("a", notes), Notes("b", notes), Decides("c", notes, waits=True), Decides("d", notes)]
    await wrap_exchange(plugins, completes)(make_exchange())
    assert notes == ["a decides", "b in", "c decides", "d decides", "b out completed 200"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_decision_that_fails_is_a_500_that_outer_plugins_see(waits: bool) -> None:
    notes: list[str] = []
    run = wrap_exchange([Notes("usage", notes), Decides("odd", notes, waits=waits, fails=True)], completes)
    with capture_logs() as logs, pytest.raises(Refusal):
        await run(make_exchange())
    assert notes == ["usage in", "odd decides", "usage out refused 500"]
    assert [log["layer"] for log in logs] == ["odd"]


@pytest.mark.parametrize("waits", [False, True])
async def test_attempts_are_decided_in_the_same_order(waits: bool) -> None:
    notes: list[str] = []

    async def opens(attempt: Attempt) -> ResponseHead:
        notes.append("opened")
        return answer()

    plugins = [Decides("a", notes, waits=waits), AttemptOnly(), Decides("b", notes, waits=waits)]
    await wrap_attempt(plugins, opens)(an_attempt(make_exchange()))
    assert notes == ["a decides", "b decides", "opened"]
    with capture_logs() as logs, pytest.raises(Refusal, match="internal error"):
        await wrap_attempt([Decides("odd", notes, waits=waits, fails=True)], opens)(an_attempt(make_exchange()))
    assert [log["layer"] for log in logs] == ["odd"]
    assert notes[-1] == "odd decides"
