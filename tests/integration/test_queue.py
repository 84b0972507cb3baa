"""QueueManager on a real Valkey: what goes in comes out, in its order, once, and nothing of it is left."""

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from redis.crc import key_slot
from valkey_server import QueueNames, until

from twitor_fsm.clock import SystemClock
from twitor_fsm.config import Settings
from twitor_fsm.errors import ConfigurationError, QueueError, QueueFull, TaskRefused
from twitor_fsm.queue_manager import DeadReason, QueueManager, QueueTask
from twitor_fsm.valkey.keys import KEYS, QueueKeys
from twitor_fsm.valkey.scripts import SCRIPTS, load

SOON = Settings(initial_backoff=0.01)


def manager(names: QueueNames, **options: Any) -> QueueManager:
    chosen: dict[str, Any] = {"settings": SOON, "lease_s": 0.2} | options
    return QueueManager(names.url, names.name, **chosen)


@pytest.fixture
async def queue(names: QueueNames) -> AsyncIterator[QueueManager]:
    async with manager(names) as queue:
        yield queue


async def drained(queue: QueueManager) -> list[QueueTask]:
    """Everything that waits, taken and acknowledged."""
    found = []
    while task := await queue.dequeue(timeout=0):
        found.append(task)
        assert await queue.complete(task)
    return found


async def die(queue: QueueManager, *, tries: int) -> str:
    """A task among the dead letters after so many failures; returns its id."""
    task_id = await queue.enqueue("fails", {"n": 1}, max_retries=tries - 1)
    for left in reversed(range(tries)):
        task = await queue.dequeue(timeout=5)
        assert task is not None
        assert await queue.retry_task(task) is (left > 0)
    return task_id


# -- in and out -----------------------------------------------------------------------------------


async def test_a_task_comes_out_as_it_went_in(queue: QueueManager) -> None:
    payload = {"bookmark_id": "123", "url": "…", "deep": [{"n": 1.5, "none": None, "yes": True}]}
    task_id = await queue.enqueue("process_bookmark", payload, priority=3, max_retries=7)
    task = await queue.dequeue(timeout=0)
    assert task is not None
    assert (task.task_id, task.task_type, task.payload) == (task_id, "process_bookmark", payload)
    assert (task.priority, task.retry_count, task.max_retries) == (3, 0, 7)
    assert task.lease_token > 0
    assert task.created_at > 1_700_000_000
    assert await queue.complete(task)
    assert await queue.dequeue(timeout=0) is None


async def test_max_retries_is_the_settings_unless_said(names: QueueNames) -> None:
    async with manager(names, settings=Settings(max_retries=2)) as queue:
        await queue.enqueue("x", {})
        (task,) = await drained(queue)
        assert task.max_retries == 2


async def test_an_id_is_known_while_its_task_is_not_done(queue: QueueManager) -> None:
    assert await queue.enqueue("x", {"n": 1}, task_id="one") == "one"
    assert await queue.enqueue("x", {"n": 2}, task_id="one") == "one"
    assert await queue.size() == 1
    task = await queue.dequeue(timeout=0)
    assert task is not None
    assert task.payload == {"n": 1}
    await queue.enqueue("x", {"n": 3}, task_id="one")
    assert await queue.size() == 0, "it runs: nothing is added"
    await queue.complete(task)
    await queue.enqueue("x", {"n": 4}, task_id="one")
    assert [task.payload for task in await drained(queue)] == [{"n": 4}]


async def test_many_go_in_at_once_and_keep_their_order(queue: QueueManager) -> None:
    ids = await queue.enqueue_many([("x", {"n": n}) for n in range(1203)])
    assert len(set(ids)) == 1203
    assert await queue.size() == 1203
    assert [task.task_id for task in await queue.peek(1203)] == ids
    seen: list[str] = []
    stop = asyncio.Event()

    async def handler(task: QueueTask) -> None:
        seen.append(task.task_id)
        if len(seen) == 1203:
            stop.set()

    await queue.consume(handler, concurrency=100, stop=stop)
    assert seen == ids


async def test_nothing_is_added_by_an_empty_list(queue: QueueManager) -> None:
    assert await queue.enqueue_many([]) == []


async def test_a_delayed_task_wakes_who_waits_for_a_later_one(queue: QueueManager) -> None:
    await queue.enqueue("later", {}, delay=0.9)
    waiting = asyncio.create_task(queue.dequeue(timeout=10))
    bell = queue._now_open.bell
    await until(lambda: bell is not None and bool(bell._waiters))
    start = asyncio.get_running_loop().time()
    await queue.enqueue("sooner", {}, delay=0.1)
    health = await queue.health_check()
    assert health["delayed"] == 2
    task = await waiting
    assert task is not None
    assert task.task_type == "sooner"
    assert 0.09 <= asyncio.get_running_loop().time() - start < 0.85
    await queue.complete(task)
    later = await queue.dequeue(timeout=5)
    assert later is not None
    await queue.complete(later)


async def test_a_waiting_dequeue_is_woken_by_another_process_connection(
    queue: QueueManager, names: QueueNames
) -> None:
    async with manager(names) as producer:
        waiting = asyncio.create_task(queue.dequeue(timeout=10))
        await asyncio.sleep(0)
        await producer.enqueue("x", {})
        task = await waiting
        assert task is not None
        await queue.complete(task)


async def test_dequeue_returns_none_when_time_is_up(queue: QueueManager) -> None:
    start = asyncio.get_running_loop().time()
    assert await queue.dequeue(timeout=0.15) is None
    assert asyncio.get_running_loop().time() - start >= 0.14


async def test_nothing_is_left_of_a_queue_that_was_drained(
    queue: QueueManager, names: QueueNames
) -> None:
    for n in range(20):
        await queue.enqueue("x", {"n": n}, priority=n % 3, delay=0.01 * (n % 2))
    found: list[QueueTask] = []
    while len(found) < 20:
        task = await queue.dequeue(timeout=5)
        assert task is not None
        found.append(task)
        await queue.complete(task)
    assert names.left() == set()


# -- order ----------------------------------------------------------------------------------------


async def test_the_higher_priority_goes_first_and_equal_ones_keep_their_order(
    queue: QueueManager,
) -> None:
    for n in range(60):
        await queue.enqueue("x", {"n": n}, priority=(n * 7) % 5 - 2)
    found = [(task.priority, task.payload["n"]) for task in await drained(queue)]
    assert found == sorted(found, key=lambda one: (-one[0], one[1]))
    assert len(found) == 60


async def test_a_low_priority_is_passed_over_a_bounded_number_of_times(
    queue: QueueManager,
) -> None:
    for level in (0, 1, 2):
        await queue.enqueue_many([("low", {"n": n}) for n in range(3)], priority=level)
    await queue.enqueue_many([("high", {}) for _ in range(1000)], priority=9)
    places: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for place, task in enumerate(await drained(queue)):
        if task.task_type == "low":
            places[task.priority].append(place)
    for found in places.values():
        assert all(later - sooner <= 100 + 3 for sooner, later in pairwise([0, *found])), places
        assert found[0] >= 95, "a short burst of the higher one goes strictly first"


async def test_batches_keep_the_bound_too(queue: QueueManager) -> None:
    await queue.enqueue("low", {}, priority=-1)
    await queue.enqueue_many([("high", {}) for _ in range(400)], priority=1)
    seen: list[str] = []
    stop = asyncio.Event()

    async def handler(task: QueueTask) -> None:
        seen.append(task.task_type)
        if len(seen) == 401:
            stop.set()

    await queue.consume(handler, concurrency=350, stop=stop)
    assert 95 <= seen.index("low") <= 101


# -- retries and dead letters ---------------------------------------------------------------------


async def test_a_failed_task_comes_again_later_and_counts(names: QueueNames) -> None:
    settings = Settings(initial_backoff=0.2, max_retries=2)
    async with manager(names, settings=settings) as queue:
        await queue.enqueue("x", {})
        first = await queue.dequeue(timeout=0)
        assert first is not None
        start = asyncio.get_running_loop().time()
        assert await queue.retry_task(first) is True
        assert await queue.dequeue(timeout=0) is None, "the backoff is kept"
        second = await queue.dequeue(timeout=5)
        waited = asyncio.get_running_loop().time() - start
        assert second is not None
        assert waited >= 0.2 * 0.75 - 0.02
        assert (second.task_id, second.retry_count) == (first.task_id, 1)
        assert second.lease_token > first.lease_token
        assert second.created_at == first.created_at
        await queue.complete(second)


async def test_a_task_without_tries_left_is_a_dead_letter(
    queue: QueueManager, names: QueueNames
) -> None:
    names.may_be_left |= {"dead", "dead_records", "dead_notes"}
    task_id = await queue.enqueue("fails", {"n": 1}, max_retries=2, priority=4)
    for left in (2, 1, 0):
        task = await queue.dequeue(timeout=5)
        assert task is not None
        try:
            raise KeyError("secret text") if left else ValueError("secret text")
        except (KeyError, ValueError):
            assert await queue.retry_task(task) is (left > 0)
    (dead,) = await queue.get_dead_letter_tasks()
    assert (dead.task_id, dead.retry_count, dead.max_retries) == (task_id, 2, 2)
    assert (dead.payload, dead.priority) == ({"n": 1}, 4)
    assert (dead.reason, dead.first_error, dead.last_error) == (
        DeadReason.FAILED,
        "KeyError",
        "ValueError",
    )
    assert task is not None
    assert await queue.retry_task(task) is False, "asked again, the answer is the same"
    assert len(await queue.get_dead_letter_tasks()) == 1, "reading removes nothing"
    assert (await queue.health_check())["dead_letter_size"] == 1


async def test_dead_letters_are_listed_retried_and_purged(queue: QueueManager) -> None:
    ids = [await die(queue, tries=1 + n % 2) for n in range(5)]
    await queue.enqueue("other", {}, task_id="rejected")
    task = await queue.dequeue(timeout=1)
    assert task is not None
    assert await queue.reject(task) is False
    dead = queue.dead_letters
    assert [one.task_id for one in await dead.list()] == ["rejected", *reversed(ids)]
    assert [one.task_id for one in await dead.list(limit=2)] == ["rejected", ids[4]]
    assert [one.task_id for one in await dead.list(reason=DeadReason.REJECTED)] == ["rejected"]

    assert await dead.retry(ids[1]) is True
    assert await dead.retry(ids[1]) is False
    (revived,) = await drained(queue)
    assert (revived.task_id, revived.retry_count) == (ids[1], 0)

    assert await dead.purge(task_id=ids[0]) == 1
    assert await dead.purge(reason=DeadReason.MALFORMED) == 0
    assert await dead.retry_all(task_type="fails") == 3
    assert [one.task_id for one in await drained(queue)] == ids[2:]
    assert await dead.purge() == 1
    assert await dead.list() == []


async def test_dead_letters_are_capped_the_oldest_go(names: QueueNames) -> None:
    names.may_be_left |= {"dead", "dead_records", "dead_notes"}
    async with manager(names, max_dead_letters=3) as queue:
        ids = [await die(queue, tries=1) for _ in range(5)]
        assert [one.task_id for one in await queue.get_dead_letter_tasks()] == ids[:1:-1]
        assert await queue.dead_letters.cap(1) == 2
        assert [one.task_id for one in await queue.get_dead_letter_tasks()] == ids[4:]


async def test_a_dead_task_is_no_obstacle_to_a_new_one_with_its_id(
    queue: QueueManager, names: QueueNames
) -> None:
    task_id = await die(queue, tries=1)
    await queue.enqueue("x", {"new": True}, task_id=task_id)
    assert await queue.dead_letters.retry(task_id) is False, "the new one waits already"
    (task,) = await drained(queue)
    assert task.payload == {"new": True}
    assert await queue.dead_letters.purge() == 1


# -- leases ---------------------------------------------------------------------------------------


async def test_a_stale_token_changes_nothing(names: QueueNames) -> None:
    async with manager(names, ack="manual", lease_s=0.1) as one, manager(names) as two:
        await one.enqueue("x", {})
        stale = await one.dequeue(timeout=0)
        assert stale is not None
        await one._now_open.holding.close()  # this process falls silent
        current = await two.dequeue(timeout=5)
        assert current is not None
        assert (current.task_id, current.retry_count) == (stale.task_id, 1)
        assert current.lease_token > stale.lease_token

        before = await two.health_check()
        assert await one.complete(stale) is False
        assert await one.retry_task(stale) is True, "it is being tried"
        assert await one.reject(stale) is True
        assert await two.health_check() == before
        assert await two.complete(current) is True


async def test_a_lease_is_renewed_while_its_taker_lives(names: QueueNames) -> None:
    async with manager(names, lease_s=0.15) as one, manager(names) as two:
        await one.enqueue("x", {})
        task = await one.dequeue(timeout=0)
        assert task is not None
        assert await two.dequeue(timeout=0.6) is None, "four leases long"
        assert await one.complete(task)


async def test_a_lease_ends_with_the_asyncio_task_that_took(names: QueueNames) -> None:
    async with manager(names, lease_s=0.15) as one, manager(names) as two:
        await one.enqueue("x", {})

        async def worker() -> None:
            assert await one.dequeue(timeout=0)

        await asyncio.create_task(worker())
        again = await two.dequeue(timeout=5)
        assert again is not None
        assert again.retry_count == 1
        await two.complete(again)


# -- limits ---------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_and_adds_nothing(names: QueueNames) -> None:
    async with manager(names, max_size=3) as queue:
        await queue.enqueue("x", {}, task_id="a")
        await queue.enqueue("x", {}, delay=60, task_id="later")
        with pytest.raises(QueueFull, match="holds its 3 tasks"):
            await queue.enqueue_many([("x", {}), ("x", {})])
        assert await queue.size() == 1
        await queue.enqueue("x", {}, task_id="b")
        with pytest.raises(QueueFull):
            await queue.enqueue("x", {})
        assert await queue.enqueue("x", {}, task_id="a") == "a", "it is there already"
        task = await queue.dequeue(timeout=0)
        assert task is not None
        await queue.enqueue("x", {}, task_id="c")
        assert await queue.retry_task(task), "what was accepted once is never refused"
        names.may_be_left |= names.left()


async def test_many_producers_never_exceed_the_limit(names: QueueNames) -> None:
    async with manager(names, max_size=10) as queue:
        answers = await asyncio.gather(
            *(queue.enqueue("x", {"n": n}) for n in range(40)), return_exceptions=True
        )
        assert sum(isinstance(answer, QueueFull) for answer in answers) == 30
        assert await queue.size() == 10
        await drained(queue)


async def test_a_full_queue_blocks_until_there_is_room(names: QueueNames) -> None:
    async with manager(names, max_size=2, when_full="block", ack="manual") as queue:
        producing = asyncio.create_task(queue.enqueue_many([("x", {"n": n}) for n in range(7)]))
        found: list[int] = []
        while len(found) < 7:
            task = await queue.dequeue(timeout=5)
            assert task is not None
            assert await queue.size() <= 2
            found.append(task.payload["n"])
            await queue.complete(task)
        assert found == list(range(7))
        assert len(await producing) == 7


class Noticed(SystemClock):
    """A clock that tells when somebody sleeps."""

    def __init__(self) -> None:
        self.slept = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.set()
        await super().sleep(seconds)


async def test_who_waits_for_room_hears_of_a_disconnect(names: QueueNames) -> None:
    """It went on asking, over connections that nobody closed."""
    clock = Noticed()
    async with manager(names, max_size=1, when_full="block", clock=clock) as queue:
        await queue.enqueue("x", {"n": 1})
        connection = queue._now_open.connection
        waiting = asyncio.create_task(queue.enqueue("x", {"n": 2}))
        await clock.slept.wait()
        await queue.disconnect()

        with pytest.raises(QueueError, match="is not connected; nothing was done"):
            await asyncio.wait_for(waiting, 5)
        assert connection._idle == []
    async with manager(names) as again:
        assert [task.payload for task in await drained(again)] == [{"n": 1}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"payload": [1]}, "JSON object"),
        ({"payload": {"x": object()}}, "cannot be written as JSON"),
        ({"payload": {"x": "y" * 2000}}, "bytes, allowed are 1000"),
        ({"task_type": ""}, "task_type"),
        ({"task_type": "a\nb"}, "task_type"),
        ({"task_id": "x" * 201}, "task_id"),
        ({"priority": 1.5}, "priority"),
        ({"priority": 10**10}, "priority"),
        ({"max_retries": -1}, "max_retries"),
        ({"delay": -1}, "delay"),
        ({"delay": float("nan")}, "delay"),
        ({"payload": {"deep": [{"x": float("nan")}]}}, "NaN"),
        ({"payload": {"x": float("-inf")}}, "NaN or infinite"),
    ],
)
async def test_what_cannot_be_written_is_refused(
    names: QueueNames, arguments: dict[str, Any], said: str
) -> None:
    async with manager(names, max_payload_bytes=1000) as queue:
        with pytest.raises(TaskRefused, match=said):
            await queue.enqueue(**({"task_type": "x", "payload": {}} | arguments))


@pytest.mark.parametrize(
    "options",
    [
        {"lease_s": 0},
        {"lease_s": True},
        {"max_size": 0},
        {"when_full": "drop"},
        {"ack": "never"},
        {"queue_name": "a{b}"},
        {"queue_name": ""},
        {"queue_name": None},
        {"queue_name": "\ud800"},
        {"lease_s": "30"},
        {"lease_s": None},
        {"max_connections": 0},
        {"redis_url": "http://x"},
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Nothing was started"):
        QueueManager(**options)


# -- looking --------------------------------------------------------------------------------------

HEALTH_KEYS = {
    "status",
    "queue_size",
    "dead_letter_size",
    "in_flight",
    "delayed",
    "oldest_s",
    "error",
}


async def test_health_counts_everything(queue: QueueManager, names: QueueNames) -> None:
    await queue.enqueue("x", {})
    await queue.enqueue("x", {})
    await queue.enqueue("x", {}, delay=60)
    await queue.dequeue(timeout=0)
    health = await queue.health_check()
    assert set(health) == HEALTH_KEYS
    assert health["oldest_s"] is not None
    assert health["oldest_s"] >= 0
    assert health | {"oldest_s": 0.0} == {
        "status": "healthy",
        "queue_size": 1,
        "dead_letter_size": 0,
        "in_flight": 1,
        "delayed": 1,
        "oldest_s": 0.0,
        "error": None,
    }
    names.may_be_left |= names.left()


async def test_health_never_raises(names: QueueNames) -> None:
    queue = manager(names)
    assert (await queue.health_check())["status"] == "healthy", "not connected, but reachable"
    away = QueueManager("unix:///nowhere/socket", names.name)
    health = await away.health_check()
    assert set(health) == HEALTH_KEYS
    assert health["status"] == "unhealthy"
    assert "no answer from Valkey at unix:///nowhere/socket" in (health["error"] or "")
    assert {health[key] for key in ("queue_size", "in_flight", "delayed", "oldest_s")} == {None}


async def test_an_unconnected_manager_says_what_to_do(names: QueueNames) -> None:
    with pytest.raises(QueueError, match=r"not connected; nothing was done\. Call: await"):
        await manager(names).enqueue("x", {})


async def test_a_paused_queue_hands_out_nothing(queue: QueueManager, names: QueueNames) -> None:
    await queue.enqueue("x", {})
    assert await queue.pause() is True
    assert await queue.pause() is False
    await queue.enqueue("y", {})
    assert await queue.dequeue(timeout=0.05) is None
    waiting = asyncio.create_task(queue.dequeue(timeout=10))
    await asyncio.sleep(0)
    assert await queue.resume() is True
    task = await waiting
    assert task is not None
    assert task.task_type == "x"
    await queue.complete(task)
    await drained(queue)


# -- keys and scripts -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["twitor:tasks", "q", "ä:ö", "a.b-c"])
def test_all_keys_of_a_queue_share_a_slot(name: str) -> None:
    keys = QueueKeys(name).named(*KEYS)
    slots = {key_slot(key.encode()) for key in [*keys, f"{QueueKeys(name).named('ready')[0]}-7"]}
    assert len(slots) == 1
    assert slots != {key_slot(name.encode() + b"x")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_takes_returns_and_makes_atomic(name: str) -> None:
    script = load(name)
    assert set(script.keys) <= set(KEYS)
    for word in ("-- KEYS ", "-- ARGV ", "-- Returns ", "-- Atomic "):
        assert word in script.source


def test_every_lua_file_is_a_known_script() -> None:
    found = {one.name for one in files("twitor_fsm.valkey").joinpath("lua").iterdir()}
    assert found == {f"{name}.lua" for name in (*SCRIPTS, "shared")}
