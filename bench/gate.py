"""The regression gate: is weir still as fast beside its peers as it was? `python -m bench --check`.

Judges ratios within one run against limits.toml, with its slack, and only on a quiet machine.
"""

import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.phases import PHASES
from bench.results import Results

SUBJECT = "weir"
_FILE = Path(__file__).with_name("limits.toml")


class TooNoisy(Exception):
    """Somebody else is on the machine: no judgement."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    figure: str
    what: str
    against: str
    at_most: float

    @property
    def phase(self) -> str:
        """Which has to be run for it."""
        return self.figure.partition(".")[0]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slack: float
    noise: float
    limits: list[Limit]

    @property
    def targets(self) -> set[str]:
        return {SUBJECT, *(limit.against for limit in self.limits)}

    @property
    def phases(self) -> list[str]:
        return [name for name in PHASES if any(limit.phase == name for limit in self.limits)]


def limits(file: Path = _FILE) -> Limits:
    return msgspec.convert(tomllib.loads(file.read_text()), Limits)


def breaches(results: Results, by: Limits) -> Iterator[str]:
    """A sentence for each limit that does not hold. TooNoisy where nothing can be said."""
    if (noise := statistics.median(results.noise())) > by.noise:
        raise TooNoisy(f"the machine is too busy to judge: noise {noise:.2f}, and {by.noise} is allowed")
    for limit in by.limits:
        ours, theirs = results.best(SUBJECT, limit.figure), results.best(limit.against, limit.figure)
        if ours is None or theirs is None:
            missing = SUBJECT if ours is None else limit.against
            failures = "; ".join(results.targets[missing].failures) if missing in results.targets else "it did not run"
            yield f"{limit.what}: no figure of {missing} ({failures or 'the phase was not run'})"
        elif (ratio := ours / theirs) > limit.at_most * by.slack:
            yield (
                f"{limit.what} costs {ours:.1f} µs, {ratio:.2f} times {limit.against}'s {theirs:.1f}; "
                f"the limit is {limit.at_most:.2f}, with slack {limit.at_most * by.slack:.2f}"
            )
