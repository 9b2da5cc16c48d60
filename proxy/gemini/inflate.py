"""Content codings undone for the meter, which reads a copy: the bytes that are relayed stay as they came.

`meter.py` asks it for a coding by name. It hands out pieces of at most `PIECE_BYTES`, so that a small
input that inflates to gigabytes never is in memory at once. Brotli and Zstandard have no decoder in the
standard library of our oldest Python: answers so coded are not metered, and the usage state says so.
"""

import zlib
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024

_CODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # RFC 9110, 8.4.1 -> zlib's window bits
_RAW_DEFLATE = -15


class Inflate:
    """One answer's decoder. `pieces` raises zlib.error when the bytes are not what the coding says."""

    __slots__ = ("_bits", "_ended", "_head", "_zlib")

    def __init__(self, coding: str) -> None:
        """Raises KeyError for a coding that we cannot undo."""
        self._bits = _CODINGS[coding.strip().lower()]
        self._head: bytes | None = b"" if self._bits == _CODINGS["deflate"] else None
        self._zlib = zlib.decompressobj(self._bits)
        self._ended = False  # a member, and none has begun since

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._head is not None:
            # Some senders say deflate and mean it without zlib's two-byte head (RFC 9110, 8.4.1.2; RFC 1950, 2.2).
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return
            self._head = None
            if data[0] & 0x0F != zlib.DEFLATED or int.from_bytes(data[:2], "big") % 31:
                self._bits = _RAW_DEFLATE
                self._zlib = zlib.decompressobj(self._bits)
        full = False
        if self._ended:
            data = data.lstrip(b"\0")
        while data or full:
            self._ended = False
            piece = self._zlib.decompress(data, PIECE_BYTES)
            full = len(piece) == PIECE_BYTES  # zlib may have eaten all of the input and still hold output
            if piece:
                yield piece
            data = self._zlib.unconsumed_tail
            if self._zlib.eof:
                # A gzip file may have several members (RFC 1952, 2.2), and zeros for padding.
                data = self._zlib.unused_data.lstrip(b"\0")
                self._zlib = zlib.decompressobj(self._bits)
                self._ended = True
