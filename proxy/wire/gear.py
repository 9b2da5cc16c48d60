"""What all relays of a process share; the listener makes one, each relay is handed it."""

from typing import final

from proxy.plugin import Clock
from proxy.wire.bounds import Bounds
from proxy.wire.credentials import Credentials
from proxy.wire.drains import Drains
from proxy.wire.pool import Pool
from proxy.wire.uploads import Uploads
from proxy.wire.watch import Watch


@final
class Gear:
    """See the module."""

    __slots__ = ("bounds", "clock", "credentials", "drains", "pool", "uploads", "watch")

    def __init__(
        self,
        pool: Pool,
        credentials: Credentials,
        drains: Drains,
        uploads: Uploads,
        clock: Clock,
        bounds: Bounds,
        watch: Watch,
    ) -> None:
        self.pool = pool
        self.credentials = credentials
        self.drains = drains
        self.uploads = uploads
        self.clock = clock
        self.bounds = bounds
        self.watch = watch
