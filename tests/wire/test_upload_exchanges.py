"""Uploads through a gateway: begun with a key, gone on without one, in one account, on any gateway with the secret."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from proxy.simulator import Simulator
from tests.support.gateway import TEAM_KEYS, Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, request_bytes, send_bytes

KEY = "weir_k1_a-team-key"
SEAL = "a secret that two gateways share, long enough"
FILES = "/upload/v1beta/files"
GOOGLE = f"https://generativelanguage.googleapis.com{FILES}?upload_id=AbC_-1&upload_protocol=resumable"
START = {
    "X-Goog-Upload-Protocol": "resumable",
    "X-Goog-Upload-Command": "start",
    "X-Goog-Upload-Header-Content-Type": "image/png",
}
AUTH = '[plugins.auth]\nkeys = "keys.toml"\n[teams.studio]\n'
PLUGINS = '["usage", "auth", "team_quota", "regional_routing", "circuit_breaker"]'
MIB = 1 << 20


class Got(NamedTuple):
    status: int
    headers: Any
    body: bytes
    document: Any


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = Simulator()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def file(folder: Path, *upstreams: str, seal: bool = True, more: str = "", server: str = "") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "keys.toml").write_text(TEAM_KEYS.format(sha256=hashlib.sha256(KEY.encode()).hexdigest()))
    (folder / "seal").write_text(SEAL)
    server += 'seal = "file:seal"\n' if seal else ""
    return routes(*upstreams, plugins=PLUGINS, more=more or AUTH, server=server)


async def call(
    session: aiohttp.ClientSession, method: str, url: str, body: Any = None, *, key: str | None = KEY, **headers: str
) -> Got:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= {"x-goog-api-key": key} if key is not None else {}
    json = body if isinstance(body, dict) else None
    data = None if isinstance(body, dict) else body
    async with session.request(method, url, json=json, data=data, headers=sent) as reply:
        read = await reply.read()
        is_json = "json" in reply.headers.get("Content-Type", "")
        return Got(reply.status, reply.headers, read, await reply.json() if is_json else None)


async def start(session: aiohttp.ClientSession, weir: Gateway, *, key: str | None = KEY) -> str:
    got = await call(session, "POST", weir.url + FILES, {"file": {"displayName": "weir"}}, key=key, **START)
    assert (got.status, got.body, got.headers["X-Goog-Upload-Status"]) == (200, b"", "active")
    address: str = got.headers["X-Goog-Upload-URL"]
    return address


async def piece(session: aiohttp.ClientSession, address: str, command: str, offset: int, body: bytes) -> Got:
    """As Python's SDK sends it: without a key."""
    headers = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(offset)}
    return await call(session, "POST", address, body, key=None, **headers)


async def test_the_whole_life_of_a_file_in_one_account(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, file(tmp_path, simulator.url, simulator.url), monkeypatch) as weir:
        address = await start(session, weir)
        assert address.startswith(f"{weir.url}{FILES}?upload_id=")
        middle = await piece(session, address, "upload", 0, b"123")
        last = await piece(session, address, "upload, finalize", 3, b"45")
        described = last.document["file"]
        name, uri = described["name"], described["uri"]
        got = await call(session, "GET", f"{weir.url}/v1beta/{name}")
        content = await call(session, "GET", f"{weir.url}/v1beta/{name}:download?alt=media")
        asks = {"contents": [{"parts": [{"fileData": {"fileUri": uri, "mimeType": "image/png"}}]}]}
        used = await call(session, "POST", f"{weir.url}/v1beta/models/gemini-2.5-flash:generateContent", asks)
        gone = await call(session, "DELETE", f"{weir.url}/v1beta/{name}")
        missed = await call(session, "GET", f"{weir.url}/v1beta/{name}")

    assert (middle.headers["X-Goog-Upload-Status"], last.headers["X-Goog-Upload-Status"]) == ("active", "final")
    assert (described["sizeBytes"], got.document, content.body) == ("5", described, b"12345")
    assert [one.status for one in (got, content, used, gone, missed)] == [200, 200, 200, 200, 403]
    assert [(r.operation, r.request_bytes, r.status) for r in weir.records()] == [
        ("files.upload", len(b'{"file": {"displayName": "weir"}}'), 200),
        ("files.upload", 3, 200),
        ("files.upload", 2, 200),
        ("files.get", 0, 200),
        ("files.download", 0, 200),
        ("generateContent", weir.records()[5].request_bytes, 200),
        ("files.delete", 0, 200),
        ("files.get", 0, 403),
    ]
    assert {(r.team, r.subject, r.key_id, r.endpoint) for r in weir.records()} == {("studio", "key:k1", "k1", "a")}
    written = "".join(log.read_text() for log in (tmp_path / "var" / "usage").iterdir())
    assert "weir_upload" not in written, "it is as good as a key while it lives"
    pieces = list(simulator.ledger)[1:3]
    assert all("weir_upload" not in entry.target and entry.target.startswith(FILES) for entry in pieces)
    assert all(("x-goog-api-key", "key-of-a") in entry.headers for entry in pieces), "ours, as for any other call"


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        (FILES, {"Content-Type": "image/png"}, b"\x00picture"),
        (f"{FILES}?uploadType=media", {"Content-Type": "image/png"}, b"\x00picture"),
        (
            FILES,
            {"X-Goog-Upload-Protocol": "multipart", "Content-Type": "multipart/related; boundary=cut"},
            b'--cut\r\n\r\n{"file": {}}\r\n--cut\r\nContent-Type: image/png\r\n\r\n\x00picture\r\n--cut--',
        ),
    ],
)
async def test_an_upload_in_one_request_passes_as_it_is(
    path: str,
    headers: dict[str, str],
    body: bytes,
    simulator: Simulator,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with gateway(tmp_path, file(tmp_path, simulator.url), monkeypatch) as weir:
        made = await call(session, "POST", weir.url + path, body, **headers)
        name = made.document["file"]["name"]
        content = await call(session, "GET", f"{weir.url}/v1beta/{name}:download?alt=media")
    assert (content.headers["Content-Type"], content.body) == ("image/png", b"\x00picture")
    assert simulator.ledger[0].body == body
    first, second = weir.records()
    assert (first.operation, first.request_bytes) == ("files.upload", len(body))
    assert (second.operation, second.response_bytes) == ("files.download", 8)


async def test_another_gateway_with_the_secret_goes_on_and_one_without_says_so(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    async with gateway(one, file(one, simulator.url), monkeypatch) as weir:
        address = await start(session, weir)
    async with gateway(three, file(three, simulator.url, seal=False), monkeypatch) as stranger:
        refused = await piece(session, address.replace(weir.url, stranger.url), "upload, finalize", 0, b"1")
    async with gateway(two, file(two, simulator.url), monkeypatch) as other:
        done = await piece(session, address.replace(weir.url, other.url), "upload, finalize", 0, b"1")
    assert (done.status, done.headers["X-Goog-Upload-Status"]) == (200, "final")
    assert [(r.team, r.endpoint, r.outcome) for r in other.records()] == [("studio", "a", "completed")]
    assert (refused.status, refused.headers["X-Goog-Upload-Status"]) == (403, "cancelled")
    assert refused.document["error"]["message"].endswith("Start the upload again.")
    (record,) = stranger.records()
    assert (record.outcome, record.reason, record.team) == ("refused", "UPLOAD_ADDRESS_INVALID", None)


async def test_an_account_that_left_the_file_is_a_404(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    async with gateway(one, file(one, simulator.url), monkeypatch) as weir:
        address = await start(session, weir)
    text = file(two, simulator.url).replace('name = "a"', 'name = "b"')
    async with gateway(two, text, monkeypatch) as other:
        refused = await piece(session, address.replace(weir.url, other.url), "upload", 0, b"1")
    assert (refused.status, refused.headers["X-Goog-Upload-Status"]) == (404, "cancelled")
    assert [record.reason for record in other.records()] == ["UPLOAD_ENDPOINT_GONE"]


async def test_the_address_is_kept_to_where_the_account_of_choice_changed(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    async with gateway(one, file(one, simulator.url, simulator.url), monkeypatch) as weir:
        address = await start(session, weir)
    text = file(two, simulator.url, simulator.url).replace("priority = 0", "priority = 2")  # b comes first now
    async with gateway(two, text, monkeypatch) as other:
        done = await piece(session, address.replace(weir.url, other.url), "upload, finalize", 0, b"1")
    assert done.status == 200
    assert [record.endpoint for record in other.records()] == ["a"]


async def test_where_nobody_is_asked_who_he_is(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, routes(simulator.url), monkeypatch) as weir:
        address = await start(session, weir, key=None)
        bad = await piece(session, address[:-1], "upload", 0, b"1")
        good = await piece(session, address, "upload, finalize", 0, b"1")
    assert (bad.status, good.status) == (403, 200)
    assert [record.reason for record in weir.records()] == [None, "UPLOAD_ADDRESS_INVALID", None]


async def test_an_address_made_where_nobody_was_asked_admits_nobody_where_somebody_is(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "seal").write_text(SEAL)
    async with gateway(one, routes(simulator.url, server='seal = "file:seal"'), monkeypatch) as weir:
        address = await start(session, weir, key=None)
    async with gateway(two, file(two, simulator.url), monkeypatch) as other:
        refused = await piece(session, address.replace(weir.url, other.url), "upload", 0, b"1")
    assert refused.status == 403
    assert [record.reason for record in other.records()] == ["CREDENTIALS_MISSING"]


async def test_the_address_is_all_that_differs_at_a_start(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = await call(session, "POST", simulator.url + FILES, {}, key="key-of-a", **START)
    async with gateway(tmp_path, file(tmp_path, simulator.url), monkeypatch) as weir:
        starts = [
            await call(session, "POST", weir.url + FILES, {}, **START) for _ in range(4)
        ]  # the head is familiar then
    addresses = ("X-Goog-Upload-URL", "X-Goog-Upload-Control-URL")
    varies = ("Date", "Server-Timing", "x-weir-exchange", *addresses)
    for ours in starts:
        assert ours.headers["X-Goog-Upload-URL"].startswith(f"{weir.url}{FILES}?upload_id=")
        assert ours.headers["X-Goog-Upload-Control-URL"].startswith(f"{weir.url}{FILES}?upload_id=")
        assert list(ours.headers)[-1] == "x-weir-exchange"
        assert [name for name in ours.headers if name in addresses] == [
            name for name in direct.headers if name in addresses
        ]
        assert {name: value for name, value in ours.headers.items() if name not in varies} == {
            name: value for name, value in direct.headers.items() if name not in varies
        }


async def test_a_refused_start_is_passed_on(
    simulator: Simulator, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = {"X-Sim-Echo": "1", "X-Sim-Status": "403", "X-Sim-Reply": f"X-Goog-Upload-URL: {GOOGLE}"}
    async with gateway(tmp_path, file(tmp_path, simulator.url), monkeypatch) as weir:
        got = await call(session, "POST", weir.url + FILES, {}, **START, **echo)
    assert (got.status, got.headers["X-Goog-Upload-URL"]) == (403, GOOGLE)


async def test_http_1_0_without_host(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"x-goog-api-key: {KEY}", *(f"{name}: {value}" for name, value in START.items()), "Content-Length: 2"]
    async with gateway(tmp_path, file(tmp_path, simulator.url), monkeypatch) as weir:
        request = request_bytes(*lines, body=b"{}", target=FILES).replace(
            b" HTTP/1.1\r\nHost: weir.example", b" HTTP/1.0"
        )
        answer = await send_bytes(weir.host, weir.port, request)
    assert f"X-Goog-Upload-URL: {weir.url}{FILES}?upload_id=".encode() in answer


# --- memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pieces", "size"), [(32, 8 * MIB), (1, 256 * MIB)])
async def test_256_mib_go_up_in_flat_memory(
    pieces: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caller, gateway and upstream in one process: together they stay below 4 MiB, 1 of it `[server.sizes] replay`."""
    digest = hashlib.sha256()
    block = memoryview(bytes(range(256)) * 256)  # 64 KiB
    addresses = [f"{FILES}?upload_id=1"]

    async def upstream(state: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            left = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            while left:
                read = await reader.read(min(left, 65536))
                digest.update(read)
                left -= len(read)
            address = f"X-Goog-Upload-URL: https://google.example{addresses[0]}\r\n" if b": start" in head else ""
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{address}\r\n".encode())

    async def body() -> AsyncIterator[memoryview]:
        for _ in range(size // len(block)):
            yield block

    async with raw_upstream(upstream) as running, aiohttp.ClientSession() as session:
        async with gateway(tmp_path, file(tmp_path, running.url), monkeypatch) as weir:
            got = await call(session, "POST", weir.url + FILES, b"x", **START)
            tracemalloc.start()
            try:
                for number in range(pieces):
                    headers = {"X-Goog-Upload-Offset": str(number * size), "Content-Length": str(size)}
                    async with session.post(got.headers["X-Goog-Upload-URL"], data=body(), headers=headers) as reply:
                        assert reply.status == 200
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert peak < 4 * MIB
    expected = hashlib.sha256(b"x")
    for _ in range(pieces * size // len(block)):
        expected.update(block)
    assert digest.digest() == expected.digest()
    assert [record.request_bytes for record in weir.records()] == [1, *[size] * pieces]
