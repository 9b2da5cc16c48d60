"""One timer for all who wait: everybody runs out once, in time, and nobody who left."""

import asyncio

from proxy.wire.watch import Watch


class Waits:
    def __init__(self, watch: Watch, seconds: float) -> None:
        self.deadline = watch.now() + seconds
        self.ran_out = asyncio.Event()
        self.ran_out_at: list[float] = []
        self._watch = watch

    def run_out(self) -> None:
        self.ran_out_at.append(self._watch.now())
        self.ran_out.set()


async def test_each_runs_out_at_its_own_time_whatever_came_first() -> None:
    watch = Watch()
    late, never, soon = (Waits(watch, seconds) for seconds in (0.05, 1000.0, 0.01))
    for waits in (late, never, soon):
        watch.add(waits)
    async with asyncio.timeout(60):
        await soon.ran_out.wait()
        await late.ran_out.wait()
    for waits in (soon, late):
        (at,) = waits.ran_out_at
        assert at >= waits.deadline
    assert never.ran_out_at == []
    watch.close()


async def test_who_left_does_not_run_out() -> None:
    watch = Watch()
    left, stays = Waits(watch, 0.01), Waits(watch, 0.01)
    watch.add(left)
    watch.add(stays)
    watch.discard(left)
    watch.discard(left)
    async with asyncio.timeout(60):
        await stays.ran_out.wait()
    assert not left.ran_out.is_set()


async def test_a_deadline_that_moved_is_found_out_when_the_timer_rings() -> None:
    watch = Watch()
    moves, other = Waits(watch, 0.01), Waits(watch, 0.03)
    watch.add(moves)
    watch.add(other)
    moves.deadline = watch.now() + 0.06
    async with asyncio.timeout(60):
        await other.ran_out.wait()
        await moves.ran_out.wait()
    assert moves.ran_out_at[0] >= moves.deadline


async def test_who_runs_out_may_wait_anew_at_once() -> None:
    watch = Watch()

    class Again(Waits):
        times = 0

        def run_out(self) -> None:
            self.times += 1
            if self.times == 3:
                super().run_out()
            else:
                self.deadline = watch.now() + 0.01
                watch.add(self)

    again = Again(watch, 0.01)
    watch.add(again)
    async with asyncio.timeout(60):
        await again.ran_out.wait()
    assert again.times == 3


async def test_a_closed_watch_rings_for_nobody() -> None:
    watch = Watch()
    waits = Waits(watch, 0.01)
    watch.add(waits)
    watch.close()
    await asyncio.sleep(0.03)
    assert not waits.ran_out.is_set()
