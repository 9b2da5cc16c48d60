"""The frames of one open WebSocket session, both ways until one side ends it.

`live_relay.py` makes one when both legs stand. Each direction waits for its reader, so that a slow one slows the
sender. How the session ended is on the exchange the moment it is known, before anything else is awaited: whatever is
cut short after that, the record is right. It opens nothing and decides nothing about who may talk.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Literal

from proxy.exchange import Exchange
from proxy.usage import Outcome
from proxy.wire.bounds import Bounds
from proxy.wire.leg import CLOSE_SECONDS, Close, Frame, Leg
from proxy.wire.metering import Metering

Side = Literal["caller", "endpoint"]

STOPPING = Close(1001, "The gateway is stopping.", said=False)
_ORDERLY = frozenset({1000, 1001, 1005})  # done, going away, and a close frame that says nothing


class Session:
    """See the module. `received` counts the bytes of the caller's messages."""

    def __init__(
        self,
        exchange: Exchange,
        caller: Leg,
        endpoint: Leg,
        meter: Metering,
        bounds: Bounds,
        began: Callable[[], None],
    ) -> None:
        self.received = 0
        self._exchange = exchange
        self._caller = caller
        self._endpoint = endpoint
        self._meter = meter
        self._bounds = bounds
        self._began = began  # called before the first frame goes down
        self._end: asyncio.Future[tuple[Side, Close]] = asyncio.get_running_loop().create_future()

    async def run(self, first: Frame | None) -> None:
        """To the end. `first` is the endpoint's frame that has come already."""
        pumps = {asyncio.create_task(self._pump_up()), asyncio.create_task(self._pump_down(first))}
        try:
            await self._until_one_ends(pumps)
        except BaseException as error:
            stopping = isinstance(error, asyncio.CancelledError)
            close = STOPPING if stopping else Close(1011, "An internal error has occurred.", said=False)
            if not self._end.done():  # from here on nobody else's end counts
                self._end.set_result(("endpoint", close))
                self._exchange.reason = "GATEWAY_STOPPED" if stopping else "INTERNAL"
            await self._stop(pumps)
            await asyncio.gather(self._caller.close(close), self._endpoint.close(close))
            raise
        finally:
            await self._stop(pumps)
        await self._close_both(*self._end.result())

    @property
    def complete(self) -> bool:
        """One side closed it in order."""
        return self._end.done() and self._end.result()[1].said

    def caller_left(self) -> None:
        """The caller's connection is gone. May be called by another task."""
        self._ended("caller", Close(1006, said=False))

    async def _until_one_ends(self, pumps: set[asyncio.Task[None]]) -> None:
        waiting: set[asyncio.Future[object]] = {*pumps, self._end}  # type: ignore[arg-type]
        while not self._end.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():  # by a send of aiohttp's own that was cut short: see `Leg.close`
                    task.result()
            if waiting == {self._end}:  # neither side takes anything any more, and neither said a word
                self._ended("caller", Close(1006, said=False))

    async def _stop(self, pumps: set[asyncio.Task[None]]) -> None:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump_up(self) -> None:
        while True:
            got = await self._caller.receive()
            if isinstance(got, Close):
                self._ended("caller", got)
                return
            if got.is_message:
                self.received += len(got.data)
            if not await self._send("endpoint", got):
                return

    async def _pump_down(self, first: Frame | None) -> None:
        self._began()
        got: Frame | Close = first or await self._endpoint.receive()
        while True:
            if isinstance(got, Close):
                self._ended("endpoint", got)
                return
            self._note(got)
            if not await self._send("caller", got):
                return
            self._exchange.response_bytes += len(got.data) if got.is_message else 0
            got = await self._endpoint.receive()

    async def _send(self, side: Side, frame: Frame) -> bool:
        """False when that side takes nothing any more; how it ended is for the other pump to read, or is said here."""
        to_caller = side == "caller"
        leg = self._caller if to_caller else self._endpoint
        # The shorter wait of both: while one side takes nothing the other is not read, and would seem dead by its
        # unread pongs. The side that stalls is to blame, before that.
        seconds = min(self._bounds.caller_idle_seconds, self._bounds.upstream_idle_seconds)
        try:
            async with asyncio.timeout(seconds):
                await leg.send(frame)
        except ConnectionError:
            return False
        except TimeoutError:
            self._ended(side, Close(1006, said=False), "CALLER_IDLE" if to_caller else "UPSTREAM_IDLE")
            return False
        return True

    def _note(self, frame: Frame) -> None:
        if frame.is_message:
            self._meter.feed(frame.data)

    def _ended(self, side: Side, close: Close, reason: str | None = None) -> None:
        """Nothing is awaited here: see the module."""
        if self._end.done():
            return
        self._end.set_result((side, close))
        exchange = self._exchange
        if close.said:
            exchange.outcome = Outcome.COMPLETED
            said = "CALLER_CLOSED" if side == "caller" else "CLOSED"
            exchange.reason = None if close.code in _ORDERLY else f"{said}_{close.code}"
            return
        exchange.outcome = Outcome.CLIENT_GONE if side == "caller" else Outcome.UPSTREAM_BROKE
        lost = "CALLER_LEFT" if side == "caller" else "DISCONNECTED"
        exchange.reason = reason or (lost if close.code == 1006 else f"PROTOCOL_ERROR_{close.code}")

    async def _close_both(self, side: Side, close: Close) -> None:
        """Answer the side that closed, pass its word on to the other."""
        onward = close.onward()
        answer = onward if close.said else Close(1011)
        if side == "endpoint":
            await asyncio.gather(self._endpoint.close(answer), self._caller.close(onward))
        else:
            await asyncio.gather(self._caller.close(answer), self._close_endpoint(onward))

    async def _close_endpoint(self, close: Close) -> None:
        """The counts of the last turn may come behind the frame that ended it, when the caller has gone already."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._endpoint.say_close(close)
                while isinstance(got := await self._endpoint.receive(), Frame):
                    self._note(got)
        await self._endpoint.close(close)
