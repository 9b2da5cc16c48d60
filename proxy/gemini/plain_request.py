"""The request that nearly all are: turns of text, and what Google's examples set beside them.

`intent.py` tries it on a body whose call makes text and nothing else: decoded in one go, by the types of
`plain_request_shape.py`, it takes a third of the time. Whatever is rarer (a file, a tool, a schema, an image asked for,
a number that comes as a text, a name in snake_case) is refused as a whole, and then read the long way, which alone
decides what it means: a plain request must say the same either way.
"""

from typing import Final, final

import msgspec

from proxy.gemini.plain_request_shape import (
    PlainConfig,
    PlainRequest,
    PlainSafety,
    PlainText,
    PlainThinking,
    PlainTurn,
)
from proxy.gemini.request_fields import MOST_ASKED
from proxy.gemini.skeleton import original_bytes

_decode: Final = msgspec.json.Decoder(PlainRequest).decode
_fields: Final = msgspec.structs.astuple  # all fields of a struct, in the time of two


@final
class Plain:
    """What one plain request says.

    Attributes:
        text: bytes of all that is text in it, words of its settings too, as `prompt_size.py` counts them.
        output, candidates, thinking: what is asked for; None where it is unsaid, or no such number.
    """

    __slots__ = ("candidates", "output", "text", "thinking")

    def __init__(self, request: PlainRequest) -> None:
        turns: list[PlainTurn] | None
        config: PlainConfig | None
        safety: list[PlainSafety] | None
        system: PlainTurn | None
        turns, config, safety, system = _fields(request)
        self.text = 0
        self.output: int | None = None
        self.candidates: int | None = None
        self.thinking: int | None = None
        if turns is not None:
            self._read_turns(turns)
        if system is not None:
            self._read_turns([system])
        if config is not None:
            self._read_config(config)
        if safety is not None:
            self._read_safety(safety)

    def _read_turns(self, turns: list[PlainTurn]) -> None:
        role: str | None
        parts: list[PlainText] | None
        for turn in turns:
            role, parts = _fields(turn)
            self._read_text(role)
            if parts is not None:
                self._read_parts(parts)

    def _read_parts(self, parts: list[PlainText]) -> None:
        for part in parts:
            self._read_text(part.text)

    def _read_config(self, config: PlainConfig) -> None:
        thinking: PlainThinking | None
        stops: list[str] | None
        _, _, _, candidates, output, thinking, mime_type, stops = _fields(config)
        self.candidates = _count(candidates)
        self.output = _count(output)
        self._read_text(mime_type)
        if thinking is not None:
            level, budget, _ = _fields(thinking)
            self._read_text(level)
            self.thinking = _count(budget)
        if stops is not None:
            for stop in stops:
                self._read_text(stop)

    def _read_safety(self, settings: list[PlainSafety]) -> None:
        for setting in settings:
            category, threshold = _fields(setting)
            self._read_text(category)
            self._read_text(threshold)

    def _read_text(self, text: str | None) -> None:
        if text is not None:
            self.text += original_bytes(text)


def read_plain(body: bytes) -> Plain | None:
    """None: it is another kind of request, or none at all."""
    try:
        return Plain(_decode(body))
    except (ValueError, RecursionError):  # of msgspec
        return None


def _count(said: int | None) -> int | None:
    return said if said is not None and 0 <= said < MOST_ASKED else None
