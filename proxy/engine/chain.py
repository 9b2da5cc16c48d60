"""Folds a route's plugins into two onions: one around the exchange, one around each attempt.

Called once per configuration by `snapshot.py`, never per exchange. A plugin that does not override a hook is
not in that onion at all. The first plugin in the list is the outermost.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from proxy.exchange import Attempt, Exchange
from proxy.head import ResponseHead
from proxy.plugin import AttemptNext, ExchangeNext, Plugin
from proxy.refusal import CallerGone, EndpointFailed, Refusal

_log = structlog.get_logger("weir")


def wrap_exchange(plugins: Sequence[Plugin], innermost: ExchangeNext) -> ExchangeNext:
    chain = _fenced(innermost, "relay")
    for plugin in reversed(plugins):
        if type(plugin).around_exchange is not Plugin.around_exchange:
            chain = _fenced(partial(plugin.around_exchange, call_next=chain), plugin.services.name)
    return chain


def wrap_attempt(plugins: Sequence[Plugin], innermost: AttemptNext) -> AttemptNext:
    chain = innermost
    for plugin in reversed(plugins):
        if type(plugin).around_attempt is not Plugin.around_attempt:
            chain = _fenced_attempt(partial(plugin.around_attempt, call_next=chain), plugin.services.name)
    return chain


def _fenced(layer: ExchangeNext, name: str) -> ExchangeNext:
    """An unknown exception becomes a 500 where it leaves its layer, so that every outer plugin sees how it ended."""

    async def fenced(exchange: Exchange) -> None:
        try:
            await layer(exchange)
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


def _fenced_attempt(layer: AttemptNext, name: str) -> AttemptNext:
    async def fenced(attempt: Attempt) -> ResponseHead:
        try:
            return await layer(attempt)
        except (Refusal, EndpointFailed, CallerGone):
            raise
        except Exception as error:
            _log.exception("layer_failed", layer=name, exchange=attempt.exchange.id)
            raise _fault(attempt.exchange) from error

    return fenced


def _fault(exchange: Exchange) -> Refusal:
    return exchange.refuse(500, f"An internal error has occurred. Exchange {exchange.id}.", reason="INTERNAL")
