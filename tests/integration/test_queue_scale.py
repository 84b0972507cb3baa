"""What a queue costs: bytes for each task, and how fast what is due becomes ready."""

import asyncio
import time
from typing import Any

import pytest
from valkey_server import QueueNames, Server

from twitor_fsm.config import Settings
from twitor_fsm.queue_manager import QueueManager, QueueTask

PAYLOAD = {"t": "x" * 90}  # 100 bytes of JSON


def used_memory(server: Server) -> int:
    with server.client() as client:
        info: Any = client.info("memory")
        return int(info["used_memory"])


async def test_a_waiting_task_of_100_bytes_takes_at_most_300(own_server: Server) -> None:
    count = 10_000
    names = QueueNames(own_server, "q")
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        before = used_memory(own_server)
        await queue.enqueue_many([("process_bookmark", PAYLOAD)] * count)
        each = (used_memory(own_server) - before) / count
        assert each <= 300
        await consume_all(queue, count, concurrency=500)
        assert names.left() == set()


async def test_a_paused_session_takes_at_most_300_bytes(own_server: Server) -> None:
    count = 10_000
    names = QueueNames(own_server, "q")
    async with QueueManager(names.url, names.name, settings=Settings()) as queue:
        before = used_memory(own_server)
        await queue.enqueue_many([("crawl", {"user": f"{n:019}"}) for n in range(count)], delay=900)
        assert (used_memory(own_server) - before) / count <= 300


async def consume_all(queue: QueueManager, count: int, *, concurrency: int) -> list[str]:
    seen: list[str] = []
    stop = asyncio.Event()

    async def handler(task: QueueTask) -> None:
        seen.append(task.task_id)
        if len(seen) == count:
            stop.set()

    await queue.consume(handler, concurrency=concurrency, stop=stop)
    return seen


@pytest.mark.slow
async def test_50_000_delayed_tasks_become_ready_fast_and_each_once(own_server: Server) -> None:
    count = 50_000
    names = QueueNames(own_server, "q")
    async with QueueManager(names.url, names.name, settings=Settings(), lease_s=60) as queue:
        ids = await queue.enqueue_many([("crawl", {"n": n}) for n in range(count)], delay=600)
        assert (await queue.health_check())["delayed"] == count
        assert await queue.dequeue(timeout=0) is None
        make_due(names)

        start = time.process_time()
        with own_server.client() as client:
            used = server_seconds(client)
            while (await queue.health_check())["delayed"]:
                await queue._now_open.queue.ring_again()
            promoting_s = server_seconds(client) - used
        assert time.process_time() - start < 10
        assert count / promoting_s >= 20_000, "by the server's own CPU time"

        seen = await consume_all(queue, count, concurrency=500)
        assert len(seen) == count
        assert set(seen) == set(ids)
    assert names.left() == set()


def server_seconds(client: Any) -> float:
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user_main_thread"]) + float(cpu["used_cpu_sys_main_thread"])


def make_due(names: QueueNames) -> None:
    """As if the ten minutes were over."""
    move = """
        local all = redis.call('ZRANGE', KEYS[1], 0, -1)
        for _, member in ipairs(all) do redis.call('ZADD', KEYS[1], 1, member) end
        return #all
    """
    with names.server.client() as client:
        client.eval(move, 1, names.key("delayed"))
