"""The table `[plugins.auth]`: where the team keys are, and whose tokens are good for what.

The loader binds it; `Auth` and the parts it is made of read it. `check` refuses settings that cannot work,
naming the key. Nothing here knows a secret: a key file holds hashes, an issuer publishes its keys.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

import msgspec

from proxy import Seconds

ClaimPath = str | tuple[str, ...]  # "realm_access.roles", or segments where a name has dots itself

# No HS*: a verifier that knows both shared secrets and public keys can be made to take one for the other
# (CVE-2017-11424, CVE-2022-29217, CVE-2026-102268). ES256K and RS1 have no user here.
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip


class TeamByClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Finds the team in a claim: the first entry of `map` that fits one of the claim's values.

    `map` goes from an exact value or a shell pattern to a team, in the order of the file. The claim may be
    a string or a list of strings.
    """

    claim: ClaimPath
    map: dict[str, str]


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One identity provider. See `token.py` for what each setting asks of a token."""

    issuer: str  # compared with `iss` as an exact string: a final slash makes another issuer
    audience: tuple[str, ...]
    team: str | TeamByClaim
    subject: ClaimPath = "sub"
    jwks_url: str | None = None  # default: by OIDC Discovery
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA", "PS256")
    leeway: Seconds = Seconds(60)  # Envoy's default; clocks of other houses are that far off
    accept: Literal["access", "at+jwt", "id"] = "access"


class AuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may pass: holders of a team key, of a good token, or both."""

    keys: Path | None = None
    issuers: tuple[Issuer, ...] = ()


def check(config: AuthConfig) -> None:
    """Raise ValueError, naming the key, for settings that cannot work."""
    if config.keys is None and not config.issuers:
        raise ValueError('nobody could pass: set keys = "keys.toml", or add an [[issuers]] table')
    names = [issuer.issuer for issuer in config.issuers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'issuers: "{name}" is there twice; one table an issuer')
    for issuer in config.issuers:
        _check_issuer(issuer)


def _check_issuer(issuer: Issuer) -> None:
    where = f'issuers, "{issuer.issuer}"'
    if not issuer.audience or not all(issuer.audience):
        raise ValueError(f"{where}: audience must name at least one audience; without it any token of theirs would do")
    if not issuer.algorithms:
        raise ValueError(f"{where}: algorithms must not be empty")
    unknown = set(issuer.algorithms) - set(get_args(Algorithm))
    if unknown:
        raise ValueError(f"{where}: algorithms: {', '.join(sorted(unknown))}: only public-key signatures are verified")
    if not 0 <= issuer.leeway <= 300:
        raise ValueError(f'{where}: leeway must lie between "0s" and "5m", found {issuer.leeway:g} s')
    if isinstance(issuer.team, TeamByClaim):
        _check_path(f"{where}: team.claim", issuer.team.claim)
        if not issuer.team.map:
            raise ValueError(f"{where}: team.map is empty, so no token would be of any team")
    _check_path(f"{where}: subject", issuer.subject)
    if issuer.jwks_url is None:
        _check_url(f"{where}: issuer (without jwks_url it is asked for its keys)", issuer.issuer)
    else:
        _check_url(f"{where}: jwks_url", issuer.jwks_url)


def _check_path(where: str, path: ClaimPath) -> None:
    if isinstance(path, str) and "://" in path:
        raise ValueError(f'{where}: a claim with dots in its name is written as a list: ["{path}"]')
    if not path or not all(segments(path)):
        raise ValueError(f"{where}: empty claim name")


def _check_url(where: str, url: str) -> None:
    if not is_safe(url):
        raise ValueError(f'{where}: must be https:// (http:// only to this machine), found "{url}"')


def is_safe(url: str, *, allow_loopback: bool = True) -> bool:
    """True for https, and for http that never leaves this machine: whoever answers decides who passes."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return allow_loopback and parts.scheme == "http" and is_loopback(parts.hostname)


def is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False


def segments(path: ClaimPath) -> tuple[str, ...]:
    return tuple(path.split(".")) if isinstance(path, str) else tuple(path)
