"""A doubled User-Agent, as real SDKs send it, reaches the upstream twice; nothing else is ever changed."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.door import Visitor
from proxy.wire.doubled import Head, restore
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, answers, raw_upstream, read_message, request_bytes, send_bytes

TWICE = (
    b"POST /v1/interactions HTTP/1.1\r\nHost: h\r\nuser-agent: one\r\nX: 1\r\nUser-Agent: two\r\n\r\nuser-agent: body"
)


RENAMED = TWICE.replace(b"User-Agent", b"X-Weir-U-A")


def passed(*segments: bytes) -> bytes:
    head = Head()
    return b"".join(map(head.feed, segments))


def test_only_the_names_after_the_first_change() -> None:
    assert passed(TWICE) == RENAMED
    lines = RENAMED.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    assert restore(fields) == [(b"Host", b"h"), (b"user-agent", b"one"), (b"X", b"1"), (b"User-Agent", b"two")]


@pytest.mark.parametrize("at", range(1, len(TWICE)))
def test_a_head_may_come_in_two_segments(at: int) -> None:
    assert passed(TWICE[:at], TWICE[at:]) == RENAMED


def test_a_head_may_come_byte_by_byte() -> None:
    head = Head()
    body_at = TWICE.index(b"\r\n\r\n") + 4
    for number in range(len(TWICE)):
        head.feed(TWICE[number : number + 1])
        assert head.over(0) == (number + 1 == body_at)
    assert head.over(len(TWICE) - body_at)
    assert passed(*(TWICE[number : number + 1] for number in range(len(TWICE)))) == RENAMED


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nUser-Agent: one\r\n\r\nuser-agent: two\r\nuser-agent: three",
        b"POST / HTTP/1.1" + b"\r\nUser-Agent: many" * 9 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nX-User-Agent: one\r\nUser-Agents: two\r\nUser-Agent : three\r\n\r\n",
    ],
    ids=["in the body", "too many", "other names"],
)
def test_everything_else_stays(data: bytes) -> None:
    assert passed(data) == data


LINES = [b"User-Agent: a", b"user-agent: b", b"X: user-agent", b"Host: h", b"User-Age", b"\r", b"", b"user-agent:"]


@given(st.lists(st.sampled_from(LINES), max_size=12), st.lists(st.integers(1, 60), max_size=8))
def test_nothing_ever_moves_whatever_the_segments(lines: list[bytes], sizes: list[int]) -> None:
    """Bytes that shift would let the end of a body be read as a request."""
    data = b"\r\n".join([b"POST / HTTP/1.1", *lines, b"", b"\r\nuser-agent: body"])
    segments, at = [], 0
    for size in sizes:
        segments.append(data[at : at + size])
        at += size
    got = passed(*segments, data[at:])
    assert len(got) == len(data)
    end = data.index(b"\r\n\r\n")
    assert got[end:] == data[end:]
    kept = zip(got.split(b"\r\n"), data.split(b"\r\n"), strict=True)
    assert all(a == b or (a[:10], a[10:]) == (b"X-Weir-U-A", b[10:]) for a, b in kept)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_what_is_held_back_is_little_and_passes_with_the_next(data: bytes, at: int) -> None:
    head = Head()
    got = head.feed(data[:at])
    assert len(data[:at]) - len(got) <= 12
    got += head.feed(data[at:] + b"\r\n\r\n")
    assert len(got) == len(data) + 4


FIRST = [
    request_bytes(method="GET", close=False),
    request_bytes("Content-Length: 2", body=b"hi", close=False),
    request_bytes("Transfer-Encoding: chunked", body=b"2\r\nhi\r\n0\r\n\r\n", close=False),
    request_bytes("Transfer-Encoding: chunked", body=b"2\r\nhi\r\n0\r\nTrailer: x\r\n\r\n", close=False),
]
PIPELINED = request_bytes("Content-Length: 35", close=False, body=b"x\r\nUser-Agent: y\r\nUser-Agent: zzz\r\n")


@pytest.mark.parametrize("at", [0, 1, 20, 30, 60, 61, 62, 63, 64, 70, 90])
@pytest.mark.parametrize("first", FIRST, ids=["no body", "length", "chunks", "trailer"])
async def test_a_request_that_began_before_the_last_was_answered(
    first: bytes, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of it is no head's beginning: its body is left alone, and no end of a segment is kept from it."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        (visitor,) = await visitors(weir)
        async with asyncio.timeout(60):
            writer.write(first + PIPELINED[:at])
            await read_message(reader)
            while visitor.answered < 1:
                await asyncio.sleep(0)
            writer.write(PIPELINED[at:])
            await read_message(reader)
        writer.close()
    assert upstream.requests[1][1] == PIPELINED.partition(b"\r\n\r\n")[2]


def test_another_head_may_begin_where_the_last_request_ends() -> None:
    for request, body_bytes in zip(FIRST, (0, 2, 2, 2), strict=True):
        for more, whole in ((b"", True), (b"GET / HTTP/1.1\r\nHost: h\r\n", False), (FIRST[0], True)):
            head = Head()
            head.feed(request)
            head.feed(more)
            assert head.over(body_bytes) == whole


@pytest.mark.parametrize("early", [b"", b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"])
async def test_a_body_behind_an_early_answer_is_left_alone(
    early: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by `auth`, or answered by the endpoint before the body came: what follows is still a body."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        upstream.requests.append((b"a head", b""))
        writer.write(early)

    auth = {} if early else {"plugins": '["usage", "auth"]', "more": '[plugins.auth]\nkeys = "keys.toml"\n'}
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    body = b"POST /q HTTP/1.1" + b"\r\nUser-Agent: z" * 8 + b"\r\n\r\n" + smuggled
    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url, **auth), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        length = "Transfer-Encoding: chunked" if early else f"Content-Length: {len(body)}"
        # aiohttp sends a head upstream together with the first piece of its body
        writer.write(request_bytes(length, close=False) + (b"1\r\nx\r\n" if early else b""))
        async with asyncio.timeout(60):
            head, _ = await read_message(reader)
            assert int(head.split()[1]) in (403, 413)
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if early else body)
            writer.write(request_bytes(target="/last", method="GET"))
            rest = await reader.read()
        writer.close()
    assert rest.count(b"HTTP/1.1 ") <= 1, "the answer to /last, if the connection was kept"
    assert not any(b"smuggled" in request for request, _ in upstream.requests)
    assert not any("smuggled" in record.path for record in weir.records())


async def test_both_arrive_and_bodies_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a body's second segment looks like such a head, and for the next request on the connection."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    lines = ("User-Agent: google-genai-sdk/1.75.0", "User-Agent: google-genai-sdk/1.75.0 gl-python/3.11")
    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        async with asyncio.timeout(60):
            for _ in range(2):
                writer.write(request_bytes(*lines, f"Content-Length: {len(TWICE)}", close=False))
                await asyncio.sleep(0.05)
                writer.write(TWICE)
                head, _ = await read_message(reader)
                assert head.startswith(b"HTTP/1.1 200 OK")
        writer.close()
    for head, body in upstream.requests:
        assert [line.encode() for line in lines] == [line for line in head.split(b"\r\n") if b"ser-" in line]
        assert body == TWICE


@pytest.mark.parametrize("at", [5, 40, 75, 88, 90, 140, 160, 177, 179])
async def test_both_arrive_whatever_the_segments(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    lines = ("User-Agent: google-genai-sdk/1.75.0", "User-Agent: google-genai-sdk/1.75.0 gl-python/3.11")
    data = request_bytes(*lines, "Content-Length: 2", body=b"hi", close=False)
    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        async with asyncio.timeout(60):
            for segments in ([data[:at], data[at:]], [bytes([byte]) for byte in data]):
                for segment in segments:
                    writer.write(segment)
                    await asyncio.sleep(0)
                head, _ = await read_message(reader)
                assert head.startswith(b"HTTP/1.1 200 OK")
        writer.close()
    for head, body in upstream.requests:
        assert [line.encode() for line in lines] == [line for line in head.split(b"\r\n") if b"ser-" in line]
        assert body == b"hi"


FRAMING = ["Content-Length", "Transfer-Encoding", "Host"]
OTHERS = ["Content-Type", "Content-Range", "Max-Forwards", "Content-Location", "ETag", "Server"]


@pytest.mark.parametrize("name", [*FRAMING, *OTHERS])
async def test_what_may_not_be_doubled_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, routes("http://127.0.0.1:9"), monkeypatch) as weir:
        answer = await send_bytes(weir.host, weir.port, request_bytes(f"{name}: 1", f"{name}: 1"))
    assert answer.split(b" ", 2)[1] == b"400"
    assert weir.records() == []


@pytest.mark.parametrize("name", ["Accept", "Referer", "Origin", "If-Match", "Cookie", "X-Goog-Api-Client", "Range"])
async def test_other_doubles_pass(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        raw_upstream(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as upstream,
        gateway(tmp_path, routes(upstream.url), monkeypatch) as weir,
    ):
        await send_bytes(weir.host, weir.port, request_bytes(f"{name}: 1", f"{name}: 2", method="GET"))
    ((head, _),) = upstream.requests
    assert f"\r\n{name}: 1\r\n{name}: 2\r\n".encode() in head


async def test_aiohttp_counts_requests_as_their_heads_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RequestHandler._request_count` is private: `Visitor.between_requests` stands on it."""
    async with gateway(tmp_path, routes("http://127.0.0.1:9"), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        (visitor,) = await visitors(weir)
        async with asyncio.timeout(60):
            assert (visitor._request_count, visitor.between_requests) == (0, True)
            writer.write(request_bytes("Content-Length: 2", close=False))
            while not visitor._request_count:
                await asyncio.sleep(0.01)
            assert (visitor._request_count, visitor.between_requests) == (1, False)
            writer.write(b"xx")
            await read_message(reader)
            while not visitor.between_requests:
                await asyncio.sleep(0.01)
        assert visitor._request_count == 1
        writer.close()


async def visitors(weir: Gateway) -> set[Visitor]:
    door = weir.app.public._server
    assert door is not None
    while not door.inside:
        await asyncio.sleep(0.01)
    return door.inside
