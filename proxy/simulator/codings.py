"""Content codings of answers: what `x-sim-encoding` takes, each event flushed.

`transmission.py` packs with it, so that a reader of a compressed stream sees each event when it was sent. Refuses
nothing: an unknown name is the server's to refuse.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli

from proxy.simulator.answer import Event, Piece

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class _Packer(Protocol):
    def pack(self, piece: Piece) -> bytes: ...

    def flush(self, *, last: bool) -> bytes: ...


class _Zlib:
    def __init__(self, window_bits: int) -> None:
        self._zlib = zlib.compressobj(1, zlib.DEFLATED, window_bits)

    def pack(self, piece: Piece) -> bytes:
        return self._zlib.compress(piece)

    def flush(self, *, last: bool) -> bytes:
        return self._zlib.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


class _Brotli:
    def __init__(self) -> None:
        self._brotli = brotli.Compressor(quality=1)

    def pack(self, piece: Piece) -> bytes:
        return bytes(self._brotli.process(bytes(piece)))

    def flush(self, *, last: bool) -> bytes:
        return bytes(self._brotli.finish() if last else self._brotli.flush())


class _Zstandard:
    def __init__(self) -> None:
        self._zstd = zstd.ZstdCompressor(level=1)

    def pack(self, piece: Piece) -> bytes:
        return self._zstd.compress(bytes(piece))

    def flush(self, *, last: bool) -> bytes:
        return self._zstd.flush(zstd.ZstdCompressor.FLUSH_FRAME if last else zstd.ZstdCompressor.FLUSH_BLOCK)


ENCODINGS: dict[str, Callable[[], _Packer]] = {
    "gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
    "br": _Brotli,
    "zstd": _Zstandard,
}


def packed(events: tuple[Event, ...], encoding: str) -> Iterator[Event]:
    packer = ENCODINGS[encoding]()
    for number, event in enumerate(events, 1):
        pieces: list[Piece] = [packer.pack(piece) for piece in event.pieces]
        pieces.append(packer.flush(last=number == len(events)))
        yield Event([piece for piece in pieces if piece], event.usage)
