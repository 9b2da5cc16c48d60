"""A caller's connection: what the parser is fed, and what is said when no exchange comes of it.

`server.py` opens a `Server`, a door whose visitors are `Connection`s. Whoever is answered here is no exchange: nothing
reached an endpoint, no record is written, and nothing of the request is echoed or logged.
"""

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from proxy.gemini.errors import render
from proxy.operation import UNKNOWN
from proxy.refusal import Refusal
from proxy.wire.door import Door, Visitor
from proxy.wire.doubled import Head
from proxy.wire.response import refusal_response

_TOO_MANY = "Too many headers received"  # what aiohttp says of more; it has no exception of its own
_log = logging.getLogger("proxy.wire")


class Server(Door):
    """aiohttp's server with our answers to what its parser refuses.

    `__call__` makes the protocol of a connection; overriding it is the only way to have our own. Pinned by
    tests/wire/test_aiohttp_private.py.
    """

    def __call__(self) -> "Connection":
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(Visitor):
    """What the parser is fed, and what is said when it refuses it."""

    def __init__(self, door: Door, **kwargs: Any) -> None:
        super().__init__(door, **kwargs)
        self._head = Head()  # of the request that comes, or came last

    def data_received(self, data: bytes) -> None:
        if self.between_requests and self._head.over(self.body.total_bytes if self.body is not None else 0):
            self._head = Head()
        super().data_received(self._head.feed(data))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer in Google's shape. aiohttp's own answer and log line would echo the request line, keys and all."""
        if isinstance(exc, LineTooLong):
            return rejection(431, f"A header or the request line is longer than {self.max_field_size} bytes.", "HEADER")
        if message == _TOO_MANY:
            return rejection(431, f"There are more than {self.max_headers} headers.", "HEADER")
        if status < 500:
            return rejection(status, "The request is not well-formed HTTP.", "HTTP")
        _log.error("the gateway failed on a request", exc_info=exc)
        return rejection(status, "An internal error has occurred.", "INTERNAL")


def rejection(code: int, message: str, reason: str) -> web.StreamResponse:
    """An answer to what never became an exchange; the connection is not to be trusted further."""
    response = refusal_response(Refusal(code, message, reason=reason), UNKNOWN, [])
    response.force_close()
    return response


def full_house() -> bytes:
    """The whole answer to a connection too many. Not a silent close: a caller's SDK shows this to its user."""
    refusal = Refusal(503, "The gateway has as many connections as it may have; try again.", reason="CONNECTIONS")
    body = render(refusal, UNKNOWN)
    head = (
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json; charset=UTF-8",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "Server: weir",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
