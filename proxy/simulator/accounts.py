"""Whose call it is: the credential a caller shows, checked as the surface it calls checks it.

The server asks once a call, before anything is answered; the account is the key itself, or the name behind a token
that the simulator's own token endpoint gave out. Any credential is good when no keys are configured.
Refuses with the errors Google gives: 400 for an unknown key, 403 for none, 401 for a token it does not know.
"""

import base64
import binascii
import secrets
import time
from collections.abc import Collection
from urllib.parse import parse_qsl

import msgspec

from proxy.simulator import errors
from proxy.simulator.answer import Answer, unary
from proxy.simulator.call import Call
from proxy.simulator.errors import GoogleError

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_SECONDS = 3599


class Accounts:
    def __init__(self, keys: Collection[str]) -> None:
        self.keys = set(keys)
        self._tokens: dict[str, tuple[str, float]] = {}

    def authenticate(self, call: Call) -> str:
        """The account, or a GoogleError. A key beats a bearer token: gemini-cli sends both (Gemini fact 2.1)."""
        host = call.headers.get("Host", "generativelanguage.googleapis.com")
        key = call.headers.get("x-goog-api-key") or call.query.get("key")
        token = call.query.get("access_token") or _bearer(call.headers.get("Authorization", ""))
        if call.path.segments[:1] == ("projects",):
            if token is None and key is not None:
                raise errors.key_not_supported(f"PredictionService.{call.path.verb or call.method}", host)
            key = None
        if key is not None:
            if self.keys and key not in self.keys:
                raise errors.bad_key(host)
            return key
        if token is None:
            raise errors.no_credential()
        return self._account_of(token, call, host)

    def _account_of(self, token: str, call: Call, host: str) -> str:
        account, expires_at = self._tokens.get(token, ("", 0.0))
        if account and expires_at > time.time():
            return account
        if account or (self.keys and token not in self.keys):
            raise errors.bad_key(host) if call.openai and not call.path.vertex else errors.bad_token()
        return token

    def expire_tokens(self) -> None:
        """Every token given out so far stops being good, as after an hour."""
        self._tokens = {token: (account, 0.0) for token, (account, _) in self._tokens.items()}

    def give_token(self, call: Call) -> Answer:
        """The OAuth token endpoint: jwt-bearer and refresh_token grants (Gemini fact 6.2).

        The assertion's claims are read and its times checked; its signature is not, for no public key is at hand.
        """
        form = dict(parse_qsl(call.body.decode("latin-1")))
        match form.get("grant_type"):
            case grant if grant == _JWT_BEARER:
                account = _issuer(form.get("assertion", ""))
            case "refresh_token" if form.get("refresh_token"):
                account = form.get("client_id", "refresh")
            case _:
                raise GoogleError(400, "unsupported_grant_type")
        token = f"ya29.sim-{secrets.token_urlsafe(24)}"
        self._tokens[token] = (account, time.time() + _TOKEN_SECONDS)
        return unary({"access_token": token, "expires_in": _TOKEN_SECONDS, "token_type": "Bearer"})


def _bearer(header: str) -> str | None:
    scheme, _, token = header.partition(" ")
    return token.strip() or None if scheme.lower() in {"bearer", "token"} else None


def _issuer(assertion: str) -> str:
    parts = assertion.split(".")
    if len(parts) != 3:
        raise GoogleError(400, "invalid_grant: the assertion is not a JWT")
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict)
        issuer, expires_at = str(claims["iss"]), float(claims["exp"])
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise GoogleError(400, "invalid_grant: the assertion lacks iss or exp") from error
    if expires_at <= time.time():
        raise GoogleError(400, "invalid_grant: the assertion is expired")
    return issuer
