"""How long the wire waits and how much it holds: `[server.timeouts]` and `[server.sizes]`, as it sees them."""

from typing import NamedTuple


class Bounds(NamedTuple):
    """Seconds and bytes; the meaning of each is written at its key in `config/schema.py`."""

    connect_seconds: float = 5
    first_byte_seconds: float = 600
    upstream_idle_seconds: float = 300
    caller_idle_seconds: float = 60
    keepalive_seconds: float = 75
    pool_idle_seconds: float = 15
    drain_seconds: float = 120
    shutdown_seconds: float = 30
    header_bytes: int = 16 << 10
    replay_bytes: int = 1 << 20
    spool_bytes: int = 128 << 20
