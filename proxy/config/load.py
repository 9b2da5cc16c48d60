"""Reads a routes file into `Settings`, or says everything that is wrong with it.

Called at start, at each reload and by the commands that only need to know where things are. It checks what
can be checked without opening a socket; what concerns two tables at once is in `checks.py`.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from proxy.config.bind import Binder, BindError, ConfigError
from proxy.config.checks import Named, problems_between, warnings_between
from proxy.config.discovery import find_plugin
from proxy.config.schema import (
    CredentialTable,
    EndpointTable,
    LimitTable,
    PluginSettings,
    RouteTable,
    Server,
    Settings,
    Table,
    TeamTable,
    UpstreamTable,
)
from proxy.endpoint import ApiKey, Credential, Endpoint, GoogleAccount, is_loopback
from proxy.team import Limit, Team

T = TypeVar("T")
_BASE_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?/?")
_PUBLIC_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
LEAST_SEAL = 32  # characters: whoever guesses it makes upload addresses in anybody's name

# Keys of the house plan whose work is still to come. Refused by name: a limit that is read and not kept
# is worse than none.
COMING = {
    "vertex": "project, location and throughput are not applied yet; callers use full Vertex paths until then",
    "usd": "money limits come with the price list; use requests, tokens, images or concurrent until then",
}


def load(file: Path, *, with_secrets: bool = True) -> Settings:
    """Raises ConfigError with every problem found. `with_secrets=False` leaves secrets unresolved."""
    try:
        document = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(file, [f"cannot read it: {error.strerror}; name another with -c FILE"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(file, [f"not valid TOML: {error}"]) from error
    return _Loader(file.resolve(), document, with_secrets=with_secrets).settings()


class _Loader:
    """One pass over one document; problems are collected, so that a user mends them all at once."""

    def __init__(self, file: Path, document: dict[str, Any], *, with_secrets: bool) -> None:
        self._file = file
        self._document = document
        self._with_secrets = with_secrets
        self._binder = Binder(file.parent, with_secrets=with_secrets)
        self._blind = Binder(file.parent, with_secrets=False)
        self._problems: list[str] = []
        self._warnings: list[str] = []

    def settings(self) -> Settings:
        for key in self._document.keys() - {"server", "upstreams", "teams", "plugins", "routes"}:
            self._problems.append(f'unknown table "{key}"; known are: server, upstreams, teams, plugins, routes')
        server = self._server()
        upstreams = dict(self._named("upstreams", UpstreamTable, self._upstream))
        teams = dict(self._named("teams", TeamTable, self._team))
        plugins = dict(self._plugins())
        routes = tuple(self._routes())
        # Whose own table is wrong has been told so; here it only must not be called unknown.
        known = frozenset(self._table("upstreams"))
        named = Named(upstreams, teams, plugins, routes, known, server.workers, server.seal is not None)
        self._problems += problems_between(named)
        if self._problems:
            raise ConfigError(self._file, self._problems)
        warnings = (*self._warnings, *warnings_between(named))
        return Settings(self._file, server, upstreams, teams, plugins, routes, warnings)

    def _bind(self, table: Any, shape: type[T], key: str) -> T | None:
        try:
            return self._binder.bind(table, shape, key)
        except BindError as error:
            self._problems.append(error.problem)
        try:
            self._blind.bind(table, shape, key)  # a secret that is missing must not hide what else is wrong
        except BindError as error:
            if error.problem not in self._problems:
                self._problems.append(error.problem)
        return None

    def _table(self, key: str) -> dict[str, Any]:
        table = self._document.get(key, {})
        if isinstance(table, dict):
            return table
        self._problems.append(f"{key}: expected tables [{key}.NAME], found {type(table).__name__}")
        return {}

    def _named(
        self, key: str, shape: type[Table], make: Callable[[str, str, Any], T | None]
    ) -> Iterator[tuple[str, T]]:
        for name, table in self._table(key).items():
            self._refuse_coming(table, f"{key}.{name}")
            bound = self._bind(table, shape, f"{key}.{name}")
            made = make(name, f"{key}.{name}", bound) if bound is not None else None
            if made is not None:
                yield name, made

    def _refuse_coming(self, table: Any, key: str) -> None:
        """Say what is coming instead of "unknown key", and take it out so that it is said once."""
        for part in ("endpoints", "limits"):
            entries = table.get(part, []) if isinstance(table, dict) else []
            for entry in entries if isinstance(entries, list) else []:
                for name in COMING.keys() & entry.keys() if isinstance(entry, dict) else ():
                    self._problems.append(f"{key}: {name}: {COMING[name]}")
                    del entry[name]

    def _server(self) -> Server:
        server = self._bind(self._document.get("server", {}), Server, "server")
        if server is None:
            return Server()
        for key in ("workers", "connections"):
            if getattr(server, key) < 1:
                self._problems.append(f"server.{key}: expected 1 or more, found {getattr(server, key)}")
        if server.store != "memory":
            self._problems.append(
                'server.store: only "memory" is built yet; shared counters (valkey://) are still to come'
            )
        for key in ("listen", "admin"):
            address: str = getattr(server, key)
            host, colon, port = address.rpartition(":")
            if not (host and colon and port.isdigit() and int(port) < 65536):
                self._problems.append(f'server.{key}: expected "HOST:PORT", found "{address}"')
            elif key == "admin" and not is_loopback(host.strip("[]")):
                self._warnings.append(f"server.admin: {address} can be reached from outside; it has no login")
        self._check_uploads(server)
        for name in server.timeouts.__struct_fields__:
            if getattr(server.timeouts, name) <= 0:
                self._problems.append(f"server.timeouts.{name}: expected more than 0s")
        return msgspec.structs.replace(server, state=self._file.parent / server.state)

    def _check_uploads(self, server: Server) -> None:
        if server.public_url is not None and _PUBLIC_URL.fullmatch(server.public_url) is None:
            self._problems.append(
                f'server.public_url: expected "https://HOST", with a path or without, found "{server.public_url}"'
            )
        if self._with_secrets and server.seal is not None and len(server.seal.reveal()) < LEAST_SEAL:
            self._problems.append(
                f"server.seal: expected at least {LEAST_SEAL} characters, such as openssl rand -hex 32 gives"
            )
        if server.upload_life <= 0:
            self._problems.append("server.upload_life: expected more than 0s")

    def _upstream(self, _name: str, key: str, table: UpstreamTable) -> tuple[Endpoint, ...] | None:
        if not table.endpoints:
            self._problems.append(f"{key}.endpoints: an upstream needs at least one endpoint")
        return tuple(self._endpoint(f"{key}.endpoints.{endpoint.name}", endpoint) for endpoint in table.endpoints)

    def _endpoint(self, key: str, table: EndpointTable) -> Endpoint:
        match = _BASE_URL.fullmatch(table.url)
        if match is None or int(match["port"] or 0) > 65535:
            self._problems.append(f'{key}.url: expected "https://HOST" without a path, found "{table.url}"')
        elif match["scheme"] == "http" and not is_loopback(match["host"].strip("[]")):
            self._problems.append(f'{key}.url: "{table.url}" would send the credential in the clear; use https')
        if table.weight < 0:
            self._problems.append(f"{key}.weight: expected 0 or more, found {table.weight}")
        credential = self._credential(f"{key}.credential", table.credential)
        return Endpoint(table.name, table.url.rstrip("/"), table.region, table.priority, table.weight, credential)

    def _credential(self, key: str, table: CredentialTable | None) -> Credential | None:
        if table is None:
            self._warnings.append(f"{key}: none given; requests go upstream without a credential")
            return None
        if (table.api_key is None) == (table.google is None):
            self._problems.append(f"{key}: expected one of api_key and google")
            return None
        if table.api_key is not None:
            return ApiKey(table.api_key)
        source = str(table.google)
        return GoogleAccount(source if source == "default" else str(self._file.parent / source.removeprefix("file:")))

    def _team(self, name: str, key: str, table: TeamTable) -> Team:
        limits = tuple(
            limit
            for number, entry in enumerate(table.limits)
            if (limit := self._limit(f"{key}.limits[{number}]", entry)) is not None
        )
        return Team(name, table.parent, table.tier, tuple(table.models), tuple(table.regions), limits, table.prices)

    def _limit(self, key: str, table: LimitTable) -> Limit | None:
        said = [
            (unit, amount)
            for unit, amount in (
                ("requests", table.requests),
                ("tokens", table.tokens),
                ("images", table.images),
                ("concurrent", table.concurrent),
            )
            if amount is not None
        ]
        if len(said) != 1:
            self._problems.append(f"{key}: expected one of requests, tokens, images, concurrent")
            return None
        unit, amount = said[0]
        if amount < 1:
            self._problems.append(f"{key}.{unit}: expected 1 or more, found {amount}")
        if (unit == "concurrent") != (table.per is None):
            cure = "has no per" if unit == "concurrent" else 'needs per = "minute" (second, minute, hour, day, month)'
            self._problems.append(f"{key}: {unit} {cure}")
        return Limit(unit, amount, table.per)  # type: ignore[arg-type]  # the units are spelt above

    def _plugins(self) -> Iterator[tuple[str, PluginSettings]]:
        """Every table, and every plugin that a route names without giving it a table."""
        tables = dict(self._table("plugins"))
        for route in self._route_tables():
            names = route.get("plugins", []) if isinstance(route, dict) else []
            for name in names if isinstance(names, list) else []:
                if isinstance(name, str):
                    tables.setdefault(name, {})
        for name, table in tables.items():
            key = f"plugins.{name}"
            if not isinstance(table, dict):
                self._problems.append(f"{key}: expected a table, found {type(table).__name__}")
                continue
            settings = dict(table)
            use = settings.pop("use", name)
            try:
                plugin = find_plugin(use)
            except ValueError as error:
                self._problems.append(f"{key}: {error}")
                continue
            config = self._bind(settings, plugin.Config, key)
            if config is not None:
                yield name, PluginSettings(name, plugin, config)

    def _route_tables(self) -> list[Any]:
        tables = self._document.get("routes", [])
        return tables if isinstance(tables, list) else []

    def _routes(self) -> Iterator[RouteTable]:
        if not self._route_tables():
            self._problems.append("routes: expected at least one [[routes]], with its double brackets")
        for number, table in enumerate(self._route_tables()):
            name = table.get("name", number) if isinstance(table, dict) else number
            route = self._bind(table, RouteTable, f"routes.{name}")
            if route is None:
                continue
            if not route.match.startswith("/"):
                self._problems.append(
                    f'routes.{name}.match: expected a path that starts with "/", found "{route.match}"'
                )
            yield route
