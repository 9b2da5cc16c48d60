"""A head that an endpoint has answered with before: known by its form, it is neither parsed nor judged again.

As `familiar.py` for requests: answers of one kind differ in their length, their date and how long they took. Each
connection keeps the last of its own that llhttp has read. Nearly always such a head goes down just as it came.
"""

from typing import Final, final

from proxy.head import Headers, ResponseHead
from proxy.wire.answer_head import AnswerHead
from proxy.wire.mould import Mould, mould_of


@final
class FamiliarAnswer:
    """See the module. Of an answer whose body has a declared length, and which ends no connection.

    Attributes:
        said: what the last one says.
    """

    __slots__ = ("_as_it_came", "_headers", "_mould", "said")

    def __init__(self, said: AnswerHead, mould: Mould) -> None:
        """Use `learned`."""
        head = said.head
        self._mould: Final = mould
        self._headers: Final = Headers(head.headers.raw.copy())  # nobody else has them
        self._headers.first  # noqa: B018  # made once for all
        self._as_it_came: Final = _goes_on_unchanged(head, mould.head)
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
        mould = self._mould
        as_it_came = mould.head[:-4] if self._as_it_came else b""
        return AnswerHead(head, head.headers.raw, mould.length, until_close=False, as_it_came=as_it_came)


def learned(data: bytes, said: AnswerHead, before: FamiliarAnswer | None, longest: int) -> FamiliarAnswer | None:
    """From an answer, and the data that its head came in, if it is the beginning. None: it had better be read.

    `before`: the head that was familiar so far. `longest`: in bytes, that a field may be.
    """
    head = said.head
    raw, status = head.headers.raw, head.status
    if said.fields is not raw or status in (204, 304) or not data.startswith(b"HTTP/1.1 %d " % status):
        return None  # a field was of one hop, or other heads came before it
    mould, fields = None, raw
    if before is not None and status == before.said.head.status and head.reason == before.said.head.reason:
        mould, fields = before._mould, before._headers.raw
    mould = mould_of(data, raw, mould, fields, fixed=frozenset(), longest=longest)
    return None if mould is None or mould.length is None else FamiliarAnswer(said, mould)


def _goes_on_unchanged(head: ResponseHead, came: bytes) -> bool:
    """It is what a `Reply` would make of it, byte for byte."""
    if b"date" not in head.headers.first:  # made here, and so for all that come after, which are looked into often
        return False
    lines = [f"HTTP/1.1 {head.status} {head.reason}".encode("utf-8", "surrogateescape")]
    lines += [name + b": " + value for name, value in head.headers.raw]
    return came == b"\r\n".join(lines) + b"\r\n\r\n"
