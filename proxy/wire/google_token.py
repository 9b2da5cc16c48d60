"""One Google account's access token. Tokens come from google-auth, in a thread, because it is synchronous.

`credentials.py` makes one for each account; one refresh serves everybody who waits for it. It shows no secret.
"""

import asyncio
import logging
import time
from typing import Any

WAIT_SECONDS = 10.0  # for a first token, or one that ran out
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_log = logging.getLogger("proxy.wire")


class CredentialFailed(Exception):
    """No token could be had. Its text names the source, never a secret."""


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
