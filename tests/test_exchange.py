"""What holds for any exchange, whatever happens to it."""

from collections.abc import Awaitable

import pytest

from proxy import Attempt, AttemptRecord, CallerGone, Exchange, Intent, Outcome, Refusal
from tests.support import ScriptedRelay, make_exchange


def test_two_exchanges_share_nothing_that_one_may_write_to() -> None:
    one, other = make_exchange(), make_exchange()
    one.labels["a"] = "b"
    one.candidates.clear()
    one.reply_headers.append(("a", "b"))
    one.attempts.append(AttemptRecord(endpoint="a", region="eu", started_ms=0.0))
    one.narrow([], "none fits")
    assert (other.labels, other.reply_headers, other.attempts, other.exclusions) == ({}, [], [], ())
    assert len(other.candidates) == 1
    assert one != other, "each is itself, whatever its fields say"


def test_it_never_shows_a_credential() -> None:
    exchange = make_exchange(target="/v1beta/models?key=hunter2", headers={"x-goog-api-key": "hunter2"})
    attempt = Attempt(exchange, exchange.candidates[0], AttemptRecord(endpoint="a", region="eu", started_ms=0.0))
    assert "hunter2" not in repr(exchange)
    assert "hunter2" not in repr(attempt)


class Asked(ScriptedRelay):
    """Says at once what the request asks for, or has to be waited for; it may fail either way."""

    def __init__(self, failure: Exception | None, *, at_once: bool) -> None:
        super().__init__()
        self.failure = failure
        self.at_once = at_once
        self.times = 0

    def read_intent(self) -> Intent | Awaitable[Intent]:  # type: ignore[override]  # which is a coroutine there
        self.times += 1
        if not self.at_once:
            return self._later()
        if self.failure is not None:
            raise self.failure
        return self.intent

    async def _later(self) -> Intent:
        if self.failure is not None:
            raise self.failure
        return self.intent


async def intent_of(exchange: Exchange) -> Intent:
    asked = exchange.asked()
    return asked if isinstance(asked, Intent) else await asked


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_it_asks_for_is_read_once_and_without_a_wait_where_that_can_be(at_once: bool) -> None:
    relay = Asked(None, at_once=at_once)
    exchange = make_exchange(relay)
    first = exchange.asked()
    assert isinstance(first, Intent) is at_once
    intent = first if isinstance(first, Intent) else await first
    assert intent is relay.intent is exchange.intent_read
    assert exchange.asked() is intent
    assert await exchange.intent() is intent
    assert relay.times == 1


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("ask", [intent_of, Exchange.intent])
async def test_a_body_that_cannot_be_read_ends_it_whichever_way_it_is_asked(at_once: bool, ask: object) -> None:
    assert callable(ask)
    failures = {
        "BAD_BODY": ValueError("Invalid JSON payload received."),
        "TOO_LARGE": Refusal(413, "Too large.", reason="TOO_LARGE"),
        "CLIENT_GONE": CallerGone("it left"),
    }
    for reason, failure in failures.items():
        exchange = make_exchange(Asked(failure, at_once=at_once))
        with pytest.raises(Refusal) as refused:
            await ask(exchange)
        assert (refused.value.reason, exchange.reason) == (reason, reason)
        assert (exchange.outcome is Outcome.CLIENT_GONE) == (reason == "CLIENT_GONE")
        assert refused.value is failure or refused.value.__context__ is failure  # compiled, there is no `from`
        assert exchange.intent_read is None
