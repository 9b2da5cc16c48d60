"""A head as it came, and what comes again in its form: the same lines, but for values that were seen to differ.

`familiar.py` makes one of a caller's head, `familiar_answer.py` of an endpoint's, each once llhttp has read it. What
fits is a head that llhttp would read to the same names and framing, so that it need not. Where a value may be another,
it is one line of what a value may hold, with nothing to strip; that of Content-Length is digits.
"""

from typing import Final, final

from proxy.head import RawField, fold

_LONGEST: Final = 4 << 10  # a longer head is read each time; with a token in it one has 1 to 2 KiB
_MOST_DIGITS: Final = 15  # of a length: what llhttp would refuse is not even near
_MOST_GAPS: Final = 8  # a head of which more varies is another each time
_BLANK: Final = 0x20
_DELETE: Final = 0x7F
_ZERO: Final = 0x30
_NINE: Final = 0x39
_LENGTH: Final = b"content-length"


@final
class Mould:
    """See the module.

    Attributes:
        gaps: the places, among the fields, of the values that may be others. Their names come once.
        values: of the last head that fitted, one for each gap.
        length: that it declared; None where its form has none.
        changed: what `fit` looked at last was not the very bytes of the one before.
        varied: and not in Content-Length alone.
        head: all of it.
    """

    __slots__ = (
        "_between",
        "_first",
        "_length_at",
        "_longest",
        "changed",
        "gaps",
        "head",
        "length",
        "values",
        "varied",
    )

    def __init__(
        self, head: bytes, gaps: list[int], values: list[bytes], between: list[bytes], length_at: int, longest: int
    ) -> None:
        """Use `mould_of`. `between`: what stands before, between and behind the gaps."""
        self.head = head
        self.gaps: Final = gaps
        self.values = values
        self.changed = self.varied = False
        self.length: int | None = int(values[length_at]) if length_at >= 0 else None
        self._first: Final = between[0]
        self._between: Final = between[1:]
        self._length_at: Final = length_at
        self._longest: Final = longest

    def fit(self, data: bytes) -> int:
        """Where the head ends in `data` if that begins with one of this form; 0 if not, and then it is as it was."""
        end = len(self.head)
        self.changed = data[:end] != self.head
        if not self.changed:
            return end
        values: list[bytes] = []
        end = self._pour(data, values)
        if not end or not values:
            return 0
        self.varied = False
        for place, value in enumerate(values):
            if value == self.values[place]:
                continue
            if place == self._length_at:
                self.length = _number(value)
            else:
                self.varied = True
        self.values = values
        self.head = data[:end]
        return end

    def _pour(self, data: bytes, values: list[bytes]) -> int:
        """Where a head of this form ends, and the values in it; 0 if it is none."""
        at = len(self._first)
        if data[:at] != self._first:
            return 0
        for place, part in enumerate(self._between):
            of_length = place == self._length_at
            stop = _end_of_digits(data, at) if of_length else _end_of_value(data, at, self._longest)
            if stop <= at or data[at] <= _BLANK:
                return 0
            while data[stop - 1] <= _BLANK:
                stop -= 1
            values.append(data[at:stop])
            at = stop + len(part)
            if data[stop:at] != part:  # it begins with the blanks behind the value, and the line's end
                return 0
        return at if at <= self._longest else 0


def mould_of(
    data: bytes,
    raw: list[RawField],
    before: Mould | None,
    fields_before: list[RawField],
    *,
    fixed: frozenset[bytes],
    longest: int,
) -> Mould | None:
    """Of the head that `data` begins with, and its fields. None: the next one had better be read.

    `before`: the mould of a head with the same first line, and its fields. What differs from it may differ again, but
    for the fields whose names, in lower case, are in `fixed`. No head of more than `longest` bytes fits.
    """
    longest = min(longest, _LONGEST)
    end = data.find(b"\r\n\r\n", 0, longest) + 4
    lines = data[:end].split(b"\r\n")  # the first one, the fields, and two empty ones
    if not 4 <= end <= longest or len(lines) != len(raw) + 3:
        return None
    names = [fold(name) for name, _ in raw]
    alike = before is not None and names == [fold(name) for name, _ in fields_before]
    gaps: list[int] = []
    values: list[bytes] = []
    between: list[bytes] = []
    length_at = -1
    part = lines[0]
    for place, (name, value) in enumerate(raw):
        line = lines[place + 1]
        begin = _begin_of_value(line, name, value)
        if not begin:
            return None
        part += b"\r\n"
        of_length = names[place] == _LENGTH
        if of_length or (
            alike
            and names[place] not in fixed
            and (value != fields_before[place][1] or (before is not None and place in before.gaps))
            and names.count(names[place]) == 1
            and value
        ):
            if of_length:
                if len(value) > _MOST_DIGITS or not value.isdigit() or length_at >= 0:
                    return None
                length_at = len(gaps)
            gaps.append(place)
            values.append(value)
            between.append(part + line[:begin])
            part = line[begin + len(value) :]
        else:
            part += line
    between.append(part + b"\r\n\r\n")
    return Mould(data[:end], gaps, values, between, length_at, longest) if len(gaps) <= _MOST_GAPS else None


def _end_of_value(data: bytes, at: int, longest: int) -> int:
    """At the first control character; a tab is one, with which llhttp may be asked.

    Byte by byte: values that differ are short, and compiled this takes a quarter of what `find` and a pattern do.
    """
    stop, most = at, min(len(data), longest)
    while stop < most:
        byte = data[stop]
        if byte < _BLANK or byte == _DELETE:
            break
        stop += 1
    return stop


def _end_of_digits(data: bytes, at: int) -> int:
    """0 where there are too many: a number of a whole read's digits would take half a second."""
    most = min(len(data), at + _MOST_DIGITS + 1)
    stop = at
    while stop < most and _ZERO <= data[stop] <= _NINE:
        stop += 1
    return stop if stop <= at + _MOST_DIGITS else 0


def _number(digits: bytes) -> int:
    """A compiled module pays five times as much for `int`."""
    number = 0
    for digit in digits:
        number = number * 10 + digit - _ZERO
    return number


def _begin_of_value(line: bytes, name: bytes, value: bytes) -> int:
    """Where `value` begins in its line; 0 where the line is not just that field."""
    begin = len(name) + 1
    if line[:begin] != name + b":":
        return 0
    rest = line[begin:]
    begin += len(rest) - len(rest.lstrip(b" \t"))
    stop = begin + len(value)
    return begin if line[begin:stop] == value and not line[stop:].strip(b" \t") else 0
