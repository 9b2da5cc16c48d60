"""The plugin `auth`: a credential in, a Principal on the exchange or a refusal out. Deny by default.

Its settings, its life, and what it tells; what it does to an exchange is in `admission`.
"""

from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar

from plugins.auth.admission import Admission
from plugins.auth.keyring import Keyring
from plugins.auth.settings import AuthConfig, check
from plugins.auth.token_verifier import TokenVerifier
from proxy import Exchange, Plugin, Services


class Auth(Plugin):
    Config: ClassVar[type] = AuthConfig
    provides: ClassVar[frozenset[str]] = frozenset({"principal", "models"})

    def __init__(self, config: AuthConfig, services: Services) -> None:
        check(config)
        super().__init__(config, services)
        self._keyring = Keyring(config.keys, services) if config.keys is not None else None
        self._tokens = TokenVerifier(config.issuers, services)
        self._admission = Admission(self._keyring, self._tokens, services)

    async def start(self) -> None:
        if self._keyring is not None:
            await self._keyring.start()
        await self._tokens.start()

    async def stop(self) -> None:
        await self._tokens.stop()

    def before_exchange(self, exchange: Exchange) -> Awaitable[None] | None:
        return self._admission.admit(exchange)

    async def explain(self, exchange: Exchange) -> list[str]:
        waits = self.before_exchange(exchange)
        if waits is not None:
            await waits
        principal = exchange.principal
        assert principal is not None, "else it was refused"
        how = f"team key {principal.key_id}" if principal.key_id else f"token of {principal.subject}"
        lineage = self.services.teams.lineage(principal.team)
        lists = [f"{', '.join(team.models)} ({team.name})" for team in lineage if team.models]
        models = " and ".join(lists) if lists else "any"
        return [f"{how}, team {' in '.join(team.name for team in lineage)}", f"models allowed: {models}"]

    async def status(self) -> Mapping[str, Any]:
        keys = {"keys": self._keyring.status()} if self._keyring is not None else {}
        return keys | self._tokens.status()
