"""A run in words: Markdown tables for docs/bench.md and the terminal, and the few lines that the README has.

`__main__.py` calls it. Targets stand in the order of what a small call costs them.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence

from bench.goals import GOALS, added, plugin_costs, scaling
from bench.results import Results

Column = tuple[str, Callable[[Results, str], str]]
_CALL = "small.cpu.64"
_NONE = "-"
_LOSSES = ("failed", "broken", "lost")  # in a figure's name: each is one too many

METHOD = """\
- The proxy has a core for itself; the fake upstream and the load share another. All is loopback, HTTP/1.1, one worker.
- Two workers are compared with one by calls a second: one, its 64 callers and the upstream have one core and no other;
  two, 64 callers of each and the upstream have two, the callers sharing that of one worker, the upstream that of the
  other. Which worker takes a connection is a race, and here the load's core decides it: so many are made that each has
  64, and the rest is closed. What two busy cores give together is the machine's to say: nginx is asked the same.
- The figure is the **processor time of the proxy's own processes** (the scheduler's count, all threads), divided by
  what came through. A slow client or a busy neighbour lowers a rate; they hardly touch that.
- No call is the last one again: callers go through 97 prompts of 13 lengths, the upstream through 89 answers of other
  text, counts, ids and times, so that what a proxy keeps of one call does not flatter it. Headers are as an SDK sends
  them: the same on a connection but for Content-Length.
- Every target runs in every round, one after the other, so that a disturbance hits all alike. Shown is the median of
  the rounds, in brackets the best.
- Before a target is measured, bodies are compared byte for byte, both ways, and the keys that go up are looked at.
- Noise is wall over processor time of a short spin on the proxy's core before each target: 1.00 is nobody else."""

LIMITS = """\
- One machine, loopback, points of a few seconds: ratios carry over to other machines, microseconds do not.
- One caller measures the machine falling asleep and waking up as much as the proxy. Latencies contain the load's own.
- nginx and the bare aiohttp relays check nobody, log nothing and have no deadlines: they are what a hop costs. Envoy
  checks the same JWT, has one rate limit for everybody and writes an access log; it reads no usage and prices nothing.
  LiteLLM runs as pip installs it, with its master key and no database.
- Memory is measured once a run, in a process just started; peaks of several processes are added up."""


def _number(value: float | None, digits: int = 0) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"


def _plain(figure: str, digits: int = 0, scale: float = 1) -> Callable[[Results, str], str]:
    def cell(results: Results, target: str) -> str:
        value = results.median(target, figure)
        return _number(None if value is None else value * scale, digits)

    return cell


def _with_best(figure: str) -> Callable[[Results, str], str]:
    def cell(results: Results, target: str) -> str:
        median, best = results.median(target, figure), results.best(target, figure)
        return _NONE if not median else f"{_number(median)} ({_number(best)})"

    return cell


def _against(figure: str, other: str) -> Callable[[Results, str], str]:
    def cell(results: Results, target: str) -> str:
        ours, theirs = results.median(target, figure), results.median(other, figure)
        return _number(ours / theirs, 1) if ours and theirs else _NONE

    return cell


def _added(figure: str) -> Callable[[Results, str], str]:
    return lambda results, target: _number(added(results, target, figure))


SMALL: Sequence[Column] = (
    ("µs, c=1", _plain("small.cpu.1")),
    ("c=16", _plain("small.cpu.16")),
    ("**c=64** (best)", _with_best(_CALL)),
    ("of nginx's", _against(_CALL, "nginx")),
    ("gzip, in chunks, c=64", _plain("small.cpu.zipped")),
    ("calls/s, c=64", _plain("small.rate.64")),
    ("added p50 µs, c=1", _added("small.p50.1")),
    ("p99 ms, c=64", _plain("small.p99.64", 1, 1e-3)),
    ("failed", _plain("small.failed.64")),
)
BYTES: Sequence[Column] = (
    ("first event, added µs", _added("events.first")),
    ("µs an event", _plain("events.cpu")),
    ("20 MB: µs a MB (best)", _with_best("image.cpu.length")),
    ("in chunks", _with_best("image.cpu.chunked")),
    ("gzipped", _with_best("image.cpu.gzip")),
    ("MB/s", _plain("image.rate.length")),
    ("TLS: µs a call (best)", _with_best("tls.small.cpu.64")),
    ("TLS: µs a MB (best)", _with_best("tls.image.cpu.length")),
    ("TLS, in chunks", _with_best("tls.image.cpu.chunked")),
)
MEMORY: Sequence[Column] = (
    ("64 slow of 20 MB: MB each", _plain("slow.memory.64x20", 2)),
    ("over TLS", _plain("slow.memory.tls", 2)),
    ("200 of 20 MB", _plain("slow.memory.200x20", 2)),
    ("64 of 100 MB", _plain("slow.memory.64x100", 2)),
    ("1,000 held: KB each", _plain("held.memory.1000", 0, 1024)),
    ("failed", _plain("held.failed.1000")),
    ("a call beside, p50 µs", _plain("held.beside.1000")),
    ("5,000 held: KB each", _plain("held.memory.5000", 0, 1024)),
    ("failed", _plain("held.failed.5000")),
    ("100 MB up: µs a MB", _plain("upload.cpu.length")),
    ("in chunks", _plain("upload.cpu.chunked")),
    ("MB each", _plain("upload.memory.length", 1)),
)
VARIANTS: Sequence[Column] = (("µs a small call, c=64 (best)", _with_best(_CALL)),)
HEAD: Sequence[Column] = (
    ("a small call, 64 callers", lambda results, target: _unit(results.median(target, _CALL), "µs")),
    ("a MB of a 20 MB image", lambda results, target: _unit(results.median(target, "image.cpu.length"), "µs")),
    ("memory a slow 20 MB reader", lambda results, target: _unit(results.median(target, "slow.memory.64x20"), "MB", 2)),
)


def _unit(value: float | None, unit: str, digits: int = 0) -> str:
    return _NONE if value is None else f"{_number(value, digits)} {unit}"


def in_order(results: Results, figure: str = _CALL) -> list[str]:
    """Targets that have the figure, the cheapest first."""
    found = {name: value for name in results.targets if (value := results.median(name, figure)) is not None}
    return sorted(found, key=found.__getitem__)


def table(results: Results, columns: Sequence[Column], targets: Iterable[str]) -> str:
    """One row a target; those of which nothing is known are left out."""
    lines = ["| | " + " | ".join(title for title, _ in columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    for target in targets:
        cells = [cell(results, target) for _, cell in columns]
        if any(cell != _NONE for cell in cells):
            label = results.targets[target].label
            lines.append(f"| {f'**{label}**' if target == 'weir' else label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main_targets(results: Results) -> list[str]:
    """Those that stand for themselves: no variants of weir, nor of nginx."""
    variants = {name for name in results.targets if name.startswith(("weir-", "nginx-"))}
    known = in_order(results)
    unknown = [name for name in results.targets if name not in known]
    return [name for name in known + unknown if name not in variants]


def goals(results: Results) -> str:
    lines = ["| goal | must | stretch | this run | |", "|---|---:|---:|---:|---|"]
    for goal in GOALS:
        value = goal.value(results)
        shown = _NONE if value is None else goal.show(value)
        sign = "≥" if goal.at_least else "≤"
        bounds = f"{sign} {goal.show(goal.must)} | {sign} {goal.show(goal.stretch)}"
        lines.append(f"| {goal.what} | {bounds} | {shown} | {goal.verdict(value)} |")
    return "\n".join(lines)


def plugins(results: Results) -> str:
    costs = ", ".join(f"{name} {cost:.1f}" for name, cost in plugin_costs(results).items())
    return f"Each plugin alone adds, in µs: {costs}." if costs else ""


def workers(results: Results) -> str:
    value, share = scaling(results, "weir"), results.median("weir-two", "workers.share")
    one, two = results.median("weir-one", "workers.rate"), results.median("weir-two", "workers.rate")
    if value is None or share is None:
        return ""
    taken = results.median("weir-two", "workers.accepted") or 0
    nginx = scaling(results, "nginx")
    beside = f"\nnginx's two carry {nginx:.2f} times what its one does." if nginx else ""
    return (
        f"Two workers on two cores carry {_number(two)} calls a second, {value:.2f} times the {_number(one)} that one "
        f"carries on one core, callers and upstream included, and callers spread evenly; one of the two did "
        f"{share:.0%} of the work. Left to the race for it, one would have taken {taken:.0%} of the connections."
        f"{beside}"
    )


def rounds_of(results: Results) -> str:
    return "one round" if results.rounds == 1 else f"median of {results.rounds} rounds"


def surroundings(results: Results) -> str:
    noise = results.noise()
    quiet = f"noise {statistics.median(noise):.2f} in the median, {noise[-1]:.2f} at worst" if noise else ""
    return f"{results.when}, {results.machine}; {rounds_of(results)}, {results.seconds:g} s a point; {quiet}."


def failures(results: Results) -> str:
    found = []
    for name, target in results.targets.items():
        found += [f"- {name}: {failure}" for failure in target.failures]
        for figure in sorted({figure for figures in target.rounds for figure in figures}):
            if set(_LOSSES) & set(figure.split(".")) and (count := sum(target.values(figure))):
                found.append(f"- {name}: {figure}: {count:.0f}")
    return "\n".join(found) or "Nothing."


def whole(results: Results) -> str:
    """The page."""
    everyone = main_targets(results)
    variants = [name for name in in_order(results) if name.startswith("weir")]  # and the whole beside its parts
    notes = "\n".join(f"- {it.label}: {it.note}" for name in everyone if (it := results.targets[name]).note)
    sections = (
        ("Goals", goals(results)),
        ("Small calls: 0.6 KB up, 1.1 KB down", table(results, SMALL, everyone)),
        ("Streams, images, and an upstream over TLS", table(results, BYTES, everyone)),
        ("Memory, and large bodies up", table(results, MEMORY, everyone)),
        (
            "What each part of weir costs",
            f"{table(results, VARIANTS, variants)}\n\n{plugins(results)}\n{workers(results)}",
        ),
        ("What was wrong or could not be measured", failures(results)),
        ("How it is measured", METHOD),
        ("What the figures do not say", f"{LIMITS}\n{notes}"),
    )
    head = (
        f"# Benchmark\n\nWritten by `make bench`; raw figures in [bench.json](bench.json).\n\n{surroundings(results)}\n"
    )
    return head + "".join(f"\n## {title}\n\n{text.strip()}\n" for title, text in sections)


def headlines(results: Results) -> str:
    """The README's table."""
    peers = [name for name in main_targets(results) if name != "direct"]
    return f"{table(results, HEAD, peers)}\n\n{surroundings(results)}"
