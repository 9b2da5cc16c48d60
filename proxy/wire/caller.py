"""One connection of a caller: its requests are served one at a time, in their order, and answered.

`server.py` makes one for each connection that the door lets in, and is its `Listener`; `pipeline.py` parses what comes,
`line.py` is the wire below. A caller that closes, if only its own side, has left.
"""

import asyncio
from typing import Final, Protocol

from proxy.wire.bounds import Bounds
from proxy.wire.door import LAST_CALL_SECONDS, Door
from proxy.wire.line import Landing, Line
from proxy.wire.pipeline import Pipeline
from proxy.wire.reply import Reply, date_now
from proxy.wire.request import Request
from proxy.wire.response import last_words
from proxy.wire.watch import Watch

LINGER_SECONDS: Final = 2.0  # reading what nobody wants, before the connection is closed
_NEVER: Final = float("inf")


class Listener(Protocol):
    """Who serves the requests. Whatever begins must end with the caller's `answered`, or be handed over."""

    def begin(self, caller: "Caller", request: Request) -> None: ...

    def begin_session(self, caller: "Caller", request: Request, behind: bytes) -> None:
        """The request is the handshake of a WebSocket session; these bytes came behind it."""

    def left(self, caller: "Caller") -> None:
        """It has gone, in the middle of what began."""


class Caller(Line):
    """See the module.

    Attributes:
        deadline: until when it must have brought a request, or what it still sends though it was answered.
    """

    __slots__ = (
        "_caller_idle_seconds",
        "_door",
        "_ends",
        "_held_back",
        "_keepalive_seconds",
        "_lingers",
        "_listener",
        "_pipeline",
        "_serving",
        "_watch",
        "deadline",
    )

    def __init__(self, listener: Listener, door: Door, landing: Landing, bounds: Bounds, watch: Watch) -> None:
        super().__init__(landing)
        self.deadline = _NEVER
        self._listener = listener
        self._door = door
        self._watch = watch
        self._keepalive_seconds = bounds.keepalive_seconds
        self._caller_idle_seconds = bounds.caller_idle_seconds
        self._pipeline = Pipeline(self, bounds.header_bytes)
        self._serving: Request | None = None
        self._lingers = False  # all is answered, and what still comes is dropped
        self._ends = False  # nothing more is served
        self._held_back = False  # no more is read, for requests wait

    # --- what the loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wait(self._keepalive_seconds)
        self._door.arrived(self)

    def buffer_updated(self, nbytes: int) -> None:
        pipeline = self._pipeline
        pipeline.feed(self._landing[:nbytes])
        serving = self._serving
        if self._lingers:
            if serving is not None and pipeline.receiving is not serving:
                self._go_on()
        elif serving is None and (pipeline.waiting or pipeline.over):
            self._go_on()
        if pipeline.waiting:
            self._hold_back()

    def eof_received(self) -> None:
        """The loop closes the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        began = self._serving is not None and not self._lingers
        receiving = self._pipeline.receiving
        self._forget()
        super().connection_lost(exc)
        if began:
            self._listener.left(self)
        if receiving is not None:
            receiving.body.fail(ConnectionResetError("the caller left"))

    # --- for whoever answers ---

    @property
    def last_call(self) -> bool:
        return self._door.last_call

    def abort(self) -> None:
        if self._serving is not None and self._serving.version == "1.0":
            self.reset()
        elif self._transport is not None:
            self._transport.abort()

    # --- for the listener and the door ---

    def answered(self, reply: Reply) -> None:
        """The exchange is over; `reply` is what was said in it."""
        request = self._serving
        if request is None:
            return  # the caller has left
        if not reply.ended:
            self.abort()  # what was said must not look whole
            self._serving = None
            return
        if not reply.keep_alive:
            self._ends = True
        receiving = self._pipeline.receiving is request
        if receiving or self._pauses:
            request.body.discard()
        if receiving:
            self._lingers = True
            self._wait(LINGER_SECONDS)
        else:
            self._go_on()

    def hand_over(self, protocol: asyncio.Protocol, data: bytes) -> None:
        """The connection is `protocol`'s for good, which gets `data` before all else."""
        transport = self._transport
        assert transport is not None
        self._forget()
        self._transport = None
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self.paused:
            protocol.pause_writing()
        protocol.data_received(data)

    def hurry(self, seconds: float) -> None:
        if self._serving is None and self.deadline > self._watch.now() + seconds:
            self._wait(seconds)

    def force_close(self) -> None:
        """Once what is unsent has left; that is not waited for for ever."""
        super().force_close()
        if self._transport is not None:
            self._wait(self._caller_idle_seconds)

    def run_out(self) -> None:
        if self._transport is not None and self._transport.is_closing():
            self._transport.abort()
        else:
            self.force_close()

    # --- one request after the other ---

    def _go_on(self) -> None:
        """Nothing is under way: the next request has its turn, or is waited for, or the connection ends."""
        pipeline = self._pipeline
        self._serving = None
        self._lingers = False
        if pipeline.waiting and not self._ends:
            self._serving = request = pipeline.waiting.pop(0)
            self.deadline = _NEVER
            if self._held_back and not pipeline.waiting:
                self._read_on()
            if pipeline.behind is None or pipeline.waiting:
                self._listener.begin(self, request)
            else:
                self._listener.begin_session(self, request, pipeline.behind)
        elif self._ends or pipeline.over:
            if pipeline.refusal is not None and not self._ends:
                self.write(last_words(pipeline.refusal, [("Date", date_now().decode())]))
            self._part()
        else:  # an answer that began before the last call did not say that it was the last
            self._wait(LAST_CALL_SECONDS if self._door.last_call else self._keepalive_seconds)

    def _wait(self, seconds: float) -> None:
        self.deadline = self._watch.now() + seconds
        self._watch.add(self)

    def _part(self) -> None:
        """Nothing more is said.

        RFC 9112 section 9.6: closed with bytes unread, a socket takes back the answers that it has sent. So where more
        may come it is read, and dropped, until the caller closes.
        """
        pipeline, transport = self._pipeline, self._transport
        if transport is None or not (pipeline.over or pipeline.waiting):
            self.force_close()
            return
        self._ends = self._lingers = pipeline.over = True
        pipeline.waiting.clear()
        if self._held_back:
            self._read_on()
        self._wait(LINGER_SECONDS)
        if transport.can_write_eof():
            try:
                transport.write_eof()
            except OSError:  # it has reset the connection, and we are about to be told
                transport.abort()

    def _hold_back(self) -> None:
        """A pipeline: the requests in it wait, and no more are read."""
        self._pipeline.shorten()
        if not self._held_back:
            self._held_back = True
            self.pause_reading()

    def _read_on(self) -> None:
        self._held_back = False
        self.resume_reading()

    def _forget(self) -> None:
        """The connection is not ours any more."""
        self._watch.discard(self)
        self._door.left(self)
        self._pipeline.close()
        self._serving = None
