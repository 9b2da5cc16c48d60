"""The picture of a run, for the README: three panels of bars as an SVG, dark where the reader's system is.

`__main__.py` calls it. Costs lie three powers of ten apart, so the bars are logarithmic and say so; the numbers stand
beside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.report import main_targets, rounds_of
from bench.results import Results

_LABEL, _PANEL, _GAP, _ROW, _TOP, _BAR = 218, 206, 18, 30, 62, 14
_NUMBER = 62  # room for the number after the longest bar
_STYLE = """
  .card { fill: #ffffff; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
  .title { font-weight: 600; } .quiet { fill: #6e7781; font-size: 11px; } .ours { font-weight: 700; }
  .bar { fill: #a8b3bf; } .bar.ours { fill: #1f7a8c; } .rail { stroke: #d8dee4; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; }
    text { fill: #e6edf3; } .quiet { fill: #9198a1; } .bar { fill: #59636e; } .bar.ours { fill: #4fc3d9; }
    .rail { stroke: #3d444d; }
  }"""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    figure: str
    least: float  # where the bars begin

    def length(self, value: float, most: float) -> float:
        """Of a bar, from 0 to 1, on a logarithmic scale."""
        if value <= self.least:
            return 0.0
        return math.log(value / self.least) / math.log(max(most, self.least * 10) / self.least)


PANELS = (
    Panel("A small call", "µs of processor time, 64 callers", "small.cpu.64", 5),
    Panel("A 20 MB image", "µs of processor time a MB", "image.cpu.length", 100),
    Panel("A slow reader of 20 MB", "MB of memory, above idle", "slow.memory.64x20", 0.01),
)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def draw(results: Results, panels: Sequence[Panel] = PANELS) -> str:
    """The SVG's text."""
    rows = [name for name in main_targets(results) if name != "direct"]
    width = _LABEL + len(panels) * (_PANEL + _GAP)
    height = _TOP + len(rows) * _ROW + 26
    parts = []
    for row, name in enumerate(rows):
        label = results.targets[name].label.partition(":")[0]
        parts.append(_text(_LABEL - 12, _middle(row), label, "ours" if name == "weir" else "", "end"))
    for number, panel in enumerate(panels):
        parts += _panel(results, rows, panel, _LABEL + number * (_PANEL + _GAP))
    foot = f"Shorter is better; bars are logarithmic. {results.when.split()[0]}, {rounds_of(results)}."
    parts.append(_text(width - _GAP, height - 8, foot, "quiet", "end"))
    body = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="What a small call, a large image and a slow reader cost weir and its peers">\n'
        f'<style>{_STYLE}\n</style>\n  <rect width="{width}" height="{height}" rx="6" class="card"/>\n'
        f"  {body}\n</svg>\n"
    )


def _panel(results: Results, rows: Sequence[str], panel: Panel, left: float) -> list[str]:
    values = {name: results.median(name, panel.figure) for name in rows}
    most = max((value for value in values.values() if value is not None), default=panel.least)
    parts = [_text(left, 22, panel.title, "title"), _text(left, 40, panel.unit, "quiet")]
    bottom = _TOP + len(rows) * _ROW - 8
    parts.append(f'<line x1="{left}" x2="{left}" y1="{_TOP - 8}" y2="{bottom}" class="rail"/>')
    for row, (name, value) in enumerate(values.items()):
        if value is None:
            parts.append(_text(left + 6, _middle(row), "not measured", "quiet"))
            continue
        style = " ours" if name == "weir" else ""
        long = max(2.0, panel.length(value, most) * (_PANEL - _NUMBER))
        top = _middle(row) - _BAR + 2
        parts.append(f'<rect x="{left}" y="{top}" width="{long:.1f}" height="{_BAR}" rx="2" class="bar{style}"/>')
        parts.append(_text(left + long + 6, _middle(row), _shown(value), style.strip()))
    return parts


def _middle(row: int) -> int:
    """The base line of a row's words."""
    return _TOP + row * _ROW + 8
