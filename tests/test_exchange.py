"""What holds for any exchange, whatever happens to it."""

from proxy import Attempt, AttemptRecord
from tests.support import make_exchange


def test_two_exchanges_share_nothing_that_one_may_write_to() -> None:
    one, other = make_exchange(), make_exchange()
    one.labels["a"] = "b"
    one.candidates.clear()
    one.reply_headers.append(("a", "b"))
    one.attempts.append(AttemptRecord(endpoint="a", region="eu", started_ms=0.0))
    one.narrow([], "none fits")
    assert (other.labels, other.reply_headers, other.attempts, other.exclusions) == ({}, [], [], [])
    assert len(other.candidates) == 1
    assert one != other, "each is itself, whatever its fields say"


def test_it_never_shows_a_credential() -> None:
    exchange = make_exchange(target="/v1beta/models?key=hunter2", headers={"x-goog-api-key": "hunter2"})
    attempt = Attempt(exchange, exchange.candidates[0], AttemptRecord(endpoint="a", region="eu", started_ms=0.0))
    assert "hunter2" not in repr(exchange)
    assert "hunter2" not in repr(attempt)
