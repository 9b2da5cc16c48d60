"""What we put in the place of a caller's credential: the endpoint's API key or a Google access token.

The relays ask once an attempt. A key's field is made once and is at hand from then on; a token may have to be waited
for (`google_token.py`).
"""

from typing import Final

from proxy.endpoint import ApiKey, Endpoint, GoogleAccount
from proxy.head import RawField
from proxy.operation import Operation
from proxy.wire.google_token import CredentialFailed, GoogleToken

__all__ = ["CredentialFailed", "Credentials"]

RETRY_SECONDS: Final = 5.0  # after a failure
_Made = dict[str, tuple[Endpoint, RawField]]


class Credentials:
    """The header field to put in, for an endpoint."""

    __slots__ = ("_made", "_made_for_openai", "_retry_seconds", "_tokens")

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self._tokens: dict[str, GoogleToken] = {}
        # Of keys, by the endpoint's name. A reload may give the name to another endpoint, which is another object.
        self._made: _Made = {}
        self._made_for_openai: _Made = {}

    def at_hand(self, endpoint: Endpoint, operation: Operation) -> RawField | None:
        """The field, if it was made before and cannot change. None: ask `field_for`."""
        made = self._made_for(operation).get(endpoint.name)
        return made[1] if made is not None and made[0] is endpoint else None

    async def field_for(self, endpoint: Endpoint, operation: Operation) -> RawField | None:
        """Name and value of the field, None for an endpoint without a credential. Raises CredentialFailed."""
        credential = endpoint.credential
        if isinstance(credential, ApiKey):
            key = _sendable(credential.secret.reveal(), "the API key")
            field = (b"x-goog-api-key", key)
            if operation.api == "openai":  # that surface reads nothing else (Gemini fact 1.6)
                field = (b"Authorization", b"Bearer " + key)
            self._made_for(operation)[endpoint.name] = endpoint, field
            return field
        if isinstance(credential, GoogleAccount):
            source = credential.source
            token = self._tokens.get(source)
            if token is None:
                token = self._tokens[source] = GoogleToken(source, self._retry_seconds)
            secret = await token.value()
            return b"Authorization", b"Bearer " + _sendable(secret, "the token")
        return None

    def _made_for(self, operation: Operation) -> _Made:
        return self._made_for_openai if operation.api == "openai" else self._made


def _sendable(secret: str, what: str) -> bytes:
    """In one line of a head: a line break in it would begin another field."""
    if not (secret.isascii() and secret.isprintable()):
        raise CredentialFailed(f"{what} holds characters that no header may hold")
    return secret.encode()
