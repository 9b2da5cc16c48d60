"""The memory store: windows, gauges, leases, and the promises that hold whatever the order of calls."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import Denied, Grant, Take, Window
from proxy.stores.memory import MemoryStore
from tests.support import ManualClock

MIDNIGHT = 1_750_032_000.0  # 2025-06-16T00:00:00Z
SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 31 * 86400.0}


class Bench:
    """A store with its clock, and takes of one counter."""

    def __init__(self, now: float = MIDNIGHT) -> None:
        self.clock = ManualClock(now)
        self.store = MemoryStore(self.clock)

    async def take(
        self, amount: int = 1, ceiling: int = 10, window: Window | None = "minute", *, lease: float = 3600.0
    ) -> Grant | Denied:
        return self.store.take([Take("c", amount, ceiling, window)], lease_seconds=lease)

    async def granted(self, amount: int = 1, ceiling: int = 10, window: Window | None = "minute") -> Grant:
        grant = await self.take(amount, ceiling, window)
        assert isinstance(grant, Grant)
        return grant

    async def denied(self, amount: int = 1, ceiling: int = 10, window: Window | None = "minute") -> Denied:
        denied = await self.take(amount, ceiling, window)
        assert isinstance(denied, Denied)
        return denied

    async def used(self, window: Window | None = "minute") -> int:
        return await self.store.used(Take("c", 0, 0, window))


async def test_a_window_grants_up_to_its_ceiling_and_says_what_is_used() -> None:
    bench = Bench()
    await bench.granted(7)
    denied = await bench.denied(4)
    assert (denied.take.counter, denied.used) == ("c", 7)
    await bench.granted(3)
    assert await bench.used() == 10


async def test_a_sliding_window_has_no_double_burst_at_its_border() -> None:
    bench = Bench()
    bench.clock.now += 0.5
    await bench.granted(10)
    bench.clock.now += 60.0  # a fixed window would grant ten more from here on
    assert (await bench.denied()).used == 10
    bench.clock.now += 6.0  # a tenth of the first ten has aged away
    await bench.granted(1)
    assert (await bench.denied()).used == 10


async def test_a_sliding_window_forgets_after_two_lengths() -> None:
    bench = Bench()
    await bench.granted(10)
    bench.clock.now += 120.0
    assert await bench.used() == 0
    await bench.granted(10)


@pytest.mark.parametrize(
    ("window", "start", "wait"),
    [
        ("day", MIDNIGHT + 3600.0, 82_800.0),
        ("day", MIDNIGHT + 86_399.5, 0.5),
        ("month", MIDNIGHT, 15 * 86_400.0),  # 16 June to 1 July
        ("month", 1_709_078_400.0, 2 * 86_400.0),  # 28 February of a leap year to 1 March
    ],
)
async def test_days_and_months_are_those_of_the_calendar(window: Window, start: float, wait: float) -> None:
    bench = Bench(start)
    await bench.granted(10, window=window)
    assert (await bench.denied(window=window)).retry_after == wait
    bench.clock.now += wait
    await bench.granted(10, window=window)


async def test_december_ends_with_the_year() -> None:
    bench = Bench(1_767_225_599.0)  # 2025-12-31T23:59:59Z
    await bench.granted(10, window="month")
    assert (await bench.denied(window="month")).retry_after == 1.0


async def test_a_take_over_several_counters_is_all_or_nothing() -> None:
    bench = Bench()
    first, second = Take("team", 3, 10, "minute"), Take("parent", 3, 2, "minute")
    denied = bench.store.take([first, second], lease_seconds=60.0)
    assert isinstance(denied, Denied)
    assert denied.take == second
    assert await bench.store.used(first) == 0


async def test_a_refusal_names_the_counter_that_waits_longest() -> None:
    bench = Bench()
    minute, day = Take("m", 1, 1, "minute"), Take("d", 1, 1, "day")
    assert isinstance(bench.store.take([minute, day], lease_seconds=60.0), Grant)
    denied = bench.store.take([minute, day], lease_seconds=60.0)
    assert isinstance(denied, Denied)
    assert (denied.take, denied.retry_after) == (day, 86_400.0)


async def test_what_can_never_fit_has_no_retry_after() -> None:
    bench = Bench()
    denied = bench.store.take([Take("m", 1, 1, "minute"), Take("d", 11, 10, "day")], lease_seconds=60.0)
    assert isinstance(denied, Denied)
    assert (denied.take.counter, denied.used, denied.retry_after) == ("d", 0, None)


async def test_a_full_gauge_has_no_retry_after_and_opens_when_settled() -> None:
    bench = Bench()
    grant = await bench.granted(1, 1, None)
    assert (await bench.denied(1, 1, None)).retry_after is None
    bench.store.settle(grant, {})
    await bench.granted(1, 1, None)


async def test_a_gauge_comes_back_whatever_was_used() -> None:
    bench = Bench()
    bench.store.settle(await bench.granted(2, window=None), {"c": 2})
    assert await bench.used(None) == 0


async def test_settling_replaces_what_was_taken_overshoot_included() -> None:
    bench = Bench()
    bench.store.settle(await bench.granted(8), {"c": 3})
    assert await bench.used() == 3
    bench.store.settle(await bench.granted(2), {"c": 20})
    assert await bench.used() == 23
    assert (await bench.denied()).used == 23


async def test_settling_twice_changes_nothing() -> None:
    bench = Bench()
    grant = await bench.granted(8)
    bench.store.settle(grant, {"c": 3})
    bench.store.settle(grant, {})
    assert await bench.used() == 3


async def test_settling_late_adjusts_the_bucket_it_was_taken_in() -> None:
    bench = Bench()
    grant = await bench.granted(10)
    bench.clock.now += 90.0  # the bucket is the previous one now, half of it aged away
    assert await bench.used() == 5
    bench.store.settle(grant, {"c": 4})
    assert await bench.used() == 2


async def test_settling_after_the_window_forgot_changes_nothing() -> None:
    bench = Bench()
    for window, seconds in (("minute", 200.0), ("day", 90_000.0)):
        grant = await bench.granted(10, window=window)  # type: ignore[arg-type]
        bench.clock.now += seconds
        await bench.granted(1, window=window)  # type: ignore[arg-type]
        bench.store.settle(grant, {"c": 500})
        assert await bench.used(window) == 1  # type: ignore[arg-type]


async def test_a_lease_that_ran_out_frees_the_gauge_and_leaves_the_window() -> None:
    bench = Bench()
    held, counted = Take("held", 1, 5, None), Take("counted", 4, 5, "hour")
    grant = bench.store.take([held, counted], lease_seconds=30.0)
    assert isinstance(grant, Grant)
    bench.clock.now += 30.0
    assert (await bench.store.used(held), await bench.store.used(counted)) == (0, 4)
    bench.store.settle(grant, {})
    assert (await bench.store.used(held), await bench.store.used(counted)) == (0, 4)


async def test_leases_that_run_out_one_after_the_other_come_back_within_a_second() -> None:
    bench = Bench()
    grants = [await bench.take(1, 3, None, lease=lease) for lease in (30.0, 30.2, 3600.0)]
    assert (await bench.denied(1, 3, None)).used == 3
    bench.clock.now += 30.0
    await bench.granted(1, 3, None)
    bench.clock.now += 1.0
    await bench.granted(1, 3, None)
    for grant in grants[:2]:
        assert isinstance(grant, Grant)
        bench.store.settle(grant, {})  # too late: nothing comes back twice
    assert (await bench.denied(1, 3, None)).used == 3


async def test_a_lease_that_ran_out_unnoticed_is_not_settled() -> None:
    bench = Bench()
    first = await bench.take(1, 5, None, lease=30.0)
    held, counted = Take("c", 1, 5, None), Take("counted", 4, 5, "hour")
    second = bench.store.take([held, counted], lease_seconds=30.2)
    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    bench.clock.now += 30.0
    assert await bench.used(None) == 1
    bench.clock.now += 0.3  # nobody has looked since
    bench.store.settle(second, {"counted": 1})
    assert (await bench.used(None), await bench.store.used(counted)) == (0, 4)


async def test_a_ceiling_applies_at_once() -> None:
    bench = Bench()
    await bench.granted(5, 10)
    assert (await bench.denied(1, 5)).retry_after is not None
    await bench.granted(1, 6)


async def test_a_negative_take_is_an_error_and_takes_nothing() -> None:
    bench = Bench()
    with pytest.raises(ValueError, match="gift"):
        bench.store.take([Take("a", 1, 5, "minute"), Take("b", -1, 5, "minute")], lease_seconds=1.0)
    assert await bench.store.used(Take("a", 0, 0, "minute")) == 0


async def test_memory_is_bounded_by_what_lives() -> None:
    bench = Bench()
    for number in range(20_000):
        bench.clock.now += 1.0
        take = [Take(f"c{number}", 1, 5, "second"), Take(f"g{number}", 1, 5, None)]
        grant = bench.store.take(take, lease_seconds=3600.0)
        assert isinstance(grant, Grant)
        bench.store.settle(grant, {f"c{number}": 1})
    assert bench.store._size() <= 1024
    assert not bench.store._leases


def test_a_take_is_answered_and_settled_at_once() -> None:
    store = Bench().store
    grant = store.take([Take("c", 1, 5, "minute")], 60.0)
    assert isinstance(grant, Grant)
    assert store.settle(grant, {"c": 1}) is None


WINDOWS = st.sampled_from(["second", "minute", "hour", "day", "month"])
GAPS = st.floats(min_value=0.0, max_value=1.5).map(lambda share: round(share, 3))


@given(WINDOWS, st.integers(1, 1000), st.lists(st.tuples(GAPS, st.integers(0, 400)), max_size=40))
def test_honest_traffic_never_passes_its_ceiling(window: Window, ceiling: int, calls: list[tuple[float, int]]) -> None:
    async def drive() -> None:
        bench = Bench()
        for gap, amount in calls:
            bench.clock.now += gap * SECONDS[window]
            answer = await bench.take(amount, ceiling, window)
            if isinstance(answer, Grant):
                bench.store.settle(answer, {"c": amount})
            assert await bench.used(window) <= ceiling

    asyncio.run(drive())


@given(WINDOWS, st.integers(1, 1000), st.lists(st.tuples(GAPS, st.integers(0, 400), st.integers(0, 500))))
def test_retry_after_is_enough_and_hardly_more(
    window: Window, ceiling: int, calls: list[tuple[float, int, int]]
) -> None:
    async def drive() -> None:
        bench = Bench()
        for gap, amount, used in calls:
            bench.clock.now += gap * SECONDS[window]
            answer = await bench.take(amount, ceiling, window)
            if isinstance(answer, Grant):
                bench.store.settle(answer, {"c": used})  # also overshoots, as real answers do
            elif amount > ceiling:
                assert answer.retry_after is None
            else:
                assert answer.retry_after is not None
                denied_at = bench.clock.now
                bench.clock.now = denied_at + answer.retry_after - 10e-6
                if bench.clock.now > denied_at:
                    assert isinstance(await bench.take(amount, ceiling, window), Denied)
                bench.clock.now = denied_at + answer.retry_after
                assert isinstance(await bench.take(amount, ceiling, window), Grant)

    asyncio.run(drive())


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 50.0), st.sampled_from(["settle", "leave"]))))
def test_gauges_are_empty_when_all_is_over(calls: list[tuple[int, float, str]]) -> None:
    async def drive() -> None:
        bench = Bench()
        grants: list[Grant] = []
        for amount, gap, _ in calls:
            bench.clock.now += gap
            answer = await bench.take(amount, 12, None, lease=100.0)
            assert 0 <= await bench.used(None) <= 12
            if isinstance(answer, Grant):
                grants.append(answer)
        await settle_all(bench, (grant for grant, call in zip(grants, calls, strict=False) if call[2] == "settle"))
        bench.clock.now += 100.0
        assert await bench.used(None) == 0

    asyncio.run(drive())


async def settle_all(bench: Bench, grants: Iterable[Grant]) -> None:
    for grant in grants:
        bench.store.settle(grant, {})
