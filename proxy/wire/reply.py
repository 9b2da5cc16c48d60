"""The answer to one request on its way down: framed for the caller that asked, written in as few writes as can be.

The HTTP relay and refusals use it. RFC 9112 sections 6 and 9: a body's length is declared, or it comes chunked, or, to
HTTP/1.0, ends with its connection. It invents no field but Date, Connection and Transfer-Encoding.
"""

import time
from email.utils import formatdate
from typing import Final

from proxy.head import RawHeaders
from proxy.wire.request import Request

_JOINED_BYTES: Final = 16 << 10  # so much is copied into one with its size, or with the head
# Pieces that are smaller, on the average, are copied into one as well: a loop keeps as much beside each that it has not
# written, and makes a TLS record of each.
_SMALL_BYTES: Final = 2 << 10
_END: Final = b"\r\n\r\n"  # of a head
_END_CHUNKED: Final = b"\r\nTransfer-Encoding: chunked\r\n\r\n"
_MOST_LINES: Final = 256  # status lines that are kept


class Reply:
    """See the module. Sends what it is given: fields are end-to-end ones, in order, with their bytes.

    Attributes:
        begun: the head has gone out.
        ended: and so has all of its body.
        keep_alive: after its end the connection may bring another request; decided when it begins.
    """

    __slots__ = ("_chunked", "_request", "begun", "ended", "keep_alive")

    def __init__(self, request: Request) -> None:
        self.begun = False
        self.ended = False
        self.keep_alive = False
        self._request = request
        self._chunked = False

    def whole(self, status: int, reason: str, fields: RawHeaders, body: bytes) -> None:
        """An answer of our own, in one write. `fields` declare its length. HEAD gets no body."""
        request = self._request
        if request.method == "HEAD":
            body = b""
        connection = request.connection
        self.keep_alive = request.keep_alive and not connection.last_call
        self.begun = self.ended = True
        lines = self._head(status, reason, fields)
        lines.append(b"")
        lines.append(body)
        connection.write(b"\r\n".join(lines))

    def pass_on(self, came: bytes, fields: RawHeaders, pieces: list[bytes], *, in_chunks: bool, last: bool) -> bool:
        """As `begin`, of a head's lines as they came and further `fields`. False: nothing was said, it must `begin`.

        So it is for who needs other lines than most do. The lines say of a body that goes down `in_chunks` no length.
        """
        request = self._request
        connection = request.connection
        if request.version != "1.1" or request.method == "HEAD" or not request.keep_alive or connection.last_call:
            return False
        self.keep_alive = self.begun = True
        self._chunked = in_chunks
        out = [came]
        for name, value in fields:
            out.append(b"\r\n" + name + b": " + value)
        out.append(_END_CHUNKED if in_chunks else _END)
        self._write(out, pieces, last=last)
        return True

    def begin(self, status: int, reason: str, fields: RawHeaders, pieces: list[bytes], *, last: bool) -> None:
        """The head, and what is here of the body; `send` follows unless that is the `last` of it.

        Chunked unless `fields` declare a length, or nothing can follow.
        """
        request = self._request
        connection = request.connection
        self.keep_alive = request.keep_alive and not connection.last_call
        self.begun = True
        if request.method != "HEAD" and status not in (204, 304) and not _has(fields, b"content-length"):
            if request.version == "1.0":
                self.keep_alive = False  # only the end of the connection can end it
            else:
                self._chunked = True
        head = b"\r\n".join(self._head(status, reason, fields))
        self._write([head, _END_CHUNKED if self._chunked else _END], pieces, last=last)

    def send(self, pieces: list[bytes], *, last: bool) -> None:
        """More of the body, if any; `last`: now it is whole."""
        self._write([], pieces, last=last)

    def _write(self, out: list[bytes], pieces: list[bytes], *, last: bool) -> None:
        """As one chunk, where it is chunked, and in one write."""
        size = 0
        for piece in pieces:
            size += len(piece)
        if size and self._chunked:
            out.append(b"%x\r\n" % size)
            out += pieces
            out.append(b"\r\n")
        elif size:
            out += pieces
        if last:
            self.ended = True
            if self._chunked:
                out.append(b"0\r\n\r\n")
        connection = self._request.connection
        if len(out) == 1:
            connection.write(out[0])
        elif size > _JOINED_BYTES and size > _SMALL_BYTES * len(out):
            connection.writelines(out)
        elif out:
            connection.write(b"".join(out))

    def _head(self, status: int, reason: str, fields: RawHeaders) -> list[bytes]:
        """Its lines: the endpoint's, then ours."""
        http_10 = self._request.version == "1.0"
        lines = [_status_line(http_10, status, reason)]
        dated = False
        for name, value in fields:
            lines.append(name + b": " + value)
            if not dated and len(name) == 4 and name.lower() == b"date":
                dated = True
        if not dated:
            lines.append(b"Date: " + date_now())
        if self.keep_alive:
            if http_10:
                lines.append(b"Connection: keep-alive")
        elif not http_10:
            lines.append(b"Connection: close")
        return lines


class _Date:
    """The time of day as a field says it, made once a second."""

    __slots__ = ("second", "value")

    def __init__(self) -> None:
        self.second = 0
        self.value = b""


_date: Final = _Date()


def date_now() -> bytes:
    """The value of a Date field: RFC 9110 section 6.6.1."""
    second = int(time.time())
    if second != _date.second:
        _date.second, _date.value = second, formatdate(second, usegmt=True).encode()
    return _date.value


_lines: Final[dict[int, tuple[str, bytes]]] = {}  # by status, with the reason that it had


def _status_line(http_10: bool, status: int, reason: str) -> bytes:
    """A request of a version that is not spoken here is told so in ours."""
    kept = _lines.get(status)
    if kept is not None and kept[0] == reason and not http_10:
        return kept[1]
    version = "1.0" if http_10 else "1.1"
    line = f"HTTP/{version} {status} {reason}".encode("utf-8", "surrogateescape")
    if not http_10 and (kept is not None or len(_lines) < _MOST_LINES):
        _lines[status] = reason, line
    return line


def _has(fields: RawHeaders, wanted: bytes) -> bool:
    """`wanted` in lower case."""
    size = len(wanted)
    for name, _ in fields:  # noqa: SIM110  # compiled, `any` makes a list
        if len(name) == size and name.lower() == wanted:
            return True
    return False
