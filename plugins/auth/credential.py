"""Finds the one credential of a request. `find` is a function of its head; `recognise` notes there what it found.

SDKs send it in one of three places, gemini-cli in two at once (Gemini fact 2.1): the same value twice is
one credential. Two different values are refused: "first wins" would let the proxy and whoever stands
before or behind it see two different callers. It judges nothing; `Auth` does.
"""

import re
from enum import Enum
from typing import Final, final
from urllib.parse import unquote_plus

from plugins.auth.keys import digest
from proxy import RequestHead

# Google's system parameters that carry a credential (Gemini fact 1.8). Google also takes such
# parameters with a leading "$" (`$alt`), so `$key` is one too.
QUERY_PARAMETERS: Final = frozenset({"key", "access_token", "oauth_token"})

# RFC 7515 section 7.1. The third part is empty in an unsigned token, which must be refused as the token
# it claims to be. Team keys have no dots. Possessive: no letter of a key is looked at twice.
_JWT = re.compile(r"[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*+")

_NOTE: Final = "auth: credential"


class Problem(Enum):
    """Why a request has no credential that could be checked."""

    NONE = "no_credential"
    SEVERAL = "several_credentials"
    SCHEME = "authorization_scheme"  # Basic, `Token auth_tokens/…` of the Live SDK, …


@final
class Credential:
    """What the caller showed. Its repr hides it: it is a secret until proven wrong."""

    __slots__ = ("_begin", "_digest", "_is_token", "_shown", "has_dot")

    def __init__(self, value: str) -> None:
        self._shown = value.encode("utf-8", "surrogateescape")  # a header may hold any bytes
        self._begin = 0  # of the value in it
        self.has_dot: Final = "." in value
        self._digest: str | None = None
        self._is_token: bool | None = None

    def share(self, field: bytes) -> None:
        """Keep no copy of what `field` ends with: that is held anyway, as long as this is."""
        if field.endswith(self._shown):
            self._begin = len(field) - len(self._shown)
            self._shown = field

    @property
    def value(self) -> str:
        return self._shown[self._begin :].decode("utf-8", "surrogateescape")

    @property
    def is_token(self) -> bool:
        """True for what looks like a JWT, wherever it came from: SDKs put it in the place of the key."""
        known = self._is_token
        if known is None:
            known = self._is_token = _JWT.fullmatch(self.value) is not None
        return known

    @property
    def digest(self) -> str:
        """Of all of it, as team keys are kept by, and tokens that were found good. Made when it is first asked for."""
        made = self._digest
        if made is None:
            made = self._digest = digest(self.value)
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return "Credential(hidden)"


@final
class _Note:
    """The credential of a request, and all that it was found in."""

    __slots__ = ("authorization", "credential", "key", "target")

    def __init__(self, credential: Credential, target: str, authorization: bytes | None, key: bytes | None) -> None:
        self.credential: Final = credential
        self.target: Final = target  # its query may hold one
        self.authorization: Final = authorization
        self.key: Final = key


def recognise(request: RequestHead) -> Credential | Problem:
    """As `find`; where a head of its connection had the same one in the same place, the very Credential of then."""
    headers, target = request.headers, request.target
    first = headers.first
    if len(first) < len(headers.raw):  # a name comes twice
        return find(request)
    authorization, key = first.get(b"authorization"), first.get(b"x-goog-api-key")
    notes = headers.notes
    note = notes.get(_NOTE)
    if isinstance(note, _Note) and note.target == target and note.authorization == authorization and note.key == key:
        return note.credential
    found = find(request)
    if isinstance(found, Credential):
        found.share(authorization or key or b"")
        notes[_NOTE] = _Note(found, target, authorization, key)
    return found


def find(request: RequestHead) -> Credential | Problem:
    """The request's credential, or what is wrong with the ones it has. An empty one is none."""
    found = [value for value in request.headers.get_all("x-goog-api-key") if value]
    if "?" in request.target:
        found += _in_query(request.query)
    for field in request.headers.get_all("authorization"):
        scheme, _, value = field.strip().partition(" ")
        if not scheme:
            continue
        if scheme.lower() != "bearer":  # RFC 9110 section 11.1: schemes have no case
            return Problem.SCHEME
        value = value.strip()
        if value:
            found.append(value)
    if not found:
        return Problem.NONE
    return Credential(found[0]) if len(found) == 1 or len(set(found)) == 1 else Problem.SEVERAL


def _in_query(query: str) -> list[str]:
    """Values of credential parameters; names are decoded as well, since `k%65y` is `key` to Google."""
    found = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if "%" in name:
            name = unquote_plus(name)
        if value and name.removeprefix("$") in QUERY_PARAMETERS:
            found.append(unquote_plus(value))
    return found
