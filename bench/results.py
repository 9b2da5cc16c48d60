"""What a run has found: figures of each target and round, kept as JSON, summed up as medians.

`run.py` fills it; `report.py`, `picture.py`, `goals.py` and `gate.py` read it.
"""

import statistics
from pathlib import Path

import msgspec


class Measured(msgspec.Struct):
    """One target's."""

    label: str
    note: str = ""
    rounds: list[dict[str, float]] = []
    failures: list[str] = []  # what it got wrong or could not do, each once

    def values(self, figure: str) -> list[float]:
        return [found[figure] for found in self.rounds if figure in found]

    def median(self, figure: str) -> float | None:
        values = self.values(figure)
        return statistics.median(values) if values else None

    def best(self, figure: str) -> float | None:
        """The least: others on the machine only ever add to a cost."""
        return min(self.values(figure), default=None)

    def fail(self, what: str) -> None:
        if what not in self.failures:
            self.failures.append(what)


class Results(msgspec.Struct):
    when: str
    machine: str
    rounds: int
    seconds: float
    targets: dict[str, Measured] = {}

    def median(self, target: str, figure: str) -> float | None:
        return self.targets[target].median(figure) if target in self.targets else None

    def best(self, target: str, figure: str) -> float | None:
        return self.targets[target].best(figure) if target in self.targets else None

    def noise(self) -> list[float]:
        return sorted(value for measured in self.targets.values() for value in measured.values("noise"))

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def load(file: Path) -> Results:
    return msgspec.json.decode(file.read_bytes(), type=Results)
