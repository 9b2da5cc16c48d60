"""An issuer's keys through rotation, outage and attack, by a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from plugins.auth.issuer_keys import IssuerKeys, IssuerUnavailable
from plugins.auth.settings import Issuer
from proxy import Fetched
from tests.plugins.auth.provider import ISSUER, JWKS_URL, Provider, issuer, jwk
from tests.support import ManualClock, make_services

DISCOVERY = ISSUER + "/.well-known/openid-configuration"


@asynccontextmanager
async def keys_of(provider: Provider, clock: ManualClock, settings: Issuer | None = None) -> AsyncIterator[IssuerKeys]:
    keys = IssuerKeys(settings or issuer(), make_services(clock=clock, fetch=provider.fetch))
    await keys.start()
    await clock.advance(0)  # lets the keeper lie down
    try:
        yield keys
    finally:
        await keys.stop()


def kids(keys: IssuerKeys) -> list[str | None]:
    return [key.kid for key in keys.current().keys]


async def test_fetched_at_start_and_refreshed_ahead() -> None:
    provider, clock = Provider(), ManualClock()
    async with keys_of(provider, clock) as keys:
        assert provider.fetched == [JWKS_URL]
        provider.keys.append(jwk("two"))
        await clock.advance(0.6 * 600 - 1)
        assert kids(keys) == ["one"]
        await clock.advance(0.2 * 600 + 1)
        assert kids(keys) == ["one", "two"]
        assert len(provider.fetched) == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("public, max-age=1200, must-revalidate", 1200),
        ("max-age=1", 60),
        ("max-age=999999999", 3600),
        ("no-store", 600),
        ("x-max-age=7", 600),
        ("max-age=-1", 600),
    ],
)
async def test_the_providers_max_age_within_reason(said: str, seconds: float) -> None:
    provider, clock = Provider(), ManualClock()
    provider.headers = [(b"Cache-Control", said.encode())]
    async with keys_of(provider, clock):
        await clock.advance(0.59 * seconds)
        assert len(provider.fetched) == 1
        await clock.advance(0.22 * seconds)
        assert len(provider.fetched) == 2


async def test_discovery_once() -> None:
    provider, clock = Provider(), ManualClock()
    async with keys_of(provider, clock, issuer(jwks_url=None)) as keys:
        assert kids(keys) == ["one"]
        await clock.advance(600)
        assert provider.fetched == [DISCOVERY, JWKS_URL, JWKS_URL]


async def test_keys_that_moved_are_discovered_again() -> None:
    provider, clock = Provider(), ManualClock()
    async with keys_of(provider, clock, issuer(jwks_url=None)) as keys:
        provider.status = 404
        await clock.advance(600)
        provider.status = 200
        await clock.advance(1)
        assert provider.fetched[-2:] == [DISCOVERY, JWKS_URL]
        assert keys.status()["last_error"] is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"issuer": "https://evil.example", "jwks_uri": JWKS_URL}, "says issuer"),
        ({"issuer": ISSUER + "/", "jwks_uri": JWKS_URL}, "says issuer"),
        ({"jwks_uri": JWKS_URL}, "says issuer"),
        ([], "says issuer"),
        ({"issuer": ISSUER}, "no usable jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "http://login.example.com/keys"}, "no usable jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "http://127.0.0.1:9090/status"}, "no usable jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}, "no usable jwks_uri"),
    ],
)
async def test_a_discovery_document_that_is_not_theirs(document: object, message: str) -> None:
    provider = Provider()
    provider.documents[DISCOVERY] = document
    async with keys_of(provider, ManualClock(), issuer(jwks_url=None)) as keys:
        assert provider.fetched == [DISCOVERY]
        with pytest.raises(IssuerUnavailable, match=message):
            keys.current()


@pytest.mark.parametrize("failure", [OSError("refused"), TimeoutError(), ValueError("too large"), RuntimeError("odd")])
async def test_a_provider_that_is_down_does_not_fail_the_start(failure: Exception) -> None:
    provider, clock = Provider(), ManualClock()
    provider.down = failure
    with capture_logs() as logs:
        async with keys_of(provider, clock) as keys:
            with pytest.raises(IssuerUnavailable):
                keys.current()
            fetches = []
            for _ in range(6):
                fetches.append(len(provider.fetched))
                await clock.advance(1)
            assert fetches == [1, 2, 2, 3, 3, 3]  # after 1 s, 2 s, 4 s
            provider.down = None
            await clock.advance(60)
            assert kids(keys) == ["one"]
    assert [log["event"] for log in logs] == ["issuer_keys_failed"] * 3 + ["issuer_keys_loaded"]
    assert logs[0]["issuer"] == ISSUER


@pytest.mark.parametrize("status", [301, 404, 500, 204])
async def test_only_200_is_an_answer(status: int) -> None:
    provider = Provider()
    provider.status = status
    async with keys_of(provider, ManualClock()) as keys:
        with pytest.raises(IssuerUnavailable, match=str(status)):
            keys.current()


async def test_an_outage_keeps_the_last_good_keys_for_a_day() -> None:
    provider, clock = Provider(), ManualClock()
    async with keys_of(provider, clock) as keys:
        provider.down = OSError("refused")
        for _ in range(23):
            await clock.advance(3600)
            assert kids(keys) == ["one"]
        assert keys.status()["last_error"] == "OSError: refused"
        await clock.advance(3601)
        with pytest.raises(IssuerUnavailable):
            keys.current()
        provider.down = None
        await clock.advance(60)
        assert kids(keys) == ["one"]


async def test_a_set_without_a_usable_key_replaces_nothing() -> None:
    provider, clock = Provider(), ManualClock()
    async with keys_of(provider, clock) as keys:
        provider.keys = [jwk("small", "RSA-1024")]
        await clock.advance(600)
        assert kids(keys) == ["one"]
        assert "1024" in keys.status()["last_error"]


async def test_a_thousand_forged_kids_cost_one_fetch_a_cool_down() -> None:
    provider, clock = Provider(), ManualClock()
    async with keys_of(provider, clock) as keys:
        await asyncio.gather(*(keys.fitting("RS256", f"forged-{number}") for number in range(500)))
        for number in range(500):
            await keys.fitting("RS256", f"forged-too-{number}")
        assert len(provider.fetched) == 2  # one at start, one for all of them
        await clock.advance(29)
        await keys.fitting("RS256", "forged")
        assert len(provider.fetched) == 2
        await clock.advance(1)
        await keys.fitting("RS256", "forged")
        assert len(provider.fetched) == 3


async def test_a_rotation_right_after_the_start_is_seen_at_once() -> None:
    provider, clock = Provider(), ManualClock()
    async with keys_of(provider, clock) as keys:
        provider.keys = [jwk("two")]
        assert [key.kid for key in await keys.fitting("RS256", "two")] == ["two"]


class SlowProvider(Provider):
    """Answers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()

    async def fetch(self, url: str, *, timeout_seconds: float = 5.0, max_bytes: int = 256 * 1024) -> Fetched:
        fetched = await super().fetch(url)
        await self.answer.wait()
        return fetched


async def test_one_flight_for_all_and_none_waits_who_need_not() -> None:
    provider, clock = SlowProvider(), ManualClock()
    provider.answer.set()
    async with keys_of(provider, clock) as keys:
        provider.answer.clear()
        provider.keys = [jwk("one"), jwk("two")]
        waiting = [asyncio.create_task(keys.fitting("RS256", "two")) for _ in range(10)]
        await asyncio.sleep(0)
        assert [key.kid for key in await keys.fitting("RS256", "one")] == ["one"]  # at once, while the fetch hangs
        waiting[0].cancel()  # one that goes away leaves the answer to the others
        provider.answer.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(not isinstance(keys, BaseException) and keys[0].kid == "two" for keys in found[1:])
        assert len(provider.fetched) == 2


async def test_status_has_what_one_wants_to_know() -> None:
    provider, clock = Provider(jwk("one"), jwk("small", "RSA-1024")), ManualClock()
    async with keys_of(provider, clock) as keys:
        await clock.advance(10)
        assert keys.status() == {
            "issuer": ISSUER,
            "keys": 1,
            "skipped": ["key 1: RSA key of 1024 bits"],
            "age_seconds": 10.0,
            "last_error": None,
        }
