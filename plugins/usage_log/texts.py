"""Moments, lengths and paths as a record writes them. Pure functions of what a call brings.

`record` and `opening` use them, `recovery` in its thread. What a caller may make as long as the wire allows is cut
here: a record is a few KB, however many of them wait for a disk. A query is kept out of it, in whatever spelling the
caller sent it.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final, final

# A query that a client escaped by mistake (`%3Fkey=…`), or began with `&`, is a query all the same: Google's
# paths hold neither, and keys were seen in both.
_QUERY_BEGINS: Final = re.compile(r"&|%3[Ff]|%26")

# Characters. Google's longest paths have some 200, its model names 40; an endpoint's full name has 100.
_LONGEST_PATH: Final = 512
_LONGEST_MODEL: Final = 128
_LONGEST_LABEL: Final = 256
_CUT: Final = "…"

_NUMBERS: Final[list[str]] = [str(number) for number in range(1000)]
_LONGEST_MS: Final = 1e12  # 30 years; much more is written with an exponent

_MILLISECONDS: Final = tuple(f".{number:03d}Z" for number in range(1000))


@final
class _Memory:
    """The last second asked for, and its text: the exchanges of one second share it. One pair, for two threads."""

    __slots__ = ("second",)

    def __init__(self) -> None:
        self.second: tuple[int, str] = (-1, "")


_memory: Final = _Memory()


def rfc3339(unix_seconds: float) -> str:
    milliseconds = int(unix_seconds * 1000)
    second = milliseconds // 1000
    known, text = _memory.second
    if known != second:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _memory.second = (second, text)
    return text + _MILLISECONDS[milliseconds % 1000]


def to_ms(seconds: float) -> float:
    """Milliseconds to the tenth, of a time that has passed."""
    return int(seconds * 10_000 + 0.5) / 10  # `round` takes ten times as long


def number(value: int) -> str:
    """As JSON has it. Nearly all are small: statuses, milliseconds, tokens."""
    return _NUMBERS[value] if 0 <= value < 1000 else str(value)


def tenths(milliseconds: float) -> int:
    """As whole tenths, where it is some: `to_ms` gives nothing else. -1: it is none, or too long to be written so."""
    if 0.0 <= milliseconds < _LONGEST_MS:
        found = int(milliseconds * 10 + 0.5)
        if found / 10 == milliseconds:
            return found
    return -1


def path_of(target: str) -> str:
    """The target's path alone: no query, and of an absolute form (RFC 9112 section 3.2.2) no authority."""
    path = target.partition("?")[0] if "?" in target else target
    if "&" in path or "%" in path:
        path = _QUERY_BEGINS.split(path, maxsplit=1)[0]
    if not path.startswith("/") and "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path if len(path) <= _LONGEST_PATH else _cut(path, _LONGEST_PATH)


def model_of(model: str | None) -> str | None:
    return model if model is None or len(model) <= _LONGEST_MODEL else _cut(model, _LONGEST_MODEL)


def labels_of(labels: Any) -> dict[str, str]:
    """Text, whatever a plugin has put there."""
    return {name: _label(str(text)) for name, text in labels.items()} if labels else {}


def _label(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else _cut(text, _LONGEST_LABEL)


def _cut(text: str, longest: int) -> str:
    return text[: longest - 1] + _CUT
