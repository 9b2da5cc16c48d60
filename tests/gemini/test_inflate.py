"""Content codings: the same bytes at any split, in bounded pieces."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gemini.inflate import PIECE_BYTES, Inflate


def inflate(coding: str, data: bytes, size: int) -> list[bytes]:
    decoder = Inflate(coding)
    return [piece for at in range(0, len(data), size) for piece in decoder.pieces(data[at : at + size])]


@given(st.integers(0, 5 * PIECE_BYTES), st.sampled_from([1, 7, 100_000]), st.sampled_from(["gzip", "deflate"]))
def test_all_of_it_comes_out_in_bounded_pieces(length: int, size: int, coding: str) -> None:
    body = (b"a" * 1000 + b"b") * (length // 1001) + b"c" * (length % 1001)
    pieces = inflate(coding, gzip.compress(body, 1) if coding == "gzip" else zlib.compress(body), size)
    assert b"".join(pieces) == body
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)


def test_members_and_padding() -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 20
    assert b"".join(inflate("gzip", body, 3)) == b"one two"


def test_a_bomb_is_handed_out_piece_by_piece() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    pieces = Inflate("GZIP ").pieces(bomb)
    assert len(next(pieces)) == PIECE_BYTES


def test_not_gzip() -> None:
    with pytest.raises(zlib.error):
        inflate("gzip", b"plain text", 100)


def test_unknown_codings() -> None:
    with pytest.raises(KeyError):
        Inflate("br")
