"""The composition root: everything is built and owned here, and nowhere else.

It holds the current `Snapshot`: start builds the first, reload builds another and swaps the reference, each
exchange runs on the one it began with. The command line makes one `App` a process.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from proxy.config.bind import ConfigError
from proxy.config.load import load
from proxy.config.schema import Server, Settings
from proxy.engine.explain import Explanation, NoRelay, explain
from proxy.engine.generations import Generations
from proxy.engine.snapshot import Snapshot, build_plugins
from proxy.exchange import Exchange
from proxy.gemini.paths import parse_operation
from proxy.gemini.visibility import hidden_usage
from proxy.head import Headers, RawHeaders, RequestHead
from proxy.metrics import CONTENT_TYPE, Metrics
from proxy.plugin import Clock, Services
from proxy.price_file import PriceSheet
from proxy.runner import Runner
from proxy.stores.memory import MemoryStore
from proxy.teams import Teams
from proxy.version import __version__
from proxy.wire.admin import AdminListener
from proxy.wire.bounds import Bounds
from proxy.wire.door import Sockets
from proxy.wire.fetch import Fetcher
from proxy.wire.ids import new_id
from proxy.wire.seal import Seal
from proxy.wire.server import PublicListener
from proxy.wire.tls import Certificate
from proxy.wire.uploads import Uploads

NO_PRICES = "without a price file every record is unpriced"
NO_SEAL = "without [server] seal, uploads under way end with this process and go on at no other"


class SystemClock:
    """The machine's time. The library's functions themselves: a clock is read some twenty times an exchange."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class App:
    """One gateway process. `settings` are those it starts with; `load_again` gets those of a reload."""

    def __init__(self, settings: Settings, load_again: Callable[[], Settings] | None = None) -> None:
        self.ready = False
        self._load_again = load_again or (lambda: load(settings.file))
        self._clock = SystemClock()
        self._store = MemoryStore(self._clock)
        self._teams = Teams(settings.teams)
        self._prices = PriceSheet(settings)
        self._fetcher = Fetcher()
        self._metrics = Metrics(
            lambda: self.public.in_flight, lambda: self.public.connections, lambda: self.public.turned_away
        )
        self._certificate: Certificate | None = None
        self._state: Path = settings.server.state
        self._log = structlog.get_logger("weir")
        self._generations = Generations(self._build(settings, None), self._log)
        self._changing = asyncio.Lock()  # one start, reload or stop at a time
        runner = Runner(self._generations, self._metrics, self._clock)
        self.public = PublicListener(
            runner.run, self._clock, bounds_of(settings.server), uploads_of(settings.server, self._clock)
        )
        self.admin = AdminListener(self)

    async def start(self, sockets: Sockets | None = None) -> None:
        """Start plugins, then listen, on these sockets or on those of the file.

        Raises ConfigError for a certificate, OSError when an address is taken, and whatever a plugin raises.
        """
        settings = self._generations.current.settings
        try:
            async with self._changing:
                self._certificate = await asyncio.to_thread(certificate_of, settings)
                tls = self._certificate.context if self._certificate else None
                self._prices.adopt(await asyncio.to_thread(self._prices.read, settings))
                await self._fetcher.start()
                await self._generations.start()
                await self.public.start(settings.server.listen, sockets and sockets.public, tls)
                await self.admin.start(settings.server.admin, sockets and sockets.admin)
        except BaseException:
            await self.stop()
            raise
        for warning in settings.warnings:
            self._log.warning("config_warning", warning=warning)
        if self._prices.book.version is None:
            self._log.warning("no_prices", file=str(self._prices.file), reason=NO_PRICES)
        if settings.server.seal is None:
            self._log.info("seal_made", reason=NO_SEAL)
        self.ready = True

    async def stop(self) -> None:
        """Let exchanges end, then undo `start`."""
        self.ready = False
        async with self._changing:
            await self.public.stop()
            await self.admin.stop()
            await self._generations.stop()
            await self._fetcher.stop()

    async def reload(self) -> None:
        """Read the routes file again, and the certificate.

        A file that cannot be used changes nothing and is explained in the log.
        """
        await self.renew_certificate()
        async with self._changing:
            old = self._generations.current
            try:
                # In a thread: it reads files and may import a plugin, while streams are under way.
                settings = await asyncio.to_thread(self._load_again)
                prices = await asyncio.to_thread(self._prices.read, settings)
                await self._generations.adopt(self._build(settings, old))
            except ConfigError as error:
                self._log.error("reload_refused", file=str(error.file), problems=error.problems)
                return
            except Exception:
                self._log.exception("reload_refused")
                return
            self._teams.replace(settings.teams)
            self._prices.adopt(prices)
            if old.settings.server != settings.server:
                self._log.warning("restart_needed", reason="[server] is read at start only")
        said = {"warnings": list(settings.warnings), "prices": self._prices.book.version}
        self._log.info("reloaded", file=str(settings.file), **said)

    async def renew_certificate(self) -> None:
        """Show new connections the certificate as it is in its files now. Bad files change nothing."""
        if self._certificate is None:
            return
        try:
            renewed = await asyncio.to_thread(self._certificate.renew)
        except ValueError as error:
            self._log.error("certificate_refused", reason=str(error))
            return
        if renewed:
            self._log.info("certificate_renewed")

    def _build(self, settings: Settings, previous: Snapshot | None) -> Snapshot:
        try:
            plugins = build_plugins(settings, self._services, previous)
        except ValueError as error:
            raise ConfigError(settings.file, [str(error)]) from error
        return Snapshot(settings, plugins, self._clock)

    def _services(self, name: str) -> Services:
        return Services(
            name=name,
            clock=self._clock,
            store=self._store,
            teams=self._teams,
            prices=self._prices.book,
            fetch=self._fetcher,
            log=structlog.get_logger("weir").bind(plugin=name),
            state=self._state,
        )

    # --- what the admin listener asks ---

    def unready(self) -> list[str]:
        """Why no new exchanges should be sent here: our own state, or a plugin's that a route uses."""
        plugins = self._generations.current.plugins.items()
        reasons = [f"{name}: {reason}" for name, plugin in plugins if (reason := plugin.unready()) is not None]
        return reasons if self.ready else ["the gateway is starting or stopping", *reasons]

    def metrics(self) -> tuple[bytes, str]:
        return self._metrics.render(), CONTENT_TYPE

    async def explain(self, method: str, target: str, headers: RawHeaders) -> Explanation:
        """What would happen to this request, by the plugins' state of now."""
        now = self._clock.time()
        request = RequestHead(method, target, Headers(headers), "")
        operation = parse_operation(method, target)
        exchange = Exchange(
            new_id(now),
            request,
            operation,
            NoRelay(),
            received_at=now,
            started=self._clock.monotonic(),
            hides_usage=hidden_usage(operation, method, target, request.headers),
        )
        return await explain(self._generations.current, exchange)

    async def status(self) -> dict[str, Any]:
        """The content of `/status`; plain JSON values, no secrets."""
        snapshot = self._generations.current
        return {
            "version": __version__,
            "file": str(snapshot.settings.file),
            "ready": not (unready := self.unready()),
            "unready": unready,
            "prices": self._prices.book.version,
            "routes": [
                {
                    "name": route.settings.name,
                    "match": route.settings.match,
                    "upstream": route.settings.upstream,
                    "plugins": route.settings.plugins,
                }
                for route in snapshot.routes
            ],
            "upstreams": {
                name: [
                    {
                        "name": endpoint.name,
                        "url": endpoint.url,
                        "region": endpoint.region,
                        "priority": endpoint.priority,
                    }
                    | {
                        table: dict(said)
                        for table, plugin in snapshot.plugins.items()
                        if (said := plugin.endpoint_status(endpoint))
                    }
                    for endpoint in endpoints
                ]
                for name, endpoints in snapshot.settings.upstreams.items()
            },
            "plugins": {name: dict(await plugin.status()) for name, plugin in snapshot.plugins.items()},
        }


def bounds_of(server: Server) -> Bounds:
    """The wire's view of `[server]`: `wire` may not import `config`."""
    timeouts, sizes = server.timeouts, server.sizes
    return Bounds(
        connect_seconds=timeouts.connect,
        first_byte_seconds=timeouts.first_byte,
        flex_first_byte_seconds=timeouts.flex_first_byte,
        upstream_idle_seconds=timeouts.upstream_idle,
        caller_idle_seconds=timeouts.caller_idle,
        keepalive_seconds=timeouts.keepalive,
        pool_idle_seconds=timeouts.pool_idle,
        drain_seconds=timeouts.drain,
        shutdown_seconds=timeouts.shutdown,
        header_bytes=sizes.header,
        replay_bytes=sizes.replay,
        spool_bytes=sizes.spool,
        drain_bytes=sizes.drain,
        message_bytes=sizes.message,
        drains=server.drains,
        connections=server.connections,
        road=server.road,
    )


def certificate_of(settings: Settings) -> Certificate | None:
    """The listener's certificate. Raises ConfigError when there is to be one and it cannot be used."""
    tls = settings.server.tls
    if tls is None:
        return None
    try:
        return Certificate(tls.certificate, tls.key)
    except ValueError as error:
        raise ConfigError(settings.file, [f"server.tls: {error}"]) from error


def uploads_of(server: Server, clock: Clock) -> Uploads:
    """Upload addresses under the file's secret, or under one that nobody else will ever have."""
    secret = server.seal.reveal() if server.seal is not None else secrets.token_urlsafe(32)
    return Uploads(Seal(secret), clock, life_seconds=server.upload_life, public_url=server.public_url)
