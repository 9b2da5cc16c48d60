"""What a request asks for is in its record, though nobody had to know before it went up."""

import asyncio
import gzip
import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import brotli
import pytest

from proxy import Headers, Operation, Outcome, Refusal, RequestHead, UsageRecord, UsageState
from proxy.gemini.paths import parse_operation
from proxy.simulator import Simulator
from proxy.wire.overhearing import Hearing
from tests.support.gateway import TEAM_KEYS, Gateway, gateway, routes
from tests.support.raw import answers, raw_upstream, request_bytes, send_bytes
from tests.support.service_log import service_log
from tests.tools import with_stand_ins

CHAT = "/v1beta/openai/chat/completions"
DRAW = "/v1beta/models/gemini-3-pro-image:generateContent"
VEO = "/v1beta/models/veo-3.1-generate-preview:predictLongRunning"
ASKED = {"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "How much water?"}]}
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def simulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Gateway, Simulator]]:
    simulator = Simulator()
    await simulator.start()
    try:
        async with gateway(folder, routes(simulator.url), monkeypatch) as weir:
            yield weir, simulator
    finally:
        await simulator.stop()


async def call(weir: Gateway, target: str, body: Any = None, **headers: str) -> bytes:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sending = data and io.BytesIO(data)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request("GET" if data is None else "POST", weir.url + target, data=sending, headers=sent) as response,
    ):
        return await response.read()


# --- in the record ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", [None, "gzip", "br", "gzip, br"])
async def test_the_model_of_a_body(coding: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = {
        "gzip": gzip.compress,
        "br": brotli.compress,
        "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    }
    body = json.dumps(ASKED).encode()
    async with raw_upstream(answers(OK)) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        if coding is None:
            await call(weir, CHAT, body)
        else:
            body = packed[coding](body)
            await call(weir, CHAT, body, Content_Encoding=coding)
    assert upstream.requests[0][1] == body
    (record,) = weir.records()
    assert (record.model, record.status, record.request_bytes) == ("gemini-2.5-flash", 200, len(body))


async def test_a_large_body_that_is_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 3_000_000}}
    body = {
        "contents": [{"parts": [picture, {"text": "again"}]}],
        "generationConfig": {"imageConfig": {"imageSize": "4K"}},
    }
    async with simulated(tmp_path, monkeypatch) as (weir, simulator):
        await call(weir, DRAW, body, x_sim_image_bytes="1000")
    assert simulator.ledger[-1].body_bytes == len(json.dumps(body))
    (record,) = weir.records()
    assert (record.model, record.asked_image_size) == ("gemini-3-pro-image", "4K")
    assert record.usage is not None
    assert record.usage.output_by_modality == {"image": 2000}


async def test_a_second_try_is_not_heard_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(ASKED | {"user": "x" * 200_000}).encode()
    async with raw_upstream(answers(BUSY)) as first, raw_upstream(answers(OK)) as second:
        async with gateway(tmp_path, routes(first.url, second.url), monkeypatch) as weir:
            await call(weir, CHAT, body)
    (record,) = weir.records()
    assert [attempt.status for attempt in record.attempts] == [503, 200]
    assert record.model == "gemini-2.5-flash"


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"{'model'", None),
        (b'{"model": "a", "model": "b"}', None),
        (b"plain", "gzip"),
        (b"{}", "compress"),
        (b"", None),
    ],
)
async def test_what_cannot_be_read_goes_up_all_the_same(
    body: bytes, coding: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answers(OK)) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        await call(weir, CHAT, body, **({"Content_Encoding": coding} if coding else {}))
    assert upstream.requests[0][1] == body
    (record,) = weir.records()
    assert (record.outcome, record.status, record.model) == (Outcome.COMPLETED, 200, None)


async def test_an_answer_before_the_body_was_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

    async def script(upstream: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(early)
        await writer.drain()
        await reader.read()

    async with raw_upstream(script) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        part = request_bytes("Content-Length: 1000000", body=b'{"model": "m", "x": "', target=CHAT)
        await send_bytes(weir.host, weir.port, part)
    (record,) = weir.records()
    assert (record.status, record.model) == (413, None)


async def test_a_video_is_as_long_as_it_was_asked_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"durationSeconds": 6, "resolution": "1080p", "sampleCount": 2}
    async with simulated(tmp_path, monkeypatch) as (weir, _):
        begun = json.loads(await call(weir, VEO, {"instances": [{"prompt": "x"}], "parameters": parameters}))
        await call(weir, f"/v1beta/{begun['name']}")
        await call(weir, VEO, {"parameters": parameters})
    begins, reads, refused = weir.records()
    assert begins.usage is not None
    assert (begins.usage.video_seconds, begins.usage.video_resolution) == (12, "1080p")
    assert begins.usage_state is UsageState.PARTIAL
    assert (reads.usage, refused.status, refused.usage) == (None, 400, None)


# --- results that are read again ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"\xef\xbb\xbf{}", None),
        (b"plain", "gzip"),
        (b"\x1f\x9d\x90", "compress"),
        (b'{"instances": [' + b"[]," * 400_000, None),
    ],
)
async def test_a_video_whose_body_nobody_can_read_is_the_dearest(
    body: bytes, coding: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answers(OK)) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        await call(weir, VEO, body, **({"Content_Encoding": coding} if coding else {}))
    (record,) = weir.records()
    assert record.usage is not None
    assert (record.usage.video_seconds, record.usage.video_resolution) == (32, "4k")


async def records_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: Any, *reads: str) -> list[UsageRecord]:
    """Begin an interaction, read it so often."""
    async with simulated(tmp_path, monkeypatch) as (weir, _):
        begun = json.loads(await call(weir, "/v1/interactions", body))
        for query in reads:
            await call(weir, f"/v1/interactions/{begun['id']}{query}")
    return weir.records()


@pytest.mark.parametrize("background", [True, False])
async def test_an_interaction_has_one_name_however_it_is_read(
    background: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"model": "gemini-2.5-flash", "input": "How much water?", "background": background}
    begins, first, second = await records_of(tmp_path, monkeypatch, body, "", "?stream=true")
    assert begins.once is not None
    assert begins.once.startswith("interactions/")
    assert {begins.once} == {first.once, second.once}
    assert begins.model == "gemini-2.5-flash"
    assert (begins.usage_state is UsageState.NONE) is background
    assert first.usage is not None
    assert first.usage.input_tokens == 4
    assert first.usage == second.usage
    assert {first.usage_state, second.usage_state} == {UsageState.FINAL}


async def test_a_batch_has_its_name_and_the_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"request": {"contents": [{"parts": [{"text": "How much water?"}]}]}}
    body = {"batch": {"inputConfig": {"requests": {"requests": [request] * 3}}}}
    async with simulated(tmp_path, monkeypatch) as (weir, _):
        name = json.loads(await call(weir, "/v1beta/models/gemini-2.5-flash:batchGenerateContent", body))["name"]
        await call(weir, f"/v1beta/{name}", x_sim_pending="1")
        await call(weir, f"/v1beta/{name}", x_sim_encoding="zstd")
    begins, waits, reads = weir.records()
    assert (begins.usage, begins.once, waits.usage, waits.once) == (None, None, None, None)
    assert reads.usage is not None
    assert (reads.usage.input_tokens, reads.usage.tier, reads.usage.model_version) == (12, "batch", "gemini-2.5-flash")
    assert (reads.usage_state, reads.once) == (UsageState.FINAL, name)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_packed_stream_is_counted(coding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    body = {"contents": [{"parts": [{"text": "How much water?"}]}]}
    async with simulated(tmp_path, monkeypatch) as (weir, simulator):
        await call(weir, target, body, x_sim_encoding=coding)
    (record,) = weir.records()
    assert record.usage is not None
    assert record.usage_state is UsageState.FINAL
    assert simulator.ledger[-1].billed is not None
    assert record.usage.total_tokens == simulator.ledger[-1].billed["totalTokenCount"]


# --- one body -----------------------------------------------------------------------------------------------


def hearing(coding: str | None = None, most_bytes: int = 1 << 30, target: str = CHAT) -> Hearing:
    fields = [(b"Content-Encoding", coding.encode())] if coding else []
    return Hearing(parse_operation("POST", target), RequestHead("POST", target, Headers(fields), "::1"), most_bytes)


async def test_others_run_while_a_bomb_is_heard() -> None:
    bomb = gzip.compress(b'{"model": "m", "x": "' + b"a" * 20_000_000 + b'"}')
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    heard = hearing("gzip")
    await heard.hear(bomb)
    task.cancel()
    assert turns > 50
    assert heard.intent().model == "m"


async def test_a_bomb_is_refused_where_it_must_be_read_and_passed_over_where_not() -> None:
    bomb = gzip.compress(b'{"x": "' + b"a" * 2_000_000 + b'"}')
    with pytest.raises(Refusal, match="inflates to more than the 1000000 bytes") as caught:
        await hearing("gzip", 1_000_000).hear(bomb)
    assert caught.value.code == 413
    overheard = hearing("gzip", 1_000_000)
    await overheard.overhear(bomb)
    await overheard.overhear(b"more")
    assert overheard.overheard().model is None


async def test_a_body_that_is_not_what_it_says_is_refused_where_it_must_be_read() -> None:
    with pytest.raises(ValueError, match="not what its Content-Encoding says: gzip"):
        await hearing("gzip").hear(b"plain text, not packed")


@with_stand_ins
async def test_a_fault_in_it_is_logged_and_costs_nothing() -> None:
    overheard = hearing()
    overheard._document = None  # type: ignore[assignment]
    with service_log() as log:
        await overheard.overhear(b"{}")
        assert overheard.overheard().model is None
    assert log.text.count("overhearing_failed") == 1


def test_free_calls_are_not_overheard() -> None:
    assert not parse_operation("POST", "/v1beta/models/gemini-2.5-flash:generateContent").billed_by_body
    assert Operation("x").billed_by_body is False


# --- where a limit must know --------------------------------------------------------------------------------


@pytest.mark.parametrize(("packed", "status"), [(True, 200), (False, 400)])
async def test_a_packed_body_is_read_where_a_limit_needs_it(
    packed: bool, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(b"team-key").hexdigest()))
    more = """
[plugins.auth]
keys = "keys.toml"
[teams.studio]
models = ["gemini-2.5-*"]
limits = [{ tokens = 100_000, per = "day" }]
"""
    body = json.dumps(ASKED).encode()
    body = gzip.compress(body) if packed else body
    async with raw_upstream(answers(OK)) as upstream:
        file = routes(upstream.url, plugins='["usage", "auth", "team_quota"]', more=more)
        async with gateway(tmp_path, file, monkeypatch) as weir:
            await call(weir, CHAT, body, Content_Encoding="gzip", x_goog_api_key="team-key")
    (record,) = weir.records()
    assert record.status == status
    assert [body for _, body in upstream.requests] == ([body] if packed else [])
    assert record.model == ("gemini-2.5-flash" if packed else None)


async def test_a_body_of_which_half_was_heard_is_not_judged_by_that_half() -> None:
    """Who listens is cancelled between two steps: what went up whole at the next endpoint would be billed as a part."""
    packed = gzip.compress(json.dumps({"model": "gemini-2.5-flash", "messages": "A" * 5_000_000}).encode())
    head = RequestHead("POST", CHAT, Headers([(b"Content-Encoding", b"gzip")]), "")
    hearing = Hearing(parse_operation("POST", CHAT), head, 1 << 30)
    listening = asyncio.create_task(hearing.overhear(packed))
    await asyncio.sleep(0)
    assert not listening.done()
    listening.cancel()
    await asyncio.wait({listening})
    await hearing.overhear(packed)
    assert hearing.overheard().model is None
