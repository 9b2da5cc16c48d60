"""A head that its connection has brought before: known by its form, it is neither parsed nor judged again.

A client sends the same head over a connection again and again, but for the length of the body and perhaps a trace's
id. `pipeline.py` keeps the last that llhttp has read, and holds the next one against it: where all is the same but
values that decide nothing, so is what llhttp, the guard and `gemini/` made of it. Of one connection only: nobody meets
what another one sent.
"""

from typing import Final, final

from proxy.head import Headers
from proxy.operation import Operation
from proxy.wire.headers import HOP_BY_HOP, OF_THIS_HOP
from proxy.wire.mould import LONGEST, Mould, mould_of
from proxy.wire.upstream_head import KeptHead

# Whose values llhttp or the guard goes by; that of Content-Length may be another number. Of all others it is the name
# that is looked at, here and by `hidden_usage`: tests/wire/test_familiar.py changes the values of them all.
_DECIDING: Final = HOP_BY_HOP | OF_THIS_HOP


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
        method, target, version: of all of them.
        headers: those of the last one.
        length: that it declared, once one was familiar.
        meaning: once it was found.
        kept: for the requests whose heads are the last one but for Content-Length.
    """

    __slots__ = (
        "_before",
        "_came",
        "_longest",
        "_mould",
        "headers",
        "kept",
        "length",
        "meaning",
        "method",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: str,
        version: str,
        headers: Headers,
        came: bytes,
        before: "FamiliarHead | None",
        longest: int,
    ) -> None:
        """Use `learned`."""
        self.method: Final = method
        self.target: Final = target
        self.version: Final = version
        self.headers = headers
        self.length: int | None = None
        self.meaning: Meaning | None = None
        self.kept: KeptHead | None = None  # until one was familiar
        self._mould: Mould | None = None  # until another head comes: of a connection's only request none is made
        self._came = came  # it itself, until then
        self._before = before
        self._longest: Final = longest

    def end_in(self, data: bytes) -> int:
        """Where it ends in `data` if that begins with it, 0 if not. `headers` and `length` are then of this one."""
        mould = self._mould
        if mould is None:
            mould = self._cast()
            if mould is None:
                return 0
        end = mould.fit(data)
        if end and mould.changed:
            self.length = mould.length
            before = self.headers
            self.headers = before.with_values(mould.gaps, mould.values)
            self.headers.share_notes(before)
            if mould.varied:
                self.kept = KeptHead()  # another: requests that have this one may be under way
        return end

    def _cast(self) -> Mould | None:
        """The form of all of them. None: the next one had better be read; it is not tried again."""
        came, before = self._came, self._before
        if not came:
            return None
        self._came, self._before = b"", None
        fields = self.headers.raw
        of_before, fields_before = (None, fields) if before is None else (before._mould, before.headers.raw)
        self._mould = mould = mould_of(came, fields, of_before, fields_before, fixed=_DECIDING, longest=self._longest)
        if mould is not None:
            self.length = mould.length
            self.kept = KeptHead()
        return mould


def learned(
    data: bytes, method: str, target: str, version: str, headers: Headers, before: FamiliarHead | None, longest: int
) -> FamiliarHead | None:
    """From a request, and the data that its head came in, of which it is the beginning. None: it had better be read.

    `before`: the head that was familiar so far. `longest`: in bytes, that a field may be.
    """
    first = headers.first
    if b"transfer-encoding" in first or b"upgrade" in first or b"expect" in first:
        return None
    if before is not None and (method, target, version) != (before.method, before.target, before.version):
        before = None
    longest = min(longest, LONGEST)
    end = data.find(b"\r\n\r\n", 0, longest) + 4
    return FamiliarHead(method, target, version, headers, data[:end], before, longest) if end > 4 else None
