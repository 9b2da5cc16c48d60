"""An identity provider in memory, and a forge for tokens that no honest library would make.

`Provider.fetch` stands in for `services.fetch`, so that tests can count what was fetched, rotate keys and
let the provider fail. `forge` signs any header over any claims.
"""

import base64
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from plugins.auth import Auth
from plugins.auth.settings import AuthConfig, Issuer, TeamByClaim
from proxy import Exchange, Fetch, Fetched, Headers, Operation, Refusal, Team
from proxy.engine.chain import wrap_exchange
from tests.support import ManualClock, ScriptedRelay, make_exchange, make_services

ISSUER = "https://login.example.com"
JWKS_URL = ISSUER + "/keys"
ALGORITHMS = get_default_algorithms()


def private_key(name: str, kind: str = "RSA") -> Any:
    """A key of that name; the same one for the whole run, since RSA keys take long to make."""
    return _made(name, kind)


@cache
def _made(name: str, kind: str) -> Any:
    match kind:
        case "EC":
            return ec.generate_private_key(ec.SECP256R1())
        case "OKP":
            return ed25519.Ed25519PrivateKey.generate()
        case "RSA-1024":
            return rsa.generate_private_key(65537, 1024)
    return rsa.generate_private_key(65537, 2048)


def jwk(name: str, kind: str = "RSA", **members: Any) -> dict[str, Any]:
    algorithm = {"EC": "ES256", "OKP": "EdDSA"}.get(kind, "RS256")
    public = private_key(name, kind).public_key()
    return json.loads(ALGORITHMS[algorithm].to_jwk(public)) | {"kid": name, "use": "sig"} | members


def encoded(data: bytes | Mapping[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: Mapping[str, Any], claims: Any, key: Any, algorithm: str | None = None) -> str:
    """A token with that header and those claims, signed with `algorithm` (default: what the header says)."""
    signed = f"{encoded(header)}.{encoded(claims)}"
    signer = ALGORITHMS[algorithm or header["alg"]]
    return f"{signed}.{encoded(signer.sign(signed.encode(), signer.prepare_key(key)))}"


class Provider:
    """Publishes the keys it is told to, at `JWKS_URL` and through discovery."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys: list[Any] = list(keys) or [jwk("one")]
        self.documents: dict[str, Any] = {
            ISSUER + "/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": JWKS_URL}
        }
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 200
        self.down: Exception | None = None
        self.fetched: list[str] = []

    async def fetch(self, url: str, *, timeout_seconds: float = 5.0, max_bytes: int = 256 * 1024) -> Fetched:
        self.fetched.append(url)
        if self.down is not None:
            raise self.down
        document = {"keys": self.keys} if url == JWKS_URL else self.documents[url]
        return Fetched(self.status, Headers(self.headers), json.dumps(document).encode())


def good_claims(now: float, **claims: Any) -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "aud": "weir",
        "sub": "u-1",
        "email": "ada@example.com",
        "groups": ["staff", "ml-studio"],
        "iat": int(now),
        "exp": int(now) + 600,
    } | claims


def issuer(**settings: Any) -> Issuer:
    defaults = {
        "issuer": ISSUER,
        "audience": ("weir",),
        "subject": "email",
        "team": TeamByClaim("groups", {"ml-studio": "studio"}),
        "jwks_url": JWKS_URL,
    }
    return Issuer(**defaults | settings)


TEAMS = {
    "acme": Team("acme"),
    "studio": Team("studio", parent="acme"),
}


class Gateway:
    """An `Auth` with everything around it in a test's hands."""

    def __init__(
        self,
        *issuers: Issuer,
        keys: Path | None = None,
        provider: Provider | None = None,
        teams: Mapping[str, Team] | None = None,
        fetch: Fetch | None = None,
        now: float = 1_750_000_000.0,
    ) -> None:
        self.clock = ManualClock(now)
        self.provider = provider or Provider()
        self.services = make_services(
            name="auth",
            clock=self.clock,
            teams=TEAMS if teams is None else teams,
            fetch=fetch or self.provider.fetch,
        )
        if not issuers and keys is None:
            issuers = (issuer(),)
        self.auth = Auth(AuthConfig(keys=keys, issuers=issuers), self.services)

    async def __aenter__(self) -> "Gateway":
        await self.auth.start()
        await self.clock.advance(0)  # lets what runs in the background lie down
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.auth.stop()

    def token(
        self, name: str = "one", kind: str = "RSA", header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        algorithm = {"EC": "ES256", "OKP": "EdDSA"}.get(kind, "RS256")
        head = {"alg": algorithm, "typ": "at+jwt", "kid": name} | dict(header or {})
        return forge(head, good_claims(self.clock.now, **claims), private_key(name, kind))

    async def call(
        self,
        credential: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        relay: ScriptedRelay | None = None,
        **request: Any,
    ) -> tuple[Exchange, Refusal | None]:
        """One exchange through the plugin; a refused one must not have reached the next step."""
        sent = dict(headers or {}) | ({"authorization": f"Bearer {credential}"} if credential else {})
        exchange = make_exchange(relay, headers=sent, clock=self.clock, **request)
        passed: list[Exchange] = []

        async def next_step(exchange: Exchange) -> None:
            passed.append(exchange)

        try:
            await wrap_exchange([self.auth], next_step)(exchange)
        except Refusal as refusal:
            assert not passed
            return exchange, refusal
        assert passed == [exchange]
        return exchange, None


UNKNOWN = Operation("unknown")
