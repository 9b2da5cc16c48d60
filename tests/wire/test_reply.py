"""How an answer is framed for the caller that asked: RFC 9112 sections 6 and 9."""

from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import pytest

from proxy import Refusal
from proxy.operation import UNKNOWN
from proxy.wire.reply import Reply
from proxy.wire.response import full_house, last_words, phrase, refusal_fields
from tests.support.wire import Line, make_request

DATE = (b"Date", b"Sun, 22 Nov 2026 03:59:54 GMT")
LENGTH = (b"Content-Length", b"2")


class Wire(Line):
    """Counts a write of several pieces as one."""

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.written.append(b"".join(pieces))


def asked(**facts: object) -> tuple[Wire, Reply]:
    request = make_request(**facts)  # type: ignore[arg-type]
    request.connection = wire = Wire()
    return wire, Reply(request)


def test_a_small_answer_is_one_write_with_the_endpoints_own_fields() -> None:
    wire, reply = asked()
    reply.whole(200, "Fine", [(b"x-a", b"1"), DATE, (b"X-A", b"\xff"), LENGTH], b"ok")
    head = (b"HTTP/1.1 200 Fine", b"x-a: 1", b"Date: " + DATE[1], b"X-A: \xff", b"Content-Length: 2", b"", b"ok")
    assert wire.written == [b"\r\n".join(head)]
    assert (reply.begun, reply.ended, reply.keep_alive) == (True, True, True)


@pytest.mark.parametrize("name", [b"Date", b"DATE", b"date"])
def test_a_date_is_added_where_there_is_none(name: bytes) -> None:
    wire, reply = asked()
    reply.whole(200, "OK", [(name, b"x"), LENGTH], b"ok")
    assert wire.written[0].lower().count(b"\r\ndate: ") == 1
    wire, reply = asked()
    reply.whole(200, "OK", [(b"X-Date", b"x"), LENGTH], b"ok")
    (date,) = [line[6:] for line in wire.written[0].split(b"\r\n") if line.startswith(b"Date: ")]
    assert date.endswith(b" GMT")
    assert parsedate_to_datetime(date.decode()).year >= 2025


@pytest.mark.parametrize(
    ("version", "keep_alive", "last_call", "said"),
    [
        ("1.1", True, False, None),
        ("1.1", False, False, b"close"),
        ("1.1", True, True, b"close"),
        ("1.0", True, False, b"keep-alive"),
        ("1.0", False, False, None),
        ("1.0", True, True, None),
        ("2.0", False, False, b"close"),
    ],
)
def test_what_is_said_of_the_connection(version: str, keep_alive: bool, last_call: bool, said: bytes | None) -> None:
    wire, reply = asked(version=version, keep_alive=keep_alive)
    wire.last_call = last_call
    reply.whole(200, "OK", [DATE, LENGTH], b"ok")
    lines = wire.written[0].split(b"\r\n")
    assert lines[0] == (b"HTTP/1.0 200 OK" if version == "1.0" else b"HTTP/1.1 200 OK")
    assert [line[12:] for line in lines if line.startswith(b"Connection: ")] == ([said] if said else [])
    assert reply.keep_alive is (keep_alive and not last_call)


def test_a_head_that_came_goes_on_in_one_write_with_what_is_added() -> None:
    wire, reply = asked()
    assert reply.pass_on(
        b"HTTP/1.1 200 Fine\r\nDate: now\r\nContent-Length: 2", [(b"x-a", b"1")], [b"ok"], in_chunks=False, last=True
    )
    assert wire.written == [b"HTTP/1.1 200 Fine\r\nDate: now\r\nContent-Length: 2\r\nx-a: 1\r\n\r\nok"]
    assert (reply.begun, reply.ended, reply.keep_alive) == (True, True, True)


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("pieces", [[], [b"hi"], [b"h", b"i"], [b"x" * 20_000, b"y"]])
def test_a_head_that_came_goes_on_as_it_would_be_written(pieces: list[bytes], last: bool, in_chunks: bool) -> None:
    size = sum(map(len, pieces))
    fields = [DATE] if in_chunks else [DATE, (b"Content-Length", b"%d" % size)]
    came = b"\r\n".join([b"HTTP/1.1 200 OK", *map(b": ".join, fields)])
    wire, reply = asked()
    assert reply.pass_on(came, [(b"x-a", b"1")], pieces, in_chunks=in_chunks, last=last)
    written, begun = asked()
    begun.begin(200, "OK", [*fields, (b"x-a", b"1")], pieces, last=last)
    for each in (reply, begun):
        if not last:
            each.send([b"z"], last=True)
    assert wire.written == written.written
    assert (reply.begun, reply.ended, reply.keep_alive) == (begun.begun, begun.ended, begun.keep_alive)


@pytest.mark.parametrize(
    ("facts", "last_call"),
    [({"version": "1.0"}, False), ({"method": "HEAD"}, False), ({"keep_alive": False}, False), ({}, True)],
)
def test_who_needs_other_lines_gets_none_of_those_that_came(facts: dict[str, object], last_call: bool) -> None:
    wire, reply = asked(**facts)
    wire.last_call = last_call
    assert not reply.pass_on(
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2", [], [b"ok"], in_chunks=False, last=True
    )
    assert (wire.written, reply.begun) == ([], False)


def streamed(reply: Reply, *pieces: bytes, status: int = 200, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
    reply.begin(status, "OK", [DATE, *fields], [], last=False)
    for piece in pieces:
        reply.send([piece], last=False)
    reply.send([], last=True)


@pytest.mark.parametrize("size", [1, 16 << 10, (16 << 10) + 1])
def test_a_body_of_unknown_length_comes_chunked(size: int) -> None:
    wire, reply = asked()
    streamed(reply, b"x" * size, b"yz")
    head, *chunks = wire.written
    assert head.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert chunks == [b"%x\r\n%b\r\n" % (size, b"x" * size), b"2\r\nyz\r\n", b"0\r\n\r\n"]
    assert (reply.ended, reply.keep_alive) == (True, True)


def test_to_http_1_0_it_ends_with_its_connection() -> None:
    wire, reply = asked(version="1.0", keep_alive=True)
    streamed(reply, b"x", b"yz")
    assert wire.written == [b"HTTP/1.0 200 OK\r\nDate: " + DATE[1] + b"\r\n\r\n", b"x", b"yz"]
    assert reply.keep_alive is False


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_a_declared_length_is_kept(name: bytes, version: str) -> None:
    wire, reply = asked(version=version)
    streamed(reply, b"o", b"k", fields=[(name, b"2")])
    assert b"chunked" not in wire.written[0]
    assert (wire.written[1:], reply.keep_alive) == ([b"o", b"k"], True)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_where_no_body_can_follow_none_is_announced(method: str, status: int) -> None:
    wire, reply = asked(method=method)
    streamed(reply, status=status)
    assert wire.written == [b"HTTP/1.1 %d OK\r\nDate: %b\r\n\r\n" % (status, DATE[1])]
    assert reply.keep_alive


def test_head_gets_the_fields_of_a_refusal_and_not_its_body() -> None:
    wire, reply = asked(method="HEAD")
    fields, body = refusal_fields(Refusal(429, "Slow down.", reason="QUOTA", retry_after=0.2), UNKNOWN, [("x-a", "1")])
    reply.whole(429, phrase(429), fields, body)
    (answer,) = wire.written
    assert answer.startswith(
        b"HTTP/1.1 429 Too Many Requests\r\nx-a: 1\r\nContent-Type: application/json; charset=UTF-8"
    )
    assert b"\r\nServer: weir\r\nRetry-After: 1\r\nContent-Length: %d\r\n" % len(body) in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_code_without_a_phrase_has_none() -> None:
    wire, reply = asked()
    reply.whole(499, phrase(499), [DATE, LENGTH], b"ok")
    assert wire.written[0].startswith(b"HTTP/1.1 499 \r\n")


def test_last_words_are_whole_and_close() -> None:
    for answer in (full_house(), last_words(Refusal(400, "No.", reason="HTTP"), [("Date", "today")])):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"\r\nConnection: close" in head
        assert b"\r\nContent-Length: %d\r\n" % len(body) in head


@pytest.mark.parametrize("size", [1, 20_000])
@pytest.mark.parametrize("length", [False, True])
def test_a_head_goes_out_in_one_write_with_what_came_with_it(length: bool, size: int) -> None:
    wire, reply = asked()
    fields = [DATE, (b"Content-Length", b"%d" % (2 * size))] if length else [DATE]
    pieces = [b"a" * size, b"b" * size]
    reply.begin(200, "OK", fields, pieces, last=True)
    (written,) = wire.written
    head, _, body = written.partition(b"\r\n\r\n")
    assert (b"Transfer-Encoding: chunked" in head) is not length
    whole = b"".join(pieces)
    assert body == (whole if length else b"%x\r\n%b\r\n0\r\n\r\n" % (2 * size, whole))
    assert (reply.begun, reply.ended) == (True, True)


@pytest.mark.parametrize("size", [1, 20_000])
def test_pieces_of_one_read_are_one_chunk_and_the_end_goes_with_the_last(size: int) -> None:
    wire, reply = asked()
    reply.begin(200, "OK", [DATE], [], last=False)
    pieces = [b"a" * size, b"b" * size]
    reply.send(pieces, last=False)
    reply.send(pieces, last=True)
    chunk = b"%x\r\n%b\r\n" % (2 * size, b"".join(pieces))
    assert wire.written[1:] == [chunk, chunk + b"0\r\n\r\n"]
    assert reply.ended


def test_large_pieces_are_not_copied_and_many_small_ones_are_joined() -> None:
    """A loop keeps something beside each piece that it has not written, and makes a TLS record of each."""
    request = make_request()
    request.connection = wire = Line()
    reply = Reply(request)
    reply.begin(200, "OK", [DATE], [], last=False)
    wire.written.clear()
    large = [b"a" * 20_000, b"b" * 30_000]
    reply.send(large, last=False)
    size, first, second, end = wire.written
    assert (size, end) == (b"%x\r\n" % 50_000, b"\r\n")
    assert first is large[0]
    assert second is large[1]
    wire.written.clear()
    reply.send([b"c" * 100] * 400, last=True)
    assert wire.written == [b"%x\r\n%b\r\n0\r\n\r\n" % (40_000, b"c" * 40_000)]
