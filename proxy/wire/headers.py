"""Which header fields cross the gateway, and in what shape. Pure functions over raw fields.

End-to-end fields go through in order, with their repeats and their bytes; hop-by-hop ones stop here
(RFC 9110 section 7.6.1). `INTENDED_DIFFERENCES` is the whole list of what a caller or an upstream may see
changed; the README prints it and the transparency test allows nothing else.
"""

import re
from collections.abc import Iterable
from typing import Final

from multidict import CIMultiDict

from proxy.head import RawField, RawHeaders, fold

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Naming one of these in Connection would make us drop what keeps messages apart or requests authorised.
NEVER_NOMINATED: Final = frozenset({b"content-length", b"host", b"authorization", b"content-type"})
# The last one names the project that pays with the credential: of no use to a caller whose credential stays here.
CREDENTIAL_FIELDS: Final = frozenset({b"x-goog-api-key", b"authorization", b"x-goog-user-project"})
OF_THIS_HOP: Final = frozenset({b"host", b"expect", b"content-length"})
_OF_REQUESTS: Final = HOP_BY_HOP | OF_THIS_HOP
_NAME_NOTHING: Final = frozenset({b"close", b"keep-alive"})  # of what Connection commonly says

INTENDED_DIFFERENCES = (
    (
        "request",
        "x-goog-api-key, Authorization, x-goog-user-project, ?key= ?access_token= ?oauth_token=",
        "the endpoint's credential instead",
    ),
    ("request", "Host", "the endpoint's"),
    (
        "request",
        "Connection and the fields it names, Keep-Alive, TE, Trailer, Transfer-Encoding, Upgrade, Proxy-*",
        "of one hop only",
    ),
    ("request", "Expect", "answered here, once the plugins have let the request pass"),
    ("request", "a bare ? at the end of the target, on the plain road", "dropped"),
    ("request", "Content-Length, Transfer-Encoding", "chosen anew for the same body bytes"),
    (
        "answer",
        "Connection and the fields it names, Keep-Alive, TE, Trailer, Transfer-Encoding, Upgrade, Proxy-*",
        "of one hop only",
    ),
    ("answer", "Date", "added where the endpoint sent none"),
    ("answer", "x-weir-exchange", "added: the id of the usage record"),
    (
        "answer",
        "x-goog-upload-url, x-goog-upload-control-url in a good answer to an upload",
        "of the gateway: its scheme and host, the same path and query, and ?weir_upload=",
    ),
    ("request", "?weir_upload=", "dropped: it says where the upload began, and for whom"),
    ("request", "X-HTTP-Method-Override", "refused with 400"),
    (
        "request",
        (
            "?fields= ?callback= ?alt=proto ?$httpHeaders= ?$httpMethod=, "
            "X-Goog-FieldMask on calls that run a model or show what one used"
        ),
        "refused with 400, unless the route allows it",
    ),
    (
        "both",
        "a repeated field whose spelling varies, on the plain road or in a WebSocket handshake",
        "the first spelling for all of them",
    ),
    ("answer", "1xx answers and trailers", "dropped"),
    ("both", "Sec-WebSocket-Key, -Accept, -Version, -Extensions", "of one hop only; compression is declined"),
    ("both", "the fragments of a WebSocket message", "one frame"),
)

_LONGEST_NUMBER: Final = 1000  # digits; `int` refuses more than 4300
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class BadHeader(ValueError):
    """A field that cannot be passed on faithfully; names the field, never its value."""


def declared_length(value: bytes) -> int:
    """Of a Content-Length that a parser has accepted: what it may have too many of are zeros."""
    return int(value) if len(value) < _LONGEST_NUMBER else int(value.lstrip(b"0") or b"0")


def end_to_end(raw: RawHeaders, drop: frozenset[bytes] = frozenset()) -> list[RawField]:
    """The fields that go on to the other side, in order. `drop` holds further lower-case names."""
    unwanted = HOP_BY_HOP | drop if drop else HOP_BY_HOP
    fields: list[RawField] = []
    connection: list[bytes] = []
    for field in raw:
        name = fold(field[0])
        if name not in unwanted:
            fields.append(field)
        elif name == b"connection":
            connection.append(field[1])
    return _without_nominated(fields, connection) if connection else fields


def request_fields(
    raw: RawHeaders, credential: RawField | None, drop: frozenset[bytes] = OF_THIS_HOP
) -> list[RawField]:
    """As `end_to_end`, every credential of the caller swapped for the endpoint's, at the first one's place."""
    unwanted = _OF_REQUESTS if drop is OF_THIS_HOP else HOP_BY_HOP | drop
    fields: list[RawField] = []
    connection: list[bytes] = []
    ours = credential
    for field in raw:
        name = fold(field[0])
        if name in unwanted:
            if name == b"connection":
                connection.append(field[1])
        elif name not in CREDENTIAL_FIELDS:
            fields.append(field)
        elif ours is not None:
            fields.append(ours)
            ours = None
    if connection:
        fields = _without_nominated(fields, connection, credential)
    if ours is not None:
        fields.append(ours)
    return fields


def _without_nominated(fields: list[RawField], connection: list[bytes], but: RawField | None = None) -> list[RawField]:
    """Without what Connection names: of one hop too (RFC 9110 section 7.6.1)."""
    nominated = {
        token.strip().lower()
        for value in connection
        if value.lower() not in _NAME_NOTHING
        for token in value.split(b",")
    } - NEVER_NOMINATED
    if not nominated:
        return fields
    return [field for field in fields if field == but or fold(field[0]) not in nominated]


def encoded(fields: list[tuple[str, str]]) -> list[RawField]:
    """Of our own, which are ASCII."""
    return [(name.encode(), value.encode()) for name, value in fields]


def decode(fields: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    """For aiohttp: a session, or the plain road. Raises BadHeader on bytes that aiohttp would lose or choke on.

    aiohttp's client keeps only the last of two fields whose names differ in case, so every repeat gets the
    first one's spelling; its writer drops bytes that are not UTF-8 and refuses control characters.
    """
    out: CIMultiDict[str] = CIMultiDict()
    spelling: dict[bytes, str] = {}
    for name, value in fields:
        if _CONTROL.search(value):
            raise BadHeader(f"the header {name.decode('ascii', 'replace')} holds control characters")
        try:
            out.add(spelling.setdefault(name.lower(), name.decode("ascii")), value.decode("utf-8"))
        except UnicodeDecodeError:
            raise BadHeader(f"the header {name.decode('ascii', 'replace')} is not UTF-8") from None
    return out
