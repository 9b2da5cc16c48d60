"""Folds a route's plugins into two onions: one around the exchange, one around each attempt.

Called once per configuration by `snapshot.py`, never per exchange. A plugin that does not override a hook is
not in that onion at all. The first plugin in the list is the outermost.
"""

from collections.abc import Sequence

from proxy.exchange import Attempt, Exchange, ResponseHead
from proxy.plugin import AttemptNext, ExchangeNext, Plugin
from proxy.refusal import CallerGone, EndpointFailed, Refusal


def wrap_exchange(plugins: Sequence[Plugin], innermost: ExchangeNext) -> ExchangeNext:
    chain = innermost
    for plugin in reversed(plugins):
        if type(plugin).around_exchange is not Plugin.around_exchange:
            chain = _exchange_layer(plugin, chain)
    return chain


def wrap_attempt(plugins: Sequence[Plugin], innermost: AttemptNext) -> AttemptNext:
    chain = innermost
    for plugin in reversed(plugins):
        if type(plugin).around_attempt is not Plugin.around_attempt:
            chain = _attempt_layer(plugin, chain)
    return chain


def _exchange_layer(plugin: Plugin, call_next: ExchangeNext) -> ExchangeNext:
    """One layer. An unknown exception becomes a 500 here, so that every outer plugin sees how it ended."""
    around = plugin.around_exchange

    async def layer(exchange: Exchange) -> None:
        try:
            await around(exchange, call_next)
        except Refusal:
            raise
        except Exception as error:
            _log_fault(plugin, exchange)
            if exchange.relay.answered:
                return  # the answer has gone out; failing the exchange now would only hide how it ended
            raise _fault(exchange) from error

    return layer


def _attempt_layer(plugin: Plugin, call_next: AttemptNext) -> AttemptNext:
    around = plugin.around_attempt

    async def layer(attempt: Attempt) -> ResponseHead:
        try:
            return await around(attempt, call_next)
        except (Refusal, EndpointFailed, CallerGone):
            raise
        except Exception as error:
            _log_fault(plugin, attempt.exchange)
            raise _fault(attempt.exchange) from error

    return layer


def _log_fault(plugin: Plugin, exchange: Exchange) -> None:
    plugin.services.log.exception("plugin_failed", exchange=exchange.id)


def _fault(exchange: Exchange) -> Refusal:
    return exchange.refuse(500, f"An internal error has occurred. Exchange {exchange.id}.", reason="INTERNAL")
