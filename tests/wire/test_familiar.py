"""A head that came before makes the same request as one that is parsed, and nothing else is taken for it."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gemini.paths import parse_operation
from proxy.gemini.visibility import hidden_usage
from proxy.wire.guard import Rejected, accepted_target
from proxy.wire.pipeline import Pipeline
from proxy.wire.request import Request
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, read_message, request_bytes
from tests.support.wire import Line
from tests.wire.test_pipeline import CHUNKED, ENDS, HOST, MOST, Seen, feed, made, seen, split

KEY = b"x-goog-api-key: k\r\n"
HEADS = [  # each with the place of its body's length
    b"POST /a HTTP/1.1\r\n" + HOST + KEY + b"Content-Length: %d\r\n\r\n",
    b"POST /a HTTP/1.1\r\n" + HOST + KEY + b"Content-Length: %d\r\nX-After: 1\r\n\r\n",
    b"POST /b HTTP/1.1\r\ncontent-length:%d \r\n" + HOST + b"A: Content-Length: 1\r\n\r\n",
    b"POST /b HTTP/1.0\r\nConnection: keep-alive\r\nCONTENT-LENGTH:\t00%d\r\n\r\n",
    b"PUT /c HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n",
]
BODIES = st.sampled_from([b"", b"x", b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"y" * 120])
WITH_BODY = st.builds(lambda head, body: head % len(body) + body, st.sampled_from(HEADS), BODIES)
# What another value may change, and what not.
NAMES = ["X-Trace", "Authorization", "Content-Type", "Connection", "Host", "Expect", "TE", "X-Goog-FieldMask"]
VALUES = [b"a", b"bc", b"", b" d ", b"\xff", b"e\tf", b"close", b"keep-alive", b"100-continue", b"/", b"\x7f", b"g\rh"]
VARIED = st.builds(
    lambda name, value, other, body: (
        b"POST /a HTTP/1.1\r\n%b: %b\r\nX: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (name.encode(), value, other, len(body), body)
    ),
    st.sampled_from(NAMES),
    st.sampled_from(VALUES),
    st.sampled_from([b"1", b"2", b"3"]),
    BODIES,
)
OTHERS = st.sampled_from(
    [
        b"GET /d HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /d HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"\r\nGET /d HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /e HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n2\r\nhi\r\n0\r\n\r\n",
        b"POST /f HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
    ]
)


@given(
    st.lists(WITH_BODY | OTHERS, min_size=1, max_size=8) | st.lists(VARIED, min_size=3, max_size=8),
    st.sampled_from(ENDS),
    st.lists(st.integers(1, 90), max_size=6),
    st.booleans(),
)
def test_it_is_as_if_all_was_parsed(messages: list[bytes], end: bytes, sizes: list[int], whole: bool) -> None:
    """In one read everything is parsed, for nothing was familiar when it came."""
    data = b"".join(messages) + end
    expected = feed(made(), data)
    requests = seen(expected)
    # A read a message, most of them, as they come in truth; or heads and bodies in reads of their own; or anything.
    segments = [*messages, end] if whole else [*split(b"".join(messages), sizes), end]
    apart = [part for segment in segments for part in split(segment, [segment.find(b"\r\n\r\n") + 4])]
    for cut in (segments, apart):
        got = feed(made(), *cut)
        assert seen(got) == requests or end == ENDS[5], "a request is refused whole if it was not there to begin"
        assert (got.over, got.refusal is None) == (expected.over, expected.refusal is None)
        for request in got.waiting:
            others = [other for other in got.waiting if other.familiar is request.familiar is not None]
            assert {judged(other) for other in others} <= {judged(request)}, "they share a meaning"


def judged(request: Request) -> tuple[str, str | None]:
    """As the server finds what a head means."""
    method, target = request.method, "/v1beta/models/m:generateContent"
    hidden = hidden_usage(parse_operation(method, target), method, target, request.headers)
    try:
        return accepted_target(request), hidden
    except Rejected as rejected:
        return str(rejected), hidden


def asked() -> Pipeline:
    """One that has brought a request: from the next on heads are learned."""
    pipeline = made()
    ask(pipeline, b"GET / HTTP/1.1\r\n\r\n")
    return pipeline


def ask(pipeline: Pipeline, data: bytes) -> Seen:
    """The one request that this is."""
    (request,) = seen(feed(pipeline, data))
    pipeline.waiting.clear()
    return request


@pytest.mark.parametrize("head", HEADS[:4])
def test_what_comes_again_is_known_again(head: bytes) -> None:
    pipeline = asked()
    feed(pipeline, head % 1 + b"a")
    (first,) = pipeline.waiting
    pipeline.waiting.clear()
    feed(pipeline, head % 3 + b"abc")
    (second,) = pipeline.waiting
    assert first.familiar is not None
    assert second.familiar is first.familiar
    digits = head.partition(b"00")[1] + b"3"
    assert second.headers.first[b"content-length"] == digits
    assert first.headers.first[b"content-length"] == digits[:-1] + b"1", "the first one's head is its own"
    assert [name for name, _ in second.headers.raw] == [name for name, _ in first.headers.raw]
    assert (second.length, second.body.take(), second.body.ended) == (3, b"abc", True)


def test_a_body_that_comes_late_is_whole_and_the_next_head_is_familiar_still() -> None:
    pipeline = asked()
    head = HEADS[0]
    ask(pipeline, head % 1 + b"a")
    feed(pipeline, head % 6, b"ab", b"cd")
    (request,) = pipeline.waiting
    pipeline.waiting.clear()
    assert pipeline.receiving is request
    feed(pipeline, b"ef" + head % 2 + b"hi")
    assert b"".join(iter(lambda: request.body.take() or b"", b"")) == b"abcdef"
    assert request.body.ended
    (behind,) = pipeline.waiting
    pipeline.waiting.clear()
    assert behind.body.take() == b"hi"
    feed(pipeline, head % 1 + b"a")
    assert pipeline.waiting[0].familiar is not None


@pytest.mark.parametrize(
    "other",
    [
        b"POST /a HTTP/1.1\r\n" + HOST + b"x-goog-api-key: K\r\nContent-Length: 1\r\n\r\na",
        b"POST /A HTTP/1.1\r\n" + HOST + KEY + b"Content-Length: 1\r\n\r\na",
        b"POST /a HTTP/1.1\r\n" + HOST + KEY + b"Content-Length: 1\r\nX: y\r\n\r\na",
    ],
)
def test_what_differs_is_another(other: bytes) -> None:
    pipeline = asked()
    ask(pipeline, HEADS[0] % 1 + b"a")
    assert ask(pipeline, other) == ask(made(), other)


@pytest.mark.parametrize(
    "begun", [b"PO", b"P", b"POST /a HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"]
)
def test_in_the_middle_of_another_message_nothing_is_familiar(begun: bytes) -> None:
    head = HEADS[0] % 1 + b"a"
    pipeline, parsed = asked(), made()
    ask(pipeline, head)
    feed(pipeline, begun, head)
    feed(parsed, begun + head)
    assert pipeline.over
    assert seen(pipeline) == seen(parsed)


@pytest.mark.parametrize("length", [b"", b"-1", b"+1", b"1a", b"9" * 30, b"1, 1"])
def test_a_length_that_is_none_is_refused_as_ever(length: bytes) -> None:
    pipeline = asked()
    ask(pipeline, HEADS[0] % 1 + b"a")
    feed(pipeline, (HEADS[0] % 1).replace(b": 1", b": " + length) + b"a")
    assert pipeline.refusal is not None
    assert pipeline.refusal.code == 400


def test_what_differs_and_decides_nothing_may_differ_again() -> None:
    """A trace's id, and a token that was renewed."""
    pipeline = asked()
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"traceparent: 00-%032x-01\r\nAuthorization: Bearer %d\r\n"
    for number in range(9):
        data = head % (number, number // 2) + b"Content-Length: 1\r\n\r\n" + b"%d" % number
        assert ask(pipeline, data) == ask(made(), data)
    assert pipeline._tries == 3, "the last one was familiar"


def test_a_head_is_kept_for_those_that_are_the_same_but_for_their_length() -> None:
    """One that waits behind another may be parsed before that one has gone up."""
    pipeline = asked()
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"X-Trace: %b\r\nContent-Length: %d\r\n\r\n"
    for trace, length in ((b"a", 1), (b"b", 1), (b"b", 2), (b"b", 1), (b"c", 1), (b"c", 3)):
        feed(pipeline, head % (trace, length) + b"x" * length)
    kept = [request.kept for request in pipeline.waiting]
    assert kept[:2] == [None, None], "read by the parser"
    assert None not in kept[2:]
    assert kept[2] is kept[3]
    assert kept[3] is not kept[4]
    assert kept[4] is kept[5]


def test_the_first_head_of_a_connection_is_not_kept() -> None:
    """Many a connection brings no other."""
    pipeline = made()
    head = HEADS[0] % 1 + b"a"
    for _ in range(3):
        feed(pipeline, head)
    first, second, third = pipeline.waiting
    assert first.familiar is None
    assert second.familiar is third.familiar is not None


def test_a_parser_is_there_for_a_message_that_needs_one() -> None:
    pipeline = made()
    head = HEADS[0] % 5
    feed(pipeline, head, b"ab")
    assert pipeline._parser is not None
    feed(pipeline, b"cde")
    assert pipeline._parser is None
    feed(pipeline, head + b"abcde", head, b"abcde")
    assert pipeline._parser is None
    feed(pipeline, head[:9])
    assert pipeline._parser is not None
    for number in range(6):
        pipeline = feed(pipeline if number else made(), b"GET /%d HTTP/1.1\r\n\r\n" % number)
    assert pipeline._parser is not None, "no head comes again"


def test_to_a_caller_that_never_repeats_itself_it_is_of_no_use() -> None:
    pipeline = asked()
    for number in range(5):
        feed(pipeline, b"GET /%d HTTP/1.1\r\n\r\n" % number)
    assert [request.familiar is not None for request in pipeline.waiting] == [True, True, True, False, False]


def test_a_length_of_any_number_of_digits_is_soon_refused() -> None:
    """Were they summed up first, a read of so many would take a quarter of an hour."""
    head = HEADS[0].replace(b"%d", b"%b")
    pipeline = asked()
    assert ask(pipeline, head % b"1" + b"x")
    familiar = pipeline._familiar
    assert familiar is not None
    assert familiar.end_in(head % (b"9" * 3_000_000)) == 0


def test_a_long_head_is_not_kept() -> None:
    pipeline = Pipeline(Line(), MOST * 10)
    ask(pipeline, b"GET / HTTP/1.1\r\n\r\n")
    feed(pipeline, b"GET / HTTP/1.1\r\nX: " + b"x" * 5000 + b"\r\n\r\n")
    assert pipeline.waiting[0].familiar is None


# --- through the whole gateway ------------------------------------------------------------------------------


async def on_one_connection(weir: Gateway, *messages: bytes) -> list[tuple[bytes, bytes]]:
    reader, writer = await asyncio.open_connection(weir.host, weir.port)
    got = []
    for message in messages:
        writer.write(message)
        async with asyncio.timeout(60):
            got.append(await read_message(reader))
    writer.close()
    return got


async def mirrors(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        _, body = await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def test_each_is_an_exchange_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = (b"a", b"bcd", b"", b"e" * 5000, b"f")
    async with raw_upstream(mirrors) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            sent = [request_bytes(f"Content-Length: {len(body)}", body=body, close=False) for body in bodies]
            got = await on_one_connection(weir, *sent)
    assert tuple(body for _, body in got) == bodies
    assert tuple(body for _, body in upstream.requests) == bodies
    for (head, _), body in zip(upstream.requests, bodies, strict=True):
        assert head.lower().count(b"content-length: %d\r\n" % len(body)) == 1
    records = weir.records()
    assert [record.request_bytes for record in records] == list(map(len, bodies))
    assert len({record.id for record in records}) == len(bodies)


async def test_every_field_goes_up_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was kept of the head before."""
    facts = [("1", b"a"), ("1", b"bc"), ("1", b"d"), ("2", b"d"), ("2", b"e"), ("3", b"f"), ("2", b"g"), ("", b"h")]
    async with raw_upstream(mirrors) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            sent = [
                request_bytes(f"X-Trace: {trace}", f"Content-Length: {len(body)}", body=body, close=False)
                for trace, body in facts
            ]
            got = await on_one_connection(weir, *sent)
    assert [body for _, body in got] == [body for _, body in facts]
    assert [body for _, body in upstream.requests] == [body for _, body in facts]
    for (head, _), (trace, body) in zip(upstream.requests, facts, strict=True):
        lines = head.split(b"\r\n")
        assert lines.count(b"X-Trace: " + trace.encode()) == 1
        assert lines.count(b"Content-Length: %d" % len(body)) == 1
        assert len(lines) == len(upstream.requests[0][0].split(b"\r\n"))


async def test_an_address_with_a_seal_is_opened_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is good for some time only; and one that is no good is refused as often as it comes."""
    asked = request_bytes("Content-Length: 1", body=b"x", target="/upload/v1beta/files?weir_upload=no", close=False)
    async with raw_upstream(mirrors) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await on_one_connection(weir, asked, asked, asked)
    assert len({head.split(b"\r\n")[0] for head, _ in got}) == 1
    assert upstream.requests == []
    assert len(weir.records()) == 3


async def test_what_hides_the_usage_is_refused_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = "/v1beta/models/gemini-2.5-flash:generateContent?fields=candidates"
    asked = [request_bytes(f"Content-Length: {n}", body=b"x" * n, target=target, close=False) for n in (1, 2, 2)]
    async with raw_upstream(mirrors) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await on_one_connection(weir, *asked)
    assert all(b" 400 " in head.split(b"\r\n")[0] for head, _ in got)
    assert upstream.requests == []
