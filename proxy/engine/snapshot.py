"""One compiled configuration: routes with their chains, and the plugin instances behind them.

`app.py` builds one at start and at each reload, swaps the reference, and closes the old one when its last
exchange has ended. Immutable but for the count of exchanges in flight. A plugin whose table is equal keeps
its instance, so that circuits, buckets and key caches survive a reload.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import NamedTuple

from proxy.config.schema import RouteTable, Settings
from proxy.endpoint import Endpoint
from proxy.engine.chain import wrap_attempt, wrap_exchange
from proxy.engine.forward import make_forward
from proxy.engine.routes import AmbiguousPath, path_matcher
from proxy.exchange import Attempt, Exchange
from proxy.head import ResponseHead
from proxy.plugin import Clock, ExchangeNext, Plugin, Services
from proxy.principal import Continuation
from proxy.refusal import Refusal

# Paths whose route is remembered: models times methods are a hundred or two, the names of files come and go.
_PATHS = 256


class Route(NamedTuple):
    """A route of the file, compiled."""

    settings: RouteTable
    matches: Callable[[str], bool]
    endpoints: tuple[Endpoint, ...]  # by priority
    plugins: tuple[Plugin, ...]  # outermost first
    run: ExchangeNext


class Snapshot:
    """See the module. `plugins` holds the instances by table name."""

    def __init__(self, settings: Settings, plugins: dict[str, Plugin], clock: Clock) -> None:
        self.settings = settings
        self.plugins = plugins
        self.routes = tuple(_compile(table, settings, plugins, clock) for table in settings.routes)
        self._route_of = lru_cache(maxsize=_PATHS)(_finder(self.routes))
        self._in_flight = 0
        self._idle: asyncio.Event | None = None  # set once nothing runs any more, where somebody waits for that

    def assign_route(self, exchange: Exchange) -> Route:
        """Find the exchange's route and give the exchange what it says. Raises Refusal."""
        try:
            route = self._route_of(exchange.request.path)
        except AmbiguousPath:
            message = "The path means something else than it spells; send it without dot segments and needless escapes."
            raise exchange.refuse(400, message, reason="AMBIGUOUS_PATH") from None
        if route is None:
            raise exchange.refuse(404, "No route of this gateway takes this path.", reason="NO_ROUTE")
        settings = route.settings
        exchange.route = settings.name
        exchange.on_disconnect = settings.on_disconnect
        if settings.hidden_usage == "allow":
            exchange.hides_usage = None
        exchange.candidates = list(route.endpoints)
        if isinstance(exchange.continuation, Continuation):
            _keep_to_endpoint(exchange, exchange.continuation.endpoint)
        return route

    async def run(self, exchange: Exchange) -> None:
        """Run one exchange through its route. Raises Refusal for every end that needs an answer of ours."""
        self._in_flight += 1
        try:
            await self.assign_route(exchange).run(exchange)
            if not exchange.relay.answered:
                raise exchange.refuse(500, "A plugin ended the exchange without an answer.", reason="INTERNAL")
        finally:
            self._in_flight -= 1
            if self._idle is not None and not self._in_flight:
                self._idle.set()
                self._idle = None

    async def ended(self) -> None:
        """Wait until no exchange runs on this snapshot."""
        if self._in_flight:
            idle = self._idle = self._idle or asyncio.Event()
            await idle.wait()


def build_plugins(
    settings: Settings, make_services: Callable[[str], Services], previous: "Snapshot | None"
) -> dict[str, Plugin]:
    """Instances for every plugin a route uses; those of `previous` where the table is equal. No I/O.

    Raises ValueError, naming the table, for settings that a plugin cannot work with.
    """
    plugins: dict[str, Plugin] = {}
    for name in dict.fromkeys(name for route in settings.routes for name in route.plugins):
        wanted = settings.plugins[name]
        if previous is not None and name in previous.plugins and previous.settings.plugins[name] == wanted:
            plugins[name] = previous.plugins[name]
            continue
        try:
            plugins[name] = wanted.plugin(wanted.config, make_services(name))
        except ValueError as error:
            raise ValueError(f"plugins.{name}: {error}") from error
    return plugins


def _finder(routes: tuple[Route, ...]) -> Callable[[str], Route | None]:
    """The first route that takes a path. Raises AmbiguousPath."""
    return lambda path: next((route for route in routes if route.matches(path)), None)


def _keep_to_endpoint(exchange: Exchange, name: str) -> None:
    """An upload goes on where it began. Refused once the plugins run, so that there is a record of it."""
    exchange.narrow(
        [endpoint for endpoint in exchange.candidates if endpoint.name == name], "the upload began elsewhere"
    )
    if not exchange.candidates:
        message = "The account that this upload began in is not in use any more. Start the upload again."
        exchange.continuation = Refusal(404, message, reason="UPLOAD_ENDPOINT_GONE")


def _compile(table: RouteTable, settings: Settings, plugins: dict[str, Plugin], clock: Clock) -> Route:
    ordered = tuple(plugins[name] for name in table.plugins)
    forward = make_forward(wrap_attempt(ordered, _open), clock)
    return Route(
        table,
        path_matcher(table.match),
        tuple(sorted(settings.upstreams[table.upstream], key=lambda endpoint: endpoint.priority)),
        ordered,
        wrap_exchange(ordered, forward),
    )


def _open(attempt: Attempt) -> Awaitable[ResponseHead]:
    return attempt.exchange.relay.open(attempt.endpoint)
