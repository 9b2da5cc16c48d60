"""Worked examples of Gemini facts 4.1 and 5, to the last digit, by the price file that comes with the gateway."""

from decimal import Decimal
from typing import Any

import pytest

from proxy import Charge, Outcome, Pricing, Usage, UsageRecord, UsageState, put_charge
from proxy.gemini.prices import PriceBook
from tests.support.bill import PRICE_FILE, bound, make_attempt, make_book, make_record

LISTS = """
[lists.resale]
factor = 0.375

[lists.eu]
currency = "EUR"
rate = { per_usd = 0.92, on = 2026-11-20 }
factor = 1.1
images = { "4K" = 0.09 }
requests = { "gemini-2.5-flash*" = 0.001, "*lite*" = 5 }
"""
BOOK = make_book(LISTS)

PRO = "gemini-3-pro-image"
ONE_K = Usage(
    input_tokens=14,
    output_tokens=1283,
    thought_tokens=174,
    total_tokens=1471,
    output_by_modality={"image": 1120},
    images=1,
)
FOUR_K = Usage(input_tokens=20, output_tokens=2063, output_by_modality={"image": 2000}, thought_tokens=100, images=1)


def charge(usage: Usage | None = None, *, book: PriceBook = BOOK, **fields: Any) -> Charge:
    return book.charge(make_record(usage=usage, **fields))


def lines(charged: Charge) -> dict[str, tuple[int, str, str]]:
    return {line.meter: (line.quantity, line.rate, line.cost) for line in charged.lines}


def test_an_image_of_1k_with_its_thoughts() -> None:
    charged = charge(ONE_K, model=PRO)

    assert charged.cost == Decimal("0.138472")  # (14 x 2 + 1120 x 120 + (163 + 174) x 12) / 1,000,000
    assert lines(charged) == {
        "input_text": (14, "2", "0.000028"),
        "output_image": (1120, "120", "0.1344"),
        "output_text": (163, "12", "0.001956"),
        "thoughts": (174, "12", "0.002088"),
    }
    assert (charged.pricing, charged.tier, charged.image_size) == (Pricing.PRICED, "standard", "1K")
    assert (charged.price, charged.price_currency, charged.price_list) == (charged.cost, "USD", None)
    assert (charged.cost_currency, charged.prices) == ("USD", "test")


IMAGE_ONLY = {size: Usage(output_tokens=n, output_by_modality={"image": n}, images=1) for size, n in {
    "512": 747, "1K": 1120, "2K": 1680, "4K": 2520}.items()}  # fmt: skip
PRO_4K = Usage(output_tokens=2000, output_by_modality={"image": 2000}, images=1)
NANO = Usage(output_tokens=1290, output_by_modality={"image": 1290}, images=1)


@pytest.mark.parametrize(
    ("model", "usage", "fields", "cost"),
    [
        (PRO, FOUR_K, {}, "0.241996"),  # 0.24 and a residue: (20 x 2 + 163 x 12) / 1,000,000
        (PRO, PRO_4K, {}, "0.24"),
        (PRO, PRO_4K, {"once": "batches/b1"}, "0.12"),
        ("gemini-3-pro-image-preview", PRO_4K, {"once": "batches/b1"}, "0.12"),  # half of standard: it has no own
        ("gemini-3.1-flash-image", IMAGE_ONLY["512"], {}, "0.04482"),
        ("gemini-3.1-flash-image", IMAGE_ONLY["1K"], {}, "0.0672"),
        ("gemini-3.1-flash-image", IMAGE_ONLY["2K"], {}, "0.1008"),
        ("gemini-3.1-flash-image", IMAGE_ONLY["4K"], {}, "0.1512"),
        ("gemini-3.1-flash-image", IMAGE_ONLY["1K"], {"api": "vertex", "location": "europe-west4"}, "0.07392"),
        ("gemini-3.1-flash-image", IMAGE_ONLY["1K"], {"api": "vertex", "location": "global"}, "0.0672"),
        (PRO, PRO_4K, {"api": "vertex", "location": "us-central1"}, "0.24"),  # has no uplift
        ("gemini-2.5-flash-image", NANO, {}, "0.0387"),
        ("gemini-2.5-flash-image", NANO, {"tier": "flex"}, "0.0195"),
        ("gemini-2.5-flash-image", NANO, {"tier": "ON_DEMAND_PRIORITY"}, "0.0702"),
        ("gemini-2.5-flash-image", NANO, {"tier": "batch"}, "0.0195"),
        (PRO, PRO_4K, {"tier": "flex"}, "0.12"),
        (PRO, PRO_4K, {"tier": "priority"}, "0.432"),
        # chat
        ("gemini-2.5-flash", Usage(input_tokens=1000, output_tokens=100), {}, "0.00055"),
        ("gemini-2.5-flash", Usage(input_tokens=1000, output_tokens=100), {"tier": "flex"}, "0.000275"),
        ("gemini-2.5-flash", Usage(input_tokens=1000, output_tokens=100), {"tier": "PRIORITY"}, "0.00099"),
        ("gemini-2.5-flash", Usage(input_tokens=1000, tool_tokens=500), {}, "0.00045"),
        ("gemini-3.8-flash", Usage(input_tokens=1000), {"api": "vertex", "location": "eu"}, "0.000825"),
        ("gemini-3.8-flash", Usage(input_tokens=1000), {"api": "openai", "location": "us-east1"}, "0.000825"),
        # the whole request moves, by the prompt alone
        ("gemini-2.5-pro", Usage(input_tokens=200_000, output_tokens=1000), {}, "0.26"),
        ("gemini-2.5-pro", Usage(input_tokens=200_001, output_tokens=1000), {}, "0.5150025"),
        ("gemini-2.5-pro", Usage(input_tokens=200_001, output_tokens=1000), {"tier": "priority"}, "0.9270045"),
        ("gemini-2.5-pro", Usage(input_tokens=200_001, output_tokens=1000), {"tier": "flex"}, "0.25750125"),
        ("gemini-2.5-pro", Usage(input_tokens=199_000, output_tokens=9000), {}, "0.33875"),
        (
            PRO,
            Usage(input_tokens=300_000, output_tokens=1120, output_by_modality={"image": 1120}, images=1),
            {},
            "1.3344",
        ),
        # cached tokens are in the input too
        ("gemini-2.5-flash", Usage(input_tokens=10_000, cached_tokens=8000), {}, "0.00084"),
        ("gemini-2.5-pro", Usage(input_tokens=300_000, cached_tokens=100_000), {}, "0.525"),
        (
            "gemini-2.5-flash",
            Usage(
                input_tokens=1000,
                input_by_modality={"text": 400, "audio": 600},
                cached_tokens=500,
                cached_by_modality={"audio": 500},
            ),
            {},
            "0.00027",  # 400 x 0.3 + 100 x 1 + 500 x 0.1
        ),
        (
            "gemini-2.5-flash",  # without details they are text, as far as there is any
            Usage(input_tokens=1000, input_by_modality={"text": 400, "audio": 600}, cached_tokens=500),
            {},
            "0.000515",  # 500 x 1 + 500 x 0.03
        ),
        # an input without a price of its own is text; so are documents, and kinds that nobody knows
        ("gemini-2.5-flash", Usage(input_tokens=900, input_by_modality={"image": 300, "document": 600}), {}, "0.00027"),
        ("gemini-2.5-flash", Usage(input_tokens=900, input_by_modality={"smell": 900}), {}, "0.00027"),
        (
            "gemini-embedding-2",
            Usage(input_tokens=100, input_by_modality={"image": 100}),
            {"operation": "embedContent"},
            "0.000045",
        ),
        ("gemini-embedding-001", Usage(input_tokens=1000), {"operation": "embedContent"}, "0.00015"),
        # speech and Live
        (
            "gemini-2.5-pro-preview-tts",
            Usage(input_tokens=10, output_tokens=1000, output_by_modality={"audio": 1000}),
            {},
            "0.02001",
        ),
        (
            "gemini-3.8-live",
            Usage(
                input_tokens=600,
                output_tokens=300,
                input_by_modality={"text": 100, "audio": 500},
                output_by_modality={"audio": 250, "text": 50},
            ),
            {"operation": "live", "api": "live", "status": 101, "attempts": [make_attempt(101)]},
            "0.0048",  # 100 x 0.75 + 500 x 3 + 250 x 12 + 50 x 4.5
        ),
        # searches, at list price; what they put into the prompt is not charged then
        ("gemini-3-flash-preview", Usage(input_tokens=1000, tool_tokens=9000, search_queries=3), {}, "0.0425"),
        ("gemini-2.5-flash", Usage(input_tokens=1000, search_queries=3), {}, "0.0353"),
        ("imagen-4.0-ultra-generate-001", Usage(images=3), {"operation": "predict"}, "0.18"),
        # reading a batch's results, by the version that each response names
        (
            None,
            Usage(input_tokens=1000, tier="batch", model_version="gemini-2.5-flash"),
            {"operation": "batches.get", "once": "b"},
            "0.00015",
        ),
        # an Interaction is read once too, and is no batch
        (
            "gemini-2.5-flash",
            Usage(input_tokens=1000),
            {"api": "interactions", "operation": "interactions.get", "once": "i"},
            "0.0003",
        ),
    ],
)
def test_worked_examples(model: str | None, usage: Usage, fields: dict[str, Any], cost: str) -> None:
    fields = dict(fields)
    tier = fields.pop("tier", usage.tier)
    charged = charge(
        Usage(**{name: getattr(usage, name) for name in usage.__struct_fields__} | {"tier": tier}),
        model=model,
        **fields,
    )

    assert charged.cost == Decimal(cost)
    assert charged.pricing is Pricing.PRICED
    assert sum(Decimal(line.cost) for line in charged.lines) == charged.cost


def test_a_commitment_is_prepaid_and_its_use_is_shown() -> None:
    charged = charge(Usage(input_tokens=1000, output_tokens=5, tier="PROVISIONED_THROUGHPUT"))

    assert (charged.cost, charged.tier, charged.pricing) == (0, "prepaid", Pricing.PRICED)
    assert lines(charged) == {"input_text": (1000, "0", "0"), "output_text": (5, "0", "0")}


@pytest.mark.parametrize("tier", ["ON_DEMAND_OFFPEAK", "deferred"])
def test_a_tier_that_nobody_knows_is_estimated_at_the_standard_rate(tier: str) -> None:
    charged = charge(Usage(input_tokens=1000, tier=tier))

    assert (charged.cost, charged.tier, charged.pricing) == (Decimal("0.0003"), None, Pricing.ESTIMATED)


@pytest.mark.parametrize(
    ("usage", "asked", "size"),
    [
        (ONE_K, None, "1K"),
        (ONE_K, "2K", "2K"),  # as many tokens: the request decides
        (ONE_K, "4K", "1K"),  # the answer is believed
        (FOUR_K, "1K", "4K"),
        (Usage(output_tokens=2240, output_by_modality={"image": 2240}, images=2), "2K", "2K"),
        (Usage(output_tokens=4000, output_by_modality={"image": 4000}), "4K", "4K"),  # two, in a bucket of the caller's
        (Usage(output_tokens=1105, output_by_modality={"image": 1105}, images=1), None, "1K"),
        (Usage(output_tokens=9), "4K", None),
    ],
)
def test_the_size_is_that_of_the_answer(usage: Usage, asked: str | None, size: str | None) -> None:
    assert charge(usage, model=PRO, asked_image_size=asked).image_size == size


def test_images_without_tokens_are_estimated_by_their_size() -> None:
    """The compatible surface counts images, and none of their tokens."""
    charged = charge(Usage(images=2), model=PRO, operation="images.generations", api="openai", asked_image_size="4K")
    assert (charged.cost, charged.pricing, charged.image_size) == (Decimal("0.48"), Pricing.ESTIMATED, "4K")

    chat = charge(
        Usage(input_tokens=10, output_tokens=1300, images=1), model=PRO, operation="chat.completions", api="openai"
    )
    assert (chat.cost, chat.pricing) == (Decimal("0.13658"), Pricing.ESTIMATED)  # 10 x 2 + 1120 x 120 + 180 x 12


def test_images_that_nothing_labels_are_not_text() -> None:
    """A chat's counts do not say which tokens are an image's, and its message may hold one."""

    def chat(tokens: int, model: str = PRO, **more: Any) -> Charge:
        return charge(Usage(output_tokens=tokens), model=model, operation="chat.completions", api="openai", **more)

    for charged, cost, images in (
        (chat(1282), "0.136344", Pricing.ESTIMATED),  # 1120 x 120 + 162 x 12
        (chat(2240), "0.2688", Pricing.ESTIMATED),
        (chat(1300, asked_image_size="4K"), "0.24", Pricing.ESTIMATED),
        (chat(1119), "0.013428", Pricing.PRICED),  # less than any image
        (chat(1300, "gemini-2.5-pro"), "0.013", Pricing.PRICED),
    ):
        assert (charged.cost, charged.pricing) == (Decimal(cost), images)
    native = charge(Usage(output_tokens=1282), model=PRO)
    assert (native.cost, native.pricing) == (Decimal("0.015384"), Pricing.PRICED)


def test_filtered_images_cost_nothing() -> None:
    charged = charge(Usage(), model="imagen-4.0-generate-001", operation="predict")
    assert (charged.cost, charged.pricing) == (0, Pricing.PRICED)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gemini-9-ultra", "usage": Usage(input_tokens=5)},
        {"model": None, "usage": Usage(input_tokens=5)},
        {"model": "gemini-9-ultra"},
        {"model": "gemini-2.5-flash", "usage": Usage(output_tokens=50, output_by_modality={"image": 50})},
        {"model": "gemini-2.5-flash", "usage": Usage(output_tokens=50, output_by_modality={"audio": 50})},
        {"model": "gemini-3.8-live", "usage": Usage(input_tokens=50, cached_tokens=50)},
        {"model": "veo-3.1-generate-001", "usage": Usage(video_seconds=8, video_resolution="1080p")},
        {"operation": "files.download", "method": "GET", "model": None, "once": "files/f1"},  # not read, or in parts
        {"model": "veo-3.1-lite-generate-001", "usage": Usage()},
        {"model": "gemini-2.5-flash", "usage": Usage()},  # it ran and used nothing: not to be believed
        {"model": "gemini-embedding-2", "usage": Usage(input_tokens=5, search_queries=1)},
        {"model": "gemini-2.5-flash", "operation": "batchGenerateContent"},  # its cost comes with its results
        {"model": "gemini-2.5-flash", "operation": "unknown"},
    ],
)
def test_what_has_no_price_is_unpriced_and_never_zero(fields: dict[str, Any]) -> None:
    charged = charge(price_list="resale", **fields)

    assert (charged.pricing, charged.cost, charged.price, charged.lines) == (Pricing.UNPRICED, None, None, ())
    assert (charged.price_list, charged.prices) == ("resale", "test")


def test_without_a_price_file_everything_is_unpriced() -> None:
    charged = PriceBook().charge(make_record(usage=ONE_K, model=PRO, price_list="resale"))

    assert charged == Charge(pricing=Pricing.UNPRICED, price_list="resale")


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": Outcome.REFUSED, "attempts": [], "status": 429},
        {"outcome": Outcome.CLIENT_GONE, "attempts": [], "status": None},
        {"attempts": [make_attempt(400)], "status": 400},
        {"attempts": [make_attempt(503), make_attempt(500)], "status": 500},
        {"outcome": Outcome.UPSTREAM_FAILED, "attempts": [make_attempt(None, error="connect_failed", sent=False)]},
        {"operation": "countTokens"},
        {"operation": "files.upload"},
        {"operation": "models.list", "method": "GET", "model": None},
        {"operation": "cachedContents.create"},
        {"operation": "fetchPredictOperation"},
        {"operation": "unknown", "method": "GET"},
    ],
)
def test_what_costs_nothing_is_priced_at_zero(fields: dict[str, Any]) -> None:
    charged = charge(price_list="eu", **fields)

    assert (charged.pricing, charged.cost, charged.price, charged.price_currency) == (Pricing.PRICED, 0, 0, "EUR")
    assert (charged.lines, charged.tier) == ((), None)


def test_partial_counts_are_an_estimate() -> None:
    charged = charge(Usage(input_tokens=1000, output_tokens=100), usage_state=UsageState.PARTIAL)

    assert (charged.cost, charged.pricing) == (Decimal("0.00055"), Pricing.ESTIMATED)


@pytest.mark.parametrize(
    ("model", "estimate", "cost"),
    [
        ("gemini-2.5-flash", Usage(input_tokens=1000, output_tokens=100), "0.00055"),
        ("gemini-2.5-flash", Usage(input_tokens=1000, output_tokens=100, tier="flex"), "0.000275"),
        ("gemini-2.5-flash", Usage(input_tokens=1000), "0.0028"),  # 1,000 tokens out, by [estimate]
        ("gemini-2.5-flash", Usage(input_tokens=9_000_000, output_tokens=9_000_000), "0.4784128"),  # all that it can
        ("gemini-2.5-flash", None, "0.00253"),  # 400 bytes in
        (PRO, Usage(input_tokens=10, output_tokens=8192, images=2), "0.26882"),
        (PRO, Usage(input_tokens=10), "0.13442"),
        ("gemini-embedding-001", Usage(input_tokens=1000, output_tokens=100), "0.00015"),
        ("imagen-4.0-generate-001", Usage(images=4), "0.16"),
        ("imagen-4.0-generate-001", None, "0.04"),
        ("veo-3.1-generate-001", Usage(video_seconds=16), "6.4"),
        ("veo-3.1-generate-001", Usage(video_seconds=8, video_resolution="4K"), "4.8"),
        ("veo-3.1-lite-generate-001", Usage(video_seconds=8, video_resolution="4k"), "0.64"),  # it makes 1080p at most
    ],
)
def test_without_counts_it_is_what_was_asked_for(model: str, estimate: Usage | None, cost: str) -> None:
    charged = charge(model=model, estimate=estimate)

    assert (charged.cost, charged.pricing) == (Decimal(cost), Pricing.ESTIMATED)


@pytest.mark.parametrize(
    ("model", "response_bytes", "cost"),
    [
        ("gemini-2.5-pro", 400_000, "0.500125"),  # 100 x 1.25 + 50,000 x 10
        ("gemini-2.5-pro", 7_000, "0.010125"),
        ("gemini-2.5-pro", 1 << 30, "0.655485"),  # all that it can
        ("gemini-3.8-flash-tts", 400_000, "0.00905"),  # sound
    ],
)
def test_a_long_answer_without_counts_is_no_short_one(model: str, response_bytes: int, cost: str) -> None:
    charged = charge(model=model, estimate=Usage(input_tokens=100), response_bytes=response_bytes)

    assert (charged.cost, charged.pricing) == (Decimal(cost), Pricing.ESTIMATED)


@pytest.mark.parametrize(
    ("word", "api", "tier"),
    [
        ("flex", "gemini", "flex"),
        ("priority", "openai", "priority"),
        ("provisioned_throughput", "gemini", "standard"),
        ("batch", "gemini", "standard"),
        ("whatever", "gemini", "standard"),
        ("flex", "vertex", "standard"),  # where a body's word is ignored
    ],
)
def test_a_tier_is_not_had_for_the_asking(word: str, api: str, tier: str) -> None:
    for usage, state in ((Usage(output_tokens=9), UsageState.PARTIAL), (None, UsageState.NONE)):
        charged = charge(usage, usage_state=state, estimate=Usage(output_tokens=9, tier=word), api=api)
        assert (charged.tier, charged.pricing) == (tier, Pricing.ESTIMATED)
    compatible = charge(estimate=Usage(output_tokens=9, tier=word), api="openai", location="global")
    assert compatible.tier == "standard"
    assert charge(Usage(output_tokens=9), estimate=Usage(tier=word), api=api).tier == "standard"  # read to its end


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": Outcome.UPSTREAM_FAILED, "attempts": [make_attempt(None, error="first_byte_timeout", sent=True)]},
        {"outcome": Outcome.LOST, "attempts": []},
        {"outcome": Outcome.LOST, "attempts": [make_attempt(None, sent=False)]},  # cut off while it waited
        {"outcome": Outcome.UPSTREAM_BROKE},
        {"outcome": Outcome.REFUSED, "status": 502},  # an answer that could not be passed on
    ],
)
def test_what_may_have_run_is_estimated(fields: dict[str, Any]) -> None:
    assert charge(**fields).pricing is Pricing.ESTIMATED


def test_the_seconds_of_a_video_are_an_estimate_for_the_request_says_them() -> None:
    charged = charge(
        Usage(video_seconds=8, video_resolution="1080p"),
        model="veo-3.1-fast-generate-001",
        operation="predictLongRunning",
    )

    assert (charged.cost, charged.pricing) == (Decimal("0.96"), Pricing.ESTIMATED)
    assert lines(charged) == {"video_seconds": (8, "0.12", "0.96")}


def test_a_search_that_no_source_prices_is_an_estimate() -> None:
    charged = charge(Usage(input_tokens=1000, search_queries=2), model="gemini-4-argon")

    assert (charged.cost, charged.pricing) == (Decimal("0.03"), Pricing.ESTIMATED)


def test_a_batch_is_a_sum_of_which_no_part_need_be_long() -> None:
    charged = charge(Usage(input_tokens=300_000, tier="batch"), model="gemini-2.5-pro", once="batches/b1")

    assert (charged.cost, charged.pricing, charged.tier) == (Decimal("0.1875"), Pricing.ESTIMATED, "batch")
    session = charge(Usage(input_tokens=300_000), model="gemini-2.5-pro", operation="live", api="live")
    assert (session.cost, session.pricing) == (Decimal("0.375"), Pricing.ESTIMATED)


def test_the_searches_of_a_batch_are_not_one() -> None:
    usage = Usage(input_tokens=10, search_queries=40, tier="batch")
    charged = charge(usage, model="gemini-2.5-flash", once="batches/b1")

    assert lines(charged)["search_prompts"] == (40, "0.035", "1.4")
    assert charged.pricing is Pricing.ESTIMATED


def test_the_results_of_a_batch_are_not_one_request() -> None:
    usage = Usage(output_tokens=1_000_000, tier="batch")
    charged = charge(usage, model="gemini-2.5-flash", once="batches/b1", price_list="eu")

    assert charged.price == Decimal("1.265")  # 1.25 x 1.1 x 0.92, and not 0.001


@pytest.mark.parametrize(
    ("list_name", "model", "usage", "price", "currency"),
    [
        ("resale", PRO, ONE_K, "0.051927", "USD"),  # 0.138472 x 0.375
        ("resale", PRO, PRO_4K, "0.09", "USD"),
        ("eu", PRO, FOUR_K, "0.09", "EUR"),  # flat, and nothing else
        ("eu", PRO, Usage(output_tokens=4000, output_by_modality={"image": 4000}, images=2), "0.18", "EUR"),
        ("eu", PRO, ONE_K, "0.140133664", "EUR"),  # no flat price for 1K: 0.138472 x 1.1 x 0.92
        ("eu", "gemini-2.5-flash-lite", Usage(input_tokens=1_000_000), "0.001", "EUR"),  # the first pattern that fits
        ("eu", "gemini-3.5-flash-lite", Usage(input_tokens=1), "5", "EUR"),
        ("gone", PRO, ONE_K, None, "USD"),
    ],
)
def test_what_a_team_pays(list_name: str, model: str, usage: Usage, price: str | None, currency: str) -> None:
    charged = charge(usage, model=model, price_list=list_name)

    assert charged.price == (None if price is None else Decimal(price))
    assert (charged.price_currency, charged.price_list, charged.cost_currency) == (currency, list_name, "USD")
    assert charged.cost is not None


def test_the_record_tells_both_sides_without_exponents() -> None:
    record: UsageRecord = make_record(usage=Usage(input_tokens=1), model="gemini-2.5-flash-lite", price_list="resale")
    put_charge(record, BOOK.charge(record))

    assert (record.cost, record.cost_currency) == ("0.0000001", "USD")
    assert (record.price, record.price_currency, record.price_list) == ("0.0000000375", "USD", "resale")
    assert (record.pricing, record.tier, record.prices) == (Pricing.PRICED, "standard", "test")
    assert BOOK.charge(record) == BOOK.charge(make_record(usage=record.usage, model=record.model, price_list="resale"))


def test_a_reload_changes_the_content_and_not_the_object() -> None:
    book = make_book()
    record = make_record(usage=Usage(input_tokens=1000))
    assert book.charge(record).cost == Decimal("0.0003")

    book.replace(bound(PRICE_FILE.read_text().replace("input_text = 0.3,", "input_text = 0.4,")), "later")

    charged = book.charge(record)
    assert (charged.cost, charged.prices, book.version) == (Decimal("0.0004"), "later", "later")


def test_a_charge_is_equal_by_what_it_says() -> None:
    decimal = Charge(pricing=Pricing.PRICED, cost=Decimal("0.1200"), price=Decimal("1E+2"))
    text = Charge(pricing=Pricing.PRICED, cost="0.12", price="100")

    assert (decimal, hash(decimal), repr(decimal)) == (text, hash(text), repr(text))
    assert (decimal.cost, decimal.price, decimal.cost_text) == (Decimal("0.12"), 100, "0.12")
    assert decimal != Charge(pricing=Pricing.PRICED, cost="0.12", price="100.1")
    assert decimal != "0.12"
    assert Charge(pricing=Pricing.UNPRICED).cost is None
