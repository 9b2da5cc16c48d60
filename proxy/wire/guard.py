"""What is turned away before it becomes an exchange: requests whose meaning two parsers could dispute.

Called once a request, first of all. Each rule names what it prevents; the parser behind aiohttp refuses the
rest (duplicate lengths, bad chunks, control characters), which is why we insist on the C one.
"""

import re

from aiohttp import http_parser
from aiohttp.web import BaseRequest

# RFC 9110 section 7.2: host and port, or a bracketed address; nothing that could end in a path or query.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_ABSOLUTE = re.compile(r"(?i)https?://[^/?#]*(?P<rest>[/?].*)?")


class Rejected(Exception):
    """A request that never becomes an exchange; the connection is closed after the answer."""

    def __init__(self, code: int, message: str, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason


def assert_c_parser() -> None:
    """aiohttp's pure-Python parser has let requests be smuggled (CVE-2024-52304, CVE-2025-53643)."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise RuntimeError(
            "aiohttp runs on its pure-Python HTTP parser, which is not safe in front of anything; install a wheel "
            "with the C extension and unset AIOHTTP_NO_EXTENSIONS"
        )


def accepted_target(request: BaseRequest) -> str:
    """The raw target to forward. Raises Rejected."""
    if request.version not in ((1, 0), (1, 1)):
        raise Rejected(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.", "HTTP_VERSION")
    if request.method in ("TRACE", "CONNECT"):
        # RFC 9110 section 9.3.8: TRACE would reflect the credential that we put in.
        raise Rejected(405, f"{request.method} is not forwarded.", "METHOD")
    if "X-HTTP-Method-Override" in request.headers:
        # Google would take this method for the request's; the plugins have decided by the other.
        raise Rejected(400, "X-HTTP-Method-Override is not accepted; send the method itself.", "METHOD")
    _check_framing(request)
    _check_host(request)
    expectations = request.headers.getall("Expect", [])
    if expectations and [value.lower() for value in expectations] != ["100-continue"]:
        raise Rejected(417, "The only expectation met here is 100-continue.", "EXPECTATION")
    return _origin_form(request.raw_path)


def _check_framing(request: BaseRequest) -> None:
    """RFC 9112 section 6.1: an unknown coding is 501; one on HTTP/1.0 is faulty framing."""
    codings = [value.strip().lower() for value in request.headers.getall("Transfer-Encoding", [])]
    if codings and request.version == (1, 0):
        raise Rejected(400, "Transfer-Encoding is not part of HTTP/1.0.", "FRAMING")
    if codings and codings != ["chunked"]:
        raise Rejected(501, "The only transfer coding understood here is chunked.", "FRAMING")


def _check_host(request: BaseRequest) -> None:
    """Never used to decide anything; refused when odd, lest something behind us decides by it."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) > 1 or (not hosts and request.version == (1, 1)) or (hosts and not _HOST.fullmatch(hosts[0])):
        raise Rejected(400, "The Host header is missing or malformed.", "HOST")


def _origin_form(target: str) -> str:
    """RFC 9112 section 3.2.2: absolute-form must be accepted; its authority is not ours to follow."""
    if match := _ABSOLUTE.fullmatch(target):
        rest = match["rest"] or "/"
        target = rest if rest.startswith("/") else f"/{rest}"
    if not target.startswith("/") or "#" in target or not target.isascii():
        raise Rejected(400, "The request target is malformed.", "TARGET")
    return target
