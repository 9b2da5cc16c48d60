"""Team quotas: what is reserved, what remains of it, and how a refusal reads."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from plugins.team_quota import TeamQuota
from proxy import (
    Attempt,
    AttemptRecord,
    CallerGone,
    Denied,
    Exchange,
    Grant,
    Intent,
    Limit,
    Operation,
    Outcome,
    Refusal,
    ResponseHead,
    Seconds,
    Services,
    Take,
    Team,
    Unit,
    Usage,
    UsageState,
    Window,
)
from proxy.engine.forward import make_forward
from proxy.stores.memory import MemoryStore
from tests.support import Fails, ManualClock, ScriptedRelay, answer, make_exchange, make_services

COUNT = Operation("countTokens", api="gemini", model="gemini-2.5-flash")
EMBED = Operation("embedContent", api="gemini", model="gemini-embedding-001", generates=True)
PER_MINUTE = Limit("requests", 3, "minute")
TOKENS = Limit("tokens", 10_000, "minute")
IMAGES = Limit("images", 5, "day")
CONCURRENT = Limit("concurrent", 1, None)


class Bench:
    """A quota over the memory store; `studio` is the team, `acme` its parent."""

    def __init__(self, *limits: Limit, parent: tuple[Limit, ...] = (), **config: Any) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.services: Services = make_services(clock=self.clock, store=self.store, teams=self.teams(limits, parent))
        self.quota = TeamQuota(TeamQuota.Config(**config), self.services)

    @staticmethod
    def teams(limits: tuple[Limit, ...], parent: tuple[Limit, ...] = ()) -> dict[str, Team]:
        return {"acme": Team("acme", limits=parent), "studio": Team("studio", parent="acme", limits=limits)}

    async def run(self, relay: ScriptedRelay | None = None, **exchange: Any) -> Exchange:
        """One exchange through the quota and the engine's own innermost step."""
        made = make_exchange(relay, clock=self.clock, **{"team": "studio"} | exchange)
        await self.quota.around_exchange(made, make_forward(open_only, self.clock))
        return made

    async def refused(self, relay: ScriptedRelay | None = None, **exchange: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.run(relay, **exchange)
        return caught.value

    async def used(self, unit: Unit, per: Window | None, team: str = "studio") -> int:
        counter = f"team/{team}/{unit}" + (f"/{per}" if per else "")
        return await self.store.used(Take(counter, 0, 0, per))


async def open_only(attempt: Attempt) -> ResponseHead:
    return await attempt.exchange.relay.open(attempt.endpoint)


class Unreadable(ScriptedRelay):
    async def read_intent(self) -> Intent:
        raise AssertionError("nobody should have read the body")


async def test_requests_run_out_and_say_so_in_googles_words() -> None:
    bench = Bench(PER_MINUTE)
    for _ in range(3):
        await bench.run()
    exchange = make_exchange(team="studio")
    with pytest.raises(Refusal) as caught:
        await bench.quota.around_exchange(exchange, make_forward(open_only, bench.clock))
    refusal = caught.value
    assert (refusal.code, refusal.reason) == (429, "TEAM_QUOTA_EXCEEDED")
    assert refusal.message == "Team studio has used its 3 requests per minute. Please retry in 80.1s."
    assert refusal.details == [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {
                    "quotaMetric": "weir/team_requests",
                    "quotaId": "TeamRequestsPerMinute",
                    "quotaDimensions": {"team": "studio"},
                    "quotaValue": "3",
                }
            ],
        }
    ]
    assert ("x-weir-refused-by", "team_quota") in exchange.reply_headers
    assert exchange.outcome is Outcome.REFUSED
    assert refusal.retry_after is not None
    bench.clock.now += refusal.retry_after
    await bench.run()


async def test_a_daily_limit_is_known_to_gemini_cli_by_its_quota_id() -> None:
    bench = Bench(Limit("requests", 1, "day"))
    await bench.run()
    assert (await bench.refused()).details[0]["violations"][0]["quotaId"] == "TeamRequestsPerDay"


async def test_parents_are_charged_too_and_can_refuse() -> None:
    bench = Bench(PER_MINUTE, parent=(Limit("requests", 1, "minute"),))
    await bench.run()
    assert (await bench.refused()).message.startswith("Team acme has used its 1 requests per minute.")
    assert await bench.used("requests", "minute") == 1


async def test_concurrency_is_held_while_the_exchange_runs_and_no_longer() -> None:
    bench = Bench(CONCURRENT)
    inner: list[Refusal] = []

    async def while_running(exchange: Exchange) -> None:
        inner.append(await bench.refused())
        raise RuntimeError("the rest of the chain failed")

    with pytest.raises(RuntimeError):
        await bench.quota.around_exchange(make_exchange(team="studio"), while_running)
    assert (inner[0].code, inner[0].retry_after) == (429, None)
    assert inner[0].message == "Team studio has 1 requests under way, as many as it may."
    await bench.run()


async def test_tokens_are_reserved_by_estimate_and_settled_by_the_answer() -> None:
    bench = Bench(TOKENS)
    seen: list[int] = []

    async def look(attempt: Attempt) -> ResponseHead:
        seen.append(await bench.used("tokens", "minute"))
        return await open_only(attempt)

    relay = ScriptedRelay(
        intent=Intent(input_tokens=100, max_output_tokens=500, candidate_count=2), usage=Usage(total_tokens=321)
    )
    await bench.quota.around_exchange(make_exchange(relay, team="studio"), make_forward(look, bench.clock))
    assert seen == [1100]
    assert await bench.used("tokens", "minute") == 321


@pytest.mark.parametrize(
    ("intent", "operation", "reserved"),
    [
        (Intent(input_tokens=7), None, 7 + 4096),
        (Intent(input_tokens=7, candidate_count=2), None, 7 + 2 * 4096),
        (Intent(wants_images=True, image_count=1, image_size="4K"), None, 3767),
        (Intent(wants_images=True, image_count=2), None, 2 * 1290),
        (Intent(wants_images=True, image_count=1, image_size="enormous"), None, 3767),
        (Intent(input_tokens=-900, max_output_tokens=-5, candidate_count=-3), None, 4096),
        (Intent(max_output_tokens=0, candidate_count=2), None, 2 * 4096),
        (Intent(input_tokens=9), EMBED, 9),
    ],
)
async def test_the_estimate(intent: Intent, operation: Operation | None, reserved: int) -> None:
    bench = Bench(TOKENS)
    await bench.run(ScriptedRelay(intent=intent), **({"operation": operation} if operation else {}))
    assert await bench.used("tokens", "minute") == reserved  # an answer without counts leaves the reservation


async def test_counts_without_a_total_are_summed() -> None:
    bench = Bench(TOKENS)
    usage = Usage(input_tokens=1, output_tokens=20, thought_tokens=300, tool_tokens=4000, cached_tokens=1)
    await bench.run(ScriptedRelay(usage=usage))
    assert await bench.used("tokens", "minute") == 4321


async def test_an_overshoot_is_counted_and_stops_the_next() -> None:
    bench = Bench(TOKENS)
    await bench.run(ScriptedRelay(intent=Intent(max_output_tokens=1), usage=Usage(total_tokens=50_000)))
    assert "has used its 10000 tokens per minute" in (await bench.refused()).message


async def test_a_request_that_does_not_fit_now_says_what_it_needs() -> None:
    bench = Bench(TOKENS)
    await bench.run(ScriptedRelay(usage=Usage(total_tokens=9000)))
    refusal = await bench.refused()
    assert refusal.message.startswith("Team studio has used 9000 of its 10000 tokens per minute, and this request")
    assert "may need 4096." in refusal.message


async def test_a_request_that_can_never_fit_is_not_worth_repeating() -> None:
    bench = Bench(TOKENS, parent=(CONCURRENT,))
    refusal = await bench.refused(ScriptedRelay(intent=Intent(max_output_tokens=65_536)))
    assert (refusal.code, refusal.reason, refusal.retry_after) == (400, "TEAM_QUOTA_TOO_SMALL", None)
    assert refusal.message == (
        "Team studio may use 10000 tokens per minute; this request may need 65536 and can never pass. "
        "Set a smaller maxOutputTokens."
    )
    assert await bench.used("concurrent", None, "acme") == 0


@pytest.mark.parametrize("usage", [Usage(images=1), Usage(), Usage(search_queries=1)])
async def test_an_answer_that_counts_no_tokens_leaves_their_reservation(usage: Usage) -> None:
    bench = Bench(TOKENS, IMAGES)
    await bench.run(ScriptedRelay(intent=Intent(wants_images=True, image_count=1), usage=usage))
    assert await bench.used("tokens", "minute") == 1290
    assert await bench.used("images", "day") == usage.images


class Breaks(ScriptedRelay):
    """Ends with the last counts seen before the answer broke off."""

    async def run(self, exchange: Exchange) -> None:
        await super().run(exchange)
        exchange.usage_state = UsageState.PARTIAL


@pytest.mark.parametrize(("partial", "counted"), [(10, 4096), (5000, 5000)])
async def test_partial_counts_never_lower_the_reservation(partial: int, counted: int) -> None:
    bench = Bench(TOKENS)
    await bench.run(Breaks(usage=Usage(total_tokens=partial), outcome=Outcome.CLIENT_GONE))
    assert await bench.used("tokens", "minute") == counted


@pytest.mark.parametrize("status", [400, 429, 503])
async def test_an_error_from_upstream_costs_a_request_and_no_tokens(status: int) -> None:
    bench = Bench(TOKENS, PER_MINUTE)
    await bench.run(ScriptedRelay({"a": [answer(status)]}))
    assert (await bench.used("tokens", "minute"), await bench.used("requests", "minute")) == (0, 1)


async def test_no_answer_from_upstream_costs_a_request_and_no_tokens() -> None:
    bench = Bench(TOKENS, PER_MINUTE)
    await bench.refused(ScriptedRelay({"a": [Fails("connect_failed", sent=False)]}))
    assert (await bench.used("tokens", "minute"), await bench.used("requests", "minute")) == (0, 1)


@pytest.mark.parametrize(("sent", "tokens"), [(True, 4096), (False, 0)])
async def test_a_failure_after_the_request_was_sent_may_have_run_and_keeps_the_reservation(
    sent: bool, tokens: int
) -> None:
    bench = Bench(TOKENS, PER_MINUTE)
    await bench.refused(ScriptedRelay({"a": [Fails("read_timeout", sent=sent)]}))
    assert (await bench.used("tokens", "minute"), await bench.used("requests", "minute")) == (tokens, 1)


async def test_a_caller_that_left_before_the_answer_pays_its_reservation() -> None:
    bench = Bench(TOKENS)

    async def left(exchange: Exchange) -> None:
        exchange.attempts.append(AttemptRecord(endpoint="a", region="eu", started_ms=0.0, error="caller_gone"))
        raise exchange.caller_gone(CallerGone("left"))

    with pytest.raises(Refusal):
        await bench.quota.around_exchange(make_exchange(team="studio"), left)
    assert await bench.used("tokens", "minute") == 4096


async def test_a_refusal_before_any_attempt_costs_nothing() -> None:
    bench = Bench(TOKENS, PER_MINUTE, CONCURRENT)

    async def forbid(exchange: Exchange) -> None:
        raise exchange.refuse(403, "No.", reason="FORBIDDEN")

    with pytest.raises(Refusal):
        await bench.quota.around_exchange(make_exchange(team="studio"), forbid)
    assert [await bench.used("tokens", "minute"), await bench.used("requests", "minute")] == [0, 0]
    assert await bench.used("concurrent", None) == 0


async def test_images_are_reserved_as_asked_and_settled_as_given() -> None:
    bench = Bench(IMAGES)
    four = Intent(wants_images=True, image_count=4)
    await bench.run(ScriptedRelay(intent=four, usage=Usage(images=3)))
    assert await bench.used("images", "day") == 3
    refusal = await bench.refused(ScriptedRelay(intent=four))
    assert refusal.details[0]["violations"][0]["quotaId"] == "TeamImagesPerDay"


async def test_images_nobody_asked_for_are_counted_but_refuse_no_text() -> None:
    bench = Bench(IMAGES)
    for expected in (3, 6, 9):
        await bench.run(ScriptedRelay(usage=Usage(images=3)))
        assert await bench.used("images", "day") == expected
    assert (await bench.refused(ScriptedRelay(intent=Intent(wants_images=True, image_count=1)))).code == 429


@pytest.mark.parametrize("model", ["gemini-3-pro-image", "gemini-nano-banana-2.1", "imagen-4.0", None])
async def test_a_model_that_draws_unasked_is_not_asked_once_the_limit_is_overshot(model: str | None) -> None:
    bench = Bench(IMAGES)
    operation = Operation("generateContent", model=model, generates=True)
    for _ in range(2):
        await bench.run(ScriptedRelay(usage=Usage(images=3)), operation=operation)
    assert (await bench.refused(operation=operation)).code == 429


async def test_a_call_that_may_not_be_made_has_no_body_read() -> None:
    bench = Bench(Limit("requests", 1, "minute"), TOKENS, IMAGES)
    await bench.run()
    assert (await bench.refused(Unreadable())).code == 429


async def test_a_body_that_cannot_be_read_gives_everything_back() -> None:
    class Broken(ScriptedRelay):
        async def read_intent(self) -> Intent:
            raise ValueError("Invalid JSON payload received.")

    bench = Bench(PER_MINUTE, CONCURRENT, TOKENS)
    assert (await bench.refused(Broken())).reason == "BAD_BODY"
    assert not bench.store._leases
    assert await bench.used("requests", "minute") == 0


async def test_a_second_grant_that_is_denied_gives_the_first_back() -> None:
    bench = Bench(PER_MINUTE, CONCURRENT, TOKENS)
    await bench.run(ScriptedRelay(usage=Usage(total_tokens=9000)))
    assert (await bench.refused()).code == 429
    assert (await bench.used("requests", "minute"), await bench.used("concurrent", None)) == (1, 0)


class Elsewhere:
    """A store that cannot answer at once: the memory store, with a wait before each answer."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    async def take(self, takes: Sequence[Take], lease_seconds: float) -> Grant | Denied:
        await asyncio.sleep(0)
        return self.store.take(takes, lease_seconds)

    async def settle(self, grant: Grant, amounts: dict[str, int]) -> None:
        await asyncio.sleep(0)
        self.store.settle(grant, amounts)

    async def used(self, take: Take) -> int:
        return await self.store.used(take)


async def test_a_store_that_must_be_waited_for_is() -> None:
    bench = Bench(PER_MINUTE, CONCURRENT, TOKENS)
    services = msgspec.structs.replace(bench.services, store=Elsewhere(bench.store))
    bench.quota = TeamQuota(TeamQuota.Config(), services)
    relay = ScriptedRelay(intent=Intent(max_output_tokens=500), usage=Usage(total_tokens=321))
    await bench.run(relay)
    assert await bench.used("tokens", "minute") == 321

    async def fails(exchange: Exchange) -> None:
        assert await bench.used("concurrent", None) == 1
        raise RuntimeError("the rest of the chain failed")

    async def stays(exchange: Exchange) -> None:
        running.set()
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="the rest"):
        await bench.quota.around_exchange(make_exchange(relay, team="studio"), fails)
    running = asyncio.Event()
    task = asyncio.create_task(bench.quota.around_exchange(make_exchange(relay, team="studio"), stays))
    await running.wait()
    assert (await bench.refused(relay)).message.startswith("Team studio has 1 requests under way")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not bench.store._leases
    await bench.run(relay)
    assert (await bench.used("requests", "minute"), await bench.used("concurrent", None)) == (2, 0)
    assert await bench.used("tokens", "minute") == 642


@pytest.mark.parametrize("limits", [(PER_MINUTE,), (TOKENS,), (PER_MINUTE, TOKENS), ()])
async def test_one_exchange_that_fails_says_nothing_of_the_next(limits: tuple[Limit, ...]) -> None:
    bench = Bench(*limits)

    async def fails(exchange: Exchange) -> None:
        raise RuntimeError("the rest of the chain failed")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="the rest"):
            await bench.quota.around_exchange(make_exchange(team="studio"), fails)
        assert not bench.store._leases
    await bench.run(ScriptedRelay(usage=Usage(total_tokens=1)))


async def test_the_body_is_read_only_for_a_limit_that_depends_on_it() -> None:
    await Bench(PER_MINUTE, CONCURRENT).run(Unreadable())
    await Bench(TOKENS, IMAGES).run(Unreadable(), operation=COUNT)


async def test_what_does_not_generate_still_counts_as_a_request() -> None:
    bench = Bench(PER_MINUTE, TOKENS)
    await bench.run(operation=COUNT)
    assert (await bench.used("requests", "minute"), await bench.used("tokens", "minute")) == (1, 0)


async def test_what_has_no_name_counts_by_what_its_answer_says() -> None:
    """A path that hides its meaning from us must not be a way around the limits."""
    bench = Bench(TOKENS)
    unnamed = Operation("unknown")
    usage = Usage(total_tokens=12_000)
    await bench.run(ScriptedRelay(usage=usage), operation=unnamed)
    assert await bench.used("tokens", "minute") == 12_000
    assert (await bench.refused(operation=unnamed)).code == 429
    bench.clock.now += 600
    await bench.run(ScriptedRelay(usage=usage), operation=unnamed, method="GET")
    assert await bench.used("tokens", "minute") == 12_000


@pytest.mark.parametrize(
    ("method", "status", "counted"),
    [
        ("POST", 200, 4096),
        ("PATCH", 204, 4096),
        ("POST", 404, 0),
        ("GET", 200, 0),
        ("HEAD", 200, 0),
        ("OPTIONS", 200, 0),
    ],
)
async def test_what_has_no_name_and_no_counts_pays_what_an_answer_may_cost(
    method: str, status: int, counted: int
) -> None:
    bench = Bench(TOKENS)
    await bench.run(ScriptedRelay({"a": [answer(status)]}), operation=Operation("unknown"), method=method)
    assert await bench.used("tokens", "minute") == counted


async def test_a_team_without_limits_asks_the_store_nothing() -> None:
    bench = Bench()
    await bench.run(Unreadable())
    assert bench.store._size() == 0
    assert not bench.store._leases


async def test_of_two_limits_of_one_kind_the_smaller_counts_once() -> None:
    bench = Bench(Limit("requests", 9, "minute"), Limit("requests", 1, "minute"))
    await bench.run()
    assert await bench.used("requests", "minute") == 1
    assert "its 1 requests per minute" in (await bench.refused()).message


async def test_a_team_that_a_reload_removed_is_refused() -> None:
    bench = Bench(PER_MINUTE)
    await bench.run()
    bench.services.teams.replace({})
    refusal = await bench.refused()
    assert (refusal.code, refusal.reason) == (403, "TEAM_UNKNOWN")


async def test_without_a_principal_nothing_passes() -> None:
    assert (await Bench(PER_MINUTE).refused(team=None)).code == 403


async def test_a_reload_applies_new_limits_to_what_is_already_used() -> None:
    bench = Bench(PER_MINUTE)
    await bench.run()
    bench.services.teams.replace(bench.teams((Limit("requests", 1, "minute"),)))
    assert (await bench.refused()).code == 429
    bench.services.teams.replace(bench.teams((Limit("requests", 2, "minute"),)))
    await bench.run()


async def test_explain_says_what_is_left_and_takes_nothing() -> None:
    bench = Bench(PER_MINUTE, TOKENS)
    await bench.run(ScriptedRelay(usage=Usage(total_tokens=100)))
    for _ in range(2):
        assert await bench.quota.explain(make_exchange(team="studio")) == [
            "team studio: 3 requests per minute, 2 left, this would reserve 1",
            "team studio: 10000 tokens per minute, 9900 left, this would reserve 4096",
        ]
    bench.services.teams.replace(bench.teams((Limit("requests", 1, "minute"),)))
    with pytest.raises(Refusal, match="Team studio has used its 1 requests per minute"):
        await bench.quota.explain(make_exchange(team="studio"))


async def test_status_shows_each_limit() -> None:
    bench = Bench(PER_MINUTE, parent=(CONCURRENT,))
    await bench.run()
    assert await bench.quota.status() == {
        "acme": [{"limit": "1 concurrent", "used": 0, "left": 1}],
        "studio": [{"limit": "3 requests per minute", "used": 1, "left": 2}],
    }


@pytest.mark.parametrize("config", [{"default_output_tokens": -1}, {"lease": Seconds(0)}])
def test_settings_that_cannot_work_are_named(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(config))):
        Bench(**config)
