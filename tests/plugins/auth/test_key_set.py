"""Which published keys are usable, and for what."""

import json
from typing import Any

import pytest

from plugins.auth.key_set import parse
from tests.plugins.auth.provider import ALGORITHMS, jwk, private_key


def published(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def without(key: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in names}


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (jwk("one"), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (jwk("one", alg="PS256"), {"PS256"}),
        (jwk("curve", "EC"), {"ES256"}),
        (jwk("edwards", "OKP"), {"EdDSA"}),
        (without(jwk("one"), "use"), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (jwk("one", key_ops=["verify"], alg="RS256"), {"RS256"}),
    ],
)
def test_a_key_is_for_the_algorithms_of_its_type(key: dict[str, Any], algorithms: set[str]) -> None:
    (found,) = parse(published(key)).keys
    assert found.algorithms == algorithms


def private() -> dict[str, Any]:
    return json.loads(ALGORITHMS["RS256"].to_jwk(private_key("one"))) | {"kid": "one"}


UNUSABLE = [
    (jwk("small", "RSA-1024"), "1024 bits"),
    (jwk("one", use="enc"), "not for signatures"),
    (jwk("one", key_ops=["encrypt"]), "not for signatures"),
    (jwk("one", alg="ES256"), "not supported"),
    (jwk("one", alg="HS256"), "not supported"),
    (jwk("one", alg="RSA-OAEP"), "not supported"),
    (jwk("one", alg=["RS256"]), "not supported"),
    (jwk("one", kid=7), "kid"),
    (jwk("one", n="!!"), "Error"),
    (jwk("one", e=""), "Error"),
    (without(jwk("one"), "n"), "Error"),
    (jwk("curve", "EC", crv="secp256k1"), "not supported"),
    (jwk("curve", "EC", crv="P-384"), "Error"),
    (jwk("curve", "EC", crv=["P-256"]), "TypeError"),
    (jwk("curve", "EC", y="AAAA"), "Error"),
    ({"kty": "oct", "k": "c2VjcmV0", "kid": "h", "alg": "HS256"}, "not supported"),
    (private(), "private"),
    ({}, "not supported"),
    ("key", "not an object"),
    (None, "not an object"),
]


@pytest.mark.parametrize(("bad", "why"), UNUSABLE)
def test_one_bad_key_does_not_void_the_set(bad: Any, why: str) -> None:
    keys = parse(published(bad, jwk("good")))
    assert [key.kid for key in keys.keys] == ["good"]
    assert len(keys.skipped) == 1
    assert why in keys.skipped[0]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 7}', b'{"keys": []}', b"\xff", b"[" * 100_000])
def test_what_is_no_key_set(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse(body)


def test_a_set_of_bad_keys_only_is_none() -> None:
    with pytest.raises(ValueError, match="no usable key"):
        parse(published(*(key for key, _ in UNUSABLE)))


def test_no_more_than_32_keys() -> None:
    keys = parse(published(*(jwk("one", kid=str(number)) for number in range(40))))
    assert len(keys.keys) == 32
    assert keys.skipped == ("8 keys after the first 32",)


def test_fitting_keys() -> None:
    keys = parse(published(*(jwk("one", kid=str(number)) for number in range(6)), jwk("curve", "EC")))
    assert [key.kid for key in keys.fits("RS256", "3")] == ["3"]
    assert keys.fits("ES256", "3") == ()
    assert keys.fits("RS256", "curve") == ()
    assert [key.kid for key in keys.fits("ES256", None)] == ["curve"]
    assert len(keys.fits("RS256", None)) == 4  # a token without `kid` costs four signatures at most


def test_a_thumbprint_is_of_the_key_alone() -> None:
    first, renamed, other = parse(published(jwk("one"), jwk("one", kid="new", alg="RS256"), jwk("two"))).keys
    assert first.thumbprint == renamed.thumbprint != other.thumbprint
