"""A Valkey that refuses for each of its reasons, tasks that nobody honest wrote, and calls cancelled at every await."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from valkey_server import QueueNames, Server, until

from twitor_fsm.classify import classify
from twitor_fsm.config import Settings
from twitor_fsm.core.taxonomy import ErrorCategory
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import CredentialsMissing, QueueUnavailable
from twitor_fsm.queue_manager import DeadReason, QueueManager
from twitor_fsm.queueing import patience
from twitor_fsm.queueing.records import MAX_RECORD_BYTES, TEXT_LIMIT
from twitor_fsm.simulator import Simulator
from twitor_fsm.sources.credentials import Secret
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.valkey import connection
from twitor_fsm.worker import CRAWL, Worker, enqueue_crawl

SOON = Settings(initial_backoff=0.01)


def manager(names: QueueNames, **options: Any) -> QueueManager:
    return QueueManager(names.url, names.name, **{"settings": SOON, **options})


# -- a server that refuses for now ---------------------------------------------------------------------


@contextlib.contextmanager
def replica(server: Server) -> Iterator[None]:
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "yes")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def stale_replica(server: Server) -> Iterator[None]:
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def busy(server: Server) -> Iterator[None]:
    """Another tenant's script never ends."""

    def spin() -> None:
        with server.client() as client, contextlib.suppress(redis.ResponseError):
            client.eval("while true do end", 0)

    with server.client() as client:
        client.config_set("busy-reply-threshold", "1")
        thread = threading.Thread(target=spin)
        thread.start()
        while True:  # until the server says so
            try:
                client.ping()
            except redis.ResponseError:
                break
        yield
        client.script_kill()
        thread.join(10)


@contextlib.contextmanager
def silent(server: Server) -> Iterator[None]:
    with server.client() as client:
        client.execute_command("CLIENT", "PAUSE", "1500", "ALL")
        yield  # it ends by itself


@contextlib.contextmanager
def without_replicas(server: Server) -> Iterator[None]:
    with server.client() as client:
        client.config_set("min-replicas-to-write", "1")
        yield
        client.config_set("min-replicas-to-write", "0")


REFUSALS = [replica, stale_replica, busy, silent, without_replicas]


@pytest.mark.parametrize("refusing", REFUSALS)
async def test_a_server_that_refuses_for_now_is_tried_again_and_nothing_is_lost_or_doubled(
    own_server: Server, refusing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_of = QueueNames(own_server, "q")
    async with manager(queue_of) as queue:
        await queue.enqueue("x", {"n": 1}, task_id="before")
        with refusing(own_server), monkeypatch.context() as impatient:
            impatient.setattr(connection, "CALL_LIMIT_S", 0.3)
            impatient.setattr(patience, "PATIENCE_S", 0.5)
            with pytest.raises(QueueUnavailable) as caught:
                await queue.enqueue("x", {"n": 2}, task_id="meanwhile")
            assert classify(caught.value).category is ErrorCategory.NETWORK
            assert "safe to try again" in str(caught.value)
            assert (await queue.health_check())["status"] in {"healthy", "unhealthy"}
        await until(lambda: _answers(queue))
        await queue.enqueue("x", {"n": 2}, task_id="meanwhile")  # whether it was applied or not
        taken = [await queue.dequeue(timeout=5), await queue.dequeue(timeout=5)]
        assert [task and task.task_id for task in taken] == ["before", "meanwhile"]
        assert await queue.dequeue(timeout=0) is None


async def _answers(queue: QueueManager) -> bool:
    return (await queue.health_check())["status"] == "healthy"


# -- a call that is cancelled -----------------------------------------------------------------------------

Call = Callable[[QueueManager], Awaitable[Any]]


async def take(queue: QueueManager) -> Any:
    return await queue.dequeue(timeout=0)


CALLS: dict[str, Call] = {
    "enqueue": lambda queue: queue.enqueue("x", {"n": 1}, task_id="one"),
    "enqueue_many": lambda queue: queue.enqueue_many([("x", {"n": 1})]),
    "size": lambda queue: queue.size(),
    "peek": lambda queue: queue.peek(),
    "health_check": lambda queue: queue.health_check(),
    "pause": lambda queue: queue.pause(),
    "resume": lambda queue: queue.resume(),
    "dequeue": take,
    "get_dead_letter_tasks": lambda queue: queue.get_dead_letter_tasks(),
}


@pytest.mark.parametrize("name", list(CALLS))
async def test_a_call_cancelled_at_any_await_leaves_its_reply_to_nobody(
    names: QueueNames, name: str
) -> None:
    """The next call on the same pool gets its own answer: redis-py gave other users' data here (CVE-2023-28858)."""
    async with manager(names, max_connections=1, ack="manual") as queue:
        await queue.enqueue("x", {"n": 0}, task_id="kept", delay=3600.0)
        for turns in range(200):
            call = asyncio.ensure_future(CALLS[name](queue))
            for _ in range(turns):
                await asyncio.sleep(0)
            is_through = call.done()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert isinstance(await queue.size(), int)
            assert await queue.is_paused() in {True, False}
            health = await queue.health_check()
            assert (health["status"], health["error"]) == ("healthy", None)
            if is_through:
                break
        else:
            pytest.fail("the call never ended")
        assert turns >= 2, "nothing was cancelled"
    with names.server.client() as client:
        client.flushall()  # what was taken or added depends on the moment


# -- tasks that nobody honest wrote -------------------------------------------------------------------------

HEAD = b"1 0 5 1700000000000 "


async def test_a_record_of_any_size_ends_as_a_dead_letter_that_shows_its_beginning(
    names: QueueNames,
) -> None:
    huge = HEAD + b'["x",{"a":"' + b"y" * MAX_RECORD_BYTES + b'"}]'
    async with manager(names) as queue:
        await queue.enqueue("x", {}, task_id="huge")
        await queue.enqueue("x", {}, task_id="good")
        with names.server.client() as client:
            client.hset(names.key("tasks"), "huge", huge)
        task = await queue.dequeue(timeout=5)
        assert task is not None
        assert task.task_id == "good"
        await queue.complete(task)
        (dead,) = await queue.get_dead_letter_tasks()
        assert (dead.task_id, dead.reason) == ("huge", DeadReason.MALFORMED)
        assert len(dead.payload) < TEXT_LIMIT + 100
        await queue.dead_letters.purge()


async def test_an_unknown_field_of_a_payload_is_kept(names: QueueNames) -> None:
    async with manager(names) as queue:
        await queue.enqueue("x", {}, task_id="one")
        with names.server.client() as client:
            client.hset(names.key("tasks"), "one", HEAD + b'["x",{"new":{"of":[1]}}]')
        task = await queue.dequeue(timeout=5)
        assert task is not None
        assert task.payload == {"new": {"of": [1]}}
        await queue.complete(task)


class Tokens:
    """Tokens of the simulator's users; nobody else has one."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def token(self, user_id: str, *, refused: bool = False) -> Secret:
        if user_id not in self.simulator.tokens:
            raise CredentialsMissing("no token of this user")
        return Secret(self.simulator.tokens[user_id])


@contextlib.asynccontextmanager
async def working(
    names: QueueNames, folder: Path, simulator: Simulator
) -> AsyncIterator[tuple[CrawlEngine, QueueManager]]:
    settings = Settings(initial_backoff=0.02, max_retries=1, lease_s=2.0)
    async with (
        manager(names, settings=settings, lease_s=2) as queue,
        CrawlEngine(str(folder / "b.db"), settings=settings) as engine,
    ):
        source = XBookmarks(Tokens(simulator), base_url=simulator.base_url)
        worker = Worker(engine, queue, source, sweep_s=3600.0)
        running = asyncio.create_task(worker.run())
        try:
            yield engine, queue
        finally:
            worker.stop()
            await running


FORGED: dict[str, Any] = {
    "no payload": {},
    "a user of a number": {"user_id": 7, "source": "x"},
    "a user of a list": {"user_id": ["1"], "source": "x"},
    "no user": {"source": "x"},
    "another source": {"user_id": "{alice}", "source": "file:/etc/passwd"},
    "a source of an object": {"user_id": "{alice}", "source": {"x": 1}},
    "a path for a user": {"user_id": "../../etc/passwd", "source": "x"},
    "a user without end": {"user_id": "1" * 100_000, "source": "x"},
    "a stranger": {"user_id": "999999", "source": "x", "token": "mine", "api_url": "http://evil"},
    "the session of another": {"user_id": "999999", "source": "x", "session_id": "{session}"},
}


@pytest.mark.parametrize("payload", FORGED.values(), ids=list(FORGED))
async def test_a_forged_task_has_no_authority_and_the_next_task_is_done(
    names: QueueNames, tmp_path: Path, payload: dict[str, Any]
) -> None:
    names.may_be_left |= {"dead", "dead_records", "dead_notes", "stats"}
    async with Simulator(20, users=2) as simulator:
        alice, bob = simulator.user_ids
        async with working(names, tmp_path, simulator) as (engine, queue):
            await enqueue_crawl(queue, user_id=alice)
            await until(lambda: _is_complete(engine, alice))
            await until(lambda: _is_empty(queue))
            (session,) = await engine.sessions(user_id=alice)
            requests = len(simulator.ledger)
            text = json.dumps(payload).replace("{alice}", alice)
            forged = json.loads(text.replace("{session}", session.session_id))

            await queue.enqueue(CRAWL, forged, task_id="forged", max_retries=0)
            await enqueue_crawl(queue, user_id=bob)
            await until(lambda: _is_complete(engine, bob))
            await until(lambda: _is_empty(queue))

            assert {entry.path for entry in simulator.ledger[requests:]} == {
                f"/2/users/{bob}/bookmarks"
            }
            (unchanged,) = await engine.sessions(user_id=alice)
            assert unchanged == session
            users = {record.crawl.user_id for record in await engine.sessions()}
            assert users <= {alice, bob, str(forged.get("user_id"))}
            await queue.dead_letters.purge()


async def _is_complete(engine: CrawlEngine, user_id: str) -> bool:
    return any(
        record.value.state == "completed" for record in await engine.sessions(user_id=user_id)
    )


async def _is_empty(queue: QueueManager) -> bool:
    health = await queue.health_check()
    return health["queue_size"] == health["in_flight"] == 0
