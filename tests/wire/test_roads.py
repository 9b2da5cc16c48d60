"""Both roads to an endpoint, side by side: what comes of a request is the same, but for a list of intended differences.

The plain road is aiohttp's client; what it makes of an answer is the measure for our own. Where httptools is stricter,
or an answer is judged by itself and not by what came in the same segment, the list says so.
"""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from proxy import CallerGone, EndpointFailed, Refusal
from proxy.endpoint import Endpoint
from proxy.head import RawHeaders
from proxy.wire.answer import Answer, AnswerBroke
from proxy.wire.bounds import Bounds
from proxy.wire.intake import Intake
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.pool import Pool
from proxy.wire.request import Malformed
from proxy.wire.request_body import RequestBody
from proxy.wire.upstream import Upstream
from proxy.wire.upstream_head import UpstreamHead
from proxy.wire.watch import Watch
from tests.support.bounds import BOUNDS
from tests.support.raw import RawUpstream, answers, raw_upstream
from tests.support.wire import make_request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = (b"Content-Length", b"2")
ROADS = ["fast", "plain"]
both_roads = pytest.mark.parametrize("road", ROADS)


class Got(NamedTuple):
    """An answer, as far as it came."""

    body: bytes = b"hi"
    fields: RawHeaders = ()
    length: int | None = None
    status: int = 200
    reason: str = "OK"
    broke: bool = False


class Failed(NamedTuple):
    reason: str
    sent: bool = True


BY_LENGTH = Got(fields=[LENGTH], length=2)
BAD = Failed("bad_answer")
GONE = Failed("disconnected")

# The endpoint's bytes, to GET unless the name says HEAD; then it hangs up.
SAME: dict[str, tuple[bytes, Got | Failed]] = {
    "by length": (OK + b"Content-Length: 2\r\n\r\nhi", BY_LENGTH),
    "of length 0": (OK + b"Content-Length: 0\r\n\r\n", Got(b"", [(b"Content-Length", b"0")], 0)),
    "in chunks": (CHUNKED + b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", Got()),
    "in chunks with extensions": (CHUNKED + b"2;a=b\r\nhi\r\n0;c\r\n\r\n", Got()),
    "in chunks with a trailer": (CHUNKED + b"2\r\nhi\r\n0\r\nX-T: a\r\nX-U: b\r\n\r\n", Got()),
    "in chunks, spelt oddly": (OK + b"transfer-encoding:  Chunked \r\n\r\n2\r\nhi\r\n0\r\n\r\n", Got()),
    "in chunks of HTTP/1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Got()),
    "until close": (OK + b"\r\nhi", Got()),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", BY_LENGTH),
    "HEAD by length": (OK + b"Content-Length: 2\r\n\r\n", Got(b"", [LENGTH], 0)),
    "HEAD in chunks": (CHUNKED, Got(b"", length=0)),
    "HEAD until close": (OK + b"\r\n", Got(b"", length=0)),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Got(b"", length=0, status=204, reason="No Content")),
    "304": (b"HTTP/1.1 304 Same\r\nContent-Length: 2\r\n\r\n", Got(b"", [LENGTH], 0, 304, "Same")),
    "304 in chunks": (CHUNKED.replace(b"200", b"304"), Got(b"", length=0, status=304)),
    "1xx": (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 3 + OK + b"Content-Length: 2\r\n\r\nhi", BY_LENGTH),
    "101": (b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi", BAD),
    "101 without a word": (b"HTTP/1.1 101 Go\r\n\r\n", BAD),
    "no phrase": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", BY_LENGTH._replace(reason="")),
    "a phrase of UTF-8": ("HTTP/1.1 200 Ü\r\nContent-Length: 2\r\n\r\nhi".encode(), BY_LENGTH._replace(reason="Ü")),
    "a phrase of Latin-1": (b"HTTP/1.1 200 \xdc\r\nContent-Length: 2\r\n\r\nhi", BAD),
    "a phrase with a control character": (b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nhi", BAD),
    "status 99": (b"HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\nhi", BAD),
    "status 600": (b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nhi", BY_LENGTH._replace(status=600)),
    "fields of one hop": (
        OK + b"A: 1\r\nConnection: b, close\r\nB: 2\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
        Got(fields=[(b"A", b"1"), LENGTH], length=2),
    ),
    "repeats and spellings": (
        OK + b"a: 1\r\nA: 2\r\nb:\r\na:  3 \t\r\nContent-Length: 2\r\n\r\nhi",
        Got(fields=[(b"a", b"1"), (b"A", b"2"), (b"b", b""), (b"a", b"3"), LENGTH], length=2),
    ),
    "as many fields as may be": (
        OK + b"A: 1\r\n" * 127 + b"Content-Length: 2\r\n\r\nhi",
        Got(fields=[(b"A", b"1")] * 127 + [LENGTH], length=2),
    ),
    "one field more": (OK + b"A: 1\r\n" * 128 + b"Content-Length: 2\r\n\r\nhi", BAD),
    "a field as large as may be": (
        OK + b"A: %b\r\nContent-Length: 2\r\n\r\nhi" % (b"x" * (BOUNDS.header_bytes - 1)),
        Got(fields=[(b"A", b"x" * (BOUNDS.header_bytes - 1)), LENGTH], length=2),
    ),
    "a larger field": (OK + b"A: %b\r\nContent-Length: 2\r\n\r\nhi" % (b"x" * BOUNDS.header_bytes), BAD),
    "a field without end": (OK + b"A: " + b"x" * 300_000, BAD),
    "two lengths": (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", BAD),
    "a list of lengths": (OK + b"Content-Length: 2, 2\r\n\r\nhi", BAD),
    "a length and chunks": (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", BAD),
    "a space before the colon": (OK + b"A : 1\r\nContent-Length: 2\r\n\r\nhi", BAD),
    "a control character": (OK + b"A: \x01\r\nContent-Length: 2\r\n\r\nhi", BAD),
    "a NUL": (OK + b"A: b\0\r\nContent-Length: 2\r\n\r\nhi", BAD),
    "no HTTP": (b"what is this?\r\n\r\n", BAD),
    "nothing": (b"", GONE),
    "half a head": (OK + b"Content-Le", GONE),
    "an early end by length": (
        OK + b"Content-Length: 3\r\n\r\nhi",
        Got(fields=[(b"Content-Length", b"3")], length=3, broke=True),
    ),
    "an early end in chunks": (CHUNKED + b"2\r\nhi\r\n", Got(broke=True)),
    "an early end in a chunk": (CHUNKED + b"3\r\nhi", Got(broke=True)),
}

# The same, where the roads differ: what comes of it on the fast one, and on the plain one.
BROKE = Got(broke=True)
DIFFERENT: dict[str, tuple[bytes, Got | Failed, Got | Failed]] = {
    # stricter: a proxy that is lenient can be made to see another message than its neighbour
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", BAD, BY_LENGTH),
    "a folded field": (
        OK + b"A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nhi",
        BAD,
        Got(fields=[(b"A", b"1 2"), LENGTH], length=2),
    ),
    "a space behind a chunk's size": (CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n", BROKE._replace(body=b""), Got()),
    "1xx with a body": (  # it has none: RFC 9110 section 15.2
        b"HTTP/1.1 104 Odd\r\nContent-Length: 2\r\n\r\nhi" + OK + b"Content-Length: 2\r\n\r\nhi",
        BAD,
        BY_LENGTH,
    ),
    # a coding that only its field tells of would be lost with the field
    "coded on this hop": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", BAD, Got()),
    "coded until close": (OK + b"Transfer-Encoding: gzip\r\n\r\nhi", BAD, Got()),
    "chunked twice": (OK + b"Transfer-Encoding: chunked\r\n" + CHUNKED[17:] + b"2\r\nhi\r\n0\r\n\r\n", BAD, Got()),
    # bytes are passed on as they are; aiohttp could not send them
    "a field of Latin-1": (
        OK + b"A: \xe9\r\nContent-Length: 2\r\n\r\nhi",
        Got(fields=[(b"A", b"\xe9"), LENGTH], length=2),
        BAD,
    ),
    # an answer is what it is, whatever came in the same segment; aiohttp throws away all of that
    "a bad chunk": (CHUNKED + b"2\r\nhi\r\nzz\r\n", BROKE, BAD),
    "no end of a chunk": (CHUNKED + b"2\r\nhixx0\r\n\r\n", BROKE, BAD),
    "more behind the end": (OK + b"Content-Length: 2\r\n\r\nhizz", BY_LENGTH, BAD),
    "a body of 304": (b"HTTP/1.1 304 Same\r\nContent-Length: 2\r\n\r\nhi", Got(b"", [LENGTH], 0, 304, "Same"), BAD),
}


@pytest.mark.parametrize("name", SAME)
@both_roads
async def test_the_same_on_both_roads(road: str, name: str) -> None:
    data, expected = SAME[name]
    assert await came_of(road, data, name) == expected


@pytest.mark.parametrize("name", DIFFERENT)
async def test_the_differences_are_these(name: str) -> None:
    data, fast, plain = DIFFERENT[name]
    assert await came_of("fast", data, name) == fast
    assert await came_of("plain", data, name) == plain


async def came_of(road: str, data: bytes, name: str) -> Got | Failed:
    async with raw_upstream(answers(data)) as upstream, started(road) as pool:
        return await result_of(ask(pool, upstream.url, method="HEAD" if name.startswith("HEAD") else "GET"))


# --- however the bytes are split ----------------------------------------------------------------------------

EVERY = {name: (case[0], case[1]) for name, case in (SAME | DIFFERENT).items()}
SHORT = {name: case for name, case in EVERY.items() if len(case[0]) < 1000}


@pytest.mark.parametrize("name", SHORT)
async def test_every_split_of_an_answer_is_that_answer(name: str) -> None:
    data, expected = SHORT[name]
    no_body = name.startswith("HEAD")
    assert [await fed([data[:at], data[at:]], no_body=no_body) for at in range(1, len(data))] == [expected] * (
        max(len(data), 1) - 1
    )
    assert await fed([bytes([byte]) for byte in data], no_body=no_body) == expected


@given(st.sampled_from(sorted(EVERY)), st.data())
def test_random_splits_of_an_answer_are_that_answer(name: str, choices: Any) -> None:
    data, expected = EVERY[name]
    cuts = sorted(choices.draw(st.sets(st.integers(0, len(data)), max_size=8)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    async def main() -> None:
        assert await fed(pieces, no_body=name.startswith("HEAD")) == expected

    asyncio.run(main())


@pytest.mark.parametrize("name", [name for name in SHORT if SHORT[name][0].startswith(CHUNKED)])
async def test_it_is_that_answer_where_its_head_came_before(name: str) -> None:
    data, expected = SHORT[name]
    for at in range(1, len(data) + 1):
        assert await fed_later([data[:at], data[at:]], no_body=name.startswith("HEAD")) == expected
    pieces = [data[: len(CHUNKED)], *(bytes([byte]) for byte in data[len(CHUNKED) :])]
    assert await fed_later(pieces, no_body=name.startswith("HEAD")) == expected


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([OK, CHUNKED, b"\r\n", b"2\r\nhi\r\n", b"0\r\n\r\n"]), max_size=9)
)
def test_nonsense_never_is_a_fault_of_ours(pieces: list[bytes]) -> None:
    async def main() -> None:
        whole = await fed([b"".join(pieces)], no_body=False)
        assert await fed(pieces, no_body=False) == whole

    asyncio.run(main())


class Wire(asyncio.Transport):
    """A transport that sends nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.reading = self.open = True

    def write(self, data: Any) -> None:
        assert self.open
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        self.open = False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Kept:
    """A keeper of connections."""

    def __init__(self) -> None:
        self.idle: list[Upstream] = []
        self.gone: list[Upstream] = []

    def keep(self, connection: Upstream) -> None:
        self.idle.append(connection)

    def lost(self, connection: Upstream) -> None:
        self.gone.append(connection)


def connected() -> tuple[Upstream, Wire, Kept]:
    kept, wire = Kept(), Wire()
    connection = Upstream(kept, asyncio.get_running_loop(), Intake(), BOUNDS)
    connection.connection_made(wire)
    return connection, wire, kept


def feed(connection: Upstream, wire: Wire, data: bytes) -> None:
    """As a transport does: no more than there is room for, and nothing once it is closed."""
    while data and wire.open:
        buffer = connection.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        connection.buffer_updated(size)
        data = data[size:]


async def fed(pieces: list[bytes], *, no_body: bool) -> Got | Failed:
    """What comes of these reads, and an end, on one connection."""
    connection, wire, kept = connected()
    result = await fed_to(connection, wire, pieces, no_body=no_body)
    assert kept.gone == [connection]
    return result


async def fed_later(pieces: list[bytes], *, no_body: bool) -> Got | Failed:
    """The same on a connection that has brought such a head twice."""
    connection, wire, _ = connected()
    for _ in range(2):
        waiting = connection.ask(b"", Patience(Watch()), no_body=False, sent=True)
        feed(connection, wire, CHUNKED + b"2\r\nho\r\n0\r\n\r\n")
        answer = await waiting
        assert not isinstance(answer, Exception)
        assert answer.here() == [b"ho"]
        answer.close()
    return await fed_to(connection, wire, pieces, no_body=no_body)


async def fed_to(connection: Upstream, wire: Wire, pieces: list[bytes], *, no_body: bool = False) -> Got | Failed:
    waiting = connection.ask(b"", Patience(Watch()), no_body=no_body, sent=True)

    async def head() -> Answer:
        result = await waiting
        if isinstance(result, Exception):
            raise result
        return result

    result = asyncio.create_task(result_of(head()))
    for piece in pieces:
        feed(connection, wire, piece)
    if wire.open:
        connection.eof_received()
    assert not wire.open
    connection.connection_lost(None)
    return await result


# --- what goes up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("body", ["none", "empty", "small", "in pieces", "large", "chunked", "chunked, of no bytes"])
async def test_the_same_request_goes_up(method: str, body: str) -> None:
    """The same lines, and the same bytes behind them."""
    seen = []
    for road in ROADS:
        async with raw_upstream(answers(b"HTTP/1.1 204 No Content\r\n\r\n")) as upstream, started(road) as pool:
            request = make_request(*BODIES[body][0], length=BODIES[body][1], has_body=body != "none", ended=False)
            made = RequestBody(request, BOUNDS, Watch())
            asyncio.get_running_loop().call_soon(request.body.end)
            assert isinstance(await result_of(ask(pool, upstream.url, method=method, body=made)), Got)
            ((head, got),) = upstream.requests
            lines = head.replace(upstream.url[7:].encode(), b"HOST").split(b"\r\n")
            seen.append((lines[:2], sorted(lines), got))
    assert seen[0] == seen[1]
    assert seen[0][0] == [b"%b /v1/x?y=%%20 HTTP/1.1" % method.encode(), b"Host: HOST"]
    assert seen[0][2] == b"".join(BODIES[body][0])


BODIES: dict[str, tuple[list[bytes], int | None]] = {
    "none": ([], None),
    "empty": ([], 0),
    "small": ([b"hello"], 5),
    "in pieces": ([b"x" * 20_000, b"y" * 20_000], 40_000),
    "large": ([b"x" * 50_000] * 6, 300_000),
    "chunked": ([b"x" * 50_000] * 6, None),
    "chunked, of no bytes": ([], None),
}


async def test_a_chunked_body_that_has_come_goes_up_by_length_on_the_fast_road() -> None:
    """In one write with its head. Either framing is ours to choose: RFC 9112 section 6.1."""
    for road, framing in (("fast", b"Content-Length: 5"), ("plain", b"Transfer-Encoding: chunked")):
        async with raw_upstream(answers(b"HTTP/1.1 204 No Content\r\n\r\n")) as upstream, started(road) as pool:
            await result_of(ask(pool, upstream.url, method="POST", body=body_of(b"he", b"llo")))
            ((head, body),) = upstream.requests
        assert framing in head.split(b"\r\n")
        assert body == b"hello"


@both_roads
async def test_fields_keep_their_order_and_bytes(road: str) -> None:
    async with raw_upstream(answers(b"HTTP/1.1 204 No Content\r\n\r\n")) as upstream, started(road) as pool:
        fields = [(b"b", b"1"), (b"A", "ü".encode()), (b"b", b""), (b"c", b" in between ".strip())]
        await result_of(ask(pool, upstream.url, fields=fields))
        ((head, _),) = upstream.requests
    assert head.split(b"\r\n")[2:-2] == [b"b: 1", b"A: " + "ü".encode(), b"b: ", b"c: in between"]


async def test_a_field_that_the_plain_road_cannot_send_is_refused() -> None:
    async with raw_upstream(answers(OK + b"\r\n")) as upstream:
        async with started("plain") as pool:
            with pytest.raises(Refusal, match="the header A is not UTF-8"):
                await ask(pool, upstream.url, fields=[(b"A", b"\xe9")])
        assert upstream.connections == 0
        async with started("fast") as pool:
            await result_of(ask(pool, upstream.url, fields=[(b"A", b"\xe9")]))
        assert b"\r\nA: \xe9\r\n" in upstream.requests[0][0]


# --- used again, or not -------------------------------------------------------------------------------------

NOT_AGAIN = {"HEAD until close"}  # on the fast road, whose parser knows no HEAD


@pytest.mark.parametrize("name", [name for name, (_, came) in SAME.items() if isinstance(came, Got) and not came.broke])
@both_roads
async def test_a_connection_is_used_again_where_the_answer_allows_it(road: str, name: str) -> None:
    data, expected = SAME[name]
    again = not ("HTTP/1.0" in name or "until close" in name or b"close" in data)
    if road == "fast" and name in NOT_AGAIN:
        again = False

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(data)
            if "until close" in name and "HEAD" not in name:
                return

    async with raw_upstream(script) as upstream, started(road) as pool:
        for _ in range(3):
            method = "HEAD" if name.startswith("HEAD") else "GET"
            assert await result_of(ask(pool, upstream.url, method=method)) == expected
            await in_use(pool, 0)
        assert (upstream.connections, len(upstream.requests)) == (1 if again else 3, 3)


@pytest.mark.parametrize("line", [b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_after_head_a_connection_is_used_again_only_if_nothing_followed(line: bytes) -> None:
    """The parser would take it for the body that was announced."""
    head = OK + line + b"\r\n"
    for stray in (b"", b"h", b"hi", b"2\r\nhi\r\n", b"\r\n\r\n", head):
        connection, wire, kept = connected()
        asked = connection.ask(b"", Patience(Watch()), no_body=True, sent=True)
        feed(connection, wire, head + stray)
        answer = await asked
        assert not isinstance(answer, Exception)
        assert answer.over
        answer.close()
        assert wire.open is (kept.idle == [connection]) is (line != b"" and stray == b"")
        if wire.open:
            assert await fed_to(connection, wire, [SAME["by length"][0]]) == BY_LENGTH


async def test_a_trailer_is_no_field_of_the_next_answer() -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(CHUNKED + b"2\r\nhi\r\n0\r\nX-Trailer: a\r\n\r\n")
        await upstream.read(reader)
        writer.write(OK + b"Content-Length: 2\r\n\r\nhi")

    async with raw_upstream(script) as upstream, started("fast") as pool:
        assert await result_of(ask(pool, upstream.url)) == Got()
        assert await result_of(ask(pool, upstream.url)) == BY_LENGTH
        assert upstream.connections == 1


@pytest.mark.parametrize("stray", [b"\r\n", b"H", OK, OK + b"Content-Length: 0\r\n\r\n"])
async def test_what_nobody_asked_for_ends_the_connection(stray: bytes) -> None:
    """Whenever it comes; but an empty line in one read with an answer's end is skipped: RFC 9112 section 2.2."""
    connection, wire, kept = connected()
    feed(connection, wire, stray)  # before any request
    assert not wire.open
    for together in (False, True):
        connection, wire, kept = connected()
        asked = connection.ask(b"", Patience(Watch()), no_body=False, sent=True)
        feed(connection, wire, SAME["by length"][0] + (stray if together else b""))
        answer = await asked
        assert not isinstance(answer, Exception)
        if not together:
            feed(connection, wire, stray)
        assert (answer.here(), answer.over) == ([b"hi"], True)
        answer.close()
        assert (kept.idle == []) is not (together and stray == b"\r\n")
        assert wire.open is (together and stray == b"\r\n")


@both_roads
async def test_an_idle_connection_that_its_peer_closes_is_not_used(road: str) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(SAME["by length"][0])
        await hang_up.wait()

    hang_up = asyncio.Event()
    async with raw_upstream(script) as upstream, started(road) as pool:
        assert await result_of(ask(pool, upstream.url)) == BY_LENGTH
        hang_up.set()
        await asyncio.sleep(0.05)
        for number in range(2, 5):
            assert await result_of(ask(pool, upstream.url)) == BY_LENGTH
            assert upstream.connections == number
            await asyncio.sleep(0.05)


@both_roads
async def test_an_idle_connection_ends_after_a_while(road: str) -> None:
    ended = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(SAME["by length"][0])
        await reader.read()
        ended.set()

    async with raw_upstream(script) as upstream, started(road, pool_idle_seconds=0.05) as pool:
        assert await result_of(ask(pool, upstream.url)) == BY_LENGTH
        await ended.wait()


async def test_the_connection_used_last_is_used_next_and_the_others_grow_old() -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = upstream.connections
        while True:
            await upstream.read(reader)
            users.append(number)
            if len(upstream.requests) == 3:
                all_there.set()
            await all_there.wait()
            writer.write(SAME["by length"][0])

    users: list[int] = []
    all_there = asyncio.Event()
    async with raw_upstream(script) as upstream, started("fast") as pool:
        await asyncio.gather(*(result_of(ask(pool, upstream.url)) for _ in range(3)))
        assert sorted(users) == [1, 2, 3]
        for _ in range(5):
            await result_of(ask(pool, upstream.url))
        assert len(set(users[3:])) == 1
        assert upstream.connections == 3


# --- an answer before the request is whole ------------------------------------------------------------------


@both_roads
async def test_an_early_answer_is_read_while_the_upload_goes_on(road: str) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"5\r\nfirst\r\n")
        writer.write(CHUNKED + b"2\r\nhi\r\n")
        upstream.requests.append((b"", await reader.readexactly(len(b"4\r\nlast\r\n0\r\n\r\n"))))
        writer.write(b"0\r\n\r\n")
        await upstream.read(reader)
        writer.write(SAME["by length"][0])

    async with raw_upstream(script) as upstream, started(road) as pool:
        request = make_request(b"first", ended=False)
        answer = await ask(pool, upstream.url, body=RequestBody(request, BOUNDS, Watch()))
        assert answer.uploading
        assert await answer.read() == b"hi"
        request.body.feed(b"last")
        request.body.end()
        assert await answer.read() == b""
        assert not answer.uploading
        answer.close()
        assert await result_of(ask(pool, upstream.url)) == BY_LENGTH
        assert upstream.connections == 1
    assert upstream.requests[0] == (b"", b"4\r\nlast\r\n0\r\n\r\n")


@both_roads
async def test_with_a_whole_answer_the_rest_of_the_upload_ends(road: str) -> None:
    """Its connection cannot be used again: the endpoint may take what follows for the body's rest."""
    gone = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"5\r\nfirst\r\n")
        writer.write(SAME["by length"][0])
        await reader.read()
        gone.set()

    async with raw_upstream(script) as upstream, started(road) as pool:
        request = make_request(b"first", ended=False)
        answer = await ask(pool, upstream.url, body=RequestBody(request, BOUNDS, Watch()))
        assert await answer.read() == b"hi"
        assert await answer.read() == b""
        assert answer.uploading
        answer.close()
        await gone.wait()
        await in_use(pool, 0)


async def test_an_upload_that_fails_does_not_end_an_answer_that_has_come() -> None:
    """But nobody asks on its connection again. The plain road breaks such an answer off."""

    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"5\r\nfirst\r\n")
        writer.write(CHUNKED + b"2\r\nhi\r\n")
        await failed.wait()
        writer.write(b"0\r\n\r\n")
        await reader.read()

    failed = asyncio.Event()
    async with raw_upstream(script) as upstream, started("fast") as pool:
        request = make_request(b"first", ended=False)
        answer = await ask(pool, upstream.url, body=RequestBody(request, BOUNDS, Watch()))
        request.body.fail(ConnectionResetError("the caller left"))
        while answer.uploading:
            await asyncio.sleep(0)
        failed.set()
        assert (await answer.read(), await answer.read()) == (b"hi", b"")
        answer.close()
        await in_use(pool, 0)


@pytest.mark.parametrize("fault", [ConnectionResetError("it left"), Malformed("zz")])
@both_roads
async def test_an_upload_that_fails_before_any_answer_is_the_callers_failure(road: str, fault: Exception) -> None:
    gone = asyncio.Event()

    async def script(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"5\r\nfirst\r\n")
        request.body.fail(fault)
        await reader.read()
        gone.set()

    async with raw_upstream(script) as upstream, started(road) as pool:
        request = make_request(b"first", ended=False)
        with pytest.raises(CallerGone) as caught:
            await ask(pool, upstream.url, body=RequestBody(request, BOUNDS, Watch()))
        assert caught.value.malformed is isinstance(fault, Malformed)
        await gone.wait()
        await in_use(pool, 0)


# --- hung up on, at every stage -----------------------------------------------------------------------------


async def _after_the_head(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def _in_the_body(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"first")


STAGES: list[tuple[Callable[[asyncio.StreamReader], Awaitable[None]], str, bool]] = [
    (_after_the_head, "none", True),  # a request without a body may be running
    (_after_the_head, "small", True),
    (_after_the_head, "streamed, nothing of it yet", False),
    (_in_the_body, "streamed", True),
]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(("stage", "kind", "sent"), STAGES)
@both_roads
async def test_hung_up_on_before_an_answer(
    road: str, stage: Callable[[asyncio.StreamReader], Awaitable[None]], kind: str, sent: bool, how: str
) -> None:
    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stage(reader)
        if how == "reset":
            reset(writer)

    streamed = kind.startswith("streamed")
    pieces = [b"first"] if kind in ("small", "streamed") else []
    request = make_request(*pieces, has_body=kind != "none", length=5 if kind == "small" else None, ended=not streamed)
    async with raw_upstream(script) as upstream, started(road) as pool:
        result = await result_of(ask(pool, upstream.url, body=RequestBody(request, BOUNDS, Watch())))
        assert result == Failed("disconnected", sent)
        assert upstream.connections == 1, "it was asked twice"
        await in_use(pool, 0)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@both_roads
async def test_a_pooled_connection_that_dies_under_a_request_is_not_replaced_in_silence(road: str, method: str) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(SAME["by length"][0])
        await upstream.read(reader)

    async with raw_upstream(script) as upstream, started(road) as pool:
        for expected in (BY_LENGTH, GONE):
            made = body_of(b"hello", length=5)
            assert await result_of(ask(pool, upstream.url, method=method, body=made)) == expected
        assert (upstream.connections, len(upstream.requests)) == (1, 2)


@both_roads
async def test_a_reset_is_no_end_of_an_answer_until_close(road: str) -> None:
    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\nhi")
        await arrived.wait()
        reset(writer)

    arrived = asyncio.Event()
    async with raw_upstream(script) as upstream, started(road) as pool:
        answer = await ask(pool, upstream.url)
        assert await answer.read() == b"hi"
        arrived.set()
        with pytest.raises(AnswerBroke):
            await answer.read()
        answer.close()


@both_roads
async def test_an_answer_let_go_before_its_end_ends_its_connection(road: str) -> None:
    gone = asyncio.Event()

    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 3\r\n\r\nhi")
        await reader.read()
        gone.set()

    async with raw_upstream(script) as upstream, started(road) as pool:
        answer = await ask(pool, upstream.url)
        assert pool.in_use == 1
        answer.close()
        answer.close()
        await gone.wait()
        await in_use(pool, 0)


# --- patience -----------------------------------------------------------------------------------------------


async def _silent(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await reader.read()


@both_roads
async def test_the_first_byte_is_waited_for_so_long(road: str) -> None:
    async with raw_upstream(_silent_after_all) as upstream, started(road, first_byte_seconds=0.05) as pool:
        assert await result_of(ask(pool, upstream.url)) == Failed("first_byte_timeout")
        await in_use(pool, 0)


async def _silent_after_all(upstream: RawUpstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await upstream.read(reader)
    await reader.read()


@both_roads
async def test_the_next_byte_is_waited_for_so_long(road: str) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(OK + b"Content-Length: 3\r\n\r\nhi")
        await reader.read()

    async with raw_upstream(script) as upstream, started(road, upstream_idle_seconds=0.05) as pool:
        answer = await ask(pool, upstream.url)
        assert await answer.read() == b"hi"
        with pytest.raises(Interrupted, match="upstream_idle"):
            await answer.read()
        answer.close()
        await in_use(pool, 0)


@both_roads
async def test_what_goes_up_begins_the_wait_anew_and_the_word_flex_lengthens_it(road: str) -> None:
    async def script(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"0\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(SAME["by length"][0])

    short = {"first_byte_seconds": 0.15, "flex_first_byte_seconds": 30.0}
    async with raw_upstream(script) as upstream, started(road, **short) as pool:
        request = make_request(b"x", ended=False)
        asked = asyncio.create_task(result_of(ask(pool, upstream.url, body=RequestBody(request, BOUNDS, Watch()))))
        for piece in (b"y", b"y", b"y", b'"flex"'):
            await asyncio.sleep(0.08)
            request.body.feed(piece)
        request.body.end()
        assert await asked == BY_LENGTH


@pytest.mark.parametrize("streamed", [False, True])
@both_roads
async def test_an_exchange_that_is_interrupted_lets_go_of_everything(road: str, streamed: bool) -> None:
    async with raw_upstream(_silent) as upstream, started(road) as pool:
        tasks = len(asyncio.all_tasks())
        patience = Patience(Watch())
        request = make_request(b"x", ended=not streamed)
        sending = pool.send(
            Endpoint("a", upstream.url, "global"),
            UpstreamHead("POST", "/", []),
            RequestBody(request, BOUNDS, Watch()),
            patience,
        )
        asked = asyncio.create_task(result_of(sending))
        while not upstream.connections:
            await asyncio.sleep(0)
        patience.interrupt("caller_left")
        with pytest.raises(Interrupted, match="caller_left"):
            await asked
        await in_use(pool, 0)
        while len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0)


@both_roads
async def test_nobody_there(road: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with started(road) as pool:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            assert await result_of(ask(pool, url)) == Failed("connect_failed", sent=False)
            assert await result_of(ask(pool, "http://no-such-host.invalid")) == Failed("connect_failed", sent=False)


@both_roads
async def test_a_handshake_is_waited_for_so_long(road: str) -> None:
    async with raw_upstream(_silent) as upstream, started(road, connect_seconds=0.05) as pool:
        result = await result_of(ask(pool, upstream.url.replace("http:", "https:")))
        assert result == Failed("connect_timeout", sent=False)
        await in_use(pool, 0)


# --- bounds, and the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("endless", [b"X-T: " + b"x" * 1000, b"X-T: x\r\n"], ids=["one trailer", "trailers"])
async def test_a_trailer_without_end_breaks_the_answer(endless: bytes) -> None:
    connection, wire, _ = connected()
    asked = connection.ask(b"", Patience(Watch()), no_body=False, sent=True)
    feed(connection, wire, CHUNKED + b"2\r\nhi\r\n0\r\n")
    size = 0
    while wire.open:
        feed(connection, wire, endless)
        size += len(endless)
        assert size < 1 << 20
    answer = await asked
    assert not isinstance(answer, Exception)
    assert answer.here() == [b"hi"]
    with pytest.raises(AnswerBroke):
        answer.here()


async def test_interim_answers_without_end_are_a_bad_answer() -> None:
    connection, wire, _ = connected()
    asked = connection.ask(b"", Patience(Watch()), no_body=False, sent=True)
    for _ in range(100_000):
        feed(connection, wire, b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n")
        if not wire.open:
            break
    with pytest.raises(EndpointFailed, match="bad_answer"):
        raise_it(await asked)


async def test_a_body_of_many_small_chunks_is_no_head() -> None:
    connection, wire, _ = connected()
    asked = connection.ask(b"", Patience(Watch()), no_body=False, sent=True)
    feed(connection, wire, CHUNKED)
    answer = await asked
    assert not isinstance(answer, Exception)
    for _ in range(50_000):
        feed(connection, wire, b"1;some=extension\r\nx\r\n")
        assert answer.here() == [b"x"]
    assert wire.open


def test_a_dial_that_is_given_up_keeps_nobody_waiting() -> None:
    """uvloop never tells a protocol of the end of a connection whose making was cancelled."""

    async def main() -> None:
        async with raw_upstream(_silent) as upstream, started("fast") as pool:
            for turns in range(100):
                asking = asyncio.create_task(ask(pool, upstream.url))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            await in_use(pool, 0)

    uvloop.run(main())


@both_roads
async def test_stop_ends_every_connection(road: str) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await upstream.read(reader)
                writer.write(SAME["by length"][0])
        finally:
            ended.append(upstream)

    ended: list[RawUpstream] = []
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with raw_upstream(script) as upstream:
        async with started(road) as pool:
            idle = [ask(pool, upstream.url) for _ in range(3)]
            for answer in await asyncio.gather(*idle):
                assert await answer.read() == b"hi"
                assert await answer.read() == b""
                answer.close()
            held = await ask(pool, upstream.url)
        held.close()
        while len(ended) < upstream.connections:
            await asyncio.sleep(0)
    gc.collect()
    assert faults == []


# --- tools --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def started(road: Any, **bounds: float) -> AsyncIterator[Pool]:
    pool = Pool(Bounds(**{**BOUNDS._asdict(), **bounds, "road": road}))
    await pool.start()
    try:
        async with asyncio.timeout(60):
            yield pool
    finally:
        await pool.stop()


def body_of(*pieces: bytes, length: int | None = None, has_body: bool = True) -> RequestBody:
    return RequestBody(make_request(*pieces, length=length, has_body=has_body), BOUNDS, Watch())


async def ask(
    pool: Pool, url: str, *, method: str = "GET", fields: RawHeaders = ((b"A", b"1"),), body: RequestBody | None = None
) -> Answer:
    head = UpstreamHead(method, "/v1/x?y=%20", fields)
    body = body or body_of(has_body=False)
    return await pool.send(Endpoint("a", url, "global"), head, body, Patience(Watch()))


async def result_of(asking: Awaitable[Answer]) -> Got | Failed:
    """Read the answer to its end, and let it go."""
    try:
        answer = await asking
    except EndpointFailed as failed:
        return Failed(failed.reason, failed.sent)
    body, broke = b"", False
    try:
        while piece := await answer.read():
            body += piece
    except AnswerBroke:
        broke = True
    finally:
        answer.close()
    head = answer.head
    fields = [*answer.fields]
    return Got(body, fields or (), answer.length, head.status, head.reason, broke)


def raise_it(result: object) -> None:
    assert isinstance(result, Exception)
    raise result


def reset(writer: asyncio.StreamWriter) -> None:
    """Not the end of a stream, but of a connection."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def in_use(pool: Pool, number: int) -> None:
    while pool.in_use != number:
        await asyncio.sleep(0)
