"""A meter that cannot hurt what it measures: whatever goes wrong in it, the answer's bytes go on.

The relay feeds every piece to it after the piece went down, a session every message before. A fault is logged once
and ends the metering of that exchange; its record then says that there are no counts.
"""

import logging

from proxy.gemini.live import LiveMeter
from proxy.gemini.meter import meter_for
from proxy.head import ResponseHead
from proxy.operation import Operation
from proxy.usage import Usage, UsageState

_log = logging.getLogger("proxy.wire")


class Metering:
    """One answer's meter, fenced off."""

    def __init__(self, operation: Operation, head: ResponseHead) -> None:
        self._meter = LiveMeter(operation) if head.status == 101 else meter_for(operation, head)
        self._broken = False

    def feed(self, piece: bytes) -> None:
        if self._broken:
            return
        try:
            self._meter.feed(piece)
        except Exception:
            self._fail()

    def finish(self, *, complete: bool) -> tuple[Usage | None, UsageState, str | None]:
        """Usage, how far it can be trusted, and the error that came inside a 200, if one did."""
        if not self._broken:
            try:
                usage, state = self._meter.finish(complete=complete)
            except Exception:
                self._fail()
            else:
                return usage, state, self._meter.error_in_stream
        return None, UsageState.NONE, None

    def _fail(self) -> None:
        self._broken = True
        _log.exception("metering_failed")
