"""An exchange that ended by a refusal is gone with it: kept by a cycle, its body would wait for the collector."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.team_quota import TeamQuota
from proxy import Exchange, Limit, Refusal, Team
from proxy.stores.memory import MemoryStore
from tests.support import ManualClock, make_exchange, make_services
from tests.support.gateway import gateway, routes
from tests.support.raw import answers, raw_upstream, request_bytes, send_bytes
from tests.wire.test_caller import idle


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def kept() -> int:
    return sum(type(each) is Exchange for each in gc.get_objects())


@pytest.mark.parametrize("path", ["/no-endpoint", "/v1beta/models/gemini-2.5-flash:generateContent"])
async def test_one_that_the_gateway_refuses(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on port 9."""
    before = kept()
    text = routes("http://127.0.0.1:9").replace('match = "/**"', 'match = "/v1beta/**"')
    async with gateway(tmp_path, text, monkeypatch) as weir:
        got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 2", target=path, body=b"{}"))
        assert int(got.split()[1]) in {404, 503}
        await idle(weir)
        assert kept() == before


@pytest.mark.parametrize("framing", [b"Content-Length: 2\r\n\r\nhi", b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"])
@pytest.mark.parametrize("broke", [False, True])
async def test_one_that_was_answered(
    framing: bytes, broke: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept()
    answer = b"HTTP/1.1 200 OK\r\n" + framing
    if broke:
        answer = answer[:-1]
    elif b"chunked" in framing:
        answer += b"0\r\n\r\n"
    async with raw_upstream(answers(answer)) as upstream:
        async with gateway(tmp_path, routes(upstream.url), monkeypatch) as weir:
            got = await send_bytes(weir.host, weir.port, request_bytes("Content-Length: 0"))
            assert (b" 200 " in got) or broke
            await idle(weir)
            assert kept() == before


@pytest.mark.parametrize("room", [0, 1])
async def test_one_that_a_limit_refuses_or_what_is_within_it(room: int) -> None:
    teams = {"studio": Team("studio", limits=(Limit("requests", room, "minute"),))}
    quota = TeamQuota(TeamQuota.Config(), make_services(teams=teams, store=MemoryStore(ManualClock())))

    async def refused(exchange: Exchange) -> None:
        raise exchange.refuse(500, "no", reason="NO")

    async def run() -> None:
        with pytest.raises(Refusal):
            await quota.around_exchange(make_exchange(team="studio"), refused)

    before = kept()
    await run()
    assert kept() == before
