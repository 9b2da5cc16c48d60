"""The relay on real sockets against upstreams that misbehave on purpose; the record of each is asserted."""

import asyncio
import base64
import json
import random
import zlib
from pathlib import Path

import pytest

from proxy import Outcome, UsageState
from proxy.gemini.backlog import STEP_BYTES
from proxy.simulator import Simulator
from proxy.wire.inflow import READ_BYTES
from tests.support.gateway import gateway, routes
from tests.support.raw import RawUpstream, answers, raw_upstream, read_message, request_bytes, send_bytes

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
COUNTS = b'{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}'
EVENT = b'data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":' + COUNTS + b"}\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> dict[str, object]:
    error: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return error


# --- answers that break off ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 1000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 1000) + b"zz\r\n",
    ],
    ids=["short of its length", "without a last chunk", "with a bad chunk"],
)
async def test_a_truncated_answer_looks_truncated(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answers(answer)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0"))
    (record,) = weir.records()
    if got and status_of(got) == 200:
        assert b"\r\n0\r\n\r\n" not in got
        assert len(got.partition(b"\r\n\r\n")[2]) < 100000
    else:
        assert got == b"" or status_of(got) == 502
    # aiohttp fails the whole answer when the bad chunk comes in the same read as the head
    assert record.outcome in (Outcome.UPSTREAM_BROKE, Outcome.UPSTREAM_FAILED)


async def test_a_small_answer_that_breaks_off_is_a_502(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head has not gone down yet, so the caller can still be told."""
    async with raw_upstream(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0"))
    assert status_of(got) == 502
    (record,) = weir.records()
    assert (record.outcome, record.status, record.reason) == (Outcome.UPSTREAM_BROKE, 502, "UPSTREAM_BROKE")


async def test_a_small_answer_in_two_halves_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await asyncio.sleep(0.05)
        writer.write(b"other")

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0"))
    assert got.partition(b"\r\n\r\n")[2] == b"firstother"
    (record,) = weir.records()
    assert (record.outcome, record.status, record.response_bytes) == (Outcome.COMPLETED, 200, 10)


async def test_more_than_its_length_never_reaches_the_next_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmugg")

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            for _ in range(3):
                got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0"))
                assert b"smugg" not in got
                assert status_of(got) in (200, 502)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Bad: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"no http at all\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_cannot_be_passed_on_is_a_502(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answers(head)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 1", body=b"x"))
            assert status_of(got) == 502
            assert error_of(got)["status"] == "UNAVAILABLE"
            assert len(upstream.requests) == 1, "never repeated behind the record's back"
    (record,) = weir.records()
    assert record.outcome is Outcome.UPSTREAM_FAILED
    assert [attempt.error for attempt in record.attempts] in (["bad_answer"], ["disconnected"])


async def test_what_one_read_brings_goes_down_in_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole read with the end of a chunk in it; what it says is metered though it is in pieces."""
    begin = b'{"candidates":[{"content":{"parts":[{"text":"'
    end = b'"}]}}],"usageMetadata":' + COUNTS + b"}"
    framing = len(chunk(b"x" * 30_000) + chunk(b"x" * 27_000)) - 57_000
    text = b"x" * (READ_BYTES - framing - len(end))
    went_on = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        fields = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + chunk(begin))
        await went_on.wait()
        writer.write(chunk(text[:30_000]) + chunk(text[30_000:] + end))
        await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Content-Length: 0", target=GENERATE))
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(chunk(begin))) == chunk(begin)
            went_on.set()
            rest = await reader.read()
            writer.close()
    assert rest == chunk(text + end) + b"0\r\n\r\n"
    (record,) = weir.records()
    assert record.response_bytes == len(begin + text + end)
    assert record.usage is not None
    assert record.usage.total_tokens == 7


async def test_others_run_while_what_one_read_brought_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two chunks, of which the first holds 30 MB: also what comes with it must wait until that is metered."""
    noise = base64.b64encode(random.Random(0).randbytes(12_000))
    text = b'{"candidates":[{"content":{"parts":[{"text":"' + b"a" * 30_000_000
    coder = zlib.compressobj(wbits=31)
    bomb = coder.compress(text) + coder.flush(zlib.Z_SYNC_FLUSH)
    rest = coder.compress(noise + b'"}]}}],"usageMetadata":' + COUNTS + b"}") + coder.flush()
    assert 32_000 < len(bomb) + len(rest) < READ_BYTES
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turns
        await upstream.read(reader)
        fields = b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + chunk(bomb[:10]))
        await asyncio.sleep(0.05)  # the relay waits for more
        turns = 0
        writer.write(chunk(bomb[10:]) + chunk(rest))
        await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            counting = asyncio.create_task(count_turns())
            await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0", target=GENERATE))
            counting.cancel()  # the connection was closed when the exchange was over
    (record,) = weir.records()
    assert record.usage is not None
    assert record.usage.total_tokens == 7
    assert turns > 30_000_000 // (2 * STEP_BYTES)


# --- failover -----------------------------------------------------------------------------------------------


async def test_a_dead_endpoint_is_skipped_under_a_large_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(range(256)) * 8000
    async with raw_upstream(answers(OK)) as upstream:
        async with gateway(tmp_path, routes("http://127.0.0.1:9", upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes(f"Content-Length: {len(body)}", body=body))
    assert status_of(got) == 200
    assert upstream.requests[0][1] == body
    (record,) = weir.records()
    assert [(attempt.endpoint, attempt.error, attempt.status) for attempt in record.attempts] == [
        ("a", "connect_failed", None),
        ("b", None, 200),
    ]
    assert record.request_bytes == len(body)


@pytest.mark.parametrize(("size", "tries"), [(500_000, 2), (1_100_000, 1)])
async def test_a_429_fails_over_while_the_body_is_held(
    size: int, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"x" * size
    limited = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 5\r\n\r\nlimit"
    async with raw_upstream(answers(limited)) as first, raw_upstream(answers(OK)) as second:
        async with gateway(tmp_path, routes(first.url, second.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes(f"Content-Length: {size}", body=body))
    assert status_of(got) == (200 if tries == 2 else 429)
    (record,) = weir.records()
    assert len(record.attempts) == tries
    assert [one[1] for one in second.requests] == [body][: tries - 1]


async def test_each_attempt_carries_its_own_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with raw_upstream(answers(busy)) as first, raw_upstream(answers(OK)) as second:
        async with gateway(tmp_path, routes(first.url, second.url), monkeypatch) as weir:
            await send_bytes(
                weir.host, weir.port, request_bytes("x-goog-api-key: team", "Content-Length: 1", body=b"x")
            )
    assert b"x-goog-api-key: key-of-a\r\n" in first.requests[0][0]
    assert b"x-goog-api-key: key-of-b\r\n" in second.requests[0][0]
    assert b"team" not in first.requests[0][0] + second.requests[0][0]


async def test_the_answer_held_is_relayed_whole_when_the_next_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = b"HTTP/1.1 429 Too Many Requests\r\nX-Of: google\r\nContent-Length: 5\r\n\r\nlimit"
    async with raw_upstream(answers(limited)) as first:
        async with gateway(tmp_path, routes(first.url, "http://127.0.0.1:9"), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 1", body=b"x"))
    assert status_of(got) == 429
    assert b"X-Of: google" in got
    assert got.endswith(b"limit")
    (record,) = weir.records()
    assert (record.endpoint, record.status, len(record.attempts)) == ("a", 429, 2)


async def test_every_endpoint_dead_is_a_clear_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, routes("http://127.0.0.1:9"), monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 1", body=b"x"))
    assert status_of(got) == 503
    assert error_of(got)["message"] == "No endpoint gave an answer (a: connect_failed)."
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.UPSTREAM_FAILED, "UPSTREAM_FAILED")


async def test_an_endpoint_that_never_answers_is_a_504(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        await reader.read()

    async with raw_upstream(silent) as upstream:
        text = routes(upstream.url, server='timeouts = { first_byte = "50ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 1", body=b"x"))
    assert status_of(got) == 504
    (record,) = weir.records()
    assert record.attempts[0].error == "first_byte_timeout"


# --- pace ---------------------------------------------------------------------------------------------------


async def test_an_event_is_down_before_the_next_one_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the head is one that came before."""
    go_on = asyncio.Event()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await upstream.read(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nDate: now\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + chunk(EVENT)
            )
            await go_on.wait()
            writer.write(chunk(b"data: half") + chunk(b" an event") + b"0\r\n\r\n")
            await writer.drain()

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        for _ in range(4):
            go_on.clear()
            writer.write(request_bytes("Content-Length: 0", target=STREAM, close=False))
            async with asyncio.timeout(60):
                got = await reader.readuntil(EVENT)
                assert b"text/event-stream" in got
                go_on.set()
                assert b"an event" in await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        assert upstream.connections == 1
    records = weir.records()
    assert [record.outcome for record in records] == [Outcome.COMPLETED] * 4
    assert [record.usage and record.usage.total_tokens for record in records] == [7] * 4


async def test_a_slow_caller_slows_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays flat however large the answer: what the caller does not take is not taken from upstream."""
    piece = b"x" * 65536
    sent = 0

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1000 * len(piece)))
        for _ in range(1000):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port, limit=1024)
        writer.write(request_bytes("Content-Length: 0"))
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 30_000_000, "the gateway swallowed what nobody read"
        total = 0
        async with asyncio.timeout(60):
            while data := await reader.read(1 << 20):
                total += len(data)
        assert total == 1000 * len(piece)
        writer.close()


# --- the caller leaves --------------------------------------------------------------------------------------


async def leave_midway(weir_host: str, weir_port: int, until: bytes) -> None:
    reader, writer = await asyncio.open_connection(weir_host, weir_port)
    writer.write(request_bytes("Content-Length: 0", target=STREAM))
    async with asyncio.timeout(60):
        await reader.readuntil(until)
    writer.transport.abort()


def streams_until(finish: asyncio.Event, ended: asyncio.Event) -> object:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(EVENT)
        )
        gone = asyncio.create_task(reader.read())
        done, _ = await asyncio.wait({gone, asyncio.create_task(finish.wait())}, return_when=asyncio.FIRST_COMPLETED)
        ended.set()
        if gone not in done:
            writer.write(chunk(EVENT.replace(b"4,", b"40,").replace(b"7}", b"43}")) + b"0\r\n\r\n")
            await writer.drain()
            await gone

    return script


async def test_drain_reads_on_to_the_true_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, ended = asyncio.Event(), asyncio.Event()
    async with raw_upstream(streams_until(finish, ended)) as upstream:  # type: ignore[arg-type]
        async with gateway(tmp_path, routes(upstream.url, route='on_disconnect = "drain"'), monkeypatch) as weir:
            await leave_midway(weir.host, weir.port, EVENT)
            await asyncio.sleep(0.1)
            assert not ended.is_set(), "the endpoint was hung up on"
            finish.set()
    (record,) = weir.records()
    assert record.outcome is Outcome.CLIENT_GONE
    assert record.usage_state is UsageState.FINAL
    assert record.usage is not None
    assert record.usage.output_tokens == 40


async def test_cancel_hangs_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, ended = asyncio.Event(), asyncio.Event()
    async with raw_upstream(streams_until(finish, ended)) as upstream:  # type: ignore[arg-type]
        async with gateway(tmp_path, routes(upstream.url, route='on_disconnect = "cancel"'), monkeypatch) as weir:
            await leave_midway(weir.host, weir.port, EVENT)
            async with asyncio.timeout(60):
                await ended.wait()
    (record,) = weir.records()
    assert record.outcome is Outcome.CLIENT_GONE
    assert record.usage_state is UsageState.PARTIAL
    assert record.usage is not None
    assert record.usage.output_tokens == 4


async def test_a_drain_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, ended = asyncio.Event(), asyncio.Event()
    async with raw_upstream(streams_until(finish, ended)) as upstream:  # type: ignore[arg-type]
        text = routes(upstream.url, server='timeouts = { drain = "50ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            await leave_midway(weir.host, weir.port, EVENT)
            async with asyncio.timeout(60):
                await ended.wait()
    (record,) = weir.records()
    assert (record.outcome, record.usage_state) == (Outcome.CLIENT_GONE, UsageState.PARTIAL)


@pytest.mark.parametrize("road", ["fast", "plain"])
async def test_a_caller_that_leaves_before_the_head_is_recorded(
    road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def silent(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        arrived.set()
        await reader.read()
        left.set()

    async with raw_upstream(silent) as upstream:
        text = routes(upstream.url, route='on_disconnect = "cancel"', server=f'road = "{road}"')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            _, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Content-Length: 1", body=b"x", target=GENERATE))
            async with asyncio.timeout(60):
                await arrived.wait()
                writer.transport.abort()
                await left.wait()
    (record,) = weir.records()
    assert (record.outcome, record.model, record.usage) == (Outcome.CLIENT_GONE, "gemini-2.5-flash", None)
    # It had gone up whole, and may have run: a caller that hangs up in time must not run models for nothing.
    assert [(attempt.error, attempt.sent) for attempt in record.attempts] == [("caller_gone", True)]
    assert record.estimate is not None


async def test_an_upload_that_breaks_off_is_never_completed_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()
    got = bytearray()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            got.extend(data)
        ended.set()

    async with raw_upstream(script) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            _, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Transfer-Encoding: chunked", body=chunk(b"x" * 100_000)))
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.transport.abort()
            async with asyncio.timeout(60):
                await ended.wait()
    assert not got.endswith(b"0\r\n\r\n")
    (record,) = weir.records()
    assert record.outcome is Outcome.CLIENT_GONE


# --- 100 Continue -------------------------------------------------------------------------------------------


async def test_the_body_is_asked_for_only_when_the_plugins_let_it_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answers(OK)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port)
            writer.write(request_bytes("Content-Length: 5", "Expect: 100-continue"))
            async with asyncio.timeout(60):
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"hello")
                head, body = await read_message(reader)
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert body == b"ok"
            writer.close()
    assert upstream.requests[0][1] == b"hello"
    assert b"expect" not in upstream.requests[0][0].lower()


async def test_a_refused_request_is_not_asked_for_its_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = routes("http://127.0.0.1:9", plugins='["usage", "auth"]', more='[plugins.auth]\nkeys = "keys.toml"\n')
    async with gateway(tmp_path, text, monkeypatch) as weir:
        got = await send_bytes(
            weir.host, weir.port, request_bytes("Content-Length: 5", "Expect: 100-continue", close=False)
        )
    assert b"100 Continue" not in got
    assert status_of(got) == 403
    (record,) = weir.records()
    assert (record.outcome, record.status) == (Outcome.REFUSED, 403)


# --- the answer's head --------------------------------------------------------------------------------------


async def test_nothing_is_invented_and_repeats_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"HTTP/1.1 200 Fine Indeed\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nVary: X\r\nContent-Length: 2\r\n\r\nok"
    async with raw_upstream(answers(head)) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0"))
    lines = got.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 Fine Indeed"
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    assert sorted(names) == sorted(
        [b"set-cookie", b"set-cookie", b"vary", b"content-length", b"x-weir-exchange", b"date", b"connection"]
    )


async def test_compressed_bytes_pass_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = Simulator()
    await simulator.start()
    try:
        async with gateway(tmp_path, routes(simulator.url), monkeypatch) as weir:
            body = b'{"contents":[{"parts":[{"text":"Hello"}]}]}'
            got = await send_bytes(
                weir.host,
                weir.port,
                request_bytes(f"Content-Length: {len(body)}", "x-sim-encoding: gzip", target=GENERATE, body=body),
            )
        assert b"content-encoding: gzip" in got.lower()
        assert b"\r\n\x1f\x8b\x08" in got
        (record,) = weir.records()
        assert record.usage is not None
        assert record.usage.total_tokens == simulator.ledger[-1].billed["totalTokenCount"]  # type: ignore[index]
    finally:
        await simulator.stop()
