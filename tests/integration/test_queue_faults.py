"""What may happen to a queue: workers killed, payloads spoiled, the server gone or full, answers lost. Nothing is lost."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from valkey_server import Line, QueueNames, Server, line_to, until

from twitor_fsm.classify import classify
from twitor_fsm.config import Settings
from twitor_fsm.core.taxonomy import ErrorCategory
from twitor_fsm.errors import QueueOutOfMemory, QueueUnavailable
from twitor_fsm.queue_manager import DeadReason, QueueManager, QueueTask

WORKER: Final = Path(__file__).parent / "queue_worker.py"
SOON: Final = Settings(initial_backoff=0.01)


@attrs.frozen
class Log:
    """What workers wrote down."""

    path: Path

    def entries(self, kind: str) -> list[tuple[str, int]]:
        text = self.path.read_text() if self.path.exists() else ""
        lines = [line.split() for line in text.splitlines()]
        return [(line[1], int(line[2])) for line in lines if line[0] == kind]

    def ids(self, kind: str) -> Counter[str]:
        return Counter(task_id for task_id, _ in self.entries(kind))


@contextlib.contextmanager
def worker(names: QueueNames, log: Log, lease_s: float) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, str(WORKER), names.url, names.name, str(lease_s), str(log.path)]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@contextlib.asynccontextmanager
async def acknowledgements(names: QueueNames) -> AsyncIterator[Counter[str]]:
    """How often the server itself removed a task, seen by its own notifications."""
    counted: Counter[str] = Counter()
    with names.server.client() as client:
        client.config_set("notify-keyspace-events", "Eh")
        channel = client.pubsub()
        channel.subscribe("__keyevent@0__:hdel")
        yield counted
        while message := channel.get_message(timeout=0.2):
            if message["type"] == "message":
                counted[message["data"].decode().removeprefix(names.key(""))] += 1
        channel.close()
        client.config_set("notify-keyspace-events", "")


def manager(names: QueueNames, **options: Any) -> QueueManager:
    chosen: dict[str, Any] = {"settings": SOON, "lease_s": 0.3} | options
    return QueueManager(names.url, names.name, **chosen)


# -- workers --------------------------------------------------------------------------------------


async def test_a_killed_worker_loses_nothing_and_its_tasks_come_again_in_time(
    names: QueueNames, log: Log
) -> None:
    lease_s = 0.5
    async with manager(names, lease_s=lease_s) as queue, acknowledgements(names) as removed:
        work = [("x", {"s": 0.03 + n % 7 / 100, "n": n}) for n in range(200)]
        ids = await queue.enqueue_many(work)
        with worker(names, log, lease_s) as victim:
            await until(lambda: len(log.entries("done")) >= 60)
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
        killed = dict(log.entries("start"))
        for task_id, _ in log.entries("done"):
            killed.pop(task_id, None)
        assert killed, "some were running when the worker died"

        again: dict[str, int] = {}
        stop = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            if task.task_id in killed:
                again.setdefault(task.task_id, task.lease_token)
                assert task.retry_count == 1

        async def watch() -> None:
            await until(lambda: _is_empty(queue))
            stop.set()

        await asyncio.gather(queue.consume(handler, concurrency=10, stop=stop), watch())
    assert set(again) == set(killed)
    last_renewal_s = lease_s / 3
    for task_id, token in again.items():  # both tokens are microseconds of the server's clock
        assert (token - killed[task_id]) / 1e6 <= last_renewal_s + lease_s + 1
    assert removed["tasks"] == len(ids) == 200
    assert await _dead(names) == 0


async def _is_empty(queue: QueueManager) -> bool:
    health = await queue.health_check()
    return (health["queue_size"], health["in_flight"], health["delayed"]) == (0, 0, 0)


async def _in_flight(queue: QueueManager) -> int | None:
    return (await queue.health_check())["in_flight"]


async def _dead(names: QueueNames) -> int:
    with names.server.client() as client:
        count: Any = client.zcard(names.key("dead"))
    return int(count)


@pytest.mark.slow
@pytest.mark.parametrize("max_retries", [1, 2])
async def test_a_task_that_kills_its_workers_dies_alone(
    names: QueueNames, log: Log, max_retries: int
) -> None:
    async with manager(names, lease_s=0.3, max_retries=max_retries) as queue:
        tasks: list[tuple[str, dict[str, Any]]] = [("x", {"s": 0.01, "n": n}) for n in range(20)]
        tasks[3][1]["kill"] = True
        ids = await queue.enqueue_many(tasks)
        for _ in range(max_retries + 1):
            with worker(names, log, 0.3) as process:
                await asyncio.to_thread(process.wait, 30)
        with worker(names, log, 0.3):
            await until(lambda: _is_empty(queue))
        (dead,) = await queue.get_dead_letter_tasks()
        assert (dead.task_id, dead.reason) == (ids[3], DeadReason.LEASE_EXPIRED)
        assert dead.retry_count == dead.max_retries == max_retries
        assert log.ids("start")[ids[3]] == max_retries + 1
        assert set(log.ids("done")) == set(ids) - {ids[3]}
        assert await queue.dead_letters.purge() == 1


async def test_a_task_whose_handler_hangs_the_process_is_a_suspect_and_tried_alone(
    names: QueueNames,
) -> None:
    async with manager(names, max_retries=1, ack="manual") as silent, manager(names) as queue:
        await silent.enqueue_many([("x", {"n": n}) for n in range(4)])
        for _ in range(3):
            assert await silent.dequeue(timeout=0)
        await silent._now_open.holding.close()
        running: set[int] = set()
        together: list[set[int]] = []
        stop = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            if task.retry_count:
                running.add(task.payload["n"])
                together.append(set(running))
                await asyncio.sleep(0.02)
                running.discard(task.payload["n"])
                if len(together) == 3:
                    stop.set()

        await queue.consume(handler, concurrency=10, stop=stop)
        assert [len(some) for some in together] == [1, 1, 1]


# -- payloads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x80\x04\x95 pickle",
        b"",
        b"1 0 5 1700000000000 [1,2]",
        b'1 0 5 1700000000000 ["x",{"a":',
        b'2 0 5 1700000000000 ["x",{}]',
        b"1 0 5 1700000000000 " + b"[" * 100_000,
        b"1 x y z [" + b"\xff" * 10,
    ],
)
async def test_a_spoiled_payload_goes_to_the_dead_letters_as_it_is(
    names: QueueNames, garbage: bytes
) -> None:
    async with manager(names) as queue:
        ids = await queue.enqueue_many([("x", {"n": n}) for n in range(20)])
        with names.server.client() as client:
            client.hset(names.key("tasks"), ids[7], garbage)
        seen: list[str] = []
        stop = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            seen.append(task.task_id)
            if len(seen) == 19:
                stop.set()

        await queue.consume(handler, concurrency=5, stop=stop)
        assert seen == [one for one in ids if one != ids[7]]
        (dead,) = await queue.get_dead_letter_tasks()
        assert (dead.task_id, dead.reason) == (ids[7], DeadReason.MALFORMED)
        assert isinstance(dead.payload, str)
        assert dead.payload.isprintable()
        with names.server.client() as client:
            assert client.hget(names.key("dead_records"), ids[7]) == garbage
        assert await queue.dead_letters.retry_all() in (0, 1)
        await queue.dead_letters.purge()
        if await queue.dequeue(timeout=0) is None:
            await queue.dead_letters.purge()


async def test_an_id_without_a_record_is_no_obstacle(
    queue_of_two: QueueManager, names: QueueNames
) -> None:
    with names.server.client() as client:
        client.hdel(names.key("tasks"), "one")
    task = await queue_of_two.dequeue(timeout=0)
    assert task is not None
    assert task.task_id == "two"
    assert await queue_of_two.complete(task)


@pytest.fixture
async def queue_of_two(names: QueueNames) -> AsyncIterator[QueueManager]:
    async with manager(names) as queue:
        await queue.enqueue("x", {}, task_id="one")
        await queue.enqueue("x", {}, task_id="two")
        yield queue


# -- the server -----------------------------------------------------------------------------------


async def test_a_server_that_goes_and_comes_back_ends_nothing(own_server: Server) -> None:
    names = QueueNames(own_server, "q")
    async with manager(names, lease_s=10) as queue:
        ids = await queue.enqueue_many([("x", {"n": n}) for n in range(200)])
        seen: list[str] = []
        is_half = asyncio.Event()
        go_on = asyncio.Event()
        stop = asyncio.Event()

        async def handler(task: QueueTask) -> None:
            seen.append(task.task_id)
            if len(seen) == 100:
                is_half.set()
            if len(seen) >= 100:
                await go_on.wait()  # done while the server is away: acknowledged when it is back
            if len(seen) == 200:
                stop.set()

        async def restart() -> float:
            await is_half.wait()
            own_server.stop()
            go_on.set()
            await until(lambda: queue._patience._out_since is not None)
            own_server.start()
            back = asyncio.get_running_loop().time()
            count = len(seen)
            await until(lambda: len(seen) > count)
            return asyncio.get_running_loop().time() - back

        _, resumed_s = await asyncio.gather(
            queue.consume(handler, concurrency=10, stop=stop), restart()
        )
        assert resumed_s < 1.0
        assert seen == ids, "each once"
    assert names.left() == set()


async def test_dequeue_waits_through_an_outage_and_producers_are_told(own_server: Server) -> None:
    names = QueueNames(own_server, "q")
    async with manager(names) as queue:
        own_server.stop()
        assert await queue.dequeue(timeout=0.2) is None
        with pytest.raises(QueueUnavailable, match="safe to try again") as caught:
            await queue.enqueue("x", {})
        assert classify(caught.value).category is ErrorCategory.NETWORK
        health = await queue.health_check()
        assert health["status"] == "unhealthy"
        waiting = asyncio.create_task(queue.dequeue(timeout=30))
        await until(lambda: queue._patience._out_since is not None)
        own_server.start()
        await queue.enqueue("x", {})
        task = await waiting
        assert task is not None
        await queue.complete(task)


@pytest.mark.parametrize("when", ["before", "midway"])
async def test_a_full_server_is_drained_and_refuses_new_tasks(
    own_server: Server, when: str
) -> None:
    names = QueueNames(own_server, "q")
    with own_server.client() as client:
        async with manager(names, max_retries=1) as queue:
            ids = await queue.enqueue_many([("x", {"n": n, "t": "t" * 500}) for n in range(200)])
            if when == "before":
                client.config_set("maxmemory", 1)
            done: list[str] = []
            stop = asyncio.Event()

            async def handler(task: QueueTask) -> None:
                done.append(task.task_id)
                if len(done) == 100:
                    client.config_set("maxmemory", 1)
                    with pytest.raises(QueueOutOfMemory, match="nothing was added"):
                        await queue.enqueue("x", {})
                if task.payload["n"] % 50 == 0:
                    raise ValueError("a failure on a full server")
                if len(set(done)) == 200:
                    stop.set()

            await queue.consume(handler, concurrency=10, stop=stop)
            assert set(done) == set(ids)
            client.config_set("maxmemory", 0)
            await until(lambda: _settled(queue))
            assert (await queue.health_check())["dead_letter_size"] in range(5)


async def _settled(queue: QueueManager) -> bool:
    return (await queue.health_check())["in_flight"] == 0


async def test_flushall_during_consumption_ends_nothing(own_server: Server) -> None:
    names = QueueNames(own_server, "q")
    async with manager(names) as queue:
        await queue.enqueue("x", {"n": 1})
        stop = asyncio.Event()
        seen: list[int] = []

        async def handler(task: QueueTask) -> None:
            seen.append(task.payload["n"])
            if task.payload["n"] == 2:
                stop.set()
                return
            with own_server.client() as client:
                client.flushall()
                client.script_flush()
            await queue.enqueue("x", {"n": 2})

        await queue.consume(handler, stop=stop)
        assert seen == [1, 2]


# -- lost answers ---------------------------------------------------------------------------------


@pytest.fixture
async def line(names: QueueNames) -> AsyncIterator[Line]:
    async with line_to(names.server) as line:
        yield line


async def test_an_enqueue_whose_answer_is_lost_adds_one_task(names: QueueNames, line: Line) -> None:
    async with QueueManager(line.url, names.name, settings=SOON) as queue:
        line.to_lose = 1
        await queue.enqueue("x", {"n": 1})
        assert line.lost == 1
        assert await queue.size() == 1
        task = await queue.dequeue(timeout=0)
        assert task is not None


async def test_a_claim_whose_answer_is_lost_gives_the_same_task_again(
    names: QueueNames, line: Line
) -> None:
    async with QueueManager(line.url, names.name, settings=SOON, lease_s=60) as queue:
        await queue.enqueue("x", {"n": 1}, task_id="one")
        await queue.enqueue("x", {"n": 2}, task_id="two")
        line.to_lose = 1
        first = await queue.dequeue(timeout=5)
        assert line.lost == 1
        assert first is not None
        assert (first.task_id, first.retry_count) == ("one", 0), "not lost for a lease, no try used"
        line.to_lose = 1
        assert await queue.dequeue(timeout=0) is None, "the answer is lost and time is up"
        second = await queue.dequeue(timeout=5)
        assert second is not None
        assert (second.task_id, second.retry_count) == ("two", 0)


async def test_a_ring_that_nobody_heard_takes_nothing(names: QueueNames, line: Line) -> None:
    async with QueueManager(line.url, names.name, settings=SOON, lease_s=60) as queue:
        assert await queue.dequeue(timeout=0) is None  # the server knows the script now
        await queue.enqueue("x", {})
        line.to_lose = 1
        assert await queue.dequeue(timeout=0) is None, "the answer is lost and time is up"
        assert await _in_flight(queue) == 1
        assert queue._now_open.bell is not None
        await queue._now_open.bell._ring_unheard()
        task = await queue.dequeue(timeout=0)
        assert task is not None, "the claim is repeated by one that wants its task"
        assert task.retry_count == 0


@pytest.mark.parametrize("is_done", [False, True], ids=["held", "done"])
async def test_completing_what_another_has_taken_is_false_however_often_it_was_tried(
    names: QueueNames, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_done: bool
) -> None:
    way = tmp_path / "way"
    way.symlink_to(names.server.socket)
    async with (
        QueueManager(f"unix://{way}", names.name, ack="manual", lease_s=60) as slow,
        manager(names, ack="manual", lease_s=60) as other,
    ):
        await slow.enqueue("x", {})
        task = await slow.dequeue(timeout=0)
        assert task is not None
        way.unlink()
        await slow._now_open.connection.close()
        completing = asyncio.create_task(slow.complete(task))
        await until(lambda: "nothing was changed" in caplog.text)  # a try failed, and did nothing
        with names.server.client() as client:  # its lease ends
            client.zadd(names.key("leased"), {task.task_id: 0})
        again = await other.dequeue(timeout=0)
        assert again is not None
        if is_done:
            assert await other.complete(again) is True
        way.symlink_to(names.server.socket)
        assert await completing is False
        assert await other.complete(again) is not is_done


async def test_settling_whose_answer_is_lost_is_done_once(names: QueueNames, line: Line) -> None:
    names.may_be_left |= {"dead", "dead_records", "dead_notes"}
    async with QueueManager(line.url, names.name, settings=SOON, lease_s=60) as queue:
        await queue.enqueue("x", {"n": 1})
        task = await queue.dequeue(timeout=5)
        assert task is not None
        line.to_lose = 1
        assert await queue.retry_task(task) is True
        again = await queue.dequeue(timeout=5)
        assert again is not None
        assert again.retry_count == 1, "one try, not two"
        line.to_lose = 1
        assert await queue.complete(again) is True
        await queue.enqueue("x", {"n": 2}, max_retries=0)
        last = await queue.dequeue(timeout=5)
        assert last is not None
        line.to_lose = 1
        assert await queue.retry_task(last) is False
        assert len(await queue.get_dead_letter_tasks()) == 1
    assert line.lost == 3


async def test_a_replica_has_counts_and_is_unhealthy(own_server: Server) -> None:
    async with QueueManager(own_server.url, settings=SOON) as queue:
        await queue.enqueue("x", {}, task_id="one")
        assert (await queue.health_check())["status"] == "healthy"
        with own_server.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
        health = await queue.health_check()
        assert (health["status"], health["queue_size"]) == ("unhealthy", 1)
        assert "can be read but not written to" in str(health["error"])
        assert "it is a replica, which takes no changes" in str(health["error"])
        with own_server.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        assert (await queue.health_check())["status"] == "healthy"
        assert [task.task_id for task in await queue.peek()] == ["one"], "looking changes nothing"


async def test_a_cancelled_command_leaves_its_reply_to_nobody(
    names: QueueNames, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager(names, max_connections=2) as queue:
        await queue.enqueue("x", {"n": 1}, task_id="one")
        for turns in range(40):
            call = asyncio.create_task(queue.peek() if turns % 2 else queue.health_check())
            for _ in range(turns // 2):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert await queue.size() == 1
            assert [task.task_id for task in await queue.peek()] == ["one"]
        task = await queue.dequeue(timeout=0)
        assert task is not None
        await queue.complete(task)
