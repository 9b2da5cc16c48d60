"""The answer to one request on its way down: framed for the caller that asked, written in as few writes as can be.

The HTTP relay and refusals use it. RFC 9112 sections 6 and 9: a body's length is declared, or it comes chunked, or, to
HTTP/1.0, ends with its connection. It invents no field but Date, Connection and Transfer-Encoding.
"""

import time
from email.utils import formatdate
from functools import lru_cache
from typing import ClassVar, Final

from proxy.head import RawHeaders
from proxy.wire.request import Request

_JOINED_BYTES: Final = 16 << 10  # a piece up to this is copied into one with its size, or with the head
_field_line = b": ".join


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
        """Head and body in one write. `fields` declare its length, or it has none (204, 304). HEAD gets no body."""
        request = self._request
        if request.method == "HEAD":
            body = b""
        connection = request.connection
        self.keep_alive = request.keep_alive and not connection.last_call
        self.begun = self.ended = True
        connection.write(b"".join((*self._head(status, reason, fields), b"\r\n\r\n", body)))

    def begin(self, status: int, reason: str, fields: RawHeaders, pieces: list[bytes], *, last: bool) -> None:
        """The head, and what is here of the body; `send` follows unless that is the `last` of it.

        Chunked unless `fields` declare a length, or nothing can follow.
        """
        request = self._request
        connection = request.connection
        self.keep_alive = request.keep_alive and not connection.last_call
        self.begun = True
        framing = b"\r\n\r\n"
        if request.method != "HEAD" and status not in (204, 304) and not _has(fields, b"content-length"):
            if request.version == "1.0":
                self.keep_alive = False  # only the end of the connection can end it
            else:
                self._chunked = True
                framing = b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._write([*self._head(status, reason, fields), framing], pieces, last=last)

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
        elif size > _JOINED_BYTES:
            connection.writelines(out)
        elif out:
            connection.write(b"".join(out))

    def _head(self, status: int, reason: str, fields: RawHeaders) -> tuple[bytes, bytes]:
        """Without its last line end: the endpoint's part, and ours."""
        version = self._request.version
        head = b"\r\n".join((_status_line(version, status, reason), *map(_field_line, fields)))
        ours = b""
        if b"\r\nDate: " not in head and not _has(fields, b"date"):
            ours = b"\r\nDate: " + date_now()
        if self.keep_alive:
            if version == "1.0":
                ours += b"\r\nConnection: keep-alive"
        elif version != "1.0":
            ours += b"\r\nConnection: close"
        return head, ours


class _Date:
    """The time of day as a field says it, made once a second."""

    second: ClassVar = 0
    value: ClassVar = b""


def date_now() -> bytes:
    """The value of a Date field: RFC 9110 section 6.6.1."""
    second = int(time.time())
    if second != _Date.second:
        _Date.second, _Date.value = second, formatdate(second, usegmt=True).encode()
    return _Date.value


@lru_cache(maxsize=256)
def _status_line(version: str, status: int, reason: str) -> bytes:
    # A request of a version that is not spoken here is told so in ours.
    version = "1.0" if version == "1.0" else "1.1"
    return f"HTTP/{version} {status} {reason}".encode("utf-8", "surrogateescape")


def _has(fields: RawHeaders, wanted: bytes) -> bool:
    """`wanted` in lower case."""
    return wanted in [name.lower() for name, _ in fields]
