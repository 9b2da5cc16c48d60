"""`weir explain`: the running gateway's answer, or the routes file's where none runs, and which of the two it is."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proxy.cli import weir
from tests.sdk.server import free_port
from tests.support.gateway import TEAM_KEYS, gateway, routes
from tests.support.raw import request_bytes, send_bytes

KEY = "weir_k1_of-the-studio"
FLASH = "/v1beta/models/gemini-2.5-flash:generateContent"
MORE = """
[plugins.auth]
keys = "keys.toml"
[teams.studio]
regions = ["eu"]
models = ["gemini-2.5-*"]
limits = [{ requests = 3, per = "day" }]
"""


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two endpoints where nobody listens, of which the team's residency allows one."""
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(KEY.encode()).hexdigest()))
    written = routes(
        "http://127.0.0.1:9",
        "http://127.0.0.2:9",
        plugins='["usage", "auth", "team_quota", "regional_routing", "circuit_breaker"]',
        more=MORE,
    )
    return written.replace('name = "b"', 'name = "b"\nregion = "eu"').replace(
        'admin = "127.0.0.1:0"', f'admin = "127.0.0.1:{free_port()}"'
    )


@pytest.fixture
def file(text: str, tmp_path: Path) -> Path:
    path = tmp_path / "routes.toml"
    path.write_text(text)
    return path


def explain(file: Path, *words: str) -> Result:
    return CliRunner().invoke(weir, ["explain", "-c", str(file), *words])


def said(result: Result) -> dict[str, str]:
    """What stands behind each name; a line without one belongs to the name before it."""
    assert result.exit_code == 0, result.output
    lines: dict[str, str] = {}
    name = ""
    for line in result.stdout.splitlines():
        name = line.split()[0] if line[:1].strip() else name
        lines[name] = f"{lines[name]}; {line.strip()}" if name in lines else line.removeprefix(name).strip()
    return lines


def test_from_the_file_alone(file: Path) -> None:
    result = explain(file, "post", FLASH, "--key", KEY)
    told = said(result)
    assert "this is by the routes file alone" in result.stderr
    assert told["request"] == f"POST {FLASH}"
    assert told["operation"] == "generateContent of gemini-2.5-flash"
    assert told["route"] == "all to upstream u"
    assert told["principal"] == "key:k1 of team studio"
    assert told["auth"] == "team key k1, team studio; models allowed: gemini-2.5-* (studio)"
    assert told["team_quota"] == "team studio: 3 requests per day, 3 left, this would reserve 1"
    assert told["endpoints"] == "1. b (eu) http://127.0.0.2:9; out: a: outside the regions of team studio (eu)"
    assert KEY not in result.output


def test_it_needs_no_secrets(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for letter in "AB":
        monkeypatch.delenv(f"WEIR_TEST_KEY_{letter}", raising=False)
    assert said(explain(file, "GET", "/v1beta/models", "--key", KEY))["route"] == "all to upstream u"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["POST", FLASH], "403 CREDENTIALS_MISSING: "),
        (["POST", FLASH, "--key", "weir_unknown"], "400 API_KEY_INVALID: API key not valid."),
        (["POST", f"{FLASH}?key=weir_unknown"], "400 API_KEY_INVALID: API key not valid."),
        (["POST", FLASH.replace("2.5", "3"), "--key", KEY], "403 MODEL_NOT_ALLOWED: "),
    ],
    ids=["no key", "an unknown key", "an unknown key in the query", "a forbidden model"],
)
def test_a_refusal_and_why(words: list[str], refusal: str, file: Path) -> None:
    result = explain(file, *words)
    told = said(result)
    assert told["refused"].startswith(refusal)
    assert "endpoints" not in told
    assert "weir_unknown" not in result.output


def test_no_route(file: Path) -> None:
    file.write_text(file.read_text().replace('"/**"', '"/v1/**"'))
    told = said(explain(file, "GET", "/v2/x", "--key", KEY))
    assert told["route"] == "-"
    assert told["refused"].startswith("404 NO_ROUTE: ")


async def test_a_running_gateway_says_what_is_left_and_what_is_open(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = text.replace("[teams.studio]", "[plugins.circuit_breaker]\nfailures = 1\n[teams.studio]")
    async with gateway(tmp_path, text, monkeypatch) as weir:
        request = request_bytes(f"x-goog-api-key: {KEY}", target=FLASH)
        assert b" 503 " in (await send_bytes(weir.host, weir.port, request))[:20]
        result = await asyncio.to_thread(explain, weir.file, "POST", FLASH, "--key", KEY)
        again = await asyncio.to_thread(explain, weir.file, "POST", FLASH, "--key", KEY)
    told = said(result)
    assert result.stderr == ""
    assert told["team_quota"] == "team studio: 3 requests per day, 2 left, this would reserve 1"
    assert "out: b: the circuit of b is open, next probe in " in result.stdout
    assert said(again)["team_quota"] == told["team_quota"], "asking takes nothing"
    assert len(weir.records()) == 1


def test_a_routes_file_that_cannot_be_used(tmp_path: Path) -> None:
    result = explain(tmp_path / "none.toml", "GET", "/")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none.toml: cannot read it" in result.stderr
