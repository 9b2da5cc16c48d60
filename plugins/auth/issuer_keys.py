"""Keeps one issuer's key set at hand: found, fetched, refreshed ahead, and kept through outages.

`TokenVerifier` owns one for each issuer. Requests do not wait for a refresh, but for a token whose key is
not there; that may ask the provider once a cool-down, so that forged `kid`s cannot make us hammer it (50
forged ones made 51 fetches without, measured). All askers share one flight: two at once crashed Envoy
(CVE-2025-64527). It never fails the start, and never follows a key location given by a token.
"""

import asyncio
import contextlib
import json
import random
import re
from typing import Any, Final, final

from plugins.auth.key_set import KeySet, PublicKey, parse
from plugins.auth.settings import Issuer, is_safe
from proxy import Fetched, Services

_LIFETIME_SECONDS = 600.0  # Envoy's and jose's, when the provider does not say
_MIN_LIFETIME_SECONDS = 60.0
_MAX_LIFETIME_SECONDS = 3600.0  # a withdrawn key is refused within the hour, whatever max-age says
_REFRESH_AT = (0.6, 0.8)  # share of the lifetime; spread, so that several processes do not ask together
_COOL_DOWN_SECONDS = 30.0  # jose's and PyJWT's
_MAX_RETRY_SECONDS = 60.0  # first after 1 s as Envoy does, then doubling
_STALE_SECONDS: Final = 24 * 3600.0  # an outage may last that long; then fail closed

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])", re.IGNORECASE)


class IssuerUnavailable(Exception):
    """The issuer's keys are not known, so that its tokens can be neither trusted nor called bad."""


@final
class IssuerKeys:
    """The live key set of one issuer."""

    def __init__(self, settings: Issuer, services: Services) -> None:
        self.settings = settings
        self._monotonic = services.clock.monotonic
        self._sleep = services.clock.sleep
        self._fetch = services.fetch
        self._log = services.log.bind(issuer=settings.issuer)
        self._jwks_url = settings.jwks_url
        self._keys: KeySet | None = None
        self._thumbprints: frozenset[str] = frozenset()  # of these keys
        self._fetched_at = 0.0
        self._lifetime_seconds = _LIFETIME_SECONDS
        self._failures = 0
        self._error: str | None = None
        self._asked_at: float | None = None
        self._flight: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Fetch once, successful or not, and keep refreshing in the background."""
        await self.refresh()
        self._keeper = asyncio.create_task(self._keep(), name=f"keys of {self.settings.issuer}")

    async def stop(self) -> None:
        tasks = [task for task in (self._keeper, self._flight) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def current(self) -> KeySet:
        """The keys now. Raises IssuerUnavailable before the first success and after a day of outage."""
        if self._keys is None or self._age() > _STALE_SECONDS:
            raise IssuerUnavailable(self._error or "keys not fetched yet")
        return self._keys

    def vouch_for(self, thumbprint: str) -> bool:
        """Whether a key is (still) one of the issuer's, as far as that is known now."""
        return thumbprint in self._thumbprints and self._age() <= _STALE_SECONDS

    async def fitting(self, algorithm: str, kid: str | None) -> tuple[PublicKey, ...]:
        """Keys that may have signed such a token, asking the provider again if none does and it is time."""
        with contextlib.suppress(IssuerUnavailable):
            if found := self.current().fits(algorithm, kid):
                return found
        await self.ask_again()
        return self.current().fits(algorithm, kid)

    async def ask_again(self) -> bool:
        """Refresh because a token needs a key we do not have. False: asked too recently, nothing was done.

        No memory of bad `kid`s is needed on top: within a cool-down no `kid` at all makes us ask.
        """
        now = self._monotonic()
        cooling = self._asked_at is not None and now - self._asked_at < _COOL_DOWN_SECONDS
        if cooling and self._flight is None:
            return False
        if not cooling:
            self._asked_at = now
        await self.refresh()
        return True

    async def refresh(self) -> None:
        """Fetch the keys, or wait for the fetch under way. Failure is noted and logged, never raised."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._refresh(), name=f"fetch keys of {self.settings.issuer}")
            self._flight.add_done_callback(self._landed)
        # Shielded: one asker that goes away must not take the answer from the others.
        await asyncio.shield(self._flight)

    def status(self) -> dict[str, Any]:
        return {
            "issuer": self.settings.issuer,
            "keys": len(self._keys.keys) if self._keys else 0,
            "skipped": list(self._keys.skipped) if self._keys else [],
            "age_seconds": round(self._age(), 1) if self._keys else None,
            "last_error": self._error,
        }

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    def _landed(self, _: asyncio.Task[None]) -> None:
        self._flight = None

    async def _keep(self) -> None:
        while True:
            if self._failures:
                await self._sleep(min(2.0 ** (self._failures - 1), _MAX_RETRY_SECONDS))
            else:
                await self._sleep(self._lifetime_seconds * random.uniform(*_REFRESH_AT))  # noqa: S311 jitter
            await self.refresh()

    async def _refresh(self) -> None:
        try:
            if self._jwks_url is None:
                self._jwks_url = await self._discover()
            answer = await self._get(self._jwks_url)
            keys = parse(answer.body)
        except Exception as error:  # the keeper must outlive whatever a provider sends
            self._failures = min(self._failures + 1, 16)
            self._error = f"{type(error).__name__}: {error}"[:300]
            self._jwks_url = self.settings.jwks_url  # the provider may have moved them: discover again
            self._log.warning("issuer_keys_failed", error=self._error, kept=len(self._keys.keys) if self._keys else 0)
            return
        if self._keys != keys:
            self._log.info("issuer_keys_loaded", keys=len(keys.keys), skipped=keys.skipped)
        self._keys = keys
        self._thumbprints = frozenset(key.thumbprint for key in keys.keys)
        self._fetched_at = self._monotonic()
        self._lifetime_seconds = _lifetime_seconds(answer)
        self._failures = 0
        self._error = None

    async def _discover(self) -> str:
        """OIDC Discovery section 4. Raises ValueError when the document is not this issuer's."""
        url = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = json.loads((await self._get(url)).body)
        if not isinstance(document, dict) or document.get("issuer") != self.settings.issuer:
            found = document.get("issuer") if isinstance(document, dict) else None
            raise ValueError(f"{url} says issuer {found!r}, expected {self.settings.issuer!r}")
        jwks_url = document.get("jwks_uri")
        # A provider elsewhere must not make us trust whatever listens on this machine.
        if not isinstance(jwks_url, str) or not is_safe(jwks_url, allow_loopback=not _is_https(self.settings.issuer)):
            raise ValueError(f"{url} gives no usable jwks_uri (https)")
        return jwks_url

    async def _get(self, url: str) -> Fetched:
        answer = await self._fetch(url)
        if answer.status != 200:  # redirects included: CVE-2026-102267
            raise ValueError(f"{url} answered {answer.status}")
        return answer


def _is_https(url: str) -> bool:
    return url.lower().startswith("https:")


def _lifetime_seconds(answer: Fetched) -> float:
    """The provider's `max-age` (Google rotates by it), within reason."""
    said = _MAX_AGE.search(answer.headers.get("cache-control") or "")
    if said is None:
        return _LIFETIME_SECONDS
    return min(max(float(said[1]), _MIN_LIFETIME_SECONDS), _MAX_LIFETIME_SECONDS)
