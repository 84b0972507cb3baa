"""Workers on a real Valkey, a real SQLite file and the simulated X API: every crawl ends complete, whoever runs it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from valkey_server import QueueNames, Server, until

from twitor_fsm.config import Settings
from twitor_fsm.core.records import CrawlKey
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import AuthenticationFailed, BillingRefused, ConfigurationError, TaskRefused
from twitor_fsm.queue_manager import DeadReason, QueueManager, QueueTask
from twitor_fsm.session_claims import NoSource
from twitor_fsm.simulator import Simulator
from twitor_fsm.simulator.faults import Fault, FaultKind, FaultPlan
from twitor_fsm.sources.base import End, Item, Page
from twitor_fsm.sources.credentials import CredentialProvider, Secret
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.worker import Worker, enqueue_crawl

SETTINGS = Settings(initial_backoff=0.02, max_retries=2, lease_s=2.0)


@attrs.frozen
class Tokens(CredentialProvider):
    """The simulator's tokens, by user id."""

    sim: Simulator

    async def token(self, user_id: str, *, refused: bool = False) -> Secret:
        return Secret(self.sim.tokens[user_id])


@attrs.define
class Site:
    """One machine: an engine and a queue of its own."""

    engine: CrawlEngine
    queue: QueueManager
    worker: Worker
    running: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        self.running = asyncio.create_task(self.worker.run())

    async def stop(self) -> None:
        self.worker.stop()
        if self.running is not None:
            await self.running


@asynccontextmanager
async def site(
    names: QueueNames, db: str, sim: Simulator, lease_s: float = SETTINGS.lease_s, **options: Any
) -> AsyncIterator[Site]:
    settings = attrs.evolve(SETTINGS, database_url=db, lease_s=lease_s)
    async with (
        QueueManager(names.url, names.name, lease_s=2, settings=settings) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        source = XBookmarks(Tokens(sim), base_url=sim.base_url)
        here = Site(engine, queue, Worker(engine, queue, source, **({"sweep_s": 0.2} | options)))
        try:
            yield here
        finally:
            await here.stop()


async def completed(engine: CrawlEngine) -> set[str]:
    return {
        record.crawl.user_id
        for record in await engine.sessions(limit=1000)
        if str(record.value.state) == "completed"
    }


def are_complete(engine: CrawlEngine, users: list[str]) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await completed(engine) == set(users)

    return condition


async def stored(engine: CrawlEngine, user_id: str) -> list[str]:
    return sorted([bookmark.id async for bookmark in engine.bookmarks(user_id)])


async def test_two_workers_crawl_every_user_through_rate_limits(names: QueueNames, db: str) -> None:
    async with (
        Simulator(bookmarks=40, users=6, limit=2, window_s=1.0) as sim,
        site(names, db, sim) as one,
        site(names, db, sim) as two,
    ):
        for user_id in sim.user_ids * 2:
            await enqueue_crawl(one.queue, user_id=user_id)
        assert await one.queue.size() == 6, "asked twice, once in the queue"
        one.start()
        two.start()
        await until(are_complete(one.engine, sim.user_ids), 60)
        for user_id in sim.user_ids:
            assert await stored(one.engine, user_id) == sorted(sim.truth(user_id))
        sessions = await one.engine.sessions(limit=1000)
        assert len(sessions) == 6, "one session for each crawl, over all pauses"
        assert sum(record.counters.pauses for record in sessions) > 0
        await until(lambda: names.left() == set())


async def test_a_pause_holds_no_worker(names: QueueNames, db: str) -> None:
    async with (
        Simulator(bookmarks=40, users=4, limit=1, window_s=900) as sim,
        site(names, db, sim, concurrency=1) as here,
    ):
        for user_id in sim.user_ids:
            await enqueue_crawl(here.queue, user_id=user_id)
        here.start()

        async def all_wait() -> bool:
            health = await here.queue.health_check()
            return (health["delayed"], health["in_flight"]) == (4, 0)

        await until(all_wait)
        assert {str(s.value.state) for s in await here.engine.sessions()} == {"paused_rate_limit"}
        names.may_be_left |= {"tasks", "claims", "delayed", "bell"}


async def test_what_the_queue_lost_a_sweep_puts_back(names: QueueNames, db: str) -> None:
    async with (
        Simulator(bookmarks=40, users=4, limit=3, window_s=1.0) as sim,
        site(names, db, sim) as here,
    ):
        for user_id in sim.user_ids:
            await enqueue_crawl(here.queue, user_id=user_id)
        here.start()

        async def all_have_begun() -> bool:
            return len(await here.engine.sessions()) == 4

        await until(all_have_begun)
        with names.server.client() as client:
            client.flushall()
        await until(are_complete(here.engine, sim.user_ids), 60)
        for user_id in sim.user_ids:
            assert await stored(here.engine, user_id) == sorted(sim.truth(user_id))
        await until(lambda: names.left() == set())


async def test_a_queue_that_loses_everything_loses_no_crawl(names: QueueNames, db: str) -> None:
    async with Simulator(bookmarks=10, users=50) as sim, site(names, db, sim) as here:
        for user_id in sim.user_ids:
            await enqueue_crawl(here.queue, user_id=user_id, engine=here.engine)
            await enqueue_crawl(here.queue, user_id=user_id, engine=here.engine)
        assert await here.queue.size() == 50
        here.start()

        async def some_are_complete() -> bool:
            return len(await completed(here.engine)) >= 5

        await until(some_are_complete, 30)
        with names.server.client() as client:
            client.flushall()
        await until(are_complete(here.engine, sim.user_ids), 60)
        for user_id in sim.user_ids:
            assert await stored(here.engine, user_id) == sorted(sim.truth(user_id))
        assert len(await here.engine.sessions(limit=1000)) == 50
        await until(lambda: names.left() == set())


async def test_a_network_that_stays_down_uses_up_the_tries(names: QueueNames, db: str) -> None:
    sim = Simulator(bookmarks=5)
    await sim.start()
    url = sim.base_url
    await sim.stop()
    settings = attrs.evolve(SETTINGS, database_url=db)
    async with (
        QueueManager(names.url, names.name, settings=settings) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        worker = Worker(engine, queue, XBookmarks(Tokens(sim), base_url=url))
        await enqueue_crawl(queue, user_id=sim.user_id)
        running = asyncio.create_task(worker.run())

        async def is_dead() -> bool:
            return bool(await queue.get_dead_letter_tasks())

        await until(is_dead)
        worker.stop()
        await running
        (dead,) = await queue.get_dead_letter_tasks()
        assert (dead.reason, dead.retry_count, dead.last_error) == (
            DeadReason.FAILED,
            2,
            "CrawlFailed",
        )
        await queue.dead_letters.purge()


async def test_a_refused_token_ends_the_task(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator(bookmarks=5) as sim, site(names, db, sim) as here:
        sim.revoke_token(sim.token)
        await enqueue_crawl(here.queue, user_id=sim.user_id)
        here.start()

        async def is_over() -> bool:
            sessions = await here.engine.sessions()
            return bool(sessions) and str(sessions[0].value.state) == "aborted"

        await until(is_over)
        await until(lambda: names.left() == set())
        assert len(await here.engine.sessions()) == 1, "no other one waits to be refused again"
        assert sim.token not in caplog.text


async def test_a_bill_stops_all_workers_once(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = FaultPlan(faults=(Fault(kind=FaultKind.CREDITS_DEPLETED, probability=1.0),))
    async with Simulator(bookmarks=5, users=3, faults=plan) as sim, site(names, db, sim) as here:
        for user_id in sim.user_ids:
            await enqueue_crawl(here.queue, user_id=user_id)
        here.start()

        async def is_closed() -> bool:
            health = await here.queue.health_check()
            return "paused" in names.left() and health["in_flight"] == 0

        await until(is_closed)
        said = [
            r for r in caplog.records if r.levelno == logging.CRITICAL and r.name.endswith("worker")
        ]
        assert len(said) == 1
        assert "twitor queue resume" in said[0].getMessage()
        health = await here.queue.health_check()
        assert (health["queue_size"] or 0) + (health["delayed"] or 0) == 3, "nobody is forgotten"
        names.may_be_left |= names.left()


async def test_a_worker_that_stops_gives_its_crawls_back(names: QueueNames, db: str) -> None:
    async with Simulator(bookmarks=300) as sim:
        started = asyncio.Event()
        go_on = asyncio.Event()

        async def handler(_item: object, _fence: int) -> None:
            started.set()
            if not go_on.is_set():
                await asyncio.wait_for(go_on.wait(), 5)

        async with site(names, db, sim, handler=handler) as one:
            await enqueue_crawl(one.queue, user_id=sim.user_id)
            one.start()
            await started.wait()
            stopping = asyncio.create_task(one.stop())
            await asyncio.sleep(0)
            go_on.set()
            await stopping
        async with site(names, db, sim) as two:
            assert (await two.queue.health_check())["in_flight"] == 0
            two.start()
            await until(are_complete(two.engine, [sim.user_id]), 30)
            assert await stored(two.engine, sim.user_id) == sorted(sim.truth())
            await until(lambda: names.left() == set())


async def test_a_crawl_that_is_cancelled_while_its_worker_stops_does_not_come_again(
    names: QueueNames, db: str
) -> None:
    async with Simulator(bookmarks=300) as sim:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def handler(_item: object, _fence: int) -> None:
            started.set()
            await go_on.wait()

        async with (
            CrawlEngine(db, settings=Settings()) as elsewhere,
            site(names, db, sim, lease_s=30.0, handler=handler) as here,
        ):
            await enqueue_crawl(here.queue, user_id=sim.user_id, engine=here.engine)
            here.start()
            await started.wait()
            (session,) = await elsewhere.sessions()
            await elsewhere.cancel(session.session_id)  # of which the worker hears in 10 s
            stopping = asyncio.create_task(here.stop())
            await asyncio.sleep(0)
            go_on.set()
            await stopping

            (session,) = await elsewhere.sessions()
            assert (session.value.reason, session.cancel_wish) == ("signal", "stopped_by_user")
            assert names.left() == set()


async def test_process_bookmark_runs_the_embedders_function(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[dict[str, Any]] = []

    async def process(task: QueueTask) -> None:
        seen.append(task.payload)

    async with (
        Simulator(bookmarks=1) as sim,
        site(names, db, sim, process_bookmark=process) as here,
    ):
        await here.queue.enqueue("process_bookmark", {"bookmark_id": "123"})
        await here.queue.enqueue("unheard_of", {})
        await here.queue.enqueue("crawl", {"user_id": "1", "source": "another"})
        here.start()

        async def are_dead() -> bool:
            return len(await here.queue.get_dead_letter_tasks()) == 2

        await until(are_dead)
        await until(lambda: len(seen) == 1)
        assert seen == [{"bookmark_id": "123"}]
        dead = await here.queue.get_dead_letter_tasks()
        assert {(one.reason, one.last_error) for one in dead} == {
            (DeadReason.REJECTED, "UnknownTaskType"),
            (DeadReason.REJECTED, "UnusablePayload"),
        }
        assert (
            "handles tasks of type crawl and process_bookmark alone, not 'unheard_of'"
            in caplog.text
        )
        assert "another source than this worker's, which is 'x'" in caplog.text
        await here.queue.dead_letters.purge()
        await until(lambda: names.left() == set())


# -- what a sweep puts back ------------------------------------------------------------------------


@attrs.define
class Scripted:
    """One bookmark for each user; a user's first request, or each, fails as told."""

    failure: BaseException | None = None
    always: bool = False
    asked: list[str] = attrs.Factory(list)
    name: str = "x"
    service: str = "x"
    endpoint: str = "bookmarks"
    page_sizes: tuple[int, ...] = ()
    price_usd: float | None = None

    async def fetch(self, user_id: str, _cursor: str | None, _page_size: int | None) -> Page:
        self.asked.append(user_id)
        if self.failure is not None and (self.always or self.asked.count(user_id) == 1):
            raise self.failure
        item = Item(key="1", raw='{"id": "1"}', text="text")
        return Page(items=(item,), next_cursor=None, end=End.VERIFIED)

    def decode(self, raw: str) -> Item:
        raise AssertionError(raw)

    async def aclose(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def scripted_site(
    names: QueueNames, db: str, source: Scripted, *, backoff_s: float = 0.02
) -> AsyncIterator[Site]:
    settings = attrs.evolve(
        SETTINGS, database_url=db, max_retries=0, lease_s=1.0, initial_backoff=backoff_s
    )
    async with (
        QueueManager(names.url, names.name, settings=settings, max_retries=2) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        here = Site(engine, queue, Worker(engine, queue, source, sweep_s=0.1))
        try:
            yield here
        finally:
            await here.stop()


@pytest.mark.parametrize(
    "failure",
    [ConnectionResetError("down"), MemoryError(), BillingRefused("402")],
    ids=["network", "memory", "billing"],
)
async def test_a_crawl_that_a_sweep_put_back_outlives_a_failure(
    names: QueueNames, db: str, failure: BaseException
) -> None:
    source = Scripted(failure)
    async with scripted_site(names, db, source) as here:
        await here.engine.reserve("me", "x")
        here.start()

        async def is_complete() -> bool:
            await here.queue.resume()
            if here.running is not None and here.running.done():  # it drained: its successor
                here.worker = Worker(here.engine, here.queue, source, sweep_s=0.1)
                here.start()
            return await completed(here.engine) == {"me"}

        await until(is_complete)
        assert await stored(here.engine, "me") == ["1"]
        assert len(await here.engine.sessions()) == 2, "the one that failed, and the next"
        await until(lambda: names.left() == set())


@pytest.mark.parametrize(
    "failure", [None, AuthenticationFailed("revoked")], ids=["completed", "auth"]
)
async def test_a_session_that_ended_for_good_is_not_crawled_again(
    names: QueueNames, db: str, failure: BaseException | None
) -> None:
    source = Scripted(failure)
    async with scripted_site(names, db, source) as here:
        await (await here.engine.start(source, user_id="me")).wait()
        await enqueue_crawl(here.queue, user_id="me", resume_only=True)
        assert names.left() != set()
        here.start()
        await until(lambda: names.left() == set())
        assert source.asked == ["me"]


async def test_a_task_of_a_forgotten_user_brings_nothing_back(names: QueueNames, db: str) -> None:
    async with Simulator(bookmarks=5, users=2) as sim, site(names, db, sim) as here:
        gone, stays = sim.user_ids
        for user_id in sim.user_ids:
            await enqueue_crawl(here.queue, user_id=user_id, engine=here.engine)
        assert (await here.engine.forget(gone)).sessions == 1

        here.start()

        await until(lambda: names.left() == set())
        assert await completed(here.engine) == {stays}
        assert {crawl.user_id for crawl in await here.engine.store.crawls()} == {stays}


@attrs.define
class Gated(Scripted):
    """Gives its page when it is let."""

    gate: asyncio.Event = attrs.Factory(asyncio.Event)

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        await self.gate.wait()
        return await super().fetch(user_id, cursor, page_size)


async def test_a_crawl_that_somebody_else_runs_is_asked_for_again_later(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "twitor_fsm.worker")
    source, other = Scripted(), Gated()
    async with (
        scripted_site(names, db, source) as here,
        CrawlEngine(db, settings=here.engine.settings) as theirs,
    ):
        handle = await theirs.start(other, user_id="me")
        await enqueue_crawl(here.queue, user_id="me")
        here.start()
        await until(lambda: "this crawl is already running" in caplog.text)
        assert (await here.queue.health_check())["dead_letter_size"] == 0

        other.gate.set()

        assert (await handle.wait()).completed
        await until(lambda: source.asked == ["me"])
        await until(lambda: names.left() == set())


async def test_a_crawl_that_was_cancelled_before_it_began_is_not_crawled(
    names: QueueNames, db: str
) -> None:
    source = Scripted()
    async with scripted_site(names, db, source) as here:
        for user_id in ("cancelled", "stays", "asked again"):
            await enqueue_crawl(here.queue, user_id=user_id, engine=here.engine)
        for user_id in ("cancelled", "asked again"):
            (session,) = await here.engine.sessions(user_id=user_id)
            assert (await here.engine.cancel(session.session_id)).ended_at is not None
        await enqueue_crawl(here.queue, user_id="asked again", engine=here.engine)

        here.start()

        await until(lambda: names.left() == set())
        assert sorted(source.asked) == ["asked again", "stays"]


@pytest.mark.parametrize("user_id", ["a b", "b" * 200, "a:b", "é", '"{}"'])
async def test_an_unusual_user_id_is_crawled_as_any_other(
    names: QueueNames, db: str, user_id: str
) -> None:
    async with scripted_site(names, db, Scripted()) as here:
        await here.engine.reserve(user_id, "x")
        await here.engine.reserve("lost", "x")
        here.start()
        await until(are_complete(here.engine, [user_id, "lost"]))
        await until(lambda: names.left() == set())


async def test_a_crawl_that_no_task_can_name_stops_no_other(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    unspeakable = "\ud800"
    async with scripted_site(names, db, Scripted()) as here:
        claims = here.engine._claims  # no engine makes such a session: somebody else wrote it
        await claims.reserve(CrawlKey(unspeakable, "x"), NoSource("x"))
        for n in range(3):
            await here.engine.reserve(f"lost{n}", "x")
        assert await here.worker.sweep() == 3
        here.start()
        await until(are_complete(here.engine, ["lost0", "lost1", "lost2"]))
        await until(lambda: names.left() == set())
    assert "cannot be written as JSON" in caplog.text


async def test_a_refused_task_reserves_nothing(names: QueueNames, db: str) -> None:
    async with scripted_site(names, db, Scripted()) as here:
        with pytest.raises(TaskRefused):
            await enqueue_crawl(here.queue, user_id="\ud800", engine=here.engine)
        with pytest.raises(TaskRefused):
            await enqueue_crawl(here.queue, user_id="me", engine=here.engine, delay=-1.0)
        for user_id in ("", "b" * 201):  # no session could be started for them
            with pytest.raises(ConfigurationError):
                await enqueue_crawl(here.queue, user_id=user_id, engine=here.engine)
        assert await here.engine.sessions() == []
        assert await here.queue.size() == 0


async def test_each_crawl_has_a_task_id_of_its_own(names: QueueNames, db: str) -> None:
    crawls = [
        ("file:a", "b:c"),
        ("file:a:b", "c"),
        ("x", "😀"),
        ("x", "a\n"),
        ("x", "a"),
        ("x:", "a"),
        ("", "x:a"),
    ]
    async with scripted_site(names, db, Scripted()) as here:
        ids = [
            await enqueue_crawl(here.queue, user_id=user_id, source=source)
            for source, user_id in crawls
        ]
        digest = ids[0].rpartition(":")[2]
        ids.append(await enqueue_crawl(here.queue, user_id=digest, source="sha256"))
        assert await here.queue.size() == len(set(ids)) == len(crawls) + 1
        assert ids[4] == "crawl:x:a"
        assert all(one.startswith("crawl:sha256:") for n, one in enumerate(ids) if n != 4)
        names.may_be_left |= names.left()


async def test_a_sweep_finds_a_wish_that_many_sessions_came_after(
    names: QueueNames, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.storage.store._SESSIONS", 2)
    source = Scripted()
    async with scripted_site(names, db, source) as here:
        for n in range(5):
            await here.engine.reserve(f"lost{n}", "x")
        for n in range(5):
            await (await here.engine.start(source, user_id=f"done{n}")).wait()
        assert await here.worker.sweep() == 5
        assert {task.payload["user_id"] for task in await here.queue.peek()} == {
            f"lost{n}" for n in range(5)
        }
        names.may_be_left |= names.left()


# -- what a worker gives back, and a queue that loses it -------------------------------------------


async def crawled_by_the_next(names: QueueNames, db: str, source: Scripted) -> list[str]:
    """Valkey loses all; a new worker has only SQL to go by. The states of all sessions, newest first."""
    with names.server.client() as client:
        client.flushall()
    async with scripted_site(names, db, source) as here:
        here.start()
        await until(are_complete(here.engine, ["me"]))
        await until(lambda: names.left() == set())
        return [str(record.value.state) for record in await here.engine.sessions()]


@pytest.mark.parametrize("how", ["stop", "cancel", "lease lost"])
async def test_a_crawl_of_a_worker_that_ended_outlives_the_loss_of_the_queue(
    names: QueueNames, db: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = Scripted()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_item: object, _fence: int) -> None:
        begun.set()
        await go_on.wait()

    settings = attrs.evolve(SETTINGS, database_url=db, cancel_grace_s=0.05)
    async with (
        QueueManager(names.url, names.name, lease_s=1, settings=settings) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        worker = Worker(engine, queue, source, handler=handler, sweep_s=60)
        await enqueue_crawl(queue, user_id="me", engine=engine)
        running = asyncio.create_task(worker.run())
        await begun.wait()
        if how == "lease lost":
            with names.server.client() as client:
                client.flushall()
            await until(lambda: "lease on task 'crawl:x:me' ended" in caplog.text)
        if how == "cancel":
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        else:
            worker.stop()
            await running
        assert [str(record.value.state) for record in await engine.sessions()] == [
            "running",
            "shut_down",
        ]
    assert await crawled_by_the_next(names, db, source) == ["completed", "shut_down"]


@pytest.mark.parametrize(
    "failure",
    [ConnectionResetError("down"), MemoryError(), BillingRefused("402")],
    ids=["network", "memory", "billing"],
)
async def test_a_crawl_that_failed_outlives_the_loss_of_the_queue(
    names: QueueNames, db: str, failure: BaseException
) -> None:
    source = Scripted(failure)
    async with scripted_site(names, db, source, backoff_s=60.0) as here:
        here.worker = Worker(here.engine, here.queue, source, sweep_s=60)
        await enqueue_crawl(here.queue, user_id="me")  # the wish itself is only in the queue
        here.start()

        async def is_given_back() -> bool:
            health = await here.queue.health_check()
            return bool(source.asked) and health["in_flight"] == 0

        await until(is_given_back)
        await here.stop()
        newest, failed = await here.engine.sessions()
        assert (newest.ended_at is None, failed.ended_at is None) == (True, False)
    assert len(await crawled_by_the_next(names, db, source)) == 2


async def test_a_crawl_that_is_over_gets_no_other_session(names: QueueNames, db: str) -> None:
    begun = asyncio.Event()

    async def handler(_item: object, _fence: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    settings = attrs.evolve(SETTINGS, database_url=db, cancel_grace_s=0.05)
    async with (
        QueueManager(names.url, names.name, settings=settings) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        worker = Worker(engine, queue, Scripted(), handler=handler, sweep_s=0.1)
        running = asyncio.create_task(worker.run())
        await enqueue_crawl(queue, user_id="me", engine=engine)
        await begun.wait()
        (session,) = await engine.sessions()
        await engine.cancel(session.session_id)  # by a user
        await until(lambda: names.left() == set())
        worker.stop()
        await running
        assert [str(record.value.state) for record in await engine.sessions()] == ["shut_down"]
        assert await worker.sweep() == 0


async def test_a_dead_letter_is_not_put_back_by_a_sweep(names: QueueNames, db: str) -> None:
    source = Scripted(ConnectionResetError("down"), always=True)
    async with scripted_site(names, db, source) as here:
        await enqueue_crawl(here.queue, user_id="me", engine=here.engine)
        here.start()

        async def is_dead() -> bool:
            return bool(await here.queue.get_dead_letter_tasks())

        await until(is_dead)
        assert len(source.asked) == 3, "a first try and two more"
        assert await here.worker.sweep() == 0
        await here.queue.dead_letters.purge()
        await until(lambda: names.left() == set())


# -- what ends no sweep ----------------------------------------------------------------------------


async def test_an_unexpected_error_ends_no_sweep_and_is_told_once(
    names: QueueNames, db: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = 0
    async with scripted_site(names, db, Scripted()) as here:
        check = here.engine.store.check

        async def fails_thrice() -> None:
            nonlocal failed
            if failed < 3:
                failed += 1
                raise KeyError("counters")
            await check()

        monkeypatch.setattr(here.engine.store, "check", fails_thrice)
        await here.engine.reserve("me", "x")
        here.start()
        await until(are_complete(here.engine, ["me"]))
        await until(lambda: names.left() == set())
    assert failed == 3
    assert [r.levelname for r in caplog.records if "KeyError" in r.getMessage()] == ["ERROR"]


async def test_a_session_that_cannot_be_read_hides_no_other(
    names: QueueNames, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_site(names, db, Scripted()) as here:
        for user_id in ("bad", "good"):
            await here.engine.reserve(user_id, "x")
        async with here.engine.store.engine.begin() as connection:  # type: ignore[attr-defined]
            await connection.execute(
                sa.text(
                    "UPDATE twitor_session SET counters = 'garbage' "
                    "WHERE crawl_id = (SELECT id FROM twitor_crawl WHERE user_id = 'bad')"
                )
            )
        assert await here.worker.sweep() == 1
        assert await here.worker.sweep() == 1
        (task,) = await here.queue.peek()
        assert task.payload["user_id"] == "good"
        names.may_be_left |= names.left()
    assert len([r for r in caplog.records if "cannot be read" in r.getMessage()]) == 1


async def test_a_worker_ends_while_valkey_is_away(
    own_server: Server, db: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("twitor_fsm.queueing.consumer.GIVE_BACK_S", 0.2)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_item: object, _fence: int) -> None:
        begun.set()
        await go_on.wait()

    settings = attrs.evolve(SETTINGS, database_url=db, cancel_grace_s=0.05)
    async with (
        QueueManager(own_server.url, settings=settings) as queue,
        CrawlEngine(db, settings=settings) as engine,
    ):
        worker = Worker(engine, queue, Scripted(), handler=handler, sweep_s=60)
        await enqueue_crawl(queue, user_id="me", engine=engine)
        running = asyncio.create_task(worker.run())
        await begun.wait()
        own_server.stop()
        worker.stop()
        async with asyncio.timeout(20):
            await running
        assert "was not settled" in caplog.text
        assert [str(record.value.state) for record in await engine.sessions()] == [
            "running",
            "shut_down",
        ]
