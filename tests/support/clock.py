"""A clock that moves only when a test says so."""

import asyncio


class ManualClock:
    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self.now = now
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Move on, and let everything that was waiting for it run."""
        self.now += seconds
        for due, waiter in [sleeper for sleeper in self._sleepers if sleeper[0] <= self.now]:
            self._sleepers.remove((due, waiter))
            if not waiter.done():
                waiter.set_result(None)
        for _ in range(10):
            await asyncio.sleep(0)
