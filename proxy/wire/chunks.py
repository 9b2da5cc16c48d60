"""Chunks that came whole and plain, read without the parser: RFC 9112 section 7.1.

`answer_reader.py` asks it behind a head that is familiar. It takes the one form in which nearly all chunks come, and
judges nothing: what is not whole, has an extension or a trailer, or is no chunk at all, is the parser's.
"""

from string import hexdigits
from typing import Final

_MOST_DIGITS: Final = 8  # of a size: one read holds no chunk that needs more
_NONE: Final = 16
# Of each byte as a hexadecimal digit; `int` would take signs, blanks and underscores, too.
_VALUES: Final = bytes(int(chr(byte), 16) if chr(byte) in hexdigits else _NONE for byte in range(256))


def whole_chunks(data: bytes, at: int, contents: list[bytes]) -> int:
    """Where those that `data` has from `at` on end. Their contents are added to `contents`: b"" is that of the last."""
    length = len(data)
    while at < length:
        size, begin = 0, at
        most = min(length, at + _MOST_DIGITS)
        while begin < most:
            digit = _VALUES[data[begin]]
            if digit == _NONE:
                break
            size = size * 16 + digit
            begin += 1
        if begin == at or data[begin : begin + 2] != b"\r\n":
            break
        begin += 2
        end = begin + size
        if data[end : end + 2] != b"\r\n":
            break
        contents.append(data[begin:end])
        at = end + 2
        if not size:
            break
    return at
