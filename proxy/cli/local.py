"""How commands talk to a listener of this machine: directly, whatever proxy the environment names.

A key must not travel through somebody's HTTP proxy on its way to this machine.
"""

from http.client import HTTPResponse
from typing import cast
from urllib.request import ProxyHandler, Request, build_opener

_direct = build_opener(ProxyHandler({}))


def ask(address: str, path: str, body: bytes | None = None, *, timeout_seconds: float = 5.0) -> HTTPResponse:
    """GET, or POST where there is a body. Raises urllib's HTTPError and URLError, and OSError."""
    request = Request(f"http://{address}{path}", data=body)  # http is spelt out
    return cast(HTTPResponse, _direct.open(request, timeout=timeout_seconds))
