"""Content codings undone: for the meter, which reads a copy of an answer, and for whoever reads a request's intent.

`Inflate` takes a Content-Encoding of one or two codings out of gzip, deflate, br and zstd. It hands out pieces of at
most `PIECE_BYTES`, each made when it is asked for, so that a small input that inflates to gigabytes never is in
memory at once, and whoever reads may pause between two of them. The bytes that are relayed stay as they came.
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli
from isal import isal_zlib
from isal.igzip_lib import IsalError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES = 32 * 1024

_ASKED_BYTES = 16 * 1024  # of a decoder at once: brotli's buffer is of 32 KiB, and grows by more than that
_INPUT_BYTES = 8 * 1024  # given at once: what a decoder could not take yet is copied
_MOST_CODINGS = 2  # nobody sends more; each may multiply what the one before gave

# isal declares its exception to be an instance.
_ERRORS: tuple[type[Exception], ...] = (zlib.error, IsalError, brotli.error, zstd.ZstdError)  # type: ignore[assignment]
_RAW_DEFLATE = -15
_WINDOW_LOG = 23  # 8 MiB: all that RFC 9659 allows a sender, and what keeps a hostile one from 2 GiB


class BadCoding(Exception):
    """The bytes are not what their coding says."""


class _Decoder(Protocol):
    def pieces(self, data: bytes) -> Iterator[bytes]: ...


class Inflate:
    """One body's decoder."""

    __slots__ = ("_decoders",)

    def __init__(self, codings: str) -> None:
        """`codings` as a Content-Encoding lists them, first applied first. Raises KeyError for what we cannot undo."""
        names = [name for coding in codings.split(",") if (name := coding.strip().lower()) not in {"", "identity"}]
        if len(names) > _MOST_CODINGS:
            raise KeyError(codings)
        self._decoders = [_DECODERS[name]() for name in reversed(names)]

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, as it is asked for: all of it, before any more data is given. Raises BadCoding."""
        try:
            for at in range(0, len(data), _INPUT_BYTES):
                yield from self._undo(data[at : at + _INPUT_BYTES], 0)
        except _ERRORS as error:
            raise BadCoding(str(error)) from error

    def _undo(self, data: bytes, number: int) -> Iterator[bytes]:
        if number == len(self._decoders):
            yield data
            return
        for piece in self._decoders[number].pieces(data):
            yield from self._undo(piece, number + 1)


class _Gzip:
    """gzip by isal, which takes half of zlib's time. RFC 9110, 8.4.1.3; RFC 1952."""

    __slots__ = ("_began", "_member")

    def __init__(self) -> None:
        self._member: isal_zlib.Decompress | None = None
        self._began = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        full = False
        while data or full:
            if self._member is None:
                # A gzip file may have several members (RFC 1952, 2.2), and zeros for padding.
                data = data.lstrip(b"\0") if self._began else data
                if not data:
                    return
                self._member, self._began = isal_zlib.decompressobj(31), True
            piece = self._member.decompress(data, _ASKED_BYTES)
            full = len(piece) == _ASKED_BYTES  # it may have eaten all of the input and still hold output
            if piece:
                yield piece
            data = self._member.unconsumed_tail
            if self._member.eof:
                data, full = self._member.unused_data, False
                self._member = None


def small_gzip(data: bytes, at_most: int) -> bytes | None:
    """A whole gzip file of one member; None: it is none, goes on, or holds `at_most` bytes or more.

    Half of what 1 KB takes are the tables of its codes: 17,000 of 31,000 instructions. zlib takes the same, as does
    libdeflate.
    """
    member = isal_zlib.decompressobj(31)
    try:
        content: bytes = member.decompress(data, at_most)
    except _ERRORS:
        return None
    return content if member.eof and not member.unused_data else None


class _Deflate:
    """deflate, in zlib's wrapping or, as some senders have it, in none. RFC 9110, 8.4.1.2."""

    __slots__ = ("_head", "_isal")

    def __init__(self) -> None:
        self._head = b""
        self._isal: isal_zlib.Decompress | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._isal is None:
            self._head += data
            if len(self._head) < 2:
                return
            data = self._head
            wrapped = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0  # RFC 1950, 2.2
            self._isal = isal_zlib.decompressobj(zlib.MAX_WBITS if wrapped else _RAW_DEFLATE)
        full = False
        while (data or full) and not self._isal.eof:
            piece = self._isal.decompress(data, _ASKED_BYTES)
            full = len(piece) == _ASKED_BYTES
            if piece:
                yield piece
            data = self._isal.unconsumed_tail


class _Brotli:
    """RFC 7932."""

    __slots__ = ("_brotli",)

    def __init__(self) -> None:
        self._brotli = brotli.Decompressor()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        piece = self._brotli.process(data, output_buffer_limit=_ASKED_BYTES)
        # It may take more data and still hold output: only an empty piece says that there is none.
        while piece:
            yield piece
            if self._brotli.is_finished():
                return
            piece = self._brotli.process(b"", output_buffer_limit=_ASKED_BYTES)


class _Zstandard:
    """RFC 8878: frames one after the other, any of them skippable."""

    __slots__ = ("_zstd",)

    def __init__(self) -> None:
        self._zstd = _zstd_frame()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._zstd.eof:
                if not data:
                    return
                self._zstd = _zstd_frame()
            piece = self._zstd.decompress(data, _ASKED_BYTES)
            data = b""
            if piece:
                yield piece
            if self._zstd.eof:
                data = self._zstd.unused_data
            elif self._zstd.needs_input:
                return


def _zstd_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


_DECODERS: dict[str, type[_Decoder]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,  # RFC 9110, 8.4.1.3
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}
