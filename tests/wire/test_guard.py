"""What is turned away before it becomes an exchange, in bytes: each answer closes the connection, in Google's shape.

The first half of the rules is the guard's, the other the parser's before it; a caller sees no difference. After every
one: nothing reached the endpoint, no record was written, and the request is echoed nowhere.
"""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy import Outcome
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, answers, raw_upstream, request_bytes, send_bytes

PLANTED = "planted-secret"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HOST = b"Host: weir.example\r\n"
TARGET = b"/v1beta/models?key=" + PLANTED.encode()
GET = b"GET " + TARGET + b" HTTP/1.1\r\n"
POST = b"POST " + TARGET + b" HTTP/1.1\r\n" + HOST
KEY = b"x-goog-api-key: " + PLANTED.encode() + b"\r\n"
END = KEY + b"\r\n"
# What a caller that smuggles would like to be taken for a request of its own.
NEXT = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def service_log() -> Iterator[io.StringIO]:
    """Everything that is logged, before any scrubbing: the guard itself must not say what it should not."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream(answers(OK)) as running:
        yield running


@pytest.fixture
async def weir(upstream: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, routes(upstream.url), monkeypatch) as running:
        yield running


REFUSED = {
    # versions: only the two that we frame correctly (RFC 9112 section 2.3)
    "HTTP/0.9": (b"GET " + TARGET + b"\r\n\r\n", 505, "HTTP_VERSION"),
    "HTTP/0.9 by name": (b"GET " + TARGET + b" HTTP/0.9\r\n" + HOST + END, 505, "HTTP_VERSION"),
    "HTTP/1.2": (b"GET " + TARGET + b" HTTP/1.2\r\n" + HOST + END, 400, "HTTP"),
    "HTTP/2.0": (b"GET " + TARGET + b" HTTP/2.0\r\n" + HOST + END, 505, "HTTP_VERSION"),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "HTTP"),
    # methods that would show what we put in, or open a tunnel
    "TRACE": (b"TRACE " + TARGET + b" HTTP/1.1\r\n" + HOST + END, 405, "METHOD"),
    "CONNECT": (b"CONNECT weir.example:443 HTTP/1.1\r\n" + HOST + END, 405, "METHOD"),
    # framing that two parsers read differently (RFC 9112 section 6.1)
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n" + END + b"0\r\n\r\n", 501, "FRAMING"),
    "chunked twice": (POST + CHUNKED + CHUNKED + END + b"0\r\n\r\n", 400, "HTTP"),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n" + END + b"0\r\n\r\n", 400, "HTTP"),
    "identity": (POST + b"Transfer-Encoding: identity\r\n" + END, 400, "HTTP"),
    "chunked on HTTP/1.0": (
        b"POST " + TARGET + b" HTTP/1.0\r\n" + HOST + CHUNKED + b"Connection: keep-alive\r\n" + END + b"0\r\n\r\n",
        400,
        "FRAMING",
    ),
    "a length and chunks": (POST + b"Content-Length: 3\r\n" + CHUNKED + END + b"0\r\n\r\n", 400, "HTTP"),
    "chunks and a length": (POST + CHUNKED + b"Content-Length: 3\r\n" + END + b"0\r\n\r\n", 400, "HTTP"),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n" + END + b"xx", 400, "HTTP"),
    "two equal lengths": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n" + END + b"x", 400, "HTTP"),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n" + END + b"x", 400, "HTTP"),
    "a length with a sign": (POST + b"Content-Length: +1\r\n" + END + b"x", 400, "HTTP"),
    "a length in hex": (POST + b"Content-Length: 0x1\r\n" + END + b"x", 400, "HTTP"),
    "a length below zero": (POST + b"Content-Length: -1\r\n" + END, 400, "HTTP"),
    # Host (RFC 9112 section 3.2)
    "no Host": (GET + END, 400, "HTTP"),
    "two Hosts": (GET + HOST + b"Host: other.example\r\n" + END, 400, "HTTP"),
    "an empty Host": (GET + b"Host: \r\n" + END, 400, "HOST"),
    "a Host with a path": (GET + b"Host: a/?b#c\r\n" + END, 400, "HOST"),
    "a Host with a user": (GET + b"Host: a@b\r\n" + END, 400, "HOST"),
    "two Hosts in one": (GET + b"Host: a, b\r\n" + END, 400, "HOST"),
    # targets (RFC 9112 section 3.2)
    "a fragment": (b"GET /v1beta/models#" + PLANTED.encode() + b" HTTP/1.1\r\n" + HOST + END, 400, "TARGET"),
    "not ASCII": (b"GET /v1beta/m\xc3\xb6dels HTTP/1.1\r\n" + HOST + END, 400, "HTTP"),
    "not UTF-8": (b"GET /v1beta/m\xffdels HTTP/1.1\r\n" + HOST + END, 400, "HTTP"),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\n" + HOST + END, 400, "TARGET"),
    "a target that begins with @": (b"GET @evil.example/ HTTP/1.1\r\n" + HOST + END, 400, "HTTP"),
    "another scheme": (b"GET ftp://evil.example/x HTTP/1.1\r\n" + HOST + END, 400, "TARGET"),
    "a space in the target": (b"GET /v1beta/a b HTTP/1.1\r\n" + HOST + END, 400, "HTTP"),
    # expectations (RFC 9110 section 10.1.1)
    "an unknown expectation": (POST + b"Content-Length: 1\r\nExpect: the-worst\r\n" + END + b"x", 417, "EXPECTATION"),
    "two expectations": (POST + 2 * b"Expect: 100-continue\r\n" + b"Content-Length: 1\r\n" + END + b"x",
                         417, "EXPECTATION"),
    # fields
    "a folded field": (GET + HOST + b"X-A: 1\r\n " + PLANTED.encode() + b"\r\n" + END, 400, "HTTP"),
    "NUL in a field": (GET + HOST + b"X-A: " + PLANTED.encode() + b"\x00\r\n" + END, 400, "HTTP"),
    "a bare CR in a field": (GET + HOST + b"X-A: " + PLANTED.encode() + b"\rX: y\r\n" + END, 400, "HTTP"),
    "a space before the colon": (GET + HOST + b"X-A : " + PLANTED.encode() + b"\r\n" + END, 400, "HTTP"),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: weir.example\nX-A: " + PLANTED.encode() + b"\n\n", 400, "HTTP"),
    "no name": (GET + HOST + b": " + PLANTED.encode() + b"\r\n" + END, 400, "HTTP"),
    "a long field": (GET + HOST + b"X-A: " + b"a" * 17_000 + b"\r\n" + END, 431, "HEADER"),
    "a long request line": (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + HOST + END, 431, "HEADER"),
    "too many fields": (GET + HOST + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + END, 431, "HEADER"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "reason"), REFUSED.values(), ids=REFUSED)
async def test_it_is_refused_and_the_connection_closed(
    request_: bytes, status: int, reason: str, weir: Gateway, upstream: RawUpstream, service_log: io.StringIO
) -> None:
    answer = await send_bytes(weir.host, weir.port, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert int(head.split(b" ", 2)[1]) == error["code"] == status
    assert error["details"][0]["reason"] == reason
    assert b"application/json; charset=utf-8" in head.lower()
    assert b"aiohttp" not in answer
    assert upstream.connections == 0
    assert PLANTED.encode() not in answer
    assert PLANTED not in service_log.getvalue()
    assert weir.app.public.in_flight == 0


async def test_nothing_pipelined_behind_it_is_served(weir: Gateway, upstream: RawUpstream) -> None:
    for name, (request_, _, _) in REFUSED.items():
        answer = await send_bytes(weir.host, weir.port, request_ + NEXT)
        assert answer.count(b"\r\nContent-Type: ") == 1, name
    assert upstream.connections == 0


@pytest.mark.parametrize("request_", [REFUSED["a long field"][0], REFUSED["a long request line"][0]])
async def test_who_sends_too_much_is_told_the_bound(request_: bytes, weir: Gateway) -> None:
    answer = await send_bytes(weir.host, weir.port, request_)
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["message"] == "A header or the request line is longer than 16384 bytes."
    assert error["status"] == "INVALID_ARGUMENT"


async def test_the_bound_is_the_file_s(upstream: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = routes(upstream.url, server='sizes = { header = "32 KiB" }')
    fits = GET + HOST + b"X-A: " + b"a" * 32_000 + b"\r\nConnection: close\r\n" + END
    async with gateway(tmp_path, text, monkeypatch) as weir:
        assert b" 200 " in (await send_bytes(weir.host, weir.port, fits))[:20]
        answer = await send_bytes(weir.host, weir.port, fits.replace(b"X-A: ", b"X-A: " + b"a" * 1_000))
    assert b"longer than 32768 bytes" in answer


# --- fields that come twice ---------------------------------------------------------------------------------

SINGLE = ["Content-Length", "Transfer-Encoding", "Host", "Content-Type", "Content-Range"]
SINGLE += ["Max-Forwards", "Content-Location", "ETag", "Server"]


@pytest.mark.parametrize("name", SINGLE)
async def test_what_may_not_be_doubled_is_refused(name: str, weir: Gateway, upstream: RawUpstream) -> None:
    answer = await send_bytes(weir.host, weir.port, request_bytes(f"{name}: 1", f"{name.lower()}: 1"))
    assert answer.split(b" ", 2)[1] == b"400"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["details"][0]["reason"] == "HTTP"
    assert upstream.connections == 0
    assert weir.records() == []


@pytest.mark.parametrize(
    "name", ["Accept", "Referer", "Origin", "If-Match", "Cookie", "X-Goog-Api-Client", "Range", "User-Agent"]
)
async def test_other_doubles_pass_as_they_came(name: str, weir: Gateway, upstream: RawUpstream) -> None:
    """User-Agent is sent twice by google-genai (Gemini fact 2.7)."""
    lines = (f"{name}: 1", "X-Between: x", f"{name.lower()}: 2")
    await send_bytes(weir.host, weir.port, request_bytes(*lines, method="GET"))
    ((head, _),) = upstream.requests
    assert "\r\n".join(lines).encode() in head


# --- what passes, though it looks odd -----------------------------------------------------------------------

ACCEPTED = {
    "absolute form": (b"GET http://evil.example/a/b%2f?x=1", b"GET /a/b%2f?x=1"),
    "absolute form without a path": (b"GET HTTPS://evil.example?x=1", b"GET /?x=1"),
    "absolute form with a user": (b"GET http://user:pw@evil.example", b"GET /"),
    "two slashes": (b"GET //evil.example/a", b"GET //evil.example/a"),
    "a backslash": (b"GET /\\evil.example/a", b"GET /\\evil.example/a"),
    "dots and escapes": (b"GET /a/../b/%2e%2E/%7E%zz", b"GET /a/../b/%2e%2E/%7E%zz"),
    "a rare method": (b"PROPFIND /v1beta/files", b"PROPFIND /v1beta/files"),
}


@pytest.mark.parametrize(("line", "forwarded"), ACCEPTED.values(), ids=ACCEPTED)
async def test_it_is_forwarded_to_the_endpoint_and_nowhere_else(
    line: bytes, forwarded: bytes, weir: Gateway, upstream: RawUpstream
) -> None:
    answer = await send_bytes(weir.host, weir.port, line + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    ((head, _),) = upstream.requests
    assert head.startswith(forwarded + b" HTTP/1.1\r\n")
    assert b"Host: " + upstream.url.removeprefix("http://").encode() + b"\r\n" in head
    assert b"evil" not in head.partition(b"\r\n")[2]


async def test_http_1_0_needs_no_host(weir: Gateway, upstream: RawUpstream) -> None:
    answer = await send_bytes(weir.host, weir.port, b"GET /a HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert upstream.requests[0][0].startswith(b"GET /a HTTP/1.1\r\n")


# --- bodies -------------------------------------------------------------------------------------------------

BAD_CHUNKS = {
    "no number": b"zz\r\nx\r\n0\r\n\r\n",
    "below zero": b"-1\r\nx\r\n0\r\n\r\n",
    "with a prefix": b"0x1\r\nx\r\n0\r\n\r\n",
    "with an underscore": b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n",
    "more than 64 bits": b"f" * 17 + b"\r\nx\r\n0\r\n\r\n",
    "no size": b"\r\nx\r\n0\r\n\r\n",
    "longer than its size": b"1\r\nxxxx\r\n0\r\n\r\n",
    "line feeds alone": b"1\nx\n0\n\n",
    "a line feed in its extension": b"1;a\nb\r\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_bad_chunk_with_the_head_is_refused(chunks: bytes, weir: Gateway, upstream: RawUpstream) -> None:
    answer = await send_bytes(weir.host, weir.port, POST + CHUNKED + END + chunks)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert PLANTED.encode() not in answer
    assert upstream.connections == 0


async def test_a_bad_chunk_behind_the_head_never_makes_a_whole_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = bytearray()
    all_arrived = asyncio.Event()

    async def script(_: RawUpstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            seen.extend(data)
            if seen.count(b"hello") == len(BAD_CHUNKS):
                all_arrived.set()

    async def send(weir: Gateway, chunks: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(POST + CHUNKED + END + b"5\r\nhello\r\n")
        await all_arrived.wait()
        writer.write(chunks + NEXT)
        answer = await reader.read()
        writer.close()
        return answer

    async with raw_upstream(script) as upstream:
        text = routes(upstream.url, server='timeouts = { caller_idle = "200ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir, asyncio.timeout(60):
            received = await asyncio.gather(*(send(weir, chunks) for chunks in BAD_CHUNKS.values()))
    assert [answer for answer in received if b" 200 " in answer] == []
    assert b"0\r\n\r\n" not in seen
    assert b"smuggled" not in seen
    assert [record.outcome for record in weir.records()] == [Outcome.CLIENT_GONE] * len(BAD_CHUNKS)
