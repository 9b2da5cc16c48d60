"""Folds a route's plugins into two onions: one around the exchange, one around each attempt.

Called once per configuration by `snapshot.py`, never per exchange. A plugin that does not override a hook is not in
that onion at all. The first plugin in the list is the outermost. What only decides before is no layer of its own: it is
asked at the entrance of the next one that has something to do afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from proxy.exchange import Attempt, Exchange
from proxy.head import ResponseHead
from proxy.plugin import AttemptNext, ExchangeNext, Plugin
from proxy.refusal import CallerGone, EndpointFailed, Refusal

_log = structlog.get_logger("weir")

What = TypeVar("What", Exchange, Attempt)
_Before = Callable[[What], Awaitable[None] | None]


class _Layer(Generic[What]):
    """What one fence stands around: those who are asked before, by name, and what is then run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.before: list[tuple[str, _Before[What]]] = []

    def ask_first(self, plugin: Plugin, before: _Before[What]) -> None:
        self.before.insert(0, (plugin.services.name, before))


def wrap_exchange(plugins: Sequence[Plugin], innermost: ExchangeNext) -> ExchangeNext:
    layer: _Layer[Exchange] = _Layer("relay")
    chain = _fenced(layer, None, innermost)
    for plugin in reversed(plugins):
        kind = type(plugin)
        if kind.around_exchange is not Plugin.around_exchange:
            layer = _Layer(plugin.services.name)
            chain = _fenced(layer, plugin.around_exchange, chain)
        if kind.before_exchange is not Plugin.before_exchange:
            layer.ask_first(plugin, plugin.before_exchange)
    return chain


def wrap_attempt(plugins: Sequence[Plugin], innermost: AttemptNext) -> AttemptNext:
    layer: _Layer[Attempt] | None = None  # the attempt itself needs no fence: its own exceptions are all known
    chain = innermost
    for plugin in reversed(plugins):
        kind = type(plugin)
        if kind.around_attempt is not Plugin.around_attempt:
            layer = _Layer(plugin.services.name)
            chain = _fenced_attempt(layer, plugin.around_attempt, chain)
        if kind.before_attempt is not Plugin.before_attempt:
            if layer is None:
                layer = _Layer("relay")
                chain = _fenced_attempt(layer, None, innermost)
            layer.ask_first(plugin, plugin.before_attempt)
    return chain


def _fenced(
    layer: _Layer[Exchange],
    around: Callable[[Exchange, ExchangeNext], Awaitable[None]] | None,
    call_next: ExchangeNext,
) -> ExchangeNext:
    """What comes next, with `around` around it if there is one.

    An unknown exception becomes a 500 where it leaves its layer, so that every outer plugin sees how it ended.
    The plugin is called here itself, so that a layer is two coroutines deep and no more.
    """
    last, befores = layer.name, layer.before

    async def fenced(exchange: Exchange) -> None:
        name = last
        try:
            for name, before in befores:  # noqa: B007  # told if it fails
                waits = before(exchange)
                if waits is not None:
                    await waits
            name = last
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

    return fenced


def _fenced_attempt(
    layer: _Layer[Attempt],
    around: Callable[[Attempt, AttemptNext], Awaitable[ResponseHead]] | None,
    call_next: AttemptNext,
) -> AttemptNext:
    last, befores = layer.name, layer.before

    async def fenced(attempt: Attempt) -> ResponseHead:
        name = last
        try:
            for name, before in befores:  # noqa: B007  # told if it fails
                waits = before(attempt)
                if waits is not None:
                    await waits
            name = last
            return await (call_next(attempt) if around is None else around(attempt, call_next))
        except (Refusal, EndpointFailed, CallerGone):
            raise
        except Exception as error:
            _log.exception("layer_failed", layer=name, exchange=attempt.exchange.id)
            raise _fault(attempt.exchange) from error

    return fenced


def _fault(exchange: Exchange) -> Refusal:
    return exchange.refuse(500, f"An internal error has occurred. Exchange {exchange.id}.", reason="INTERNAL")
