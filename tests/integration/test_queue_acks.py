"""When a task that `dequeue` handed out counts as done: by itself in one loop, never when work is handed to others."""

import asyncio
import logging
from typing import Any

import pytest
from valkey_server import QueueNames, until

from twitor_fsm.config import Settings
from twitor_fsm.queue_manager import DeadReason, QueueManager, QueueTask
from twitor_fsm.valkey.task_queue import Lease, Retried

SOON = Settings(initial_backoff=0.01)


def manager(names: QueueNames, **options: Any) -> QueueManager:
    chosen: dict[str, Any] = {"settings": SOON, "lease_s": 0.2} | options
    return QueueManager(names.url, names.name, **chosen)


async def in_flight(queue: QueueManager) -> int | None:
    return (await queue.health_check())["in_flight"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and "acknowledges nothing any more" in record.message
    ]


# -- one loop -------------------------------------------------------------------------------------


async def test_taking_the_next_task_acknowledges_the_one_before(names: QueueNames) -> None:
    async with manager(names) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(3)])
        for n in range(3):
            task = await queue.dequeue(timeout=0)
            assert task is not None
            assert task.payload["n"] == n
            assert await in_flight(queue) == 1
        assert await queue.dequeue(timeout=0) is None
        assert names.left() == set()


async def test_a_task_that_was_retried_is_not_acknowledged(names: QueueNames) -> None:
    async with manager(names) as queue:
        await queue.enqueue("x", {})
        tries: list[int] = []
        while len(tries) < 3:
            task = await queue.dequeue(timeout=5)
            assert task is not None
            tries.append(task.retry_count)
            if len(tries) < 3:
                assert await queue.retry_task(task)
        assert tries == [0, 1, 2]


async def test_leaving_acknowledges_the_last_one(names: QueueNames) -> None:
    async with manager(names) as queue:
        await queue.enqueue("x", {})
        assert await queue.dequeue(timeout=0)
    assert names.left() == set()

    queue = manager(names)
    await queue.connect()
    await queue.enqueue("x", {})
    assert await queue.dequeue(timeout=0)
    await queue.disconnect()
    await queue.disconnect()
    assert names.left() == set()


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
@pytest.mark.parametrize("way", ["finally", "context"])
async def test_leaving_with_an_error_gives_the_last_one_back(
    names: QueueNames, error: type[BaseException], way: str
) -> None:
    async def with_finally() -> None:
        queue = manager(names, lease_s=60)
        await queue.connect()
        try:
            assert await queue.dequeue(timeout=0)
            raise error
        finally:
            await queue.disconnect()

    async def with_context() -> None:
        async with manager(names, lease_s=60) as queue:
            assert await queue.dequeue(timeout=0)
            raise error

    async with manager(names) as other:
        await other.enqueue("x", {})
        with pytest.raises(error):
            await (with_finally() if way == "finally" else with_context())
        task = await other.dequeue(timeout=0)
        assert task is not None, "at once, not when its lease ends"
        assert task.retry_count == (1 if error is ValueError else 0), "a cancellation is no failure"


async def test_wait_for_around_dequeue_is_the_same_loop(
    names: QueueNames, caplog: pytest.LogCaptureFixture
) -> None:
    """On Python 3.11 `wait_for` runs `dequeue` in an asyncio task of its own, which ends at once."""
    async with manager(names, lease_s=0.15) as queue, manager(names) as other:
        await queue.enqueue_many([("x", {"n": n}) for n in range(3)])
        for n in range(3):
            task = await asyncio.wait_for(queue.dequeue(timeout=5), 10)
            assert task is not None
            assert task.payload["n"] == n
            if n == 1:
                await queue.pause()
                assert await other.dequeue(timeout=0.5) is None, "its lease is renewed"
                await queue.resume()
            assert await in_flight(queue) == 1
        assert await queue.dequeue(timeout=0) is None
    assert warnings(caplog) == []
    assert names.left() == set()


async def test_wait_for_that_runs_out_loses_no_task(names: QueueNames) -> None:
    async with manager(names, lease_s=60, ack="manual") as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(30)])
        found: list[int] = []
        for turns in range(60):  # cancelled at every point of the call
            taking = asyncio.create_task(queue.dequeue(timeout=5))
            for _ in range(turns):
                await asyncio.sleep(0)
            taking.cancel()
            try:
                task = await taking
            except asyncio.CancelledError:
                continue
            if task is not None:
                found.append(task.payload["n"])
                await queue.complete(task)
        await queue._now_open.claimer.close()
        assert await in_flight(queue) == 0
        while task := await queue.dequeue(timeout=0):
            assert task.retry_count == 0, "no try was used"
            found.append(task.payload["n"])
            await queue.complete(task)
        assert sorted(found) == list(range(30))


async def test_a_dequeue_that_nobody_looked_at_is_given_back_on_leaving(
    names: QueueNames, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue("x", {})
        taking = asyncio.create_task(queue.dequeue())
        await until(taking.done)  # it came just before whoever waited was told to stop
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
    async with manager(names, lease_s=60) as queue:
        task = await queue.dequeue(timeout=0)
        assert task is not None, "at once, not when its lease ends"
        assert task.retry_count == 0, "no try was used"
    assert "given back" in caplog.text
    assert names.left() == set()


async def test_wait_for_around_the_last_dequeue_is_acknowledged_on_leaving(
    names: QueueNames,
) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue("x", {})
        assert await asyncio.wait_for(queue.dequeue(), 10)
    assert names.left() == set()


# -- work handed to others ------------------------------------------------------------------------


async def test_a_second_asyncio_task_turns_it_off_with_one_warning(
    names: QueueNames, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(6)])

        async def worker() -> None:
            for _ in range(3):
                assert await queue.dequeue(timeout=5)

        await asyncio.gather(worker(), worker())
        assert len(warnings(caplog)) == 1
        done_before_it_showed = 6 - (await in_flight(queue) or 0)
        assert done_before_it_showed <= 1
        names.may_be_left |= names.left()


async def test_work_handed_to_asyncio_tasks_needs_manual(names: QueueNames) -> None:
    async with manager(names, ack="manual", lease_s=60) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(5)])
        go = asyncio.Event()

        async def work(task: QueueTask | None) -> None:
            assert task is not None
            await go.wait()
            assert await queue.complete(task)

        working = [asyncio.create_task(work(await queue.dequeue(timeout=0))) for _ in range(5)]
        assert await in_flight(queue) == 5, "none is acknowledged by taking the next"
        go.set()
        await asyncio.gather(*working)
        assert names.left() == set()


async def test_work_handed_to_asyncio_tasks_in_auto_loses_nothing_that_fails(
    names: QueueNames, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(2)])
        go = asyncio.Event()

        async def work(task: QueueTask | None) -> None:
            assert task is not None
            await go.wait()
            assert await queue.retry_task(task)

        working = [asyncio.create_task(work(await queue.dequeue(timeout=0))) for _ in range(2)]
        assert await in_flight(queue) == 1, "the first was acknowledged by taking the second"
        go.set()
        await asyncio.gather(*working)
        assert len(warnings(caplog)) == 1
        again = []
        for _ in range(2):
            task = await queue.dequeue(timeout=5)
            assert task is not None
            again.append((task.payload["n"], task.retry_count))
            assert await queue.complete(task)
        assert sorted(again) == [(0, 1), (1, 1)], "put back by retry_task"


async def test_overlapping_takes_turn_it_off(
    names: QueueNames, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager(names, lease_s=60) as queue:
        both = [asyncio.create_task(queue.dequeue(timeout=5)) for _ in range(2)]
        await asyncio.sleep(0)
        await queue.enqueue_many([("x", {}), ("x", {})])
        tasks = await asyncio.gather(*both)
        assert await in_flight(queue) == 2
        assert len(warnings(caplog)) == 1
        for task in tasks:
            assert task is not None
            await queue.complete(task)


async def test_manual_acknowledges_nothing_by_itself(names: QueueNames) -> None:
    async with manager(names, ack="manual", lease_s=60) as queue:
        await queue.enqueue_many([("x", {}), ("x", {})])
        assert await queue.dequeue(timeout=0)
        assert await queue.dequeue(timeout=0)
    async with manager(names) as queue:
        assert await in_flight(queue) == 2
        names.may_be_left |= names.left()


async def test_a_late_retry_puts_a_task_back_beside_an_older_dead_letter_of_its_id(
    names: QueueNames,
) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue("x", {"n": 1}, task_id="same")
        first = await queue.dequeue(timeout=0)
        assert first is not None
        await queue.reject(first)
        await queue.enqueue("x", {"n": 2}, task_id="same")
        await queue.enqueue("x", {"n": 3}, task_id="other")
        second = await queue.dequeue(timeout=0)
        other = await queue.dequeue(timeout=0)  # acknowledges the second
        assert second is not None
        assert other is not None
        assert await queue.retry_task(second)
        assert await queue.complete(other)
        again = await queue.dequeue(timeout=5)
        assert again is not None
        assert (again.task_id, again.payload, again.retry_count) == ("same", {"n": 2}, 1)
        assert await queue.complete(again)
        assert await queue.dead_letters.purge() == 1


async def test_a_late_reject_that_is_repeated_buries_once(names: QueueNames) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(2)])
        first, second = [await queue.dequeue(timeout=0) for _ in range(2)]
        assert first is not None
        assert second is not None
        scripts = queue._now_open.queue
        for _ in range(2):  # the first answer was lost
            answer = await scripts.retry(
                Lease(first.task_id, first.lease_token),
                delay_s=0,
                error="",
                final=DeadReason.REJECTED,
                restore=first,
            )
            assert answer is Retried.DEAD
        assert await in_flight(queue) == 1
        assert await queue.complete(second)
        assert await queue.dead_letters.purge() == 1


@pytest.mark.parametrize("how", ["the server lost it", "another has done it"])
@pytest.mark.parametrize("settle", ["retry_task", "reject"])
async def test_a_task_that_the_queue_knows_no_more_is_not_tried_again_and_says_so(
    names: QueueNames, how: str, settle: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        manager(names, ack="manual", lease_s=60) as queue,
        manager(names, ack="manual", lease_s=60) as other,
    ):
        await queue.enqueue("x", {})
        task = await queue.dequeue(timeout=0)
        assert task is not None
        with names.server.client() as client:
            if how == "the server lost it":
                client.flushall()
            else:
                client.zadd(names.key("leased"), {task.task_id: 0})
        if how == "another has done it":
            again = await other.dequeue(timeout=0)
            assert again is not None
            assert await other.complete(again)
        assert await getattr(queue, settle)(task) is False
        assert names.left() == set()
        assert "is in the queue no more and is not tried again" in caplog.text


@pytest.mark.parametrize(
    ("first", "how"),
    [
        ("complete", "completed"),
        ("retry_task", "given another try"),
        ("reject", "put into the dead letters"),
    ],
)
async def test_settling_a_task_again_says_how_it_was_settled(
    names: QueueNames, first: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager(names, ack="manual", settings=Settings(), lease_s=60) as queue:
        await queue.enqueue("x", {}, task_id="twice")
        task = await queue.dequeue(timeout=0)
        assert task is not None
        await getattr(queue, first)(task)
        assert caplog.messages == []

        assert await queue.complete(task) is False
        assert caplog.messages == [
            f"task 'twice' was {how} by this process before; nothing was changed. Settle each task once"
        ]
        caplog.clear()
        await queue.retry_task(task)
        assert not [said for said in caplog.messages if f"'twice' was {how} by" not in said]
        names.may_be_left |= names.left()


@pytest.mark.parametrize("settle", ["complete", "retry_task", "reject"])
async def test_a_handler_of_consume_may_settle_its_task_itself(
    names: QueueNames, settle: str, caplog: pytest.LogCaptureFixture
) -> None:
    stop = asyncio.Event()
    async with manager(names, settings=Settings(), lease_s=60) as queue:

        async def handler(task: QueueTask) -> None:
            await getattr(queue, settle)(task)
            stop.set()

        await queue.enqueue("x", {})
        await queue.consume(handler, stop=stop)
        assert caplog.messages == []
        names.may_be_left |= names.left()


async def test_a_task_that_another_has_is_tried_again_by_whom_has_it(names: QueueNames) -> None:
    async with (
        manager(names, ack="manual", lease_s=60) as queue,
        manager(names, ack="manual", lease_s=60) as other,
    ):
        await queue.enqueue("x", {})
        task = await queue.dequeue(timeout=0)
        assert task is not None
        with names.server.client() as client:
            client.zadd(names.key("leased"), {task.task_id: 0})
        again = await other.dequeue(timeout=0)
        assert again is not None
        assert await queue.retry_task(task) is True
        assert await other.complete(again)


# -- two connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("connections", [1, 2])
async def test_waiting_dequeues_do_not_starve_acknowledgements(
    names: QueueNames, connections: int
) -> None:
    async with manager(names, ack="manual", max_connections=connections) as queue:
        await queue.enqueue_many([("x", {}) for _ in range(5)])
        taken = [await queue.dequeue(timeout=0) for _ in range(5)]
        waiting = [asyncio.create_task(queue.dequeue(timeout=20)) for _ in range(20)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            for task in taken:
                assert task is not None
                assert await queue.complete(task)
        await queue.enqueue_many([("x", {"n": n}) for n in range(20)])
        found = await asyncio.gather(*waiting)
        assert sorted(task.payload["n"] for task in found if task) == list(range(20))
        for task in found:
            assert task is not None
            await queue.complete(task)


async def test_the_pool_is_bounded(names: QueueNames) -> None:
    async with manager(names, max_connections=3) as queue:
        waiting = [asyncio.create_task(queue.dequeue(timeout=0.3)) for _ in range(50)]
        with names.server.client() as client:
            others = len(client.client_list()) - 1
            await until(lambda: sum(one.done() for one in waiting) == 50)
            assert others <= 3
        await asyncio.gather(*waiting)


# -- consume --------------------------------------------------------------------------------------


async def test_consume_retries_what_raises_and_completes_what_returns(names: QueueNames) -> None:
    async with manager(names, max_retries=1) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(10)])
        tries: list[tuple[int, int]] = []
        stop = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            tries.append((task.payload["n"], task.retry_count))
            if len(tries) == 13:
                stop.set()
            if task.payload["n"] in {2, 5} or (task.payload["n"], task.retry_count) == (7, 0):
                raise ValueError("no")

        await queue.consume(handler, concurrency=3, stop=stop)
        assert sorted(tries) == sorted([(n, 0) for n in range(10)] + [(2, 1), (5, 1), (7, 1)])
        dead = await queue.get_dead_letter_tasks()
        assert sorted(task.payload["n"] for task in dead if isinstance(task.payload, dict)) == [
            2,
            5,
        ]
        assert {task.last_error for task in dead} == {"ValueError"}
        await queue.dead_letters.purge()
    assert names.left() == set()


async def test_cancelling_consume_gives_back_what_runs(names: QueueNames) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(12)])
        started = []

        async def handler(task: QueueTask) -> None:
            started.append(task.payload["n"])
            if task.payload["n"] > 3:
                await asyncio.Event().wait()

        consuming = asyncio.create_task(queue.consume(handler, concurrency=5))
        await until(lambda: len(started) == 9)
        consuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consuming
        health = await queue.health_check()
        assert (health["queue_size"], health["in_flight"]) == (8, 0)
        left = []
        while task := await queue.dequeue(timeout=0):
            assert task.retry_count == 0
            left.append(task.payload["n"])
        assert sorted(left) == list(range(4, 12))


async def test_a_lost_lease_cancels_its_handler(names: QueueNames) -> None:
    async with manager(names, lease_s=0.3) as queue, manager(names, ack="manual") as other:
        await queue.enqueue("x", {})
        ended: list[str] = []
        stop = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            if task.retry_count:
                stop.set()
                return
            with names.server.client() as client:  # as if this process had been frozen for a lease
                client.zadd(names.key("leased"), {task.task_id: 0})
            taken = await other.dequeue(timeout=0)
            assert taken is not None
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
                assert await other.retry_task(taken)

        await queue.consume(handler, stop=stop)
        assert ended == ["cancelled"]


async def test_a_task_taken_again_by_the_same_consumer_runs_once(names: QueueNames) -> None:
    async with manager(names, lease_s=60) as queue:
        await queue.enqueue("x", {})
        ended: list[str] = []
        stop = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            if task.retry_count:
                stop.set()
                return
            with names.server.client() as client:
                client.zadd(names.key("leased"), {task.task_id: 0})
            await queue.enqueue(
                "y", {}, delay=60
            )  # news: the consumer looks, and finds the lease ended
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        await queue.consume(handler, stop=stop)
        assert ended == ["cancelled"]
        names.may_be_left |= names.left()


async def test_stop_finishes_what_runs_and_takes_nothing_more(names: QueueNames) -> None:
    async with manager(names) as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(10)])
        stop = asyncio.Event()
        go = asyncio.Event()
        done = []

        async def handler(task: QueueTask) -> None:
            if task.payload["n"] == 1:
                stop.set()
                asyncio.get_running_loop().call_soon(go.set)
            await go.wait()
            done.append(task.payload["n"])

        await queue.consume(handler, concurrency=4, stop=stop)
        assert done == [0, 1, 2, 3]
        assert await in_flight(queue) == 0
        assert await queue.size() == 6
        names.may_be_left |= names.left()
