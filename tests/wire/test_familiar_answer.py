"""A head that an endpoint sent before makes the same answer as one that is parsed, and nothing else is taken for it."""

import asyncio
import gzip
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
from tests.support.raw import RawUpstream, raw_upstream, read_chunks, request_bytes, send_bytes
from tests.support.wire import Line, make_request
from tests.wire.test_familiar import on_one_connection
from tests.wire.test_pipeline import split

MOST = 1000  # bytes of a field
OK = b"HTTP/1.1 200 OK\r\n"
DATE = b"Date: Sun, 22 Nov 2026 00:00:0%d GMT\r\n"
HEAD = OK + b"Vary: a\r\nVary: b\r\n" + DATE + b"Server-Timing: gfet4t7; dur=%d\r\nContent-Length: %d\r\n\r\n"
CHUNKED = HEAD.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
GZIPPED = CHUNKED.replace(b"Transfer", b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer")
DOCUMENT = (
    b'{"candidates":[{"content":{"parts":[{"text":"%d"}]},"finishReason":"STOP"}],"usageMetadata":'
    b'{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}}'
)
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"


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
    came_bytes: list[int]  # of the body, after each read
    asked: bool
    reusable: bool


def came_of(reader: AnswerReader, reads: list[bytes], *, no_body: bool = False) -> Came:
    """Through one buffer that is overwritten each time, as a connection's is."""
    reader.expect(no_body=no_body)
    buffer = bytearray(1 << 16)
    good = True
    came_bytes: list[int] = []
    for read in filter(None, reads):
        if not reader.asked:
            good = False  # its connection is cut
        if not good:
            break
        buffer[: len(read)] = read
        good = reader.feed(memoryview(buffer)[: len(read)])
        buffer[: len(read)] = b"\xff" * len(read)
        came_bytes.append(reader.inflow.came_bytes if reader.said is not None else -1)
    said = reader.said
    inflow = Inflow(Line()) if said is None else reader.inflow
    assert isinstance(inflow, Inflow)
    body = b"".join(iter(lambda: inflow.take() or b"", b""))
    rest = came_bytes, reader.asked, reader.reusable
    if said is None:
        return Came(good, None, None, [], [], None, False, b"", False, *rest)
    head = said.head
    if said.as_it_came:
        assert said.as_it_came == sent_down(head.status, head.reason, list(said.fields))
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
    """One that has read an answer: from the next on heads are learned."""
    made = AnswerReader(Line(), MOST)
    came_of(made, [OK + b"Content-Length: 0\r\n\r\n"])
    assert made._familiar is None
    return made


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
CODINGS = st.sampled_from(
    [b"Chunked", b"chunked ", b" chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"", b"chunked\r\nTE: x"]
)
CHUNKS = st.sampled_from(
    [b"%x\r\n%b\r\n", b"%X\r\n%b\r\n", b"0%x\r\n%b\r\n", b"%x;a=b\r\n%b\r\n", b"%x \r\n%b\r\n", b"%x\r\n%b"]
)
SPELLINGS = [(1, b"chunked"), (2, b"chunked"), (2, b"Chunked"), (3, b"chunked"), (3, b"CHUNKED"), (3, b"gzip, chunked")]
LAST = st.sampled_from([b"0\r\n\r\n", b"0\r\nX-T: a\r\n\r\n", b"00\r\n\r\n", b"0;a\r\n\r\n", b"0\r\n", b"", b"zz\r\n"])
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
                OK + b"X: %b\r\nContent-Length: %b\r\nContent-Length: 1\r\n\r\n",
            ]
        )
    )
    value = b"" if b"h:%b%b" in head else draw(st.just(b"1") | VALUES)
    return head % (value, digits) + body


@st.composite
def chunked_answers(draw: st.DrawFn) -> bytes:
    """As above, in chunks."""
    head = draw(
        st.sampled_from(
            [
                OK + b"X: %b\r\nDate: now\r\nTransfer-Encoding: %b\r\n\r\n",
                OK + b"X: %b\r\nDate: now\r\nTransfer-Encoding: %b\r\n\r\n",
                OK + b"X: %b\r\ntransfer-encoding:%b\r\nDate: now\r\n\r\n",
                OK + b"X: %b\r\nTransfer-Encoding: %b\r\n\r\n",
                OK + b"X: %b\r\nConnection: close\r\nDate: now\r\nTransfer-Encoding: %b\r\n\r\n",
                OK + b"X: %b\r\nTransfer-Encoding: %b\r\nContent-Length: 2\r\n\r\n",
                OK + b"X: %b\r\nTransfer-Encoding: %b\r\nTransfer-Encoding: chunked\r\n\r\n",
                OK + b"X: %b\r\nTrailer: X-T\r\nTransfer-Encoding: %b\r\n\r\n",
                b"HTTP/1.0 200 OK\r\nX: %b\r\nTransfer-Encoding: %b\r\n\r\n",
                b"HTTP/1.1 204 No Content\r\nX: %b\r\nTransfer-Encoding: %b\r\n\r\n",
            ]
        )
    )
    message = head % (draw(st.just(b"1") | VALUES), draw(st.just(b"chunked") | CODINGS))
    for content in draw(st.lists(BODIES.filter(bool), max_size=4)):
        message += draw(st.just(b"%x\r\n%b\r\n") | CHUNKS) % (len(content), content)
    return message + draw(st.just(b"0\r\n\r\n") | LAST)


@given(
    st.lists(answers() | chunked_answers(), min_size=1, max_size=8)
    | st.lists(chunked_answers(), min_size=1, max_size=8),
    st.lists(st.integers(1, 90), max_size=4),
    st.booleans(),
    st.sampled_from([b"", b"", b"\r\n", b"x", OK + b"\r\n"]),
)
@example([HEAD % (n, n, 2) + b"hi" for n in range(5)], [], True, b"")
@example([CHUNKED % (n, n) + b"2\r\nhi\r\n0\r\n\r\n" for n in range(5)], [], True, b"")
@example([CHUNKED % (n, n) + b"2\r\nhi\r\n0\r\n\r\n" for n in range(5)], [], True, OK + b"\r\n")
@example([CHUNKED % (n, n) + b"2\r\nhi\r\n2\r\nho\r\n0\r\n\r\n" for n in range(5)], [1] * 90, False, b"x")
@example([OK + b"A: %d\r\nTransfer-Encoding: %b\r\n\r\n0\r\n\r\n" % each for each in SPELLINGS], [], True, b"")
@example([OK + b"X: %d\r\nConnection: X\r\nContent-Length: 2\r\n\r\nhi" % n for n in range(5)], [], True, b"")
@example([OK + b"Keep-Alive: %d\r\n" % n + CHUNKED[len(OK) :] % (n, n) + b"0\r\n\r\n" for n in range(5)], [], True, b"")
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


def test_what_comes_in_chunks_is_known_again() -> None:
    knows = reader()
    said = []
    for n in range(6):
        came = came_of(knows, [CHUNKED % (n, 10 * n) + b"2\r\nhi\r\n0\r\n\r\n"])
        assert (came.body, came.ended, came.length, came.until_close) == (b"hi", True, None, False)
        assert knows.said is not None
        said.append(knows.said)
    assert knows._missed == 0
    lines = [(CHUNKED % (n, 10 * n)).removesuffix(b"\r\nTransfer-Encoding: chunked\r\n\r\n") for n in range(6)]
    assert [head.as_it_came for head in said[2:]] == lines[2:]
    assert [name for name, _ in said[2].fields] == [b"Vary", b"Vary", b"Date", b"Server-Timing"]
    assert said[2].head.headers.raw[-1] == (b"Transfer-Encoding", b"chunked"), "as it came"
    assert said[2].head.headers.get("server-timing") == "gfet4t7; dur=20", "each one's head is its own"


@pytest.mark.parametrize("sizes", [[], [1] * 200, [len(CHUNKED) + 2], [40, 60, 20], [len(CHUNKED % (1, 1)) + 7]])
def test_chunks_go_past_the_parser_and_back_to_it(sizes: list[int]) -> None:
    """Each head is known; of some bodies the parser reads the end, and of the next again none."""
    knows, ends = reader(), [b"0\r\n\r\n", b"0\r\nX-T: a\r\n\r\n", b"0\r\n\r\n", b"2;a=b\r\nho\r\n0\r\n\r\n"]
    for n in range(12):
        message = CHUNKED % (1, n) + b"2\r\nhi\r\n" + ends[n % 4]
        reads = split(message, sizes if n > 2 else [])
        assert came_of(knows, reads) == came_of(reader(), reads)
        assert not knows._in_chunks
        assert knows.said is not None
        assert bool(knows.said.as_it_came) == (n > 1 and b"\r\n\r\n" in reads[0]), "a head in pieces is parsed"


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


@given(
    st.lists(BODIES.filter(bool), min_size=1, max_size=4), st.integers(1, 60), st.lists(st.integers(1, 90), max_size=4)
)
def test_one_in_chunks_that_breaks_off(contents: list[bytes], cut: int, sizes: list[int]) -> None:
    knows = reader()
    for n in range(3):
        came_of(knows, [CHUNKED % (n, n) + b"2\r\nhi\r\n0\r\n\r\n"])
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(content), content) for content in contents)
    reads = split((CHUNKED % (4, 4) + chunks + b"0\r\n\r\n")[:-cut], sizes)
    came = came_of(knows, reads)
    assert came == came_of(reader(), reads)
    assert not came.ended
    assert not came.reusable


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
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nDate: now\r\n\r\n",
        OK + b"Date: now\r\nTransfer-Encoding:chunked\r\n\r\n",
        OK + b"Date: now\r\nTransfer-Encoding: chunked \r\n\r\n",
    ):
        knows = reader()
        for _ in range(3):
            came_of(knows, [head + (b"2\r\nhi\r\n0\r\n\r\n" if b"chunked" in head else b"hi")])
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


@pytest.mark.parametrize("apart", [False, True])
async def test_one_in_chunks_goes_down_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool) -> None:
    """`apart`: its last chunk comes later."""
    bodies = [gzip.compress(DOCUMENT % n) for n in range(5)] + [gzip.compress(DOCUMENT % 9 + b" " * (9 << 20)), b""]
    heads = [GZIPPED % (n % 3, n) for n in range(len(bodies))]

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for head, body in zip(heads, bodies, strict=True):
            await upstream.read(reader)
            writer.write(head + (b"%x\r\n%b\r\n" % (len(body), body) if body else b""))
            if apart:
                await went_down.wait()
            writer.write(b"0\r\n\r\n")

    went_down = asyncio.Event()
    got = []
    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            async with asyncio.timeout(60):
                for _ in bodies:
                    went_down.clear()
                    writer.write(request_bytes("Content-Length: 0", target=GENERATE, close=False))
                    head = await reader.readuntil(b"\r\n\r\n")
                    went_down.set()
                    got.append((head, await read_chunks(reader)))
            writer.close()
            assert upstream.connections == 1
    records = {record.id: record for record in weir.records()}
    for (head, body), came, sent in zip(got, heads, bodies, strict=True):
        *lines, name_and_id, coding = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        assert b"\r\n".join([*lines, coding]) + b"\r\n\r\n" == came
        name, _, exchange = name_and_id.partition(b": ")
        assert (name, body) == (b"x-weir-exchange", sent)
        record = records.pop(exchange.decode())
        assert (record.status, record.response_bytes, record.outcome) == (200, len(body), "completed")
        assert (record.usage.total_tokens if record.usage else None) == (7 if body else None)
    assert records == {}


@pytest.mark.parametrize("ask", ["HTTP/1.0", "close"])
async def test_who_asks_otherwise_gets_chunks_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(CHUNKED % (1, 1) + b"2\r\nhi\r\n0\r\n\r\n")

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            await on_one_connection(weir, *[request_bytes(close=False)] * 3)
            asked = request_bytes(close=True)
            if ask == "HTTP/1.0":
                asked = asked.replace(b"HTTP/1.1", b"HTTP/1.0")
            head, _, body = (await send_bytes(weir.host, weir.port, asked)).partition(b"\r\n\r\n")
            assert upstream.connections == 1
    if ask == "HTTP/1.0":
        assert (head[:15], b"chunked" in head, body) == (b"HTTP/1.0 200 OK", False, b"hi")
    else:
        assert head.endswith(b"\r\nConnection: close\r\nTransfer-Encoding: chunked")
        assert body == b"2\r\nhi\r\n0\r\n\r\n"


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
