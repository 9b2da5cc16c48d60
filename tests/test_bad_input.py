"""Bad input, whole: what the caller is told, what the usage log says of it, and that nothing tears.

One gateway with every plugin, before an endpoint that answers. A refusal is Google-shaped JSON with a sentence a
person can act on; it has a record where there was an exchange; the service log never holds a traceback.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy import Outcome
from proxy.config.bind import ConfigError
from proxy.config.load import load
from tests.support.gateway import TEAM_KEYS, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes, send_bytes
from tests.support.service_log import ServiceLog, service_log

KEY = "weir_k1_of-the-studio"
CALLER = f"x-goog-api-key: {KEY}"
FLASH = "/v1beta/models/gemini-2.5-flash:generateContent"
GOOD = b'{"contents": [{"parts": [{"text": "hello"}]}]}'
NOBODY = "http://127.0.0.1:9"
MORE = """
[plugins.auth]
keys = "keys.toml"
[teams.studio]
models = ["gemini-2.5-*"]
limits = [{ tokens = 100_000, per = "day" }, { concurrent = 10 }]
"""


def gateway_before(*upstreams: str) -> str:
    plugins = '["usage", "auth", "team_quota", "regional_routing", "circuit_breaker"]'
    return routes(*upstreams, plugins=plugins, more=MORE)


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(KEY.encode()).hexdigest()))


@pytest.fixture(autouse=True)
def log() -> Iterator[ServiceLog]:
    with service_log() as written:
        yield written
    assert "Traceback" not in written.text
    assert [line for line in written.events if line["level"] in ("error", "critical")] == []


def call(*lines: str, target: str = FLASH, body: bytes = GOOD, method: str = "POST") -> bytes:
    return request_bytes(*lines, f"Content-Length: {len(body)}", target=target, body=body, method=method)


def error_of(answer: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return error


# request; status, reason, what the message says
REFUSED = {
    "no credential": (call(), 403, "CREDENTIALS_MISSING", "Please use API Key"),
    "an empty credential": (call("x-goog-api-key: "), 403, "CREDENTIALS_MISSING", "Please use API Key"),
    "an unknown key": (call("x-goog-api-key: weir_nobody"), 400, "API_KEY_INVALID", "API key not valid."),
    "a key of Google's": (call("x-goog-api-key: AIzaSyA-not-ours"), 400, "API_KEY_INVALID", "API key not valid."),
    "a key that is not UTF-8": (
        request_bytes("Content-Length: 0").replace(b"Host:", b"x-goog-api-key: \xff\xfe\r\nHost:"),
        400, "API_KEY_INVALID", "API key not valid.",
    ),
    "two credentials": (
        call(CALLER, target=FLASH + "?key=another"), 400, "CREDENTIALS_AMBIGUOUS", "Send exactly one.",
    ),
    "another scheme": (call("Authorization: Basic dTpw"), 401, "CREDENTIALS_INVALID", "Expected OAuth 2 access token"),
    "a token of nobody": (call("Authorization: Bearer eyJh.e30."), 401, "CREDENTIALS_INVALID", "invalid"),
    "a forbidden model": (
        call(CALLER, target="/v1beta/models/gemini-3-pro:generateContent"),
        403, "MODEL_NOT_ALLOWED", 'Team "studio" may not use the model "gemini-3-pro".',
    ),
    "a forbidden model in the body": (
        call(CALLER, target="/v1beta/openai/chat/completions", body=b'{"model": "gpt-5", "messages": []}'),
        403, "MODEL_NOT_ALLOWED", 'Team "studio" may not use the model "gpt-5".',
    ),
    "a path that may run anything": (
        call(CALLER, target="/v1beta/something:new"), 403, "MODEL_UNKNOWN", "studio",
    ),
    "not JSON": (call(CALLER, body=b"hello"), 400, "BAD_BODY", "JSON"),
    "half of JSON": (call(CALLER, body=GOOD[:-3]), 400, "BAD_BODY", "JSON"),
    "no body": (call(CALLER, body=b""), 400, "BAD_BODY", "JSON"),
    "an array": (call(CALLER, body=b"[1]"), 400, "BAD_BODY", "Root element must be a message."),
    "a number": (call(CALLER, body=b"1e999"), 400, "BAD_BODY", "Number out of range."),
    "too deep": (call(CALLER, body=b"[" * 100_000), 400, "BAD_BODY", "JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "reason", "told"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_told_and_recorded(
    request_: bytes, status: int, reason: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, gateway_before(NOBODY), monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, request_)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    body = json.loads(got.partition(b"\r\n\r\n")[2])
    error = (body[0] if isinstance(body, list) else body)["error"]
    assert (error["code"], isinstance(error["status"], str)) == (status, True)
    assert error["details"][0]["reason"] == reason
    assert told in error["message"]
    (record,) = weir.records()
    assert (record.outcome, record.status, record.reason) == (Outcome.REFUSED, status, reason)
    assert (record.attempts, record.endpoint, record.usage) == ([], None, None)
    assert record.team == ("studio" if CALLER.encode() in request_ and reason != "CREDENTIALS_AMBIGUOUS" else None)


async def test_an_oversized_header_never_becomes_an_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, gateway_before(NOBODY), monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, call(f"x-goog-api-key: {'a' * 20_000}"))
    error = error_of(got)
    assert (error["code"], error["message"]) == (431, "A header or the request line is longer than 16384 bytes.")
    assert weir.records() == []


async def test_a_body_larger_than_may_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = gateway_before(NOBODY).replace(
        "[upstreams.u]", '[server.sizes]\nspool = "64 KiB"\nreplay = "1 KiB"\n[upstreams.u]'
    )
    async with gateway(tmp_path, text, monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, call(CALLER, body=GOOD[:-1] + b" " * 100_000 + b"}"))
    error = error_of(got)
    assert error["code"] == 413
    assert "65536 bytes" in error["message"]
    (record,) = weir.records()
    assert (record.outcome, record.team) == (Outcome.REFUSED, "studio")


async def test_a_dead_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path, gateway_before(NOBODY, NOBODY), monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, call(CALLER))
    error = error_of(got)
    assert (error["code"], error["status"]) == (503, "UNAVAILABLE")
    assert error["message"] == "No endpoint gave an answer (a: connect_failed, b: connect_failed)."
    (record,) = weir.records()
    assert (record.outcome, record.status, record.reason) == (Outcome.UPSTREAM_FAILED, 503, "UPSTREAM_FAILED")
    assert [(one.endpoint, one.error) for one in record.attempts] == [("a", "connect_failed"), ("b", "connect_failed")]
    assert (record.team, record.key_id, record.model) == ("studio", "k1", "gemini-2.5-flash")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "a: disconnected"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "a: bad_answer"),
        (b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", "a: bad_answer"),
    ],
    ids=["hangs up", "no HTTP", "broken HTTP"],
)
async def test_an_upstream_that_makes_no_sense(
    answer: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upstream.read(reader)
        writer.write(answer)

    async with raw_upstream(script) as upstream, gateway(tmp_path, gateway_before(upstream.url), monkeypatch) as weir:
        error = error_of(await send_bytes(weir.host, weir.port, call(CALLER)))
    assert (error["code"], error["message"]) == (502, f"No endpoint gave an answer ({told}).")
    (record,) = weir.records()
    assert (record.outcome, len(record.attempts)) == (Outcome.UPSTREAM_FAILED, 1)


# --- the routes file ----------------------------------------------------------------------------------------

GOOD_FILE = gateway_before(NOBODY)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD_FILE.replace("[server]", "[server", 1), "not valid TOML: Expected ']'"),
        (GOOD_FILE.replace("limits", "limts", 1), 'teams.studio: unknown key "limts"; known are: parent, tier'),
        (GOOD_FILE, "the environment variable WEIR_TEST_KEY_A is not set; export WEIR_TEST_KEY_A=..."),
        (GOOD_FILE.replace("env:WEIR_TEST_KEY_A", "file:no-such-file"), "cannot read the secret's file no-such-file"),
        (GOOD_FILE.replace("env:WEIR_TEST_KEY_A", "AIza-planted"), "a secret is never written here"),
    ],
    ids=["broken TOML", "a misspelt key", "a missing secret", "a missing secret's file", "a secret in the file"],
)
def test_a_routes_file_that_cannot_be_used(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEIR_TEST_KEY_A", raising=False)
    file = tmp_path / "routes.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert problem in str(refused.value)
    assert str(refused.value).startswith(f"{file}: ")
    assert "planted" not in str(refused.value)
