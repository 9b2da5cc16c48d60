"""The goals of the project for speed, each a ratio or a bound within one run: must, and stretch.

`report.py` prints what a run has of them. Medians of the rounds; memory is measured once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.results import Results

# What each plugin is compared with: the same gateway without it.
PLUGINS = {
    "weir-usage": "weir-bare",
    "weir-auth": "weir-bare",
    "weir-quota": "weir-auth",
    "weir-routing": "weir-auth",
    "weir-breaker": "weir-bare",
}
_CALL = "small.cpu.64"
Found = float | None


@dataclass(frozen=True, slots=True)
class Goal:
    what: str
    must: float
    stretch: float
    value: Callable[[Results], Found]
    show: Callable[[float], str] = lambda value: f"{value:.2f}"
    at_least: bool = False

    def reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound

    def verdict(self, value: Found) -> str:
        if value is None:
            return "not measured"
        if not self.reaches(value, self.must):
            return f"misses by {abs(value / self.must - 1):.0%}" if self.must else "misses"
        return "holds, stretch too" if self.reaches(value, self.stretch) else "holds"


def _ratio(figure: str, against: str) -> Callable[[Results], Found]:
    return lambda results: _quotient(results.median("weir", figure), results.median(against, figure))


def _quotient(part: Found, whole: Found) -> Found:
    return part / whole if part is not None and whole else None


def added(results: Results, target: str, figure: str) -> Found:
    """Beyond what it is without any proxy."""
    value, without = results.median(target, figure), results.median("direct", figure)
    return value - without if value is not None and without is not None else None


def plugin_costs(results: Results) -> dict[str, float]:
    """What each plugin adds to a small call, in µs; by the best rounds, as differences of medians drown in noise."""
    costs = {}
    for name, without in PLUGINS.items():
        ours, theirs = results.best(name, _CALL), results.best(without, _CALL)
        if ours is not None and theirs is not None:
            costs[name.removeprefix("weir-")] = ours - theirs
    return costs


def scaling(results: Results, proxy: str) -> Found:
    """How many times the calls of its one worker, with its callers and upstream on one core, two carry on two."""
    return _quotient(results.median(f"{proxy}-two", "workers.rate"), results.median(f"{proxy}-one", "workers.rate"))


def _within(results: Results) -> Found:
    return _quotient(results.median("weir", "slow.memory.64x100"), results.median("weir", "slow.memory.64x20"))


def _part(value: float) -> str:
    return f"1/{1 / value:.0f}" if value else "0"


def _megabytes(value: float) -> str:
    return f"{value:.2f} MB"


def _kilobytes(value: float) -> str:
    return f"{value * 1024:.0f} KB"


def _microseconds(value: float) -> str:
    return f"{value:.1f} µs"


def _count(value: float) -> str:
    return f"{value:.0f}"


def _median(figure: str) -> Callable[[Results], Found]:
    return lambda results: results.median("weir", figure)


def _dearest(results: Results) -> Found:
    return max(plugin_costs(results).values(), default=None)


def _first_event(results: Results) -> Found:
    return _quotient(added(results, "weir", "events.first"), added(results, "envoy", "events.first"))


GOALS = (
    Goal("a small call, 64 callers, against aiohttp's bare connector", 1.30, 1.15, _ratio(_CALL, "aiohttp-connector")),
    Goal("the same against Envoy with the same job", 1.35, 1.0, _ratio(_CALL, "envoy")),
    Goal("the same against LiteLLM's Gemini pass-through", 1 / 80, 1 / 150, _ratio(_CALL, "litellm"), _part),
    Goal("the dearest plugin", 4, 2.5, _dearest, _microseconds),
    Goal("20 MB by length, a MB against nginx", 1.6, 1.0, _ratio("image.cpu.length", "nginx")),
    Goal("20 MB in chunks", 1.6, 1.0, _ratio("image.cpu.chunked", "nginx")),
    Goal("20 MB by length, upstream over TLS", 1.4, 1.25, _ratio("tls.image.cpu.length", "nginx")),
    Goal("20 MB in chunks, upstream over TLS", 1.4, 1.25, _ratio("tls.image.cpu.chunked", "nginx")),
    Goal("SSE: added time to the first event, against Envoy's", 1.3, 1.0, _first_event),
    Goal("memory a slow 20 MB reader, above idle", 1, 0.5, _median("slow.memory.64x20"), _megabytes),
    Goal("the same with 100 MB, against 20 MB", 1.1, 1.1, _within),
    Goal("1,000 held calls: failed", 0, 0, _median("held.failed.1000"), _count),
    Goal("1,000 held calls: memory each", 40 / 1024, 20 / 1024, _median("held.memory.1000"), _kilobytes),
    Goal("two workers against one, small calls", 1.8, 1.95, partial(scaling, proxy="weir"), at_least=True),
)
