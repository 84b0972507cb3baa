"""The virtual clock: time moves when everything waits, and only then."""

import asyncio

import pytest

from twitor_fsm.clock import Clock
from twitor_fsm.testing import VirtualClock

HOUR = 3600.0


async def test_an_hour_passes_at_once(clock: VirtualClock) -> None:
    begin = clock.now()

    await clock.sleep(HOUR)

    assert clock.now() == clock.monotonic() == begin + HOUR
    assert clock.sleeps == [HOUR]


async def test_waits_at_the_same_time_pass_together_and_end_in_order(clock: VirtualClock) -> None:
    begin, ended = clock.now(), []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        ended.append((seconds, clock.now() - begin))

    await asyncio.gather(sleep(900.0), sleep(1.0), sleep(900.0), sleep(2.0))

    assert ended == [(1.0, 1.0), (2.0, 2.0), (900.0, 900.0), (900.0, 900.0)]


async def test_a_wait_that_is_over_gives_way_and_takes_no_time(clock: VirtualClock) -> None:
    begin, other = clock.now(), asyncio.Event()
    asyncio.get_running_loop().call_soon(other.set)

    await clock.sleep(0.0)
    await clock.sleep(-1.0)

    assert other.is_set()
    assert clock.now() == begin


async def test_time_stands_still_while_real_work_is_under_way(clock: VirtualClock) -> None:
    begin = clock.now()
    nap = asyncio.create_task(clock.sleep(HOUR))
    with clock.busy():
        await asyncio.to_thread(lambda: None)
        for _ in range(200):
            await asyncio.sleep(0)
        assert clock.now() == begin
        assert not nap.done()
    await nap

    assert clock.now() == begin + HOUR


async def test_a_session_that_is_at_work_is_not_overtaken(clock: VirtualClock) -> None:
    """Between two waits a task may need some turns of the loop; time does not move meanwhile."""
    begin = clock.now()
    nap = asyncio.create_task(clock.sleep(HOUR))
    for _ in range(10):
        await asyncio.sleep(0)
    await clock.sleep(1.0)

    assert clock.now() == begin + 1.0
    await nap


async def test_a_cancelled_wait_is_forgotten(clock: VirtualClock) -> None:
    begin = clock.now()
    long = asyncio.create_task(clock.sleep(HOUR))
    await asyncio.sleep(0)
    assert clock.sleepers == 1
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    await clock.sleep(2 * HOUR)

    assert clock.sleepers == 0
    assert clock.now() == begin + 2 * HOUR


async def test_held_time_moves_only_by_hand(clock: VirtualClock) -> None:
    begin = clock.now()
    clock.hold()
    naps = [asyncio.create_task(clock.sleep(seconds)) for seconds in (5.0, 50.0)]
    for _ in range(200):
        await asyncio.sleep(0)
    assert clock.now() == begin

    clock.advance(10.0)
    await naps[0]

    assert clock.now() == begin + 10.0
    assert clock.sleepers == 1
    clock.release()
    await naps[1]
    assert clock.now() == begin + 50.0


async def test_a_clock_that_is_set_forward_wakes_who_was_to_wake(clock: VirtualClock) -> None:
    nap = asyncio.create_task(clock.sleep(HOUR))
    await asyncio.sleep(0)
    clock.time += 2 * HOUR
    now = clock.now()
    await nap

    assert clock.now() == now


def test_time_does_not_advance_backwards() -> None:
    with pytest.raises(ValueError, match="Set `time` instead"):
        VirtualClock().advance(-1.0)


def test_waits_of_a_loop_that_is_gone_hold_up_no_other() -> None:
    clock: Clock = VirtualClock(5.0)

    async def wait_for_ever() -> None:
        await asyncio.wait_for(asyncio.shield(clock.sleep(10 * HOUR)), 10.0)

    for _ in range(2):
        asyncio.run(wait_for_ever())

    assert clock.now() == 5.0 + 20 * HOUR
