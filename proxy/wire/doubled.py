"""Lets a doubled User-Agent through aiohttp's strict parser, which answers 400 to it before any handler runs.

google-genai 1.60, 1.75 and 2.0.1 send User-Agent twice on Interactions calls (Gemini fact 2.7). `rename` gives every
one after the first another name before the parser sees it; `restore` gives it back before anybody else does. The
other name is as long, so that nothing moves: bytes that shift would let a request be smuggled. No other field is
touched: User-Agent has no part in framing, routing or authorisation.
"""

import re
from collections.abc import Sequence

_NAME = b"X-Weir-U-A"
_MOST = 8  # nobody doubles it more often than once; the parser may refuse the rest
# A request line at the start of the data, and its whole head in it; SDKs send both in one segment.
_HEAD = re.compile(rb"[A-Z]{3,16} [^\r\n]{1,16384} HTTP/1\.[01]\r\n")
_FIELD = re.compile(rb"\r\n(?i:user-agent)(?=:)")


def rename(data: bytes) -> bytes:
    """The same data, if it begins with a whole head that names User-Agent more than once: under other names."""
    if data.count(b"ser-") < 2 or _HEAD.match(data) is None:  # most data ends here, within a microsecond
        return data
    end = data.find(b"\r\n\r\n")
    found = [match.start() + 2 for match in _FIELD.finditer(data, 0, end)] if end >= 0 else []
    if not 1 < len(found) <= _MOST:
        return data
    renamed = bytearray(data)
    for start in found[1:]:
        renamed[start : start + len(_NAME)] = _NAME
    return bytes(renamed)


def restore(raw: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """The fields with the names they came with, but for the case of the doubled one's."""
    if not any(name == _NAME for name, _ in raw):
        return raw
    return [(b"User-Agent", value) if name == _NAME else (name, value) for name, value in raw]
