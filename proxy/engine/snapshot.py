"""One compiled configuration: routes with their chains, and the plugin instances behind them.

`app.py` builds one at start and at each reload, swaps the reference, and closes the old one when its last
exchange has ended. Immutable but for the count of exchanges in flight. A plugin whose table is equal keeps
its instance, so that circuits, buckets and key caches survive a reload.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, final

from proxy.config.schema import RouteTable, Settings
from proxy.endpoint import Endpoint
from proxy.engine.chain import wrap_attempt, wrap_exchange
from proxy.engine.forward import make_forward
from proxy.engine.routes import AmbiguousPath, path_matcher
from proxy.exchange import Attempt, Exchange, OnDisconnect
from proxy.head import ResponseHead
from proxy.plugin import Clock, ExchangeNext, Plugin, Services
from proxy.principal import Continuation
from proxy.refusal import Refusal

# Paths whose route is remembered: models times methods are a hundred or two, the names of files come and go.
_PATHS: Final = 256


@final
class Route:
    """A route of the file, compiled.

    Attributes:
        endpoints: by priority.
        plugins: outermost first.
        run: through all of them.
    """

    __slots__ = ("endpoints", "matches", "name", "on_disconnect", "plugins", "run", "settings", "shows_usage")

    def __init__(
        self,
        settings: RouteTable,
        endpoints: list[Endpoint],
        plugins: tuple[Plugin, ...],
        run: ExchangeNext,
    ) -> None:
        self.settings: Final = settings
        self.name: Final[str] = settings.name
        self.on_disconnect: Final[OnDisconnect] = settings.on_disconnect
        self.shows_usage: Final[bool] = settings.hidden_usage != "allow"
        self.matches: Final = path_matcher(settings.match)
        self.endpoints: Final = endpoints
        self.plugins: Final = plugins
        self.run: Final = run


@final
class Snapshot:
    """See the module. `plugins` holds the instances by table name."""

    def __init__(self, settings: Settings, plugins: dict[str, Plugin], clock: Clock) -> None:
        self.settings = settings
        self.plugins = plugins
        self.routes = tuple(_compile(table, settings, plugins, clock) for table in settings.routes)
        self._route_of: dict[str, Route] = {}  # by path
        self._in_flight = 0
        self._idle: asyncio.Event | None = None  # set once nothing runs any more, where somebody waits for that

    def assign_route(self, exchange: Exchange) -> Route:
        """Find the exchange's route and give the exchange what it says. Raises Refusal."""
        path = exchange.request.path
        route = self._route_of.get(path) or self._find_route(exchange, path)
        exchange.route = route.name
        exchange.on_disconnect = route.on_disconnect
        if not route.shows_usage:
            exchange.hides_usage = None
        exchange.candidates = route.endpoints.copy()
        if exchange.continuation is not None and isinstance(exchange.continuation, Continuation):
            _keep_to_endpoint(exchange, exchange.continuation.endpoint)
        return route

    def _find_route(self, exchange: Exchange, path: str) -> Route:
        """The first that takes the path, which is then remembered. Raises Refusal."""
        try:
            for route in self.routes:
                if route.matches(path):
                    if len(self._route_of) >= _PATHS:
                        self._route_of.clear()
                    self._route_of[path] = route
                    return route
        except AmbiguousPath:
            message = "The path means something else than it spells; send it without dot segments and needless escapes."
            raise exchange.refuse(400, message, reason="AMBIGUOUS_PATH") from None
        raise exchange.refuse(404, "No route of this gateway takes this path.", reason="NO_ROUTE")

    def enter(self) -> None:
        """An exchange begins to run on it; `leave` must follow."""
        self._in_flight += 1

    def leave(self) -> None:
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
    endpoints = sorted(settings.upstreams[table.upstream], key=lambda endpoint: endpoint.priority)
    return Route(table, endpoints, ordered, wrap_exchange(ordered, forward))


def _open(attempt: Attempt) -> Awaitable[ResponseHead]:
    return attempt.exchange.relay.open(attempt.endpoint, attempt.last)
