"""One request without a socket: for what takes a body, or answers."""

from collections.abc import Sequence

from proxy.head import Headers, RawHeaders
from proxy.wire.inflow import Inflow
from proxy.wire.request import Request


class Line:
    """A caller's connection that keeps what is written to it, and counts how it was told to read."""

    peer = "127.0.0.1"
    scheme = "http"
    listening_at = "127.0.0.1:8080"
    last_call = False
    paused = False

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True
        self.turns = 0  # how often reading was stopped or begun again
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.written += pieces

    async def drain(self) -> None:
        """Everything is taken at once."""

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False
        self.turns += 1

    def resume_reading(self) -> None:
        self.reading = True
        self.turns += 1


def make_request(
    *pieces: bytes,
    ended: bool = True,
    length: int | None = None,
    method: str = "POST",
    target: str = "/v1beta/models/m:generateContent",
    version: str = "1.1",
    headers: RawHeaders = ((b"Host", b"weir.example:81"),),
    has_body: bool = True,
    keep_alive: bool = True,
    waits_for_100: bool = False,
) -> Request:
    """A request whose connection is a `Line`, and whose body is these pieces so far."""
    line = Line()
    inflow = Inflow(line)
    for piece in pieces:
        inflow.feed(piece)
    if ended:
        inflow.end()
    return Request(
        line,
        method,
        target,
        version,
        Headers(headers),
        inflow,
        has_body=has_body,
        length=length,
        keep_alive=keep_alive,
        waits_for_100=waits_for_100,
    )
