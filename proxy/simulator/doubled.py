"""A doubled User-Agent, as google-genai 1.60, 1.75 and 2.0.1 send it on Interactions calls, is no fault to Google.

It is one to aiohttp's parser. `server.py` listens with this instead: the second name is another, as long, while the
parser looks, and User-Agent again in the ledger. Only in a head that comes in one segment, as SDKs and gateways send.
"""

import re
from collections.abc import Iterable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_HEAD = re.compile(rb"[A-Z]{3,16} [^\r\n]+ HTTP/1\.[01]\r\n")
_FIELD = re.compile(rb"\r\n(?i:user-agent)(?=:)")
_STAND_IN = b"X-Simulat-"


class Server(web.Server):
    """aiohttp makes the protocol of a connection by calling its server; there is no other way to have one's own."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    def data_received(self, data: bytes) -> None:
        super().data_received(_accepted(data))


def _accepted(data: bytes) -> bytes:
    end = data.find(b"\r\n\r\n") if _HEAD.match(data) else -1
    found = [match.start() + 2 for match in _FIELD.finditer(data, 0, max(end, 0))]
    if len(found) < 2:
        return data
    changed = bytearray(data)
    for start in found[1:]:
        changed[start : start + len(_STAND_IN)] = _STAND_IN
    return bytes(changed)


def as_sent(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields with the doubled name as it came, but for its case."""
    return [(b"User-Agent" if name == _STAND_IN else name, value) for name, value in fields]
