"""The types a settings table is written in: durations, sizes and secrets.

The loader (`config/load.py`) turns TOML strings into these; a plugin's Config uses them as field types.
A field of type `pathlib.Path` is a path that, once loaded, is absolute: it starts at the routes file's folder.
Each keeps its unit in its name, so that no plain number of unknown meaning travels through the code.
"""

import re
from typing import Self

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Seconds(float):
    """A duration in seconds, written `"250ms"`, `"30s"`, `"5m"`, `"12h"` or `"90d"`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, with the accepted forms, on anything else."""
        match = _DURATION.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'expected a duration such as "250ms", "30s", "5m", "12h" or "90d", found "{text}"')
        return cls(float(match[1]) * _SECONDS[match[2]])


class Bytes(int):
    """A size in bytes, written `"64 KiB"`, `"8 MiB"` or `"1 GiB"`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, with the accepted forms, on anything else."""
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'expected a size such as "512 B", "64 KiB", "8 MiB" or "1 GiB", found "{text}"')
        return cls(int(float(match[1]) * _BYTES[match[2]]))


class Secret:
    """A value that must never be printed: `repr`, `str` and errors show where it came from, not what it is.

    Attributes:
        source: what the file said, e.g. `env:GEMINI_API_KEY`; safe to show.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """The value itself. Only what puts it on the wire or checks a signature calls this."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.source})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._value, self.source) == (other._value, other.source)

    def __hash__(self) -> int:
        return hash((self._value, self.source))
