"""Chunks read past llhttp are what it would have read, and it goes on from where they end as if it had."""

from typing import NamedTuple

import pytest
from httptools import HttpParserError, HttpResponseParser
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.wire.chunks import whole_chunks

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Read(NamedTuple):
    body: bytes
    over: bool
    bad: bool


class Parsed:
    """What llhttp makes of chunks."""

    def __init__(self) -> None:
        self.body = b""
        self.ends = 0
        self.bad = False
        self._parser = HttpResponseParser(self)
        self.feed(HEAD)

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.ends += 1

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self.bad = True


def parsed(data: bytes) -> Read:
    llhttp = Parsed()
    llhttp.feed(data)
    return Read(llhttp.body, llhttp.ends > 0, llhttp.bad)


def read(data: bytes) -> Read:
    """The same, past llhttp as far as that goes."""
    contents: list[bytes] = []
    end = whole_chunks(data, 0, contents)
    assert b"" not in contents[:-1]
    body = b"".join(contents)
    if contents[-1:] == [b""]:
        # of another message, or of none: what stands behind is not looked at here
        return parsed(data[:end])._replace(body=body, over=True)
    rest = parsed(data[end:])
    return rest._replace(body=body + rest.body)


SIZES = st.sampled_from(
    [b"%x", b"%X", b"0%x", b"000000000%x", b"%x;a=b", b"%x ", b" %x", b"+%x", b"-%x", b"0x%x", b"%x\t"]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"", b"\r\r\n"])
CONTENTS = st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"x" * 300])
LAST = st.sampled_from(
    [b"0\r\n\r\n", b"00\r\n\r\n", b"0\r\nX-T: a\r\n\r\n", b"0;a\r\n\r\n", b"0\r\n", b"", b"g\r\n", b"\r\n"]
)


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    content = draw(CONTENTS)
    size = draw(st.just(b"%x") | SIZES)
    return size % len(content) + draw(st.just(b"\r\n") | ENDS) + content + draw(st.just(b"\r\n") | ENDS)


@given(st.lists(chunks(), max_size=6), LAST, st.integers(0, 20))
@example([b"2\r\nhi\r\n"], b"0\r\n\r\n", 0)
@example([b"ffffffff\r\nhi\r\n"], b"0\r\n\r\n", 0)
@example([b"ffffffffffffffffff\r\nhi\r\n"], b"0\r\n\r\n", 0)
def test_they_are_what_llhttp_reads(parts: list[bytes], last: bytes, cut: int) -> None:
    data = b"".join(parts) + last
    data = data[: len(data) - cut]
    assert read(data) == parsed(data)


@given(st.binary(max_size=60) | st.text("01aAfFgG\r\n; ", max_size=60).map(str.encode))
def test_nonsense_is_what_llhttp_makes_of_it(data: bytes) -> None:
    assert read(data).body == parsed(data).body
    if not read(data).over:
        assert read(data) == parsed(data)


@given(st.lists(CONTENTS, max_size=6), st.booleans(), st.binary(max_size=20))
def test_plain_ones_are_all_read(contents: list[bytes], upper: bool, before: bytes) -> None:
    size = b"%X\r\n" if upper else b"%x\r\n"
    data = before + b"".join(size % len(content) + content + b"\r\n" for content in contents) + b"0\r\n\r\n"
    found: list[bytes] = []
    assert whole_chunks(data + b"2\r\nhi\r\n", len(before), found) == len(data)
    assert found == [*contents, b""]


@pytest.mark.parametrize(
    "rest",
    [
        b"3\r\nhi",
        b"2\r\nhi",
        b"2\r\nhi\r",
        b"2",
        b"2\r",
        b"2;a\r\nhi\r\n",
        b"0\r\nX: 1\r\n\r\n",
        b"z\r\n",
        b"\r\n",
        b"\r\n\r\n",
    ],
)
def test_the_parser_gets_the_first_that_is_not_whole_and_plain(rest: bytes) -> None:
    found: list[bytes] = []
    assert whole_chunks(b"3\r\nabc\r\n" + rest, 0, found) == 8
    assert found == [b"abc"]
