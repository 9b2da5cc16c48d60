"""What a plugin is, and what it is given.

A plugin decides before the exchange or an attempt at an endpoint, or wraps them; it overrides only what it needs,
and what it does not override costs nothing. Bytes never pass through it. Its laws:

- call `call_next` exactly once, or raise `exchange.refuse(...)` (in an attempt: `EndpointFailed`);
- keep no state of one exchange on `self`; release in `finally`;
- meet other plugins only through the exchange's fields;
- never block the loop; take the time from `services.clock`.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
from structlog.typing import FilteringBoundLogger

from proxy.endpoint import Endpoint
from proxy.exchange import Attempt, Exchange
from proxy.head import Headers, ResponseHead
from proxy.price import Prices
from proxy.store import Store
from proxy.teams import Teams

ExchangeNext = Callable[[Exchange], Awaitable[None]]
AttemptNext = Callable[[Attempt], Awaitable[ResponseHead]]


class Clock(Protocol):
    """Where time comes from; a manual one in tests."""

    def time(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    async def sleep(self, seconds: float) -> None: ...


class Fetched(msgspec.Struct, frozen=True):
    """The answer to a `fetch`."""

    status: int
    headers: Headers
    body: bytes


class Fetch(Protocol):
    """GET over HTTPS (http only to loopback), no redirects, bounded in time and size.

    Raises OSError or TimeoutError when no answer could be had, ValueError when it is too large.
    """

    async def __call__(self, url: str, *, timeout_seconds: float = 5.0, max_bytes: int = 256 * 1024) -> Fetched: ...


class Services(msgspec.Struct, frozen=True):
    """What every plugin is given at its making. The same objects for as long as the process lives."""

    name: str  # the plugin's table in the routes file
    clock: Clock
    store: Store
    teams: Teams
    prices: Prices
    fetch: Fetch
    log: FilteringBoundLogger  # the service log, bound to the plugin's name
    state: Path  # the folder of `[server] state`; may not exist yet


class NoConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Config of a plugin without settings."""


class Plugin:
    """Base class of all plugins, ours and everybody's. See the module's laws."""

    Config: ClassVar[type] = NoConfig
    needs: ClassVar[frozenset[str]] = frozenset()  # exchange fields that an outer plugin must have set
    provides: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Any, services: Services) -> None:
        """Bind settings; no I/O here. Raise ValueError, naming the key, for settings that cannot work."""
        self.config = config
        self.services = services

    async def start(self) -> None:
        """Open files, fetch keys. Runs once before the first exchange."""

    async def stop(self) -> None:
        """Undo `start`. Runs once, after the last exchange that may use the plugin."""

    def before_exchange(self, exchange: Exchange) -> Awaitable[None] | None:
        """Decide before the rest of the chain runs, with nothing to do afterwards: mark the exchange, or raise.

        Returns None, or what must be awaited first where the answer is not at hand.
        """
        return None

    async def around_exchange(self, exchange: Exchange, call_next: ExchangeNext) -> None:
        """Wrap the whole exchange. `await call_next(exchange)` returns after the last byte."""
        await call_next(exchange)

    def before_attempt(self, attempt: Attempt) -> Awaitable[None] | None:
        """As `before_exchange`, for one try at one endpoint."""
        return None

    async def around_attempt(self, attempt: Attempt, call_next: AttemptNext) -> ResponseHead:
        """Wrap one try. `await call_next(attempt)` returns at the response head."""
        return await call_next(attempt)

    async def explain(self, exchange: Exchange) -> list[str]:
        """Say, one sentence a line, what this plugin would do to the exchange, without doing it.

        May set what it provides (a principal), and reorder or narrow the candidates, as the real run
        would; takes no quota, counts nothing. Raises the Refusal that the real run would raise.
        """
        return []

    def unready(self) -> str | None:
        """Why this process should get no new exchanges just now, in a few words; None: it should. For `/readyz`."""
        return None

    async def status(self) -> Mapping[str, Any]:
        """The plugin's state for `/status`, as plain JSON values without secrets."""
        return {}

    def endpoint_status(self, endpoint: Endpoint) -> Mapping[str, Any]:
        """What this plugin knows of an endpoint, for `/status`."""
        return {}
