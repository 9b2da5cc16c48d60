"""A JSON text with its long strings left out, made while the text passes in pieces of any size.

The meter reads answers through it, and the wire feeds request bodies to it for `read_intent`: 20 MB of
base64 image become a few bytes that still parse. Left out are the middle and end of strings longer than
`LIMIT`, white space between tokens, and all but the first number of a run of numbers (an embedding).
It does not validate: whoever decodes the skeleton does. What it keeps is bounded by twice `max_bytes` and a piece.
"""

import re
from typing import Final, final

LIMIT: Final = 256  # bytes of a string kept whole: full resource names, finish reasons and MIME types are all shorter
PREFIX: Final = 32  # bytes kept of a longer one: enough to tell a data URL or a file format
ANSWER_BYTES: Final = 1 << 20  # of one event's skeleton; the largest seen of an image answer has under 4 KiB
REQUEST_BYTES: Final = 1 << 20  # of a request's; thousands of short turns of a chat fit whole

_BACKSLASH: Final = 0x5C
_WHITE: Final = b" \t\r\n"
_NUMBER = rb"-?[0-9][0-9.eE+-]*+"
# Outside strings, a comma and a number can only be an element of an array: members start with a string. A run of
# digits is read once (the lookbehind, the possessive `*+`): tried from each of its digits, 100 KB took a minute.
_NUMBERS: Final = re.compile(rb"(?<![0-9.eE+-])(%b)(?:,%b)++" % (_NUMBER, _NUMBER))
_UNFOLDABLE: Final = 3  # bytes; the least that folds is "1,2,"
_BETWEEN_BYTES: Final = 4096  # between two strings: more than this is a run of numbers, to be folded as it comes
_ELIDED: Final = re.compile(r"…(\d{1,15})\Z")


def original_bytes(text: str) -> int:
    """How many bytes a string had, escapes as written, before it went through a skeleton.

    A short string may claim to be a long one, but not the reverse: its sender would only inflate an
    estimate that he himself is held to.
    """
    if text.isascii():  # nothing was left out: its mark is not ASCII
        return len(text)
    found = _ELIDED.search(text, max(len(text) - 20, 0))
    length = int(found[1]) if found else 0
    return length if length > LIMIT else len(text.encode("utf-8", "surrogatepass"))


def closing_quote(data: bytes | bytearray, start: int, backslashes: int) -> tuple[int, int]:
    """Where the string that `start` is in ends, or -1, and how many backslashes end `data`.

    A quote after an odd number of backslashes is escaped (RFC 8259, section 7). `backslashes` is how many of
    the same string ended the piece before.
    """
    quote = data.find(b'"', start)
    while True:
        end = len(data) if quote < 0 else quote
        first = end
        while first > start and data[first - 1] == _BACKSLASH:
            first -= 1
        run = end - first + (backslashes if first == start else 0)
        if quote < 0 or run % 2 == 0:
            return quote, run
        quote = data.find(b'"', quote + 1)


@final
class Skeleton:
    """Feed it a text; `finish` gives the skeleton.

    Attributes:
        truncated: the skeleton outgrew `max_bytes`; what `finish` gives is the beginning only.
    """

    __slots__ = ("_backslashes", "_between", "_fold_at", "_inside", "_length", "_max", "_out", "_string", "truncated")

    def __init__(self, max_bytes: int) -> None:
        self.truncated = False
        self._max = max_bytes
        self._out = bytearray()
        self._between = bytearray()  # tokens since the last string, white space gone
        self._fold_at = _BETWEEN_BYTES
        self._inside = False
        self._string = bytearray()  # the first LIMIT + 1 bytes of the string we are in
        self._length = 0
        self._backslashes = 0  # that ended the piece before, in the string we are in

    def feed(self, data: bytes | bytearray) -> None:
        at = 0
        while at < len(data) and not self.truncated:
            if self._inside:
                at = self._read_string(data, at)
                continue
            quote = data.find(b'"', at)
            if quote < 0:
                self._read_between(data[at:].translate(None, _WHITE))
                return
            tokens = data[at:quote].translate(None, _WHITE)
            if self._between or len(tokens) > _UNFOLDABLE:
                self._read_between(tokens)
                self._end_between()
            else:
                self._out += tokens
            end = data.find(b'"', quote + 1)
            if 0 < end - quote <= LIMIT and data[end - 1] != _BACKSLASH:
                # Most strings by number are short and whole in this piece: no state, a third of the time.
                self._out += data[quote : end + 1]
                self.truncated = self.truncated or len(self._out) > self._max
                at = end + 1
            else:
                self._inside = True
                self._string.clear()
                self._length = self._backslashes = 0
                at = quote + 1

    def finish(self) -> bytes:
        """The skeleton. Of a text that broke off it is a beginning, and does not parse."""
        if self._inside:
            self._end_string()
        self._end_between()
        return bytes(self._out)

    def _read_string(self, data: bytes | bytearray, at: int) -> int:
        end, self._backslashes = closing_quote(data, at, self._backslashes)
        stop = len(data) if end < 0 else end
        self._length += stop - at
        room = LIMIT + 1 - len(self._string)
        if room > 0:
            self._string += data[at : min(stop, at + room)]
        if end >= 0:
            self._inside = False
            self._end_string()
        return stop + 1

    def _end_string(self) -> None:
        if self._length > LIMIT:
            # An escape or a character cut in two would not parse: stop before the first of either.
            prefix = bytes(self._string[:PREFIX]).partition(b"\\")[0].decode("utf-8", "ignore")
            self._out += f'"{prefix}…{self._length}"'.encode()
        else:
            self._out += b'"'
            self._out += self._string
            self._out += b'"'
        self.truncated = self.truncated or len(self._out) > self._max

    def _read_between(self, tokens: bytes | bytearray) -> None:
        self._between += tokens
        if len(self._between) > self._fold_at:
            # The last number may go on in the next piece: fold up to its comma.
            comma = self._between.rfind(b",")
            if comma > 0:
                self._between = bytearray(_NUMBERS.sub(rb"\1", self._between[:comma]) + self._between[comma:])
            # What does not fold is not tried again at every piece.
            self._fold_at = min(max(_BETWEEN_BYTES, 2 * len(self._between)), self._max)
            self.truncated = self.truncated or len(self._between) > self._max

    def _end_between(self) -> None:
        tokens = self._between
        self._out += _NUMBERS.sub(rb"\1", tokens) if len(tokens) > _UNFOLDABLE else tokens
        tokens.clear()
        self._fold_at = _BETWEEN_BYTES
        self.truncated = self.truncated or len(self._out) > self._max
