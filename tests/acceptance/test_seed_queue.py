"""The design document's queue code runs as written, on a real Valkey."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from seed_document import Block, block
from valkey_server import QueueNames, until

from twitor_fsm.config import Settings
from twitor_fsm.queue_manager import QueueManager, QueueTask

URL = 'redis_url="redis://localhost:6379/0"'
NAME = 'queue_name="twitor:tasks"'
SOON = Settings(initial_backoff=0.01)


@pytest.fixture
async def queue(names: QueueNames) -> AsyncIterator[QueueManager]:
    async with QueueManager(names.url, names.name, lease_s=0.3, settings=SOON) as queue:
        yield queue


def usage(names: QueueNames) -> Block:
    """The first block, on this test's server and queue."""
    here = block("Queue Manager Usage").replaced(URL, f'redis_url="{names.url}"')
    return here.replaced(NAME, f'queue_name="{names.name}"')


async def test_the_usage_takes_one_task_and_leaves_nothing(
    names: QueueNames, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[QueueTask] = []

    async def process_task(task: QueueTask) -> None:
        done.append(task)

    await usage(names).run(process_task=process_task)
    (task,) = done
    assert (task.task_type, task.priority) == ("process_bookmark", 1)
    assert task.payload == {"bookmark_id": "123", "url": "..."}
    assert capsys.readouterr().out.splitlines() == ["Queue status: healthy", "Queue size: 0"]
    assert names.left() == set(), "acknowledged by leaving"


async def test_the_usage_retries_what_fails(names: QueueNames, queue: QueueManager) -> None:
    async def process_task(task: QueueTask) -> None:
        raise ValueError("no")

    await usage(names).run(process_task=process_task)
    again = await queue.dequeue(timeout=5)
    assert again is not None
    assert again.retry_count == 1
    assert await queue.complete(again)


async def test_the_dead_letters_are_shown(
    queue: QueueManager, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = await queue.enqueue("x", {"bookmark_id": "123"}, max_retries=1)
    for is_left in (True, False):
        task = await queue.dequeue(timeout=5)
        assert task is not None
        assert await queue.retry_task(task) is is_left
    await block("Dead Letter Queue").run(queue_manager=queue)
    assert capsys.readouterr().out.splitlines() == [
        f"Task {task_id} failed after 1 retries",
        "Payload: {'bookmark_id': '123'}",
    ]
    assert await queue.dead_letters.purge() == 1


async def test_a_healthy_queue_is_told(
    queue: QueueManager, capsys: pytest.CaptureFixture[str]
) -> None:
    await block("Health Checks").run(queue_manager=queue)
    assert capsys.readouterr().out.splitlines() == [
        "✓ Queue is healthy",
        "  Queue size: 0",
        "  Dead letter: 0",
    ]


async def test_an_unhealthy_queue_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    away = QueueManager("unix:///nowhere", settings=SOON)
    await block("Health Checks").run(queue_manager=away)
    assert capsys.readouterr().out.startswith("✗ Queue is unhealthy: no answer from Valkey at")


# -- Queue-Based Processing -----------------------------------------------------------------------


async def processing(names: QueueNames, process_task: Any, limit_s: float) -> None:
    """The document's endless loop, cancelled after a while."""
    made: dict[str, Any] = {}

    def here() -> QueueManager:
        made["queue"] = QueueManager(names.url, names.name, lease_s=60, settings=SOON)
        queue: QueueManager = made["queue"]
        return queue

    found = await block("Queue-Based Processing").run(
        QueueManager=here, logger=logging.getLogger("app"), process_task=process_task
    )
    running = asyncio.create_task(found["process_queue"]())
    try:
        async with asyncio.timeout(limit_s):
            await process_task.is_over.wait()
            await until(
                lambda: made["queue"]._now_open.desk._takers._pending == 1
            )  # it takes again
            await until(lambda: _has(made["queue"], in_flight=0, queue_size=0, delayed=0))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _has(queue: QueueManager, **wanted: int) -> bool:
    health: dict[str, Any] = {**await queue.health_check()}
    return all(health[key] == value for key, value in wanted.items())


class Work:
    """Fails as often as its payload says; over when so many tries were made."""

    def __init__(self, tries: int) -> None:
        self.seen: list[tuple[int, int]] = []
        self.tries = tries
        self.is_over = asyncio.Event()

    async def __call__(self, task: QueueTask) -> None:
        self.seen.append((task.payload["n"], task.retry_count))
        if len(self.seen) == self.tries:
            self.is_over.set()
        if task.retry_count < task.payload["fails"]:
            raise ValueError("no")


async def test_the_loop_processes_retries_and_buries(
    names: QueueNames, queue: QueueManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    await queue.enqueue_many(
        [("x", {"n": 0, "fails": 0}), ("x", {"n": 1, "fails": 1}), ("x", {"n": 2, "fails": 9})],
        max_retries=2,
    )
    work = Work(tries=6)
    await processing(names, work, 20)
    assert sorted(work.seen) == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    (dead,) = await queue.get_dead_letter_tasks()
    said = [record.getMessage() for record in caplog.records if record.name == "app"]
    assert sum("completed" in line for line in said) == 2
    assert sum("failed: no" in line for line in said) == 4
    assert f"Task {dead.task_id} moved to dead letter queue" in said
    assert await queue.dead_letters.purge() == 1


async def test_a_cancelled_loop_gives_its_task_back(names: QueueNames, queue: QueueManager) -> None:
    await queue.enqueue("x", {"n": 0, "fails": 0})
    started = asyncio.Event()

    async def process_task(task: QueueTask) -> None:
        started.set()
        await asyncio.Event().wait()

    found = await block("Queue-Based Processing").run(
        QueueManager=lambda: QueueManager(names.url, names.name, lease_s=60, settings=SOON),
        logger=logging.getLogger("app"),
        process_task=process_task,
    )
    running = asyncio.create_task(found["process_queue"]())
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    task = await queue.dequeue(timeout=0)
    assert task is not None
    assert task.retry_count == 0
    assert await queue.complete(task)
