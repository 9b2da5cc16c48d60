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
    assert renamed == TWICE.replace(b"User-Agent", b"X-Weir-Doubled-User-Agent")
    fields = [tuple(line.split(b": ")) for line in renamed.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert restore(fields) == [(b"Host", b"h"), (b"user-agent", b"one"), (b"X", b"1"), (b"User-Agent", b"two")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nUser-Agent: one\r\n\r\nuser-agent: two\r\nuser-agent: three",
        b"POST / HTTP/1.1\r\nUser-Agent: one\r\nUser-Agent: two",
        b"\r\nUser-Agent: one\r\nUser-Agent: two\r\n\r\n",
        b"POST / HTTP/1.1\r\nX-User-Agent: one\r\nUser-Agents: two\r\n\r\n",
    ],
    ids=["in the body", "half a head", "no request line", "other names"],
)
def test_everything_else_stays(data: bytes) -> None:
    assert rename(data) == data


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_stay(data: bytes) -> None:
    assert rename(data) == data


async def test_both_arrive_and_bodies_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a body's second segment looks like such a head, and for the next request on the connection."""

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    lines = ("User-Agent: google-genai-sdk/1.75.0", "User-Agent: google-genai-sdk/1.75.0 gl-python/3.11")
    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        async with asyncio.timeout(10):
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
        async with asyncio.timeout(10):
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
