"""What fits into a mould is what it says, whatever stands in the gaps; all else is for the parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.head import RawField
from proxy.wire.mould import Mould, mould_of

FIRST = b"GET / HTTP/1.1"
FIXED = frozenset({b"host"})
MOST = 4096
Fields = list[RawField]


def head_of(fields: Fields) -> bytes:
    return b"\r\n".join([FIRST, *(name + b": " + value for name, value in fields)]) + b"\r\n\r\n"


def made(fields: Fields, before: Fields | None = None, longest: int = MOST) -> Mould | None:
    older = None
    if before is not None:
        older = mould_of(head_of(before), before, None, before, fixed=FIXED, longest=longest)
    return mould_of(head_of(fields) + b"body", fields, older, before or fields, fixed=FIXED, longest=longest)


def two(value: bytes, length: bytes = b"5", host: bytes = b"h") -> Fields:
    return [(b"Host", host), (b"X-Trace", value), (b"Content-Length", length)]


def test_what_differed_may_differ_again() -> None:
    mould = made(two(b"a"), two(b"b"))
    assert mould is not None
    head = head_of(two(b"another", b"17"))
    assert mould.fit(head + b"xyz") == len(head)
    assert (mould.gaps, mould.values, mould.length, mould.changed) == ([1, 2], [b"another", b"17"], 17, True)
    assert mould.fit(head) == len(head)
    assert not mould.changed


def test_what_did_not_differ_may_not() -> None:
    mould = made(two(b"a"), two(b"a", b"6"))
    assert mould is not None
    assert mould.gaps == [2]
    assert mould.fit(head_of(two(b"b"))) == 0
    assert mould.fit(head_of(two(b"a", b"7"))) != 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (two(b"a", host=b"h"), two(b"a", host=b"i")),  # it decides
        ([(b"Vary", b"a"), (b"Vary", b"b")], [(b"Vary", b"a"), (b"Vary", b"c")]),  # another reader could mean the other
        ([(b"A", b"a")], [(b"A", b"")]),  # what stands between blanks only
    ],
)
def test_some_values_never_differ(before: Fields, after: Fields) -> None:
    mould = made(after, before)
    assert mould is not None
    assert not [place for place in mould.gaps if after[place][0] != b"Content-Length"]
    assert mould.fit(head_of(before)) == 0


@given(st.binary(max_size=20), st.binary(max_size=4) | st.integers(0, 10**20).map(lambda n: b"%d" % n))
def test_only_a_value_fits_into_a_gap(value: bytes, length: bytes) -> None:
    mould = made(two(b"a"), two(b"b"))
    assert mould is not None
    values, whole = mould.values, mould.head
    head = head_of(two(value, length))
    control = any(byte < 0x20 or byte == 0x7F for byte in value)
    good = bool(value) and not control and value == value.strip(b" ")
    good = good and length.isdigit() and len(length) <= 15
    end = mould.fit(head)
    assert end == (len(head) if good else 0)
    if not good:
        assert (mould.values, mould.head) == (values, whole), "nothing is changed"


def test_a_head_is_bounded() -> None:
    long = two(b"x" * 900)
    assert made(long, longest=800) is None
    mould = made(two(b"a"), two(b"b"), longest=800)
    assert mould is not None
    assert mould.fit(head_of(long)) == 0
    assert mould.fit(head_of(two(b"x" * 300))) != 0


def test_a_head_of_which_most_differs_is_another_each_time() -> None:
    before = [(b"X-%d" % n, b"a") for n in range(9)]
    assert made([(name, b"b") for name, _ in before], before) is None
    assert made([(name, b"b") for name, _ in before[:8]], before[:8]) is not None


@pytest.mark.parametrize(
    "head",
    [
        FIRST + b"\r\nA: 1\r\n",  # not whole
        FIRST + b"\r\nA: 1\r\n 2\r\n\r\n",  # folded
        FIRST + b"\r\nA: 2\r\n\r\n",  # not the fields that were read
        FIRST + b"\r\nB: 1\r\n\r\n",
        FIRST + b"\r\nA: 1 1\r\n\r\n",
        FIRST + b"\r\nA: 1\r\nB: 1\r\n\r\n",
    ],
)
def test_what_does_not_look_as_it_was_read_is_not_kept(head: bytes) -> None:
    fields = [(b"A", b"1")]
    assert mould_of(head, fields, None, fields, fixed=FIXED, longest=MOST) is None
    good = FIRST + b"\r\nA:\t 1 \r\n\r\n"
    assert mould_of(good, fields, None, fields, fixed=FIXED, longest=MOST) is not None


@pytest.mark.parametrize("length", [b"", b"1a", b"9" * 16])
def test_a_length_that_is_none_is_not_kept(length: bytes) -> None:
    assert made([(b"Content-Length", length)]) is None
    assert made([(b"Content-Length", b"1"), (b"content-length", b"1")]) is None
