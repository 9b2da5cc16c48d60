"""No secret gets out: neither the endpoint's keys nor what callers show, by any road that people read.

The secrets have no shape that a filter could know, and are shown in every place where one may stand, over every end
that an exchange can have. Then everything written is searched: both logs, the admin listener's pages, our own answers.
"""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.simulator import Simulator
from tests.plugins.auth.provider import ISSUER, forge, good_claims, jwk, private_key
from tests.support.gateway import TEAM_KEYS, Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes, send_bytes
from tests.support.service_log import ServiceLog, service_log

PLANTED = "planted"
KEY = "planted-team-key"  # good
WRONG = "planted-other-key"  # not good
OURS = "planted-endpoint-key"
FLASH = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hello"}]}]}'

# A plugin that fails with all it knows in its hands.
FAILING = """
from proxy import Exchange, ExchangeNext, Plugin


class Failing(Plugin):
    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        request = exchange.request
        if "/fail" in request.path:
            raise RuntimeError(f"{request!r} {request.target} {request.headers.raw} {exchange.candidates}")
        await call_next(exchange)
"""


def token(**claims: int) -> str:
    return forge(
        {"alg": "RS256", "typ": "at+jwt", "kid": "one"}, good_claims(time.time(), **claims), private_key("one")
    )


@pytest.fixture
def log() -> Iterator[ServiceLog]:
    with service_log("debug") as written:
        yield written


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    keys = json.dumps({"keys": [jwk("one")]}).encode()

    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(keys), keys))

    async with raw_upstream(script) as running:
        yield f"{running.url}/keys"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = Simulator()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def file(simulator: Simulator, issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The routes file: every plugin and the failing one, a dead endpoint before one that answers."""
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(KEY.encode()).hexdigest()))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weir_failing.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (tmp_path / "endpoint-key").write_text(OURS)
    text = routes(
        "http://127.0.0.1:9",
        simulator.url,
        plugins='["usage", "auth", "failing", "team_quota", "regional_routing", "circuit_breaker"]',
        more=f"""
[plugins.auth]
keys = "keys.toml"
[[plugins.auth.issuers]]
issuer = "{ISSUER}"
audience = ["weir"]
subject = "email"
team = {{ claim = "groups", map = {{ "ml-studio" = "studio" }} }}
jwks_url = "{issuer}"
[plugins.failing]
use = "weir_failing:Failing"
[teams.studio]
limits = [{{ tokens = 1_000_000, per = "day" }}]
""",
    )
    for letter in "AB":
        text = text.replace(f"env:WEIR_TEST_KEY_{letter}", "file:endpoint-key")
    yield text
    sys.modules.pop("weir_failing", None)


def call(*lines: str, target: str = FLASH, method: str = "POST", body: bytes = BODY) -> bytes:
    return request_bytes(*lines, f"Content-Length: {len(body)}", target=target, method=method, body=body)


def places(secret: str) -> list[tuple[list[str], str]]:
    """Header lines and query of every place where a caller may show a credential, and of some where it should not."""
    return [
        ([f"x-goog-api-key: {secret}"], ""),
        ([f"Authorization: Bearer {secret}"], ""),
        ([f"X-GOOG-API-KEY: {secret}", f"Authorization: Bearer {secret}"], ""),
        ([], f"key={secret}"),
        ([], f"k%65y={secret}"),
        ([], f"$key={secret}"),
        ([], f"access_token={secret}"),
        ([], f"oauth_token={secret}"),
        ([f"Authorization: Basic {secret}"], ""),
        ([f"Authorization: Token auth_tokens/{secret}"], ""),
        ([f"x-goog-api-key: {secret}", f"Cookie: sid={secret}"], f"key={secret}&session={secret}"),
    ]


TARGETS = [
    FLASH,
    STREAM,
    "/v1beta/openai/chat/completions",
    "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:generateContent",
    "/v1beta/models",
    "/nowhere/at/all",
    "/fail",
]
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
NONCE = "dGhlIHNhbXBsZSBub25jZQ=="
FAULTS = ["status=429", "status=503", "status=401", "cut=10", "cut=10;reset", "midstream-error"]


def requests() -> Iterator[bytes]:
    for secret in (KEY, WRONG, token(), token(exp=1), token() + PLANTED):
        for lines, query in places(secret):
            for target in TARGETS if secret == KEY else TARGETS[:1]:
                joint = "&" if "?" in target else "?"
                yield call(*lines, target=target + (joint + query if query else ""))
    for fault in FAULTS:
        for target in (FLASH, STREAM):
            yield call(
                f"x-goog-api-key: {KEY}", f"x-sim-fault: {fault}", target=f"{target.partition('?')[0]}?key={KEY}"
            )
    yield call(f"x-goog-api-key: {KEY}", body=b"{" + PLANTED.encode())
    for path, nonce in (("/ws/x", KEY), ("/ws/x", NONCE), (LIVE, NONCE)):
        for credential, field in ((KEY, "x-goog-api-key: "), (WRONG, "Sec-WebSocket-Protocol: ")):
            lines = (f"{field}{credential}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
            key = f"Sec-WebSocket-Key: {nonce}"
            request = request_bytes(*lines, key, target=f"{path}?key={credential}", method="GET", close=False)
            yield request + (b"\x81\x82\0\0\0\0{}" if path == LIVE else request_bytes(method="GET"))
    # Pasted into the path, by a client that escaped the question mark.
    yield call(target=f"/v1beta/models%3Fkey={KEY}", method="GET")
    yield call(target=f"/v1beta/models&key={KEY}", method="GET")
    # Never an exchange: what the parser and the guard refuse.
    line = f"GET /v1beta/models?key={KEY}".encode()
    host = b"Host: weir.example\r\n"
    yield line + b" HTTP/2.0\r\n" + host + b"\r\n"
    yield line + b" nonsense\r\n" + host + b"\r\n"
    yield line + b" HTTP/1.1\r\n" + host + b"x-goog-api-key: " + KEY.encode() + b"\x00\r\n\r\n"
    yield line + b" HTTP/1.1\r\n" + host + b"x-goog-api-key : " + KEY.encode() + b"\r\n\r\n"
    yield line + b" HTTP/1.1\r\n" + host + host + b"\r\n"
    yield line + b"#" + KEY.encode() + b" HTTP/1.1\r\n" + host + b"\r\n"
    yield line + b"a" * 20_000 + b" HTTP/1.1\r\n" + host + b"\r\n"
    yield line + b" HTTP/1.1\r\n" + host + b"x-goog-api-key: " + KEY.encode() * 2_000 + b"\r\n\r\n"
    yield line + b" HTTP/1.1\r\n" + host + b"Connection: close\r\nx-goog-api-key: \xff" + KEY.encode() + b"\r\n\r\n"


async def test_no_secret_is_written_anywhere(
    file: str, simulator: Simulator, log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, file, monkeypatch) as weir:
        answers = [await send_bytes(weir.host, weir.port, request) for request in requests()]
        pages = await _admin_pages(weir)
        weir.file.write_text(file.replace("file:endpoint-key", OURS))
        await weir.app.reload()  # a secret in the file itself is refused, and not quoted

    statuses = {int(answer.split(b" ", 2)[1]) for answer in answers if answer}
    assert statuses >= {101, 200, 400, 401, 403, 404, 429, 431, 500, 503, 505}, "every kind of end was reached"
    assert any(OURS in value for entry in simulator.ledger for _, value in entry.headers), (
        "the endpoint did get its key"
    )
    assert len(log.named("layer_failed")) == len(places(KEY)[:8]) + 1
    assert len(log.named("reload_refused")) == 1
    usage = "".join(path.read_text() for path in (tmp_path / "var" / "usage").iterdir())
    written = {
        "service log": log.text,
        "usage log": usage,
        "admin pages": pages,
        "answers": b"\n".join(answers).decode("latin-1"),
    }
    for name, text in written.items():
        assert len(text) > 1000, name
        found = text.find(PLANTED)
        assert found < 0, f"{name}: {text[max(0, found - 300) : found + 100]}"
        assert token()[:40] not in text, name


async def test_the_endpoint_never_sees_the_caller_s(
    file: str, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, file, monkeypatch) as weir:
        for secret in (KEY, token()):
            for lines, query in places(secret)[:8]:
                await send_bytes(weir.host, weir.port, call(*lines, target=f"{FLASH}?{query}&alt=json"))
    assert len(simulator.ledger) == 16
    for entry in simulator.ledger:
        seen = f"{entry.target} {entry.headers}"
        assert seen.count(OURS) == 1
        assert KEY not in seen
        assert "eyJ" not in seen


async def _admin_pages(weir: Gateway) -> str:
    pages = []
    async with aiohttp.ClientSession() as session:
        for path in ("/status", "/metrics"):
            async with session.get(weir.admin + path) as answer:
                pages.append(await answer.text())
        for secret in (KEY, WRONG, token()):
            question = {
                "method": "POST",
                "target": f"{FLASH}?key={secret}",
                "headers": [["x-goog-api-key", secret], ["Cookie", secret]],
            }
            async with session.post(f"{weir.admin}/explain", json=question) as answer:
                assert answer.status == 200
                pages.append(await answer.text())
    return "\n".join(pages)
