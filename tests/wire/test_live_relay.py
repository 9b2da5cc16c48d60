"""WebSocket sessions: the same frames on both sides, failover until the first answer, and how each one ends."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from yarl import URL

from proxy import Exchange, ExchangeNext, Outcome, Plugin, UsageRecord, UsageState
from proxy.simulator import Simulator
from tests.support.gateway import TEAM_KEYS, Gateway, gateway, routes
from tests.support.raw import request_bytes, send_bytes
from tests.support.service_log import service_log
from tests.support.sockets import Socket, socket_endpoint

LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
VERTEX = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
SETUP = {"setup": {"model": "models/gemini-3.8-live", "generationConfig": {"responseModalities": ["TEXT"]}}}
READS = f'[plugins.reads]\nuse = "{__name__}:Reads"\n'
WITH_INTENT = '["usage", "reads"]'
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
HANDSHAKE = request_bytes(
    *(*UPGRADE, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    target=LIVE,
    method="GET",
    close=False,
)


class Reads(Plugin):
    """Wants to know the model, and refuses one."""

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        if (await exchange.intent()).model == "forbidden":
            raise exchange.refuse(403, "Your team may not use this model." + " Ask somebody." * 20, reason="NOT_YOURS")
        await call_next(exchange)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


def turn(text: str) -> dict[str, Any]:
    return {"clientContent": {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": True}}


async def idle(weir: Gateway) -> None:
    async with asyncio.timeout(60):
        while weir.app.public.in_flight:
            await asyncio.sleep(0.01)


async def last_close(socket: ClientWebSocketResponse) -> tuple[Any, str | None]:
    """Code and reason of the close frame, after whatever comes before it."""
    while (message := await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass
    return message.data, message.extra


async def one_session(session: aiohttp.ClientSession, url: str, **headers: str) -> list[tuple[WSMsgType, str | bytes]]:
    """Two turns, every frame of theirs with its type."""
    async with session.ws_connect(URL(url, encoded=True), headers=headers) as socket:
        await socket.send_str(json.dumps(SETUP))
        frames = [await socket.receive()]
        for text in ("How much water?", "/late And how much tomorrow?"):
            await socket.send_bytes(json.dumps(turn(text)).encode())
            frames += [await socket.receive() for _ in range(6)]
    return [(frame.type, frame.data) for frame in frames]


# --- what goes through --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LIVE, f"/{LIVE}", VERTEX], ids=["studio", "two slashes", "vertex"])
@pytest.mark.parametrize("frames", ["binary", "text"])
async def test_a_session_is_the_same_through_the_gateway(
    path: str,
    frames: str,
    session: aiohttp.ClientSession,
    simulator: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = {"x-sim-frames": frames, "x-goog-api-key": "mine", "X-Repeated": "a"}
    async with gateway(tmp_path, routes(simulator.url), monkeypatch) as weir:
        direct = await one_session(session, simulator.url + path, **headers)
        through = await one_session(session, weir.url + path + "?a=%2F&a=b", **headers)
        await idle(weir)
    assert through == direct
    assert {kind.name.lower() for kind, _ in through} == {frames}
    (record,) = weir.records()
    await simulator.idle()
    theirs, ours = simulator.ledger
    assert (ours.body_sha256, ours.body_bytes, ours.complete) == (theirs.body_sha256, theirs.body_bytes, True)
    assert (ours.target, ours.key) == (path + "?a=%2F&a=b", "key-of-a")
    assert (record.outcome, record.status, record.reason) == (Outcome.COMPLETED, 101, None)
    assert (record.operation, record.model, record.path) == ("live", "gemini-3.8-live", path)
    assert record.request_bytes == ours.body_bytes
    assert record.response_bytes == sum(len(data.encode() if isinstance(data, str) else data) for _, data in through)
    assert record.usage_state is UsageState.FINAL
    assert record.usage is not None
    assert ours.billed == {
        "promptTokenCount": record.usage.input_tokens,
        "responseTokenCount": record.usage.output_tokens,
        "totalTokenCount": record.usage.total_tokens,
    }
    assert record.usage.input_by_modality == {"text": record.usage.input_tokens}
    assert record.first_byte_ms is not None


@pytest.mark.parametrize("path", [f"{LIVE}/", f"{LIVE}V2", LIVE.replace("google.", "/google."), "/v1beta/anything"])
async def test_a_path_that_is_not_known_as_live_is_no_way_around_a_model_list(
    path: str, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handshake is a GET, but a session is no read: what we do not know may run any model."""
    secret = "weir_k1_" + "s" * 40
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(secret.encode()).hexdigest()))
    text = routes("http://127.0.0.1:9", plugins='["usage", "auth"]', more='[plugins.auth]\nkeys = "keys.toml"\n')
    async with gateway(tmp_path, text + '\n[teams.studio]\nmodels = ["cheap"]\n', monkeypatch) as weir:
        with pytest.raises(WSServerHandshakeError) as refused:
            await session.ws_connect(weir.url + path, headers={"x-goog-api-key": secret})
    assert refused.value.status == 403
    (record,) = weir.records()
    assert (record.reason, record.attempts) == ("MODEL_UNKNOWN", [])


@pytest.mark.parametrize("where", ["header", "key", "access_token", "bearer"])
async def test_auth_runs_before_the_handshake(
    where: str, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good key in any place; a bad one is a plain answer that SDKs understand, and nothing is dialled for it."""

    async def script(socket: Socket) -> None:
        await socket.receive()
        await socket.send_str("{}")

    secret = "weir_k1_" + "s" * 40
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(secret.encode()).hexdigest()))
    text = routes("http://127.0.0.1:9", plugins='["usage", "auth"]', more='[plugins.auth]\nkeys = "keys.toml"\n')
    text += "\n[teams.studio]\n"

    def call(key: str) -> tuple[str, dict[str, str]]:
        match where:
            case "header":
                return LIVE, {"x-goog-api-key": key}
            case "bearer":
                return LIVE, {"Authorization": f"Bearer {key}"}
            case _:
                return f"{LIVE}?{where}={key}", {}

    with service_log() as log:
        async with socket_endpoint(script) as endpoint:
            file = text.replace("http://127.0.0.1:9", endpoint.url)
            async with gateway(tmp_path, file, monkeypatch) as weir:
                path, headers = call("weir_k1_planted")
                with pytest.raises(WSServerHandshakeError) as refused:
                    await session.ws_connect(weir.url + path, headers=headers)
                assert refused.value.status == 400  # as Google answers a bad key
                assert endpoint.handshakes == []
                async with session.get(weir.url + path, headers=headers | {"Upgrade": "x"}) as answer:
                    assert (await answer.json())["error"]["status"] == "INVALID_ARGUMENT"
                path, headers = call(secret)
                async with session.ws_connect(weir.url + path, headers=headers) as socket:
                    await socket.send_json(SETUP)
                    assert (await socket.receive()).data == "{}"
                await idle(weir)
        (asked,) = endpoint.handshakes
    assert asked.headers.getall("x-goog-api-key") == ["key-of-a"]
    assert secret not in str(asked.raw_headers) + asked.raw_path
    assert secret not in log.text
    assert "planted" not in log.text + str(weir.records())
    assert [(record.status, record.team) for record in weir.records()] == [(400, None), (400, None), (101, "studio")]


async def test_frames_keep_their_kind_and_pings_go_through(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[WSMsgType, Any]] = []

    async def script(socket: Socket) -> None:
        for _ in range(6):
            message = await socket.receive()
            seen.append((message.type, message.data))
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is not WSMsgType.PONG:
                await (socket.send_str if message.type is WSMsgType.TEXT else socket.send_bytes)(message.data)
        await socket.ping(b"are you there")

    async with socket_endpoint(script) as endpoint, gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE, autoping=False, max_msg_size=0) as socket:
            big = b"\x00" * 5_000_000  # more than aiohttp takes by default
            await socket.send_str("π")
            await socket.send_bytes(b"\xff\x00")
            await socket.send_bytes(big)
            await socket.ping(b"")
            await socket.ping(b"tick")
            await socket.send_str("")
            got = [(message.type, message.data) for message in [await socket.receive() for _ in range(7)]]
            await socket.pong(b"I am")
        await idle(weir)
    sent = [(WSMsgType.TEXT, "π"), (WSMsgType.BINARY, b"\xff\x00"), (WSMsgType.BINARY, big)]
    assert seen == [*sent, (WSMsgType.PING, b""), (WSMsgType.PING, b"tick"), (WSMsgType.TEXT, "")]
    pongs = [(WSMsgType.PONG, b""), (WSMsgType.PONG, b"tick")]
    assert got == [*sent, *pongs, (WSMsgType.TEXT, ""), (WSMsgType.PING, b"are you there")]
    (record,) = weir.records()
    assert record.request_bytes == record.response_bytes == 2 + 2 + len(big)


async def test_compression_is_declined_on_both_sides(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(socket: Socket) -> None:
        await socket.receive()
        await socket.send_str("{}")

    async with socket_endpoint(script) as endpoint, gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE, compress=15) as socket:
            await socket.send_json(SETUP)
            await socket.receive()
            assert socket.compress == 0
    assert "Sec-WebSocket-Extensions" not in endpoint.handshakes[0].headers


async def test_another_path_is_a_plain_relay(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint may speak first, chooses the subprotocol, and its head comes down."""

    async def script(socket: Socket) -> None:
        await socket.send_str("welcome")

    async with socket_endpoint(script, protocols=["b"]) as endpoint:
        async with gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
            async with session.ws_connect(weir.url + "/v1/anything", protocols=["a", "b"]) as socket:
                assert socket.protocol == "b"
                assert socket._response.headers["X-Of-The-Endpoint"] == "yes"
                assert (await socket.receive()).data == "welcome"
            await idle(weir)
    (record,) = weir.records()
    assert socket._response.headers["x-weir-exchange"] == record.id
    assert endpoint.handshakes[0].headers["Sec-WebSocket-Protocol"] == "a,b"
    assert (record.operation, record.outcome, record.status) == ("unknown", Outcome.COMPLETED, 101)
    assert (record.usage_state, record.response_bytes) == (UsageState.NONE, 7)


# --- until the first answer ---------------------------------------------------------------------------------


async def says_yes(socket: Socket) -> None:
    await socket.receive()
    await socket.send_str('{"setupComplete": {}}')


async def closes_1011(socket: Socket) -> None:
    await socket.receive()
    await socket.close(code=1011, message=b"You exceeded your current quota")


async def closes_before_it_reads(socket: Socket) -> None:
    await socket.close(code=1013)


async def drops(socket: Socket) -> None:
    await socket.receive()
    assert socket._req is not None
    assert socket._req.transport is not None
    socket._req.transport.abort()


async def stays_silent(socket: Socket) -> None:
    await asyncio.Event().wait()


FAILURES: dict[str, tuple[Any, int | None, str | None]] = {
    "a refused handshake": (None, 503, None),
    "over quota": (closes_1011, 429, None),
    "try again later": (closes_before_it_reads, 503, None),
    "dropped": (drops, None, "disconnected"),
    "silence": (stays_silent, None, "first_byte_timeout"),
}


@pytest.mark.parametrize("plugins", ['["usage"]', WITH_INTENT], ids=["plain", "intent"])
@pytest.mark.parametrize(("script", "status", "error"), FAILURES.values(), ids=FAILURES)
async def test_the_next_endpoint_gets_the_same_first_frame(
    script: Any,
    status: int | None,
    error: str | None,
    plugins: str,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []

    async def second(socket: Socket) -> None:
        heard.append((await socket.receive()).data)
        await socket.send_str('{"setupComplete": {}}')

    refusal = lambda: web.Response(status=503)  # noqa: E731
    async with socket_endpoint(script, refusal=refusal) as first, socket_endpoint(second) as endpoint:
        text = routes(first.url, endpoint.url, plugins=plugins, more=READS, server='timeouts = { first_byte = "2s" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            async with session.ws_connect(weir.url + LIVE) as socket:
                await socket.send_json(SETUP)
                assert json.loads((await socket.receive()).data) == {"setupComplete": {}}
            await idle(weir)
    assert [json.loads(text) for text in heard] == [SETUP]
    (record,) = weir.records()
    assert (record.outcome, record.status, record.endpoint) == (Outcome.COMPLETED, 101, "b")
    assert [(attempt.status, attempt.error) for attempt in record.attempts] == [(status, error), (101, None)]
    assert endpoint.handshakes[0].headers["x-goog-api-key"] == "key-of-b"


@pytest.mark.parametrize(("status", "code"), [(403, 1008), (429, 1011), (503, 1011)])
async def test_what_the_last_endpoint_says_reaches_the_caller(
    status: int, code: int, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is while the handshake is open; after that in a close frame."""
    error = {"error": {"code": status, "message": "Said by the endpoint. " * 9, "status": "X"}}
    refusal = lambda: web.json_response(error, status=status, headers={"X-Theirs": "1"})  # noqa: E731
    async with socket_endpoint(refusal=refusal) as endpoint:
        async with gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, HANDSHAKE + request_bytes(target="/v1beta/next", method="GET"))
            await idle(weir)
        head, _, body = got.partition(b"\r\n\r\n")
        assert f"HTTP/1.1 {status} ".encode() in head
        assert b"X-Theirs: 1" in head
        assert b"\r\nConnection: close" in head  # what came behind it was for a session
        assert json.loads(body) == error
        (record,) = weir.records()
        assert (record.path, record.outcome, record.status) == (LIVE, Outcome.COMPLETED, status)

        text = routes(endpoint.url, plugins=WITH_INTENT, more=READS)
        (tmp_path / "second").mkdir()
        async with gateway(tmp_path / "second", text, monkeypatch) as weir:
            async with session.ws_connect(weir.url + LIVE) as socket:
                await socket.send_json(SETUP)
                assert await last_close(socket) == (code, ("Said by the endpoint. " * 9)[:123])
            await idle(weir)
    (record,) = weir.records()
    assert (record.outcome, record.status) == (Outcome.COMPLETED, status)


async def test_a_close_that_is_the_callers_fault_is_the_answer(
    session: aiohttp.ClientSession, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(simulator.url, "http://127.0.0.1:9"), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json({"setup": {"model": "models/none"}})
            code, reason = await last_close(socket)
        await idle(weir)
    assert code == 1008
    assert reason is not None
    assert reason.startswith("models/none is not found for API version v1beta")
    (record,) = weir.records()
    assert [(attempt.endpoint, attempt.status) for attempt in record.attempts] == [("a", 400)]
    assert (record.outcome, record.reason, record.usage_state) == (Outcome.COMPLETED, "CLOSED_1008", UsageState.NONE)


async def test_no_endpoint_answers(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes("http://127.0.0.1:9"), monkeypatch) as weir:
        with pytest.raises(WSServerHandshakeError) as refused:
            await session.ws_connect(weir.url + LIVE)
    assert refused.value.status == 503
    (tmp_path / "second").mkdir()
    text = routes("http://127.0.0.1:9", plugins=WITH_INTENT, more=READS)
    async with gateway(tmp_path / "second", text, monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json(SETUP)
            assert await last_close(socket) == (1011, "No endpoint gave an answer (a: connect_failed).")
    (record,) = weir.records()
    assert (record.outcome, record.status, record.reason) == (Outcome.UPSTREAM_FAILED, 503, "UPSTREAM_FAILED")
    assert record.model == "gemini-3.8-live"


async def test_a_redirect_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint's credential would go along."""
    async with socket_endpoint(says_yes) as elsewhere:
        refusal = lambda: web.Response(status=302, headers={"Location": elsewhere.url})  # noqa: E731
        async with socket_endpoint(refusal=refusal) as endpoint:
            async with gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
                got = await send_bytes(weir.host, weir.port, HANDSHAKE + request_bytes(target="/", method="GET"))
    assert got.startswith(b"HTTP/1.1 302 Found\r\n")
    assert elsewhere.url.encode() in got
    assert elsewhere.handshakes == []


# --- what we refuse -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "says", "status"),
    [
        ({"setup": {"model": "models/forbidden"}}, "Your team may not use this model. Ask somebody. Ask", 403),
        ({"clientContent": {}}, 'The first message of the session must be a JSON object with "setup".', 400),
    ],
)
async def test_a_refusal_after_the_handshake_is_a_close(
    frame: dict[str, Any],
    says: str,
    status: int,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = routes("http://127.0.0.1:9", plugins=WITH_INTENT, more=READS)
    async with gateway(tmp_path, text, monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json(frame)
            code, reason = await last_close(socket)
        await idle(weir)
    assert code == 1008
    assert reason is not None
    assert reason.startswith(says)
    assert len(reason) <= 123
    (record,) = weir.records()
    assert (record.outcome, record.status, record.attempts) == (Outcome.REFUSED, status, [])


@pytest.mark.parametrize("plugins", ['["usage"]', WITH_INTENT], ids=["plain", "intent"])
async def test_a_caller_that_says_nothing_is_let_go(
    plugins: str, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with socket_endpoint(says_yes) as endpoint:
        text = routes(endpoint.url, plugins=plugins, more=READS, server='timeouts = { caller_idle = "1s" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            async with session.ws_connect(weir.url + LIVE) as socket:
                assert (await last_close(socket))[0] == 1008
            async with session.ws_connect(weir.url + LIVE) as socket:
                await socket.close(code=1000)
            await idle(weir)
    stalled, closed = weir.records()
    assert (stalled.outcome, stalled.status, stalled.reason) == (Outcome.CLIENT_GONE, 408, "BODY_STALLED")
    assert (closed.outcome, closed.status, closed.reason) == (Outcome.CLIENT_GONE, None, "CLIENT_GONE")


@pytest.mark.parametrize(
    "lines",
    [
        ("Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: planted"),
        ("Sec-WebSocket-Version: 13",),
    ],
    ids=["version", "key", "no key"],
)
async def test_a_malformed_handshake_is_refused(
    lines: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes("http://127.0.0.1:9"), monkeypatch) as weir:
        request = request_bytes(*UPGRADE, *lines, target=LIVE, method="GET", close=False)
        got = await send_bytes(weir.host, weir.port, request + request_bytes(target="/v1beta/x", method="GET"))
    assert got.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"planted" not in got
    assert weir.records()[0].reason == "BAD_HANDSHAKE"


# --- how it ends --------------------------------------------------------------------------------------------

COUNTS = b'{"usageMetadata": {"promptTokenCount": 5, "responseTokenCount": 2, "totalTokenCount": 7}}'


@pytest.mark.parametrize(
    ("code", "seen", "reason"), [(1000, 1000, None), (1001, 1001, None), (4001, 4001, "CALLER_CLOSED_4001")]
)
async def test_the_callers_close_reaches_the_endpoint(
    code: int,
    seen: int,
    reason: str | None,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with socket_endpoint(says_yes) as endpoint, gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json(SETUP)
            await socket.receive()
            await socket.close(code=code, message=b"bye")
            assert socket.close_code == code
        await idle(weir)
    assert endpoint.closes == [seen]
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.COMPLETED, reason)


@pytest.mark.parametrize(
    ("code", "seen", "reason"),
    [(1000, 1000, None), (1008, 1008, "CLOSED_1008"), (1011, 1011, "CLOSED_1011"), (4999, 4999, "CLOSED_4999")],
)
async def test_the_endpoints_close_reaches_the_caller(
    code: int,
    seen: int,
    reason: str | None,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script(socket: Socket) -> None:
        await says_yes(socket)
        await socket.send_bytes(COUNTS)
        await socket.close(code=code, message="Grüße".encode())

    async with socket_endpoint(script) as endpoint, gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json(SETUP)
            assert await last_close(socket) == (seen, "Grüße")
        await idle(weir)
    (record,) = weir.records()
    assert (record.outcome, record.reason, record.usage_state) == (Outcome.COMPLETED, reason, UsageState.FINAL)


@pytest.mark.parametrize("by_caller", [True, False])
async def test_a_close_without_a_code_is_passed_on_as_1000(
    by_caller: bool, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(socket: Socket) -> None:
        await says_yes(socket)
        if not by_caller:
            await socket.send_frame(b"", WSMsgType.CLOSE)

    async with socket_endpoint(script) as endpoint, gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json(SETUP)
            await socket.receive()
            if by_caller:
                await socket.send_frame(b"", WSMsgType.CLOSE)
            assert (await last_close(socket))[0] == 1000
        await idle(weir)
    assert endpoint.closes == [1000]
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.COMPLETED, None)


async def test_an_endpoint_that_drops_the_session(
    session: aiohttp.ClientSession, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(simulator.url), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json(SETUP)
            await socket.send_json(turn("hello"))
            await socket.send_json(turn("/drop"))
            assert (await last_close(socket))[0] == 1011
        await idle(weir)
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.UPSTREAM_BROKE, "DISCONNECTED")
    assert record.usage_state is UsageState.PARTIAL
    assert record.usage is not None


async def test_a_caller_that_vanishes_ends_the_session(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(socket: Socket) -> None:
        await says_yes(socket)
        await socket.send_bytes(COUNTS)

    async with socket_endpoint(script) as endpoint, gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
        socket = await session.ws_connect(weir.url + LIVE)
        await socket.send_json(SETUP)
        assert [(await socket.receive()).type for _ in range(2)] == [WSMsgType.TEXT, WSMsgType.BINARY]
        assert socket._response.connection is not None
        assert socket._response.connection.transport is not None
        socket._response.connection.transport.abort()
        await idle(weir)
    assert endpoint.closes == [1011]
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.CLIENT_GONE, "CALLER_LEFT")
    assert record.usage_state is UsageState.PARTIAL


async def test_a_caller_that_closes_and_hangs_up_at_once_is_done(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts that come behind its close are read still."""
    closing = asyncio.Event()

    async def script(socket: Socket) -> None:
        await says_yes(socket)
        await closing.wait()
        await socket.send_bytes(COUNTS)

    async with socket_endpoint(script) as endpoint, gateway(tmp_path, routes(endpoint.url), monkeypatch) as weir:
        socket = await session.ws_connect(weir.url + LIVE)
        await socket.send_json(SETUP)
        await socket.receive()
        await socket.send_frame((1000).to_bytes(2, "big"), WSMsgType.CLOSE)
        assert socket._response.connection is not None
        assert socket._response.connection.transport is not None
        socket._response.connection.transport.close()
        await asyncio.sleep(0.1)
        closing.set()
        await idle(weir)
    assert endpoint.closes == [1000]
    (record,) = weir.records()
    assert (record.outcome, record.reason, record.usage_state) == (Outcome.COMPLETED, None, UsageState.FINAL)
    assert record.usage is not None
    assert record.usage.total_tokens == 7


@pytest.mark.parametrize("by_caller", [True, False])
async def test_a_message_beyond_the_bound_ends_the_session(
    by_caller: bool, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(socket: Socket) -> None:
        await says_yes(socket)
        if not by_caller:
            await socket.send_bytes(b"x" * 5000)

    async with socket_endpoint(script) as endpoint:
        text = routes(endpoint.url, server='sizes = { message = "4 KiB" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            async with session.ws_connect(weir.url + LIVE) as socket:
                await socket.send_json(SETUP)
                await socket.receive()
                if by_caller:
                    await socket.send_bytes(b"x" * 5000)
                assert (await last_close(socket))[0] == (1009 if by_caller else 1011)
            await idle(weir)
    assert endpoint.closes == [1011 if by_caller else 1009]
    (record,) = weir.records()
    assert record.outcome is (Outcome.CLIENT_GONE if by_caller else Outcome.UPSTREAM_BROKE)
    assert record.reason == "PROTOCOL_ERROR_1009"


async def test_a_slow_reader_slows_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way between the two is bounded; a reader that never reads again is let go."""
    sent = 0

    async def script(socket: Socket) -> None:
        nonlocal sent
        await says_yes(socket)
        while sent < 200_000_000:
            await socket.send_bytes(b"x" * 100_000)
            sent += 100_000

    async with socket_endpoint(script) as endpoint:
        text = routes(endpoint.url, server='timeouts = { caller_idle = "500ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            reader, writer = await asyncio.open_connection(weir.host, weir.port, limit=4096)
            writer.write(HANDSHAKE + b"\x81\x82\x00\x00\x00\x00{}")  # a first message, masked with zeros
            await reader.readuntil(b"setupComplete")
            await asyncio.sleep(0.3)
            under_way = sent
            await idle(weir)
            async with asyncio.timeout(60):  # nor does its connection stay, with what it did not read
                while weir.app.public.connections:
                    await asyncio.sleep(0.01)
            writer.close()
    assert 0 < under_way < 30_000_000  # the kernel's buffers, twice, and ours
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.CLIENT_GONE, "CALLER_IDLE")


async def test_a_dead_caller_is_noticed_and_heartbeats_stay_ours(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[WSMsgType] = []

    async def script(socket: Socket) -> None:
        await says_yes(socket)
        while (message := await socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED):
            heard.append(message.type)

    async with socket_endpoint(script) as endpoint:
        text = routes(endpoint.url, server='timeouts = { caller_idle = "1s" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            async with session.ws_connect(weir.url + LIVE, autoping=False) as socket:
                await socket.send_json(SETUP)
                await socket.receive()
                assert (await socket.receive()).type is WSMsgType.PING
                await socket.pong(b"")
                assert (await socket.receive()).type is WSMsgType.PING  # not answered this time
                await idle(weir)
    assert heard == []
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.CLIENT_GONE, "CALLER_LEFT")


async def test_a_stop_ends_a_session_with_1001(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(socket: Socket) -> None:
        await says_yes(socket)
        await socket.send_bytes(COUNTS)

    async with socket_endpoint(script) as endpoint:
        text = routes(endpoint.url, server='timeouts = { shutdown = "200ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            socket = await session.ws_connect(weir.url + LIVE)
            await socket.send_json(SETUP)
            assert [(await socket.receive()).type for _ in range(2)] == [WSMsgType.TEXT, WSMsgType.BINARY]
            ended = asyncio.create_task(last_close(socket))
        assert await ended == (1001, "The gateway is stopping.")
    assert endpoint.closes == [1001]
    (record,) = weir.records()
    assert (record.outcome, record.reason) == (Outcome.LOST, "GATEWAY_STOPPED")
    assert (record.usage_state, record.endpoint, record.status) == (UsageState.PARTIAL, "a", 101)
    assert record.usage is not None
    assert record.usage.output_tokens == 2


async def test_a_stop_tells_a_caller_that_still_waits(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asyncio.Event()

    async def script(socket: Socket) -> None:
        await socket.receive()
        heard.set()

    async with socket_endpoint(script) as endpoint:
        text = routes(endpoint.url, server='timeouts = { shutdown = "100ms" }')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            socket = await session.ws_connect(weir.url + LIVE)
            await socket.send_json(SETUP)
            await heard.wait()
            ended = asyncio.create_task(last_close(socket))
        assert await ended == (1001, "The gateway is stopping.")
    assert endpoint.closes == [1001]
    (record,) = weir.records()
    assert (record.outcome, record.status, record.model) == (Outcome.LOST, None, None)
    assert record.reason == "GATEWAY_STOPPED"


async def test_a_handshake_with_a_body_is_an_ordinary_request(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(simulator.url), monkeypatch) as weir:
        request = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
        got = await send_bytes(weir.host, weir.port, request)
    assert got.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert (simulator.ledger[0].body, simulator.ledger[0].header("upgrade")) == (b"abc", None)


async def test_a_session_outlives_a_reload(
    session: aiohttp.ClientSession, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(simulator.url), monkeypatch) as weir:
        async with session.ws_connect(weir.url + LIVE) as socket:
            await socket.send_json(SETUP)
            await socket.receive()
            weir.file.write_text(routes("http://127.0.0.1:9").replace('name = "all"', 'name = "new"'))
            await weir.app.reload()
            await socket.send_json(turn("still there?"))
            frames = [json.loads((await socket.receive()).data) for _ in range(6)]
        await idle(weir)
    assert frames[-1] == {"serverContent": {"turnComplete": True}}
    (record,) = weir.records()
    assert (record.route, record.outcome, record.usage_state) == ("all", Outcome.COMPLETED, UsageState.FINAL)


async def test_sessions_leave_nothing_behind(
    session: aiohttp.ClientSession, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(simulator.url), monkeypatch) as weir:
        await one_session(session, weir.url + LIVE, **{"x-goog-api-key": "k"})
        await idle(weir)
        before = len(asyncio.all_tasks())
        for _ in range(5):
            await asyncio.gather(*(one_session(session, weir.url + LIVE, **{"x-goog-api-key": "k"}) for _ in range(20)))
        await idle(weir)
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) <= before
    records: list[UsageRecord] = weir.records()
    assert len(records) == 101
    assert {(record.outcome, record.usage_state) for record in records} == {(Outcome.COMPLETED, UsageState.FINAL)}
