"""Who calls, and may they? Asked by `Auth` for every exchange.

Team keys are looked up in `Keyring`, tokens go to `TokenVerifier`; a failed check is final, there is no
other road. Refusals carry Google's words, which SDKs know (Gemini fact 3). Callers learn only that their
credential is bad; why, for whom to mend it, is in the log, without the credential.
"""

from collections.abc import Awaitable
from typing import Any, Final, final

from plugins.auth.access import Access
from plugins.auth.claims import NotMapped
from plugins.auth.credential import Credential, Problem, recognise
from plugins.auth.issuer_keys import IssuerUnavailable
from plugins.auth.keyring import Keyring
from plugins.auth.keys import Key
from plugins.auth.token import InvalidToken, claimed_issuer
from plugins.auth.token_verifier import TokenVerifier
from proxy import Exchange, Principal, Refusal, Services

_NO_CREDENTIAL = (
    "Method doesn't allow unregistered callers (callers without established identity). "
    "Please use API Key or other form of API consumer identity to call this API."
)
_BAD_KEY = "API key not valid. Please pass a valid API key."
_BAD_TOKEN = (
    "Request had invalid authentication credentials. "  # noqa: S105 Google's message, no secret
    "Expected OAuth 2 access token, login cookie or other valid authentication credential."
)
_RETRY_SECONDS: Final = 5.0  # the issuer's keys are asked for again about that often


@final
class Admission:
    """The one road from a request's head to a Principal on its exchange."""

    __slots__ = ("_access", "_keyring", "_log", "_tokens")

    def __init__(self, keyring: Keyring | None, tokens: TokenVerifier, services: Services) -> None:
        self._keyring = keyring
        self._tokens = tokens
        self._access = services.teams.derive(Access)
        self._log = services.log

    def admit(self, exchange: Exchange) -> Awaitable[None] | None:
        """Set the exchange's principal, or raise the Refusal.

        What a busy caller sends again and again is known without a wait: then None is returned.
        """
        principal = self._of_upload(exchange) if exchange.continuation is not None else None
        if principal is None:
            credential = recognise(exchange.request)
            if not isinstance(credential, Credential):
                raise self._refuse_problem(exchange, credential)
            principal = self._at_hand(exchange, credential)
            if principal is None:
                return self._admit_unknown(exchange, credential)
        return self._let_in(exchange, principal)

    def _let_in(self, exchange: Exchange, principal: Principal) -> Awaitable[None] | None:
        exchange.principal = principal  # before the next checks: the record of a refusal says who, too
        access = self._access.of(principal.team)
        if access is None:
            why = f"team {principal.team} is not in the routes file"
            raise self._refuse_teamless(exchange, why, subject=principal.subject)
        return access.check(exchange)

    async def _admit_unknown(self, exchange: Exchange, credential: Credential) -> None:
        waits = self._let_in(exchange, await self._identify(exchange, credential))
        if waits is not None:
            await waits

    def _of_upload(self, exchange: Exchange) -> Principal | None:
        """The pieces of an upload come without a credential (Gemini fact 1.2): its sealed address stands for it."""
        continued = exchange.continued()
        return continued.principal if continued is not None else None

    def _at_hand(self, exchange: Exchange, credential: Credential) -> Principal | None:
        """Whose it is, as far as that can be said now: None is no answer."""
        principal = self._tokens.recall(credential)
        keyring = self._keyring
        if principal is None and keyring is not None and not keyring.due() and not credential.is_token:
            principal = self._of_key(exchange, keyring.known(credential))
        return principal

    async def _identify(self, exchange: Exchange, credential: Credential) -> Principal:
        if credential.is_token:
            return await self._identify_token(exchange, credential)
        key = await self._keyring.find(credential) if self._keyring is not None else None
        return self._of_key(exchange, key)

    def _of_key(self, exchange: Exchange, key: Key | None) -> Principal:
        state = self._keyring.state(key) if key is not None and self._keyring is not None else "unknown"
        if key is None or state != "live":
            self._tell(exchange, f"{state}_key", key_id=key.id if key else None, team=key.team if key else None)
            localized = "type.googleapis.com/google.rpc.LocalizedMessage"
            raise exchange.refuse(
                400,  # not 401: Google's answer to a bad key, and what SDKs recognise
                _BAD_KEY,
                reason="API_KEY_INVALID",
                details=[{"@type": localized, "locale": "en-US", "message": _BAD_KEY}],
            )
        return Principal(subject=f"key:{key.id}", team=key.team, key_id=key.id)

    async def _identify_token(self, exchange: Exchange, credential: Credential) -> Principal:
        try:
            return await self._tokens.verify(credential)
        except InvalidToken as error:
            self._tell(exchange, "bad_token", why=str(error), issuer=claimed_issuer(credential.value))
            raise self._refuse_unauthenticated(exchange, 'Bearer error="invalid_token"') from None
        except NotMapped as error:
            raise self._refuse_teamless(exchange, str(error), issuer=claimed_issuer(credential.value)) from None
        except IssuerUnavailable as error:
            self._tell(exchange, "issuer_unavailable", why=str(error), issuer=claimed_issuer(credential.value))
            raise exchange.refuse(
                503,
                "The token cannot be checked right now: its issuer's keys are unavailable. Please try again later.",
                reason="ISSUER_UNAVAILABLE",
                retry_after=_RETRY_SECONDS,
            ) from None

    def _refuse_problem(self, exchange: Exchange, problem: Problem) -> Refusal:
        self._tell(exchange, problem.value)
        if problem is Problem.NONE:
            return exchange.refuse(403, _NO_CREDENTIAL, reason="CREDENTIALS_MISSING")
        if problem is Problem.SEVERAL:
            message = "The request carries different credentials in several places. Send exactly one."
            return exchange.refuse(400, message, reason="CREDENTIALS_AMBIGUOUS")
        return self._refuse_unauthenticated(exchange, "Bearer")

    def _refuse_unauthenticated(self, exchange: Exchange, challenge: str) -> Refusal:
        exchange.reply_headers.append(("WWW-Authenticate", challenge))  # RFC 6750 section 3
        return exchange.refuse(401, _BAD_TOKEN, reason="CREDENTIALS_INVALID")

    def _refuse_teamless(self, exchange: Exchange, why: str, **who: str | None) -> Refusal:
        self._tell(exchange, "no_team", why=why, **who)
        message = "The caller is known, but belongs to no team of this gateway. Ask whoever runs it."
        return exchange.refuse(403, message, reason="TEAM_UNKNOWN")

    def _tell(self, exchange: Exchange, reason: str, **facts: Any) -> None:
        known = {name: fact for name, fact in facts.items() if fact is not None}
        self._log.info("auth_refused", reason=reason, exchange=exchange.id, peer=exchange.request.peer, **known)
