"""The body of one request: read once from the caller, sent to as many endpoints as need it.

What is read is kept, in memory, up to a bound; past it the exchange can no longer be repeated. A plugin that
needs the intent has the whole body read first: then what does not fit in memory goes to a nameless file. The
caller is asked to send (100 Continue) only when somebody reads, that is after auth and quota.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

from aiohttp import StreamReader
from aiohttp.web import RequestPayloadError

from proxy.refusal import CallerGone, Refusal
from proxy.wire.bounds import Bounds
from proxy.wire.intake import next_piece
from proxy.wire.patience import Interrupted, Patience

SPOOL_PIECE = 256 << 10  # read back from the file in pieces of this size


class RequestBody:
    """See the module.

    Attributes:
        exists: the request has a body, be it empty. Decided once: aiohttp's `can_read_body` turns false when
            the body was read, and a second attempt would then send none under the old Content-Length.
        length: its declared length in bytes, None when it comes chunked.
        received: bytes read from the caller so far.
        asks_for_flex: the word stood in it, so that its answer is waited for longer; a word elsewhere does no harm.
        failure: why the caller's side ended before the body was whole.
    """

    def __init__(
        self,
        content: StreamReader,
        *,
        exists: bool,
        length: int | None,
        bounds: Bounds,
        ask_for_it: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.exists = exists
        self.length = length
        self.received = 0
        self.asks_for_flex = False
        self.failure: CallerGone | None = None
        self._content = content
        self._bounds = bounds
        self._ask_for_it = ask_for_it  # 100 Continue, when the caller waits for it
        self.moved: Callable[[], None] | None = None  # called for each piece that goes up
        self.heard_by: Callable[[bytes], Awaitable[None]] | None = None  # called once for each piece that comes
        self._patience = Patience()
        self._reading = asyncio.Lock()  # an attempt that failed may still be unwinding its read
        self._ended = not exists
        self._kept: list[bytes] | None = []  # None once a piece was let go
        self._kept_bytes = 0
        self._spool: BinaryIO | None = None
        self._spooled_bytes = 0

    @property
    def complete(self) -> bool:
        """The caller has sent all of it."""
        return self._ended

    @property
    def unasked(self) -> bool:
        """The caller still waits to be told to send it."""
        return self._ask_for_it is not None

    @property
    def replayable(self) -> bool:
        """All that was read is still here."""
        return self._kept is not None and self.failure is None

    async def read_whole(self, feed: Callable[[bytes], Awaitable[None]]) -> None:
        """Read to the end, show every piece to `feed`, and keep all. Raises CallerGone, Refusal (too large)."""
        if self._kept is None:
            raise RuntimeError("the body was sent on before it was to be read whole")
        async for piece in self._again():
            await feed(piece)
        while piece := await self._next():
            await self._keep_all(piece)
            await feed(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body from its start, for one attempt: what is kept, then what still comes. Raises CallerGone."""
        if not self._kept and self._spool is None and self._content.total_bytes == self.received and not self._ended:
            yield b""  # aiohttp sends the head with the first piece: an endpoint may answer before there is one
        async for piece in self._again():
            self._tell()
            yield piece
        while piece := await self._next():
            self._keep_some(piece)
            self._tell()
            yield piece

    async def small(self, limit: int) -> bytes | None:
        """The whole body if its declared length is at most `limit` bytes and may be kept, else None."""
        if self._kept is None or self.length is None or self.length > min(limit, self._bounds.replay_bytes):
            return None
        while piece := await self._next():
            self._kept.append(piece)
            self._kept_bytes += len(piece)
        return self._kept[0] if len(self._kept) == 1 else b"".join(self._kept)

    def let_go(self) -> None:
        """No further attempt will need it: keep nothing. An upload under way goes on from what it holds."""
        self._kept = None

    def close(self) -> None:
        self.let_go()
        self._patience.close()
        if self._spool is not None:
            self._spool.close()

    async def _again(self) -> AsyncIterator[bytes]:
        for piece in list(self._kept or ()):
            yield piece
        offset = 0
        while self._spool is not None and offset < self._spooled_bytes:
            piece = await asyncio.to_thread(_read_at, self._spool, offset)
            offset += len(piece)
            yield piece

    async def _next(self) -> bytes:
        """The next piece from the caller, b"" at the end."""
        async with self._reading:
            if self._ended:
                return b""
            if self.failure is not None:
                raise self.failure
            try:
                if self._ask_for_it is not None:
                    ask, self._ask_for_it = self._ask_for_it, None
                    await ask()
                piece = await self._patience.wait(
                    next_piece(self._content), self._bounds.caller_idle_seconds, "caller_idle"
                )
            except (ConnectionError, RequestPayloadError, Interrupted) as error:
                why = f"the request's body broke off after {self.received} bytes"
                self.failure = CallerGone(
                    why, stalled=isinstance(error, Interrupted), malformed=isinstance(error, RequestPayloadError)
                )
                raise self.failure from error
            self.received += len(piece)
            self.asks_for_flex = self.asks_for_flex or b'"flex"' in piece
            self._ended = not piece
            if self.heard_by is not None and piece:
                await self.heard_by(piece)
            return piece

    def _tell(self) -> None:
        if self.moved is not None:
            self.moved()

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
            self._spool = await asyncio.to_thread(tempfile.TemporaryFile)  # closed by close()
        await asyncio.to_thread(_append, self._spool, piece)
        self._spooled_bytes += len(piece)


def _append(file: BinaryIO, piece: bytes) -> None:
    file.write(piece)
    file.flush()


def _read_at(file: BinaryIO, offset: int) -> bytes:
    """Without moving the file's own position: two attempts may read at once."""
    return os.pread(file.fileno(), SPOOL_PIECE, offset)
