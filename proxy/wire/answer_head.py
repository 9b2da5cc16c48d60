"""What the head of an endpoint's answer says, on the fast road: what goes on, and how its body ends.

`answer_reader.py` asks of every head that httptools has parsed. Refused is what could not be passed on faithfully.
"""

from http import HTTPStatus
from typing import Final, final

from proxy.head import Headers, RawField, ResponseHead, fold
from proxy.wire.answer import REASON
from proxy.wire.headers import HOP_BY_HOP, declared_length, end_to_end

MOST_FIELDS: Final = 128  # of a head; aiohttp's bound, on the plain road
# The lengths of the names that say how a body is framed or are of one hop, a bit for each: most names have others.
_LENGTHS: Final = sum({1 << len(name) for name in (b"content-length", *HOP_BY_HOP)})
_PHRASES: Final[dict[bytes, str]] = {status.phrase.encode(): status.phrase for status in HTTPStatus}


class BadHead(Exception):
    """It cannot be passed on, or its body has no sure end."""


@final
class AnswerHead:
    """See the module.

    Attributes:
        fields: end-to-end ones, in order.
        length: the body's; 0 where there can be none. None in chunks, or until close.
        until_close: the body ends with the connection.
        in_chunks: it comes so.
        as_it_came: its lines, where they may go down as they are: those of `fields`, a Date among them. Else b"".
    """

    __slots__ = ("as_it_came", "fields", "head", "in_chunks", "length", "until_close")

    def __init__(
        self, head: ResponseHead, fields: list[RawField], length: int | None, *, until_close: bool, as_it_came: bytes
    ) -> None:
        """Use `read_head`."""
        self.head: Final = head
        self.fields: Final = fields
        self.length: Final[int | None] = length
        self.until_close: Final = until_close
        self.in_chunks: Final = length is None and not until_close
        self.as_it_came: Final = as_it_came


def read_head(status: int, reason: bytes, raw: list[RawField], *, no_body: bool) -> AnswerHead:
    """`no_body`: the request was HEAD. Raises BadHead."""
    length: int | None = None
    codings: list[bytes] = []
    all_go_on = True
    for name, value in raw:
        if not _LENGTHS >> len(name) & 1:
            continue
        folded = fold(name)
        if folded == b"content-length":
            length = declared_length(value)  # digits, and one line of them: the parser has seen to it
        elif folded in HOP_BY_HOP:
            all_go_on = False
            if folded == b"transfer-encoding":
                codings.append(value.lower())
    if codings and codings != [b"chunked"]:
        raise BadHead("a coding that would be lost with its field")  # RFC 9112 section 6.1
    if no_body or status in (204, 304):
        length = 0
    head = ResponseHead(status, _PHRASES.get(reason) or _phrase(reason), Headers(raw))
    fields = raw if all_go_on else end_to_end(raw)
    return AnswerHead(head, fields, length, until_close=length is None and not codings, as_it_came=b"")


def check_fields(raw: list[RawField], field_bytes: int) -> None:
    """The bounds of aiohttp, which httptools has none of. Raises BadHead."""
    if len(raw) > MOST_FIELDS or any(len(name) + len(value) > field_bytes for name, value in raw):
        raise BadHead("more fields, or larger ones, than a head may have")


def _phrase(reason: bytes) -> str:
    """One that is not the usual."""
    phrase = reason.decode("utf-8", "surrogateescape")
    if not REASON.fullmatch(phrase):
        raise BadHead("a reason phrase with control characters")
    return phrase
