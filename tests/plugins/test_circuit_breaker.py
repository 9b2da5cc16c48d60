"""Circuits: what opens them, what does not, and how they close again."""

import asyncio
from email.utils import formatdate
from typing import Any

import pytest
from structlog.testing import capture_logs

from plugins.circuit_breaker import CircuitBreaker
from proxy import Attempt, AttemptRecord, CallerGone, Endpoint, EndpointFailed, Operation, ResponseHead, Seconds
from tests.support import Fails, ManualClock, answer, make_endpoint, make_exchange, make_services

A = make_endpoint("a")
CONNECT = Fails("connect_failed", sent=False)
Step = ResponseHead | BaseException


class Bench:
    """A breaker with a manual clock, and one attempt at a time through it."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.asked = 0
        self.breaker = CircuitBreaker(CircuitBreaker.Config(**config), make_services(clock=self.clock))

    def attempt(
        self,
        endpoint: Endpoint = A,
        model: str | None = "flash",
        headers: dict[str, str] | None = None,
        generates: bool = True,
        model_in_body: bool = False,
    ) -> Attempt:
        operation = Operation("x", model=model, generates=generates, model_in_body=model_in_body)
        exchange = make_exchange(operation=operation, headers=headers, clock=self.clock)
        return Attempt(exchange, endpoint, AttemptRecord(endpoint=endpoint.name, region="global", started_ms=0.0))

    async def ask(self, step: Step | int, **attempt: Any) -> int | str:
        """The status, or the reason of the failure."""

        async def upstream(_: Attempt) -> ResponseHead:
            self.asked += 1
            if isinstance(step, BaseException):
                raise step
            return answer(step) if isinstance(step, int) else step

        try:
            head = await self.breaker.around_attempt(self.attempt(**attempt), upstream)
        except EndpointFailed as failure:
            return failure.reason
        return head.status

    async def fail(self, step: Step | int, times: int = 5, **attempt: Any) -> None:
        for _ in range(times):
            assert await self.ask(step, **attempt) not in ("circuit_open", "rate_limited")

    async def wait(self, reason: str = "circuit_open", **attempt: Any) -> float | None:
        """What an open circuit says about when to come back."""

        async def never(_: Attempt) -> ResponseHead:
            raise AssertionError("an open circuit asks nobody")

        with pytest.raises(EndpointFailed) as caught:
            await self.breaker.around_attempt(self.attempt(**attempt), never)
        assert (caught.value.reason, caught.value.sent) == (reason, False)
        return caught.value.retry_after


async def test_enough_failures_in_a_row_open_the_endpoint_for_every_model() -> None:
    bench = Bench()
    await bench.fail(CONNECT, 4)
    assert await bench.ask(200) == 200
    await bench.fail(CONNECT, 5)
    assert await bench.wait() == 30.0
    assert await bench.wait(model="pro") == 30.0
    assert await bench.ask(200, endpoint=make_endpoint("b")) == 200


@pytest.mark.parametrize("status", [429, 500, 503, 504])
async def test_an_overloaded_model_opens_for_itself_only(status: int) -> None:
    bench = Bench()
    await bench.fail(status)
    assert await bench.wait("rate_limited" if status == 429 else "circuit_open") == 30.0
    assert await bench.ask(200, model="pro") == 200
    assert await bench.ask(200, endpoint=make_endpoint("b")) == 200


async def test_what_opened_last_says_whether_the_account_is_over_its_limit() -> None:
    bench = Bench()
    await bench.fail(429)
    assert await bench.wait("rate_limited") == 30.0
    bench.clock.now += 30.0
    assert await bench.ask(503) == 503
    assert await bench.wait("circuit_open") == 60.0


@pytest.mark.parametrize("status", [401, 502])
async def test_a_bad_credential_or_front_end_is_the_endpoints(status: int) -> None:
    bench = Bench()
    await bench.fail(status)
    assert await bench.wait(model="pro") == 30.0


@pytest.mark.parametrize("status", [400, 403, 404, 413])
async def test_what_a_caller_can_provoke_opens_nothing(status: int) -> None:
    bench = Bench()
    await bench.fail(status, 50)
    assert await bench.breaker.status() == {"circuits": []}


async def test_a_callers_error_does_not_clear_a_models_failures() -> None:
    bench = Bench()
    await bench.fail(503, 4)
    await bench.fail(400, 1)
    await bench.fail(503, 1)
    assert await bench.wait() == 30.0


async def test_a_deadline_of_the_callers_own_is_not_held_against_the_model() -> None:
    bench = Bench()
    await bench.fail(504, 10, headers={"X-Server-Timeout": "10"})
    assert await bench.breaker.status() == {"circuits": []}


async def test_a_401_to_what_runs_no_model_says_nothing_about_our_credential() -> None:
    bench = Bench()
    await bench.fail(CONNECT, 4)
    await bench.fail(401, 50, generates=False)
    assert (await bench.breaker.status())["circuits"] == [
        {"endpoint": "a", "model": None, "circuit": "closed", "failures": 4}
    ]


@pytest.mark.parametrize("name", ["X-Vertex-AI-LLM-Request-Type", "X-Vertex-AI-LLM-Shared-Request-Type"])
async def test_refused_traffic_of_a_kind_the_caller_chose_is_not_held_against_the_model(name: str) -> None:
    bench = Bench()
    for status in (429, 503):
        await bench.fail(answer(status, {"Retry-After": "39"}), 10, headers={name: "dedicated"})
    assert await bench.breaker.status() == {"circuits": []}
    await bench.fail(500, headers={name: "dedicated"})
    assert await bench.wait() == 30.0


@pytest.mark.parametrize("status", [429, 500, 503, 504])
async def test_a_model_that_only_an_unread_body_names_is_nobody_to_blame(status: int) -> None:
    bench = Bench()
    await bench.fail(status, 50, model=None, model_in_body=True)
    assert await bench.breaker.status() == {"circuits": []}


async def test_without_a_model_a_server_error_is_the_endpoints_and_a_429_nobodys() -> None:
    bench = Bench()
    await bench.fail(429, 10, model=None)
    await bench.fail(503, 5, model=None)
    assert await bench.wait() == 30.0


async def test_a_model_that_answers_proves_that_the_endpoint_can_be_reached() -> None:
    bench = Bench()
    await bench.fail(CONNECT, 4)
    await bench.fail(503, 1)
    await bench.fail(CONNECT, 4)
    assert await bench.ask(200) == 200


@pytest.mark.parametrize("reason", ["paced", "circuit_open", "rate_limited"])
async def test_an_endpoint_that_was_not_asked_is_not_judged(reason: str) -> None:
    bench = Bench()
    for _ in range(10):
        await bench.ask(Fails(reason, sent=False))
    assert await bench.ask(200) == 200
    assert await bench.breaker.status() == {"circuits": []}


async def test_retry_after_is_honoured_at_once() -> None:
    bench = Bench()
    assert await bench.ask(answer(429, {"Retry-After": "39"})) == 429
    assert await bench.wait("rate_limited") == 39.0
    assert await bench.ask(200, model="pro") == 200
    bench.clock.now += 39.0
    assert await bench.ask(200) == 200
    assert await bench.ask(200) == 200


async def test_retry_after_may_be_a_date() -> None:
    bench = Bench()
    await bench.ask(answer(503, {"retry-after": formatdate(bench.clock.now + 20, usegmt=True)}))
    assert await bench.wait() == 20.0


@pytest.mark.parametrize("value", ["86400", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_no_header_freezes_an_account_for_a_day(value: str) -> None:
    bench = Bench()
    await bench.ask(answer(429, {"Retry-After": value}))
    assert await bench.wait("rate_limited") == 300.0


@pytest.mark.parametrize("value", ["", "0", "-5", "soon", "²", "Mon, 01 Jan 1990 00:00:00 GMT", "Mon, 99 Foo"])
async def test_a_retry_after_without_sense_is_an_ordinary_failure(value: str) -> None:
    bench = Bench()
    await bench.fail(answer(429, {"Retry-After": value}), 4)
    assert await bench.ask(200) == 200


async def test_each_failed_probe_doubles_the_wait_up_to_the_bound() -> None:
    bench = Bench(open_for=Seconds(30), max_open=Seconds(100))
    await bench.fail(CONNECT)
    for expected in (30.0, 60.0, 100.0, 100.0):
        assert await bench.wait() == expected
        bench.clock.now += expected
        assert await bench.ask(CONNECT) == "connect_failed"
    bench.clock.now += 100.0
    assert await bench.ask(200) == 200
    await bench.fail(CONNECT)  # closed: counts from nothing again
    assert await bench.wait() == 30.0


async def test_years_of_failed_probes_are_survived() -> None:
    bench = Bench()
    await bench.fail(CONNECT)
    for _ in range(3000):
        bench.clock.now += 300.0
        assert await bench.ask(CONNECT) == "connect_failed"
    assert await bench.wait() == 300.0


class Held:
    """An upstream that answers when the test says so."""

    def __init__(self, bench: Bench) -> None:
        self.answered: asyncio.Future[ResponseHead] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(bench.breaker.around_attempt(bench.attempt(), self._upstream))

    async def _upstream(self, _: Attempt) -> ResponseHead:
        return await self.answered

    async def begin(self) -> "Held":
        await asyncio.sleep(0)
        return self


async def test_there_is_one_probe_at_a_time() -> None:
    bench = Bench()
    await bench.fail(CONNECT)
    bench.clock.now += 30.0
    probe = await Held(bench).begin()
    assert await bench.wait() is None
    probe.answered.set_result(answer())
    await probe.task
    assert await bench.ask(200) == 200


async def test_a_cancelled_probe_makes_place_for_the_next() -> None:
    bench = Bench()
    await bench.fail(CONNECT)
    bench.clock.now += 30.0
    probe = await Held(bench).begin()
    probe.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe.task
    assert await bench.ask(200) == 200


@pytest.mark.parametrize("step", [CallerGone("left"), RuntimeError("a fault of ours")])
async def test_a_probe_that_taught_nothing_makes_place_for_the_next(step: Exception) -> None:
    bench = Bench()
    await bench.fail(CONNECT)
    bench.clock.now += 30.0
    with pytest.raises(type(step)):
        await bench.ask(step)
    assert bench.breaker.endpoint_status(A)["circuit"] == "half_open"
    assert await bench.ask(200) == 200


async def test_answers_to_attempts_from_before_it_opened_change_nothing() -> None:
    bench = Bench()
    late_success, late_failure = await Held(bench).begin(), await Held(bench).begin()
    await bench.fail(CONNECT)
    late_success.answered.set_result(answer())
    late_failure.answered.set_exception(Fails("disconnected", sent=True))
    await late_success.task
    with pytest.raises(EndpointFailed, match="disconnected"):
        await late_failure.task
    assert await bench.wait() == 30.0


async def test_an_endpoint_repaired_by_a_reload_starts_afresh() -> None:
    bench = Bench()
    await bench.fail(401)
    await bench.fail(429, 5, endpoint=make_endpoint("b"))
    assert await bench.ask(200, endpoint=make_endpoint("a", url="https://mended.example")) == 200
    assert await bench.ask(200, endpoint=make_endpoint("b", url="https://mended.example")) == 200


async def test_exchanges_from_before_a_reload_do_not_touch_the_circuit_of_after_it() -> None:
    bench = Bench()
    mended = make_endpoint("a", url="https://mended.example")
    before = bench.attempt()

    async def upstream(step: Step) -> str | int:
        async def answering(_: Attempt) -> ResponseHead:
            if isinstance(step, BaseException):
                raise step
            return step

        try:
            return (await bench.breaker.around_attempt(before, answering)).status
        except EndpointFailed as failure:
            return failure.reason

    bench.clock.now += 1.0
    await bench.fail(CONNECT, endpoint=mended)
    assert await upstream(CONNECT) == "connect_failed"
    assert await upstream(answer(200)) == 200
    assert await bench.wait(endpoint=mended) == 30.0


async def test_models_named_by_callers_do_not_fill_the_memory() -> None:
    bench = Bench()
    await bench.fail(CONNECT)
    for number in range(3000):
        await bench.ask(404, model=f"m{number}", endpoint=make_endpoint("b"))
    assert len(bench.breaker._circuits.kept) == 1
    for number in range(3000):
        await bench.wait()
        await bench.ask(503, model=f"m{number}", endpoint=make_endpoint("b"))
    assert len(bench.breaker._circuits.kept) == 1024
    assert await bench.wait() == 30.0  # one that is asked for stays


async def test_transitions_are_logged() -> None:
    bench = Bench(failures=1)
    with capture_logs() as logs:
        bench.breaker = CircuitBreaker(bench.breaker.config, make_services(clock=bench.clock))
        await bench.fail(503, 1)
        bench.clock.now += 30.0
        await bench.fail(200, 1)
    known = {"endpoint": "a", "model": "flash", "log_level": "warning"}
    assert logs == [
        {"event": "circuit_opened", "cause": "503", "seconds": 30.0} | known,
        {"event": "circuit_probed"} | known,
        {"event": "circuit_closed"} | known,
    ]


async def test_status_shows_the_endpoint_and_its_models() -> None:
    bench = Bench()
    assert bench.breaker.endpoint_status(A) == {"circuit": "closed", "models": {}}
    await bench.fail(503)
    await bench.fail(CONNECT, 1, model="pro")
    bench.clock.now += 10.0
    assert bench.breaker.endpoint_status(A) == {
        "circuit": "closed",
        "failures": 1,
        "models": {"flash": {"circuit": "open", "failures": 5, "retry_after_seconds": 20.0}},
    }
    assert await bench.breaker.status() == {
        "circuits": [
            {"endpoint": "a", "model": "flash", "circuit": "open", "failures": 5, "retry_after_seconds": 20.0},
            {"endpoint": "a", "model": None, "circuit": "closed", "failures": 1},
        ]
    }


async def test_explain_leaves_out_what_is_open_and_says_why() -> None:
    bench = Bench()
    await bench.fail(503)
    await bench.fail(CONNECT, endpoint=make_endpoint("b"))
    bench.clock.now += 12.0
    exchange = make_exchange(
        candidates=[A, make_endpoint("b"), make_endpoint("c")], operation=Operation("x", model="flash")
    )
    await bench.breaker.explain(exchange)
    assert [endpoint.name for endpoint in exchange.candidates] == ["c"]
    assert [out.reason for out in exchange.exclusions] == [
        "the circuit of flash at a is open, next probe in 18 s",
        "the circuit of b is open, next probe in 18 s",
    ]


@pytest.mark.parametrize(
    "config", [{"failures": 0}, {"open_for": Seconds(0)}, {"open_for": Seconds(60), "max_open": Seconds(30)}]
)
def test_settings_that_cannot_work_are_named(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(config))):
        Bench(**config)
