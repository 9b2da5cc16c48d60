"""A doubled User-Agent, as real SDKs send it, reaches the upstream twice; nothing else is ever changed."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.door import Visitor
from proxy.wire.doubled import rename, restore
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, read_message, request_bytes

TWICE = (
    b"POST /v1/interactions HTTP/1.1\r\nHost: h\r\nuser-agent: one\r\nX: 1\r\nUser-Agent: two\r\n\r\nuser-agent: body"
)


def test_only_the_names_after_the_first_change() -> None:
    renamed = rename(TWICE)
    assert renamed == TWICE.replace(b"User-Agent", b"X-Weir-U-A")
    fields = [tuple(line.split(b": ")) for line in renamed.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert restore(fields) == [(b"Host", b"h"), (b"user-agent", b"one"), (b"X", b"1"), (b"User-Agent", b"two")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nUser-Agent: one\r\n\r\nuser-agent: two\r\nuser-agent: three",
        b"POST / HTTP/1.1\r\nUser-Agent: one\r\nUser-Agent: two",
        b"\r\nUser-Agent: one\r\nUser-Agent: two\r\n\r\n",
        b"POST / HTTP/1.1" + b"\r\nUser-Agent: many" * 9 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nX-User-Agent: one\r\nUser-Agents: two\r\n\r\n",
    ],
    ids=["in the body", "half a head", "no request line", "too many", "other names"],
)
def test_everything_else_stays(data: bytes) -> None:
    assert rename(data) == data


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_stay(data: bytes) -> None:
    assert rename(data) == data


@given(st.lists(st.sampled_from([b"User-Agent: a", b"user-agent: b", b"X: user-agent", b"Host: h"]), max_size=12))
def test_nothing_ever_moves(lines: list[bytes]) -> None:
    """Bytes that shift would let the end of a body be read as a request."""
    data = b"\r\n".join([b"POST / HTTP/1.1", *lines, b"", b"body"])
    assert len(rename(data)) == len(data)


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
