"""Pacing: waiting for an endpoint's pace, over a loop whose time jumps to the next timer instead of passing."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest

from plugins.pacing import Pace, Pacing
from proxy import Attempt, AttemptRecord, EndpointFailed, ResponseHead, Seconds
from proxy.engine.chain import wrap_attempt
from tests.support import answer, make_endpoint, make_exchange, make_services


class JumpingLoop(asyncio.SelectorEventLoop):
    """Where a loop would sleep until its next timer, this one sets its clock to it.

    And a microsecond on at each turn: aiolimiter wakes by a rounding error too early at times, arms its timer
    anew for the same instant, and would spin for ever if time stood still.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_NoWait(self))

    def time(self) -> float:
        return self.now


class _NoWait(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "the test waits for something that never comes"
        self._loop.now += timeout + 1e-6
        return super().select(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(test)


def make_pacing(max_wait: float = 2.0, **paces: Pace) -> Pacing:
    return Pacing(Pacing.Config(max_wait=Seconds(max_wait), endpoints=paces), make_services())


def make_attempt(name: str = "a") -> Attempt:
    record = AttemptRecord(endpoint=name, region="global", started_ms=0.0)
    return Attempt(make_exchange(), make_endpoint(name), record)


async def ok(attempt: Attempt) -> ResponseHead:
    return answer()


async def time_of(pacing: Pacing, name: str = "a") -> float:
    """When the attempt was let through, in seconds since the loop began."""
    await wrap_attempt([pacing], ok)(make_attempt(name))
    return round(asyncio.get_running_loop().time() - 1000.0, 3)


def test_a_burst_passes_at_once_and_the_rest_one_by_one() -> None:
    async def test() -> None:
        pacing = make_pacing(60.0, a=Pace(requests=8, per="second", burst=3))
        interval = 1 / 6
        times = await asyncio.gather(*(time_of(pacing) for _ in range(6)))
        assert times == pytest.approx([0, 0, 0, interval, 2 * interval, 3 * interval], abs=2e-3)

    run(test())


@pytest.mark.parametrize("pace", [Pace(60), Pace(60, burst=60), Pace(60, burst=1), Pace(10), Pace(1), Pace(3, burst=2)])
def test_no_window_ever_sees_more_than_its_requests(pace: Pace) -> None:
    async def test() -> None:
        pacing = make_pacing(1e6, a=pace)
        times = await asyncio.gather(*(time_of(pacing) for _ in range(3 * pace.requests + 2)))
        for begin in times:
            assert sum(begin <= time < begin + 59.99 for time in times) <= pace.requests

    run(test())


def test_who_would_wait_longer_than_max_wait_goes_on_to_the_next_endpoint() -> None:
    async def test() -> None:
        pacing = make_pacing(2.0, a=Pace(requests=1))
        await time_of(pacing)
        with pytest.raises(EndpointFailed) as caught:
            await time_of(pacing)
        assert (caught.value.reason, caught.value.sent, caught.value.retry_after) == ("paced", False, 60.0)
        assert asyncio.get_running_loop().time() == pytest.approx(1002.0, abs=1e-3)

    run(test())


def test_who_could_only_wait_in_vain_does_not_wait() -> None:
    async def test() -> None:
        pacing = make_pacing(2.0, a=Pace(requests=60, burst=1))
        await time_of(pacing)
        results = await asyncio.gather(*(time_of(pacing) for _ in range(5)), return_exceptions=True)
        # One a second: two can be served within two seconds, the third has two ahead of it.
        assert results[0] == pytest.approx(1.0, abs=2e-3)
        assert [type(result) for result in results[2:]] == [EndpointFailed] * 3
        refused = results[4]
        assert isinstance(refused, EndpointFailed)
        assert refused.retry_after == 3.0

    run(test())


def test_without_patience_a_full_pace_fails_at_once() -> None:
    async def test() -> None:
        pacing = make_pacing(0.0, a=Pace(requests=2, burst=2))
        await time_of(pacing)
        await time_of(pacing)
        with pytest.raises(EndpointFailed, match="paced"):
            await time_of(pacing)
        assert asyncio.get_running_loop().time() < 1000.001

    run(test())


def test_a_waiter_that_gave_up_takes_no_capacity_and_holds_no_place() -> None:
    async def test() -> None:
        pacing = make_pacing(50.0, a=Pace(requests=60, burst=1))
        await time_of(pacing)
        impatient = asyncio.create_task(time_of(pacing))
        await asyncio.sleep(0.5)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert pacing.endpoint_status(make_endpoint("a"))["pace"]["waiting"] == 0
        assert await time_of(pacing) == pytest.approx(1.0, abs=2e-3)

    run(test())


def test_each_endpoint_has_its_own_pace_and_one_without_is_not_paced() -> None:
    async def test() -> None:
        pacing = make_pacing(0.0, a=Pace(requests=1), b=Pace(requests=1))
        assert [await time_of(pacing, name) for name in ("a", "b", "c", "c", "c")] == [0.0] * 5

    run(test())


def test_what_fails_inside_passes_out_unchanged() -> None:
    async def fail(attempt: Attempt) -> ResponseHead:
        raise EndpointFailed("connect_failed", sent=False)

    async def test() -> None:
        with pytest.raises(EndpointFailed, match="connect_failed"):
            await wrap_attempt([make_pacing(a=Pace(requests=1))], fail)(make_attempt())

    run(test())


def test_explain_and_status_show_the_pace() -> None:
    async def test() -> None:
        pacing = make_pacing(2.0, a=Pace(requests=1))
        exchange = make_exchange(candidates=[make_endpoint("a"), make_endpoint("c")])
        assert await pacing.explain(exchange) == ["endpoint a: 1 requests per minute, has room now"]
        await time_of(pacing)
        assert await pacing.explain(exchange) == ["endpoint a: 1 requests per minute, full, would wait up to 2 s"]

    run(test())
    pacing = make_pacing(a=Pace(requests=60))
    assert pacing.endpoint_status(make_endpoint("a")) == {"pace": {"requests": 60, "per": "minute", "waiting": 0}}
    assert pacing.endpoint_status(make_endpoint("c")) == {}


@pytest.mark.parametrize(
    ("pace", "key"), [(Pace(0), "endpoints.a.requests"), (Pace(5, burst=6), "burst"), (Pace(5, burst=0), "burst")]
)
def test_settings_that_cannot_work_are_named(pace: Pace, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        make_pacing(a=pace)
