"""The two answers a caller can get: the endpoint's, relayed, and our own, in Google's error shape.

A refusal comes in three dresses: as fields and body for a `Reply`, as a response of aiohttp's for a session, and as
bytes for what is no request.
"""

import math
from http import HTTPStatus
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.gemini.errors import render
from proxy.head import RawField, ResponseHead
from proxy.operation import UNKNOWN, Operation
from proxy.refusal import Refusal
from proxy.wire.headers import encoded

_OF_AIOHTTP: Final = ("Server", "Content-Type")
_JSON: Final = "application/json; charset=UTF-8"  # SDKs read our JSON only under exactly this type (Gemini fact 2.6)
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class RelayedResponse(web.StreamResponse):
    """An answer with the endpoint's fields only.

    Private in aiohttp, pinned by tests/wire/test_aiohttp_private.py: `_prepare_headers` would add a Server and a
    Content-Type that the endpoint did not send.
    """

    def __init__(self, head: ResponseHead, fields: CIMultiDict[str]) -> None:
        super().__init__(status=head.status, reason=head.reason, headers=fields)

    async def _prepare_headers(self) -> None:
        sent = [name for name in _OF_AIOHTTP if name in self.headers]
        await super()._prepare_headers()
        for name in _OF_AIOHTTP:
            if name not in sent:
                self.headers.popall(name, None)


def refusal_fields(
    refusal: Refusal, operation: Operation, extra: list[tuple[str, str]]
) -> tuple[list[RawField], bytes]:
    """Our own answer: its fields, `extra` first, and its body."""
    body = render(refusal, operation)
    fields = encoded(extra)
    fields += [(b"Content-Type", _JSON.encode()), (b"Server", b"weir")]
    if refusal.retry_after is not None:
        fields.append((b"Retry-After", _whole_seconds(refusal.retry_after).encode()))
    fields.append((b"Content-Length", b"%d" % len(body)))
    return fields, body


def refusal_response(refusal: Refusal, operation: Operation, fields: list[tuple[str, str]]) -> web.Response:
    """The same for aiohttp."""
    headers = CIMultiDict(fields)
    headers["Content-Type"] = _JSON
    headers["Server"] = "weir"  # else aiohttp names itself, its version and Python's
    if refusal.retry_after is not None:
        headers["Retry-After"] = _whole_seconds(refusal.retry_after)
    return web.Response(status=refusal.code, body=render(refusal, operation), headers=headers)


def phrase(code: int) -> str:
    """The reason phrase of an answer of our own."""
    return _PHRASES.get(code, "")


def last_words(refusal: Refusal, extra: list[tuple[str, str]]) -> bytes:
    """The whole answer to what is no request that could be trusted; its connection is closed behind it."""
    fields, body = refusal_fields(refusal, UNKNOWN, extra)
    line = f"HTTP/1.1 {refusal.code} {phrase(refusal.code)}".encode()
    return b"\r\n".join([line, *map(b": ".join, fields), b"Connection: close", b"", body])


def full_house() -> bytes:
    """For a connection too many. Not a silent close: a caller's SDK shows this to its user."""
    refusal = Refusal(503, "The gateway has as many connections as it may have; try again.", reason="CONNECTIONS")
    return last_words(refusal, [("Retry-After", "1")])


def _whole_seconds(retry_after: float) -> str:
    return str(max(1, math.ceil(retry_after)))
