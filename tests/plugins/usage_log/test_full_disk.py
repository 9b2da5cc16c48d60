"""A whole gateway on a disk that is full for a while: nobody is let in, what was let in is recorded, it recovers."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from tests.plugins.usage_log.disk import largest_file
from tests.support.gateway import gateway, routes
from tests.support.load import BODY, CALL, quick
from tests.support.raw import raw_upstream, request_bytes, send_bytes
from tests.support.service_log import service_log

REQUEST = request_bytes(f"Content-Length: {len(BODY)}", body=BODY, target=CALL)


async def ready(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
        return answer.status, await answer.text()


async def until_ready(url: str, status: int) -> None:
    async with asyncio.timeout(60):
        while (await ready(url))[0] != status:
            await asyncio.sleep(0.01)


async def test_a_full_disk_and_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service_log() as said:  # not into a file, which would be full too
        await through_a_full_disk(tmp_path, monkeypatch)
    levels = [event["level"] for event in said.events if event["event"].startswith("usage log")]
    assert levels == ["error", "warning"]


async def through_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        raw_upstream(quick()) as upstream,
        gateway(tmp_path, routes(upstream.url), monkeypatch) as weir,
    ):
        assert await ready(weir.admin) == (200, "ready\n")
        with largest_file(100):
            assert (await send_bytes(weir.host, weir.port, REQUEST)).startswith(b"HTTP/1.1 200 ")
            await until_ready(weir.admin, 503)
            assert (await ready(weir.admin))[1].startswith("not ready\nusage: the usage log cannot be written: ")

            head, _, body = (await send_bytes(weir.host, weir.port, REQUEST)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in head.lower()
            error = json.loads(body)["error"]
            assert error["status"] == "UNAVAILABLE"
            assert "USAGE_LOG_UNWRITABLE" in [detail.get("reason") for detail in error["details"]]
        await until_ready(weir.admin, 200)
        assert (await send_bytes(weir.host, weir.port, REQUEST)).startswith(b"HTTP/1.1 200 ")

    assert [record.status for record in weir.records()] == [200, 200]
