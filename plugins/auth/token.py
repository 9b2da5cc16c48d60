"""The rules that one token must keep: RFC 7519, RFC 8725, RFC 9068, OIDC Core. Pure functions of their input.

`TokenVerifier` calls `read` to learn whose token it claims to be, then `verify` with a key of that issuer.
PyJWT checks signature, `iss` and `aud`; what it leaves to its callers (type, `crit`, numeric and clocked
times) is checked here. Headers that bring their own key (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
"""

from collections.abc import Mapping
from typing import Any

import jwt
import msgspec

from plugins.auth.key_set import PublicKey
from plugins.auth.settings import Issuer

# A 3 MB token costs 0.12 s of CPU (measured). Real ones with many groups stay under 8 KiB.
_MAX_TOKEN = 16 * 1024
_MAX_KID = 256

# The last second of the year 9999. PyJWT takes `"exp": "1795…"` and 1e30 (measured); RFC 7519 section 2
# wants a number of seconds.
_MAX_TIME = 253_402_300_799

_ACCESS_TYPES = frozenset({"at+jwt", "application/at+jwt"})  # RFC 9068 section 4
_PLAIN_TYPES = frozenset({"", "jwt", "application/jwt"})  # what Google, Okta, Entra ID and Keycloak say, or nothing

# Claims by which providers whose access tokens are plain `JWT` mark those that are something else.
_NOT_ACCESS = {"typ": {"ID", "Refresh", "Offline", "Logout"}, "token_use": {"id"}}  # Keycloak, Cognito
_ONLY_IN_OTHERS = ("at_hash", "c_hash", "events")  # OIDC Core 3.3.2.11 (ID tokens); RFC 8417 (event, logout tokens)

_JWT = jwt.PyJWT(options={"enforce_minimum_key_length": True})
_CHECKS: Any = {
    "require": ["exp", "iat", "iss", "aud"],
    "verify_exp": False,  # below, by the service's clock
    "verify_iat": False,
    "verify_nbf": False,
}


class InvalidToken(Exception):
    """The token breaks a rule; the message is for the log and holds nothing of the token but claim names."""


class Unverified(msgspec.Struct, frozen=True):
    """What a token claims about itself. Good for choosing whom to ask, for nothing else."""

    token: str
    algorithm: str
    kid: str | None
    type: str
    issuer: str

    def __repr__(self) -> str:
        return "Unverified(hidden)"


def read(token: str) -> Unverified:
    """Take a token apart. Raises InvalidToken for what no issuer's setting could allow."""
    if len(token) > _MAX_TOKEN:
        raise InvalidToken("longer than 16 KiB")
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise InvalidToken("malformed") from error
    header, claims = parts["header"], parts["payload"]
    if "crit" in header or "b64" in header:
        # RFC 7515 section 4.1.11: refuse what one does not understand, and we understand no extension.
        raise InvalidToken("header crit")
    kid, algorithm, type_ = header.get("kid"), header.get("alg"), header.get("typ", "")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _MAX_KID):
        raise InvalidToken("header kid")
    if not isinstance(algorithm, str):
        raise InvalidToken("header alg")
    if not isinstance(type_, str):
        raise InvalidToken("header typ")
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise InvalidToken("claim iss")
    return Unverified(token, algorithm, kid, type_.lower(), issuer)  # RFC 7515 section 4.1.9: no case


def claimed_issuer(token: str) -> str | None:
    """Whose token a bad one claims to be, fit for one line of a log: most are a matter of a final slash."""
    try:
        issuer = read(token).issuer
    except InvalidToken:
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in issuer[:120])


def check_kind(unverified: Unverified, issuer: Issuer) -> None:
    """Algorithm and type against the issuer's lists, before any key is looked for. Raises InvalidToken."""
    if unverified.algorithm not in issuer.algorithms:
        raise InvalidToken("algorithm not allowed")
    allowed = {"access": _ACCESS_TYPES | _PLAIN_TYPES, "at+jwt": _ACCESS_TYPES, "id": _PLAIN_TYPES}[issuer.accept]
    if unverified.type not in allowed:
        raise InvalidToken(f'header typ does not fit accept = "{issuer.accept}"')


def verify(unverified: Unverified, key: PublicKey, issuer: Issuer, now: float) -> dict[str, Any]:
    """The claims, once signature and every rule hold. Raises InvalidToken."""
    if unverified.algorithm not in key.algorithms:
        # CVE-2026-48523: an allow-list on the header alone says nothing about the key.
        raise InvalidToken("the key is for another algorithm")
    try:
        claims = _JWT.decode(
            unverified.token,
            key.material,
            algorithms=[unverified.algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            options=_CHECKS,
        )
    except jwt.InvalidSignatureError as error:
        raise BadSignature("signature") from error
    except jwt.PyJWTError as error:
        raise InvalidToken(_why(error)) from error
    _check_times(claims, now, issuer.leeway)
    _check_use(claims, issuer)
    return claims


class BadSignature(InvalidToken):
    """Not signed by this key; without a `kid` another one may fit."""


def _why(error: jwt.PyJWTError) -> str:
    match error:
        case jwt.MissingRequiredClaimError():
            return f"claim {error.claim} is missing"
        case jwt.InvalidAudienceError():
            return "claim aud"
        case jwt.InvalidIssuerError():
            return "claim iss"
    return type(error).__name__


def _check_times(claims: Mapping[str, Any], now: float, leeway: float) -> None:
    times = {name: _seconds(name, claims[name]) for name in ("exp", "iat", "nbf") if name in claims}
    if times["exp"] <= now - leeway:
        raise InvalidToken("expired")
    if max(times["iat"], times.get("nbf", 0)) > now + leeway:
        raise InvalidToken("not yet valid")


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIME:
        raise InvalidToken(f"claim {name} is not a time")
    return value


def _check_use(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Keep tokens of one kind from passing as the other (RFC 8725 section 3.12)."""
    if issuer.accept != "id":
        marks = [name for name in _ONLY_IN_OTHERS if name in claims]
        marks += [name for name, values in _NOT_ACCESS.items() if str(claims.get(name)) in values]
        if marks:
            raise InvalidToken(f"not an access token, by its claim {marks[0]}")
    elif isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") not in issuer.audience:
        # OIDC Core 3.1.3.7: an ID token for several audiences must have been given to one of ours. With a
        # single one `azp` may be another client: Google's is the phone app that asked for our token.
        raise InvalidToken("claim azp")
