"""Against real OpenID providers on loopback: what they publish and sign is not what we imagined they would.

oidc-provider gives RFC 9068 tokens by client credentials; oauth2-mock-server signs any claims and makes new
keys while it runs. Both are found by discovery.
"""

import asyncio
import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from plugins.auth.settings import Issuer, TeamByClaim
from proxy import Fetched, Headers, Principal
from tests import tools
from tests.plugins.auth.provider import Gateway

TEAM = TeamByClaim("groups", {"ml-studio": "studio"})


class Program:
    """A provider in a process of its own; it ends when we close its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.issuer = ""

    async def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        assert line, "the provider ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.read()

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 20)


@asynccontextmanager
async def running(program: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *tools.node(program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # both greet there with advice for production
    )
    provider = Program(process)
    try:
        provider.issuer = (await provider.read())["issuer"]
        yield provider
    finally:
        await provider.stop()


# Loopback only: a proxy that the machine uses for the world has no part in it.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Web:
    """`services.fetch` by the standard library, in a thread."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    async def fetch(self, url: str, *, timeout_seconds: float = 5.0, max_bytes: int = 256 * 1024) -> Fetched:
        self.fetched.append(url)
        return await asyncio.to_thread(self._get, url, timeout_seconds)

    def _get(self, url: str, timeout_seconds: float) -> Fetched:
        try:
            with _open(url, timeout=timeout_seconds) as answer:
                headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
                return Fetched(answer.status, Headers(headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Fetched(error.code, Headers([]), error.read())


async def client_credentials(provider: Program) -> str:
    basic = base64.b64encode(b"renders:not-a-secret").decode()
    request = urllib.request.Request(
        provider.issuer + "/token",
        data=b"grant_type=client_credentials&scope=gemini",
        headers={"authorization": f"Basic {basic}", "content-type": "application/x-www-form-urlencoded"},
    )

    def post() -> dict[str, Any]:
        with _open(request, timeout=60) as answer:
            return dict(json.loads(answer.read()))

    return str((await asyncio.to_thread(post))["access_token"])


async def test_an_access_token_of_oidc_provider() -> None:
    web = Web()
    async with running("oidc_provider.mjs") as provider:
        token = await client_credentials(provider)
        strict = Issuer(issuer=provider.issuer, audience=("urn:weir",), team=TEAM, accept="at+jwt")
        async with Gateway(strict, fetch=web.fetch, now=time.time()) as gateway:
            for headers in ({"authorization": f"Bearer {token}"}, {"x-goog-api-key": token}):
                exchange, refusal = await gateway.call(headers=headers)
                assert refusal is None
                assert exchange.principal == Principal("renders", "studio")
            exchange, refusal = await gateway.call(target=f"/v1beta/models?key={token}")
            assert refusal is None
            await gateway.clock.advance(86400)
            _, refusal = await gateway.call(token)
            assert refusal is not None
            assert refusal.code == 401
        for other in (
            Issuer(issuer=provider.issuer, audience=("other",), team=TEAM),
            Issuer(issuer=provider.issuer, audience=("urn:weir",), team=TEAM, accept="id"),
            Issuer(issuer=provider.issuer, audience=("urn:weir",), team=TEAM, algorithms=("ES256",)),
        ):
            async with Gateway(other, fetch=web.fetch, now=time.time()) as gateway:
                _, refusal = await gateway.call(token)
                assert refusal is not None
                assert refusal.code == 401
    assert web.fetched[0] == provider.issuer + "/.well-known/openid-configuration"


@pytest.fixture
async def mock() -> AsyncIterator[Program]:
    async with running("oauth2_mock_server.mjs") as provider:
        yield provider


GOOD: dict[str, Any] = {"aud": "weir", "sub": "ada", "groups": ["ml-studio"]}


@asynccontextmanager
async def before(mock: Program, web: Web) -> AsyncIterator[Gateway]:
    settings = Issuer(issuer=mock.issuer, audience=("weir",), team=TEAM)
    async with Gateway(settings, fetch=web.fetch, now=time.time()) as gateway:
        yield gateway


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_new_key_is_taken_up_by_the_first_token_it_signs(mock: Program, algorithm: str) -> None:
    web = Web()
    async with before(mock, web) as gateway:
        _, refusal = await gateway.call((await mock.ask(sign=GOOD))["token"])
        assert refusal is None
        kid = (await mock.ask(generate=algorithm))["kid"]
        fetches = len(web.fetched)
        for _ in range(3):
            token = (await mock.ask(sign=GOOD, **{"with": kid}))["token"]
            _, refusal = await gateway.call(token)
            assert refusal is None
        assert len(web.fetched) == fetches + 1


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({}, None),
        ({"aud": ["account", "weir"]}, None),
        ({"aud": "account"}, 401),
        ({"aud": None}, 401),
        ({"iss": "https://evil.example"}, 401),
        ({"exp": 1}, 401),
        ({"exp": "1995000000"}, 401),
        ({"exp": 1e30}, 401),
        ({"nbf": 4_000_000_000}, 401),
        ({"iat": 4_000_000_000}, 401),
        ({"events": {}}, 401),
        ({"groups": ["staff"]}, 403),
        ({"sub": "a\nb"}, 403),
    ],
)
async def test_claims_that_a_real_provider_signed(mock: Program, claims: dict[str, Any], code: int | None) -> None:
    async with before(mock, Web()) as gateway:
        token = (await mock.ask(sign=GOOD | claims))["token"]
        _, refusal = await gateway.call(token)
    assert (refusal and refusal.code) == code


async def test_a_provider_that_went_away_is_an_outage_not_a_lockout(mock: Program) -> None:
    async with before(mock, Web()) as gateway:
        later = int(time.time()) + 7 * 86400
        tokens = [(await mock.ask(sign=GOOD | {"exp": later, "n": n}))["token"] for n in range(3)]
        assert (await gateway.call(tokens[0]))[1] is None
        await mock.stop()
        for token in tokens:
            assert (await gateway.call(token))[1] is None
        gateway.clock.now += 25 * 3600
        for token in tokens:
            _, refusal = await gateway.call(token)
            assert refusal is not None
            assert refusal.code == 503
