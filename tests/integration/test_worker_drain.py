"""Out of memory or disk in one session drains its worker: the others save a checkpoint, all go back, none is lost."""

import asyncio
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import attrs
import pytest
from valkey_server import QueueNames, until

from twitor_fsm.config import Settings
from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.queue_manager import QueueManager
from twitor_fsm.sources.base import Item, Page
from twitor_fsm.testing import ListSource
from twitor_fsm.testing.tapping import Call, tapped
from twitor_fsm.worker import Worker, enqueue_crawl

SETTINGS = Settings(checkpoint_every=5, lease_s=1.0, prefetch=0)
IDS = [str(n) for n in range(100, 160)]
USERS = ["first", "second", "third"]
GREEDY = "greedy"
DONE_BEFORE = 7
"""Items that each of the others has handled when it happens: one checkpoint, and two items after it."""


@attrs.define
class Crowd(ListSource):
    """Everybody has the same listing; the greedy one's request fails when all others are in the middle of theirs."""

    others_work: asyncio.Event = attrs.Factory(asyncio.Event)
    failure: BaseException | None = None

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        if user_id == GREEDY:
            await self.others_work.wait()
            if self.failure is not None:
                raise self.failure
        return await super().fetch(user_id, cursor, page_size)


@attrs.define
class Handlers:
    """Stop after so many items of each crawl, until the worker drains."""

    crowd: Crowd
    handled: int = 0
    go_on: asyncio.Event = attrs.Factory(asyncio.Event)

    async def __call__(self, _item: Item, _fence: int) -> None:
        self.handled += 1
        if self.handled > DONE_BEFORE * len(USERS):
            if self.handled == (DONE_BEFORE + 1) * len(USERS):
                self.crowd.others_work.set()
            await self.go_on.wait()


@asynccontextmanager
async def opened(names: QueueNames, db: str) -> AsyncIterator[Any]:
    async with (
        QueueManager(names.url, names.name, settings=SETTINGS, lease_s=2.0) as queue,
        CrawlEngine(db, settings=SETTINGS) as engine,
    ):
        yield queue, engine


async def finished_by_the_next(names: QueueNames, db: str) -> None:
    """A new worker, with room: every crawl ends complete, each bookmark is stored once."""
    async with opened(names, db) as (queue, engine):
        assert (await queue.health_check())["in_flight"] == 0
        worker = Worker(engine, queue, ListSource(IDS), sweep_s=0.1)
        running = asyncio.create_task(worker.run())

        async def are_complete() -> bool:
            sessions = await engine.sessions(limit=100)
            done = {s.crawl.user_id for s in sessions if str(s.value.state) == "completed"}
            return done == {GREEDY, *USERS}

        await until(are_complete, 30)
        await until(lambda: names.left() == set())
        worker.stop()
        await running
        for user_id in (GREEDY, *USERS):
            assert sorted([b.id async for b in engine.bookmarks(user_id)]) == IDS


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), Reason.DISK_FULL),
    ],
    ids=["memory", "disk"],
)
async def test_one_sessions_lack_drains_the_worker(
    names: QueueNames, db: str, failure: BaseException, reason: Reason
) -> None:
    crowd = Crowd(IDS, failure=failure)
    handlers = Handlers(crowd)
    async with opened(names, db) as (queue, engine):
        for user_id in (GREEDY, *USERS):
            await enqueue_crawl(queue, user_id=user_id, engine=engine)
        worker = Worker(engine, queue, crowd, concurrency=4, handler=handlers, sweep_s=60)
        running = asyncio.create_task(worker.run())
        await asyncio.wait_for(worker.until_draining(), 20)
        handlers.go_on.set()  # what is under way is finished
        await asyncio.wait_for(running, 20)  # by itself: nobody asked

        assert worker.drained_by is reason
        health = await queue.health_check()
        assert health["dead_letter_size"] == 0
        assert (health["queue_size"] or 0) + (health["delayed"] or 0) == 4, "nobody is forgotten"
        ends = {s.crawl.user_id: s.value.reason for s in await engine.sessions()}
        assert ends == {GREEDY: reason, **dict.fromkeys(USERS, Reason.SIGNAL)}
        stored = {user: await engine.store.count_bookmarks(user) for user in USERS}
        assert sum(stored.values()) == handlers.handled, "what was handled is in a checkpoint"
    await finished_by_the_next(names, db)


class FullDisk:
    """From `is_full` on, SQLite itself lets no transaction of the store take a new page, as on a full disk."""

    def __init__(self, db: str) -> None:
        self.is_full = False
        self._db = db

    def before(self, call: Call) -> None:
        is_stores = threading.current_thread().name == "twitor-store"
        if self.is_full and is_stores and call.connection and call.text.startswith("BEGIN"):
            sqlite3.Connection.execute(call.connection, "PRAGMA max_page_count=1")  # as there are

    def after(self, call: Call) -> None: ...

    async def fill(self) -> None:
        await asyncio.to_thread(fill_pages, self._db)
        self.is_full = True


async def test_a_full_disk_under_the_database_drains_the_worker(names: QueueNames, db: str) -> None:
    crowd = Crowd(IDS)
    handlers = Handlers(crowd)
    disk = FullDisk(db)
    with tapped(disk):
        async with opened(names, db) as (queue, engine):
            for user_id in (GREEDY, *USERS):
                await enqueue_crawl(queue, user_id=user_id, engine=engine)
            worker = Worker(engine, queue, crowd, concurrency=4, handler=handlers, sweep_s=60)
            running = asyncio.create_task(worker.run())
            await asyncio.wait_for(crowd.others_work.wait(), 20)
            before = await engine.store.count_bookmarks()
            assert before >= 5 * len(USERS), "each has saved a checkpoint"
            await disk.fill()
            handlers.go_on.set()
            await asyncio.wait_for(running, 20)

            assert worker.drained_by is Reason.STORE_FULL
            health = await queue.health_check()
            assert health["dead_letter_size"] == 0
            assert (health["queue_size"] or 0) + (health["delayed"] or 0) == 4, (
                "nobody is forgotten"
            )
            assert await engine.store.count_bookmarks() >= before, "what was committed stands"
    await finished_by_the_next(names, db)


async def test_a_disk_that_is_full_from_the_start_uses_up_no_tries(
    names: QueueNames, db: str
) -> None:
    disk = FullDisk(db)
    with tapped(disk):
        async with opened(names, db) as (queue, engine):
            for user_id in (GREEDY, *USERS):
                await enqueue_crawl(queue, user_id=user_id)  # no session is made yet
            await disk.fill()
            worker = Worker(engine, queue, ListSource(IDS), concurrency=4, sweep_s=60)
            await asyncio.wait_for(worker.run(), 20)

            assert worker.drained_by is Reason.STORE_FULL
            tasks = await queue.peek()
            health = await queue.health_check()
            assert health["dead_letter_size"] == 0
            assert (health["queue_size"] or 0) + (health["delayed"] or 0) == 4
            assert {task.retry_count for task in tasks} <= {0}
    await finished_by_the_next(names, db)


def fill_pages(db: str) -> None:
    """Use up what is free in the pages that there are, so that even one small row more has no place."""
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA max_page_count=1")
        for size in (2000, 100, 1):
            with suppress(sqlite3.OperationalError):
                while True:
                    connection.execute(
                        "INSERT INTO twitor_crawl (user_id, source, generation, has_checkpoint, bookmarks_count, "
                        "mark, last_session_ordinal) VALUES (hex(randomblob(?)), 'filler', 0, 0, 0, '{}', 0)",
                        (size,),
                    )
