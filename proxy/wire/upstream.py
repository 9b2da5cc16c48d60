"""One connection to an endpoint on the fast road: a request goes up on it, what comes down is made an `Answer`.

`connections.py` keeps these connections, `fast_road.py` asks on them, one request at a time; `answer_reader.py` reads
what comes. A connection is used again only if nothing but that answer came on it, whole, and the request had gone up
whole. Nothing is ever asked twice.
"""

import asyncio
from typing import Any, Protocol, final

from proxy.refusal import CallerGone, EndpointFailed
from proxy.wire.answer import AnswerBroke
from proxy.wire.answer_reader import AnswerReader
from proxy.wire.bounds import Bounds
from proxy.wire.fast_answer import Came, FastAnswer
from proxy.wire.inflow import UNSENT_BYTES
from proxy.wire.intake import Intake
from proxy.wire.patience import Patience
from proxy.wire.request_body import RequestBody


class Keeper(Protocol):
    """Whose connection it is while nobody asks: it is told of each time it is idle, and of its end."""

    def keep(self, connection: "Upstream") -> None: ...

    def lost(self, connection: "Upstream") -> None: ...


@final
class Upstream(asyncio.BufferedProtocol):
    """See the module.

    Attributes:
        transport: to write to and to ask; `cut` alone closes it.
        idle_since: the loop's time, set by the keeper.
        sent: the endpoint may have something that lets it run the request under way.
    """

    __slots__ = (
        "_buffer",
        "_drained",
        "_idle_seconds",
        "_intake",
        "_keeper",
        "_loop",
        "_patience",
        "_reader",
        "_upload",
        "_waiter",
        "_writing_paused",
        "idle_since",
        "sent",
        "transport",
    )

    def __init__(self, keeper: Keeper, loop: asyncio.AbstractEventLoop, intake: Intake, bounds: Bounds) -> None:
        self.transport: Any = None
        self.idle_since = 0.0
        self.sent = False
        self._keeper = keeper
        self._loop = loop
        self._intake = intake
        self._buffer = intake.buffer
        self._reader = AnswerReader(self, bounds.header_bytes)
        self._idle_seconds = bounds.upstream_idle_seconds
        self._waiter: asyncio.Future[Came] | None = None  # for the answer's head, until it came
        self._patience: Patience | None = None  # that of who asks
        self._writing_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._upload: asyncio.Task[None] | None = None  # None too once it is whole

    # --- for whoever asks ---

    def ask(self, data: bytes, patience: Patience, *, no_body: bool, sent: bool) -> "asyncio.Future[Came]":
        """Send a request's head, and as much of its body as `data` holds. What comes of it is the future's result."""
        self._reader.expect(no_body=no_body)
        self._patience = patience
        self.sent = sent
        self._waiter = waiter = self._loop.create_future()
        self.transport.write(data)
        return waiter

    def upload(self, body: RequestBody) -> None:
        """Send the body after the head, as it comes; the answer may come meanwhile."""
        self._upload = self._loop.create_task(self._send(body))

    @property
    def uploading(self) -> bool:
        return self._upload is not None and not self._upload.done()

    def let_go(self) -> None:
        """Nobody reads the answer any more: keep the connection for the next request, or cut it."""
        reader = self._reader
        if not reader.reusable or self._upload is not None or self.transport.get_write_buffer_size():
            self.cut()
            return
        reader.inflow.discard()
        self._keeper.keep(self)

    def cut(self) -> None:
        """End it at once: a close would wait for what is unsent, and under TLS for the other side's goodbye."""
        self._reader.asked = self._reader.reusable = False
        self._waiter = None
        if self._upload is not None:
            self._upload.cancel()
        self.transport.abort()

    async def _send(self, body: RequestBody) -> None:
        chunked, transport = body.length is None, self.transport
        try:
            async for piece in body.pieces():
                if transport.is_closing():
                    return  # `connection_lost` tells
                transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                self.sent = True
                while self._writing_paused:
                    self._drained = self._loop.create_future()
                    await self._drained
            if chunked and not transport.is_closing():
                transport.write(b"0\r\n\r\n")
                self.sent = True
        except Exception as error:
            if self._waiter is not None:
                self._tell(error)
                self.cut()
            elif not isinstance(error, CallerGone):
                raise
            return  # an answer that has come is let be; `_upload` stays, and so the connection is not used again
        self._upload = None

    # --- for the transport ---

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if transport.get_extra_info("sslcontext") is not None:
            self._buffer = self._intake.decrypted
        transport.set_write_buffer_limits(high=UNSENT_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        reader = self._reader
        if not reader.asked:
            self.cut()  # it would be taken for the answer to the next request
            return
        good = reader.feed(self._buffer[:nbytes])
        said = reader.said
        if said is not None and self._waiter is not None:
            assert self._patience is not None, "nobody asked"
            self._tell(FastAnswer(self, reader.inflow, said, self._patience, self._idle_seconds))
        if not good:
            self._break("bad_answer")
        if said is not None:
            reader.inflow.settle()

    def eof_received(self) -> None:
        reader = self._reader
        if reader.asked and reader.until_close and self._waiter is None:
            reader.asked = False
            reader.inflow.end()
        self._break("disconnected")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._break("disconnected")
        self._keeper.lost(self)
        self._reader.close()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- for the inflow ---

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _break(self, reason: str) -> None:
        """No more comes of what was asked, if anything was, and nobody will ask on this connection again."""
        if self._reader.asked:
            if self._waiter is None:
                self._reader.inflow.fail(AnswerBroke(reason))
            else:
                self._tell(EndpointFailed(reason, sent=self.sent))
        self.cut()

    def _tell(self, came: Came) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(came)
        self._waiter = None
