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

    Args:
        is_kept: others will go up with it too, so that its lines are made once.

    Attributes:
        target: without the caller's credentials.
        fields: end-to-end ones, in order, the endpoint's credential among them; no Content-Length.
    """

    __slots__ = ("_host", "_is_kept", "_lines", "fields", "method", "target")

    def __init__(self, method: str, target: str, fields: RawHeaders, *, is_kept: bool = False) -> None:
        self._is_kept = is_kept
        self.method = method
        self.target = target
        self.fields = fields
        self._host = ""
        self._lines = b""

    def lines(self, host: str) -> bytes:
        """Of the fast road's request, without the end of the last. The authority comes from the routes file alone."""
        if self._lines and host == self._host:
            return self._lines
        fields = [f"{self.method} {self.target} HTTP/1.1\r\nHost: {host}".encode("ascii")]
        for name, value in self.fields:
            fields.append(name + b": " + value)
        lines = b"\r\n".join(fields)
        if self._is_kept:
            self._host, self._lines = host, lines
        return lines


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
    target, fields = without_credentials(head.target), request_fields(head.headers.raw, credential)
    made = UpstreamHead(head.method, target, fields, is_kept=kept is not None)
    if kept is not None:
        kept.credential, kept.head = credential, made
    return made
