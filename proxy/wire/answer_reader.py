"""What comes down on a connection to an endpoint, read into the head and the body of the one answer asked for.

`upstream.py` feeds it. httptools parses and is strict; it knows no bounds, so they stand here. A head that is familiar
takes a shorter way, and so does its body: past the parser, to which an answer in chunks goes back with the first one
that is not whole.
"""

from typing import Final, final

from httptools import HttpParserCallbackError, HttpParserError, HttpResponseParser

from proxy.head import RawField
from proxy.wire.answer_head import MOST_FIELDS, AnswerHead, BadHead, check_fields, read_head
from proxy.wire.chunks import whole_chunks
from proxy.wire.familiar_answer import FamiliarAnswer, learned
from proxy.wire.inflow import Inflow, Source

_HEAD_FIELDS: Final = 8  # of the largest size that fit into a head: 128 KiB by default, twice Envoy's bound
_OF_CHUNKS: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"  # a head for who saw none


class _Stop(Exception):
    """What follows is no part of the answer."""


@final
class AnswerReader:
    """See the module.

    Attributes:
        asked: from the request to the end of its answer.
        said: the answer's head, once it came.
        inflow: its body, from then on.
        until_close: it ends with the connection.
        reusable: it came whole, and another request may follow.
    """

    __slots__ = (
        "_between",
        "_came_bytes",
        "_familiar",
        "_fed_bytes",
        "_field_bytes",
        "_fields",
        "_in_chunks",
        "_missed",
        "_no_body",
        "_owed_bytes",
        "_parser",
        "_reason",
        "_source",
        "asked",
        "inflow",
        "reusable",
        "said",
        "until_close",
    )

    def __init__(self, source: Source, field_bytes: int) -> None:
        self.asked = False
        self.said: AnswerHead | None = None
        self.inflow: Inflow
        self.until_close = False
        self.reusable = False
        self._source = source
        self._field_bytes = field_bytes
        self._parser: HttpResponseParser | None = None  # while heads come that are not familiar
        self._between = True  # the parser waits for the first byte of a message
        self._reason = b""
        self._fields: list[RawField] = []
        self._no_body = False  # the request was HEAD
        self._fed_bytes = 0  # since the request, or since the last byte of a body
        self._came_bytes = 0  # of a body, when that was last looked at
        self._familiar: FamiliarAnswer | None = None
        self._missed = -1  # how many heads in a row were not familiar; the very first does not count
        self._owed_bytes = 0  # still to come of a body that the parser knows nothing of
        self._in_chunks = False  # there come more of such a body, and the next byte is the first of one

    def expect(self, *, no_body: bool) -> None:
        """A request goes up: its answer follows."""
        self.asked = True
        self.reusable = False
        self.said = None
        self._no_body = no_body
        self._fed_bytes = self._came_bytes = 0
        self._fields = []  # else a trailer of the last answer would be a field of this one

    def feed(self, data: memoryview) -> bool:
        """Keeps nothing of `data` itself. False: what comes is no good answer, or more than that."""
        size = len(data)
        self._fed_bytes += size
        taken = 0
        between = self._between and self.said is None and not self._no_body
        if self._owed_bytes:
            taken = self._take_owed(data)
        elif self._in_chunks:
            taken = self._take_chunks(data.tobytes(), 0)
        elif between and self._familiar is not None:
            taken = self._recognise(self._familiar, data)
        if taken == size:
            return True
        if taken:
            data = data[taken:]
        parser = self._parser = self._parser or HttpResponseParser(self)
        try:
            if self._in_chunks:
                self._in_chunks = False
                parser.feed_data(_OF_CHUNKS)
            parser.feed_data(data)
        except HttpParserError as error:
            if isinstance(error, HttpParserCallbackError) and not isinstance(error.__context__, _Stop | BadHead):
                raise  # a fault of ours
            if not self.reusable or not self._came_alone(data):
                return False
            self._parser = None  # it waits for the body that HEAD's answer announces
            self._between = True
            return True
        if between and not taken and self.said is not None:
            self._learn(self.said, data)
        return not self.asked or self._within_bounds()

    def close(self) -> None:
        """Nothing more will come."""
        self._parser = self._familiar = None

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        if not self.asked:  # another answer behind the one asked for
            raise _Stop
        self._between = False

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] <= 0x20:  # RFC 9110 section 5.5: white space behind it is none of it
            value = value.rstrip()
        self._fields.append((name, value))  # of a trailer too, which goes nowhere

    def on_headers_complete(self) -> None:
        raw, reason, self._fields, self._reason = self._fields, self._reason, [], b""
        if self.said is not None:
            return  # it was said past the parser; this was `_OF_CHUNKS`
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:
            if status == 101 or status < 100:
                raise BadHead("an upgrade that nobody asked for, or no status at all")
            return  # dropped; RFC 9110 section 15.2
        if len(raw) > MOST_FIELDS or self._fed_bytes > self._field_bytes:
            check_fields(raw, self._field_bytes)
        self._begin(read_head(status, reason, raw, no_body=self._no_body))
        if self._no_body:
            self.on_message_complete()
            raise _Stop  # the parser cannot be told that no body follows

    def on_body(self, piece: bytes) -> None:
        if self.said is None:
            raise _Stop  # a body before the head of the answer: an interim answer has none (RFC 9110 section 15.2)
        self.inflow.feed(piece)

    def on_message_complete(self) -> None:
        self._between = True
        if self.said is not None:  # else it was a 1xx
            assert self._parser is not None
            self.reusable = self._parser.should_keep_alive()
            self._end()

    # --- past the parser ---

    def _learn(self, said: AnswerHead, data: memoryview) -> None:
        """Its head began in `data`. The longer nothing comes again, the more seldom anything is learned.

        Of the first nothing is: after a burst many a connection brings no other, and would keep over 1 KB in vain.
        """
        self._missed += 1
        if self._missed and not self._missed & (self._missed - 1):
            self._familiar = learned(data.tobytes(), said, self._familiar, self._field_bytes)

    def _recognise(self, familiar: FamiliarAnswer, data: memoryview) -> int:
        """How much of `data` is the familiar head, once more, with what came of its body; 0 if that is another."""
        came = data.tobytes()
        end = familiar.end_in(came)
        if not end:
            return 0
        self._missed = 0
        self._parser = None  # over 1 KB, and the next may be familiar too
        said = familiar.said
        self._begin(said)
        if said.in_chunks:
            self._in_chunks = True
            return self._take_chunks(came, end)
        owed = said.length or 0
        piece = came[end : end + owed]
        self._take(piece, owed)
        return end + len(piece)

    def _take_owed(self, data: memoryview) -> int:
        """How much of `data` is of the body."""
        owed = self._owed_bytes
        piece = (data if len(data) <= owed else data[:owed]).tobytes()
        self._take(piece, owed)
        return len(piece)

    def _take(self, piece: bytes, owed: int) -> None:
        if piece:
            self.inflow.feed(piece)
        self._owed_bytes = owed - len(piece)
        if not self._owed_bytes:
            self.reusable = True
            self._end()

    def _take_chunks(self, data: bytes, at: int) -> int:
        """How far `data` is read once the chunks are taken that are whole and plain."""
        contents: list[bytes] = []
        end = whole_chunks(data, at, contents)
        for content in contents:
            if content:
                self.inflow.feed(content)
            else:
                self._in_chunks = False
                self.reusable = True
                self._end()
        return end

    # --- the answer ---

    def _begin(self, said: AnswerHead) -> None:
        self.said = said
        self.until_close = said.until_close
        self.inflow = Inflow(self._source)

    def _end(self) -> None:
        self.asked = False
        self.inflow.end()

    # --- bounds ---

    def _came_alone(self, data: memoryview) -> bool:
        """What was read is the whole head of the answer to HEAD, and nothing but that."""
        if not self._no_body or self._fed_bytes != len(data):
            return False
        return data.tobytes().find(b"\r\n\r\n") == len(data) - 4

    def _within_bounds(self) -> bool:
        """Of a head, and of what is no body between its pieces and behind: extensions of chunks, trailers."""
        came = self.inflow.came_bytes if self.said is not None else 0
        if came != self._came_bytes:
            self._came_bytes = came
            self._fed_bytes = 0
            return True
        return self._fed_bytes <= _HEAD_FIELDS * self._field_bytes
