"""The snapshots that still run exchanges, newest last, and the life of the plugins in them.

`app.py` owns one. A plugin is started before the first snapshot that holds it becomes current, and stopped
once, when the last snapshot that holds it has ended its last exchange.
"""

import asyncio
from collections.abc import Iterable

from structlog.typing import FilteringBoundLogger

from proxy.engine.snapshot import Snapshot
from proxy.plugin import Plugin


class Generations:
    """See the module. Not for two changes at once: the caller holds a lock."""

    def __init__(self, first: Snapshot, log: FilteringBoundLogger) -> None:
        self.current = first
        self._alive = [first]
        self._log = log
        self._started: list[Plugin] = []  # in the order they were started
        self._retiring: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the first snapshot's plugins. Raises what a plugin raises, with none left running."""
        await self._start(self.current.plugins.values())

    async def adopt(self, snapshot: Snapshot) -> None:
        """Start what is new in it and make it current. Raises what a plugin raises; nothing has changed then."""
        fresh = [plugin for plugin in snapshot.plugins.values() if plugin not in self._started]
        await self._start(fresh)
        old = self.current
        self._alive.append(snapshot)
        self.current = snapshot
        task = asyncio.create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def stop(self) -> None:
        """Once no exchange runs any more: stop every plugin that was started."""
        if self._retiring:
            await asyncio.wait(self._retiring)
        await self._stop(self._started)

    async def _retire(self, old: Snapshot) -> None:
        await old.ended()
        self._alive.remove(old)
        held = [plugin for snapshot in self._alive for plugin in snapshot.plugins.values()]
        await self._stop([plugin for plugin in self._started if plugin not in held])

    async def _start(self, plugins: Iterable[Plugin]) -> None:
        begun: list[Plugin] = []
        try:
            for plugin in plugins:
                await plugin.start()
                begun.append(plugin)
                self._started.append(plugin)
        except BaseException:
            await self._stop(begun)
            raise

    async def _stop(self, plugins: Iterable[Plugin]) -> None:
        """Last started first. One that fails must not keep the others from writing what they hold."""
        for plugin in reversed(list(plugins)):
            self._started.remove(plugin)
            try:
                await plugin.stop()
            except Exception:
                self._log.exception("plugin_stop_failed", plugin=plugin.services.name)
