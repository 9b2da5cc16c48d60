"""How long the wire waits and how much it holds: `[server.timeouts]` and `[server.sizes]`, as it sees them."""

from typing import Literal, NamedTuple


class Bounds(NamedTuple):
    """Seconds and bytes; meaning and default of each stand at its key in `config/schema.py`."""

    connect_seconds: float
    first_byte_seconds: float
    flex_first_byte_seconds: float
    upstream_idle_seconds: float
    caller_idle_seconds: float
    keepalive_seconds: float
    pool_idle_seconds: float
    drain_seconds: float
    shutdown_seconds: float
    header_bytes: int
    replay_bytes: int
    spool_bytes: int
    drain_bytes: int
    message_bytes: int
    drains: int
    connections: int
    road: Literal["fast", "plain"]
