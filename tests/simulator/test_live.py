"""The simulator's Live API, as a client of Google's sees it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from proxy.simulator import Simulator
from tests.simulator.calling import Caller

SERVICE = "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = {"setup": {"model": "models/gemini-3.8-live", "generation_config": {"response_modalities": ["TEXT"]}}}


class Session:
    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def ask(self, text: str) -> None:
        await self.say(client_content={"turns": [{"parts": [{"text": text}]}], "turn_complete": True})

    async def hear(self) -> Any:
        message = await self.socket.receive()
        assert message.type is WSMsgType.BINARY
        return json.loads(message.data)

    async def turn(self) -> list[Any]:
        """The frames until the one that ends the turn, which is left out."""
        frames = []
        while (frame := await self.hear()) != {"serverContent": {"turnComplete": True}}:
            frames.append(frame)
        return frames


@asynccontextmanager
async def open_session(caller: Caller, path: str = f"/ws/{SERVICE}", **headers: str) -> AsyncIterator[Session]:
    """A session that is set up."""
    sent = {"x-goog-api-key": "k"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with caller.session.ws_connect(caller.simulator.url + path, headers=sent) as socket:
        session = Session(socket)
        await session.say(**SETUP)
        yield session


@pytest.mark.parametrize(
    "path",
    [f"/ws/{SERVICE}", f"//ws/{SERVICE}", "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"],
)
async def test_turns_count_the_context_again(caller: Caller, path: str) -> None:
    async with open_session(caller, path) as session:
        assert await session.hear() == {"setupComplete": {}}
        usages = []
        for text in ("hello", "again"):
            await session.ask(text)
            frames = await session.turn()
            said = [part["text"] for one in frames for part in _parts(one)]
            assert f"“{text}”" in "".join(said)
            usages.append([one["usageMetadata"] for one in frames if "usageMetadata" in one])
            assert all(len(one) == 1 for one in frames), "counts come in frames of their own"
    (running, first), (_, second) = usages
    assert running["promptTokenCount"] == first["promptTokenCount"] == 509 + 1 + 2
    assert running["responseTokenCount"] < first["responseTokenCount"]
    assert second["promptTokenCount"] == first["totalTokenCount"] + 2
    assert first["responseTokensDetails"] == [{"modality": "TEXT", "tokenCount": first["responseTokenCount"]}]
    entry = await caller.last()
    assert (entry.status, entry.model, entry.key, entry.complete) == (101, "gemini-3.8-live", "k", True)
    assert entry.billed is not None
    assert entry.billed["totalTokenCount"] == first["totalTokenCount"] + second["totalTokenCount"]


def _parts(frame: dict[str, Any]) -> list[Any]:
    parts: list[Any] = frame.get("serverContent", {}).get("modelTurn", {}).get("parts", [])
    return parts


async def test_sound_goes_in_and_out(caller: Caller) -> None:
    async with open_session(caller) as session:
        assert await session.hear() == {"setupComplete": {}}
    async with caller.session.ws_connect(f"{caller.simulator.url}/ws/{SERVICE}?key=k") as socket:
        session = Session(socket)
        await session.say(setup={"model": "models/gemini-3.8-live"})
        await session.hear()
        await session.say(realtime_input={"audio": {"mime_type": "audio/pcm", "data": "A" * 4000}})
        await session.say(realtime_input={"audio_stream_end": True})
        frames = await session.turn()
    assert _parts(frames[0])[0]["inlineData"]["mimeType"] == "audio/pcm;rate=24000"
    usage = frames[-1]["usageMetadata"]
    assert {"modality": "AUDIO", "tokenCount": 2} in usage["promptTokensDetails"]
    assert usage["responseTokensDetails"][0]["modality"] == "AUDIO"


async def test_commands(caller: Caller) -> None:
    async with open_session(caller) as session:
        await session.hear()
        await session.ask("/goaway")
        assert await session.hear() == {"goAway": {"timeLeft": "50s"}}
        await session.ask("/mute please")
        assert not any("usageMetadata" in frame for frame in await session.turn())
        await session.ask("/late please")
        assert sum("usageMetadata" in frame for frame in await session.turn()) == 1
        assert "usageMetadata" in await session.hear()
        await session.ask("/big 5000000")
        await session.socket.receive()  # more than this client takes
    async with open_session(caller, x_sim_frames="text") as session:
        assert (await session.socket.receive()).type is WSMsgType.TEXT
        await session.ask("/close 4007 as asked")
        closed = await session.socket.receive()
        assert (closed.type, closed.data, closed.extra) == (WSMsgType.CLOSE, 4007, "as asked")
    async with open_session(caller) as session:
        await session.hear()
        await session.ask("/drop")
        assert (await session.socket.receive()).type is WSMsgType.CLOSED
    async with open_session(caller, x_sim_live="/close 1011 quota") as session:
        assert (await session.socket.receive()).data == 1011
    async with open_session(caller) as session:
        await session.hear()
        await session.ask("/nonsense")
        closed = await session.socket.receive()
        assert closed.data == 1007
        assert closed.extra is not None
        assert "/goaway" in closed.extra


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        ({"clientContent": {}}, 1007, "setup must be the first message and only the first"),
        ({"setup": {"model": "models/none"}}, 1008, "models/none is not found for API version v1beta"),
        ({"setup": {"model": "models/gemini-2.5-flash"}}, 1008, "models/gemini-2.5-flash is not found"),
        ([], 1007, "Invalid JSON payload received"),
    ],
)
async def test_what_google_refuses(caller: Caller, first: Any, code: int, reason: str) -> None:
    async with caller.session.ws_connect(f"{caller.simulator.url}/ws/{SERVICE}?key=k") as socket:
        await socket.send_json(first)
        closed = await socket.receive()
    assert closed.data == code
    assert closed.extra is not None
    assert closed.extra.startswith(reason)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"/ws/{SERVICE}", {"x-goog-api-key": "bad"}, 400),
        (f"/ws/{SERVICE}", {}, 403),
        (f"/ws/{SERVICE}", {"x-goog-api-key": "good", "x-sim-fault": "status=503"}, 503),
        ("/ws/google.ai.generativelanguage.v1beta.Other.Method", {"x-goog-api-key": "good"}, 404),
    ],
)
async def test_a_handshake_is_refused_before_it_is_one(path: str, headers: dict[str, str], status: int) -> None:
    simulator = Simulator(["good"])
    await simulator.start()
    try:
        async with ClientSession() as session:
            with pytest.raises(WSServerHandshakeError) as refused:
                await session.ws_connect(simulator.url + path, headers=headers)
    finally:
        await simulator.stop()
    assert refused.value.status == status
