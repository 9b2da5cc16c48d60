"""Interactions: at once, streamed, and in the background."""

from typing import Any

from tests.simulator.calling import Caller

PATH = "/v1/interactions"
ASKED: dict[str, Any] = {"model": "gemini-2.5-flash", "input": "How much water?"}


async def test_at_once(caller: Caller) -> None:
    answer = (await caller.post(PATH, ASKED)).document
    assert answer["status"] == "completed"
    assert answer["usage"]["total_input_tokens"] == 4
    parts = ("total_input_tokens", "total_output_tokens", "total_thought_tokens")
    assert answer["usage"]["total_tokens"] == sum(answer["usage"][part] for part in parts)
    assert (await caller.last()).billed == answer["usage"]
    assert (await caller.get(f"{PATH}/{answer['id']}")).document == answer


async def test_streamed(caller: Caller) -> None:
    reply = await caller.post(PATH, ASKED | {"stream": True})
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.body.startswith(b'data: {"event_type":"interaction.created"')
    assert b"interaction.completed" in reply.body
    assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_in_the_background(caller: Caller) -> None:
    begun = (await caller.post(PATH, ASKED | {"background": True})).document
    assert (begun["status"], "usage" in begun) == ("in_progress", False)
    assert (await caller.get(f"{PATH}/{begun['id']}")).document["status"] == "completed"
    assert b"interaction.completed" in (await caller.get(f"{PATH}/{begun['id']}?stream=true")).body


async def test_an_image_of_the_size_asked(caller: Caller) -> None:
    body = {"model": "gemini-3-pro-image", "input": "x", "response_format": {"type": "image", "image_size": "4K"}}
    answer = (await caller.post(PATH, body, x_sim_image_bytes="1000")).document
    assert {"modality": "image", "tokens": 2000} in answer["usage"]["output_tokens_by_modality"]
    assert "image" in [item["type"] for item in answer["steps"][0]["content"]]


async def test_what_is_refused(caller: Caller) -> None:
    assert (await caller.post(PATH, {"input": "x"})).status == 404
    assert (await caller.post(PATH, {"model": "gemini-2.5-flash"})).status == 400
    assert (await caller.get(f"{PATH}/none")).status == 403
    assert (await caller.send("DELETE", f"{PATH}/none", None)).status == 404
