"""The way of one exchange through this process: run on the current snapshot, refused where it must be, counted.

`app.py` makes one and hands its `run` to the public listener. It knows no sockets, and nothing of what plugins do.
"""

from collections.abc import Callable
from typing import final

import structlog

from proxy.engine.generations import Generations
from proxy.exchange import Exchange
from proxy.metrics import Metrics
from proxy.plugin import Clock
from proxy.refusal import Refusal


@final
class Runner:
    """See the module."""

    __slots__ = ("_generations", "_log", "_metrics", "_monotonic")

    def __init__(self, generations: Generations, metrics: Metrics, clock: Clock) -> None:
        self._generations = generations
        self._metrics = metrics
        self._monotonic: Callable[[], float] = clock.monotonic
        self._log = structlog.get_logger("weir")

    async def run(self, exchange: Exchange) -> None:
        """Run one exchange to its end; the public listener's only way in."""
        refusal: Refusal | None = None
        snapshot = self._generations.current
        try:
            snapshot.enter()
            try:
                await snapshot.assign_route(exchange).run(exchange)
                if not exchange.relay.answered:
                    raise exchange.refuse(500, "A plugin ended the exchange without an answer.", reason="INTERNAL")
            except Refusal as raised:
                refusal = raised.with_traceback(None)  # which holds this frame, and so the exchange
            finally:
                snapshot.leave()
            if refusal is not None:
                if exchange.route is None:  # no plugin of any route has written it down
                    self._log.info("no_route", exchange=exchange.id, reason=refusal.reason, path=exchange.request.path)
                await exchange.relay.refuse(exchange, refusal)
        finally:
            exchange.ended = self._monotonic()
            self._metrics.observe(exchange)
