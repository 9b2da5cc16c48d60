"""A meter that cannot hurt what it measures: whatever goes wrong in it, the answer's bytes go on.

The relay feeds every piece to it after the piece went down, a session every message before. A fault is logged once
and ends the metering of that exchange; its record then says that there are no counts.
"""

import asyncio
import logging
from typing import final

from proxy.gemini.live import LiveMeter
from proxy.gemini.meter import Meter, meter_for
from proxy.head import ResponseHead
from proxy.operation import Operation
from proxy.usage import Usage, UsageState

_log = logging.getLogger("proxy.wire")


@final
class Metering:
    """One answer's meter, fenced off."""

    __slots__ = ("_broken", "_meter")

    def __init__(self, operation: Operation, head: ResponseHead, target: str = "") -> None:
        self._meter: Meter | LiveMeter
        self._meter = LiveMeter(operation) if head.status == 101 else meter_for(operation, head, target)
        self._broken = False

    def feed(self, piece: bytes) -> None:
        """The next bytes of the answer, which must not change any more: a small one is kept until it is finished."""
        if self._broken:
            return
        try:
            self._meter.feed(piece)
        except Exception:
            self._fail()

    @property
    def behind(self) -> bool:
        """A compressed piece holds more than is read at once: `catch_up` before the next one."""
        return self._meter.behind and not self._broken

    async def catch_up(self) -> None:
        """Read on, step by step, between which others run."""
        while self.behind and isinstance(self._meter, Meter):
            await asyncio.sleep(0)
            try:
                self._meter.catch_up()
            except Exception:
                self._fail()

    @property
    def once(self) -> str | None:
        """Under which name the usage is charged once; known when it is finished."""
        return None if self._broken else self._meter.once

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
