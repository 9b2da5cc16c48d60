"""A body on its way in: what a connection's parser fed and nobody has taken yet.

Both sides read bodies through it, requests' and answers' alike. It holds little: above `HELD_BYTES` its connection
stops reading until somebody takes. Whoever takes gets what came, in order, also where the rest will never come.
A taker that waits may leave a sink: then what a read brings goes there in the same turn of the loop, and nobody wakes.
"""

import asyncio
from typing import Final, Protocol, final

READ_BYTES: Final = 56 << 10  # what a connection reads at once, and so the largest piece; under TLS `intake` has more
UNSENT_BYTES: Final = 8 << 10  # above this a transport lets nobody write
_ENOUGH_BYTES: Final = 16 << 10  # a piece worth a write of its own; smaller ones are joined
_PIECE_BYTES: Final = 50  # what a piece takes beside its content: a body may come in chunks of one byte
_FEW: Final = 16  # pieces: of TLS's largest read those of 8 KiB. More in one write would hold more than they contain
# Above this the connection reads no more, and has then read once more at most. A whole read does not reach it: it is
# taken before the next, most of the time, and to stop and begin again costs two system calls.
HELD_BYTES: Final = READ_BYTES + _PIECE_BYTES


class Source(Protocol):
    """The connection that feeds it."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Sink(Protocol):
    """Stands in for a taker that waits."""

    def pour(self) -> bool:
        """Take some of what has come. False: wake the taker, for what was left or for what must be waited for."""


@final
class Inflow:
    """See the module. For one taker.

    Attributes:
        came_bytes: of the body so far, taken or not.
    """

    __slots__ = (
        "_ended",
        "_failure",
        "_held_bytes",
        "_paused",
        "_pieces",
        "_sink",
        "_source",
        "_taker",
        "_touched",
        "_unwanted",
        "came_bytes",
    )

    def __init__(self, source: Source) -> None:
        self.came_bytes = 0
        self._source = source
        self._pieces: list[bytes] = []
        self._held_bytes = 0  # with what each piece takes
        self._paused = False
        self._touched = False  # something of it was taken
        self._unwanted = False
        self._ended = False
        self._failure: Exception | None = None
        self._taker: asyncio.Future[None] | None = None
        self._sink: Sink | None = None  # of the taker that waits

    # --- for the connection ---

    def feed(self, piece: bytes) -> None:
        self.came_bytes += len(piece)
        if self._unwanted:
            return
        self._pieces.append(piece)
        self._held_bytes += len(piece) + _PIECE_BYTES
        if self._sink is None:
            self._hold()

    def settle(self) -> None:
        """What one read brought has been fed: to be said after each by a connection whose takers leave sinks."""
        sink, taker = self._sink, self._taker
        if sink is None or taker is None or not self._pieces:
            return
        try:
            while self._pieces:
                if taker.done() or not sink.pour():
                    self._hold()
                    return
        except Exception as fault:
            self.discard()  # else what comes before the taker wakes would go down behind a gap
            self.fail(fault)  # it is the taker's, not the connection's

    def end(self) -> None:
        """All of it has come."""
        self._ended = True
        if self._taker is not None:
            self._wake()

    def fail(self, failure: Exception) -> None:
        """The rest will never come; nothing more is said of a body that has ended."""
        if self._ended or self._failure is not None:
            return
        self._failure = failure
        if self._taker is not None:
            self._wake()

    @property
    def ended(self) -> bool:
        """All of it has come, taken or not."""
        return self._ended

    # --- for the taker ---

    @property
    def exhausted(self) -> bool:
        """All of it has come and was taken."""
        return self._ended and not self._pieces

    def here(self) -> list[bytes]:
        """What has come, unjoined; [] where nothing has. Raises the failure.

        READ_BYTES at most, or one piece; but to a sink the few pieces of one read, however large: one write less.
        """
        pieces = self._pieces
        if not pieces:
            if self._failure is not None:
                raise self._failure
            return []
        self._touched = True
        count = len(pieces)
        if count == 1 or self._held_bytes <= READ_BYTES or (count <= _FEW and self._sink is not None):
            self._pieces = []
            self._held_bytes = 0
        else:
            pieces = self._first(_PIECE_BYTES)
        if self._paused and self._held_bytes <= HELD_BYTES // 2:
            self._resume()
        return pieces

    def take(self) -> bytes | None:
        """What has come, at most READ_BYTES of it, b"" at the end; None while there is nothing. Raises the failure."""
        pieces = self._pieces
        if not pieces:
            if self._failure is not None:
                raise self._failure
            return b"" if self._ended else None
        self._touched = True
        if len(pieces) > 1 and len(pieces[0]) < _ENOUGH_BYTES:
            piece = b"".join(self._first(0))
        else:
            piece = pieces.pop(0)
            self._held_bytes -= len(piece) + _PIECE_BYTES
        if self._paused and self._held_bytes <= HELD_BYTES // 2:
            self._resume()
        return piece

    def arrival(self, sink: Sink | None = None) -> asyncio.Future[None]:
        """Done once `take` has something to say, or `sink` wants it. Another may be asked for when it was given up."""
        self._taker = taker = asyncio.get_running_loop().create_future()
        self._sink = sink
        if self._pieces or self._ended or self._failure is not None:
            self._wake()
        return taker

    async def next(self) -> bytes:
        """As `take`, once there is something."""
        while (piece := self.take()) is None:
            await self.arrival()
        return piece

    def whole(self) -> bytes | None:
        """All of it at once, where it has all come and nothing was taken; else None, and nothing is taken."""
        if not self._ended or self._touched:
            return None
        self._touched = True
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._clear()
        return body

    def discard(self) -> None:
        """Nobody will take it any more: what comes is counted and dropped, and reading goes on."""
        self._unwanted = True
        self._clear()

    def _first(self, beside: int) -> list[bytes]:
        """The first pieces, off the others: READ_BYTES at most, with so many `beside` each; one at least."""
        pieces, count, size = self._pieces, 0, 0
        for piece in pieces:
            size += len(piece) + beside
            if size > READ_BYTES and count:
                break
            count += 1
        first = pieces[:count]
        self._pieces = pieces[count:]
        for piece in first:
            self._held_bytes -= len(piece) + _PIECE_BYTES
        return first

    def _hold(self) -> None:
        """Something is here that nobody has taken yet."""
        if self._held_bytes > HELD_BYTES and not self._paused:
            self._paused = True
            self._source.pause_reading()
        if self._taker is not None:
            self._wake()

    def _clear(self) -> None:
        self._pieces = []
        self._held_bytes = 0
        if self._paused:
            self._resume()

    def _resume(self) -> None:
        self._paused = False
        self._source.resume_reading()

    def _wake(self) -> None:
        taker, self._taker = self._taker, None
        self._sink = None
        if taker is not None and not taker.done():
            taker.set_result(None)
