"""The fast road's connections to one endpoint: dialled when all are in use, kept for a while when nobody uses them.

The one that was used last is used next, so that those not needed grow old and go. There is no bound on their number:
a request would queue unseen. A connection that its peer closes leaves at once.
"""

import asyncio
from collections import deque
from typing import final

import aiohttp
from yarl import URL

from proxy.refusal import EndpointFailed
from proxy.wire.bounds import Bounds
from proxy.wire.connector import Connector, Destination
from proxy.wire.intake import Intake
from proxy.wire.patience import Interrupted, Patience
from proxy.wire.upstream import Upstream


@final
class Connections:
    """See the module.

    Attributes:
        host: what the Host field says.
    """

    def __init__(self, url: str, connector: Connector, intake: Intake, bounds: Bounds) -> None:
        self.host: str = URL(url).host_port_subcomponent or ""  # an endpoint has a host
        self._loop = asyncio.get_running_loop()
        self._connector = connector
        self._destination = Destination(url, lambda: Upstream(self, self._loop, intake, bounds))
        self._connect_seconds = bounds.connect_seconds
        self._idle_seconds = bounds.pool_idle_seconds
        self._idle: deque[Upstream] = deque()  # the one that waits for longest first
        self._open: set[Upstream] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Event | None = None  # when it stops

    @property
    def in_use(self) -> int:
        return len(self._open) - len(self._idle)

    def take(self) -> Upstream | None:
        """One that nobody uses, if there is any."""
        while self._idle:
            connection = self._idle.pop()
            if connection.transport.is_closing():
                continue
            if self._loop.time() - connection.idle_since < self._idle_seconds:
                return connection
            connection.cut()
        return None

    async def dial(self, patience: Patience) -> Upstream:
        """A new one. Raises EndpointFailed, or Interrupted when the exchange was.

        Errors of aiohttp are never shown: their text holds the host.
        """
        try:
            dialling = self._connector.dial(self._destination)
            connection: Upstream = await patience.wait(dialling, self._connect_seconds, "connect_timeout")
        except Interrupted as stop:
            if stop.reason == "connect_timeout":
                raise EndpointFailed("connect_timeout", sent=False) from None
            raise
        except (aiohttp.ClientError, OSError, UnicodeError):  # the last: of a name that no host can have
            raise EndpointFailed("connect_failed", sent=False) from None
        if connection.transport.is_closing():
            raise EndpointFailed("disconnected", sent=False)  # it hung up at once, or said something unasked
        # Not when it was made: uvloop tells nobody of the end of one that was given up before.
        self._open.add(connection)
        return connection

    async def stop(self) -> None:
        """Cut them all, and wait until they are gone."""
        self._all_gone = asyncio.Event()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._open):
            connection.cut()
        if self._open:
            await self._all_gone.wait()

    # --- for the connections ---

    def keep(self, connection: Upstream) -> None:
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._idle_seconds, self._sweep)

    def lost(self, connection: Upstream) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._all_gone is not None and not self._open:
            self._all_gone.set()

    def _sweep(self) -> None:
        """End those that nobody used for so long."""
        self._sweeper = None
        before = self._loop.time() - self._idle_seconds
        while self._idle and self._idle[0].idle_since <= before:
            self._idle.popleft().cut()
        if self._idle:
            self._sweeper = self._loop.call_at(self._idle[0].idle_since + self._idle_seconds, self._sweep)
