from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.simulator import Simulator
from tests.simulator.calling import GENERATE, Caller

CHAT = "/v1beta/openai/chat/completions"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = Simulator(["good"])
    await simulator.start()
    yield simulator
    await simulator.stop()


async def test_an_unknown_key_is_a_400(caller: Caller) -> None:
    reply = await caller.post(GENERATE, key="bad")

    error = reply.document["error"]
    info = error["details"][0]
    assert (reply.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["message"] == "API key not valid. Please pass a valid API key."
    assert (info["reason"], info["domain"]) == ("API_KEY_INVALID", "googleapis.com")
    assert info["metadata"]["service"] == caller.simulator.url.removeprefix("http://")
    assert reply.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert reply.headers.getall("Vary") == ["Origin", "X-Origin", "Referer"]
    assert reply.body.startswith(b'{\n  "error": {\n    "code": 400')


async def test_a_key_in_the_query_is_a_key(caller: Caller) -> None:
    assert (await caller.post(f"{GENERATE}?key=good", key=None)).status == 200
    assert (await caller.last()).key == "good"


async def test_no_credential_is_a_403(caller: Caller) -> None:
    reply = await caller.post(GENERATE, key=None)

    assert reply.status == 403
    assert reply.document["error"]["message"].startswith("Method doesn't allow unregistered callers")


async def test_an_unknown_token_is_a_401(caller: Caller) -> None:
    reply = await caller.post(GENERATE, key=None, Authorization="Bearer bad")

    assert (reply.status, reply.document["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_vertex_with_a_project_takes_no_key(caller: Caller) -> None:
    path = "/v1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash:generateContent"
    reply = await caller.post(path, key="good")

    assert reply.status == 401
    assert reply.document["error"]["details"][0]["reason"] == "CREDENTIALS_MISSING"
    assert (await caller.post(path, key=None, Authorization="Bearer good")).status == 200


async def test_an_unknown_model_is_a_404(caller: Caller) -> None:
    reply = await caller.post("/v1beta/models/gemini-99:generateContent", key="good")

    assert reply.status == 404
    assert reply.document["error"]["message"] == (
        "models/gemini-99 is not found for API version v1beta, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods."
    )


async def test_a_model_is_not_found_for_what_it_cannot_do(caller: Caller) -> None:
    reply = await caller.post("/v1beta/models/gemini-2.5-flash:embedContent", {"content": {}}, key="good")

    assert reply.status == 404
    assert "is not supported for embedContent" in reply.document["error"]["message"]


async def test_patterns_accept_names_of_a_tests_own() -> None:
    simulator = Simulator(models=["mine-*"])
    await simulator.start()
    try:
        async with aiohttp.ClientSession() as session:
            caller = Caller(session, simulator)
            assert (await caller.post("/v1/models/mine-1:generateContent")).status == 200
            assert (await caller.post("/v1/models/other-1:generateContent")).status == 404
    finally:
        await simulator.stop()


async def test_an_unknown_path_is_a_404_and_in_the_ledger(caller: Caller) -> None:
    reply = await caller.send("PUT", "/v9/wherever:what?x=1", b"x", key="good")

    assert reply.status == 404
    entry = await caller.last()
    assert (entry.method, entry.target, entry.status) == ("PUT", "/v9/wherever:what?x=1", 404)


@pytest.mark.parametrize(("path", "key", "code"), [(CHAT, "bad", 400), (CHAT, None, 403), (CHAT, "good", 404)])
async def test_the_compatible_surface_wraps_errors_in_a_list(
    caller: Caller, path: str, key: str | None, code: int
) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    reply = await caller.post(
        path, {"model": "gpt-1", "messages": [{"role": "user", "content": "x"}]}, key=None, **headers
    )

    assert reply.status == code
    assert [error["error"]["code"] for error in reply.document] == [code]
