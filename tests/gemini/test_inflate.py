"""Content codings: the same bytes at any split, in bounded pieces, and nothing but BadCoding for garbage."""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle, islice

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.gemini.inflate import PIECE_BYTES, BadCoding, Inflate, zstd


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "DEFLATE ": raw_deflate,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd.compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data), quality=5),
    "zstd,gzip": lambda data: gzip.compress(zstd.compress(data)),
    "identity": bytes,
    "identity, br,": lambda data: brotli.compress(data, quality=5),
}
CODINGS = sorted(PACK)


def inflate(coding: str, data: bytes, sizes: list[int]) -> list[bytes]:
    decoder, found, at = Inflate(coding), [], 0
    for size in cycle(sizes):
        if at >= len(data):
            return found
        found += decoder.pieces(data[at : at + size])
        at += size
    return found


@settings(deadline=None)
@given(
    st.integers(0, 5 * PIECE_BYTES),
    st.lists(st.integers(1, 100_000), min_size=1, max_size=4),
    st.sampled_from(CODINGS),
)
def test_all_of_it_comes_out_in_bounded_pieces(length: int, sizes: list[int], coding: str) -> None:
    body = (b"a" * 1000 + b"b") * (length // 1001) + b"c" * (length % 1001)
    packed = PACK[coding](body)
    for split in (sizes, [1] if len(packed) < 2000 else [17, 4000]):
        pieces = inflate(coding, packed, split)
        assert b"".join(pieces) == body
        assert all(len(piece) <= PIECE_BYTES for piece in pieces)


def test_members_padding_and_frames() -> None:
    members = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 20
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    frames = zstd.compress(b"one ") + skippable + zstd.compress(b"two")
    for size in (1, 3, 1000):
        assert b"".join(inflate("gzip", members, [size])) == b"one two"
        assert b"".join(inflate("zstd", frames, [size])) == b"one two"


@pytest.mark.parametrize("coding", [coding for coding in CODINGS if coding != "identity"])
def test_a_bomb_is_handed_out_piece_by_piece_and_only_as_it_is_asked_for(coding: str) -> None:
    bomb = PACK[coding](b"\0" * 20_000_000)
    assert len(bomb) < 100_000
    first = list(islice(Inflate(coding).pieces(bomb), 10))
    assert len(first) == 10
    assert all(0 < len(piece) <= PIECE_BYTES for piece in first)
    assert sum(map(len, inflate(coding, bomb, [len(bomb)]))) == 20_000_000


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 100), st.sampled_from(CODINGS))
def test_garbage_raises_nothing_else(noise: bytes, keep: int, coding: str) -> None:
    good = PACK[coding](b"something that was packed " * 10)
    for data in (noise, good[:keep] + noise, good + noise):
        with suppress(BadCoding):
            inflate(coding, data, [7])


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, br"])
def test_plain_text_is_not_what_it_says(coding: str) -> None:
    with pytest.raises(BadCoding):
        inflate(coding, b"plain text that is not packed", [100])


def test_a_window_larger_than_a_sender_may_use_is_refused() -> None:
    """RFC 9659: 8 MiB. What a hostile frame asks for is memory of ours."""
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    packer = zstd.ZstdCompressor(options=options)
    with pytest.raises(BadCoding):
        inflate("zstd", packer.compress(b"a" * 1000) + packer.flush(), [1000])


@pytest.mark.parametrize("coding", ["compress", "gzip, compress", "gzip, gzip, gzip", "br;q=1"])
def test_what_we_cannot_undo(coding: str) -> None:
    with pytest.raises(KeyError):
        Inflate(coding)
