"""The service log hides every kind of credential, wherever it stands and whoever logs it."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from aiohttp import web

from proxy.log import configure, scrub_text

PLANTED = "planted"
SECRETS = {
    "api key": "AIza" + "SyD-planted_planted_planted_plant1",
    "auth key": "AQ." + "Ab8RN6planted-planted_planted",
    "access token": "ya29." + "a0planted-planted_planted",
    "refresh token": "1//" + "0gplanted-planted_planted",
    "client secret": "GOCSPX-" + "planted-planted_planted",
    "team key": "weir_abcdef_" + "planted-planted_planted0123456789",
    "team key of letters only to its first dash": "weir_abcdef_" + "planted-planted",
    "jwt": "eyJhbGciOiJSUzI1NiJ9." + "eyJzdWIiOiJwbGFudGVkIn0" + ".planted-signature",
    "unsigned jwt": "eyJhbGciOiJub25lIn0." + "eyJzdWIiOiJwbGFudGVkIn0" + ".",
    "private key": "-----BEGIN PRIVATE KEY-----\nMIIplanted\nplanted\n-----END PRIVATE KEY-----",
}
# Secrets of no known shape, known by where they stand.
PLACES = [
    "GET /v1beta/models?key=planted HTTP/1.1",
    "GET /v1beta/models?alt=sse&key=planted&x=1 HTTP/1.1",
    "GET /v1beta/models?k%65y=planted HTTP/1.1",
    "GET /v1beta/models?$key=planted HTTP/1.1",
    "GET /v1beta/models%3Fkey%3Dplanted HTTP/1.1",
    "https://host/o?access_token=planted",
    "https://host/o?oauth_token=planted",
    "key=planted",
    "token=planted, and more",
    "https://user:planted@host/x",
    "valkey://:planted@host:6379/0",
    "Authorization: Bearer planted",
    "authorization: planted",
    "Authorization: Basic planted==",
    "Authorization: Token auth_tokens/planted",
    "Proxy-Authorization: Bearer planted",
    "x-goog-api-key: planted",
    "X-Goog-Api-Key:planted",
    "Cookie: a=planted; b=planted",
    "Set-Cookie: sid=planted; Path=/",
    "{'x-goog-api-key': 'planted', 'a': 1}",
    '{"client_secret": "planted"}',
    '{\\"client_secret\\": \\"planted\\"}',
    "GET /v1beta/models?k%65y=json-planted HTTP/1.1",
    "[(b'x-goog-api-key', b'planted')]",
    "[(b'Authorization', b'Bearer planted planted')]",
    "CIMultiDict('Authorization': 'Bearer planted')",
    "api_key=planted",
    "password=planted",
    "bearer planted",
    "auth_tokens/planted",
]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("text", PLACES)
def test_what_stands_where_secrets_stand_is_hidden(text: str) -> None:
    hidden = scrub_text(text)

    assert PLANTED not in hidden
    assert "***" in hidden


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("around", ["{}", "before {} after", "'{}'", "/v1/{}/x", "{}, ", "\\n{}\\n", "x={}"])
def test_what_looks_like_a_secret_is_hidden(secret: str, around: str) -> None:
    hidden = scrub_text(around.format(secret))

    assert PLANTED not in hidden
    assert "eyJzdWIi" not in hidden
    assert "***" in hidden


@pytest.mark.parametrize(
    "text",
    [
        "usage log: writing again",
        "POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1",
        "GET /v1beta/models?alt=sse HTTP/1.1",
        "weir_exchanges_in_flight is 3, weir_tokens_total 7",
        "config/routes.toml: [plugins.auth] issuers: unknown key `audiance`",
        "https://host:8443/v1beta",
        "no key was sent; the token has expired",
        "the secret env:GEMINI_API_KEY is not set",
        "AQ. or AIza",
    ],
)
def test_plain_text_stays(text: str) -> None:
    assert scrub_text(text) == text


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_no_secret_by_any_way_into_the_log(secret: str, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __repr__(self) -> str:
            return f"Odd({secret})"

    configure("debug", json=as_json)
    log = structlog.get_logger("weir").bind(bound=secret)
    log.info(f"message {secret}")
    log.warning("values", url=f"https://x/?key={secret}", raw=secret.encode(), odd=Odd(), **{secret: 1})
    log.warning("nested", deep={"list": [(1, secret), {secret}], secret: {"a": {"b": {"c": {"d": {"e": [secret]}}}}}})
    log.warning("named", authorization=PLANTED, headers=[(b"Cookie", b"planted"), ("x-goog-api-key", PLANTED)])
    log.warning("named", headers={"Proxy-Authorization": ["planted"], "password": 1234567})
    stdlib = logging.getLogger("somebody.else")
    stdlib.error("request %s failed: %r", f"/v1?key={secret}", Odd())
    try:
        try:
            raise KeyError(secret)
        except KeyError as cause:
            error = RuntimeError(f"with Bearer {secret}")
            error.add_note(f"note {secret}")
            raise ExceptionGroup(f"group {secret}", [error, ValueError(secret)]) from cause
    except ExceptionGroup as group:
        log.exception("failed", error=group)
        log.error("failed", exc_info=group)
        stdlib.exception("failed: %s", group, stack_info=True)

    text = capsys.readouterr().err
    assert text.count("failed") >= 4
    assert "Traceback" in text
    assert PLANTED not in text
    assert "eyJzdWIi" not in text
    assert "1234567" not in text


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", json=True)
    structlog.get_logger("weir").bind(plugin="auth").info("reloaded", file="routes.toml", key="server.listen", n=3)
    logging.getLogger("asyncio").warning("slow %s", "callback")
    structlog.get_logger("weir").debug("too quiet to be shown")

    first, second = events(capsys.readouterr().err)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "info",
        "event": "reloaded",
        "logger": "weir",
        "plugin": "auth",
        "file": "routes.toml",
        "key": "server.listen",
        "n": 3,
    }
    assert (second["level"], second["logger"], second["event"]) == ("warning", "asyncio", "slow callback")


def test_values_that_json_cannot_hold_are_logged_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", json=True)
    structlog.get_logger("weir").info("odd \udcff", value="\ud800", key={1: object}, nothing=None, yes=True)

    (event,) = events(capsys.readouterr().err)
    assert (event["event"], event["value"]) == ("odd \\udcff", "\\ud800")
    assert event["key"] == {"1": "<class 'object'>"}
    assert (event["nothing"], event["yes"]) == (None, True)


def test_a_terminal_gets_colour_and_a_pipe_gets_json(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        monkeypatch.setattr(sys, "stderr", stream)
        configure("info")
        structlog.get_logger("weir").info("hello", n=1)

    assert "\x1b[" in terminal.getvalue()
    assert events(pipe.getvalue())[0]["event"] == "hello"


def test_configuring_again_doubles_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", json=True)
    configure("warning", json=True)
    structlog.get_logger("weir").info("not shown")
    logging.getLogger("x").warning("once")

    assert [event["event"] for event in events(capsys.readouterr().err)] == ["once"]


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1beta/models?key=planted HTTP/9.9\r\n\r\n",
        b"G\x00T /v1beta/models?key=planted HTTP/1.1\r\n\r\n",
        b"GET /v1beta/models?key=planted\x01 HTTP/1.1\r\n\r\n",
        b"GET /v1beta/models?k%65y=planted HTTP/1.1\r\nHost: a\r\nX-Bad\x00: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx-goog-api-key: planted\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer planted\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer planted\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx-goog-api-key: " + SECRETS["api key"].encode() + b"\x00\r\n\r\n",
    ],
)
async def test_the_offending_line_that_aiohttp_logs_is_scrubbed(
    line: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async def never(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("a broken request must not get here")

    configure("debug", json=True)
    server = web.Server(never)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(line)
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
    await server.shutdown()

    assert b" 400 " in answer
    text = capsys.readouterr().err
    logged = [event for event in events(text) if event["logger"] == "aiohttp.server"]
    assert any("exception" in event for event in logged), "aiohttp no longer logs the error: see what it does instead"
    assert PLANTED not in text
