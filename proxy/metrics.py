"""What `/metrics` shows: counts and times of exchanges, in a Prometheus registry of our own.

`app.py` makes one `Metrics`, calls `observe` once after each exchange, and serves `render`. Labels are bounded:
a model's name is the caller's text, so it earns a label of its own only by an answer with counts, and only so many
do: a 200 alone comes for names that no model has. No label ever holds a user. Nothing here reads a clock or a body.
"""

import re
from collections.abc import Callable, Iterator

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.exchange import Exchange
from proxy.price import Pricing
from proxy.usage import Usage
from proxy.version import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each of ours, that nobody charts

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

MOST_NAMES = 200  # of models, of teams, of operations; the ones after share "other"
OTHER = "other"
NONE = "-"

# Text answers in 0.3 to 10 s, a 4K image in 20 to 60, thinking models and video take minutes.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)

_SANE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/-]{0,79}")


class Names:
    """Bounds a label: the first `MOST_NAMES` sane names keep theirs, the rest are "other"."""

    def __init__(self) -> None:
        self._kept: set[str] = set()

    def label(self, name: str | None, *, earned: bool = True) -> str:
        """`earned` False: a name not seen before gets no label of its own by this exchange."""
        if name is None:
            return NONE
        if name in self._kept:
            return name
        if not earned or len(self._kept) >= MOST_NAMES or _SANE_NAME.fullmatch(name) is None:
            return OTHER
        self._kept.add(name)
        return name


class Children(msgspec.Struct):
    """The series of one route, team, model and operation. Looked up once: `labels()` costs a microsecond each."""

    first_byte: Histogram
    total: Histogram
    input: Counter
    cached: Counter
    tool: Counter
    output: Counter
    thought: Counter
    images: Counter
    exchanges: dict[tuple[str, int | None], Counter]  # by outcome and status
    costs: dict[str, Counter]  # by currency
    prices: dict[str, Counter]


class Metrics:
    """All series of one gateway process."""

    def __init__(
        self,
        in_flight: Callable[[], int],
        connections: Callable[[], int] = lambda: 0,
        turned_away: Callable[[], int] = lambda: 0,
    ) -> None:
        """The three are asked at each scrape: exchanges and connections there are, connections refused so far."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("weir_build_info", "The running version.", ["version"], registry=registry).labels(__version__).set(1)
        Gauge("weir_exchanges_in_flight", "Exchanges that have not ended.", registry=registry).set_function(in_flight)
        Gauge("weir_connections", "Open connections of callers.", registry=registry).set_function(connections)
        registry.register(_TurnedAway(turned_away))
        self._exchanges = Counter(
            "weir_exchanges_total",
            "Exchanges that ended; status is the one sent to the caller.",
            ["route", "team", "model", "operation", "outcome", "status"],
            registry=registry,
        )
        self._first_byte = Histogram(
            "weir_first_byte_seconds",
            "From the request head to the first byte of the answer.",
            ["route", "operation"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._total = Histogram(
            "weir_exchange_seconds",
            "From the request head to the last byte of the answer.",
            ["route", "operation"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "weir_tokens_total",
            "Tokens that answers reported; cached ones are part of input too.",
            ["team", "model", "kind"],
            registry=registry,
        )
        self._images = Counter("weir_images_total", "Images in answers.", ["team", "model"], registry=registry)
        # Sums of floats, to watch and to alert by; the exact amounts are in the usage log.
        self._cost = Counter(
            "weir_cost_total", "What Google charges us.", ["team", "model", "currency"], registry=registry
        )
        self._price = Counter(
            "weir_price_total", "What teams are charged.", ["team", "model", "currency"], registry=registry
        )
        pricing = Counter(
            "weir_pricing_total",
            "Exchanges by what their amounts rest on; - where no usage log stood around them.",
            ["pricing"],
            registry=registry,
        )
        self._pricing = {word: pricing.labels(word or NONE) for word in (*Pricing, None)}
        self._attempts = Counter(
            "weir_attempts_total",
            "Tries at an endpoint; result is the status of its answer, or why there was none.",
            ["endpoint", "result"],
            registry=registry,
        )
        self._teams, self._models, self._operations = Names(), Names(), Names()
        self._children: dict[tuple[str, str, str, str], Children] = {}
        self._attempt_children: dict[tuple[str, int | str | None], Counter] = {}

    def observe(self, exchange: Exchange) -> None:
        """Count an exchange that has ended. Its whole time is left out if `ended` is not set."""
        children = self._children_of(exchange)
        counter = children.exchanges.get((exchange.outcome, exchange.status))
        if counter is None:
            counter = self._exchange_child(exchange, children)
        counter.inc()
        if exchange.first_byte is not None:
            children.first_byte.observe(exchange.first_byte - exchange.started)
        if exchange.ended is not None:
            children.total.observe(exchange.ended - exchange.started)
        for attempt in exchange.attempts:
            result = attempt.error or attempt.status
            child = self._attempt_children.get((attempt.endpoint, result))
            if child is None:
                child = self._attempts.labels(attempt.endpoint, NONE if result is None else str(result))
                self._attempt_children[attempt.endpoint, result] = child
            child.inc()
        if exchange.usage is not None:
            _count(exchange.usage, children)
        self._count_charge(exchange, children)

    def render(self) -> bytes:
        """The text exposition format. Takes milliseconds with thousands of series; may run in a thread."""
        return generate_latest(self._registry)

    def _children_of(self, exchange: Exchange) -> Children:
        route = exchange.route or NONE
        team, model = self._payer(exchange)
        operation = self._operations.label(exchange.operation.name)
        children = self._children.get((route, team, model, operation))
        if children is None:
            children = self._children[route, team, model, operation] = Children(
                first_byte=self._first_byte.labels(route, operation),
                total=self._total.labels(route, operation),
                input=self._tokens.labels(team, model, "input"),
                cached=self._tokens.labels(team, model, "cached"),
                tool=self._tokens.labels(team, model, "tool"),
                output=self._tokens.labels(team, model, "output"),
                thought=self._tokens.labels(team, model, "thought"),
                images=self._images.labels(team, model),
                exchanges={},
                costs={},
                prices={},
            )
        return children

    def _count_charge(self, exchange: Exchange, children: Children) -> None:
        charge = exchange.charge
        self._pricing[charge.pricing if charge is not None else None].inc()
        if charge is None:
            return
        for amount, currency, known, counter in (
            (charge.cost, charge.cost_currency, children.costs, self._cost),
            (charge.price, charge.price_currency, children.prices, self._price),
        ):
            if not amount:
                continue
            child = known.get(currency)
            if child is None:
                child = known[currency] = counter.labels(*self._payer(exchange), currency)
            child.inc(float(amount))

    def _payer(self, exchange: Exchange) -> tuple[str, str]:
        """Team and model, as the series have them."""
        team = self._teams.label(exchange.principal.team if exchange.principal else None)
        return team, self._models.label(exchange.model, earned=exchange.usage is not None)

    def _exchange_child(self, exchange: Exchange, children: Children) -> Counter:
        child = self._exchanges.labels(
            exchange.route or NONE,
            *self._payer(exchange),
            self._operations.label(exchange.operation.name),
            str(exchange.outcome),
            NONE if exchange.status is None else str(exchange.status),
        )
        children.exchanges[exchange.outcome, exchange.status] = child
        return child


class _TurnedAway(Collector):
    """A counter that somebody else counts: the library has this for gauges only."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        text = "Connections refused because there were as many as there may be."
        yield CounterMetricFamily("weir_connections_refused", text, value=self._count())


def _count(usage: Usage, children: Children) -> None:
    if usage.input_tokens:
        children.input.inc(usage.input_tokens)
    if usage.cached_tokens:
        children.cached.inc(usage.cached_tokens)
    if usage.tool_tokens:
        children.tool.inc(usage.tool_tokens)
    if usage.output_tokens:
        children.output.inc(usage.output_tokens)
    if usage.thought_tokens:
        children.thought.inc(usage.thought_tokens)
    if usage.images:
        children.images.inc(usage.images)
