"""The line of an ordinary end is the one that its record makes, to the last byte; what is not has its record."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from structlog.typing import EventDict, WrappedLogger

from plugins.usage_log import UsageLog
from plugins.usage_log.charging import charge_of, usual_charge
from plugins.usage_log.ending import ending_of, is_ordinary
from plugins.usage_log.forms import Forms
from plugins.usage_log.ledger import Ledger
from plugins.usage_log.logger import line_of, record_logger
from proxy import (
    AttemptRecord,
    Charge,
    Endpoint,
    Exchange,
    Intent,
    Operation,
    Outcome,
    Principal,
    Team,
    Teams,
    Usage,
    UsageRecord,
    UsageState,
    put_charge,
)
from proxy.gemini.prices import PriceBook
from tests.support import ScriptedRelay, make_endpoint, make_exchange, make_services
from tests.support.bill import PRICE_FILE, bound, make_book

BOOK = make_book(
    '[lists."re\\"sale é"]\ncurrency = "XXX"\nrate = { per_usd = 1.25, on = 2026-11-20 }\nfactor = 1.1\n'
    'requests = { "*lite*" = 0.0125 }\n'
)
TEAMS = Teams(
    {"studio": Team("studio", price_list='re"sale é'), "own": Team("own"), "old": Team("old", price_list="gone")}
)
ENDPOINTS = [make_endpoint("eu-1", region="eu"), make_endpoint('a"b\\é', region="\x7f\t")]

counts = st.one_of(
    st.integers(0, 5000), st.integers(150_000, 300_000), st.sampled_from([999, 1000, 1 << 52, 1 << 80, -1])
)
details = st.sampled_from([{}, {"text": 7}, {"text": 3, "image": 4}, {"audio": 2}, {"smell": 1}])
words = st.sampled_from([None, "", "abc", 'q"\\\n', "é\u2028", "\ud800", "x" * 256])


def rarely(often: Any, *odd: Any) -> st.SearchStrategy[Any]:
    """One in eight is odd."""
    return st.integers(0, 7).flatmap(lambda number: st.just(often) if number else st.sampled_from(odd))


usages = st.builds(
    Usage,
    input_tokens=counts,
    cached_tokens=rarely(0, 5, -1),
    tool_tokens=rarely(0, 5),
    output_tokens=counts,
    thought_tokens=counts,
    total_tokens=counts,
    input_by_modality=details,
    output_by_modality=st.one_of(st.just({}), details),
    images=rarely(0, 1),
    video_seconds=rarely(0, 8),
    search_queries=rarely(0, 2),
    finish_reasons=st.sampled_from([(), ("STOP",), ("STOP", "MAX_TOKENS"), ('a"\\',)]),
    tier=rarely(None, "standard", "ON_DEMAND", "flex", "new", "\ud800"),
    model_version=st.sampled_from([None, "gemini-2.5-flash", "gemini-2.5-pro", "gemini-99", 'q"']),
    response_id=words,
)
times = st.one_of(
    st.integers(0, 100_000).map(lambda tenths: tenths / 10),
    st.integers(0, 1 << 60).map(lambda tenths: tenths / 10),
    st.floats(0, 1e20, exclude_min=True),
)
attempts = st.builds(
    AttemptRecord,
    endpoint=st.just("eu-1"),
    region=st.just("eu"),
    started_ms=times,
    ended_ms=rarely(3.2, None, 0.0, 1e300),
    status=rarely(200, 204, 1000, None, 503),
    error=rarely(None, "connect_failed"),
    sent=rarely(True, False),
)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """As they end, most of them in the usual way."""
    relay = ScriptedRelay()
    model = draw(
        st.sampled_from(["gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-3-pro-image", "veo-3", "nobody"])
    )
    api, location = draw(st.sampled_from([("gemini", None), ("vertex", "europe-west4"), ("openai", None)]))
    operation = Operation("generateContent", api=api, model=model, generates=True, location=location)
    target = draw(
        rarely("/v1beta/models/m:generateContent", "/v1/é", "/v1/AIza" + "SyD-planted_planted_planted_plant1")
    )
    exchange = make_exchange(relay, target=target, operation=operation)
    exchange.route = draw(st.sampled_from([None, "gemini", 'r"\n']))
    exchange.principal = draw(
        st.none()
        | st.builds(
            Principal,
            subject=st.sampled_from(["ada", 'b"é', "\ud800"]),
            team=st.sampled_from(["studio", "own", "old"]),
            key_id=st.none() | st.just("k1"),
        )
    )
    relay.request_bytes, exchange.response_bytes = draw(counts), draw(counts)
    exchange.attempts = draw(rarely([draw(attempts)], [], [draw(attempts), draw(attempts)]))
    exchange.endpoint = draw(rarely(ENDPOINTS[0], None, ENDPOINTS[1]))
    if exchange.endpoint is ENDPOINTS[1] and draw(st.booleans()):
        for tried in exchange.attempts:
            tried.endpoint, tried.region = ENDPOINTS[1].name, ENDPOINTS[1].region
    exchange.first_byte = draw(rarely(exchange.started + 0.2512, None, exchange.started))
    exchange.status = draw(rarely(200, None, 404))
    exchange.outcome = draw(rarely(Outcome.COMPLETED, *Outcome))
    exchange.usage_state = draw(rarely(UsageState.FINAL, *UsageState))
    exchange.usage = draw(rarely(draw(usages), None))
    exchange.reason = draw(rarely(None, "ODD"))
    exchange.once = draw(rarely(None, "batches/b"))
    exchange.labels = draw(rarely({}, {"plan": "flex"}))
    exchange.intent_read = draw(rarely(None, Intent(input_tokens=3), Intent(image_size="4K")))
    exchange.received_at += draw(st.sampled_from([0, 0.0009, 0.9999, 86400 * 365.25]))
    return exchange


def by_its_record(forms: Forms, exchange: Exchange, ended: float) -> tuple[Charge, bytes]:
    record = forms.find(exchange).fill(exchange, ended)
    charge = charge_of(record, BOOK, make_services().log)
    put_charge(record, charge)
    return charge, line_of(record)


@settings(max_examples=400, deadline=None)
@given(st.lists(exchanges(), min_size=1, max_size=3), st.sampled_from([0.0, 0.00004, 1.25, 12_345.678, 1e12]))
def test_a_line_is_its_records(several: list[Exchange], seconds: float) -> None:
    """They share their forms, and so whatever is kept of one for the next."""
    forms = Forms(TEAMS)
    for exchange in several:
        ended = exchange.started + seconds
        form = forms.find(exchange)
        expected = by_its_record(forms, exchange, ended)
        if not is_ordinary(form, exchange):
            continue
        assert exchange.usage is not None
        charge = usual_charge(form, exchange.usage, BOOK)
        if charge is None:
            continue
        assert charge == expected[0]
        line = ending_of(form, exchange, ended, charge)
        assert line is None or line == expected[1]


def ordinary(**fields: Any) -> Exchange:
    relay = ScriptedRelay()
    relay.request_bytes = 592
    exchange = make_exchange(relay, team="studio")
    exchange.route, exchange.endpoint = "gemini", ENDPOINTS[0]
    tried = AttemptRecord(endpoint="eu-1", region="eu", started_ms=0.4, ended_ms=250.0, status=200, sent=True)
    exchange.attempts = [tried]
    exchange.first_byte, exchange.ended = exchange.started + 0.2512, exchange.started + 1.25
    exchange.status, exchange.outcome, exchange.usage_state = 200, Outcome.COMPLETED, UsageState.FINAL
    exchange.usage = Usage(
        input_tokens=118,
        output_tokens=1203,
        thought_tokens=77,
        total_tokens=1398,
        input_by_modality={"text": 118},
        finish_reasons=("STOP",),
        model_version="gemini-2.5-flash",
        response_id="mZ3xaOr8Fd2kxN8P5_DNkQo",
    )
    exchange.response_bytes = 1100
    for name, value in fields.items():
        setattr(exchange, name, value)
    return exchange


def line(exchange: Exchange, book: PriceBook = BOOK, forms: Forms | None = None) -> bytes | None:
    form = (forms or Forms(TEAMS)).find(exchange)
    if not is_ordinary(form, exchange):
        return None
    assert exchange.usage is not None
    assert exchange.ended is not None
    charge = usual_charge(form, exchange.usage, book)
    return None if charge is None else ending_of(form, exchange, exchange.ended, charge)


@pytest.mark.parametrize("team", ["studio", "own"])
def test_nearly_all_are_ordinary(team: str) -> None:
    exchange = ordinary(principal=Principal("ada", team, "k1"))

    found = line(exchange)

    assert found is not None
    assert found == by_its_record(Forms(TEAMS), exchange, exchange.started + 1.25)[1]
    record = msgspec.json.decode(found, type=UsageRecord)
    assert (record.first_byte_ms, record.total_ms, record.usage) == (251.2, 1250.0, exchange.usage)
    assert [each.meter for each in record.charges] == ["input_text", "output_text", "thoughts"]


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {"plan": "flex"}},
        {"reason": "ODD"},
        {"once": "batches/b"},
        {"usage": None},
        {"usage_state": UsageState.PARTIAL},
        {"outcome": Outcome.CLIENT_GONE},
        {"attempts": []},
        {"endpoint": None},
        {"endpoint": ENDPOINTS[1]},
        {"first_byte": None},
        {"status": None},
        {"intent_read": Intent(image_size="4K")},
        {"usage": Usage(input_tokens=7, search_queries=1)},
        {"usage": Usage(input_tokens=7, cached_tokens=3)},
        {"usage": Usage(input_tokens=7, images=1)},
        {"usage": Usage(input_tokens=7, input_by_modality={"text": 3, "image": 4})},
        {"usage": Usage(input_tokens=300_000)},
        {"operation": Operation("x", api="gemini", model="gemini-3-pro-image", generates=True)},
        {"usage": Usage(input_tokens=7, tier="\ud800")},
        {"usage": Usage(input_tokens=7, response_id="\ud800")},
        {"usage": Usage()},
        {"principal": Principal("ada", "old")},
    ],
)
def test_what_few_have_is_written_by_its_record(fields: dict[str, Any]) -> None:
    assert line(ordinary(**fields)) is None


ODD: dict[str, st.SearchStrategy[Any]] = {
    "usage": st.builds(
        Usage,
        input_tokens=st.integers(0, 250_000),
        output_tokens=st.integers(0, 5000),
        thought_tokens=st.integers(0, 5000),
        finish_reasons=st.sampled_from([(), ("STOP",), ('a"\\',)]),
        tier=st.sampled_from([None, "standard", "ON_DEMAND", "flex", "priority"]),
        model_version=st.sampled_from([None, "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro"]),
        response_id=words,
    ),
    "attempts": st.builds(
        AttemptRecord,
        endpoint=st.just("eu-1"),
        region=st.just("eu"),
        started_ms=times,
        ended_ms=times,
        status=st.sampled_from([200, 204, 503, None]),
        error=st.sampled_from([None, None, "disconnected"]),
        sent=st.sampled_from([True, True, False]),
    ).map(lambda tried: [tried]),
    "status": st.sampled_from([200, 206, 404]),
    "route": st.sampled_from([None, 'r"\n']),
    "response_bytes": counts,
    "principal": st.builds(Principal, st.sampled_from(["ada", 'b"é']), st.sampled_from(["studio", "own"])),
    "reason": st.sampled_from([None, "ODD"]),
    "received_at": st.floats(1.7e9, 1.8e9),
    "operation": st.sampled_from(["gemini-2.5-pro", "gemini-flash-latest", "nobody"]).map(
        lambda model: Operation("generateContent", api="gemini", model=model, generates=True)
    ),
}
few_odd = st.lists(st.sampled_from(sorted(ODD)), max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: ODD[name] for name in names})
)


def test_what_differs_in_little_from_an_ordinary_end() -> None:
    """Most of these have a line, so that it is compared indeed."""
    ends = lines = 0

    @settings(max_examples=400, deadline=None)
    @given(st.lists(few_odd, min_size=1, max_size=3))
    def hold(several: list[dict[str, Any]]) -> None:
        nonlocal ends, lines
        forms = Forms(TEAMS)
        for fields in several:
            exchange = ordinary(**fields)
            found = line(exchange, BOOK, forms)
            ends += 1
            if found is not None:
                lines += 1
                assert exchange.ended is not None
                assert found == by_its_record(Forms(TEAMS), exchange, exchange.ended)[1]

    hold()
    assert lines > ends / 2


def test_a_form_remembers_few_places() -> None:
    form = Forms(TEAMS).find(ordinary())
    for number in range(200):
        form.place(make_endpoint(f"eu-{number}"))
    assert len(form._places) <= 32


def test_a_reload_of_the_price_file_is_seen_at_once() -> None:
    forms, book = Forms(TEAMS), PriceBook()
    assert line(ordinary(), book, forms) is None  # there is none
    for version in ("one", "two"):
        book.replace(bound(PRICE_FILE.read_text()), version)
        found = line(ordinary(principal=Principal("ada", "own")), book, forms)
        assert found is not None
        assert msgspec.json.decode(found, type=UsageRecord).prices == version


class Broken:
    def terms(self, record: UsageRecord) -> Any:
        raise ArithmeticError("planted")

    def charge(self, record: UsageRecord) -> Charge:
        return BOOK.charge(record)


@pytest.mark.parametrize("prices", [Broken(), BOOK])
async def test_a_fault_on_the_way_to_a_line_costs_no_record(tmp_path: Path, prices: Any) -> None:
    exchange = ordinary()
    if prices is BOOK:
        exchange.attempts[0].started_ms = "planted"  # type: ignore[assignment]  # a plugin may do that

    async def end(exchange: Exchange) -> None:
        assert exchange.usage is not None

    plugin = UsageLog(UsageLog.Config(), make_services(prices=prices, state=tmp_path))
    await plugin.start()
    with capture_logs() as logs:
        await plugin.around_exchange(exchange, end)
    await plugin.stop()

    (file,) = (tmp_path / "usage").glob("*.jsonl")
    record = msgspec.json.decode(file.read_bytes())
    assert record["cost"] == "0.0032354"
    assert [(log["log_level"], log["record"]) for log in logs] == [("error", "x-1")]


async def test_a_line_goes_to_the_file_as_it_is(tmp_path: Path) -> None:
    exchange = ordinary()

    async def end(exchange: Exchange) -> None:
        assert exchange.usage is not None

    plugin = UsageLog(UsageLog.Config(), make_services(prices=BOOK, state=tmp_path))
    await plugin.start()
    await plugin.around_exchange(exchange, end)
    await plugin.stop()

    (file,) = (tmp_path / "usage").glob("*.jsonl")
    expected, line = by_its_record(Forms(Teams()), exchange, exchange.started + 1.25)
    assert (file.read_bytes(), exchange.charge) == (line, expected)


async def test_a_processor_sees_the_record_of_an_ordinary_end_too(tmp_path: Path) -> None:
    def note(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {"record": msgspec.structs.replace(event["record"], labels={"site": "eu-1"})}

    async def end(exchange: Exchange) -> None:
        assert exchange.usage is not None

    services = make_services(prices=BOOK, state=tmp_path)
    plugin = UsageLog(UsageLog.Config(), services)
    records = record_logger(plugin._writer, note)
    plugin._ledger = Ledger(plugin._ahead, plugin._writer, records, services)
    await plugin.start()
    await plugin.around_exchange(ordinary(), end)
    await plugin.stop()

    (file,) = (tmp_path / "usage").glob("*.jsonl")
    assert msgspec.json.decode(file.read_bytes(), type=UsageRecord).labels == {"site": "eu-1"}


def test_an_endpoint_of_the_same_name_is_not_the_one_before() -> None:
    forms = Forms(TEAMS)
    assert line(ordinary(), BOOK, forms) is not None
    moved: Endpoint = make_endpoint("eu-1", region="us")
    tried = AttemptRecord(endpoint="eu-1", region="us", started_ms=0.4, ended_ms=250.0, status=200, sent=True)

    found = line(ordinary(endpoint=moved, attempts=[tried]), BOOK, forms)

    assert found is not None
    record = msgspec.json.decode(found, type=UsageRecord)
    assert (record.region, record.attempts) == ("us", [tried])
