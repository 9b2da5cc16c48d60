"""A head that an endpoint has answered with before: known by its form, it is neither parsed nor judged again.

As `familiar.py` for requests: answers of one kind differ in their length, their date and how long they took. Each
connection keeps the last of its own that llhttp has read. Nearly always such a head goes down just as it came, but for
the line that says how this hop frames the body.
"""

from typing import Final, final

from proxy.head import Headers, RawField, ResponseHead, fold
from proxy.wire.answer_head import AnswerHead
from proxy.wire.mould import Mould, mould_of

_CODING: Final = b"transfer-encoding"
_FIXED: Final = frozenset({_CODING})  # llhttp goes by its value


@final
class FamiliarAnswer:
    """See the module. Of an answer whose body has a declared length or comes in chunks, and which ends no connection.

    Attributes:
        said: what the last one says.
    """

    __slots__ = ("_as_it_came", "_coding", "_end_bytes", "_headers", "_mould", "said")

    def __init__(self, said: AnswerHead, mould: Mould) -> None:
        """Use `learned`."""
        head = said.head
        raw = head.headers.raw
        self._mould: Final = mould
        self._headers: Final = Headers(raw.copy())  # nobody else has them
        self._headers.first  # noqa: B018  # made once for all
        self._coding: Final = _place_of_coding(raw) if said.in_chunks else -1  # among the fields
        # What ends the head and does not go on: with the coding's line, which is the last where Google writes it.
        self._end_bytes: Final = 4 + (4 + sum(map(len, raw[self._coding])) if said.in_chunks else 0)
        self._as_it_came: Final = mould.head[: -self._end_bytes] == _written(said)
        self.said = self._anew(head)

    def end_in(self, data: bytes) -> int:
        """Where it ends in `data` if that begins with it, 0 if not. `said` is then of this one, and of nobody else.

        The endpoint's next answer may be another caller's: what somebody makes of this one's head is not for that.
        """
        mould = self._mould
        end = mould.fit(data)
        if end:
            head = self.said.head
            headers = self._headers.with_values(mould.gaps, mould.values)
            self.said = self._anew(ResponseHead(head.status, head.reason, headers))
        return end

    def _anew(self, head: ResponseHead) -> AnswerHead:
        fields, coding = head.headers.raw, self._coding
        if coding >= 0:
            fields = fields[:coding] + fields[coding + 1 :]
        as_it_came = self._mould.head[: -self._end_bytes] if self._as_it_came else b""
        return AnswerHead(head, fields, self._mould.length, until_close=False, as_it_came=as_it_came)


def learned(data: bytes, said: AnswerHead, before: FamiliarAnswer | None, longest: int) -> FamiliarAnswer | None:
    """From an answer, and the data that its head came in, if it is the beginning. None: it had better be read.

    `before`: the head that was familiar so far. `longest`: in bytes, that a field may be.
    """
    head = said.head
    raw, status = head.headers.raw, head.status
    of_this_hop = len(raw) - len(said.fields)
    if of_this_hop != said.in_chunks or status in (204, 304) or not data.startswith(b"HTTP/1.1 %d " % status):
        return None  # more of it than the framing was of one hop, or other heads came before it
    mould, fields = None, raw
    if before is not None and status == before.said.head.status and head.reason == before.said.head.reason:
        mould, fields = before._mould, before._headers.raw
    mould = mould_of(data, raw, mould, fields, fixed=_FIXED, longest=longest)
    return None if mould is None or (mould.length is None) != said.in_chunks else FamiliarAnswer(said, mould)


def _place_of_coding(raw: list[RawField]) -> int:
    return [fold(name) for name, _ in raw].index(_CODING)


def _written(said: AnswerHead) -> bytes:
    """The lines that a `Reply` would make of it; b"" where it adds a Date."""
    head = said.head
    if b"date" not in head.headers.first:  # made here, and so for all that come after, which are looked into often
        return b""
    lines = [f"HTTP/1.1 {head.status} {head.reason}".encode("utf-8", "surrogateescape")]
    lines += [name + b": " + value for name, value in said.fields]
    return b"\r\n".join(lines)
