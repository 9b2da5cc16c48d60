"""A caller's bytes become the same requests whatever the segments; bounds, upgrades and what is no HTTP."""

import logging
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.guard import MAX_HEADERS, NOT_HTTP, TOO_MANY
from proxy.wire.pipeline import Pipeline
from proxy.wire.request import Malformed
from tests.support.wire import Line

MOST = 1000  # bytes of a field
HOST = b"Host: h\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: "
LONG = f"A header or the request line is longer than {MOST} bytes."
LOOKS_LIKE_ONE = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


class Seen(NamedTuple):
    """What came of a request."""

    method: str
    target: str
    version: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    ended: bool
    has_body: bool
    length: int | None
    keep_alive: bool
    waits_for_100: bool


def made() -> Pipeline:
    return Pipeline(Line(), MOST)


def feed(pipeline: Pipeline, *segments: bytes) -> Pipeline:
    """Through one buffer that is overwritten each time, as a connection's is."""
    buffer = bytearray(1 << 20)
    for segment in segments:
        buffer[: len(segment)] = segment
        pipeline.feed(memoryview(buffer)[: len(segment)])
        buffer[: len(segment)] = b"\xff" * len(segment)
    return pipeline


def seen(pipeline: Pipeline) -> list[Seen]:
    found = []
    for request in pipeline.waiting:
        body = b""
        while piece := request.body.take():
            body += piece
        found.append(
            Seen(
                request.method,
                request.target,
                request.version,
                tuple(request.headers.raw),
                body,
                request.body.ended,
                request.has_body,
                request.length,
                request.keep_alive,
                request.waits_for_100,
            )
        )
    return found


def test_a_request_as_it_came() -> None:
    lines = (b"HOST:  h \t", b"x:", b"X: 1", b"Content-Length: 5", b"Expect: 100-Continue")
    data = b"\r\n".join((b"POST /a%2f?b=%zz HTTP/1.1", *lines, b"", b"hello"))
    (request,) = seen(feed(made(), data))
    fields = ((b"HOST", b"h"), (b"x", b""), (b"X", b"1"), (b"Content-Length", b"5"), (b"Expect", b"100-Continue"))
    assert request == Seen("POST", "/a%2f?b=%zz", "1.1", fields, b"hello", True, True, 5, True, True)


@pytest.mark.parametrize(
    ("head", "has_body", "length", "keep_alive", "waits"),
    [
        (b"GET / HTTP/1.1\r\n", False, None, True, False),
        (b"GET / HTTP/1.1\r\nConnection: x, Close\r\n", False, None, False, False),
        (b"GET / HTTP/1.0\r\n", False, None, False, False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", False, None, True, False),
        (b"POST / HTTP/1.0\r\nContent-Length: 0\r\nExpect: 100-continue\r\n", True, 0, False, False),
    ],
)
def test_how_it_is_framed(head: bytes, has_body: bool, length: int | None, keep_alive: bool, waits: bool) -> None:
    (request,) = seen(feed(made(), head + b"\r\n"))
    assert request[5:] == (True, has_body, length, keep_alive, waits)


# --- whatever the segments ----------------------------------------------------------------------------------


PARTS = [
    b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /2 HTTP/1.1\r\nUser-Agent: a\r\nHost: h\r\nUser-Agent: b\r\nContent-Length: 35\r\n\r\n"
    + LOOKS_LIKE_ONE[:35],
    b"POST /3 HTTP/1.1\r\nHost: h\r\nX:  y\t \r\n" + CHUNKED + b"\r\n5;x=y\r\nhello\r\n1\r\n \r\n0\r\n\r\n",
    b"POST /4 HTTP/1.1\r\n" + CHUNKED + b"\r\n0\r\nTrailer-1: t\r\nHost: evil\r\n\r\n",
    b"\r\nDELETE /5 HTTP/1.1\r\nEmpty:\r\nHost: h\r\n\r\n",
    b"POST /6 HTTP/1.1\r\n" + HOST + UPGRADE + b"h2c\r\nContent-Length: 35\r\n\r\n" + LOOKS_LIKE_ONE[:35],
    b"PUT /7 HTTP/1.1\r\n"
    + UPGRADE
    + b"websocket\r\n"
    + CHUNKED
    + b"\r\n23\r\n"
    + LOOKS_LIKE_ONE[:35]
    + b"\r\n0\r\n\r\n",
    b"OPTIONS /8 HTTP/1.1\r\n" + UPGRADE + b"h2c\r\n\r\n",
    b"POST /9 HTTP/1.1\r\n" + UPGRADE + b"h2c\r\nContent-Length: 0\r\n\r\n",
]
ENDS = [
    b"",
    b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n" + LOOKS_LIKE_ONE,
    b"GET /live HTTP/1.1\r\n" + HOST + UPGRADE + b"WebSocket\r\n\r\n" + LOOKS_LIKE_ONE,
    b"GET /half HTTP/1.1\r\nHo",
    b"POST /half HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf",
    b"POST /half HTTP/1.1\r\n" + CHUNKED + b"\r\n4\r\nhalf\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nbad field: x\r\n\r\n",
    b"\0\0",
]


def split(data: bytes, sizes: list[int]) -> list[bytes]:
    segments, at = [], 0
    for size in sizes:
        segments.append(data[at : at + size])
        at += size
    return [*segments, data[at:]]


@given(st.lists(st.sampled_from(PARTS), max_size=6), st.sampled_from(ENDS), st.lists(st.integers(1, 90), max_size=12))
def test_the_segments_make_no_difference(parts: list[bytes], end: bytes, sizes: list[int]) -> None:
    data = b"".join(parts) + end
    whole = feed(made(), data)
    expected, behind = seen(whole), whole.behind
    assert [request.target for request in expected[: len(parts)]] == [
        f"/{part.split(b'/')[1][:1].decode()}" for part in parts
    ]
    for segments in (split(data, sizes), [data[at : at + 1] for at in range(len(data))]):
        got = feed(made(), *segments)
        assert seen(got) == expected or end == ENDS[5], "a request is refused whole if it was not there to begin"
        assert (got.over, got.refusal is None) == (whole.over, whole.refusal is None)
        assert (got.behind is None) == (behind is None)


def test_a_request_whose_head_came_first_learns_from_its_body_that_it_is_none() -> None:
    pipeline = feed(made(), b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\n1\r\nx\r\n")
    request = pipeline.waiting.pop(0)
    assert request.body.take() == b"x"
    feed(pipeline, b"zz\r\n")
    with pytest.raises(Malformed):
        request.body.take()
    assert (pipeline.over, pipeline.refusal, request.keep_alive) == (True, None, False)


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_is_refused_or_waited_for(segments: list[bytes]) -> None:
    pipeline = feed(made(), *segments)
    assert (pipeline.refusal is not None) <= pipeline.over
    assert pipeline.refusal is None or pipeline.refusal.code in (400, 431)


@given(st.sampled_from(PARTS + ENDS), st.integers(0, 200), st.binary(min_size=1, max_size=3), st.integers(0, 200))
def test_one_spoilt_place_neither_hangs_nor_fails(part: bytes, at: int, spoilt: bytes, cut: int) -> None:
    data = part[:at] + spoilt + part[at + 1 :] + PARTS[0]
    pipeline = feed(made(), data[:cut], data[cut:])
    assert pipeline.refusal is None or pipeline.refusal.code in (400, 431)
    assert b"smuggled" not in b"".join(request.target.encode() for request in pipeline.waiting) or spoilt in data


def test_nothing_of_what_is_refused_is_said_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pipeline = feed(made(), b"GET /?key=planted HTTP/1.1\r\nX: planted\0\r\n\r\n")
    assert pipeline.refusal is not None
    assert (pipeline.refusal.code, pipeline.refusal.message, pipeline.refusal.reason) == (400, NOT_HTTP, "HTTP")
    assert caplog.text == ""


# --- trailers, upgrades, the last request -------------------------------------------------------------------


def test_a_trailer_is_nobodys() -> None:
    """httptools hands trailers on as it does header fields."""
    first, second = seen(feed(made(), PARTS[3] + PARTS[0]))
    assert first.fields == ((b"Transfer-Encoding", b"chunked"),)
    assert second.fields == ((b"Host", b"h"),)


@pytest.mark.parametrize("at", range(1, 90, 7))
def test_a_handshake_ends_the_pipeline_and_keeps_what_is_behind_it(at: int) -> None:
    data = PARTS[0] + ENDS[2]
    pipeline = feed(made(), data[:at], data[at:])
    assert [request.target for request in pipeline.waiting] == ["/1", "/live"]
    assert (pipeline.over, pipeline.behind, pipeline.refusal) == (True, LOOKS_LIKE_ONE, None)
    feed(pipeline, LOOKS_LIKE_ONE)
    assert len(pipeline.waiting) == 2


def test_many_upgrades_in_one_segment_are_as_many_requests() -> None:
    pipeline = feed(made(), PARTS[7] * 90 + PARTS[5] * 9)
    assert [request.target for request in pipeline.waiting] == ["/8"] * 90 + ["/6"] * 9
    assert seen(pipeline)[-1].body == LOOKS_LIKE_ONE[:35]


def test_an_unknown_coding_under_an_upgrade_is_still_the_guards_to_see() -> None:
    pipeline = feed(
        made(), b"POST / HTTP/1.1\r\n" + UPGRADE + b"h2c\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n"
    )
    (request,) = pipeline.waiting
    assert request.headers.first[b"transfer-encoding"] == b"gzip, chunked"
    assert pipeline.receiving is request


def test_what_follows_the_last_request_is_no_request() -> None:
    pipeline = feed(made(), ENDS[1])
    assert [request.target for request in pipeline.waiting] == ["/last"]
    assert pipeline.over


# --- bounds -------------------------------------------------------------------------------------------------

FITS = b"GET / HTTP/1.1\r\nX: " + b"a" * (MOST - 1) + b"\r\n\r\n"
TOO_LONG = {
    "a field": b"GET / HTTP/1.1\r\nX: " + b"a" * MOST + b"\r\n\r\n",
    "a name": b"GET / HTTP/1.1\r\n" + b"X" * (MOST + 1) + b":\r\n\r\n",
    "a request line": b"GET /" + b"a" * MOST + b" HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("step", [1, 100, 999, 5000])
def test_a_field_that_fits_passes(step: int) -> None:
    pipeline = feed(made(), *(FITS[at : at + step] for at in range(0, len(FITS), step)))
    assert [len(request.fields[0][1]) for request in seen(pipeline)] == [MOST - 1]


@pytest.mark.parametrize("step", [1, 100, 600, 999, 5000])
@pytest.mark.parametrize("head", TOO_LONG.values(), ids=TOO_LONG)
def test_one_that_is_too_long_is_refused_and_those_before_it_are_not(head: bytes, step: int) -> None:
    data = PARTS[0] + head + PARTS[0]
    pipeline = feed(made(), *(data[at : at + step] for at in range(0, len(data), step)))
    assert [request.target for request in pipeline.waiting] == ["/1"]
    assert pipeline.refusal is not None
    assert (pipeline.refusal.code, pipeline.refusal.message) == (431, LONG)


@pytest.mark.parametrize("unfinished", [b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX", b"GET /"])
def test_one_that_never_ends_is_refused_before_it_grows(unfinished: bytes) -> None:
    pipeline = feed(made(), unfinished)
    for _ in range(3 * MOST // 10):
        feed(pipeline, b"a" * 10)
    assert pipeline.refusal is not None
    assert pipeline.refusal.message == LONG


def test_a_head_is_bounded_in_all_and_in_number_before_it_ends() -> None:
    fields = [b"X: %b\r\n" % (b"a" * 900) for _ in range(6)]
    for segments in (fields, [b"".join(fields) + b"\r\n"]):
        wide = feed(made(), b"GET / HTTP/1.1\r\n", *segments)
        assert wide.refusal is not None
        assert wide.refusal.message == LONG
    long = feed(made(), b"GET / HTTP/1.1\r\n", *(b"a:b\r\n" for _ in range(MAX_HEADERS + 2)))
    assert long.refusal is not None
    assert long.refusal.message == TOO_MANY


@pytest.mark.parametrize("endless", [b"0\r\nT: " + b"t" * 50, b"0\r\n" + b"T: t\r\n" * 10, b"1;" + b"x" * 60])
def test_a_chunked_body_that_brings_nothing_is_broken_off(endless: bytes) -> None:
    pipeline = feed(made(), b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\n1\r\nx\r\n")
    request = pipeline.waiting.pop(0)
    feed(pipeline, endless)
    for _ in range(100):
        feed(pipeline, endless[3:].replace(b"0\r\n", b""))
    assert pipeline.over
    assert request.body.take() == b"x"
    with pytest.raises(Malformed):
        request.body.take()


def test_a_body_may_be_slow_and_in_small_chunks() -> None:
    pipeline = feed(made(), b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\n")
    for _ in range(2 * MOST):
        feed(pipeline, b"1", b"\r\n", b"x", b"\r\n")
    feed(pipeline, b"0\r\n\r\n")
    (request,) = seen(pipeline)
    assert (len(request.body), request.ended) == (2 * MOST, True)


def test_a_large_head_and_a_body_later_are_no_stalled_body() -> None:
    head = b"POST / HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 900) for n in range(3)) + CHUNKED + b"\r\n"
    pipeline = feed(made(), head, b"1", b"\r\n", b"x\r\n0\r\n\r\n")
    assert [request.body for request in seen(pipeline)] == [b"x"]


def test_so_many_requests_may_wait() -> None:
    pipeline = feed(made(), PARTS[0] * 500)
    pipeline.shorten()
    assert len(pipeline.waiting) == 100
    assert [request.keep_alive for request in pipeline.waiting] == [True] * 99 + [False]
    assert (pipeline.over, pipeline.refusal) == (True, None)
