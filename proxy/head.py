"""The heads of a request and of an answer, as they came.

Bytes are kept as they were sent; what reads them decodes. Part of the contract: every room uses them.
"""

from collections.abc import Sequence

import msgspec

RawHeaders = Sequence[tuple[bytes, bytes]]


class Headers:
    """Header fields as they came: order, case and repeats kept; looked up by name without case."""

    __slots__ = ("raw",)

    def __init__(self, raw: RawHeaders) -> None:
        self.raw = raw

    def get(self, name: str) -> str | None:
        """The first field of that name, decoded as UTF-8 (undecodable bytes as surrogates)."""
        wanted = name.lower().encode()
        for key, value in self.raw:
            if len(key) == len(wanted) and key.lower() == wanted:
                return value.decode("utf-8", "surrogateescape")
        return None

    def get_all(self, name: str) -> list[str]:
        wanted = name.lower().encode()
        return [value.decode("utf-8", "surrogateescape") for key, value in self.raw if key.lower() == wanted]


class RequestHead(msgspec.Struct, frozen=True):
    """What the caller sent before its body."""

    method: str
    target: str  # raw: path and query byte for byte, ASCII
    headers: Headers
    peer: str  # the caller's address; never trusted to be more than the last hop

    @property
    def path(self) -> str:
        """The raw target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query without its `?`; may hold credentials, so it is never logged."""
        return self.target.partition("?")[2]


class ResponseHead(msgspec.Struct, frozen=True):
    """What an endpoint sent before its body."""

    status: int
    reason: str
    headers: Headers
