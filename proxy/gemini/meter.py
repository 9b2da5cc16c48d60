"""Reads what an answer used from a copy of its bytes as they pass.

The wire makes one with `meter_for` at each response head, feeds it every piece and asks for the sum at the
end. It holds at most one document of the answer, and of a large one the skeleton only. It never raises, and
says no number that does not follow from the answer's own: what it cannot read is state `none` or `partial`.
"""

import zlib

from proxy.gemini.framings import Elements, Events, Framing, One
from proxy.gemini.inflate import Inflate
from proxy.gemini.usage_fields import Reading
from proxy.head import ResponseHead
from proxy.operation import Operation
from proxy.usage import Usage, UsageState

_TEXT_TYPES = frozenset({"", "text/plain"})  # JSON goes by these too: an error before the first event, a bare proxy


class Meter:
    """One answer's meter.

    Attributes:
        error_in_stream: code and status of an error that came inside a 200, such as "503 UNAVAILABLE".
    """

    __slots__ = ("_deaf", "_events", "_framing", "_inflate", "_reading", "_tier")

    def __init__(
        self, reading: Reading | None, *, events: bool = False, inflate: Inflate | None = None, tier: str | None = None
    ) -> None:
        """`reading` None: the answer is not metered."""
        self._reading = reading
        self._events = events
        self._inflate = inflate
        self._tier = tier
        self._framing: Framing | None = None
        self._deaf = False

    @property
    def error_in_stream(self) -> str | None:
        return self._reading.error if self._reading else None

    def feed(self, data: bytes) -> None:
        if self._reading is None or self._deaf:
            return
        if self._inflate is None:
            self._feed(self._reading, data)
            return
        try:
            for piece in self._inflate.pieces(data):
                self._feed(self._reading, piece)
        except zlib.error:
            # The relay goes on; what was read until here is all that counts: there is no way back in.
            self._reading.complete = False
            self._deaf = True

    def finish(self, complete: bool) -> tuple[Usage | None, UsageState]:
        """`complete`: the answer came to its proper end. Usage is None exactly when the state is `none`."""
        reading = self._reading
        if reading is None:
            return None, UsageState.NONE
        if self._framing is not None:
            self._framing.finish()
        usage = reading.usage(self._tier)
        if usage is None:
            return None, UsageState.NONE
        final = complete and reading.complete and reading.error is None
        return usage, UsageState.FINAL if final else UsageState.PARTIAL

    def _feed(self, reading: Reading, data: bytes) -> None:
        if self._framing is None:
            data = data.lstrip(b" \t\r\n")
            if not data:
                return
            kind = Events if self._events else Elements if data.startswith(b"[") else One
            self._framing = kind(reading.read)
        self._framing.feed(data)


def meter_for(operation: Operation, head: ResponseHead) -> Meter:
    """The meter of an answer, by what was asked and how the answer begins.

    Unknown operations are metered like native ones: what Google adds tomorrow is not free for that.
    Errors cost nothing, and free or binary answers have no counts to read (Gemini facts 4.4 and 5).
    """
    media_type = (head.headers.get("content-type") or "").partition(";")[0].strip().lower()
    readable = media_type in _TEXT_TYPES or "json" in media_type or media_type == "text/event-stream"
    if head.status >= 400 or not readable or not (operation.generates or operation.name == "unknown"):
        return Meter(None)
    coding = (head.headers.get("content-encoding") or "identity").strip().lower()
    try:
        inflate = None if coding == "identity" else Inflate(coding)
    except KeyError:  # br, zstd, or several: see inflate.py
        return Meter(None)
    return Meter(
        Reading(operation),
        events=media_type == "text/event-stream",
        inflate=inflate,
        tier=head.headers.get("x-gemini-service-tier"),
    )
