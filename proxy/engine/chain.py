"""Folds a route's plugins into two onions: one around the exchange, one around each attempt.

Called once per configuration by `snapshot.py`, never per exchange. A plugin that does not override a hook is not in
that onion at all. The first plugin in the list is the outermost. What only decides before is no layer of its own: it is
asked at the entrance of the next one that has something to do afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import final

import structlog

from proxy.exchange import Attempt, Exchange
from proxy.head import ResponseHead
from proxy.plugin import AttemptNext, ExchangeNext, Plugin
from proxy.refusal import CallerGone, EndpointFailed, Refusal

_log = structlog.get_logger("weir")

_BeforeExchange = Callable[[Exchange], Awaitable[None] | None]
_BeforeAttempt = Callable[[Attempt], Awaitable[None] | None]
_AroundExchange = Callable[[Exchange, ExchangeNext], Awaitable[None]]
_AroundAttempt = Callable[[Attempt, AttemptNext], Awaitable[ResponseHead]]


def wrap_exchange(plugins: Sequence[Plugin], innermost: ExchangeNext) -> ExchangeNext:
    layer = _ExchangeLayer("relay", None, innermost)
    for plugin in reversed(plugins):
        kind = type(plugin)
        if kind.around_exchange is not Plugin.around_exchange:
            layer = _ExchangeLayer(plugin.services.name, plugin.around_exchange, layer.run)
        if kind.before_exchange is not Plugin.before_exchange:
            layer.before.insert(0, (plugin.services.name, plugin.before_exchange))
    return layer.run


def wrap_attempt(plugins: Sequence[Plugin], innermost: AttemptNext) -> AttemptNext:
    layer: _AttemptLayer | None = None  # the attempt itself needs no fence: its own exceptions are all known
    for plugin in reversed(plugins):
        kind = type(plugin)
        if kind.around_attempt is not Plugin.around_attempt:
            call_next = innermost if layer is None else layer.run
            layer = _AttemptLayer(plugin.services.name, plugin.around_attempt, call_next)
        if kind.before_attempt is not Plugin.before_attempt:
            if layer is None:
                layer = _AttemptLayer("relay", None, innermost)
            layer.before.insert(0, (plugin.services.name, plugin.before_attempt))
    return innermost if layer is None else layer.run


@final
class _ExchangeLayer:
    """What one fence stands around: those who are asked before, by name, and what is then run.

    An unknown exception becomes a 500 where it leaves its layer, so that every outer plugin sees how it ended.
    The plugin is called here itself, so that a layer is two coroutines deep and no more. Methods, and no functions
    within functions: compiled, each call of those makes an object for what they see of the outer one.
    """

    __slots__ = ("_around", "_call_next", "_name", "before")

    def __init__(self, name: str, around: _AroundExchange | None, call_next: ExchangeNext) -> None:
        self._name = name
        self._around = around
        self._call_next = call_next
        self.before: list[tuple[str, _BeforeExchange]] = []

    async def run(self, exchange: Exchange) -> None:
        """What comes next, with `around` around it if there is one."""
        name = self._name
        try:
            for name, before in self.before:  # noqa: B007  # told if it fails
                waits = before(exchange)
                if waits is not None:
                    await waits
            name, around, call_next = self._name, self._around, self._call_next
            await (call_next(exchange) if around is None else around(exchange, call_next))
        except Refusal:
            raise
        except asyncio.CancelledError:  # only a stop that outlasts its time cancels an exchange
            exchange.reason = exchange.reason or "GATEWAY_STOPPED"
            raise
        except Exception as error:
            _log.exception("layer_failed", layer=name, exchange=exchange.id)
            if exchange.relay.answered:
                return  # the answer has gone out; failing the exchange now would only hide how it ended
            raise _fault(exchange) from error


@final
class _AttemptLayer:
    """The same around an attempt."""

    __slots__ = ("_around", "_call_next", "_name", "before")

    def __init__(self, name: str, around: _AroundAttempt | None, call_next: AttemptNext) -> None:
        self._name = name
        self._around = around
        self._call_next = call_next
        self.before: list[tuple[str, _BeforeAttempt]] = []

    async def run(self, attempt: Attempt) -> ResponseHead:
        name = self._name
        try:
            for name, before in self.before:  # noqa: B007  # told if it fails
                waits = before(attempt)
                if waits is not None:
                    await waits
            name, around, call_next = self._name, self._around, self._call_next
            return await (call_next(attempt) if around is None else around(attempt, call_next))
        except (Refusal, EndpointFailed, CallerGone):
            raise
        except Exception as error:
            _log.exception("layer_failed", layer=name, exchange=attempt.exchange.id)
            raise _fault(attempt.exchange) from error


def _fault(exchange: Exchange) -> Refusal:
    return exchange.refuse(500, f"An internal error has occurred. Exchange {exchange.id}.", reason="INTERNAL")
