"""How an answer's bytes divide into JSON documents: one, the elements of an array, lines, or server-sent events.

The meter picks one and feeds it; each hands every document that is complete to `read`, small: as it came up
to `DIRECT_BYTES`, as its skeleton beyond, and None where even that outgrew its bound. At most one document
is held, split anywhere, whatever its size. Nothing here knows what a document means.
"""

import re
from collections.abc import Callable
from typing import Final, Protocol, final

from proxy.gemini.skeleton import ANSWER_BYTES, Skeleton, closing_quote

DIRECT_BYTES: Final = 32 * 1024  # nearly every answer without an image: decoding it takes less time than scanning it

_STRUCTURE: Final = re.compile(rb'["\[\]{}]')
_CR: Final = 0x0D
_LF: Final = 0x0A
_COPY_BYTES: Final = 16 * 1024
_BARE_BYTES: Final = 16 * 1024  # of an error that follows the events without being one

Read = Callable[[bytes | None], None]


class Framing(Protocol):
    def feed(self, data: bytes) -> None: ...

    def finish(self) -> None:
        """No more will come: read what is held, be it whole or not."""


@final
class Document:
    """One JSON text on its way."""

    __slots__ = ("_kept", "_max", "_skeleton")

    def __init__(self, max_bytes: int = ANSWER_BYTES) -> None:
        self._max = max_bytes  # of its skeleton
        self._kept = bytearray()
        self._skeleton: Skeleton | None = None

    def feed(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        """`data` from `start` to `end`, of which no large copy is made."""
        end = len(data) if end is None else end
        if self._skeleton is None:
            if len(self._kept) + end - start <= DIRECT_BYTES:
                self._kept += data[start:end]
                return
            self._skeleton = Skeleton(self._max)
            self._skeleton.feed(self._kept)
            self._kept = bytearray()
        if end - start == len(data):
            self._skeleton.feed(data)
            return
        for at in range(start, end, _COPY_BYTES):
            self._skeleton.feed(data[at : min(at + _COPY_BYTES, end)])

    def take(self) -> bytes | None:
        """What there is of it, and start the next one. None: too large even as a skeleton."""
        skeleton, self._skeleton = self._skeleton, None
        if skeleton is not None:
            small = skeleton.finish()
            return None if skeleton.truncated else small
        kept = bytes(self._kept)
        self._kept.clear()
        return kept


@final
class One:
    """The body is one document."""

    __slots__ = ("_document", "_read")

    def __init__(self, read: Read) -> None:
        self._document = Document()
        self._read = read

    def feed(self, data: bytes) -> None:
        self._document.feed(data)

    def finish(self) -> None:
        self._read(self._document.take())


@final
class Lines:
    """The body is JSON Lines: the results of a batch (Gemini fact 4.4)."""

    __slots__ = ("_document", "_read")

    def __init__(self, read: Read) -> None:
        self._document = Document()
        self._read = read

    def feed(self, data: bytes) -> None:
        at = 0
        while (newline := data.find(b"\n", at)) >= 0:
            self._document.feed(data, at, newline)
            self.finish()
            at = newline + 1
        self._document.feed(data, at)

    def finish(self) -> None:
        """The last line may lack its end."""
        self._read(self._document.take())


@final
class Elements:
    """The body is one array, written element by element as they come (Gemini fact 1.1, without alt=sse)."""

    __slots__ = ("_backslashes", "_depth", "_document", "_inside", "_read")

    def __init__(self, read: Read) -> None:
        self._document = Document()
        self._read = read
        self._depth = 0  # 1: in the array; 2 and more: in an element
        self._inside = False  # a string
        self._backslashes = 0

    def feed(self, data: bytes) -> None:
        at = start = 0
        while True:
            if self._inside:
                end, self._backslashes = closing_quote(data, at, self._backslashes)
                if end < 0:
                    break
                self._inside = False
                at = end + 1
            found = _STRUCTURE.search(data, at)
            if found is None:
                break
            at = found.end()
            mark = found[0]
            if mark == b'"':
                self._inside, self._backslashes = True, 0
            elif mark in b"[{":
                self._depth += 1
                if self._depth == 2:
                    start = found.start()
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._document.feed(data, start, at)
                    self._read(self._document.take())
        if self._depth > 1:
            self._document.feed(data, start)

    def finish(self) -> None:
        if self._depth > 1:
            self._read(self._document.take())


@final
class Events:
    """The body is a stream of server-sent events (HTML standard, 9.2), its lines of any length.

    After the events an error may follow as a bare, pretty-printed JSON text (Gemini fact 3): the lines from
    the first that begins like one are read together at the end.
    """

    __slots__ = ("_bare", "_document", "_has_data", "_in_data", "_line", "_read")

    def __init__(self, read: Read) -> None:
        self._document = Document()
        self._read = read
        self._line = bytearray()  # of a line that is not, or not yet known to be, data
        self._in_data = False
        self._has_data = False
        self._bare = bytearray()

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            newline = data.find(b"\n", at)
            end = len(data) if newline < 0 else newline
            if not self._in_data and not self._line and data[at : min(at + 5, end)] == b"data:":
                if not self._has_data and 0 < newline - at <= DIRECT_BYTES:
                    after = _after_blank_line(data, newline + 1)
                    if after:  # a whole event of one line, as nearly all are: nothing of it has to be held
                        self._read(data[at + 5 : newline])
                        at = after
                        continue
                self._in_data = self._has_data = True
                at += 5
            if self._in_data:
                self._document.feed(data, at, end)
            else:
                self._feed_line(data, at, end)
            if newline >= 0:
                self._end_line()
            at = end + 1

    def finish(self) -> None:
        self._end_line()
        self._end_event()
        if self._bare:
            error = (Elements if self._bare.startswith(b"[") else One)(self._read)
            error.feed(bytes(self._bare))
            error.finish()

    def _feed_line(self, data: bytes, start: int, end: int) -> None:
        taken = min(end, start + _BARE_BYTES - len(self._line))
        self._line += data[start:taken]
        if self._line.startswith(b"data:"):  # whose name came in two pieces
            self._in_data = self._has_data = True
            self._document.feed(bytes(self._line[5:]))
            self._document.feed(data, taken, end)
            self._line.clear()

    def _end_line(self) -> None:
        if self._in_data:
            self._in_data = False
            self._document.feed(b"\n")  # what joins the data lines of one event; a CR left before it is white space
            return
        line = bytes(self._line).rstrip(b"\r")
        self._line.clear()
        if not line:
            self._end_event()
        elif (self._bare or line.startswith((b"{", b"["))) and len(self._bare) + len(line) < _BARE_BYTES:
            self._bare += line + b"\n"

    def _end_event(self) -> None:
        if self._has_data:
            self._has_data = False
            self._read(self._document.take())


def _after_blank_line(data: bytes, at: int) -> int:
    """Where an empty line that begins there ends; 0: there is none, or its end is still to come."""
    if at < len(data) and data[at] == _LF:
        return at + 1
    return at + 2 if at + 1 < len(data) and data[at] == _CR and data[at + 1] == _LF else 0
