"""What a record says of an exchange, and what it never says."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.usage_log.forms import Forms
from plugins.usage_log.record import record_of
from proxy import (
    SCHEMA_VERSION,
    AttemptRecord,
    Exchange,
    Headers,
    Intent,
    Operation,
    Outcome,
    Principal,
    RequestHead,
    Team,
    Teams,
    Usage,
    UsageState,
)
from tests.support import ScriptedRelay, make_endpoint, make_exchange


def test_a_completed_exchange() -> None:
    relay = ScriptedRelay()
    exchange = make_exchange(relay)
    exchange.route = "gemini"
    exchange.principal = Principal(subject="ada", team="studio", key_id="k1")
    exchange.endpoint = make_endpoint("eu-1", region="eu")
    exchange.attempts = [AttemptRecord(endpoint="eu-1", region="eu", started_ms=0.4, ended_ms=250.0, status=200)]
    exchange.first_byte = exchange.started + 0.2512
    exchange.status, exchange.outcome = 200, Outcome.COMPLETED
    exchange.usage, exchange.usage_state = Usage(input_tokens=12, output_tokens=40), UsageState.FINAL
    relay.request_bytes, exchange.response_bytes = 592, 1100
    exchange.labels["plan"] = "flex"

    record = record_of(exchange, exchange.started + 1.25, Teams())

    assert record.schema == SCHEMA_VERSION
    assert record.time == "2025-06-15T15:06:40.000Z"
    assert (record.id, record.route) == ("x-1", "gemini")
    assert (record.team, record.subject, record.key_id) == ("studio", "ada", "k1")
    assert (record.operation, record.model) == ("generateContent", "gemini-2.5-flash")
    assert (record.method, record.path) == ("POST", "/v1beta/models/gemini-2.5-flash:generateContent")
    assert (record.endpoint, record.region, record.attempts) == ("eu-1", "eu", exchange.attempts)
    assert (record.outcome, record.status, record.reason) == (Outcome.COMPLETED, 200, None)
    assert (record.first_byte_ms, record.total_ms) == (251.2, 1250.0)
    assert (record.request_bytes, record.response_bytes) == (592, 1100)
    assert (record.usage_state, record.usage) == (UsageState.FINAL, exchange.usage)
    assert record.labels == {"plan": "flex"}


def test_an_exchange_nobody_admitted_has_no_team_and_no_endpoint() -> None:
    exchange = make_exchange()
    exchange.refuse(401, "No.", reason="NO_CREDENTIAL")

    record = record_of(exchange, exchange.started, Teams())

    assert (record.team, record.subject, record.key_id) == (None, None, None)
    assert (record.endpoint, record.region, record.first_byte_ms) == (None, None, None)
    assert (record.outcome, record.status, record.reason) == (Outcome.REFUSED, 401, "NO_CREDENTIAL")


def test_the_time_has_milliseconds_and_is_utc() -> None:
    exchange = make_exchange()
    exchange.received_at = 1_767_225_599.9999  # the last moment of a year does not become the next one

    assert record_of(exchange, exchange.started, Teams()).time == "2025-12-31T23:59:59.999Z"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1beta/models?key=planted", "/v1beta/models"),
        ("/v1beta/models?alt=sse?key=planted", "/v1beta/models"),
        ("/v1beta/models%3Fkey=planted", "/v1beta/models"),
        ("/v1beta/models%3fkey%3Dplanted", "/v1beta/models"),
        ("/v1beta/models&key=planted", "/v1beta/models"),
        ("/v1beta/models%26key=planted", "/v1beta/models"),
        ("http://u:planted@host/v1beta/models?key=planted", "/v1beta/models"),
        ("http://u:planted@host", "/"),
        ("/v1beta/files/a%20b", "/v1beta/files/a%20b"),
        ("/fetch/http://host/x", "/fetch/http://host/x"),
        ("*", "*"),
    ],
)
def test_the_path_holds_no_query_and_no_authority(target: str, path: str) -> None:
    exchange = make_exchange(target=target)

    assert record_of(exchange, exchange.started, Teams()).path == path


def test_what_a_caller_can_make_long_is_cut() -> None:
    exchange = make_exchange(target="/" + "p" * 16_000, operation=Operation("x", model="m" * 16_000))
    exchange.labels["note"] = "l" * 16_000

    record = record_of(exchange, exchange.started, Teams())

    assert record.path == "/" + "p" * 510 + "…"
    assert record.model == "m" * 127 + "…"
    assert record.labels == {"note": "l" * 255 + "…"}
    assert len(msgspec.json.encode(record)) < 2048


def test_what_is_just_short_enough_is_whole() -> None:
    exchange = make_exchange(target="/" + "p" * 511, operation=Operation("x", model="m" * 128))

    record = record_of(exchange, exchange.started, Teams())

    assert (record.path, record.model) == ("/" + "p" * 511, "m" * 128)


ASKED = Intent(
    input_tokens=500,
    max_output_tokens=100,
    candidate_count=2,
    image_size="4K",
    image_count=2,
    video_seconds=8,
    video_resolution="720p",
    service_tier="flex",
)
RAN = AttemptRecord(endpoint="a", region="eu", started_ms=0.4, status=200, sent=True)


@pytest.mark.parametrize(
    ("intent", "estimate"),
    [
        (
            ASKED,
            Usage(
                input_tokens=500,
                output_tokens=200,
                images=2,
                video_seconds=8,
                video_resolution="720p",
                tier="flex",
            ),
        ),
        (Intent(), Usage(input_tokens=1000)),
        (None, Usage(input_tokens=1000)),  # nothing had to read the body: its bytes, at four a token
    ],
)
def test_what_was_asked_for_stands_in_for_counts_that_are_missing(intent: Intent | None, estimate: Usage) -> None:
    relay = ScriptedRelay()
    relay.request_bytes = 4000
    exchange = make_exchange(relay)
    exchange.attempts, exchange.intent_read = [RAN], intent

    record = record_of(exchange, exchange.started, Teams())
    assert (record.estimate, record.asked_image_size) == (estimate, intent and intent.image_size)

    exchange.usage_state = UsageState.PARTIAL
    assert record_of(exchange, exchange.started, Teams()).estimate == estimate
    exchange.usage_state = UsageState.FINAL
    assert record_of(exchange, exchange.started, Teams()).estimate is None


@pytest.mark.parametrize("status", [None, 429])
def test_what_did_not_run_has_no_estimate(status: int | None) -> None:
    exchange = make_exchange()
    exchange.intent_read = ASKED
    if status is not None:
        exchange.attempts = [AttemptRecord(endpoint="a", region="eu", started_ms=0.4, status=status, sent=True)]

    assert record_of(exchange, exchange.started, Teams()).estimate is None


def test_the_price_list_is_the_team_s_or_its_parent_s() -> None:
    teams = Teams({"acme": Team("acme", price_list="resale"), "studio": Team("studio", parent="acme")})

    assert record_of(make_exchange(team="studio"), 0.0, teams).price_list == "resale"
    assert record_of(make_exchange(team="nobody"), 0.0, teams).price_list is None
    assert record_of(make_exchange(), 0.0, teams).price_list is None


def test_a_form_is_found_again_and_gives_the_record_that_is_made_anew() -> None:
    teams = Teams({"studio": Team("studio", price_list="resale")})
    forms = Forms(teams)
    relay = ScriptedRelay()
    operation = Operation("chat.completions", api="openai", generates=True)

    def an_exchange() -> Exchange:
        exchange = make_exchange(relay, team="studio", operation=operation)
        exchange.route = "gemini"
        exchange.attempts.append(AttemptRecord(endpoint="eu-1", region="eu", started_ms=0.4, sent=True))
        return exchange

    exchange = an_exchange()
    exchange.labels["plan"] = "flex"
    exchange.intent_read = Intent(model="gemini-2.5-flash", image_size="4K")
    exchange.endpoint = make_endpoint("eu-1", region="eu")
    exchange.first_byte = exchange.started + 0.2
    exchange.attempts[0].status = exchange.status = 200
    exchange.outcome, exchange.reason, exchange.once = Outcome.CLIENT_GONE, "CALLER_IDLE", "batches/b"
    exchange.usage, exchange.usage_state = Usage(input_tokens=12), UsageState.PARTIAL
    relay.request_bytes, exchange.response_bytes = 592, 1100
    form = forms.find(exchange)
    assert form.fill(exchange, exchange.started + 1.25) == record_of(exchange, exchange.started + 1.25, teams)

    another = an_exchange()  # nothing of the one before is left in the form, and the body may name another model
    assert forms.find(another) is not form
    another.intent_read = Intent(model="gemini-2.5-flash")
    assert forms.find(another) is form
    record = form.fill(another, another.started + 0.1)
    assert record == record_of(another, another.started + 0.1, teams)
    assert (record.outcome, record.total_ms, record.endpoint, record.labels) == (Outcome.LOST, 100.0, None, {})
    assert (record.asked_image_size, record.once, record.price_list) == (None, None, "resale")


def test_a_form_is_one_callers_and_of_one_configuration() -> None:
    teams = Teams({"studio": Team("studio", price_list="resale"), "lab": Team("lab")})
    forms = Forms(teams)
    form = forms.find(make_exchange(team="studio"))

    assert forms.find(make_exchange(team="studio")) is form
    assert forms.find(make_exchange(team="studio", target=f"{make_exchange().request.target}?alt=json")) is form
    for other in (
        make_exchange(team="lab"),
        make_exchange(),
        make_exchange(team="studio", method="PUT"),
        make_exchange(team="studio", target="/v1/models/gemini-2.5-flash:generateContent"),
        make_exchange(team="studio", operation=Operation("generateContent", api="vertex", generates=True)),
    ):
        found = forms.find(other)
        assert found is not form
        assert found.fill(other, other.started) == record_of(other, other.started, teams)

    teams.replace({"studio": Team("studio", price_list="list")})
    exchange = make_exchange(team="studio")
    assert forms.find(exchange).fill(exchange, exchange.started).price_list == "list"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/v1beta/models/m:generateContent", "/v1/models/m:generateContent?alt=sse", "/v1/x"]),
            st.sampled_from([None, Principal("ada", "studio"), Principal("ada", "studio"), Principal("bob", "lab")]),
            st.sampled_from(["POST", "PUT"]),
            st.sampled_from([None, "m", "n"]),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_a_head_that_comes_again_has_the_form_that_it_would_be_found(
    calls: list[tuple[str, Principal | None, str, str | None, bool]],
) -> None:
    """Whatever else it comes with: the fields alone are the same."""
    teams = Teams({"studio": Team("studio", price_list="resale"), "lab": Team("lab")})
    forms, operation, headers = Forms(teams), Operation("generateContent", generates=True), Headers(())
    for target, principal, method, model, reloads in calls:
        if reloads:
            teams.replace({"studio": Team("studio", price_list="list"), "lab": Team("lab")})
        exchange = make_exchange(operation=operation)
        exchange.request = RequestHead(method, target, headers, "127.0.0.1")
        exchange.principal = principal
        exchange.intent_read = Intent(model=model)
        form = forms.find(exchange)
        assert form.fill(exchange, exchange.started) == record_of(exchange, exchange.started, teams)
        assert forms.find(exchange) is form


def test_what_comes_once_is_not_kept() -> None:
    forms = Forms(Teams())
    for once in (
        make_exchange(target="/v1beta/files/a", operation=Operation("files.get")),
        make_exchange(target="/v1beta/models/AIza" + "planted-planted:generateContent"),
        make_exchange(operation=Operation("x", model="m" * 200, generates=True)),
    ):
        assert forms.find(once) is not forms.find(once)


def test_as_many_forms_as_there_may_be() -> None:
    forms = Forms(Teams())
    for number in range(3000):
        exchange = make_exchange(target=f"/v1beta/models/{number}:generateContent")
        assert forms.find(exchange).fill(exchange, exchange.started).path == exchange.request.target
