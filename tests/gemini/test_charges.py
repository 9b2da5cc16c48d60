"""What holds for the charge of any record whatsoever: it adds up, it is never negative, it rounds nothing."""

from decimal import Context, Decimal, Inexact, Rounded
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import AttemptRecord, Outcome, Pricing, Usage, UsageRecord, UsageState, fixed
from proxy.gemini.billed import BEGINS, FREE, RUNS
from proxy.gemini.exact import EXACT, MILLIONTH
from tests.support.bill import PRICE_FILE, bound, make_book, make_record

LISTS = """
[lists.odd]
currency = "XXX"
rate = { per_usd = 1.2345678901234567891, on = 2026-11-20 }
factor = 12345678901.234567891
images = { "1K" = 0.3, "4K" = 0.09 }
requests = { "*lite*" = 0.00000000000000000001 }
"""
BOOK = make_book(LISTS)
MODELS = [
    *bound(PRICE_FILE.read_text()).models,
    "models/gemini-2.5-flash@001",
    "gemini-flash-latest",
    "nobody",
    "",
    None,
]
WIDE = Context(prec=2000)

counts = st.one_of(st.integers(0, 5000), st.integers(150_000, 300_000), st.integers(-5, 1 << 80))
details = st.dictionaries(st.sampled_from(["text", "image", "audio", "video", "document", "smell"]), counts, max_size=4)
usages = st.builds(
    Usage,
    **dict.fromkeys(("input_tokens", "cached_tokens", "tool_tokens", "output_tokens", "thought_tokens"), counts),
    **dict.fromkeys(("input_by_modality", "cached_by_modality", "output_by_modality"), details),
    images=st.integers(-1, 9),
    video_seconds=st.integers(-1, 99),
    video_resolution=st.sampled_from([None, "720p", "1080p", "4K", "8k"]),
    search_queries=st.integers(-1, 5),
    tier=st.sampled_from(
        [None, "standard", "flex", "batch", "priority", "ON_DEMAND_OFFPEAK", "PROVISIONED_THROUGHPUT"]
    ),
    model_version=st.sampled_from([None, "gemini-2.5-flash-image", "gemini-99"]),
)
attempts = st.builds(
    AttemptRecord,
    endpoint=st.just("a"),
    region=st.just("eu"),
    started_ms=st.just(0.0),
    status=st.sampled_from([None, 101, 200, 400, 503]),
    error=st.sampled_from([None, "connect_failed"]),
    sent=st.booleans(),
)
records = st.builds(
    make_record,
    model=st.sampled_from(MODELS),
    operation=st.sampled_from([*sorted(RUNS | BEGINS | FREE), "files.get", "unknown", "new"]),
    api=st.sampled_from(["gemini", "vertex", "openai", "interactions", "live"]),
    method=st.sampled_from(["GET", "POST"]),
    location=st.sampled_from([None, "global", "europe-west4"]),
    outcome=st.sampled_from(list(Outcome)),
    attempts=st.lists(attempts, max_size=2),
    usage=st.none() | usages,
    usage_state=st.sampled_from(list(UsageState)),
    estimate=st.none() | usages,
    asked_image_size=st.sampled_from([None, "512", "1K", "2K", "4K", "8K"]),
    once=st.sampled_from([None, "batches/b"]),
    price_list=st.sampled_from([None, "odd", "gone"]),
    request_bytes=st.integers(0, 1 << 40),
)


@settings(max_examples=600, deadline=None)
@given(records)
def test_any_record(record: UsageRecord) -> None:
    EXACT.clear_flags()
    charge = BOOK.charge(record)

    assert not EXACT.flags[Inexact]
    assert not EXACT.flags[Rounded]
    assert charge == BOOK.charge(record)
    assert (charge.cost is None) == (charge.pricing is Pricing.UNPRICED)
    if charge.cost is None:
        assert (charge.price, charge.lines) == (None, ())
        return
    total = Decimal(0)
    for line in charge.lines:
        million = MILLIONTH if "_text" in line.meter or line.meter in TOKENS else Decimal(1)
        cost = WIDE.multiply(WIDE.multiply(Decimal(line.rate), line.quantity), million)
        assert line.cost == fixed(cost)
        assert line.quantity > 0
        total = WIDE.add(total, Decimal(line.cost))
    assert total == charge.cost >= 0
    if record.price_list is None:
        assert (charge.price, charge.price_currency) == (charge.cost, "USD")
    elif record.price_list == "gone":
        assert charge.price is None
    else:
        assert charge.price is not None
        assert charge.price >= 0
        assert charge.price_currency == "XXX"


TOKENS = {
    *("input_image", "input_audio", "input_video", "cached_audio", "output_image", "output_audio", "output_video"),
    "thoughts",
}


texts = st.builds(
    Usage,
    **dict.fromkeys(("input_tokens", "output_tokens", "thought_tokens"), counts),
    input_by_modality=st.sampled_from([{}, {"text": 5}, {"text": 5, "image": 3}]),
    tier=st.sampled_from([None, "ON_DEMAND", "flex", "new"]),
    model_version=st.sampled_from([None, "gemini-2.5-pro", "gemini-99"]),
)


@settings(max_examples=600, deadline=None)
@given(records, st.lists(usages | texts, min_size=1, max_size=4))
def test_terms_say_what_the_record_would_cost_or_nothing(record: UsageRecord, used: list[Usage]) -> None:
    terms = BOOK.terms(record)
    for usage in used:
        found = terms.charge(usage)
        if found is not None:
            record.usage, record.usage_state = usage, UsageState.FINAL
            assert found == BOOK.charge(record)
            assert found.pricing is Pricing.PRICED


@pytest.mark.parametrize("tier", [None, "ON_DEMAND", "flex", "PROVISIONED_THROUGHPUT"])
@pytest.mark.parametrize("price_list", [None, "odd", "gone"])
def test_text_is_priced_by_terms(tier: str | None, price_list: str | None) -> None:
    record = make_record(price_list=price_list)
    usage = Usage(input_tokens=118, output_tokens=1203, thought_tokens=77, input_by_modality={"text": 118}, tier=tier)

    charge = BOOK.terms(record).charge(usage)

    record.usage, record.usage_state = usage, UsageState.FINAL
    assert charge is not None
    assert charge == BOOK.charge(record)


def test_terms_follow_the_model_that_an_answer_names() -> None:
    """An alias is served by one model and then by another."""
    record = make_record(model="gemini-flash-latest")
    terms = BOOK.terms(record)
    charges = set()
    models, tiers = ("gemini-2.5-flash", "gemini-2.5-flash-lite"), (None, "flex")
    one_by_one = [*product(models, tiers), *((model, tier) for tier, model in product(tiers, models))]
    for model, tier in one_by_one:
        usage = Usage(input_tokens=1000, output_tokens=1000, model_version=model, tier=tier)
        record.usage, record.usage_state = usage, UsageState.FINAL
        found = terms.charge(usage)
        assert found is not None
        assert found == BOOK.charge(record)
        charges.add(found)
    assert len({charge.cost for charge in charges}) == 4


def test_a_look_up_that_fails_leaves_nothing_behind() -> None:
    """A plugin may put into a usage what does not belong there."""
    record = make_record()
    terms = BOOK.terms(record)
    assert terms.charge(Usage(input_tokens=7)) is not None
    for _ in range(2):
        with pytest.raises((TypeError, AttributeError)):
            terms.charge(Usage(input_tokens=7, tier=5))  # type: ignore[arg-type]


@settings(max_examples=400, deadline=None)
@given(
    records,
    usages,
    st.sampled_from(["input_tokens", "output_tokens", "thought_tokens", "tool_tokens"]),
    st.integers(1, 10**6),
)
def test_more_tokens_never_cost_less(record: UsageRecord, usage: Usage, name: str, more: int) -> None:
    record.usage = usage
    less = BOOK.charge(record).cost
    record.usage = msgspec.structs.replace(usage, **{name: getattr(usage, name) + more})
    greater = BOOK.charge(record).cost

    if less is not None and greater is not None:
        assert greater >= less


@pytest.mark.parametrize("tokens", [(1 << 53) + 1, 1 << 200])
def test_a_count_that_nobody_counted_has_no_price(tokens: int) -> None:
    assert BOOK.charge(make_record(usage=Usage(input_tokens=tokens))).pricing is Pricing.UNPRICED
