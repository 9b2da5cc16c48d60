"""What all relays of a process share; the listener makes one, each relay is handed it."""

from typing import NamedTuple

from proxy.plugin import Clock
from proxy.wire.bounds import Bounds
from proxy.wire.credentials import Credentials
from proxy.wire.drains import Drains
from proxy.wire.pool import Pool
from proxy.wire.uploads import Uploads
from proxy.wire.watch import Watch


class Gear(NamedTuple):
    """See the module."""

    pool: Pool
    credentials: Credentials
    drains: Drains
    uploads: Uploads
    clock: Clock
    bounds: Bounds
    watch: Watch
