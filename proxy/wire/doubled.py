"""Lets a doubled User-Agent through aiohttp's strict parser, which answers 400 to it before any handler runs.

google-genai 1.60, 1.75 and 2.0.1 send User-Agent twice on Interactions calls (Gemini fact 2.7). `Head` gives every
one after the first another name before the parser sees it; `restore` gives it back before anybody else does. The other
name is as long, so that nothing moves: bytes that shift would let a request be smuggled.

The parser lets any other field repeat but nine, and those stay refused. Content-Length, Transfer-Encoding: where the
body ends. Host: who is meant. Content-Type, Content-Range: what the body is. Two of one kind are read differently by
two readers, and a plugin's decision would hold for one of them. Max-Forwards, and Content-Location, ETag, Server, which
belong in answers: no client doubles them.
"""

import re
from collections.abc import Sequence

_NAME = b"X-Weir-U-A"
_MOST = 8  # nobody doubles it more often than once; the parser may refuse the rest
_FIELD = re.compile(rb"\r\n(?i:user-agent):")
_END = b"\r\n\r\n"
_TURNS = (b"\r\nuser-agent:", _END)  # what must be seen whole, and may come in two segments
_LONGEST = max(map(len, _TURNS))


class Head:
    """One request's head on its way to the parser, in as many segments as it comes.

    Of a segment's end it holds back what may begin a name, at most a dozen bytes, until the next one: no head ends in
    them. Where our eye and the parser's could differ, at a line that ends otherwise, the parser refuses the request.
    Once it has ended, what follows passes as it is: bytes of a body are nobody's to change.
    """

    __slots__ = ("_behind", "_count", "_ended", "_held", "_last")

    def __init__(self) -> None:
        self._held = b""
        self._count = 0  # of the names that passed
        self._ended = False
        self._behind = 0  # bytes that followed it
        self._last = b""  # the last few bytes of all

    def over(self, body_bytes: int) -> bool:
        """Another head may begin, given that the requests that came are whole, the last with so many bytes of body.

        A client that does not wait for answers may have sent the beginning of one more. It would have to end in
        the middle, and not as a head ends, or a body in chunks.
        """
        return self._ended and (self._behind == body_bytes or self._last == _END)

    def feed(self, data: bytes) -> bytes:
        """What the parser is to get now."""
        if self._ended:
            self._follow(data)
            return data
        if self._held:
            data = self._held + data
        end = data.find(_END)
        self._ended = end >= 0
        upto = end if self._ended else len(data) - _beginning(data)
        self._held = b"" if self._ended else data[upto:]
        if self._ended:
            self._follow(data[end + len(_END) :])
        found = [match.start() + 2 for match in _FIELD.finditer(data, 0, upto)]
        unseen = found[0 if self._count else 1 :]
        self._count += len(found)
        if not unseen or self._count > _MOST:
            return data if self._ended else data[:upto]
        renamed = bytearray(data if self._ended else data[:upto])
        for start in unseen:
            renamed[start : start + len(_NAME)] = _NAME
        return bytes(renamed)

    def _follow(self, data: bytes) -> None:
        self._behind += len(data)
        self._last = data[-len(_END) :] if len(data) >= len(_END) else (self._last + data)[-len(_END) :]


def _beginning(data: bytes) -> int:
    """How many bytes at the end may be the beginning of a turn."""
    tail = data[-_LONGEST:].lower()
    at = tail.find(b"\r")
    while at >= 0:
        if any(turn.startswith(tail[at:]) and turn != tail[at:] for turn in _TURNS):
            return len(tail) - at
        at = tail.find(b"\r", at + 1)
    return 0


def restore(raw: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """The fields with the names they came with, but for the case of the doubled one's."""
    if not any(name == _NAME for name, _ in raw):
        return raw
    return [(b"User-Agent", value) if name == _NAME else (name, value) for name, value in raw]
