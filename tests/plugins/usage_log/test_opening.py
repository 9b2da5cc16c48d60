"""An opening is the record that would be made of its exchange at that moment, whichever way its line was made."""

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.usage_log.forms import Forms
from plugins.usage_log.opening import from_brief, opening_of
from plugins.usage_log.record import record_of
from plugins.usage_log.slots import Kind
from proxy import (
    Attempt,
    AttemptRecord,
    Exchange,
    Intent,
    Operation,
    Outcome,
    Principal,
    Team,
    Teams,
    Usage,
    UsageRecord,
)
from tests.support import ScriptedRelay, make_endpoint, make_exchange

TEAMS = Teams({"studio": Team("studio", price_list='re"sale')})
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
counts = st.integers(0, 1 << 40)


def attempt_of(exchange: Exchange, **fields: Any) -> Attempt:
    record = AttemptRecord(**{"endpoint": "eu-1", "region": "eu", "started_ms": 12.5} | fields)
    exchange.attempts.append(record)
    return Attempt(exchange, make_endpoint(record.endpoint, region=record.region), record)


def read(forms: Forms, attempt: Attempt) -> tuple[Kind, UsageRecord]:
    """The line as `recovery` reads it."""
    kind, line = opening_of(forms.find(attempt.exchange), attempt)
    assert not attempt.record.sent, "whoever sends says so"
    line = from_brief(line) if kind is Kind.BRIEF else line
    assert line.endswith(b"}\n")
    return kind, msgspec.json.decode(line, type=UsageRecord)


def check(attempt: Attempt, kind: Kind) -> UsageRecord:
    forms, exchange = Forms(TEAMS), attempt.exchange
    for _ in range(2):  # the first makes the form, the second finds it
        found_kind, found = read(forms, attempt)
        assert found_kind is kind
        attempt.record.sent = True
        assert found == record_of(exchange, exchange.started + attempt.record.started_ms / 1000, TEAMS)
        attempt.record.sent = False
    assert (found.outcome, found.attempts[-1].sent) == (Outcome.LOST, True)
    return found


@given(
    intent=st.none()
    | st.builds(
        Intent,
        input_tokens=counts,
        max_output_tokens=st.none() | counts,
        candidate_count=st.integers(-1, 3),
        image_size=st.none() | names,
        image_count=st.integers(0, 1),
        video_seconds=st.integers(0, 1),
        video_resolution=st.none() | names,
        service_tier=st.none() | names,
    ),
    generates=st.booleans(),
    size_bytes=counts,
    started_ms=st.integers(0, 10_000_000).map(lambda tenths: tenths / 10) | st.floats(0, 1e6),
    endpoint=names,
    region=names,
    subject=names,
)
def test_an_opening_reads_as_its_record(
    intent: Intent | None,
    generates: bool,
    size_bytes: int,
    started_ms: float,
    endpoint: str,
    region: str,
    subject: str,
) -> None:
    relay = ScriptedRelay()
    relay.request_bytes = size_bytes
    exchange = make_exchange(relay, operation=Operation("x", api="gemini", model="m", generates=generates))
    exchange.principal, exchange.intent_read = Principal(subject, "studio"), intent
    started_ms = round(started_ms * 10) / 10 if started_ms > 1e5 else started_ms
    attempt = attempt_of(exchange, endpoint=endpoint, region=region, started_ms=started_ms)
    # `total_ms` is to the tenth in a record: what is not comes only from a clock that is not ours.
    _, found = read(Forms(TEAMS), attempt)
    attempt.record.sent = True
    assert found.total_ms == pytest.approx(started_ms, abs=0.1)
    found.total_ms = 0.0
    assert found == record_of(exchange, exchange.started, TEAMS)


def test_an_ordinary_one_is_brief() -> None:
    exchange = make_exchange(team="studio")
    exchange.intent_read = Intent(input_tokens=7, max_output_tokens=100, candidate_count=2, thinking_budget=3)

    found = check(attempt_of(exchange), Kind.BRIEF)

    assert found.estimate == Usage(input_tokens=7, output_tokens=200)
    assert (found.endpoint, found.price_list, found.total_ms) == (None, 're"sale', 12.5)


def test_what_is_not_of_every_request_is_written_whole() -> None:
    exchange = make_exchange(team="studio")
    exchange.intent_read = Intent(max_output_tokens=10**40)
    check(attempt_of(exchange), Kind.OPENING)

    exchange = make_exchange(team="studio")
    exchange.intent_read = Intent(image_size="4K", image_count=1)
    assert check(attempt_of(exchange), Kind.OPENING).asked_image_size == "4K"


def test_endpoints_in_turns() -> None:
    forms = Forms(TEAMS)
    for name in ("eu-1", "us-1", "eu-1"):
        _, found = read(forms, attempt_of(make_exchange(team="studio"), endpoint=name))
        assert [tried.endpoint for tried in found.attempts] == [name]


def test_a_second_attempt_has_the_first_in_it() -> None:
    exchange = make_exchange(team="studio")
    attempt_of(exchange, endpoint="us-1", status=503, ended_ms=10.0, sent=True)

    assert [tried.endpoint for tried in check(attempt_of(exchange), Kind.OPENING).attempts] == ["us-1", "eu-1"]


def test_labels_are_in_it_without_credentials() -> None:
    exchange = make_exchange(team="studio")
    exchange.labels["plan"] = "flex"
    assert check(attempt_of(exchange), Kind.OPENING).labels == {"plan": "flex"}

    exchange = make_exchange(team="studio")
    exchange.labels["plan"] = "AIza" + "planted-planted-planted"
    assert read(Forms(TEAMS), attempt_of(exchange))[1].labels == {"plan": "***"}


@pytest.mark.parametrize(
    ("target", "model"),
    [("/v1beta/models/AIza" + "planted-planted", "m"), ("/v1beta/m?key=planted", "AIza" + "planted-planted")],
)
def test_a_pasted_credential_is_hidden(target: str, model: str) -> None:
    exchange = make_exchange(target=target, operation=Operation("x", model=model, generates=True))

    assert b"planted" not in opening_of(Forms(TEAMS).find(exchange), attempt_of(exchange))[1]


def test_a_name_that_is_no_text_does_not_keep_it_from_being_sent() -> None:
    exchange = make_exchange()
    exchange.principal = Principal("\ud800ada", "studio")
    _, found = read(Forms(TEAMS), attempt_of(exchange))

    assert (found.subject, found.team) == ("?ada", "studio")


@pytest.mark.parametrize("line", [b"", b"x" * 39, b"\0" * 40, b"\0" * 40 + b"[{},{}]", b"\0" * 40 + b'[{},{},"\xff"]'])
def test_what_is_none_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, struct.error)):
        from_brief(line)
