"""Arguments of the wrong type are refused in the queue's own words, and touch nothing: neither a task nor a connection."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from valkey_server import QueueNames

from twitor_fsm.config import Settings
from twitor_fsm.errors import ConfigurationError, TaskRefused, TwitorError
from twitor_fsm.queue_manager import QueueManager, QueueTask

Call = Callable[[Any, QueueTask], Awaitable[object]]

REFUSED: dict[str, tuple[Call, str]] = {
    "dequeue('x')": (lambda q, _: q.dequeue(timeout="x"), "timeout is 'x'"),
    "dequeue(nan)": (lambda q, _: q.dequeue(timeout=math.nan), "timeout is nan"),
    "dequeue(huge)": (lambda q, _: q.dequeue(timeout=10**400), "timeout is 10000"),
    "dequeue(True)": (lambda q, _: q.dequeue(timeout=True), "timeout is True"),
    "complete(None)": (lambda q, _: q.complete(None), "task is a NoneType"),
    "complete(id)": (lambda q, t: q.complete(t.task_id), "task is a str"),
    "retry_task(None)": (lambda q, _: q.retry_task(None), "task is a NoneType"),
    "reject(None)": (lambda q, _: q.reject(None), "task is a NoneType"),
    "reject(_, 'x')": (lambda q, t: q.reject(t, "x"), "reason is 'x', allowed is failed"),
    "reject(_, [])": (lambda q, t: q.reject(t, []), "reason is \\[\\]"),
    "consume(None)": (lambda q, _: q.consume(None), "handler is None"),
    "consume(_, 1.5)": (lambda q, _: q.consume(print, 1.5), "concurrency is 1.5"),
    "peek('x')": (lambda q, _: q.peek("x"), "limit is 'x'"),
    "peek(1.5)": (lambda q, _: q.peek(1.5), "limit is 1.5"),
    "dead('x')": (lambda q, _: q.get_dead_letter_tasks("x"), "limit is 'x'"),
    "dead.retry(None)": (lambda q, _: q.dead_letters.retry(None), "task_id is None"),
    "dead.purge(1)": (lambda q, _: q.dead_letters.purge(task_id=1), "task_id is 1"),
    "dead.purge('x')": (lambda q, _: q.dead_letters.purge(died_before="x"), "died_before is 'x'"),
    "dead.cap('x')": (lambda q, _: q.dead_letters.cap("x"), "keep is 'x'"),
    "enqueue(delay)": (lambda q, _: q.enqueue("x", {}, delay="x"), "delay has to be"),
    "enqueue(huge)": (lambda q, _: q.enqueue("x", {}, delay=10**400), "delay has to be"),
    "enqueue(task_id)": (lambda q, _: q.enqueue("x", {}, task_id=5), "task_id has to have"),
    "enqueue(priority)": (lambda q, _: q.enqueue("x", {}, priority="x"), "priority has to be"),
    "enqueue_many(5)": (lambda q, _: q.enqueue_many(5), "task 1 of 1 is a int"),
    "enqueue_many(xs)": (lambda q, _: q.enqueue_many([("x", {}), "xs"]), "task 2 of 2 is a str"),
    "enqueue_many(delays)": (
        lambda q, _: q.enqueue_many([("x", {})], delays=[None]),
        "delay has to be",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_of_the_wrong_type_is_refused_before_anything_is_touched(
    names: QueueNames, name: str
) -> None:
    call, words = REFUSED[name]
    async with QueueManager(names.url, names.name, settings=Settings(), ack="manual") as queue:
        await queue.enqueue("x", {})
        await queue.enqueue("x", {})
        task = await queue.dequeue(timeout=0)
        assert task is not None
        before = await queue.health_check()
        with pytest.raises(TwitorError, match=words) as refused:
            await call(queue, task)
        assert isinstance(refused.value, ConfigurationError | TaskRefused)
        assert "nothing was" in str(refused.value).lower()
        after = await queue.health_check()
        before["oldest_s"] = after["oldest_s"] = None
        assert after == before
        names.may_be_left |= names.left()


async def test_a_dead_letter_is_no_task_that_was_taken_and_the_refusal_says_what_to_call(
    names: QueueNames,
) -> None:
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        await queue.enqueue("x", {}, max_retries=0)
        task = await queue.dequeue(timeout=0)
        assert task is not None
        assert not await queue.retry_task(task)
        (dead,) = await queue.get_dead_letter_tasks()
        with pytest.raises(ConfigurationError, match=r"dead_letters\.retry\(task\.task_id\)"):
            await queue.retry_task(dead)  # type: ignore[arg-type]  # that is the point
        assert await queue.dead_letters.purge() == 1


@pytest.mark.parametrize("timeout", [-1, 0, 0.0])
async def test_no_time_to_wait_is_a_timeout_like_any_other(
    names: QueueNames, timeout: float
) -> None:
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        assert await queue.dequeue(timeout=timeout) is None


@pytest.mark.parametrize("name", ["max_size", "max_payload_bytes", "max_dead_letters"])
def test_a_number_of_things_is_whole(name: str) -> None:
    wrong: dict[str, Any] = {name: 2.5}
    with pytest.raises(ConfigurationError, match=rf"{name} is 2\.5, allowed is a whole number"):
        QueueManager("redis://localhost:1/0", **wrong)
