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
from proxy.wire.mould import Mould, mould_of
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
        method, target, version: of all of them; `mould` is their form.
        headers: those of the last one.
        length: that it declared.
        meaning: once it was found.
        kept: for the requests whose heads are the last one but for Content-Length.
    """

    __slots__ = ("headers", "kept", "length", "meaning", "method", "mould", "target", "version")

    def __init__(self, method: str, target: str, version: str, headers: Headers, mould: Mould) -> None:
        """Use `learned`."""
        self.method: Final = method
        self.target: Final = target
        self.version: Final = version
        self.headers = headers
        self.length = mould.length
        self.meaning: Meaning | None = None
        self.mould: Final = mould
        self.kept = KeptHead()

    def end_in(self, data: bytes) -> int:
        """Where it ends in `data` if that begins with it, 0 if not. `headers` and `length` are then of this one."""
        mould = self.mould
        end = mould.fit(data)
        if end and mould.changed:
            self.length = mould.length
            before = self.headers
            self.headers = before.with_values(mould.gaps, mould.values)
            self.headers.share_notes(before)
            if mould.varied:
                self.kept = KeptHead()  # another: requests that have this one may be under way
        return end


def learned(
    data: bytes, method: str, target: str, version: str, headers: Headers, before: FamiliarHead | None, longest: int
) -> FamiliarHead | None:
    """From a request, and the data that its head came in, of which it is the beginning. None: it had better be read.

    `before`: the head that was familiar so far. `longest`: in bytes, that a field may be.
    """
    first = headers.first
    if b"transfer-encoding" in first or b"upgrade" in first or b"expect" in first:
        return None
    mould, fields = None, headers.raw
    if before is not None and (method, target, version) == (before.method, before.target, before.version):
        mould, fields = before.mould, before.headers.raw
    mould = mould_of(data, headers.raw, mould, fields, fixed=_DECIDING, longest=longest)
    return None if mould is None else FamiliarHead(method, target, version, headers, mould)
