"""A record that begins as the last one of its form ended is the record that would have been filled in from nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.usage_log.forms import Forms
from plugins.usage_log.record import record_of
from proxy import (
    AttemptRecord,
    Charge,
    ChargeLine,
    Exchange,
    Intent,
    Operation,
    Outcome,
    Pricing,
    Principal,
    Team,
    Teams,
    Usage,
    UsageRecord,
    UsageState,
    put_charge,
)
from tests.support import ScriptedRelay, make_endpoint, make_exchange

TEAMS = Teams({"studio": Team("studio", price_list="resale")})
OPERATIONS = [Operation("generateContent", model="m", generates=True), Operation("files.get")]
ENDPOINTS = [make_endpoint("eu-0", region="eu"), make_endpoint("us-0", region="us")]
PRINCIPAL = Principal("ada", "studio")
counts = st.integers(0, 1 << 60)
times = st.floats(0, 1e6)


def ended(**facts: Any) -> Exchange:
    relay = ScriptedRelay()
    exchange = make_exchange(relay, operation=facts.pop("operation", OPERATIONS[0]))
    exchange.principal = PRINCIPAL
    relay.request_bytes = facts.pop("request_bytes", 5)
    for name, value in facts.items():
        setattr(exchange, name, value)
    return exchange


exchanges = st.builds(
    ended,
    operation=st.sampled_from(OPERATIONS),
    endpoint=st.none() | st.sampled_from(ENDPOINTS),
    outcome=st.sampled_from([Outcome.COMPLETED, Outcome.LOST]),
    status=st.sampled_from([None, 200, 404]),
    usage_state=st.sampled_from(UsageState),
    reason=st.none() | st.just("GATEWAY_STOPPED"),
    once=st.none() | st.just("batches/1"),
    labels=st.sampled_from([{}, {"plan": "flex"}]),
    first_byte=st.none() | times,
    received_at=st.floats(0, 4e9),
    request_bytes=counts,
    response_bytes=counts,
    attempts=st.lists(st.builds(AttemptRecord, endpoint=st.just("eu-0"), region=st.just("eu"), started_ms=times)),
    usage=st.none() | st.builds(Usage, input_tokens=counts),
    intent_read=st.none() | st.builds(Intent, image_size=st.none() | st.just("1K")),
)
words = st.none() | st.sampled_from(["a", "b"])
amounts = st.none() | st.decimals(0, 10, places=7)
charges = st.builds(
    Charge,
    pricing=st.sampled_from(Pricing),
    tier=words,
    image_size=words,
    cost=amounts,
    cost_currency=st.sampled_from(["USD", "EUR"]),
    price=amounts,
    price_currency=st.sampled_from(["USD", "EUR"]),
    price_list=words,
    prices=words,
    lines=st.lists(st.builds(ChargeLine, st.just("text"), counts, st.just("0.1"), st.just("0.2")), max_size=2).map(
        tuple
    ),
)


def check(forms: Forms, exchange: Exchange, charge: Charge) -> UsageRecord:
    now = exchange.started + 1.25
    form = forms.find(exchange)
    record = form.end(exchange, now)
    assert (record.cost, record.price, record.charges) == (None, None, ()), "another exchange's"
    form.put_charge(record, charge)
    expected = record_of(exchange, now, TEAMS)
    assert form.fill(exchange, now) == expected, "an opening knows no end"
    put_charge(expected, charge)
    assert record == expected
    return record


@given(st.lists(st.tuples(exchanges, charges), max_size=6), st.integers(1, 3))
def test_whatever_ended_before(ends: list[tuple[Exchange, Charge]], times_each: int) -> None:
    forms = Forms(TEAMS)
    records = []
    for exchange, charge in ends:
        for _ in range(times_each):
            record = check(forms, exchange, charge)
            record.labels["a processor"] = "may write into its own record"
            records.append(record)
    for record in records:
        assert record.labels["a processor"]


CHARGE = {"pricing": Pricing.PRICED, "tier": "a", "image_size": "1K", "cost": "1", "price": "1", "prices": "1"}


@pytest.mark.parametrize(
    "other",
    [
        {"pricing": Pricing.ESTIMATED},
        {"tier": None},
        {"image_size": "2K"},
        {"cost": None},
        {"cost_currency": "EUR"},
        {"price": None},
        {"price_currency": "EUR"},
        {"price_list": "resale"},
        {"prices": "2"},
        {"cost": "2", "price": "3", "lines": (ChargeLine("text", 1, "1", "1"),)},
    ],
)
def test_one_thing_differs_in_the_bill(other: dict[str, Any]) -> None:
    forms = Forms(TEAMS)
    for facts in (CHARGE, CHARGE, CHARGE | other, CHARGE):
        check(forms, ended(), Charge(**facts))


@pytest.mark.parametrize(
    "other",
    [
        {"endpoint": ENDPOINTS[1]},
        {"endpoint": None},
        {"outcome": Outcome.CLIENT_GONE},
        {"status": None},
        {"usage_state": UsageState.PARTIAL},
    ],
)
def test_one_thing_differs_in_the_end(other: dict[str, Any]) -> None:
    forms = Forms(TEAMS)
    usual = {"endpoint": ENDPOINTS[0], "outcome": Outcome.COMPLETED, "status": 200, "usage_state": UsageState.FINAL}
    for facts in (usual, usual, usual | other, usual):
        check(forms, ended(**facts), Charge(**CHARGE))
