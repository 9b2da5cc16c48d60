"""The routes file as typed settings: what each table may hold, with its defaults.

`load.py` fills these; `engine/` and `app.py` read them; `weir schema` publishes them. Unknown keys are
refused. A comment behind a field is its reference documentation.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from proxy.endpoint import Endpoint
from proxy.exchange import OnDisconnect
from proxy.plugin import Plugin
from proxy.team import Team, Window
from proxy.units import Bytes, Seconds, Secret


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table: immutable, and deaf to keys it does not know."""


class Timeouts(Table, frozen=True, kw_only=True):
    """How long we wait for either side. Each runs out only while nothing moves."""

    connect: Seconds = Seconds(5)  # TCP and TLS to an endpoint
    first_byte: Seconds = Seconds(600)  # from the request's last byte up; a 4K image or a long thought takes minutes
    flex_first_byte: Seconds = Seconds(1800)  # the same for a request that asks for the flex tier
    upstream_idle: Seconds = Seconds(300)  # between two pieces of an answer
    caller_idle: Seconds = Seconds(60)  # a caller that stops sending its body, or stops reading its answer
    keepalive: Seconds = Seconds(75)  # an idle connection of a caller, and the time to send a head
    pool_idle: Seconds = Seconds(15)  # an idle connection to an endpoint; below what any front end keeps
    drain: Seconds = Seconds(120)  # reading on after the caller left
    shutdown: Seconds = Seconds(30)  # exchanges in flight at a stop


class Sizes(Table, frozen=True, kw_only=True):
    """Bounds on what one exchange may hold in memory or on disk."""

    header: Bytes = Bytes(16 << 10)  # one header field, or the request line
    replay: Bytes = Bytes(1 << 20)  # of a request body kept in memory to send again at a failover
    spool: Bytes = Bytes(128 << 20)  # of a request body kept on disk when a plugin must read it whole
    drain: Bytes = Bytes(64 << 20)  # of an answer read on after its caller left
    message: Bytes = Bytes(32 << 20)  # one message of a WebSocket session, which is held whole


class Tls(Table, frozen=True, kw_only=True):
    """PEM files; a changed pair is taken for new connections."""

    certificate: Path  # with its chain
    key: Path


class Server(Table, frozen=True, kw_only=True):
    """`[server]`"""

    listen: str = "127.0.0.1:8080"
    admin: str = "127.0.0.1:9090"  # /healthz /readyz /metrics /status /explain
    tls: Tls | None = None  # listen for HTTPS
    workers: int = 1  # processes; worker K has its admin listener on the port of `admin` plus K
    connections: int = 10_000  # of callers, in each process; 503 and closed beyond
    road: Literal["fast", "plain"] = "fast"  # to the endpoints; plain: aiohttp's client, slower, should ours fail you
    drains: int = 100  # answers read on at once after their callers left; the next is hung up on
    store: str = "memory"
    state: Path = msgspec.field(default_factory=lambda: Path("var"))  # the usage log's folder
    prices: Path | None = None  # the price file; None: prices.toml beside the routes file, where there is one
    public_url: str | None = None  # what callers call us, where it is not what their Host header says
    seal: Secret | None = None  # of upload addresses; at least 32 characters. None: made anew at each start
    upload_life: Seconds = Seconds(6 * 3600)  # of an upload's address, also when its key is revoked meanwhile
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    sizes: Sizes = msgspec.field(default_factory=Sizes)


class CredentialTable(Table, frozen=True, kw_only=True):
    """One of the two: an API key, or a Google account for google-auth."""

    api_key: Secret | None = None
    google: str | None = None  # "default", or a service account's file


class EndpointTable(Table, frozen=True, kw_only=True):
    """`[[upstreams.NAME.endpoints]]`"""

    name: str
    url: str
    region: str = "global"
    priority: int = 0  # lower first
    weight: int = 1  # share within one priority
    credential: CredentialTable | None = None


class UpstreamTable(Table, frozen=True, kw_only=True):
    """`[upstreams.NAME]`"""

    endpoints: list[EndpointTable]


class LimitTable(Table, frozen=True, kw_only=True):
    """One of `requests`, `tokens`, `images` with `per`, or `concurrent` alone."""

    requests: int | None = None
    tokens: int | None = None
    images: int | None = None
    concurrent: int | None = None
    per: Window | None = None


class TeamTable(Table, frozen=True, kw_only=True):
    """`[teams.NAME]`"""

    parent: str | None = None
    tier: str | None = None
    models: list[str] = []
    regions: list[str] = []
    limits: list[LimitTable] = []
    prices: str | None = None  # a list of the price file; None: the parent's, or else what Google charges


class RouteTable(Table, frozen=True, kw_only=True):
    """`[[routes]]`: the first whose `match` fits takes the exchange."""

    name: str
    match: str  # a path; `*` within a segment, `**` across
    upstream: str
    plugins: list[str] = []  # outermost first
    on_disconnect: OnDisconnect = "drain"
    hidden_usage: Literal["refuse", "allow"] = "refuse"  # of fields=, alt=proto, callback= on calls that run a model


class RoutesFile(Table, frozen=True, kw_only=True):
    """The whole file; a plugin's table is bound to the plugin's own Config."""

    server: Server = msgspec.field(default_factory=Server)
    upstreams: dict[str, UpstreamTable]
    teams: dict[str, TeamTable] = {}
    plugins: dict[str, dict[str, Any]] = {}
    routes: list[RouteTable]


class PluginSettings(msgspec.Struct, frozen=True):
    """One plugin's table, bound. Equal settings keep the plugin's instance across a reload."""

    name: str  # of its table
    plugin: type[Plugin]
    config: Any


class Settings(msgspec.Struct, frozen=True):
    """A routes file that passed every check."""

    file: Path
    server: Server
    upstreams: dict[str, tuple[Endpoint, ...]]
    teams: dict[str, Team]
    plugins: dict[str, PluginSettings]
    routes: tuple[RouteTable, ...]
    warnings: tuple[str, ...] = ()
