"""The heads of a request and of an answer, as they came.

Bytes are kept as they were sent; what reads them decodes. Part of the contract: every room uses them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, final

RawField = tuple[bytes, bytes]
RawHeaders = Sequence[RawField]

# Names come often, and in few spellings: each one's lower case, made once. Neither many nor long ones are kept.
_folded_names: Final[dict[bytes, bytes]] = {}
_MOST_NAMES: Final = 1024
_LONGEST_NAME: Final = 64


@final
class Headers:
    """Header fields as they came: order, case and repeats kept; looked up by name without case.

    Attributes:
        first: each name's first value, by the name's lower case.
    """

    __slots__ = ("first", "raw")

    def __init__(self, raw: RawHeaders) -> None:
        self.raw: Final = raw
        self.first: Final[dict[bytes, bytes]] = {}
        first, known = self.first, _folded_names
        fields: list[RawField] = raw if isinstance(raw, list) else list(raw)
        for name, value in reversed(fields):
            folded = known.get(name)
            first[fold(name) if folded is None else folded] = value

    def get(self, name: str) -> str | None:
        """The first field of that name, decoded as UTF-8 (undecodable bytes as surrogates)."""
        value = self.first.get(_folded(name))
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def get_all(self, name: str) -> list[str]:
        wanted = _folded(name)
        if wanted not in self.first:
            return []
        if len(self.first) == len(self.raw):  # no name comes twice
            return [self.first[wanted].decode("utf-8", "surrogateescape")]
        return [value.decode("utf-8", "surrogateescape") for key, value in self.raw if key.lower() == wanted]


def fold(name: bytes) -> bytes:
    """A field's name in lower case."""
    folded = _folded_names.get(name)
    if folded is None:
        folded = name.lower()
        if len(name) <= _LONGEST_NAME:
            if len(_folded_names) >= _MOST_NAMES:
                _folded_names.clear()
            _folded_names[name] = folded
    return folded


@lru_cache(maxsize=256)
def _folded(name: str) -> bytes:
    return name.lower().encode()


@final
class RequestHead:
    """What the caller sent before its body.

    Attributes:
        target: raw: path and query byte for byte, ASCII.
        peer: the caller's address; never trusted to be more than the last hop.
    """

    __slots__ = ("headers", "method", "peer", "target")

    def __init__(self, method: str, target: str, headers: Headers, peer: str) -> None:
        self.method: Final = method
        self.target: Final = target
        self.headers: Final = headers
        self.peer: Final = peer

    @property
    def path(self) -> str:
        """The raw target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query without its `?`; may hold credentials, so it is never logged."""
        return self.target.partition("?")[2]


@final
class ResponseHead:
    """What an endpoint sent before its body."""

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Headers) -> None:
        self.status: Final = status
        self.reason: Final = reason
        self.headers: Final = headers
