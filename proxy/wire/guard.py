"""What is turned away before it becomes an exchange: requests whose meaning two parsers could dispute.

Called once a request, first of all. Each rule names what it prevents; llhttp, which reads the requests, refuses the
rest (bad lengths and chunks, line feeds alone, control characters).
"""

import re
from typing import Final

from aiohttp import http_parser

from proxy.head import RawHeaders
from proxy.wire.request import Request

MAX_HEADERS: Final = 128
TOO_MANY: Final = f"There are more than {MAX_HEADERS} headers."
NOT_HTTP: Final = "The request is not well-formed HTTP."
# Two of one kind are read differently by two readers, and a plugin's decision would hold for one of them. The first
# two say where the body ends, Host who is meant, the next two what the body is; the last four no client doubles. Others
# may be: google-genai 1.60, 1.75 and 2.0.1 send User-Agent twice on Interactions calls (Gemini fact 2.7).
_SINGLE: Final = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"host", b"content-type", b"content-range"),
        *(b"max-forwards", b"content-location", b"etag", b"server"),
    }
)
# RFC 9110 section 7.2: host and port, or a bracketed address; nothing that could end in a path or query.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_ABSOLUTE: Final = re.compile(r"(?i)https?://[^/?#]*(?P<rest>[/?].*)?")


class Rejected(Exception):
    """A request that never becomes an exchange; the connection is closed after the answer."""

    def __init__(self, code: int, message: str, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason


def assert_c_parser() -> None:
    """aiohttp's pure-Python parser has let requests be smuggled (CVE-2024-52304, CVE-2025-53643).

    Handshakes of sessions are still read by aiohttp's, and so is the plain road.
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise RuntimeError(
            "aiohttp runs on its pure-Python HTTP parser, which is not safe in front of anything; install a wheel "
            "with the C extension and unset AIOHTTP_NO_EXTENSIONS"
        )


def accepted_target(request: Request) -> str:
    """The raw target to forward. Raises Rejected."""
    headers = request.headers
    first = headers.first
    fields = len(headers.raw)
    if fields > MAX_HEADERS:
        raise Rejected(431, TOO_MANY, "HEADER")
    if len(first) != fields:
        _check_repeats(headers.raw)
    version, method = request.version, request.method
    if version not in ("1.1", "1.0"):
        raise Rejected(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.", "HTTP_VERSION")
    if method in ("TRACE", "CONNECT"):
        # RFC 9110 section 9.3.8: TRACE would reflect the credential that we put in.
        raise Rejected(405, f"{method} is not forwarded.", "METHOD")
    if b"x-http-method-override" in first:
        # Google would take this method for the request's; the plugins have decided by the other.
        raise Rejected(400, "X-HTTP-Method-Override is not accepted; send the method itself.", "METHOD")
    if b"transfer-encoding" in first:
        _check_framing(request)
    # Never used to decide anything; refused when odd, lest something behind us decides by it.
    host = first.get(b"host")
    if host is None:
        if version == "1.1":  # RFC 9112 section 3.2
            raise Rejected(400, NOT_HTTP, "HTTP")
    elif host not in _hosts and not _names_a_host(host):
        raise Rejected(400, "The Host header is missing or malformed.", "HOST")
    if b"expect" in first and first[b"expect"].lower() != b"100-continue":
        raise _bad_expectation()
    target = request.target
    if target[0] != "/" or "#" in target or not target.isascii():
        return _origin_form(target)
    return target


def _check_repeats(raw: RawHeaders) -> None:
    seen: set[bytes] = set()
    for name, _ in raw:
        folded = name.lower()
        if folded in seen:
            if folded in _SINGLE:
                raise Rejected(400, NOT_HTTP, "HTTP")
            if folded == b"expect":
                raise _bad_expectation()
        seen.add(folded)


def _check_framing(request: Request) -> None:
    """RFC 9112 section 6.1: an unknown coding is 501; one on HTTP/1.0 is faulty framing."""
    if request.version == "1.0":
        raise Rejected(400, "Transfer-Encoding is not part of HTTP/1.0.", "FRAMING")
    if request.headers.first[b"transfer-encoding"].lower() != b"chunked":
        raise Rejected(501, "The only transfer coding understood here is chunked.", "FRAMING")


_MOST_HOSTS: Final = 64
_hosts: Final[set[bytes]] = set()  # that were found to name one


def _names_a_host(value: bytes) -> bool:
    if _HOST.fullmatch(value) is None:
        return False
    if len(_hosts) < _MOST_HOSTS:
        _hosts.add(value)
    return True


def _bad_expectation() -> Rejected:
    return Rejected(417, "The only expectation met here is 100-continue.", "EXPECTATION")


def _origin_form(target: str) -> str:
    """RFC 9112 section 3.2.2: absolute-form must be accepted; its authority is not ours to follow."""
    if match := _ABSOLUTE.fullmatch(target):
        rest = match["rest"] or "/"
        target = rest if rest.startswith("/") else f"/{rest}"
    if not target.startswith("/") or "#" in target or not target.isascii():
        raise Rejected(400, "The request target is malformed.", "TARGET")
    return target
