"""The body of one request: read once from the caller, sent to as many endpoints as need it.

What is read is kept, in memory, up to a bound; past it the exchange can no longer be repeated. A plugin that
needs the intent has the whole body read first: then what does not fit in memory goes to a nameless file. The
caller is asked to send (100 Continue) only when somebody reads, that is after auth and quota.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, final

from proxy.refusal import CallerGone, Refusal
from proxy.wire.bounds import Bounds
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.request import Malformed, Request
from proxy.wire.spool import Spool
from proxy.wire.watch import Watch

_FLEX: Final = b'"flex"'
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@final
class RequestBody:
    """See the module.

    Attributes:
        exists: the request has a body, be it empty.
        length: its declared length in bytes, None when it comes chunked.
        received: bytes read from the caller so far.
        failure: why the caller's side ended before the body was whole.
        unasked: the caller still waits to be told to send it.
        caller_left: nothing should be sent any more that was not sent before.
        once: no attempt but the next will need it: of what is no single write nothing is kept then.
        moved: called for each piece that goes up.
        heard_by: called once for each piece that comes.
    """

    __slots__ = (
        "_bounds",
        "_ended",
        "_flex",
        "_inflow",
        "_kept",
        "_kept_bytes",
        "_reading",
        "_request",
        "_spool",
        "_unsearched",
        "_watch",
        "caller_left",
        "exists",
        "failure",
        "heard_by",
        "length",
        "moved",
        "once",
        "received",
        "unasked",
    )

    def __init__(self, request: Request, bounds: Bounds, watch: Watch) -> None:
        self.exists = request.has_body
        self.length = request.length
        self.received = 0
        self.failure: CallerGone | None = None
        self.unasked = request.waits_for_100
        self.caller_left = False
        self.once = False
        self.moved: Callable[[], None] | None = None
        self.heard_by: Callable[[bytes], Awaitable[None]] | None = None
        self._request = request
        self._inflow = request.body
        self._bounds = bounds
        self._watch = watch
        self._reading: asyncio.Lock | None = None  # an attempt that failed may still be unwinding its read
        self._ended = not request.has_body
        self._flex = False  # of what was searched
        self._unsearched = b""  # what was had at once, until somebody asks
        self._kept: list[bytes] | None = []  # None once a piece was let go
        self._kept_bytes = 0
        self._spool: Spool | None = None

    @property
    def complete(self) -> bool:
        """The caller has sent all of it."""
        return self._ended

    def asks_for_flex(self) -> bool:
        """The word stands in it, so that its answer is waited for longer; a word elsewhere does no harm.

        What was had at once is searched only now: few answers are late, and the word is hardly ever there.
        """
        if self._unsearched:
            self._flex = _FLEX in self._unsearched
            self._unsearched = b""
        return self._flex

    def flex_seconds(self) -> float:
        """How much longer than others its answer is waited for."""
        bounds = self._bounds
        return bounds.flex_first_byte_seconds - bounds.first_byte_seconds if self.asks_for_flex() else 0.0

    @property
    def replayable(self) -> bool:
        """All that was read is still here."""
        return self._kept is not None and self.failure is None

    async def read_whole(self, feed: Callable[[bytes], Awaitable[None]]) -> None:
        """Read to the end, show every piece to `feed`, and keep all. Raises CallerGone, Refusal (too large)."""
        if self._kept is None:
            raise RuntimeError("the body was sent on before it was to be read whole")
        kept = _Kept(self)
        while piece := await kept.next():
            await feed(piece)
        while piece := await self._next():
            await self._keep_all(piece)
            await feed(piece)

    def pieces(self) -> "Pieces":
        """The body from its start, for one attempt: what is kept, then what still comes."""
        pieces = Pieces(self)
        if self.once:
            self.asks_for_flex()  # as long as it can be searched
            self.let_go()
        return pieces

    def at_once(self, limit: int) -> bytes | None:
        """The whole body if it has all come, has at most `limit` bytes and may be kept; else None, none of it read."""
        if self._kept is None or self._spool is not None or self.failure is not None:
            return None
        if not self._ended:
            inflow = self._inflow
            size = inflow.came_bytes
            if size > limit or size > self._bounds.replay_bytes or self._kept or self.heard_by is not None:
                return None
            body = inflow.whole()
            if body is None:
                return None
            self.unasked = False
            self.received = self._kept_bytes = size
            self._ended = True
            self._kept = [body] if body else []
            self._unsearched = body
        return None if self._kept_bytes > limit else self._joined()

    async def small(self, limit: int) -> bytes | None:
        """The whole body if its declared length is at most `limit` bytes and may be kept, else None."""
        if self._kept is None or self.length is None or self.length > min(limit, self._bounds.replay_bytes):
            return None
        while piece := await self._next():
            self._kept.append(piece)
            self._kept_bytes += len(piece)
            if self.heard_by is not None:
                await self.heard_by(piece)
        return self._joined()

    def _joined(self) -> bytes:
        """All that is kept, in one piece from now on: whoever sends it holds it too while it waits."""
        assert self._kept is not None
        if len(self._kept) > 1:
            self._kept = [b"".join(self._kept)]
        return self._kept[0] if self._kept else b""

    def let_go(self) -> None:
        """No further attempt will need it: keep nothing. An upload under way goes on from what it holds."""
        self._kept = None
        self._unsearched = b""

    def close(self) -> None:
        self.let_go()
        if self._spool is not None:
            self._spool.close()

    async def _next(self) -> bytes:
        """The next piece from the caller, b"" at the end."""
        if self._ended:
            return b""
        if self._reading is None:
            self._reading = asyncio.Lock()
        async with self._reading:
            if self._ended:
                return b""
            if self.failure is not None:
                raise self.failure
            piece = await self._come()
            self.received += len(piece)
            if not self._flex and b'"' in piece:  # a search for one byte is a tenth of that for a word
                self._flex = _FLEX in piece
            self._ended = not piece
            return piece

    async def _come(self) -> bytes:
        """Ask the caller for it, if that is what it waits for, and wait. Raises CallerGone."""
        if self.unasked:
            self.unasked = False
            if not self._inflow.came_bytes and not self._inflow.ended:  # RFC 9110 section 10.1.1
                self._request.connection.write(_CONTINUE)
        try:
            inflow, seconds = self._inflow, self._bounds.caller_idle_seconds
            while (piece := inflow.take()) is None:
                await Patience(self._watch).outlast(inflow.arrival(), seconds, "caller_idle")
        except (ConnectionError, Malformed, Interrupted) as error:
            why = f"the request's body broke off after {self.received} bytes"
            stalled, malformed = isinstance(error, Interrupted), isinstance(error, Malformed)
            self.failure = CallerGone(why, stalled=stalled, malformed=malformed)
            raise self.failure from error
        return piece

    def _keep_some(self, piece: bytes) -> None:
        if self._kept is None:
            return
        self._kept_bytes += len(piece)
        if self._spool is not None or self._kept_bytes > self._bounds.replay_bytes:
            self._kept = None
        else:
            self._kept.append(piece)

    async def _keep_all(self, piece: bytes) -> None:
        assert self._kept is not None
        self._kept_bytes += len(piece)
        if self._kept_bytes <= self._bounds.replay_bytes:
            self._kept.append(piece)
            return
        if self._kept_bytes > self._bounds.spool_bytes:
            # Only where a limit of the team must look into the body; otherwise its size is the endpoint's business.
            message = f"The request's body is larger than the {self._bounds.spool_bytes} bytes that can be looked into."
            raise Refusal(413, message, reason="BODY_TOO_LARGE")
        if self._spool is None:
            self._spool = Spool()
        await self._spool.keep(piece)


@final
class _Kept:
    """What a body keeps now, from its start; what comes later its reader has had."""

    __slots__ = ("_at", "_body", "_pieces", "_spool_at")

    def __init__(self, body: RequestBody) -> None:
        self._body = body
        self._pieces: list[bytes] = list(body._kept or ())
        self._at = 0
        self._spool_at = 0

    async def next(self) -> bytes:
        """b"" behind the last."""
        if self._at < len(self._pieces):
            self._at += 1
            return self._pieces[self._at - 1]
        spool = self._body._spool
        if spool is None:
            return b""
        piece = await spool.read_at(self._spool_at)
        self._spool_at += len(piece)
        return piece


@final
class Pieces:
    """One attempt's reading of a body. Raises CallerGone."""

    __slots__ = ("_body", "_kept")

    def __init__(self, body: RequestBody) -> None:
        self._body = body
        self._kept: _Kept | None = _Kept(body)

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        body = self._body
        piece = b"" if self._kept is None else await self._kept.next()
        if not piece:
            self._kept = None
            piece = await body._next()
            if not piece:
                raise StopAsyncIteration
            body._keep_some(piece)
            if body.heard_by is not None:  # kept first: who is cancelled while it listens must not have lost it
                await body.heard_by(piece)
        if body.moved is not None:
            body.moved()
        return piece
