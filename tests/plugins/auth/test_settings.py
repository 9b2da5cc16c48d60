"""The table as it is written, and what is refused by name."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugins.auth.settings import AuthConfig, Issuer, TeamByClaim, check, is_safe
from proxy import Seconds
from tests.plugins.auth.provider import issuer


def load(text: str) -> AuthConfig:
    def convert(shape: type, value: Any) -> Any:
        return Seconds.parse(value) if shape is Seconds else Path("/etc/weir") / value

    return msgspec.convert(tomllib.loads(text), AuthConfig, dec_hook=convert)


def test_the_documented_table() -> None:
    config = load("""
        keys = "keys.toml"
        [[issuers]]
        issuer = "https://login.example.com"
        audience = ["weir"]
        subject = "email"
        team = { claim = "groups", map = { "ml-studio" = "studio" } }
        [[issuers]]
        issuer = "https://other.example.com"
        audience = ["weir"]
        subject = ["https://example.com/name"]
        team = "acme"
        leeway = "30s"
        algorithms = ["ES256"]
        accept = "id"
    """)
    check(config)
    assert config.keys == Path("/etc/weir/keys.toml")
    first, second = config.issuers
    assert first.team == TeamByClaim("groups", {"ml-studio": "studio"})
    assert (first.algorithms, first.leeway, first.accept) == (("RS256", "ES256", "EdDSA", "PS256"), 60, "access")
    assert (second.team, second.subject, second.leeway) == ("acme", ("https://example.com/name",), 30)


@pytest.mark.parametrize(
    "line", ['algorithms = ["HS256"]', 'algorithms = ["none"]', 'accept = "all"', 'audiences = ["x"]']
)
def test_what_the_table_cannot_hold(line: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        load(f'[[issuers]]\nissuer = "https://a.example"\naudience = ["weir"]\nteam = "acme"\n{line}')


@pytest.mark.parametrize(
    ("issuers", "message"),
    [
        ([], "nobody could pass"),
        ([issuer(), issuer()], "twice"),
        ([issuer(audience=())], "audience"),
        ([issuer(audience=("",))], "audience"),
        ([issuer(algorithms=())], "algorithms"),
        ([issuer(algorithms=("RS256", "HS256"))], "HS256"),
        ([issuer(leeway=Seconds(301))], "leeway"),
        ([issuer(jwks_url="http://login.example.com/keys")], "jwks_url"),
        ([issuer(jwks_url=None, issuer="accounts.google.com")], "issuer"),
        ([issuer(jwks_url=None, issuer="http://login.example.com")], "https"),
        ([issuer(team=TeamByClaim("groups", {}))], "map"),
        ([issuer(team=TeamByClaim("", {"a": "b"}))], "team.claim"),
        ([issuer(subject="https://example.com/name")], "written as a list"),
        ([issuer(subject="a..b")], "subject"),
    ],
)
def test_settings_that_cannot_work_are_named(issuers: list[Issuer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(AuthConfig(issuers=tuple(issuers)))


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://login.example.com/keys", True),
        ("http://127.0.0.1:9601/keys", True),
        ("http://localhost:9601/keys", True),
        ("http://[::1]/keys", True),
        ("http://127.0.0.1.example.com/keys", False),
        ("http://localhost.example.com/keys", False),
        ("http://127.0.0.1@example.com/keys", False),
        ("http://10.0.0.1/keys", False),
        ("ftp://127.0.0.1/keys", False),
        ("https:///keys", False),
        ("file:///etc/passwd", False),
    ],
)
def test_safe_places_to_get_keys_from(url: str, safe: bool) -> None:
    assert is_safe(url) is safe


def test_loopback_can_be_ruled_out() -> None:
    assert not is_safe("http://127.0.0.1/keys", allow_loopback=False)
