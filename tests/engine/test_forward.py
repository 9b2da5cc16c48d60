"""Failover: when another endpoint is tried, when it must not be, and what the record says of it."""

import asyncio

import pytest

from proxy import Attempt, CallerGone, Endpoint, EndpointFailed, Exchange, Operation, Outcome, Refusal, ResponseHead
from proxy.engine.forward import RETRYABLE, make_forward
from tests.support import Fails, ManualClock, ScriptedRelay, answer, make_endpoint, make_exchange

A, B, C = make_endpoint("a"), make_endpoint("b", region="eu"), make_endpoint("c")
DOWN = Fails("connect_failed", sent=False)
CUT = Fails("disconnected", sent=True)


async def run(
    relay: ScriptedRelay, *endpoints: Endpoint, method: str = "POST", operation: Operation | None = None
) -> Exchange:
    exchange = make_exchange(relay, method=method, candidates=list(endpoints))
    if operation is not None:
        exchange.operation = operation

    async def attempt_once(attempt: Attempt) -> ResponseHead:
        return await attempt.exchange.relay.open(attempt.endpoint)

    await make_forward(attempt_once, ManualClock())(exchange)
    return exchange


async def test_the_first_answer_is_relayed() -> None:
    relay = ScriptedRelay({"a": [answer(200)]})
    exchange = await run(relay, A, B)
    assert relay.opened == ["a"]
    assert exchange.endpoint == A
    assert [(attempt.endpoint, attempt.status, attempt.error) for attempt in exchange.attempts] == [("a", 200, None)]


@pytest.mark.parametrize("status", sorted(RETRYABLE))
async def test_a_retryable_answer_moves_on(status: int) -> None:
    relay = ScriptedRelay({"a": [answer(status)], "b": [answer(200)]})
    exchange = await run(relay, A, B)
    assert relay.opened == ["a", "b"]
    assert (exchange.endpoint, exchange.status) == (B, 200)
    assert [attempt.status for attempt in exchange.attempts] == [status, 200]


async def test_a_deadline_that_ran_out_at_google_is_tried_again_only_where_that_is_safe() -> None:
    """It ran, as long as it could; whether it is billed nobody says."""
    assert (await run(ScriptedRelay({"a": [answer(504)]}), A, B)).status == 504
    assert (await run(ScriptedRelay({"a": [answer(504)]}), A, B, method="GET")).status == 200


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 404, 499, 501])
async def test_any_other_answer_is_the_answer(status: int) -> None:
    relay = ScriptedRelay({"a": [answer(status)]})
    exchange = await run(relay, A, B)
    assert relay.opened == ["a"]
    assert exchange.status == status


async def test_the_last_retryable_answer_is_relayed_as_it_is() -> None:
    """Google's own 429, with its RetryInfo, says more than a 503 of ours."""
    relay = ScriptedRelay({"a": [answer(503)], "b": [answer(429)]})
    exchange = await run(relay, A, B)
    assert (exchange.endpoint, exchange.status, exchange.outcome) == (B, 429, Outcome.COMPLETED)


async def test_an_answer_held_is_relayed_when_the_others_are_down() -> None:
    relay = ScriptedRelay({"a": [answer(429)], "b": [DOWN], "c": [DOWN]})
    exchange = await run(relay, A, B, C)
    assert relay.opened == ["a", "b", "c"]
    assert (exchange.endpoint, exchange.status) == (A, 429)
    assert [(attempt.status, attempt.error) for attempt in exchange.attempts] == [
        (429, None),
        (None, "connect_failed"),
        (None, "connect_failed"),
    ]


async def test_a_dead_endpoint_is_skipped() -> None:
    relay = ScriptedRelay({"a": [DOWN], "b": [answer(200)]})
    exchange = await run(relay, A, B)
    assert exchange.endpoint == B


async def test_a_post_that_may_be_running_is_not_repeated() -> None:
    """RFC 9110 section 9.2.2: generation could be billed twice."""
    relay = ScriptedRelay({"a": [CUT]})
    with pytest.raises(Refusal) as caught:
        await run(relay, A, B)
    assert relay.opened == ["a"]
    assert caught.value.code == 502


async def test_a_get_that_may_have_run_is_repeated() -> None:
    relay = ScriptedRelay({"a": [CUT], "b": [answer(200)]})
    exchange = await run(relay, A, B, method="GET")
    assert exchange.endpoint == B


async def test_a_body_that_is_gone_is_not_repeated() -> None:
    relay = ScriptedRelay({"a": [answer(503)]}, replayable=False)
    exchange = await run(relay, A, B)
    assert relay.opened == ["a"]
    assert exchange.status == 503


async def test_what_one_account_owns_is_not_looked_for_elsewhere() -> None:
    relay = ScriptedRelay({"a": [answer(503)]})
    exchange = await run(relay, A, B, operation=Operation("files.get", api="gemini", account_bound=True))
    assert relay.opened == ["a"]
    assert exchange.status == 503


async def test_the_record_says_which_try_may_have_run() -> None:
    relay = ScriptedRelay({"a": [DOWN], "b": [CUT], "c": [answer(200)]})
    exchange = await run(relay, A, B, C, method="GET")
    assert [attempt.sent for attempt in exchange.attempts] == [False, True, True]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (DOWN, 503),
        (CUT, 502),
        (Fails("first_byte_timeout", sent=True), 504),
        (Fails("connect_timeout", sent=False), 504),
    ],
)
async def test_no_answer_at_all(failure: EndpointFailed, code: int) -> None:
    relay = ScriptedRelay({"a": [failure]})
    exchange_of: list[Exchange] = []
    with pytest.raises(Refusal) as caught:
        exchange_of.append(await run(relay, A))
    assert caught.value.code == code
    assert f"a: {failure.reason}" in caught.value.message


@pytest.mark.parametrize(
    ("reasons", "code"), [(["rate_limited", "paced"], 429), (["rate_limited", "circuit_open"], 503)]
)
async def test_too_much_everywhere_is_a_429(reasons: list[str], code: int) -> None:
    script = {name: [Fails(reason, sent=False, retry_after=7)] for name, reason in zip("ab", reasons, strict=True)}
    with pytest.raises(Refusal) as caught:
        await run(ScriptedRelay(script), A, B)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.retry_after) == (code, 7)


async def test_a_refusal_of_an_attempt_keeps_all_it_says() -> None:
    exchange = make_exchange(candidates=[A, B])

    async def refuses(attempt: Attempt) -> ResponseHead:
        raise attempt.exchange.refuse(429, "later", reason="LATER", retry_after=7, details=[{"@type": "x"}])

    with pytest.raises(Refusal) as caught:
        await make_forward(refuses, ManualClock())(exchange)
    assert (caught.value.code, caught.value.retry_after, caught.value.details) == (429, 7, [{"@type": "x"}])
    assert exchange.attempts[0].error == "later"
    assert not exchange.attempts[0].sent


async def test_times_are_tenths_of_a_millisecond_since_the_exchange_began() -> None:
    clock = ManualClock(100.0)
    exchange = make_exchange(candidates=[A], clock=clock)

    async def answers(attempt: Attempt) -> ResponseHead:
        clock.now += 0.09876
        return await attempt.exchange.relay.open(attempt.endpoint)

    clock.now += 0.00123
    await make_forward(answers, clock)(exchange)
    assert [(attempt.started_ms, attempt.ended_ms) for attempt in exchange.attempts] == [(1.2, 100.0)]


async def test_an_attempt_cut_at_an_unknown_moment_may_have_been_sent() -> None:
    exchange = make_exchange(ScriptedRelay({}), candidates=[A])

    async def cut(attempt: Attempt) -> ResponseHead:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await make_forward(cut, ManualClock())(exchange)
    assert [attempt.sent for attempt in exchange.attempts] == [True]


async def test_the_last_attempt_knows_that_it_is() -> None:
    """Also where one endpoint is tried twice."""
    exchange = make_exchange(candidates=[A, B, A])
    last = []

    async def attempt_once(attempt: Attempt) -> ResponseHead:
        last.append(attempt.last)
        exchange.candidates.append(B)  # too late: they are settled once the first attempt begins
        raise DOWN

    with pytest.raises(Refusal):
        await make_forward(attempt_once, ManualClock())(exchange)
    assert last == [False, False, True]


async def test_nobody_left_to_ask() -> None:
    with pytest.raises(Refusal) as caught:
        await run(ScriptedRelay())
    assert (caught.value.code, caught.value.reason) == (503, "NO_ENDPOINT")


async def test_a_caller_that_left_blames_no_endpoint() -> None:
    class Leaves(ScriptedRelay):
        async def open(self, endpoint: Endpoint, last: bool = False) -> ResponseHead:
            raise CallerGone("left")

    exchange = make_exchange(Leaves(), candidates=[A, B])

    async def attempt_once(attempt: Attempt) -> ResponseHead:
        return await attempt.exchange.relay.open(attempt.endpoint)

    with pytest.raises(Refusal) as caught:
        await make_forward(attempt_once, ManualClock())(exchange)
    assert caught.value.code == 499
    assert exchange.outcome == Outcome.CLIENT_GONE
    assert len(exchange.attempts) == 1
