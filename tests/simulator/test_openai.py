import base64
import json
import struct

import pytest

from tests.simulator.calling import Caller

BASE = "/v1beta/openai"
CHAT = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "How much water?"}]}
USAGE = {"completion_tokens": 48, "prompt_tokens": 4, "total_tokens": 116}


@pytest.mark.parametrize("base", [BASE, "/v1/projects/p/locations/l/endpoints/openapi"])
async def test_chat_counts_as_google_does(caller: Caller, base: str) -> None:
    reply = await caller.post(f"{base}/chat/completions", CHAT, key=None, Authorization="Bearer k")

    assert reply.document["object"] == "chat.completion"
    assert reply.document["choices"][0]["finish_reason"] == "stop"
    assert "How much water?" in reply.document["choices"][0]["message"]["content"]
    assert reply.document["usage"] == USAGE
    assert (await caller.last()).key == "k"


async def test_a_bound_ends_with_length(caller: Caller) -> None:
    parts = [{"type": "text", "text": "How much water?"}]
    body = CHAT | {"max_tokens": 5, "messages": [{"role": "user", "content": parts}]}
    reply = await caller.post(f"{BASE}/chat/completions", body)

    assert reply.document["choices"][0]["finish_reason"] == "length"
    assert reply.document["usage"] == {"completion_tokens": 5, "prompt_tokens": 4, "total_tokens": 73}


@pytest.mark.parametrize(("options", "usage"), [({}, None), ({"stream_options": {"include_usage": True}}, USAGE)])
async def test_a_stream_counts_only_when_asked(caller: Caller, options: dict[str, object], usage: object) -> None:
    reply = await caller.post(f"{BASE}/chat/completions", CHAT | {"stream": True} | options)

    *lines, done, end = reply.body.split(b"\n\n")
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in lines]
    assert (done, end) == (b"data: [DONE]", b"")
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert chunks[-1].get("usage") == usage
    assert all("usage" not in chunk for chunk in chunks[:-1])
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_embeddings_come_as_numbers_or_base64(caller: Caller) -> None:
    body = {"model": "gemini-embedding-2", "input": ["a", "b"], "dimensions": 8}
    plain = await caller.post(f"{BASE}/embeddings", body)
    packed = await caller.post(f"{BASE}/embeddings", body | {"encoding_format": "base64"})

    values = plain.document["data"][1]["embedding"]
    unpacked = struct.unpack("<8f", base64.b64decode(packed.document["data"][1]["embedding"]))
    assert unpacked == pytest.approx(values)
    assert plain.document["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_images_are_generated(caller: Caller) -> None:
    body = {"model": "gemini-3-pro-image", "prompt": "a weir", "n": 2}
    reply = await caller.post(f"{BASE}/images/generations", body, x_sim_image_bytes="30000")

    assert [len(base64.b64decode(image["b64_json"])) for image in reply.document["data"]] == [30_000, 30_000]


async def test_models_are_listed_and_got(caller: Caller) -> None:
    listed = await caller.get(f"{BASE}/models")
    one = await caller.get(f"{BASE}/models/gemini-2.5-flash")

    assert one.document in listed.document["data"]
    assert one.document["id"] == "models/gemini-2.5-flash"


@pytest.mark.parametrize(
    "body", [CHAT | {"messages": []}, CHAT | {"messages": "x"}, {"model": "gemini-2.5-flash", "stream": 3}]
)
async def test_a_bad_body_is_a_400_in_a_list(caller: Caller, body: object) -> None:
    reply = await caller.post(f"{BASE}/chat/completions", body)

    assert reply.status == 400
    assert reply.document[0]["error"]["status"] == "INVALID_ARGUMENT"
