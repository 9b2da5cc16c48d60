"""The heads of a request and of an answer, as they came.

Bytes are kept as they were sent; what reads them decodes. Part of the contract: every room uses them.
"""

from collections.abc import Sequence
from typing import Final, final

RawField = tuple[bytes, bytes]
RawHeaders = Sequence[RawField]

_MOST_FOLDED: Final = 256  # names that are asked for: they stand in the code, ours and plugins'
# Names come often, and in few spellings: each one's lower case, made once. Neither many nor long ones are kept.
_folded_names: Final[dict[bytes, bytes]] = {}
_MOST_NAMES: Final = 1024
_LONGEST_NAME: Final = 64


@final
class Headers:
    """Header fields as they came: order, case and repeats kept; looked up by name without case."""

    __slots__ = ("_first", "_notes", "raw")

    def __init__(self, raw: RawHeaders) -> None:
        self.raw: list[RawField] = raw if isinstance(raw, list) else list(raw)
        self._first: dict[bytes, bytes] | None = None
        self._notes: dict[str, object] | None = None

    @property
    def notes(self) -> dict[str, object]:
        """For what is made of the fields, by a name for it: a head of this connection that is alike finds it again.

        Values may differ by then (docs/decisions/0015): a note says what it was made of, and is held against that.
        """
        notes = self._notes
        if notes is None:
            self._notes = notes = {}
        return notes

    @property
    def first(self) -> dict[bytes, bytes]:
        """Each name's first value, by the name's lower case. Made when it is first asked for, and then kept."""
        first = self._first
        if first is None:
            self._first = first = {fold(name): value for name, value in reversed(self.raw)}
        return first

    def get(self, name: str) -> str | None:
        """The first field of that name, decoded as UTF-8 (undecodable bytes as surrogates)."""
        value = self.value(_folded(name))
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def value(self, name: bytes) -> bytes | None:
        """The same by its name's bytes, in lower case, and as it came."""
        if self._first is not None:
            return self._first.get(name)
        size = len(name)
        for spelled, value in self.raw:  # an answer is asked for two or three fields: `first` would cost more
            if len(spelled) == size and fold(spelled) == name:
                return value
        return None

    def get_all(self, name: str) -> list[str]:
        wanted = _folded(name)
        first = self.first
        if wanted not in first:
            return []
        if len(first) == len(self.raw):  # no name comes twice
            return [first[wanted].decode("utf-8", "surrogateescape")]
        return [value.decode("utf-8", "surrogateescape") for key, value in self.raw if key.lower() == wanted]

    def with_values(self, places: list[int], values: list[bytes]) -> "Headers":
        """The same for another owner, but for the values of the fields at `places`, whose names come once."""
        raw = self.raw.copy()
        headers = Headers(raw)
        first = self._first
        if first is not None:
            headers._first = first = first.copy()
        for index, at in enumerate(places):
            name, value = raw[at][0], values[index]
            raw[at] = (name, value)
            if first is not None:
                first[fold(name)] = value
        return headers

    def share_notes(self, other: "Headers") -> None:
        """What is noted at one of the two is found at both."""
        self._notes = other.notes


_folds: Final[dict[str, bytes]] = {}


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


def _folded(name: str) -> bytes:
    folded = _folds.get(name)
    if folded is None:
        folded = name.lower().encode()
        if len(_folds) < _MOST_FOLDED:
            _folds[name] = folded
    return folded


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
        target = self.target
        return target.partition("?")[0] if "?" in target else target

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
