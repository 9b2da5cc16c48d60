"""From claims to a person and a team, as the well-known providers write them."""

from typing import Any

import pytest

from plugins.auth.claims import NotMapped, subject_of, team_of
from plugins.auth.settings import ClaimPath, TeamByClaim


@pytest.mark.parametrize(
    ("claims", "path", "subject"),
    [
        ({"sub": "u-1"}, "sub", "u-1"),
        ({"user": {"name": "ada"}}, "user.name", "ada"),
        ({"https://example.com/name": "ada"}, ("https://example.com/name",), "ada"),
        ({"email": "ada@example.com"}, "email", "ada@example.com"),
        ({"email": "ada@example.com", "email_verified": True}, "email", "ada@example.com"),
        ({"email": "ada@example.com", "email_verified": "true"}, "email", "ada@example.com"),
    ],
)
def test_subject(claims: dict[str, Any], path: ClaimPath, subject: str) -> None:
    assert subject_of(claims, path) == subject


@pytest.mark.parametrize(
    ("claims", "path"),
    [
        ({}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": ["a", "b"]}, "sub"),
        ({"sub": "line\nbreak"}, "sub"),
        ({"sub": "\ud800"}, "sub"),  # JSON may hold half a letter, which no log can write
        ({"sub": "x" * 257}, "sub"),
        ({"sub": "u"}, "sub.name"),
        ({"email": "ada@example.com", "email_verified": False}, "email"),
        ({"email": "ada@example.com", "email_verified": None}, "email"),
        ({"email": "a@evil.net@example.com"}, "email"),
    ],
)
def test_no_subject(claims: dict[str, Any], path: ClaimPath) -> None:
    with pytest.raises(NotMapped):
        subject_of(claims, path)


@pytest.mark.parametrize(
    ("claims", "rule", "team"),
    [
        ({}, "studio", "studio"),
        ({"groups": ["x", "ml"]}, TeamByClaim("groups", {"ml": "studio"}), "studio"),
        ({"groups": "ml"}, TeamByClaim("groups", {"ml": "studio"}), "studio"),
        ({"realm_access": {"roles": ["ml"]}}, TeamByClaim("realm_access.roles", {"ml": "studio"}), "studio"),
        ({"https://x/g": ["ml"]}, TeamByClaim(("https://x/g",), {"ml": "studio"}), "studio"),
        ({"groups": ["/ml/eu"]}, TeamByClaim("groups", {"/ml/*": "studio"}), "studio"),
        ({"groups": ["[odd]"]}, TeamByClaim("groups", {"[odd]": "studio"}), "studio"),
        ({"email": "ada@example.com"}, TeamByClaim("email", {"*@example.com": "studio"}), "studio"),
    ],
)
def test_team(claims: dict[str, Any], rule: str | TeamByClaim, team: str) -> None:
    assert team_of(claims, rule) == team


def test_the_order_is_the_files_not_the_tokens() -> None:
    rule = TeamByClaim("groups", {"lead": "vip", "*": "studio"})
    assert team_of({"groups": ["ml", "lead"]}, rule) == "vip"
    assert team_of({"groups": ["lead", "ml"]}, rule) == "vip"


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({}, "missing"),
        ({"groups": ["ML"]}, "no value that maps"),  # case matters
        ({"groups": {"ml": True}}, "missing"),
        ({"groups": [7, None]}, "missing"),
        ({"_claim_names": {"groups": "src1"}}, "too large for the token"),  # Entra ID above 200 groups
    ],
)
def test_no_team(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(NotMapped, match=message):
        team_of(claims, TeamByClaim("groups", {"ml": "studio"}))


def test_an_address_nobody_vouches_for_maps_to_nothing() -> None:
    rule = TeamByClaim("email", {"*@example.com": "studio"})
    for claims in (
        {"email": "ada@example.com", "email_verified": False},
        {"email": "a@evil.net@example.com", "email_verified": True},
    ):
        with pytest.raises(NotMapped):
            team_of(claims, rule)
