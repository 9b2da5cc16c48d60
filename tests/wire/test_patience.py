"""Waits that end in time, for a reason, and leave later waits and real cancellations alone."""

import asyncio

import pytest

from proxy.wire.patience import Interrupted, Patience
from proxy.wire.watch import Watch


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def at_once() -> str:
    return "done"


async def test_what_is_awaited_comes_back() -> None:
    assert await Patience(Watch()).wait(at_once(), 10, "late") == "done"


async def test_a_wait_runs_out_for_its_reason() -> None:
    with pytest.raises(Interrupted) as caught:
        await Patience(Watch()).wait(forever(), 0.01, "too_slow")
    assert caught.value.reason == "too_slow"


async def test_a_later_wait_has_its_own_time() -> None:
    patience = Patience(Watch())
    for reason in ("first", "second"):
        with pytest.raises(Interrupted) as caught:
            await patience.wait(forever(), 0.01, reason)
        assert caught.value.reason == reason
    assert await patience.wait(at_once(), 0.01, "third") == "done"


async def test_a_shorter_wait_after_a_longer_one() -> None:
    patience = Patience(Watch())
    await patience.wait(at_once(), 1000, "long")
    async with asyncio.timeout(60):
        with pytest.raises(Interrupted):
            await patience.wait(forever(), 0.01, "short")


async def test_a_longer_wait_is_not_cut_by_an_earlier_timer() -> None:
    patience = Patience(Watch())
    await patience.wait(at_once(), 0.01, "short")
    assert await patience.wait(asyncio.sleep(0.05, "slept"), 1000, "long") == "slept"


async def test_an_interruption_ends_this_wait_and_all_later_ones() -> None:
    patience = Patience(Watch())
    asyncio.get_running_loop().call_soon(patience.interrupt, "caller_left")
    for _ in range(2):
        with pytest.raises(Interrupted) as caught:
            await patience.wait(forever(), 1000, "late")
        assert caught.value.reason == "caller_left"


async def test_a_real_cancellation_stays_one() -> None:
    patience = Patience(Watch())
    task = asyncio.create_task(patience.wait(forever(), 1000, "late"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_the_task_goes_on_after_an_interruption() -> None:
    """`uncancel` was called: a timeout or task group around it must not think it was cancelled."""

    async def works_on() -> str:
        patience = Patience(Watch())
        with pytest.raises(Interrupted):
            await patience.wait(forever(), 0.01, "late")
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with asyncio.timeout(60):
            return await at_once()

    assert await asyncio.create_task(works_on()) == "done"


async def test_an_exception_passes() -> None:
    async def fails() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await Patience(Watch()).wait(fails(), 10, "late")


async def test_a_real_cancellation_at_the_same_moment_wins() -> None:
    patience = Patience(Watch())
    task = asyncio.create_task(patience.wait(forever(), 1000, "late"))
    await asyncio.sleep(0)
    patience.interrupt("caller_left")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_makes_something_else_of_the_cancellation_leaves_no_trace() -> None:
    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise ConnectionResetError from None

    patience = Patience(Watch())
    with pytest.raises(ConnectionResetError):
        await patience.wait(stubborn(), 0.01, "late")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(Interrupted):
        await patience.wait(forever(), 0.01, "late again")


async def test_a_wait_that_moves_on_is_not_over() -> None:
    patience = Patience(Watch())

    async def moves() -> str:
        for _ in range(8):
            await asyncio.sleep(0.02)
            patience.extend()
        return "moved"

    assert await patience.wait(moves(), 0.1, "late") == "moved"


async def test_a_future_is_outlasted_or_comes() -> None:
    loop = asyncio.get_running_loop()
    patience = Patience(Watch())
    comes: asyncio.Future[str] = loop.create_future()
    loop.call_soon(comes.set_result, "done")
    assert await patience.outlast(comes, 1000, "late") == "done"
    for reason in ("first", "second"):
        with pytest.raises(Interrupted) as caught:
            await patience.outlast(loop.create_future(), 0.01, reason)
        assert caught.value.reason == reason


async def test_an_interruption_ends_the_wait_for_a_future_and_all_later_ones() -> None:
    loop = asyncio.get_running_loop()
    patience = Patience(Watch())
    loop.call_soon(patience.interrupt, "caller_left")
    for _ in range(2):
        with pytest.raises(Interrupted) as caught:
            await patience.outlast(loop.create_future(), 1000, "late")
        assert caught.value.reason == "caller_left"


async def test_a_future_that_came_is_not_ended_by_an_interruption_behind_it() -> None:
    loop = asyncio.get_running_loop()
    patience = Patience(Watch())
    comes: asyncio.Future[str] = loop.create_future()

    def at_once() -> None:
        comes.set_result("done")
        patience.interrupt("caller_left")

    loop.call_soon(at_once)
    assert await patience.outlast(comes, 1000, "late") == "done"


async def test_a_real_cancellation_of_who_outlasts_a_future_stays_one() -> None:
    patience = Patience(Watch())
    task = asyncio.create_task(patience.outlast(asyncio.get_running_loop().create_future(), 1000, "late"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_reprieve_is_asked_for_once_and_only_when_time_is_up() -> None:
    patience, asked = Patience(Watch()), []

    def reprieve() -> float:
        asked.append(len(asked))
        return 30.0 if len(asked) == 1 else 0.01

    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    patience.reprieve = reprieve
    asyncio.get_running_loop().call_later(0.02, future.set_result, "late, and in time")
    assert await patience.outlast(future, 0.01, "late") == "late, and in time"
    assert asked == [0]
    with pytest.raises(Interrupted):
        await patience.outlast(asyncio.get_running_loop().create_future(), 0.01, "late")
    assert asked == [0]
    patience.reprieve = reprieve
    with pytest.raises(Interrupted):
        await patience.outlast(asyncio.get_running_loop().create_future(), 0.01, "late")
    assert asked == [0, 1]
