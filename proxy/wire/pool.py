"""Connections to the endpoints, behind one narrow seam: send a request, get an `Answer` to read.

The relays are its only users. Two roads lead there, and whoever sends need not know which one it takes: `[server] road`
chooses. Sessions are dialled apart from them.
"""

from collections.abc import Coroutine
from typing import Any, final

from multidict import CIMultiDict
from yarl import URL

from proxy.endpoint import Endpoint
from proxy.wire.answer import Answer
from proxy.wire.bounds import Bounds
from proxy.wire.connector import Connector
from proxy.wire.fast_road import FastRoad
from proxy.wire.handshake import dial
from proxy.wire.leg import Leg
from proxy.wire.patience import Patience
from proxy.wire.plain_road import PlainRoad
from proxy.wire.request_body import RequestBody
from proxy.wire.upstream_head import UpstreamHead


@final
class Pool:
    """All upstream connections of this process."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._road: FastRoad | PlainRoad | None = None
        self._connector: Connector | None = None

    async def start(self) -> None:
        bounds = self._bounds
        # limit=0: the default of 100 connections would queue the 101st exchange without a word.
        # pool idle time below any front end's, so that we never write into a connection being closed.
        self._connector = Connector(limit=0, keepalive_timeout=bounds.pool_idle_seconds, ttl_dns_cache=30)
        self._road = (FastRoad if bounds.road == "fast" else PlainRoad)(self._connector, bounds)

    async def stop(self) -> None:
        if self._road is not None:
            await self._road.stop()
        if self._connector is not None:
            await self._connector.close()

    @property
    def in_use(self) -> int:
        """How many connections an exchange has."""
        assert self._road is not None, "the pool is not started"
        return self._road.in_use

    def send(
        self,
        endpoint: Endpoint,
        head: UpstreamHead,
        body: RequestBody,
        patience: Patience,
        *,
        flex: bool = False,
    ) -> Coroutine[Any, Any, Answer]:
        """One try. Raises EndpointFailed, CallerGone, Refusal, or Interrupted when the exchange was."""
        assert self._road is not None, "the pool is not started"
        return self._road.send(endpoint, head, body, patience, flex=flex)

    async def dial(self, endpoint: Endpoint, target: str, fields: CIMultiDict[str], protocols: list[str]) -> Leg:
        """Open a WebSocket session. Raises EndpointFailed, or HandshakeRefused."""
        assert self._connector is not None, "the pool is not started"
        return await dial(self._connector, URL(endpoint.url + target, encoded=True), fields, protocols, self._bounds)
