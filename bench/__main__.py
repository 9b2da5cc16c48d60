"""`make bench` and `make bench-check`: weir and its peers side by side, on this machine.

    python -m bench                            the whole, about 12 minutes: docs/bench.*, and the README's table
    python -m bench --quick                    a look, about 3 minutes
    python -m bench --check                    the regression gate, about 4 minutes; exit status 1: weir became slower
    python -m bench --targets weir,envoy --phases small,tls --rounds 1
    python -m bench --weir ../other-tree       another tree's gateway, for before and after
    python -m bench --table docs/bench.json    an earlier run's report

What a part of the whole has found is written to .tools/bench/last.* and nowhere else.
"""

import argparse
import sys
from pathlib import Path

import uvloop

from bench import gate, picture, report, results
from bench.phases import PHASES, chosen
from bench.results import Results
from bench.run import measure
from bench.targets import COMPILED, ROOT, TOOLS, Target, all_targets

_QUICK_PHASES = ("small", "events", "image", "tls", "slow", "sealed", "held")
_MARKS = "<!-- bench: written by make bench -->", "<!-- /bench -->"


def main() -> int:
    asked = _arguments()
    if asked.table:
        print(report.whole(results.load(asked.table)))
        return 0
    if asked.list:
        for target in all_targets():
            print(f"{target.name:18} {target.label}; {', '.join(target.phases)}")
        return 0
    if asked.check:
        return _check(asked)
    phases = chosen(asked.phases or (_QUICK_PHASES if asked.quick else ()))
    rounds, seconds = (asked.rounds or (1 if asked.quick else 3)), (asked.seconds or (1.0 if asked.quick else 2.0))
    found = uvloop.run(measure(_targets(asked.targets), phases, asked.weir, seconds, rounds))
    partial = asked.quick or asked.targets or asked.phases or asked.weir != COMPILED
    _write(found, TOOLS / "last")
    print(f"\n{report.whole(found)}")
    if not partial:
        _write(found, ROOT / "docs" / "bench")
        renew(ROOT / "README.md", report.headlines(found))
    return 0


def _arguments() -> argparse.Namespace:
    def words(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    parser = argparse.ArgumentParser(prog="python -m bench", description="weir and its peers, side by side")
    parser.add_argument("--targets", type=words, default=[], help="some, by name and comma")
    parser.add_argument("--phases", type=words, default=[], help=f"of {', '.join(PHASES)}")
    parser.add_argument("--rounds", type=int, help="3; 1 with --quick")
    parser.add_argument("--seconds", type=float, help="for each point: 2; 1 with --quick")
    parser.add_argument("--weir", type=Path, default=COMPILED, help="whose gateway is measured: this tree's, compiled")
    parser.add_argument("--quick", action="store_true", help="one round, without the longest phases")
    parser.add_argument("--check", action="store_true", help="the regression gate")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print an earlier run's report")
    parser.add_argument("--list", action="store_true", help="print the targets and their phases")
    asked = parser.parse_args()
    if unknown := set(asked.phases) - set(PHASES):
        parser.error(f"no such phase: {', '.join(sorted(unknown))}; there are {', '.join(PHASES)}")
    if unknown := set(asked.targets) - {target.name for target in all_targets()}:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; see --list")
    return asked


def _targets(names: list[str]) -> list[Target]:
    return [target for target in all_targets() if not names or target.name in names]


def _check(asked: argparse.Namespace) -> int:
    by = gate.limits()
    targets = [target for target in all_targets() if target.name in by.targets]
    phases = chosen(by.phases)
    found = uvloop.run(measure(targets, phases, asked.weir, asked.seconds or 1.5, asked.rounds or 3))
    _write(found, TOOLS / "check")
    try:
        wrong = list(gate.breaches(found, by))
    except gate.TooNoisy as reason:
        print(f"bench-check: {reason}. Try again when it is quiet.", file=sys.stderr)
        return 2
    for sentence in wrong:
        print(f"bench-check: {sentence}", file=sys.stderr)
    if not wrong:
        print(f"bench-check: all {len(by.limits)} limits hold")
    return 1 if wrong else 0


def _write(found: Results, stem: Path) -> None:
    found.save(stem.with_suffix(".json"))
    stem.with_suffix(".md").write_text(report.whole(found))
    stem.with_suffix(".svg").write_text(picture.draw(found))


def renew(file: Path, text: str) -> None:
    """Put the text between the marks of a file."""
    before, opening, rest = file.read_text().partition(_MARKS[0])
    _, closing, after = rest.partition(_MARKS[1])
    if not closing:
        raise ValueError(f"{file} has no {' … '.join(_MARKS)}")
    file.write_text(f"{before}{opening}\n\n{text}\n\n{closing}{after}")


if __name__ == "__main__":
    sys.exit(main())
