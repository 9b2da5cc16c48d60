"""The two answers a caller can get: the endpoint's, relayed, and our own, in Google's error shape."""

import math
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.gemini.errors import render
from proxy.head import ResponseHead
from proxy.operation import Operation
from proxy.refusal import Refusal

_OF_AIOHTTP: Final = ("Server", "Content-Type")


class RelayedResponse(web.StreamResponse):
    """An answer with the endpoint's fields only.

    Private names of aiohttp, pinned by tests/wire/test_aiohttp_private.py: `_prepare_headers` would add a Server
    and a Content-Type that the endpoint did not send; `_send_headers_immediately` decides whether a small body
    leaves in the same write as its head.
    """

    def __init__(self, head: ResponseHead, fields: CIMultiDict[str], *, at_once: bool) -> None:
        super().__init__(status=head.status, reason=head.reason, headers=fields)
        self._send_headers_immediately = not at_once

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Wait after each piece, if the transport says so: aiohttp asks it only every 64 KiB."""
        await super().write(data)
        assert self._req is not None
        await self._req.writer.drain()

    async def _prepare_headers(self) -> None:
        assert self._req is not None
        if self._req.version < (1, 1) and "Content-Length" not in self.headers:
            self.force_close()  # only the end of the connection can end such a body; aiohttp keeps it open
        sent = [name for name in _OF_AIOHTTP if name in self.headers]
        await super()._prepare_headers()
        for name in _OF_AIOHTTP:
            if name not in sent:
                self.headers.popall(name, None)


def refusal_response(refusal: Refusal, operation: Operation, fields: list[tuple[str, str]]) -> web.Response:
    """Our own answer. SDKs read its JSON only under exactly this content type (Gemini fact 2.6)."""
    headers = CIMultiDict(fields)
    headers["Content-Type"] = "application/json; charset=UTF-8"
    headers["Server"] = "weir"  # else aiohttp names itself, its version and Python's
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after)))
    return web.Response(status=refusal.code, body=render(refusal, operation), headers=headers)
