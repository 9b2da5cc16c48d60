"""The head of a request as it goes up to an endpoint, and how it is kept for the next one that is the same.

The HTTP relay makes one for each attempt, unless a request of the same connection had it made for the same credential;
the roads send it.
"""

from typing import final

from proxy.gemini.credentials import without_credentials
from proxy.head import RawField, RawHeaders, RequestHead
from proxy.wire.headers import request_fields


@final
class UpstreamHead:
    """See the module.

    Attributes:
        target: without the caller's credentials.
        fields: end-to-end ones, in order, the endpoint's credential among them; no Content-Length.
    """

    __slots__ = ("_host", "_lines", "fields", "method", "target")

    def __init__(self, method: str, target: str, fields: RawHeaders) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self._host = ""
        self._lines = b""

    def lines(self, host: str) -> bytes:
        """Of the fast road's request, without the end of the last. The authority comes from the routes file alone."""
        if self._lines and host == self._host:
            return self._lines
        lines = [f"{self.method} {self.target} HTTP/1.1\r\nHost: {host}".encode("ascii")]
        for name, value in self.fields:
            lines.append(name + b": " + value)
        self._host, self._lines = host, b"\r\n".join(lines)
        return self._lines


@final
class KeptHead:
    """What the requests whose heads are alike, but for Content-Length, were last sent up with.

    Attributes:
        credential: the one in it.
    """

    __slots__ = ("credential", "head")

    def __init__(self) -> None:
        self.credential: RawField | None = None
        self.head: UpstreamHead | None = None


def upstream_head(head: RequestHead, credential: RawField | None, kept: KeptHead | None) -> UpstreamHead:
    """Of `head`, for the endpoint that has this credential."""
    if kept is not None and kept.head is not None and kept.credential == credential:
        return kept.head
    made = UpstreamHead(head.method, without_credentials(head.target), request_fields(head.headers.raw, credential))
    if kept is not None:
        kept.credential, kept.head = credential, made
    return made
