import asyncio
import base64
import gzip
import hashlib
import json
import zlib

import aiohttp
import brotli
import pytest

from proxy.simulator import Simulator
from proxy.simulator.codings import zstd
from tests.simulator.calling import ASK, DRAW, GENERATE, STREAM, Caller


async def raw(simulator: Simulator, request: bytes) -> bytes:
    """One request as bytes, its answer as bytes: for what no client would send."""
    reader, writer = await asyncio.open_connection(*simulator.url.removeprefix("http://").split(":"))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_ledger_holds_the_request_as_it_was_sent(simulator: Simulator) -> None:
    target = "/v1beta/models/gemini-2.5-flash:generateContent?b=%2f&a=1&&key=k"
    body = b' {"contents":[{"parts":[{"text":"x"}]}] }'
    head = f"POST {target} HTTP/1.1\r\nhOST: a.example\r\nX-Two: 1\r\nx-two:  2 \r\nConnection: close\r\n"
    answer = await raw(simulator, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    entry = simulator.ledger[-1]
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (entry.method, entry.target, entry.model, entry.key) == ("POST", target, "gemini-2.5-flash", "k")
    assert entry.headers[:3] == [("hOST", "a.example"), ("X-Two", "1"), ("x-two", "2")]
    assert (entry.body, entry.body_bytes) == (body, len(body))
    assert entry.body_sha256 == hashlib.sha256(body).hexdigest()
    assert (entry.status, entry.complete) == (200, True)
    assert entry.usage == entry.billed == json.loads(answer.partition(b"\r\n\r\n")[2])["usageMetadata"]
    assert entry.sent_bytes == len(answer.partition(b"\r\n\r\n")[2])


async def test_a_long_body_keeps_size_and_digest(caller: Caller) -> None:
    body = b"x" * (64 << 10)
    await caller.post("/anything", body, x_sim_echo="1")

    entry = await caller.last()
    assert (entry.body, entry.body_bytes, entry.body_sha256) == (None, 65536, hashlib.sha256(body).hexdigest())


async def test_the_ledger_is_read_and_cleared_by_control_calls(caller: Caller) -> None:
    await caller.post(GENERATE)
    (entry,) = (await caller.get("/_simulator/ledger", key=None)).document["entries"]
    cleared = await caller.send("DELETE", "/_simulator/ledger", None, key=None)

    assert entry["target"] == GENERATE
    assert json.loads(base64.b64decode(entry["body"])) == ASK
    assert ["x-goog-api-key", "k"] in entry["headers"]
    assert cleared.status == 200
    assert not caller.simulator.ledger


async def test_a_caller_that_leaves_while_sending_is_in_the_ledger(simulator: Simulator) -> None:
    _, writer = await asyncio.open_connection(*simulator.url.removeprefix("http://").split(":"))
    writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345")
    await simulator.seen(1)
    writer.close()
    await writer.wait_closed()
    await simulator.idle()

    entry = simulator.ledger[-1]
    assert (entry.body_complete, entry.body_bytes, entry.status, entry.complete) == (False, 5, None, False)


async def test_a_caller_that_leaves_while_reading_is_in_the_ledger(caller: Caller) -> None:
    headers = {"x-goog-api-key": "k", "x-sim-image-bytes": "40000000"}
    async with caller.session.post(caller.simulator.url + DRAW, json=ASK, headers=headers) as response:
        await response.content.readexactly(10)
        response.close()

    entry = await caller.last()
    assert entry.complete is False
    assert 10 <= entry.sent_bytes < 40_000_000


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_the_echo_says_what_came(caller: Caller, method: str) -> None:
    reply = await caller.send(method, "/some//where?q=1", b"body", key=None, x_sim_echo="1", x_sim_status="201")

    said = reply.document
    assert reply.status == 201
    assert (said["method"], said["target"], said["bodyBytes"]) == (method, "/some//where?q=1", 4)
    assert said["bodySha256"] == hashlib.sha256(b"body").hexdigest()
    assert ["x-sim-echo", "1"] in said["headers"]


async def test_the_echo_answers_what_it_is_told(caller: Caller) -> None:
    reply = await caller.post("/x", x_sim_echo="1", x_sim_bytes="3000", x_sim_reply="X-Mine: a: b")
    empty = await caller.post("/x", x_sim_echo="1", x_sim_status="204")
    head = await caller.send("HEAD", "/x", None, x_sim_echo="1", x_sim_bytes="3000")
    bad = await caller.post("/x", x_sim_echo="1", x_sim_status="20x")

    assert (len(reply.body), reply.headers["X-Mine"]) == (3000, "a: b")
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert (empty.status, empty.body, "Content-Length" in empty.headers) == (204, b"", False)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "3000")
    assert bad.status == 400


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("path", [GENERATE, f"{STREAM}?alt=sse"])
async def test_answers_are_compressed_where_asked(caller: Caller, path: str, encoding: str) -> None:
    reply = await caller.post(path, x_sim_encoding=encoding)
    unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress, "br": brotli.decompress, "zstd": zstd.decompress}
    body = unpack[encoding](reply.body)

    assert reply.headers["Content-Encoding"] == encoding
    assert b"How much water?" in body


async def test_a_compressed_request_is_read_and_kept_as_it_came(caller: Caller) -> None:
    body = gzip.compress(json.dumps(ASK).encode())
    good = await caller.post(GENERATE, body, Content_Encoding="gzip")
    entry = await caller.last()
    bad = await caller.post(GENERATE, body[:-4], Content_Encoding="gzip")

    assert (good.status, bad.status, entry.body) == (200, 400, body)


async def test_nothing_is_logged_for_a_caller_that_leaves(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    for spec in ("cut=1000", "cut=1000;reset", "cut=0"):
        with pytest.raises(aiohttp.ClientError):
            await caller.post(DRAW, x_sim_fault=spec)
    headers = {"x-goog-api-key": "k", "x-sim-image-bytes": "40000000"}
    async with caller.session.post(caller.simulator.url + DRAW, json=ASK, headers=headers) as response:
        response.close()
    await caller.simulator.idle()

    assert not caplog.records


async def test_an_unknown_encoding_is_a_400(caller: Caller) -> None:
    assert (await caller.post(GENERATE, x_sim_encoding="compress")).status == 400


async def test_chunked_in_the_place_of_a_length(caller: Caller) -> None:
    reply = await caller.post(GENERATE, x_sim_chunked="1")

    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in reply.headers
    assert reply.document["candidates"]


async def test_two_headers_repeat_as_googles_do(caller: Caller) -> None:
    reply = await caller.post(GENERATE, x_sim_duplicate_headers="1")

    assert [len(reply.headers.getall(name)) for name in ("Content-Type", "Server")] == [2, 2]


async def test_an_event_is_one_chunk_on_the_wire(simulator: Simulator) -> None:
    body = json.dumps(ASK).encode()
    answer = await raw(
        simulator,
        f"POST {STREAM}?alt=sse&key=k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body,
    )

    rest, events = answer.partition(b"\r\n\r\n")[2], []
    while rest != b"0\r\n\r\n":
        size, _, rest = rest.partition(b"\r\n")
        events.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    assert [(event[:6], event[-4:]) for event in events] == [(b"data: ", b"\r\n\r\n")] * 4


async def test_a_caller_that_expects_to_continue_is_told(simulator: Simulator) -> None:
    answer = await raw(
        simulator,
        b"POST /x HTTP/1.1\r\nHost: a\r\nx-sim-echo: 1\r\nConnection: close\r\nExpect: 100-continue\r\n"
        b"Content-Length: 1\r\n\r\nx",
    )

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_start_and_stop_twice(simulator: Simulator) -> None:
    first = simulator.url
    await simulator.stop()
    await simulator.stop()
    await simulator.start()

    assert first.startswith("http://127.0.0.1:")
    async with aiohttp.ClientSession() as session:
        assert (await Caller(session, simulator).post(GENERATE)).status == 200


async def test_a_doubled_user_agent_is_no_fault(simulator: Simulator) -> None:
    """As google-genai 1.60, 1.75 and 2.0.1 send it."""
    head = b"GET /v1beta/models HTTP/1.1\r\nHost: a\r\nUser-Agent: one\r\nUser-Agent: two\r\nConnection: close\r\n\r\n"
    assert (await raw(simulator, head)).split(b" ", 2)[1] != b"400"
    assert [field for field in simulator.ledger[-1].headers if field[0] == "User-Agent"] == [
        ("User-Agent", "one"),
        ("User-Agent", "two"),
    ]
