"""One connection to an endpoint on the fast road: a request goes up on it, what comes down is parsed into an `Answer`.

`connections.py` keeps these connections, `fast_road.py` asks on them, one request at a time. httptools parses and is
strict; it knows no bounds, so they stand here. A connection is used again only if nothing but that answer came on it,
whole, and the request had gone up whole. Nothing is ever asked twice.
"""

import asyncio
from typing import Any, Final, Protocol, final

from httptools import HttpParserCallbackError, HttpParserError, HttpResponseParser

from proxy.head import RawField
from proxy.refusal import CallerGone, EndpointFailed
from proxy.wire.answer import AnswerBroke
from proxy.wire.answer_head import MOST_FIELDS, AnswerHead, BadHead, check_fields
from proxy.wire.bounds import Bounds
from proxy.wire.fast_answer import Came, FastAnswer
from proxy.wire.inflow import UNSENT_BYTES, Inflow
from proxy.wire.intake import Intake
from proxy.wire.patience import Patience
from proxy.wire.request_body import RequestBody

_HEAD_FIELDS: Final = 8  # of the largest size that fit into a head: 128 KiB by default, twice Envoy's bound


class _Stop(Exception):
    """What follows is no part of the answer."""


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
        "_asked",
        "_buffer",
        "_came_bytes",
        "_drained",
        "_fed_bytes",
        "_field_bytes",
        "_fields",
        "_idle_seconds",
        "_inflow",
        "_intake",
        "_keeper",
        "_loop",
        "_no_body",
        "_parser",
        "_patience",
        "_reason",
        "_reusable",
        "_tls",
        "_until_close",
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
        self._field_bytes = bounds.header_bytes
        self._idle_seconds = bounds.upstream_idle_seconds
        self._tls = False
        self._parser = HttpResponseParser(self)
        self._reason = b""
        self._fields: list[RawField] = []
        self._asked = False  # from the request to the end of its answer
        self._no_body = False  # the request was HEAD
        self._waiter: asyncio.Future[Came] | None = None  # for the answer's head, until it came
        self._patience: Patience | None = None  # that of who asks
        self._inflow = Inflow(self)  # the answer's body
        self._until_close = False  # it ends with the connection
        self._reusable = False
        self._fed_bytes = 0  # since the request, or since the last byte of a body
        self._came_bytes = 0  # of a body, when that was last looked at
        self._writing_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._upload: asyncio.Task[None] | None = None  # None too once it is whole

    # --- for whoever asks ---

    def ask(self, data: bytes, patience: Patience, *, no_body: bool, sent: bool) -> "asyncio.Future[Came]":
        """Send a request's head, and as much of its body as `data` holds. What comes of it is the future's result."""
        self._asked = True
        self._no_body = no_body
        self._patience = patience
        self._fed_bytes = self._came_bytes = 0
        self._fields = []  # else a trailer of the last answer would be a field of this one
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
        if not self._reusable or self._upload is not None or self.transport.get_write_buffer_size():
            self.cut()
            return
        self._reusable = False
        self._inflow.discard()
        self._keeper.keep(self)

    def cut(self) -> None:
        """End it at once: a close would wait for what is unsent, and under TLS for the other side's goodbye."""
        self._asked = self._reusable = False
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
        self._tls = transport.get_extra_info("sslcontext") is not None
        if self._tls:
            self._buffer = self._intake.decrypted
        transport.set_write_buffer_limits(high=UNSENT_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._asked:
            self.cut()  # it would be taken for the answer to the next request
            return
        self._fed_bytes += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except HttpParserError as error:
            if isinstance(error, HttpParserCallbackError) and not isinstance(error.__context__, _Stop | BadHead):
                raise  # a fault of ours
            if self._reusable and self._came_alone(nbytes):
                self._parser = HttpResponseParser(self)  # the old one waits for the body that HEAD's answer announces
            else:
                self._break("bad_answer")
        self._inflow.settle()
        if self._asked:
            self._check_bounds()

    def eof_received(self) -> None:
        if self._asked and self._until_close and self._waiter is None:
            self._asked = False
            self._inflow.end()
        self._break("disconnected")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._break("disconnected")
        self._keeper.lost(self)
        self._parser = HttpResponseParser(object())  # ours holds our methods

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- for the inflow ---

    def pause_reading(self) -> None:
        self.transport.pause_reading()
        if self._tls:
            self.transport.set_read_buffer_limits(high=0)  # else the loop reads on, 512 KiB

    def resume_reading(self) -> None:
        if not self.transport.is_closing():
            if self._tls:
                self.transport.set_read_buffer_limits()
            self.transport.resume_reading()

    # --- for the parser ---

    def on_message_begin(self) -> None:
        if not self._asked:  # another answer behind the one asked for
            raise _Stop

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] <= 0x20:  # RFC 9110 section 5.5: white space behind it is none of it
            value = value.rstrip()
        self._fields.append((name, value))  # of a trailer too, which goes nowhere

    def on_headers_complete(self) -> None:
        raw, reason, self._fields, self._reason = self._fields, self._reason, [], b""
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101 or status < 100:
                raise BadHead("an upgrade that nobody asked for, or no status at all")
            return  # dropped; RFC 9110 section 15.2
        if len(raw) > MOST_FIELDS or self._fed_bytes > self._field_bytes:
            check_fields(raw, self._field_bytes)
        said = AnswerHead(status, reason, raw, no_body=self._no_body)
        self._until_close = said.until_close
        self._inflow = Inflow(self)
        assert self._patience is not None, "nobody asked"
        self._tell(FastAnswer(self, self._inflow, said, self._patience, self._idle_seconds))
        if self._no_body:
            self.on_message_complete()
            raise _Stop  # the parser cannot be told that no body follows

    def on_body(self, piece: bytes) -> None:
        if self._waiter is not None:
            raise _Stop  # a body before the head of the answer: an interim answer has none (RFC 9110 section 15.2)
        self._inflow.feed(piece)

    def on_message_complete(self) -> None:
        if self._waiter is None:  # else it was a 1xx
            self._asked = False
            self._reusable = self._parser.should_keep_alive()
            self._inflow.end()

    def _came_alone(self, nbytes: int) -> bool:
        """What was read is the whole head of the answer to HEAD, and nothing but that."""
        if not self._no_body or self._fed_bytes != nbytes:
            return False
        return bytes(self._buffer[:nbytes]).find(b"\r\n\r\n") == nbytes - 4

    def _check_bounds(self) -> None:
        """Of a head, and of what is no body between its pieces and behind: extensions of chunks, trailers."""
        came = self._inflow.came_bytes if self._waiter is None else 0
        if came != self._came_bytes:
            self._came_bytes = came
            self._fed_bytes = 0
        elif self._fed_bytes > _HEAD_FIELDS * self._field_bytes:
            self._break("bad_answer")

    def _break(self, reason: str) -> None:
        """No more comes of what was asked, if anything was, and nobody will ask on this connection again."""
        if self._asked:
            if self._waiter is None:
                self._inflow.fail(AnswerBroke(reason))
            else:
                self._tell(EndpointFailed(reason, sent=self.sent))
        self.cut()

    def _tell(self, came: Came) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(came)
        self._waiter = None
