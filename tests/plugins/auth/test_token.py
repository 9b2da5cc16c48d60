"""Tokens that must fail, each for one reason: the same answer to the caller, the reason in the log alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from plugins.auth.key_set import parse
from plugins.auth.settings import Algorithm
from plugins.auth.token import InvalidToken, read, verify
from tests.plugins.auth.provider import (
    ISSUER,
    Gateway,
    Provider,
    encoded,
    forge,
    good_claims,
    issuer,
    jwk,
    private_key,
)

HEADER = {"alg": "RS256", "typ": "at+jwt", "kid": "one"}


def header(**changes: Any) -> Callable[[float], str]:
    """A good token but for its header; a value of None leaves the field out."""
    fields = {name: value for name, value in (HEADER | changes).items() if value is not None}
    return lambda now: forge(fields, good_claims(now), private_key("one"))


def claims(*missing: str, **changes: Any) -> Callable[[float], str]:
    """A good token but for its claims; `exp` and the like are seconds from now when they are numbers."""

    def make(now: float) -> str:
        moved = {
            name: now + value if name in ("exp", "iat", "nbf") and type(value) is int else value
            for name, value in changes.items()
        }
        fields = {name: value for name, value in good_claims(now, **moved).items() if name not in missing}
        return forge(HEADER, fields, private_key("one"))

    return make


def altered(part: int, change: Callable[[str], str]) -> Callable[[float], str]:
    def make(now: float) -> str:
        parts = header()(now).split(".")
        parts[part] = change(parts[part])
        return ".".join(parts)

    return make


def unsigned(alg: str) -> Callable[[float], str]:
    return lambda now: f"{encoded(HEADER | {'alg': alg})}.{encoded(good_claims(now))}."


def hmac_with_public_key(encoding: serialization.Encoding, kid: str | None = "one") -> Callable[[float], str]:
    """The classic: a shared-secret signature whose secret is what everybody can read."""
    form = {
        serialization.Encoding.PEM: serialization.PublicFormat.SubjectPublicKeyInfo,
        serialization.Encoding.DER: serialization.PublicFormat.PKCS1,
    }[encoding]

    def make(now: float) -> str:
        import hashlib
        import hmac

        public = private_key("one").public_key().public_bytes(encoding, form)
        fields = {name: value for name, value in (HEADER | {"alg": "HS256", "kid": kid}).items() if value}
        signed = f"{encoded(fields)}.{encoded(good_claims(now))}"
        return f"{signed}.{encoded(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"

    return make


def other_key(algorithm: str = "RS256", name: str = "two", kind: str = "RSA", **fields: Any) -> Callable[[float], str]:
    return lambda now: forge(
        {key: value for key, value in (HEADER | {"alg": algorithm} | fields).items() if value is not None},
        good_claims(now),
        private_key(name, kind),
    )


def raw(text: str) -> Callable[[float], str]:
    return lambda _: text


def flip(text: str) -> str:
    return ("A" if text[0] != "A" else "B") + text[1:]


# By the reason in the log, so that none fails by accident for another.
BAD: dict[str, dict[str, Callable[[float], str]]] = {
    "algorithm not allowed": {
        "alg none": unsigned("none"),
        "alg None": unsigned("None"),
        "alg nOnE": unsigned("nOnE"),
        "HS256 with the public key, PEM": hmac_with_public_key(serialization.Encoding.PEM),
        "HS256 with the public key, DER": hmac_with_public_key(serialization.Encoding.DER),
        "HS256 with the public key, no kid": hmac_with_public_key(serialization.Encoding.PEM, kid=None),
        "alg not on the list": lambda now: forge(HEADER | {"alg": "RS512"}, good_claims(now), private_key("one")),
        "alg empty": lambda now: forge(HEADER | {"alg": ""}, good_claims(now), private_key("one"), "RS256"),
    },
    "signature": {
        "unsigned RS256": unsigned("RS256"),
        "PS256 said, RS256 done": lambda now: forge(
            HEADER | {"alg": "PS256"}, good_claims(now), private_key("one"), "RS256"
        ),
        "another's key": other_key(),
        "another's key, no kid": other_key(kid=None),
        "jwk header": lambda now: forge(HEADER | {"jwk": jwk("two")}, good_claims(now), private_key("two")),
        "jwk header, no kid": lambda now: forge(
            {"alg": "RS256", "typ": "at+jwt", "jwk": jwk("two")}, good_claims(now), private_key("two")
        ),
        "signature altered": altered(2, flip),
        "signature short": altered(2, lambda text: text[:-2]),
        "signature of another token": lambda now: (
            header()(now).rpartition(".")[0] + "." + claims(sub="u-2")(now).rpartition(".")[2]
        ),
        "claims altered": altered(1, lambda text: encoded(good_claims(1_750_000_000.0, sub="root"))),
        "header altered": altered(0, lambda text: encoded(HEADER | {"extra": 1})),
    },
    "no key of the issuer's fits alg and kid": {
        "alg of another key type": other_key("ES256", "curve", "EC"),
        "unknown kid": header(kid="three"),
        "kid a path": header(kid="../../../../dev/null"),
        "kid in SQL": header(kid="' UNION SELECT 'key'--"),
        "RSA of 1024 bits": other_key(name="small", kind="RSA-1024", kid="small"),
        "key for encryption": other_key(name="sealed", kid="sealed"),
        "jku header": other_key(jku="https://evil.example/keys", kid="two"),
        "x5u header": other_key(x5u="https://evil.example/cert", kid="two"),
        "x5c header": other_key(x5c=["MIIB"], kid="two"),
    },
    "header alg": {
        "alg is a list": lambda now: forge(HEADER | {"alg": ["RS256"]}, good_claims(now), private_key("one"), "RS256"),
        "alg absent": lambda now: forge({"typ": "at+jwt", "kid": "one"}, good_claims(now), private_key("one"), "RS256"),
    },
    "header kid": {
        "kid too long": header(kid="k" * 257),
        "kid empty": header(kid=""),
    },
    "malformed": {
        "kid a number": header(kid=1),
        "crit unknown": header(crit=["exp2"], exp2=1),
        "crit empty": header(crit=[]),
        "b64 false": header(b64=False),
        "padding bits altered": altered(2, lambda text: text[:-1] + chr(ord(text[-1]) + 1)),
        "no JSON": raw("a.b.c"),
        "claims a list": lambda now: forge(HEADER, json.dumps([good_claims(now)]).encode(), private_key("one")),
        "header a list": raw(f"{encoded(b'[]')}.{encoded(b'{}')}.AAAA"),
        "too deep": raw(f"{encoded(b'[' * 3000)}.e30.AAAA"),
    },
    "header crit": {
        "crit b64": header(crit=["b64"], b64=True),
    },
    'header typ does not fit accept = "access"': {
        "typ of a security event": header(typ="secevent+jwt"),
        "typ of a logout token": header(typ="logout+jwt"),
        "typ of a proof": header(typ="dpop+jwt"),
    },
    "header typ": {
        "typ a number": header(typ=1),
    },
    "expired": {
        "expired": claims(exp=-61),
    },
    "claim exp is missing": {
        "no exp": claims("exp"),
        "exp null": claims(exp=None),
    },
    "claim exp is not a time": {
        "exp text": claims(exp="1795000000"),
        "exp 1e30": claims(exp=1e30),
        "exp infinite": claims(exp=float("inf")),
        "exp not a number": claims(exp=float("nan")),
        "exp true": claims(exp=True),
        "exp of 400 digits": claims(exp=10.0**300),
        "exp a list": claims(exp=[1795000000]),
        "exp before 1970": claims(exp=-2_000_000_000),
    },
    "claim iat is missing": {
        "no iat": claims("iat"),
    },
    "not yet valid": {
        "iat to come": claims(iat=61),
        "nbf to come": claims(nbf=61),
    },
    "claim iat is not a time": {
        "iat text": claims(iat="now"),
    },
    "claim nbf is not a time": {
        "nbf text": claims(nbf="soon"),
        "nbf null": claims(nbf=None),
    },
    "claim iss": {
        "no iss": claims("iss"),
        "iss a list": claims(iss=[ISSUER]),
    },
    "issuer is not configured": {
        "iss of another": claims(iss="https://evil.example"),
        "iss with a slash": claims(iss=ISSUER + "/"),
        "iss in capitals": claims(iss=ISSUER.upper()),
    },
    "claim aud is missing": {
        "no aud": claims("aud"),
        "aud empty": claims(aud=[]),
    },
    "claim aud": {
        "aud of another": claims(aud="account"),
        "aud longer": claims(aud="weirdo"),
        "aud a table": claims(aud={"weir": True}),
        "aud of mixed types": claims(aud=["weir", 7]),
    },
    "InvalidSubjectError": {
        "sub a number": claims(sub=7),
    },
    "not an access token, by its claim at_hash": {
        "an ID token": claims(at_hash="x"),
    },
    "not an access token, by its claim typ": {
        "an ID token of Keycloak": claims(typ="ID"),
        "a refresh token of Keycloak": claims(typ="Refresh"),
    },
    "not an access token, by its claim token_use": {
        "an ID token of Cognito": claims(token_use="id"),
    },
    "not an access token, by its claim events": {
        "a logout token": claims(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    },
    "longer than 16 KiB": {
        "too long": claims(groups=["g" * 16_000]),
    },
}


@pytest.fixture(scope="module")
def provider() -> Provider:
    return Provider(jwk("one"), jwk("small", "RSA-1024"), jwk("sealed", use="enc"))


@pytest.mark.parametrize(("why", "name"), [(why, name) for why, group in BAD.items() for name in group])
async def test_bad_tokens(why: str, name: str, provider: Provider) -> None:
    async with Gateway(provider=provider) as gateway:
        token = BAD[why][name](gateway.clock.now)
        with capture_logs() as logs:
            exchange, refusal = await gateway.call(token)
            # SDKs put a token in the place of the key: the same road, the same end.
            _, by_key_header = await gateway.call(headers={"x-goog-api-key": token})
    assert refusal is not None
    assert by_key_header is not None
    assert (refusal.code, refusal.reason) == (by_key_header.code, by_key_header.reason) == (401, "CREDENTIALS_INVALID")
    assert refusal.message == by_key_header.message
    assert refusal.message.startswith("Request had invalid authentication credentials.")
    assert ("WWW-Authenticate", 'Bearer error="invalid_token"') in exchange.reply_headers
    assert exchange.principal is None
    assert [log["why"] for log in logs if log["event"] == "auth_refused"] == [why, why]
    # A bad token may be a good one of elsewhere: no long part of it is logged.
    assert not any(part in repr(logs) for part in token.split(".") if len(part) > 20)


GOOD: dict[str, Callable[[float], str]] = {
    "as it should be": header(),
    "typ in full": header(typ="application/at+jwt"),
    "typ in capitals": header(typ="AT+JWT"),
    "typ JWT": header(typ="JWT"),
    "no typ": header(typ=None),
    "no kid": header(kid=None),
    "PS256": lambda now: forge(HEADER | {"alg": "PS256"}, good_claims(now), private_key("one")),
    "ES256": other_key("ES256", "curve", "EC", kid="curve"),
    "EdDSA": other_key("EdDSA", "edwards", "OKP", kid="edwards"),
    "several audiences": claims(aud=["account", "weir"]),
    "just expired": claims(exp=-59),
    "a clock that runs ahead": claims(iat=59, nbf=59),
    "fractions of a second": claims(exp=1_750_000_100.5),
    "a key location that nobody looks at": header(jku="https://evil.example/keys"),
    "typ claim of Keycloak": claims(typ="Bearer"),
}


@pytest.mark.parametrize("name", GOOD)
async def test_good_tokens(name: str) -> None:
    provider = Provider(jwk("one"), jwk("curve", "EC"), jwk("edwards", "OKP"))
    async with Gateway(provider=provider) as gateway:
        exchange, refusal = await gateway.call(GOOD[name](gateway.clock.now))
    assert refusal is None
    assert exchange.principal is not None
    assert (exchange.principal.subject, exchange.principal.team) == ("ada@example.com", "studio")


@pytest.mark.parametrize(
    ("accept", "typ", "extra", "good"),
    [
        ("access", "JWT", {}, True),
        ("at+jwt", "JWT", {}, False),
        ("at+jwt", None, {}, False),
        ("at+jwt", "at+jwt", {}, True),
        ("at+jwt", "at+jwt", {"at_hash": "x"}, False),
        ("id", "at+jwt", {}, False),
        ("id", "JWT", {"at_hash": "x"}, True),
        ("id", None, {}, True),
        ("id", "JWT", {"aud": ["weir", "other"]}, False),
        ("id", "JWT", {"aud": ["weir", "other"], "azp": "other"}, False),
        ("id", "JWT", {"aud": ["weir", "other"], "azp": "weir"}, True),
        ("id", "JWT", {"azp": "the-phone-app"}, True),  # Google's ID tokens
    ],
)
async def test_kinds_of_token(accept: str, typ: str | None, extra: dict[str, Any], good: bool) -> None:
    async with Gateway(issuer(accept=accept)) as gateway:
        fields = {name: value for name, value in (HEADER | {"typ": typ}).items() if value is not None}
        _, refusal = await gateway.call(forge(fields, good_claims(gateway.clock.now, **extra), private_key("one")))
    assert (refusal is None) is good


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
async def test_an_issuers_own_list_of_algorithms(algorithm: Algorithm) -> None:
    async with Gateway(issuer(algorithms=("PS256",))) as gateway:
        token = forge(HEADER | {"alg": algorithm}, good_claims(gateway.clock.now), private_key("one"))
        _, refusal = await gateway.call(token)
    assert (refusal is None) is (algorithm == "PS256")


def test_a_key_is_never_used_for_an_algorithm_that_is_not_its_own() -> None:
    """CVE-2026-48523: the header was on the list, the key's algorithm was not asked."""
    (key,) = parse(json.dumps({"keys": [jwk("one", alg="RS256")]}).encode()).keys
    now = 1_750_000_000.0
    unverified = read(forge(HEADER | {"alg": "PS256"}, good_claims(now), private_key("one")))
    with pytest.raises(InvalidToken, match="another algorithm"):
        verify(unverified, key, issuer(), now)


def test_a_token_never_shows_itself() -> None:
    token = header()(1_750_000_000.0)
    assert token not in repr(read(token))
