import asyncio
import time

import aiohttp
import pytest

from proxy.simulator.faults import Fault, Faults, parse
from tests.simulator.calling import ASK, DRAW, GENERATE, STREAM, Caller

SSE = f"{STREAM}?alt=sse"


def test_parts_combine() -> None:
    assert parse("latency=2.5,status=429;retry=12;per=day, slow=50") == Fault(
        latency_seconds=2.5, status=429, retry_seconds=12, per="day", slow_seconds=0.05
    )


@pytest.mark.parametrize(
    "spec", ["latency", "explode", "status=200", "status=429;again=1", "cut=x", "status=429;per=year"]
)
def test_an_unknown_spec_is_refused_by_name(spec: str) -> None:
    with pytest.raises(ValueError, match=r"fault"):
        parse(spec)


def test_an_order_fits_its_account_and_model_and_is_used_up() -> None:
    faults = Faults()
    faults.add("hang", key="a", model="gemini-3*", count=2)

    taken = [
        faults.take(account, model) for account, model in [("b", "gemini-3-x"), ("a", "gemini-2"), ("a", "gemini-3")]
    ]
    assert taken == ["", "", "hang"]
    assert [faults.take("a", "gemini-3"), faults.take("a", "gemini-3")] == ["hang", ""]


async def test_429_tells_the_delay_in_the_body_alone(caller: Caller) -> None:
    reply = await caller.post(GENERATE, x_sim_fault="status=429;retry=12.5")

    error = reply.document["error"]
    kinds = [detail["@type"].rpartition(".")[2] for detail in error["details"]]
    assert (reply.status, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert kinds == ["QuotaFailure", "Help", "RetryInfo"]
    assert error["details"][2]["retryDelay"] == "12.5s"
    assert error["message"].endswith("Please retry in 12.5s.")
    assert "PerMinute" in error["details"][0]["violations"][0]["quotaId"]
    assert error["details"][0]["violations"][0]["quotaDimensions"]["model"] == "gemini-2.5-flash"
    assert "Retry-After" not in reply.headers


async def test_429_has_its_other_voices(caller: Caller) -> None:
    bare = await caller.post(GENERATE, x_sim_fault="status=429;bare")
    vertex_path = "/v1/publishers/google/models/gemini-2.5-flash:generateContent"
    shared = await caller.post(vertex_path, x_sim_fault="status=429")
    dedicated = await caller.post(vertex_path, x_sim_fault="status=429", x_vertex_ai_llm_request_type="dedicated")

    assert bare.document["error"]["message"] == "Resource has been exhausted (e.g. check quota)."
    assert shared.document["error"]["message"].startswith("Resource exhausted, please try again later.")
    assert dedicated.document["error"]["message"] == "Too many requests. Exceeded the Provisioned Throughput."


@pytest.mark.parametrize(
    ("spec", "code", "status", "message"),
    [
        ("status=400", 400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        ("status=401", 401, "UNAUTHENTICATED", "invalid authentication credentials"),
        ("status=403", 403, "PERMISSION_DENIED", "does not have permission"),
        ("status=404", 404, "NOT_FOUND", "not found"),
        ("status=500", 500, "INTERNAL", "An internal error has occurred."),
        ("status=503", 503, "UNAVAILABLE", "high demand"),
        ("status=503;kind=overloaded", 503, "UNAVAILABLE", "The model is overloaded."),
        ("status=503;kind=deadline", 503, "UNAVAILABLE", "Deadline expired"),
        ("status=504", 504, "DEADLINE_EXCEEDED", "timed out"),
    ],
)
async def test_the_catalogue(caller: Caller, spec: str, code: int, status: str, message: str) -> None:
    reply = await caller.post(SSE, x_sim_fault=spec)

    assert reply.status == reply.document["error"]["code"] == code
    assert reply.document["error"]["status"] == status
    assert message in reply.document["error"]["message"]
    assert (await caller.last()).billed is None


async def test_a_bad_spec_is_a_400_that_says_the_forms(caller: Caller) -> None:
    reply = await caller.post(GENERATE, x_sim_fault="explode")

    assert reply.status == 400
    assert "midstream-error" in reply.document["error"]["message"]


async def test_orders_come_and_go_by_control_calls(caller: Caller) -> None:
    made = await caller.post("/_simulator/faults", {"key": "a", "fault": "status=503", "count": 1}, key=None)
    other = await caller.post(GENERATE, key="b")
    first, second = await caller.post(GENERATE, key="a"), await caller.post(GENERATE, key="a")
    await caller.post("/_simulator/faults", {"fault": "status=500"}, key=None)
    third = await caller.post(GENERATE, key="b")
    cleared = await caller.send("DELETE", "/_simulator/faults", None, key=None)
    last = await caller.post(GENERATE, key="b")

    assert made.document == {"faults": [{"fault": "status=503", "key": "a", "model": None, "count": 1}]}
    assert [reply.status for reply in (other, first, second, third, last)] == [200, 503, 200, 500, 200]
    assert cleared.document == {"faults": []}
    assert [entry.fault for entry in caller.simulator.ledger] == ["", "status=503", "", "status=500", ""]


@pytest.mark.parametrize("body", [b"{", {"fault": "explode"}, {"fault": "hang", "count": 0}, {"key": "a"}])
async def test_a_bad_order_is_a_400(caller: Caller, body: object) -> None:
    reply = await caller.post("/_simulator/faults", body, key=None)

    assert reply.status == 400
    assert reply.document["error"]["message"]


async def test_latency_comes_before_the_head(caller: Caller) -> None:
    started = time.monotonic()
    reply = await caller.post(GENERATE, x_sim_fault="latency=0.2")

    assert reply.status == 200
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("spec", ["cut=1000", "cut=1000;reset", "cut=0"])
@pytest.mark.parametrize("path", [DRAW, SSE])
async def test_cut_ends_the_connection_after_so_many_bytes(caller: Caller, path: str, spec: str) -> None:
    with pytest.raises(aiohttp.ClientError):
        await caller.post(path, x_sim_fault=spec)

    entry = await caller.last()
    assert entry.status == 200
    assert entry.sent_bytes == int(spec.partition(";")[0].removeprefix("cut="))
    assert entry.complete is False
    assert entry.billed is not None


async def test_what_was_sent_before_the_cut_arrives(caller: Caller) -> None:
    headers = {"x-goog-api-key": "k", "x-sim-fault": "cut=1000"}
    async with caller.session.post(caller.simulator.url + DRAW, json=ASK, headers=headers) as response:
        assert len(await response.content.readexactly(1000)) == 1000
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readexactly(1)


async def test_a_cut_stream_knows_the_usage_of_what_was_sent(caller: Caller) -> None:
    with pytest.raises(aiohttp.ClientError):
        await caller.post(SSE, x_sim_fault="cut=600")

    entry = await caller.last()
    assert entry.usage is not None
    assert entry.billed is not None
    assert entry.usage["candidatesTokenCount"] < entry.billed["candidatesTokenCount"]


async def test_hang_never_sends_a_head_and_ends_with_the_caller(caller: Caller) -> None:
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.2):
            await caller.post(GENERATE, x_sim_fault="hang")

    entry = await caller.last()
    assert (entry.status, entry.complete, entry.sent_bytes) == (None, False, 0)


async def test_stall_keeps_the_connection_open(caller: Caller) -> None:
    url, headers = caller.simulator.url + DRAW, {"x-goog-api-key": "k", "x-sim-fault": "stall=1000"}
    async with caller.session.post(url, json=ASK, headers=headers) as response:
        assert len(await response.content.readexactly(1000)) == 1000
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.2):
                await response.content.readany()

    assert (await caller.last()).sent_bytes == 1000


async def test_slow_paces_the_events(caller: Caller) -> None:
    started = time.monotonic()
    reply = await caller.post(SSE, x_sim_fault="slow=50", x_sim_chunks="5")

    assert len(reply.events) == 5
    assert time.monotonic() - started >= 0.2


async def test_a_midstream_error_is_bare_json_after_chunks(caller: Caller) -> None:
    reply = await caller.post(SSE, x_sim_fault="midstream-error")

    *chunks, error = reply.body.split(b"\r\n\r\n")
    assert reply.status == 200
    assert len(chunks) == 2
    assert error.startswith(b'{\n  "error": {\n    "code": 503')
    assert (await caller.last()).usage == (await caller.last()).billed


async def test_a_midstream_error_is_an_element_of_an_array(caller: Caller) -> None:
    reply = await caller.post(STREAM, x_sim_fault="midstream-error=500")

    *chunks, error = reply.document
    assert all("candidates" in chunk for chunk in chunks)
    assert error["error"]["status"] == "INTERNAL"


async def test_stopping_ends_what_hangs(caller: Caller) -> None:
    waiting = asyncio.create_task(caller.post(GENERATE, x_sim_fault="hang"))
    await caller.simulator.seen(1)
    await caller.simulator.stop()

    with pytest.raises(aiohttp.ClientError):
        await waiting
