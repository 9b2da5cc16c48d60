"""The admin listener: what operators and their tools are told, and that it is not the public one."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.head import RawHeaders
from proxy.wire.admin import AdminListener
from tests.support.gateway import TEAM_KEYS, gateway, routes
from tests.support.raw import answers, raw_upstream, request_bytes, send_bytes

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Office:
    """A gateway that is still starting."""

    ready = False

    def unready(self) -> list[str]:
        return [] if self.ready else ["usage: the disk is full"]

    async def status(self) -> dict[str, Any]:
        return {"ready": self.ready}

    def metrics(self) -> tuple[bytes, str]:
        return b"weir_x 1\n", "text/plain; version=0.0.4; charset=utf-8"

    async def explain(self, method: str, target: str, headers: RawHeaders) -> Any:
        return {"method": method, "target": target, "headers": [[n.decode(), v.decode()] for n, v in headers]}


async def ask(url: str, method: str = "GET", **options: Any) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_alive_before_ready() -> None:
    office = Office()
    admin = AdminListener(office)
    await admin.start("127.0.0.1:0")
    url = "http://{}:{}".format(*admin.address)
    try:
        assert (await ask(f"{url}/healthz"))[0] == 200
        assert await ask(f"{url}/readyz") == (503, "text/plain; charset=utf-8", "not ready\nusage: the disk is full\n")
        office.ready = True
        assert await ask(f"{url}/readyz") == (200, "text/plain; charset=utf-8", "ready\n")
        assert await ask(f"{url}/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", "weir_x 1\n")
    finally:
        await admin.stop()


async def test_ipv6() -> None:
    admin = AdminListener(Office())
    await admin.start("[::1]:0")
    try:
        host, port = admin.address
        assert host == "::1"
        assert (await ask(f"http://[::1]:{port}/healthz"))[0] == 200
    finally:
        await admin.stop()


async def test_a_question_reaches_the_office_as_it_was_asked() -> None:
    admin = AdminListener(Office())
    await admin.start("127.0.0.1:0")
    url = "http://{}:{}/explain".format(*admin.address)
    try:
        question = {"method": "post", "target": "/a%2f?b", "headers": [["x-goog-api-key", "k\u00f6y"]]}
        status, _, text = await ask(url, "POST", json=question)
        assert status == 200
        assert json.loads(text) == question | {"method": "POST"}
        for bad in ({"method": "GET"}, {"method": 1, "target": "/"}, {"method": "GET", "target": "/", "more": 1}, []):
            status, _, text = await ask(url, "POST", json=bad)
            assert status == 400
            assert json.loads(text)["error"]
        for bytes_ in (b"", b"{", b"\xff", b"[" * 100_000):
            assert (await ask(url, "POST", data=bytes_))[0] == 400
    finally:
        await admin.stop()


async def test_a_gateway_s_own_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys.toml").write_text(TEAM_KEYS.format(sha256="0" * 64))
    text = routes(
        "http://127.0.0.1:9",
        plugins='["usage", "auth", "team_quota", "circuit_breaker"]',
        more="""
[plugins.auth]
keys = "keys.toml"
[teams.studio]
limits = [{ requests = 7, per = "day" }]
""",
    )
    async with gateway(tmp_path, text, monkeypatch) as weir:
        assert (await ask(f"{weir.admin}/readyz"))[0] == 200
        status, content_type, page = await ask(f"{weir.admin}/status")
        told = json.loads(page)
        _, _, explanation = await ask(f"{weir.admin}/explain", "POST", json={"method": "GET", "target": "/x"})
    assert (status, content_type) == (200, "application/json")
    assert told["ready"] is True
    assert told["routes"][0]["plugins"] == ["usage", "auth", "team_quota", "circuit_breaker"]
    assert told["upstreams"]["u"] == [
        {
            "name": "a",
            "url": "http://127.0.0.1:9",
            "region": "global",
            "priority": 0,
            "circuit_breaker": {"circuit": "closed", "models": {}},
        }
    ]
    assert told["plugins"]["team_quota"] == {"studio": [{"limit": "7 requests per day", "used": 0, "left": 7}]}
    assert told["plugins"]["auth"]["keys"] == {"live": 1, "known": 1, "last_error": None}
    assert "key-of-a" not in page
    assert json.loads(explanation)["refusal"].startswith("403 CREDENTIALS_MISSING: ")


async def test_metrics_count_the_exchanges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(answers(OK)) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        await send_bytes(weir.host, weir.port, request_bytes())
        _, content_type, page = await ask(f"{weir.admin}/metrics")
    assert content_type.startswith("text/plain; version=0.0.4")
    (line,) = [line for line in page.splitlines() if line.startswith("weir_exchanges_total{")]
    assert 'outcome="completed"' in line
    assert line.endswith(" 1.0")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/status", "/explain"])
async def test_the_public_listener_forwards_such_paths_like_any_other(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_upstream(answers(OK)) as upstream, gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
        assert (await send_bytes(weir.host, weir.port, request_bytes(target=path, method="GET"))).endswith(b"ok")
    assert upstream.requests[0][0].startswith(b"GET " + path.encode())
