"""A batch taken apart while it passes: its inlined responses one by one, then the batch without them.

A framing as those of `framings.py`, for the meter: thousands of responses need no more room than one, and are read as
they come. A batch holds its responses twice, in `metadata.output` and in `response`: the first list counts. A list of
that name anywhere else is none of it: in a request or in its metadata the caller may have written one.
"""

import re
from collections.abc import Callable

from proxy.gemini.framings import Document, Read
from proxy.gemini.skeleton import closing_quote

_LIST = b"inlinedResponses"
_AROUND = frozenset({b"response", b"metadata", b"output", _LIST, b"inlinedEmbedContentResponses"})  # all that is
_LONGEST_NAME = max(map(len, _AROUND))
_STRUCTURE = re.compile(rb'["\[\]{}]')


class Inlined:
    """`read` is called with each element of the list, `read_batch` at the end with all around it."""

    __slots__ = (
        "_around_depth",
        "_backslashes",
        "_depth",
        "_element",
        "_had_elements",
        "_inside",
        "_is_copy",
        "_list_depth",
        "_name",
        "_read",
        "_read_batch",
        "_rest",
    )

    def __init__(self, read: Read, read_batch: Callable[[bytes | None], None]) -> None:
        self._read = read
        self._read_batch = read_batch
        self._element = Document()
        self._rest = Document()
        self._depth = 0
        self._around_depth = 0  # down to here every name is one of those around the list
        self._list_depth: int | None = None  # of the list's elements, while we are in it
        self._had_elements = False
        self._is_copy = False  # a list that comes after one that had elements
        self._inside = False  # a string
        self._backslashes = 0
        self._name = b""  # the beginning of the last string, as long as nothing has followed it

    def feed(self, data: bytes) -> None:
        at = start = 0  # `start`: of what is still to be handed on
        while True:
            if self._inside:
                end, self._backslashes = closing_quote(data, at, self._backslashes)
                if self._list_depth is None and len(self._name) <= _LONGEST_NAME:
                    self._name += data[at : len(data) if end < 0 else end][: _LONGEST_NAME + 1]
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
                self._inside, self._backslashes, self._name = True, 0, b""
            elif mark in b"[{":
                start = self._open(mark, data, start, found.start())
            else:
                start = self._close(data, start, at)
        self._hand_on(data, start, len(data))

    def finish(self) -> None:
        if self._list_depth is not None and self._depth > self._list_depth and not self._is_copy:
            self._read(self._element.take())  # it broke off
        self._read_batch(self._rest.take())

    def _open(self, mark: bytes, data: bytes, start: int, at: int) -> int:
        is_around = self._around_depth == self._depth
        begins = mark == b"[" and self._name == _LIST and self._list_depth is None and is_around
        if is_around and (self._depth == 0 or self._name in _AROUND):
            self._around_depth += 1
        self._name = b""
        self._depth += 1
        if begins:
            self._rest.feed(data, start, at + 1)
            self._list_depth = self._depth
            return at + 1
        if self._list_depth is not None and self._depth == self._list_depth + 1:
            return at  # an element; the comma before it is nobody's
        return start

    def _close(self, data: bytes, start: int, end: int) -> int:
        self._name = b""
        self._depth -= 1
        self._around_depth = min(self._around_depth, self._depth)
        if self._list_depth is None or self._depth > self._list_depth:
            return start
        if self._depth == self._list_depth:
            if not self._is_copy:
                self._had_elements = True
                self._element.feed(data, start, end)
                self._read(self._element.take())
            return end
        self._list_depth = None
        self._is_copy = self._had_elements
        return end - 1  # the list's own bracket goes with the rest

    def _hand_on(self, data: bytes, start: int, end: int) -> None:
        if self._list_depth is None:
            self._rest.feed(data, start, end)
        elif self._depth > self._list_depth and not self._is_copy:
            self._element.feed(data, start, end)
