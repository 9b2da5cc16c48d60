"""What we put in the place of a caller's credential: the endpoint's API key or a Google access token.

The pool asks once an attempt. Tokens come from google-auth, in a thread, because it is synchronous; one
refresh serves everybody who waits for it.
"""

import asyncio
import logging
import time
from typing import Any

from proxy.endpoint import ApiKey, Endpoint, GoogleAccount
from proxy.head import RawField
from proxy.operation import Operation

WAIT_SECONDS = 10.0  # for a first token, or one that ran out
RETRY_SECONDS = 5.0  # after a failure
_log = logging.getLogger("proxy.wire")
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class CredentialFailed(Exception):
    """No token could be had. Its text names the source, never a secret."""


class Credentials:
    """The header field to put in, for an endpoint."""

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self._tokens: dict[str, GoogleToken] = {}

    async def field_for(self, endpoint: Endpoint, operation: Operation) -> RawField | None:
        """Name and value of the field, None for an endpoint without a credential. Raises CredentialFailed."""
        credential = endpoint.credential
        if isinstance(credential, ApiKey):
            key = _sendable(credential.secret.reveal(), "the API key")
            if operation.api == "openai":  # that surface reads nothing else (Gemini fact 1.6)
                return b"Authorization", b"Bearer " + key
            return b"x-goog-api-key", key
        if isinstance(credential, GoogleAccount):
            source = credential.source
            token = self._tokens.get(source)
            if token is None:
                token = self._tokens[source] = GoogleToken(source, self._retry_seconds)
            return b"Authorization", b"Bearer " + _sendable(await token.value(), "the token")
        return None


def _sendable(secret: str, what: str) -> bytes:
    """In one line of a head: a line break in it would begin another field."""
    if not (secret.isascii() and secret.isprintable()):
        raise CredentialFailed(f"{what} holds characters that no header may hold")
    return secret.encode()


class GoogleToken:
    """One account's access token.

    google-auth calls it stale 3 min 45 s before its end: then it is renewed behind the requests, which wait only
    once it is invalid. After a failure nobody asks again for a while.
    """

    def __init__(self, source: str, retry_seconds: float) -> None:
        self._source = source
        self._retry_seconds = retry_seconds
        self._account: Any = None
        self._refreshing: asyncio.Task[None] | None = None
        self._failed_at = 0.0
        self._failure = ""

    async def value(self) -> str:
        """Raises CredentialFailed."""
        state = self._account.token_state.name if self._account is not None else "INVALID"
        if state != "FRESH":
            refreshing = self._refresh()
            if state == "INVALID":
                await asyncio.wait({refreshing}, timeout=WAIT_SECONDS)
        if self._account is None or self._account.token_state.name == "INVALID":
            raise CredentialFailed(self._failure or f"no token for {self._source} within {WAIT_SECONDS} s")
        return str(self._account.token)

    def _refresh(self) -> asyncio.Task[None]:
        """The refresh under way, or a new one."""
        if self._refreshing is None or (self._refreshing.done() and self._may_retry()):
            self._refreshing = asyncio.create_task(self._run())
        return self._refreshing

    def _may_retry(self) -> bool:
        return not self._failure or time.monotonic() - self._failed_at >= self._retry_seconds

    async def _run(self) -> None:
        try:
            self._account = await asyncio.to_thread(_renewed, self._source, self._account)
            self._failure = ""
        except CredentialFailed as error:
            self._failure = str(error)
            self._failed_at = time.monotonic()
            _log.warning("google_token_failed: %s", error)


def _renewed(source: str, account: Any) -> Any:
    """The account with a new token. Blocks; google-auth is synchronous. Raises CredentialFailed."""
    try:
        import google.auth
        from google.auth import exceptions
        from google.auth.transport.requests import Request
        from google.oauth2 import service_account
    except ImportError as error:
        raise CredentialFailed(f'Google accounts need the extra: pip install "gemini-weir[google]" ({error})') from None
    try:
        if account is None and source == "default":
            account, _ = google.auth.default(scopes=[CLOUD_SCOPE])
        elif account is None:
            from_file: Any = service_account.Credentials.from_service_account_file
            account = from_file(source, scopes=[CLOUD_SCOPE])
        account.refresh(Request())
    except (exceptions.GoogleAuthError, OSError, ValueError) as error:
        # The text of google-auth's errors can hold parts of the answer; only its kind is safe to show.
        raise CredentialFailed(f"no token for {source}: {type(error).__name__}") from None
    return account
