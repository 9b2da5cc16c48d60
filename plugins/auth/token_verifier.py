"""From a token to who sent it: the one road, with every check on it.

`Auth` asks it for each credential that looks like a JWT. The issuer is chosen among the configured ones by
exact name, its keys come from `IssuerKeys`, the rules are `token.py`'s, the mapping `claims.py`'s. Verified
tokens are remembered so that a busy caller costs no signature; bad ones never are.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, final

from cachetools import FIFOCache

from plugins.auth.claims import subject_of, team_of
from plugins.auth.credential import Credential
from plugins.auth.issuer_keys import IssuerKeys
from plugins.auth.key_set import PublicKey
from plugins.auth.settings import Issuer
from plugins.auth.token import BadSignature, InvalidToken, Unverified, check_kind, read, verify
from proxy import Principal, Services

_MAX_REMEMBERED: Final = 4096

_Checked = tuple[dict[str, Any], str]  # claims, and the thumbprint of the key that vouches for them


@final
class _Remembered:
    """A token that was found good: whose it is, and for how long it stays so."""

    __slots__ = ("_expires_at", "_keys", "_thumbprint", "principal")

    def __init__(self, principal: Principal, keys: IssuerKeys, thumbprint: str, expires_at: float) -> None:
        self.principal = principal
        self._keys = keys
        self._thumbprint = thumbprint  # of the key that verified it
        self._expires_at = expires_at

    def holds(self, now: float) -> bool:
        """It has not run out, and its key is still the issuer's."""
        return now < self._expires_at and self._keys.vouch_for(self._thumbprint)


@final
class TokenVerifier:
    """Verifies tokens of the configured issuers."""

    def __init__(self, issuers: tuple[Issuer, ...], services: Services) -> None:
        self._time = services.clock.time
        self._issuers = {issuer.issuer: IssuerKeys(issuer, services) for issuer in issuers}
        # By SHA-256 of the whole token, signature and issuer included: a cache keyed by a part of it let
        # callers become one another (CVE-2026-35030). The one verified longest ago gives way: it runs out first.
        self._remembered: FIFOCache[str, _Remembered] = FIFOCache(_MAX_REMEMBERED)
        self._verified = 0  # by signature; one that is remembered does not count again

    async def start(self) -> None:
        await asyncio.gather(*(keys.start() for keys in self._issuers.values()))

    async def stop(self) -> None:
        for keys in self._issuers.values():
            await keys.stop()

    def recall(self, token: Credential) -> Principal | None:
        """Who sent it, if it was verified before, has not run out, and its key is still the issuer's."""
        if not token.has_dot:
            return None  # a team key: it would be looked up in vain
        digest = token.digest
        try:
            remembered = self._remembered[digest]  # `get` of this kind of dict looks it up twice
        except KeyError:
            return None
        if remembered.holds(self._time()):
            return remembered.principal
        del self._remembered[digest]
        return None

    async def verify(self, token: Credential) -> Principal:
        """Who sent it. Raises InvalidToken, IssuerUnavailable, or NotMapped."""
        unverified = read(token.value)
        keys = self._issuers.get(unverified.issuer)
        if keys is None:
            raise InvalidToken("issuer is not configured")
        settings = keys.settings
        check_kind(unverified, settings)
        claims, thumbprint = await self._check(unverified, keys)
        self._verified += 1
        principal = Principal(subject_of(claims, settings.subject), team_of(claims, settings.team))
        self._remembered[token.digest] = _Remembered(principal, keys, thumbprint, float(claims["exp"]))
        return principal

    def status(self) -> dict[str, Any]:
        return {
            "issuers": [keys.status() for keys in self._issuers.values()],
            "tokens": {"verified": self._verified, "remembered": len(self._remembered)},
        }

    async def _check(self, unverified: Unverified, keys: IssuerKeys) -> _Checked:
        fitting = await keys.fitting(unverified.algorithm, unverified.kid)
        if not fitting:
            raise InvalidToken("no key of the issuer's fits alg and kid")
        found = self._try(unverified, keys, fitting)
        # Without a `kid` a rotation shows only as a signature that no key made.
        if found is None and unverified.kid is None and await keys.ask_again():
            found = self._try(unverified, keys, keys.current().fits(unverified.algorithm, None))
        if found is None:
            raise InvalidToken("signature")
        return found

    def _try(self, unverified: Unverified, keys: IssuerKeys, fitting: Sequence[PublicKey]) -> _Checked | None:
        for key in fitting:
            try:
                return verify(unverified, key, keys.settings, self._time()), key.thumbprint
            except BadSignature:  # the next one may fit
                continue
        return None
