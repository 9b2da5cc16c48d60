"""A head that its connection has brought before: known by its bytes, it is neither parsed nor judged again.

A client sends the same head over a connection again and again, but for the length of the body. `pipeline.py` keeps the
last that llhttp has read, and holds the next one against it: where all is the same but the digits of Content-Length,
so is what llhttp, the guard and `gemini/` made of it. Of one connection only: nobody meets what another one sent.
"""

from typing import Final, final

from proxy.head import Headers
from proxy.operation import Operation

_LONGEST: Final = 4 << 10  # a longer head is read each time; with a token in it one has 1 to 2 KiB
_MOST_DIGITS: Final = 15  # of a length: what llhttp would refuse is not even near
_ZERO: Final = 48
_NINE: Final = 57


@final
class Meaning:
    """What the server found a head to mean.

    Attributes:
        target: as the guard has it.
        hides_usage: what would keep the usage from the meter.
    """

    __slots__ = ("hides_usage", "operation", "target")

    def __init__(self, target: str, operation: Operation, hides_usage: str | None) -> None:
        self.target: Final = target
        self.operation: Final = operation
        self.hides_usage: Final = hides_usage


@final
class FamiliarHead:
    """See the module. Of a request that keeps its connection and whose body, if any, has a declared length.

    Attributes:
        headers: those of the last one.
        length: that it declared.
        meaning: once it was found.
    """

    __slots__ = ("_after", "_at", "_before", "_digits", "headers", "length", "meaning", "method", "target", "version")

    def __init__(
        self, method: str, target: str, version: str, headers: Headers, before: bytes, digits: bytes, after: bytes
    ) -> None:
        """Use `learned`."""
        self.method: Final = method
        self.target: Final = target
        self.version: Final = version
        self.headers = headers
        self.length: int | None = int(digits) if digits else None
        self.meaning: Meaning | None = None
        self._before: Final = before
        self._digits = digits
        self._after: Final = after
        self._at = -1  # the place of Content-Length among the fields
        if digits:
            self._at = [name.lower() for name, _ in headers.raw].index(b"content-length")

    def end_in(self, data: bytes) -> int:
        """Where it ends in `data` if that begins with it, 0 if not. `headers` and `length` are then of this one."""
        at = len(self._before)
        if data[:at] != self._before:
            return 0
        if self.length is None:
            return at
        begin, size, length = at, len(data), 0
        most = min(size, at + _MOST_DIGITS + 1)  # a number of a whole read's digits would take half a second
        while at < most and _ZERO <= data[at] <= _NINE:
            length = length * 10 + data[at] - _ZERO
            at += 1
        if at == begin or at > begin + _MOST_DIGITS:
            return 0
        end = at + len(self._after)
        if data[at:end] != self._after:
            return 0
        digits = data[begin:at]
        if digits != self._digits:
            self._digits = digits
            self.length = length
            self.headers = self.headers.with_value(self._at, digits)
        return end


def learned(data: bytes, method: str, target: str, version: str, headers: Headers) -> FamiliarHead | None:
    """From a request, and the data that its head came in, of which it is the beginning. None: it had better be read."""
    first = headers.first
    end = data.find(b"\r\n\r\n", 0, _LONGEST) + 4
    if end < 4 or b"transfer-encoding" in first or b"upgrade" in first or b"expect" in first:
        return None
    value = first.get(b"content-length")
    if value is None:
        return FamiliarHead(method, target, version, headers, data[:end], b"", b"")
    for name, _ in headers.raw:
        if name.lower() == b"content-length":
            # A line can only begin with it where the field itself does.
            at = data.find(b"\r\n" + name + b":", 0, end) + len(name) + 3
            while data[at] in b" \t":
                at += 1
            stop = at + len(value)
            if data[at:stop] == value and value.isdigit() and len(value) <= _MOST_DIGITS:
                return FamiliarHead(method, target, version, headers, data[:at], value, data[stop:end])
    return None
