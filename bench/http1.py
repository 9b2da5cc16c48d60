"""As much of HTTP/1.1 as the benchmark's own ends speak: where a message ends, and its body without framing.

For `upstream.py` and `load.py`, which talk to nobody but proxies under test. Not a parser for strangers: a chunked
body ends where a piece of it ends with the last chunk, which holds as long as no trailer comes and no body of ours
has those bytes in it.
"""

import re

LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)


class Body:
    """What follows a head. Fed its bytes, it says when they are all there, and how many there were."""

    __slots__ = ("_left", "_tail", "received")

    def __init__(self, head: bytes) -> None:
        length = _LENGTH.search(head)
        self.received = 0
        self._left = int(length[1]) if length else 0
        # A body of no chunk at all is the last chunk alone, with the head's line end before it.
        self._tail: bytes | None = b"\r\n" if length is None and _CHUNKED.search(head) else None

    def feed(self, data: bytes | memoryview) -> bool:
        """True when the body ends with this piece."""
        self.received += len(data)
        if self._tail is None:
            self._left -= len(data)
            return self._left <= 0
        self._tail = (self._tail + bytes(data[-len(LAST_CHUNK) :]))[-len(LAST_CHUNK) :]
        return self._tail == LAST_CHUNK


def dechunked(head: bytes, body: bytes) -> bytes:
    """A whole body as it was before it was put in chunks, if it was."""
    if not _CHUNKED.search(head):
        return body
    pieces, at = [], 0
    while size := int(body[at : (end := body.index(b"\r\n", at))].split(b";")[0], 16):
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(pieces)


def chunked(body: bytes, size: int = 1 << 16) -> bytes:
    """The body in chunks of that size, ready for the wire."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
