"""One request as its connection's parser read it: what the wire knows of it before it becomes an exchange.

`caller.py` makes one for each; `guard.py` judges it, the relay takes its body and answers it through `Reply`.
"""

from collections.abc import Sequence
from typing import Protocol

from proxy.head import Headers
from proxy.wire.familiar import FamiliarHead
from proxy.wire.inflow import Inflow
from proxy.wire.upstream_head import KeptHead


class Malformed(Exception):
    """What came in the place of a body's rest is no HTTP."""


class Connection(Protocol):
    """The caller's, as far as whoever answers needs it."""

    @property
    def peer(self) -> str:
        """The caller's address; never trusted to be more than the last hop."""

    @property
    def scheme(self) -> str:
        """http or https, as this hop has it."""

    @property
    def listening_at(self) -> str:
        """HOST:PORT, where we were reached."""

    @property
    def last_call(self) -> bool:
        """Every answer from now on ends its connection: RFC 9112 section 9.6."""

    def write(self, data: bytes) -> None:
        """Nothing happens once the caller has left."""

    def writelines(self, pieces: Sequence[bytes]) -> None:
        """As `write`, for what is too large to be joined."""

    @property
    def paused(self) -> bool:
        """So much is unsent that nobody should write before `drain` returns."""

    async def drain(self) -> None:
        """Wait while `paused`. Raises ConnectionResetError when the caller has left."""

    def abort(self) -> None:
        """Cut it: what the caller got must not look whole."""


class Request:
    """See the module.

    Attributes:
        target: raw, as it stood in the request line (absolute-form included).
        version: "1.0" or "1.1" behind the guard.
        has_body: it has a body, be it empty: a length was declared, or it comes chunked.
        length: the body's declared length in bytes; None when it comes chunked, or there is none.
        keep_alive: the caller wants, and its version allows, another request on this connection.
        waits_for_100: the caller sends its body only after 100 Continue (RFC 9110 section 10.1.1).
        familiar: what its head shares with others of its connection.
        kept: what else it shares with those whose heads are the same but for Content-Length.
    """

    __slots__ = (
        "body",
        "connection",
        "familiar",
        "has_body",
        "headers",
        "keep_alive",
        "kept",
        "length",
        "method",
        "target",
        "version",
        "waits_for_100",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: str,
        version: str,
        headers: Headers,
        body: Inflow,
        *,
        has_body: bool,
        length: int | None,
        keep_alive: bool,
        waits_for_100: bool,
    ) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.body = body
        self.has_body = has_body
        self.length = length
        self.keep_alive = keep_alive
        self.waits_for_100 = waits_for_100
        self.familiar: FamiliarHead | None = None
        self.kept: KeptHead | None = None


def familiar_request(connection: Connection, familiar: FamiliarHead, body: Inflow) -> Request:
    """One whose head is the familiar one once more."""
    length = familiar.length
    request = Request(
        connection,
        familiar.method,
        familiar.target,
        familiar.version,
        familiar.headers,
        body,
        has_body=length is not None,
        length=length,
        keep_alive=True,
        waits_for_100=False,
    )
    request.familiar = familiar
    request.kept = familiar.kept
    return request
