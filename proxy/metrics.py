"""What `/metrics` shows: counts and times of exchanges, in a Prometheus registry of our own.

`app.py` makes one `Metrics`, calls `observe` once after each exchange, and serves `render`. Exchanges that are alike
share a `Tally` of plain numbers; only a scrape makes series of them, since a series of the library's own costs a lock
and a microsecond each time it is touched. Labels are bounded: a model's name is the caller's text, so it earns a label
of its own only by an answer with counts, and only so many do: a 200 alone comes for names that no model has. No label
ever holds a user. Nothing here reads a clock or a body.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from proxy.exchange import Exchange
from proxy.record import Pricing
from proxy.tally import BUCKETS, Count, Kind, KindTuple, Tally, Times
from proxy.version import __version__

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

MOST_NAMES = 200  # of models, of teams, of operations; the ones after share "other"
OTHER = "other"
NONE = "-"

_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")

_SANE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/-]{0,79}")


class Names:
    """Bounds a label: the first `MOST_NAMES` sane names keep theirs, the rest are "other"."""

    def __init__(self) -> None:
        self._kept: set[str] = set()

    def label(self, name: str | None, *, earned: bool = True) -> str | None:
        """`earned` False: a name not seen before gets no label of its own by this exchange."""
        if name is None or name in self._kept:
            return name
        if not earned or len(self._kept) >= MOST_NAMES or _SANE_NAME.fullmatch(name) is None:
            return OTHER
        self._kept.add(name)
        return name


class Metrics(Collector):
    """All series of one gateway process."""

    def __init__(
        self,
        in_flight: Callable[[], int],
        connections: Callable[[], int] = lambda: 0,
        turned_away: Callable[[], int] = lambda: 0,
    ) -> None:
        """The three are asked at each scrape: exchanges and connections there are, connections refused so far."""
        self._turned_away = turned_away
        self._teams, self._models, self._operations = Names(), Names(), Names()
        self._tallies: dict[KindTuple, Tally] = {}
        self._attempts: dict[tuple[str, str | int | None], Count] = {}  # by endpoint and result
        self._pricing: dict[str | None, Count] = {word: Count() for word in (*Pricing, None)}
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("weir_build_info", "The running version.", ["version"], registry=registry).labels(__version__).set(1)
        Gauge("weir_exchanges_in_flight", "Exchanges that have not ended.", registry=registry).set_function(in_flight)
        Gauge("weir_connections", "Open connections of callers.", registry=registry).set_function(connections)
        registry.register(self)

    def observe(self, exchange: Exchange) -> None:
        """Count an exchange that has ended. Its whole time is left out if `ended` is not set."""
        principal, usage, charge = exchange.principal, exchange.usage, exchange.charge
        team = None if principal is None else principal.team
        # A plain tuple, equal to its `Kind`. What was kept for names as they are is bounded, as the names are.
        kind = (exchange.route, team, exchange.model, exchange.operation.name, exchange.outcome, exchange.status)
        tally = self._tallies.get(kind)
        if tally is None:
            tally = self._tally_of(Kind(*kind), earned=usage is not None)
        tally.exchanges += 1
        started, first_byte, ended = exchange.started, exchange.first_byte, exchange.ended
        if first_byte is not None:
            tally.first_byte.add(first_byte - started)
        if ended is not None:
            tally.total.add(ended - started)
        for attempt in exchange.attempts:
            result = (attempt.endpoint, attempt.error or attempt.status)
            count = self._attempts.get(result)
            if count is None:
                count = self._attempts[result] = Count()
            count.number += 1
        if usage is not None:
            tally.add_usage(usage)
        if charge is None:
            self._pricing[None].number += 1
        else:
            self._pricing[charge.pricing].number += 1
            tally.add_charge(charge)

    def render(self) -> bytes:
        """The text exposition format. Takes milliseconds with thousands of series; may run in a thread."""
        return generate_latest(self._registry)

    def _tally_of(self, kind: Kind, *, earned: bool) -> Tally:
        bounded = kind._replace(
            team=self._teams.label(kind.team),
            model=self._models.label(kind.model, earned=earned),
            operation=self._operations.label(kind.operation) or OTHER,
        )
        return self._tallies.setdefault(bounded, Tally())

    def collect(self) -> Iterator[Metric]:
        """The library's door for numbers that it does not keep itself. Called by `render`."""
        tallies = [(Kind(*kind), tally) for kind, tally in self._tallies.copy().items()]
        refused = "Connections refused because there were as many as there may be."
        yield CounterMetricFamily("weir_connections_refused", refused, value=self._turned_away())
        yield _counter(
            "weir_exchanges",
            "Exchanges that ended; status is the one sent to the caller.",
            Kind._fields,
            ((kind, tally.exchanges) for kind, tally in tallies),
        )
        yield _histogram(
            "weir_first_byte_seconds",
            "From the request head to the first byte of the answer.",
            ((kind, tally.first_byte) for kind, tally in tallies),
        )
        yield _histogram(
            "weir_exchange_seconds",
            "From the request head to the last byte of the answer.",
            ((kind, tally.total) for kind, tally in tallies),
        )
        yield _counter(
            "weir_tokens",
            "Tokens that answers reported; cached ones are part of input too.",
            ("team", "model", "kind"),
            (
                ((kind.team, kind.model, word), tokens)
                for kind, tally in tallies
                for word, tokens in tally.tokens.items()
            ),
        )
        yield _counter(
            "weir_images",
            "Images in answers.",
            ("team", "model"),
            (((kind.team, kind.model), tally.images) for kind, tally in tallies),
        )
        # To watch and to alert by; the exact amounts are in the usage log.
        yield _counter(
            "weir_cost",
            "What Google charges us.",
            ("team", "model", "currency"),
            (
                ((kind.team, kind.model, of), sum_.amount)
                for kind, tally in tallies
                for of, sum_ in tally.costs.copy().items()
            ),
        )
        yield _counter(
            "weir_price",
            "What teams are charged.",
            ("team", "model", "currency"),
            (
                ((kind.team, kind.model, of), sum_.amount)
                for kind, tally in tallies
                for of, sum_ in tally.prices.copy().items()
            ),
        )
        yield _counter(
            "weir_pricing",
            "Exchanges by what their amounts rest on; - where no usage log stood around them.",
            ("pricing",),
            (((word,), count.number) for word, count in self._pricing.items()),
        )
        yield _counter(
            "weir_attempts",
            "Tries at an endpoint; result is the status of its answer, or why there was none.",
            ("endpoint", "result"),
            ((key, count.number) for key, count in self._attempts.copy().items()),
        )


def _counter(
    name: str, text: str, labels: tuple[str, ...], counted: Iterable[tuple[tuple[object, ...], int | Decimal]]
) -> Metric:
    """A family of counters; amounts of the same labels are summed."""
    sums: dict[tuple[object, ...], int | Decimal] = {}
    for key, amount in counted:
        sums[key] = amount + sums.get(key, 0)
    family = CounterMetricFamily(name, text, labels=labels)
    for key, total in sums.items():
        family.add_metric([_text(part) for part in key], float(total))
    return family


def _histogram(name: str, text: str, counted: Iterable[tuple[Kind, Times]]) -> Metric:
    """A family of histograms by route and operation."""
    sums: dict[tuple[str | None, str], Times] = defaultdict(Times)
    for kind, times in counted:
        sums[kind.route, kind.operation].merge(times)
    family = HistogramMetricFamily(name, text, labels=("route", "operation"))
    for key, total in sums.items():
        buckets = list(zip(_BOUNDS, accumulate(total.counts), strict=True))
        family.add_metric([_text(part) for part in key], buckets, total.seconds)
    return family


def _text(label: object) -> str:
    return NONE if label is None else str(label)
