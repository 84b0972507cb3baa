"""Records about a task of the queue say whose it is: user, session and operation, whoever wrote them."""

import asyncio
import logging
from typing import Any

import attrs
import pytest
from valkey_server import QueueNames, until

from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.log_facts import FACTS
from twitor_fsm.queue_manager import QueueManager, QueueTask
from twitor_fsm.testing import ListSource
from twitor_fsm.worker import Worker, enqueue_crawl

SETTINGS = Settings(initial_backoff=0.01, max_retries=0, lease_s=2.0)
MINE: dict[str, Any] = {"user_id": "42", "session_id": "s1"}


def facts_of(caplog: pytest.LogCaptureFixture, words: str) -> list[tuple[object, ...]]:
    """What the records that hold these words carry."""
    return [
        tuple(getattr(record, name) for name in FACTS)
        for record in caplog.records
        if words in record.getMessage()
    ]


async def test_records_about_a_crawls_task_name_its_user_and_its_session(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_item: object, _fence: int) -> None:
        raise RuntimeError("always")

    settings = attrs.evolve(SETTINGS, database_url=db)
    async with (
        QueueManager(names.url, names.name, settings=settings) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        worker = Worker(engine, queue, ListSource(["1"]), handler=fails, sweep_s=60)
        await enqueue_crawl(queue, user_id="42")
        running = asyncio.create_task(worker.run())

        async def is_dead() -> bool:
            return bool(await queue.get_dead_letter_tasks())

        await until(is_dead)
        worker.stop()
        await running
        (session,) = await engine.sessions()
        await queue.dead_letters.purge()

    who = (session.session_id, "42", "crawl")
    assert facts_of(caplog, "crawl of user 42: ") == [who]
    assert facts_of(caplog, "(crawl) is rejected") == [who]


async def test_a_task_that_no_crawl_can_be_made_of_names_its_user(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = attrs.evolve(SETTINGS, database_url=db)
    async with (
        QueueManager(names.url, names.name, settings=settings) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        worker = Worker(engine, queue, ListSource(["1"]), sweep_s=60)
        await queue.enqueue("crawl", {"user_id": "42", "source": "another"})
        await queue.enqueue("unheard_of", {"user_id": 42})
        running = asyncio.create_task(worker.run())

        async def are_dead() -> bool:
            return len(await queue.get_dead_letter_tasks()) == 2

        await until(are_dead)
        worker.stop()
        await running
        await queue.dead_letters.purge()

    assert facts_of(caplog, "(crawl) is rejected") == [(None, "42", "crawl")]
    assert facts_of(caplog, "(unheard_of) is rejected") == [(None, None, "unheard_of")]


@pytest.mark.parametrize("how", ["complete", "retry", "next", "renewal"])
async def test_a_lost_lease_names_whose_task_it_was(
    names: QueueNames, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with QueueManager(names.url, names.name, lease_s=60, settings=SETTINGS) as queue:
        await queue.enqueue("process_bookmark", {"bookmark_id": "1"} | MINE)
        if how == "renewal":
            await lose_while_it_runs(names, queue, caplog)
        else:
            task = await queue.dequeue(timeout=0)
            assert task is not None
            with names.server.client() as client:
                client.flushall()
            match how:
                case "complete":
                    assert not await queue.complete(task)
                case "retry":
                    assert not await queue.retry_task(task)
                case _:
                    assert await queue.dequeue(timeout=0) is None
    words = "is in the queue no more" if how == "retry" else "lease on task"
    assert facts_of(caplog, words) == [("s1", "42", "process_bookmark")]


async def lose_while_it_runs(
    names: QueueNames, queue: QueueManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler runs until the renewal of its lease finds that the task is gone."""
    begun = asyncio.Event()

    async def handler(_task: QueueTask) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with QueueManager(names.url, names.name, lease_s=0.3, settings=SETTINGS) as other:
        stop = asyncio.Event()
        consuming = asyncio.create_task(other.consume(handler, stop=stop))
        await begun.wait()
        with names.server.client() as client:
            client.flushall()
        await until(lambda: bool(facts_of(caplog, "lease on task")))
        stop.set()
        await consuming


async def test_what_a_handler_raised_names_whose_task_it_was(
    names: QueueNames, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stop = asyncio.Event()

    async def handler(_task: QueueTask) -> None:
        stop.set()
        raise RuntimeError

    async with QueueManager(names.url, names.name, settings=SETTINGS) as queue:
        await queue.enqueue("process_bookmark", MINE, max_retries=0)
        await queue.consume(handler, stop=stop)
        await queue.dead_letters.purge()
    assert facts_of(caplog, "failed: RuntimeError") == [("s1", "42", "process_bookmark")]
