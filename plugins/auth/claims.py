"""From a verified token's claims to a person and a team: pure functions.

`Auth` calls them only after the signature has been checked. No rule has a default team: claims that no
rule fits are `NotMapped`, which is a 403. Providers differ in everything but `sub`, so paths may be
nested (Keycloak `realm_access.roles`), names may be URLs (Auth0), values one string or a list.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from plugins.auth.settings import ClaimPath, TeamByClaim, segments

# Longer than any address (RFC 5321: 254) and any subject (OIDC Core 2: 255). It goes into every record.
_MAX_SUBJECT = 256


class NotMapped(Exception):
    """The token is good, but it does not say who or which team; the message is for the log."""


def subject_of(claims: Mapping[str, Any], path: ClaimPath) -> str:
    """The name for the record. Raises NotMapped."""
    match values_at(claims, path):
        case [str(subject)] if 0 < len(subject) <= _MAX_SUBJECT and subject.isprintable():
            return subject
        case []:
            raise NotMapped(f"claim {_shown(path)} is missing")
    raise NotMapped(f"claim {_shown(path)} is not one short printable string")


def team_of(claims: Mapping[str, Any], rule: str | TeamByClaim) -> str:
    """The team by the first entry of the rule's map that fits. Raises NotMapped.

    The order is the file's, never the token's: who may influence the order of groups must not choose.
    """
    if isinstance(rule, str):
        return rule
    values = values_at(claims, rule.claim)
    for pattern, team in rule.map.items():
        if any(value == pattern or fnmatchcase(value, pattern) for value in values):
            return team
    if not values and segments(rule.claim)[0] in _elsewhere(claims):
        # Entra ID leaves `groups` out above 200 of them and points at an API instead.
        raise NotMapped(f"claim {_shown(rule.claim)} is too large for the token (_claim_names); map app roles instead")
    raise NotMapped(
        f"claim {_shown(rule.claim)} " + ("is missing" if not values else "has no value that maps to a team")
    )


def values_at(claims: Mapping[str, Any], path: ClaimPath) -> list[str]:
    """The strings at a path; [] where there are none. An e-mail address that nobody vouches for is none."""
    value: Any = claims
    for segment in segments(path):
        value = value.get(segment) if isinstance(value, Mapping) else None
    values = value if isinstance(value, list) else [value]
    strings = [value for value in values if isinstance(value, str)]
    if segments(path) == ("email",):
        return [address for address in strings if _is_vouched(address, claims)]
    return strings


def _is_vouched(address: str, claims: Mapping[str, Any]) -> bool:
    """OIDC Core 5.7: an unverified address is what the user typed in. Absent: the provider's own accounts (Entra).

    Exactly one `@`: "*@example.com" would fit a@evil.net@example.com (CVE-2026-40574).
    """
    return claims.get("email_verified", True) in (True, "true") and address.count("@") == 1


def _elsewhere(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    names = claims.get("_claim_names")
    return names if isinstance(names, Mapping) else {}


def _shown(path: ClaimPath) -> str:
    return path if isinstance(path, str) else ".".join(path)
