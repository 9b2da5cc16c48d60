"""What we put in the place of a caller's credential: the endpoint's API key or a Google access token.

The pool asks once an attempt. Tokens come from google-auth, in a thread, because it is synchronous; one
refresh serves everybody who waits for it.
"""

import asyncio
from typing import Any

from proxy.endpoint import ApiKey, Endpoint, GoogleAccount
from proxy.exchange import Operation

CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class CredentialFailed(Exception):
    """No token could be had. Its text names the source, never a secret."""


class Credentials:
    """The header field to put in, for an endpoint."""

    def __init__(self) -> None:
        self._tokens: dict[str, GoogleToken] = {}

    async def field_for(self, endpoint: Endpoint, operation: Operation) -> tuple[str, str] | None:
        """Name and value of the field, None for an endpoint without a credential. Raises CredentialFailed."""
        match endpoint.credential:
            case ApiKey(secret=secret):
                if operation.api == "openai":  # that surface reads nothing else (Gemini fact 1.6)
                    return "Authorization", f"Bearer {secret.reveal()}"
                return "x-goog-api-key", secret.reveal()
            case GoogleAccount(source=source):
                token = self._tokens.setdefault(source, GoogleToken(source))
                return "Authorization", f"Bearer {await token.value()}"
            case None:
                return None


class GoogleToken:
    """One account's access token, renewed when google-auth calls it stale (3 min 45 s before its end)."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._account: Any = None
        self._refreshing: asyncio.Task[None] | None = None

    async def value(self) -> str:
        """Raises CredentialFailed."""
        if self._account is None or not self._account.valid:
            if self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.create_task(asyncio.to_thread(self._refresh))
            await asyncio.shield(self._refreshing)
        return str(self._account.token)

    def _refresh(self) -> None:
        try:
            import google.auth
            from google.auth import exceptions
            from google.auth.transport.requests import Request
            from google.oauth2 import service_account
        except ImportError as error:
            raise CredentialFailed(
                f'Google accounts need the extra: pip install "gemini-weir[google]" ({error})'
            ) from None
        try:
            if self._account is None:
                if self._source == "default":
                    self._account, _ = google.auth.default(scopes=[CLOUD_SCOPE])
                else:
                    self._account = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
                        self._source, scopes=[CLOUD_SCOPE]
                    )
            self._account.refresh(Request())
        except (exceptions.GoogleAuthError, OSError, ValueError) as error:
            # The text of google-auth's errors can hold parts of the answer; only its kind is safe to show.
            raise CredentialFailed(f"no token for {self._source}: {type(error).__name__}") from None
