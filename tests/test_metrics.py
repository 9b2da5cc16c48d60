"""What `/metrics` counts, and that no caller can make it grow without end."""

from decimal import Decimal

from prometheus_client.parser import text_string_to_metric_families

from proxy import AttemptRecord, Charge, Exchange, Operation, Outcome, Pricing, Usage
from proxy.metrics import CONTENT_TYPE, MOST_NAMES, Metrics
from tests.support import make_exchange


def series(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return series(metrics)[name][tuple(sorted(labels.items()))]


def ended(*, model: str | None = "gemini-2.5-flash", team: str | None = "studio", status: int | None = 200) -> Exchange:
    exchange = make_exchange(team=team, operation=Operation("generateContent", model=model))
    exchange.route = "gemini"
    exchange.status, exchange.outcome = status, Outcome.COMPLETED
    exchange.usage = Usage() if status == 200 else None
    exchange.first_byte, exchange.ended = exchange.started + 0.3, exchange.started + 1.2
    return exchange


def new() -> Metrics:
    return Metrics(in_flight=lambda: 0)


def test_exchanges_are_counted_by_how_they_ended() -> None:
    metrics = new()
    metrics.observe(ended())
    metrics.observe(ended())
    refused = ended(team=None)
    refused.refuse(401, "No.", reason="NO_CREDENTIAL")
    metrics.observe(refused)
    gone = ended(status=None)
    gone.outcome = Outcome.CLIENT_GONE
    metrics.observe(gone)

    same = {"route": "gemini", "operation": "generateContent", "model": "gemini-2.5-flash"}
    name = "weir_exchanges_total"
    assert value(metrics, name, **same, team="studio", outcome="completed", status="200") == 2
    assert value(metrics, name, **same, team="-", outcome="refused", status="401") == 1
    assert value(metrics, name, **same, team="studio", outcome="client_gone", status="-") == 1


def test_times_go_into_histograms() -> None:
    metrics = new()
    metrics.observe(ended())
    never_began = ended()
    never_began.first_byte = None
    metrics.observe(never_began)

    labels = {"route": "gemini", "operation": "generateContent"}
    assert value(metrics, "weir_first_byte_seconds_count", **labels) == 1
    assert value(metrics, "weir_first_byte_seconds_bucket", **labels, le="0.25") == 0
    assert value(metrics, "weir_first_byte_seconds_bucket", **labels, le="0.5") == 1
    assert value(metrics, "weir_exchange_seconds_count", **labels) == 2
    assert round(value(metrics, "weir_exchange_seconds_sum", **labels), 6) == 2.4


def test_tokens_and_images() -> None:
    metrics = new()
    exchange = ended()
    exchange.usage = Usage(
        input_tokens=12, cached_tokens=3, tool_tokens=5, output_tokens=40, thought_tokens=7, images=2
    )
    metrics.observe(exchange)
    metrics.observe(exchange)

    of = {"team": "studio", "model": "gemini-2.5-flash"}
    kinds = {"input": 24, "cached": 6, "tool": 10, "output": 80, "thought": 14}
    assert {kind: value(metrics, "weir_tokens_total", **of, kind=kind) for kind in kinds} == kinds
    assert value(metrics, "weir_images_total", **of) == 4


def test_amounts_by_team_model_and_currency() -> None:
    metrics = new()
    exchange = ended()
    exchange.charge = Charge(
        pricing=Pricing.PRICED, cost=Decimal("0.24"), price=Decimal("0.09"), price_currency="EUR", price_list="eu"
    )
    metrics.observe(exchange)
    metrics.observe(exchange)
    exchange.charge = Charge(pricing=Pricing.ESTIMATED, cost=Decimal("0.01"), price=Decimal(0))
    metrics.observe(exchange)

    of = {"team": "studio", "model": "gemini-2.5-flash"}
    assert value(metrics, "weir_cost_total", **of, currency="USD") == 0.49
    assert series(metrics)["weir_price_total"] == {tuple(sorted((of | {"currency": "EUR"}).items())): 0.18}


def test_every_exchange_is_counted_by_what_its_amount_rests_on() -> None:
    metrics = new()
    exchange = ended()
    metrics.observe(exchange)
    for pricing in Pricing:
        exchange.charge = Charge(pricing=pricing)
        metrics.observe(exchange)
    metrics.observe(exchange)

    counted = {dict(labels)["pricing"]: n for labels, n in series(metrics)["weir_pricing_total"].items()}
    assert counted == {"-": 1, "priced": 1, "estimated": 1, "unpriced": 2}
    assert "weir_cost_total" not in series(metrics)


def test_each_attempt_is_counted_by_its_result() -> None:
    metrics = new()
    exchange = ended()
    exchange.attempts = [
        AttemptRecord(endpoint="a", region="eu", started_ms=0.0, error="connect_failed"),
        AttemptRecord(endpoint="b", region="eu", started_ms=0.0, status=503),
        AttemptRecord(endpoint="b", region="eu", started_ms=0.0, status=200),
        AttemptRecord(endpoint="b", region="eu", started_ms=0.0),
    ]
    metrics.observe(exchange)

    assert series(metrics)["weir_attempts_total"] == {
        (("endpoint", "a"), ("result", "connect_failed")): 1,
        (("endpoint", "b"), ("result", "503")): 1,
        (("endpoint", "b"), ("result", "200")): 1,
        (("endpoint", "b"), ("result", "-")): 1,
    }


def test_in_flight_is_asked_at_the_scrape() -> None:
    running = [1, 2, 3]
    metrics = Metrics(in_flight=lambda: len(running))
    assert value(metrics, "weir_exchanges_in_flight") == 3
    running.pop()
    assert value(metrics, "weir_exchanges_in_flight") == 2


def test_registries_are_apart() -> None:
    first, second = new(), new()
    first.observe(ended())

    assert "weir_exchanges_total" in series(first)
    assert "weir_exchanges_total" not in series(second)
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def labels_of(metrics: Metrics, name: str) -> set[str]:
    return {dict(labels)[name] for labels in series(metrics)["weir_exchanges_total"]}


def test_models_and_teams_are_bounded() -> None:
    metrics = new()
    for number in range(MOST_NAMES + 50):
        metrics.observe(ended(model=f"model-{number}", team=f"team-{number}"))
    metrics.observe(ended(model="model-7", team="team-7"))

    for label in ("model", "team"):
        names = labels_of(metrics, label)
        assert len(names) == MOST_NAMES + 1
        assert "other" in names
        assert f"{label}-7" in names
    assert sum(series(metrics)["weir_exchanges_total"].values()) == MOST_NAMES + 51


def test_a_caller_cannot_use_the_names_up_with_models_that_do_not_exist() -> None:
    metrics = new()
    for number in range(MOST_NAMES + 50):
        metrics.observe(ended(model=f"made-up-{number}", status=404))
        uncounted = ended(model=f"made-up-too-{number}")
        uncounted.usage = None  # a GET of a collection answers 200 whatever stands where a model would
        metrics.observe(uncounted)
    metrics.observe(ended(model="gemini-2.5-flash"))
    metrics.observe(ended(model="gemini-2.5-flash", status=429))

    assert labels_of(metrics, "model") == {"other", "gemini-2.5-flash"}


def test_a_name_that_is_not_sane_is_other_and_none_is_a_dash() -> None:
    metrics = new()
    for model in ('a"b\n', "a" * 81, "", "../x", "AIza planted", "é"):
        metrics.observe(ended(model=model))
    metrics.observe(ended(model=None))
    metrics.observe(ended(model="publishers/google/models/gemini-2.5-flash@001"))

    assert labels_of(metrics, "model") == {"other", "-", "publishers/google/models/gemini-2.5-flash@001"}


def test_no_label_holds_a_user() -> None:
    metrics = new()
    metrics.observe(ended())

    assert "ada" not in metrics.render().decode()
