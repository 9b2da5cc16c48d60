"""A caller's bytes in, its requests out, in the order in which they came. No socket, no waiting.

`caller.py` feeds it. llhttp parses, by way of httptools, and calls the `on_...` methods: it is strict, but keeps no
bounds, so that they are kept here. What is no HTTP never becomes a request, and nothing of it is echoed or logged.
Between two messages a head that is familiar takes a shorter way, and so does its body: past the parser.
"""

import logging
from typing import Final, Protocol

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from proxy.head import Headers
from proxy.refusal import Refusal
from proxy.wire.familiar import FamiliarHead, learned
from proxy.wire.guard import MAX_HEADERS, NOT_HTTP, TOO_MANY
from proxy.wire.handshake import is_handshake
from proxy.wire.headers import declared_length
from proxy.wire.inflow import Inflow, Source
from proxy.wire.request import Connection, Malformed, Request, familiar_request

_HEAD_FIELDS: Final = 4  # of the largest size that a head may have in all; nginx's large_client_header_buffers
_TRIES: Final = 3  # at learning a head, where none came again: to a caller that never repeats itself it is of no use
_FIRST_TRY: Final = _TRIES + 1  # which is none: many a connection brings one request, and would keep its head in vain
_MOST_WAITING: Final = 100  # requests; what comes behind them may be sent again (RFC 9112 section 9.3.2)
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_log = logging.getLogger("proxy.wire")


class Feeder(Connection, Source, Protocol):
    """The connection that feeds it."""


class Pipeline:
    """See the module.

    Attributes:
        waiting: requests whose heads have come, for whoever takes them off.
        receiving: the one whose body is still to come.
        over: nothing more is parsed.
        refusal: the answer to what was no request, behind those that wait; None where nothing was wrong.
        behind: what came behind the last of those that wait, if that is a WebSocket handshake; else None.
    """

    __slots__ = (
        "_between",
        "_familiar",
        "_fields",
        "_line",
        "_most",
        "_owed_bytes",
        "_parser",
        "_progress",
        "_stalled",
        "_target",
        "_tries",
        "behind",
        "over",
        "receiving",
        "refusal",
        "waiting",
    )

    def __init__(self, line: Feeder, header_bytes: int) -> None:
        self.waiting: list[Request] = []  # a deque makes room for 64 at once
        self.receiving: Request | None = None
        self.over = False
        self.refusal: Refusal | None = None
        self.behind: bytes | None = None
        self._line = line
        self._most = header_bytes
        self._parser: HttpRequestParser | None = None  # while a message needs it
        self._target = b""  # of the head that comes
        self._fields: list[tuple[bytes, bytes]] = []
        self._progress = (0, 0)  # which head or body comes, and how much of it had come at the last look
        self._stalled = 0  # bytes since then that brought it no further; 0 between requests
        self._between = True  # the parser waits for the first byte of a message
        self._familiar: FamiliarHead | None = None
        self._tries = _FIRST_TRY
        self._owed_bytes = 0  # still to come of a body that the parser knows nothing of

    def feed(self, data: memoryview) -> None:
        """Keeps nothing of `data` itself."""
        if self.over:
            return
        between, before, taken = self._between, len(self.waiting), 0
        if self._owed_bytes:
            taken = self._take_owed(data)
        elif between and self._familiar is not None:
            taken = self._recognise(self._familiar, data)
            if not taken and not self._tries:
                self._familiar = None
        if taken:
            if taken == len(data):
                return
            data = data[taken:]
        parser = self._parser = self._parser or HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as stop:
            self._stopped(stop, data)
        else:
            if between and not taken and self._tries and len(self.waiting) == before + 1:
                self._learn(self.waiting[before], data.tobytes())
            if self._between and self._tries:
                self._parser = None  # the next head may need none, and a parser takes over 1 KB
        if self._target or self._stalled or self.receiving is not None or len(data) > self._most:
            self._check_bounds(len(data))

    def close(self) -> None:
        """Nothing more will come."""
        self.over = True
        self.waiting.clear()
        self.receiving = self.behind = self._familiar = self._parser = None

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        self._between = False

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value.rstrip(b" \t")))  # RFC 9110 section 5.5: white space behind it is none of it

    def on_headers_complete(self) -> None:
        parser, line = self._parser, self._line
        assert parser is not None
        headers = Headers(self._fields)
        first = headers.first
        version = parser.get_http_version()
        declared = first.get(b"content-length")
        self.receiving = request = Request(
            line,
            parser.get_method().decode(),
            self._target.decode("latin-1"),
            version,
            headers,
            Inflow(line),
            has_body=declared is not None or b"transfer-encoding" in first,
            length=None if declared is None else declared_length(declared),
            keep_alive=parser.should_keep_alive(),
            waits_for_100=b"expect" in first and version == "1.1",  # the guard lets no other expectation pass
        )
        self.waiting.append(request)
        self._target = b""
        self._fields = []

    def on_body(self, piece: bytes) -> None:
        assert self.receiving is not None
        self.receiving.body.feed(piece)

    def on_message_complete(self) -> None:
        request, self.receiving = self.receiving, None
        assert request is not None
        request.body.end()
        self._between = request.keep_alive  # else it waits for nothing more
        self._fields.clear()  # trailers

    # --- past the parser ---

    def _learn(self, request: Request, data: bytes) -> None:
        """Its head begins `data`, and was all that began in it."""
        if request.keep_alive and data.startswith(request.method.encode()):
            self._tries -= 1
            if self._tries < _TRIES:
                method, target, version, headers = request.method, request.target, request.version, request.headers
                self._familiar = learned(data, method, target, version, headers, self._familiar, self._most)
                request.familiar = self._familiar

    def _recognise(self, familiar: FamiliarHead, data: memoryview) -> int:
        """How much of `data` is the familiar head, once more, with what came of its body; 0 if that is another."""
        came = data.tobytes()
        end = familiar.end_in(came)
        if not end:
            return 0
        self._tries = _TRIES
        body = Inflow(self._line)
        request = familiar_request(self._line, familiar, body)
        self.waiting.append(request)
        owed = familiar.length or 0
        piece = came[end : end + owed]
        if piece:
            body.feed(piece)
        self._owed_bytes = owed - len(piece)
        if self._owed_bytes:
            self.receiving = request
        else:
            body.end()
        return end + len(piece)

    def _take_owed(self, data: memoryview) -> int:
        """How much of `data` is of the body."""
        request = self.receiving
        assert request is not None
        owed = self._owed_bytes
        piece = (data if len(data) <= owed else data[:owed]).tobytes()
        request.body.feed(piece)
        self._owed_bytes = owed - len(piece)
        if not self._owed_bytes:
            request.body.end()
            self.receiving = None
        return len(piece)

    # --- where it goes no further ---

    def _stopped(self, stop: Exception, data: memoryview) -> None:
        """Behind an upgrade that was asked for, or because this is no HTTP."""
        while isinstance(stop, HttpParserUpgrade):
            data = data[stop.args[0] :]
            if is_handshake(request := self.waiting[-1]):
                self.over, self.behind = True, bytes(data)
                return
            try:
                self._parse_on(request, data)
            except (HttpParserError, HttpParserUpgrade) as another:
                stop = another
            else:
                return
        if isinstance(stop, HttpParserCallbackError):
            _log.error("the gateway failed on a request", exc_info=stop.__context__)
            self._break_off(Refusal(500, "An internal error has occurred.", reason="INTERNAL"))
        else:
            self._break_off(Refusal(400, NOT_HTTP, reason="HTTP"))

    def _parse_on(self, request: Request, data: memoryview) -> None:
        """No upgrade is made of it, so its body follows, which llhttp takes for the other protocol's.

        A new parser is told how the body is framed, by a head that is nobody's.
        """
        parser = self._parser = HttpRequestParser(self)
        if request.has_body:
            framing = next(field for field in request.headers.raw if field[0].lower() in _FRAMING)
            parser.feed_data(b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % framing)
            nobodys = self.waiting.pop()
            request.body = nobodys.body
            if self.receiving is nobodys:
                self.receiving = request
        parser.feed_data(data)

    def _break_off(self, refusal: Refusal) -> None:
        """Of what comes now; a request that began already learns it from its body."""
        self.over = True
        request, self.receiving = self.receiving, None
        if request is None:
            self.refusal = refusal
        elif self.waiting and self.waiting[-1] is request:
            self.waiting.pop()
            self.refusal = refusal
        else:
            request.keep_alive = False
            request.body.fail(Malformed("the body is not well-formed"))

    # --- bounds ---

    def shorten(self) -> None:
        """So many requests may wait; the last of them is told that its connection ends."""
        waiting = self.waiting
        if len(waiting) > _MOST_WAITING:
            del waiting[_MOST_WAITING:]
            waiting[-1].keep_alive = False
            self.over = True
            self.receiving = self.refusal = self.behind = None

    def _check_bounds(self, size: int) -> None:
        """How large a head is, and how much of a body in chunks is none of it: llhttp would go on for ever."""
        most = self._most
        for request in self.waiting:
            sizes = [len(request.target), *(len(name) + len(value) for name, value in request.headers.raw)]
            if max(sizes) > most or sum(sizes) > most * _HEAD_FIELDS:
                while self.waiting.pop() is not request:
                    pass
                self.over, self.receiving, self.behind = True, None, None
                self.refusal = _too_long(most)
                return
        if self._target:
            fields = self._fields
            came = len(self._target) + sum(len(name) + len(value) for name, value in fields)
            progress = id(fields), came
            if len(fields) > MAX_HEADERS:
                self._break_off(Refusal(431, TOO_MANY, reason="HEADER"))
            elif came > most * _HEAD_FIELDS or len(self._target) > most:
                self._break_off(_too_long(most))
        elif self.receiving is not None:
            progress = id(self.receiving), self.receiving.body.came_bytes
        else:
            self._stalled = 0
            return
        if progress != self._progress:
            self._progress, self._stalled = progress, 1
            return
        self._stalled += size  # line ends and blanks count, so that twice as much is none too many
        if self._stalled > 2 * most and not self.over:
            self._break_off(_too_long(most))


def _too_long(most: int) -> Refusal:
    return Refusal(431, f"A header or the request line is longer than {most} bytes.", reason="HEADER")
