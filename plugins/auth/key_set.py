"""An issuer's public keys, read from a JWK set (RFC 7517): pure functions of its bytes.

`IssuerKeys` fetches the bytes. A key is only usable for the algorithms of its own type, so that the token's
header never decides what a key means. One key that cannot be read is left out and named; it must not void
the others (CVE-2026-102275). Symmetric keys, private keys and RSA under 2048 bits are never usable.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

Material = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_MAX_KEYS = 32
_MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_MAX_TRIES = 4  # keys tried for a token without `kid`: each costs up to 0.1 ms of CPU

# By kty and crv (RFC 7518 section 6, RFC 8037).
_ALGORITHMS: Mapping[tuple[Any, Any], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class PublicKey(msgspec.Struct, frozen=True):
    """One verifying key. `thumbprint` names its material whatever its `kid` (RFC 7638)."""

    kid: str | None
    algorithms: frozenset[str]
    material: Material
    thumbprint: str


class KeySet(msgspec.Struct, frozen=True):
    """The usable keys of one issuer, and why the others are not."""

    keys: tuple[PublicKey, ...]
    skipped: tuple[str, ...] = ()

    def fits(self, algorithm: str, kid: str | None) -> tuple[PublicKey, ...]:
        """Keys that may have signed such a token. Without `kid`: every one of the algorithm, up to four."""
        able = (key for key in self.keys if algorithm in key.algorithms and kid in (None, key.kid))
        return tuple(able)[:_MAX_TRIES]


def parse(body: bytes) -> KeySet:
    """Read a JWK set. Raises ValueError when it is none, or has no key that could be used.

    A set without a usable key is treated as a fault of the provider, not as a wish to lock everybody out.
    """
    try:
        entries = json.loads(body)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the answer is not a JWK set") from error
    if not isinstance(entries, list):
        raise ValueError("the answer is not a JWK set")  # noqa: TRY004 a fault of the data, not of the caller
    keys: list[PublicKey] = []
    skipped: list[str] = []
    for number, entry in enumerate(entries[:_MAX_KEYS]):
        try:
            keys.append(_key(entry))
        except Exception as error:  # whatever a parser makes of hostile input, the next key counts
            skipped.append(f"key {number}: {_why(error)}")
    if len(entries) > _MAX_KEYS:
        skipped.append(f"{len(entries) - _MAX_KEYS} keys after the first {_MAX_KEYS}")
    if not keys:
        raise ValueError("no usable key in the JWK set: " + ("; ".join(skipped[:4]) or "it is empty"))
    return KeySet(tuple(keys), tuple(skipped))


def _why(error: Exception) -> str:
    # Only our own words: PyJWT's messages quote the whole key.
    return str(error) if type(error) is _Unusable else type(error).__name__


class _Unusable(Exception):
    """Why a key is left out."""


def _key(entry: Any) -> PublicKey:
    if not isinstance(entry, Mapping):
        raise _Unusable("not an object")
    kid = entry.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise _Unusable("kid is not a string")
    if "d" in entry:
        raise _Unusable("a private key was published")
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ("verify",)):
        raise _Unusable("not for signatures")
    kty = entry.get("kty")
    algorithms = _ALGORITHMS.get((kty, None if kty == "RSA" else entry.get("crv")), ())
    if "alg" in entry:
        algorithms = tuple(name for name in algorithms if name == entry["alg"])
    if not algorithms:
        raise _Unusable("type or algorithm not supported")
    material = cast(Material, jwt.PyJWK(dict(entry), algorithm=algorithms[0]).key)
    if isinstance(material, RSAPublicKey) and material.key_size < _MIN_RSA_BITS:
        raise _Unusable(f"RSA key of {material.key_size} bits")
    return PublicKey(kid, frozenset(algorithms), material, _thumbprint(entry))


def _thumbprint(entry: Mapping[str, Any]) -> str:
    members = {name: entry[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in entry}
    return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()
