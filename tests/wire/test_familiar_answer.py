"""A head that an endpoint sent before makes the same answer as one that is parsed, and nothing else is taken for it."""

import asyncio
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.head import RawField
from proxy.wire.answer_reader import AnswerReader
from proxy.wire.inflow import Inflow
from proxy.wire.reply import Reply
from tests.support.gateway import gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes
from tests.support.wire import Line, make_request
from tests.wire.test_familiar import on_one_connection
from tests.wire.test_pipeline import split

MOST = 1000  # bytes of a field
OK = b"HTTP/1.1 200 OK\r\n"
DATE = b"Date: Sun, 22 Nov 2026 00:00:0%d GMT\r\n"
HEAD = OK + b"Vary: a\r\nVary: b\r\n" + DATE + b"Server-Timing: gfet4t7; dur=%d\r\nContent-Length: %d\r\n\r\n"


class Came(NamedTuple):
    """What came of one answer."""

    good: bool
    status: int | None
    reason: str | None
    raw: list[RawField]
    fields: list[RawField]
    length: int | None
    until_close: bool
    body: bytes
    ended: bool
    asked: bool
    reusable: bool


def came_of(reader: AnswerReader, reads: list[bytes], *, no_body: bool = False) -> Came:
    """Through one buffer that is overwritten each time, as a connection's is."""
    reader.expect(no_body=no_body)
    buffer = bytearray(1 << 16)
    good = True
    for read in filter(None, reads):
        if not reader.asked:
            good = False  # its connection is cut
        if not good:
            break
        buffer[: len(read)] = read
        good = reader.feed(memoryview(buffer)[: len(read)])
        buffer[: len(read)] = b"\xff" * len(read)
    said = reader.said
    inflow = Inflow(Line()) if said is None else reader.inflow
    assert isinstance(inflow, Inflow)
    body = b"".join(iter(lambda: inflow.take() or b"", b""))
    rest = reader.asked, reader.reusable
    if said is None:
        return Came(good, None, None, [], [], None, False, b"", False, *rest)
    head = said.head
    if said.as_it_came:
        assert said.as_it_came == sent_down(head.status, head.reason, said.fields)
    assert head.headers.first == {name.lower(): value for name, value in reversed(head.headers.raw)}
    facts = head.headers.raw, list(said.fields), said.length, said.until_close, body
    return Came(good, head.status, head.reason, *facts, inflow.ended, *rest)


def sent_down(status: int, reason: str, fields: list[RawField]) -> bytes:
    """What a `Reply` makes of a head."""
    request = make_request()
    request.connection = wire = Line()
    Reply(request).whole(status, reason, fields, b"")
    return b"".join(wire.written).removesuffix(b"\r\n\r\n")


def reader() -> AnswerReader:
    return AnswerReader(Line(), MOST)


VALUES = st.sampled_from(
    [
        b"a",
        b"bb",
        b"",
        b"\xff",
        b"a\tb",
        b"d ",
        b"\td\t",
        b"a:b",
        b"c\x01",
        b"\x7f",
        b"a\rb",
        b"a\nb",
        b"a\r\n b",
        b"x" * 1100,
        b" d",
    ]
)
LENGTHS = st.sampled_from([b"%d", b"00%d", b"%d ", b" %d", b"+%d", b"%d, %d", b"0" * 20 + b"%d"])
BODIES = st.sampled_from([b"", b"x", b"\r\n\r\n", OK + b"\r\n", b"y" * 120])


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Most are of one form, whose values differ."""
    body, length = draw(BODIES), draw(st.just(b"%d") | LENGTHS)
    digits = length.replace(b"%d", b"%d" % len(body))
    head = draw(
        st.sampled_from(
            [
                OK + b"A: 1\r\nX-Varies: %b\r\nContent-Length: %b\r\nDate: now\r\n\r\n",
                OK + b"Content-Length:%b%b\r\nDate: now\r\n\r\n",
                b"HTTP/1.1 200 Fine\r\nX: %b \r\ncontent-length:\t%b\r\n\r\n",
                b"HTTP/1.0 200 OK\r\nX: %b\r\nContent-Length: %b\r\n\r\n",
                OK + b"X: %b\r\nContent-Length: %b\r\nConnection: X\r\n\r\n",
                OK + b"Keep-Alive: %b\r\nContent-Length: %b\r\n\r\n",
                b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"X: %b\r\nContent-Length: %b\r\n\r\n",
                b"\r\n" + OK + b"X: %b\r\nContent-Length: %b\r\n\r\n",
                b"HTTP/1.1 204 No Content\r\nX: %b\r\nX-Length: %b\r\n\r\n",
                OK + b"X: %b\r\nX-Length: %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                OK + b"X: %b\r\nContent-Length: %b\r\nContent-Length: 1\r\n\r\n",
            ]
        )
    )
    value = b"" if b"h:%b%b" in head else draw(st.just(b"1") | VALUES)
    return head % (value, digits) + body


@given(
    st.lists(answers(), min_size=1, max_size=8),
    st.lists(st.integers(1, 90), max_size=4),
    st.booleans(),
    st.sampled_from([b"", b"", b"\r\n", b"x", OK + b"\r\n"]),
)
@example([HEAD % (n, n, 2) + b"hi" for n in range(5)], [], True, b"")
def test_it_is_as_if_all_was_parsed(messages: list[bytes], sizes: list[int], whole: bool, stray: bytes) -> None:
    knows = reader()
    for message in messages:
        reads = [message + stray] if whole else split(message + stray, sizes)
        expected = came_of(reader(), reads)
        assert came_of(knows, reads) == expected
        if not expected.reusable or not expected.good:
            knows = reader()


def test_what_comes_again_is_known_again() -> None:
    knows = reader()
    said = []
    for n in range(6):
        came_of(knows, [HEAD % (n, 10 * n, 2) + b"hi"])
        assert knows.said is not None
        said.append(knows.said)
        assert knows._familiar is not None
    assert knows._missed == 0
    assert [head.as_it_came for head in said[2:]] == [(HEAD % (n, 10 * n, 2))[:-4] for n in range(2, 6)]
    assert said[2].head.headers.get("server-timing") == "gfet4t7; dur=20", "each one's head is its own"


def test_a_body_that_comes_late_is_whole() -> None:
    knows = reader()
    for n in range(4):
        came = came_of(knows, [HEAD % (n, n, 6) + b"ab", b"cd", b"ef"])
        assert (came.body, came.reusable, came.good) == (b"abcdef", True, True)
    assert knows._missed == 0


@pytest.mark.parametrize("cut_at", [1, 12, 40])
def test_an_answer_that_breaks_off_and_one_behind_it(cut_at: int) -> None:
    """What began past the parser has an end that is known, and the parser none."""
    knows = reader()
    for n in range(3):
        came_of(knows, [HEAD % (n, n, 2) + b"hi"])
    assert not came_of(knows, [(HEAD % (4, 4, 50) + b"x" * 50)[:-cut_at]]).ended
    parsed = came_of(reader(), [(HEAD % (4, 4, 50) + b"x" * 50)[:-cut_at]])
    assert (parsed.ended, parsed.asked, parsed.reusable) == (False, knows.asked, knows.reusable)


def test_after_head_nothing_is_familiar() -> None:
    knows = reader()
    for n in range(3):
        came_of(knows, [HEAD % (n, n, 2) + b"hi"])
    came = came_of(knows, [HEAD % (4, 4, 2)], no_body=True)
    assert (came.length, came.ended, came.reusable) == (0, True, True)
    assert came_of(knows, [HEAD % (5, 5, 2) + b"hi"]).body == b"hi"


def test_where_nothing_comes_again_little_is_learned() -> None:
    """The 1st, 2nd, 4th … head in a row."""
    knows, learned = reader(), []
    for n in range(40):
        before = knows._familiar
        came_of(knows, [OK + b"X-%d: 1\r\nContent-Length: 2\r\n\r\nhi" % n])
        if knows._familiar is not before:
            learned.append(n + 1)
    assert learned == [1, 2, 4, 8, 16, 32]


def test_a_head_that_would_be_changed_is_written_anew() -> None:
    for head in (
        OK + b"Content-Length: 2\r\n\r\n",  # a Date is added
        OK + b"Date:now\r\nContent-Length: 2\r\n\r\n",
        OK + b"Date: now\r\nContent-Length:  2\r\n\r\n",
        OK + b"Date: now\r\nContent-Length: 2 \r\n\r\n",
    ):
        knows = reader()
        for _ in range(3):
            came_of(knows, [head + b"hi"])
        assert knows.said is not None
        assert knows._missed == 0
        assert knows.said.as_it_came == b""


# --- through the whole gateway ------------------------------------------------------------------------------


async def test_each_goes_down_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [b"a", b"bcd", b"", b"e" * 5000, b"f", b"g" * 70_000, b"h"]
    answers = [HEAD % (n % 3, n, len(body)) + body for n, body in enumerate(bodies)]

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await upstream.read(reader)
            writer.write(answer)

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await on_one_connection(weir, *[request_bytes(close=False)] * len(answers))
            assert upstream.connections == 1
    records = {record.id: record for record in weir.records()}
    for (head, body), answer in zip(got, answers, strict=True):
        lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        name, _, exchange = lines.pop().partition(b": ")
        assert name == b"x-weir-exchange"
        assert b"\r\n".join(lines) + b"\r\n\r\n" + body == answer
        record = records.pop(exchange.decode())
        assert (record.status, record.response_bytes, record.outcome) == (200, len(body), "completed")
    assert records == {}


async def test_a_caller_that_wants_no_more_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(HEAD % (1, 1, 2) + b"hi")

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            asked = [request_bytes(close=False), request_bytes(close=False), request_bytes(close=True)]
            heads = [head for head, _ in await on_one_connection(weir, *asked)]
            old = request_bytes(close=True).replace(b"HTTP/1.1", b"HTTP/1.0")
            ((of_old, body),) = await on_one_connection(weir, old)
            assert upstream.connections == 1
    assert [b"\r\nConnection: close\r\n" in head for head in heads] == [False, False, True]
    assert of_old.startswith(b"HTTP/1.0 200 OK\r\n")
    assert body == b"hi"


def test_each_answer_has_a_head_of_its_own() -> None:
    reader = AnswerReader(Line(), MOST)
    reads = [HEAD % (1, 17, 2) + b"ok", HEAD % (1, 17, 2) + b"ok", HEAD % (1, 17, 2) + b"ok", HEAD % (2, 8, 2) + b"ok"]
    for read in reads:
        came_of(reader, [read])
        assert reader.said is not None
        headers = reader.said.head.headers
        assert headers.notes == {}
        assert len(headers.raw) == 5
        headers.notes["of"] = "one caller"
        headers.raw.append((b"X-Team", b"one"))
