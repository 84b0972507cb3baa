"""SIGKILL at random instants of the real command, then the same command again: nothing lost, nothing doubled.

The instants are random on purpose and differ from run to run; what is asserted holds for all of them.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from twitor_fsm.simulator import Simulator

KILLS_EACH = 50
"""Kills per source; 100 in all."""

PAGE = 20


class Command:
    """`twitor crawl`, run again and again on one database."""

    def __init__(self, db: Path, arguments: list[str], token: str) -> None:
        self.db = db
        self.arguments = ["crawl", *arguments, "--db", str(db), "--quiet", "--json"]
        self.environment = {**os.environ, "X_BEARER_TOKEN": token}

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "twitor_fsm.cli",
            *self.arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def kill_after(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Run until the condition holds and so many seconds more; whether it was still alive to be killed."""
        process = await self.start()
        ended = asyncio.ensure_future(process.communicate())
        while not condition() and not ended.done():
            await asyncio.wait({ended}, timeout=0.01)
        await asyncio.wait({ended}, timeout=seconds)
        alive = process.returncode is None
        if alive:
            process.send_signal(signal.SIGKILL)
        _, err = await ended
        if not alive:
            assert process.returncode == 0, err.decode()
        return alive

    async def finish(self) -> dict[str, object]:
        process = await self.start()
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        report: dict[str, object] = json.loads(out)
        return report


def check_database(db: Path) -> None:
    """The checkpoint never names what is not there, and counts are those of the rows."""
    if not db.exists():
        return
    connection = sqlite3.connect(db)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "twitor_bookmark" not in tables:
            return
        [rows] = connection.execute("SELECT count(*) FROM twitor_bookmark").fetchone()
        crawls = connection.execute(
            "SELECT last_tweet_id, bookmarks_count, mark FROM twitor_crawl"
        ).fetchall()
        for last, count, mark in crawls:
            assert count == rows
            assert json.loads(mark).get("position", 0) <= rows
            if last is not None:
                found = connection.execute(
                    "SELECT 1 FROM twitor_bookmark WHERE item_id = ?", (last,)
                ).fetchone()
                assert found, "the checkpoint names an item that is not stored"
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


def stored(db: Path) -> list[str]:
    connection = sqlite3.connect(db)
    try:
        return [key for (key,) in connection.execute("SELECT item_id FROM twitor_bookmark")]
    finally:
        connection.close()


async def test_no_kill_loses_or_doubles_a_bookmark_of_the_api(tmp_path: Path) -> None:
    draw, kills, number = random.Random(), 0, 0
    while kills < KILLS_EACH:
        number += 1
        count = draw.randrange(1500, 3000)
        async with Simulator(count, seed=number, limit=10**6) as sim:
            command = Command(
                tmp_path / f"x{number}.db",
                [
                    "x",
                    "--api-url",
                    sim.base_url,
                    "--user-id",
                    sim.user_id,
                    "--page-size",
                    str(PAGE),
                ],
                sim.token,
            )
            killed_here = 0
            while kills < KILLS_EACH and killed_here < 12:
                before = len(sim.ledger)
                at_startup = draw.random() < 0.1
                killed = await command.kill_after(
                    lambda before=before, now=at_startup: now or len(sim.ledger) > before,  # type: ignore[misc]
                    draw.uniform(0.0, 0.15),
                )
                check_database(command.db)
                if not killed:
                    break
                kills += 1
                killed_here += 1
            report = await command.finish()

            check_database(command.db)
            assert report["state"] == "completed"
            assert sorted(stored(command.db)) == sorted(sim.truth())
            pages, probes, top_up = -(-count // PAGE), 3, 2
            assert len(sim.ledger) <= pages + probes + top_up + 2 * (killed_here + 1)


async def test_no_kill_loses_or_doubles_a_bookmark_of_a_file(tmp_path: Path) -> None:
    draw, kills, number = random.Random(), 0, 0
    while kills < KILLS_EACH:
        number += 1
        keys = [str(draw.randrange(10**6, 10**19)) for _ in range(8000)]
        keys = list(dict.fromkeys(keys))
        path = tmp_path / f"pages{number}.jsonl"
        path.write_text(
            "".join(
                json.dumps(
                    {
                        "data": [{"id": k, "text": f"text {k}"} for k in keys[n : n + 50]],
                        "meta": {"result_count": len(keys[n : n + 50])},
                    }
                )
                + "\n"
                for n in range(0, len(keys), 50)
            )
        )
        command = Command(tmp_path / f"f{number}.db", [str(path), "--page-size", "25"], "")
        killed_here = 0
        while kills < KILLS_EACH and killed_here < 12:
            killed = await command.kill_after(command.db.exists, draw.uniform(0.0, 0.5))
            check_database(command.db)
            if not killed:
                break
            kills += 1
            killed_here += 1
        report = await command.finish()

        check_database(command.db)
        assert report["state"] == "completed"
        assert sorted(stored(command.db)) == sorted(keys)


async def test_a_kill_inside_a_pause_is_waited_out_by_the_next_process_without_a_request(
    tmp_path: Path,
) -> None:
    async with Simulator(400, limit=5, window_s=6.0) as sim:
        command = Command(
            tmp_path / "x.db",
            ["x", "--api-url", sim.base_url, "--user-id", sim.user_id, "--page-size", "20"],
            sim.token,
        )

        def paused() -> bool:
            if not command.db.exists():
                return False
            connection = sqlite3.connect(command.db)
            try:
                states = connection.execute(
                    "SELECT state, resume_at FROM twitor_session"
                ).fetchall()
            except sqlite3.OperationalError:
                return False
            finally:
                connection.close()
            return bool(states) and states[-1][0] == "paused_rate_limit"

        assert await command.kill_after(paused, 0.05)
        connection = sqlite3.connect(command.db)
        [[resume_at]] = connection.execute("SELECT resume_at FROM twitor_session").fetchall()
        connection.close()
        made = len(sim.ledger)

        process = await command.start()
        ended = asyncio.ensure_future(process.communicate())
        while len(sim.ledger) == made and not ended.done():
            await asyncio.wait({ended}, timeout=0.005)
        first_request_at = sim.ledger[made].at
        process.send_signal(signal.SIGKILL)
        await ended

        assert first_request_at >= resume_at
        assert stored(command.db)
