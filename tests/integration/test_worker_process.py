"""`twitor worker` as a process of its own: what it says, its port, and its end, however it is asked to end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from valkey_server import Server, until

from twitor_fsm.cli.check_database import has_wal_reset_bug
from twitor_fsm.cli.sourcing import tokens_of
from twitor_fsm.cli.verbs.worker import Plan
from twitor_fsm.cli.verbs.worker import _settings as settings_of
from twitor_fsm.cli.verbs.worker import _tell_start as tell_start
from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.queue_manager import QueueManager
from twitor_fsm.simulator import Simulator
from twitor_fsm.sources.credentials import EnvironmentToken, Secret, TokenFiles
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.worker import Worker, enqueue_crawl

CLI: Final = ("-m", "twitor_fsm.cli")
STUCK: Final = str(Path(__file__).parent / "stuck_worker.py")
USER: Final = "42"


@attrs.define
class Running:
    """A worker process and what it has said so far."""

    process: Process
    lines: list[str] = attrs.Factory(list)
    out: bytes = b""

    async def said(self, part: str) -> str:
        """The first line with this in it, when it comes; the end of the process is not waited for."""
        for line in self.lines:
            if part in line:
                return line
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while raw := await self.process.stderr.readline():
                self.lines.append(raw.decode().rstrip("\n"))
                if part in self.lines[-1]:
                    return self.lines[-1]
        raise AssertionError(f"it ended without saying {part!r}: {self.lines}")

    async def ended(self) -> int:
        """Its exit code; what was still to be said is in `lines`."""
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            err, self.out = await asyncio.gather(
                self.process.stderr.read(), self.process.stdout.read()
            )
            self.lines += err.decode().splitlines()
            return await self.process.wait()

    async def url(self) -> str:
        found = re.search(r"metrics and probes at (http://\S+);", await self.said("working: "))
        assert found is not None, self.lines
        return found[1]


@attrs.frozen
class Site:
    """Where workers work: a queue, a database, an API."""

    server: Server
    db: str
    environment: dict[str, str]

    @contextlib.asynccontextmanager
    async def worker(self, *options: str, script: tuple[str, ...] = CLI) -> AsyncIterator[Running]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*script, "worker", "--db", self.db, *options),
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | self.environment,
        )
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    def queue(self) -> QueueManager:
        return QueueManager(self.server.url, settings=Settings())

    async def ask(self, *users: str) -> None:
        async with self.queue() as queue, CrawlEngine(self.db, settings=Settings()) as engine:
            for user in users:
                await enqueue_crawl(queue, user_id=user, engine=engine)

    async def health(self) -> dict[str, Any]:
        async with self.queue() as queue:
            return dict(await queue.health_check())


@pytest.fixture
def site(own_server: Server, db: str) -> Site:
    environment = {"VALKEY_URL": own_server.url, "X_BEARER_TOKEN": "a-token"}
    return Site(own_server, db, environment)


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@contextlib.asynccontextmanager
async def api_that_hangs() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The address of something that takes requests and answers none, and whether it was asked."""
    leaving, asked = asyncio.Event(), asyncio.Event()

    async def hang(_reader: object, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await leaving.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
        leaving.set()


# -- what it says ---------------------------------------------------------------------------------


async def test_it_says_what_it_does(site: Site) -> None:
    async with Simulator(bookmarks=30, token="a-token") as sim:
        options = ("--api-url", sim.base_url, "--metrics-port", "0", "--json")
        await site.ask(sim.user_id)
        async with site.worker(*options) as worker:
            url = await worker.url()
            (said,) = worker.lines
            assert said == (
                f"working: 10 crawls at once, from queue twitor:tasks at {site.server.url} into {site.db}; "
                f"metrics and probes at {url}; stop with SIGTERM or Ctrl-C"
            )
            line = await worker.said(f"user {sim.user_id}: ")
            assert line.endswith(f"  user {sim.user_id}: complete; its session stored 30 bookmarks")
            assert await worker.said("waiting: ") == "waiting: nothing to do now"
            status, text = await asyncio.to_thread(get, f"{url}/metrics")
            assert status == 200
            assert b'twitor_items_total{outcome="stored"} 30.0' in text
            assert b'twitor_queue_up{queue="twitor:tasks"} 1.0' in text
            assert b"process_resident_memory_bytes" in text
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
        warned = [
            line for line in worker.lines if line.startswith("warning: Python is linked with")
        ]
        assert len(warned) == has_wal_reset_bug(sqlite3.sqlite_version_info)
        assert worker.lines[-2].startswith("stopping: nothing more is taken")
        assert re.fullmatch(
            r"stopped after \d+ s: 1 crawl, 1 completed; 30 bookmarks stored", worker.lines[-1]
        )
        told = json.loads(worker.out)
        assert told.pop("seconds") > 0
        assert told == {
            "stopped": True,
            "crawls": {"completed": 1},
            "sessions": {"completed": 1},
            "stored": 30,
            "skipped": 0,
            "error": None,
            "exit_code": 0,
        }


async def test_a_pause_and_an_error_are_told_as_what_they_are(site: Site, tmp_path: Path) -> None:
    async with Simulator(bookmarks=100, users=3, limit=1) as sim:
        tokens = (sim.token, "revoked", "revoked-too")
        for user_id, token in zip(sim.user_ids, tokens, strict=True):
            (tmp_path / user_id).write_text(token)
            (tmp_path / user_id).chmod(0o600)
        site.environment.update({"X_BEARER_TOKEN": "", "TWITOR_TOKEN_DIR": str(tmp_path)})
        await site.ask(*sim.user_ids)
        async with site.worker("--api-url", sim.base_url) as worker:
            paused = await worker.said(f"user {sim.user_id}: ")
            assert "paused by the rate limit until " in paused
            refused = await worker.said(f"user {sim.user_ids[1]}: ")
            assert "ended by an error: " in refused
            assert "ended by an error: " in await worker.said(f"user {sim.user_ids[2]}: ")
            assert sum("PKCE" in line for line in worker.lines) == 1, "how to get one, told once"
            assert sum(sim.user_ids[1] in line for line in worker.lines) == 1, "told once"
            assert (await worker.said("waiting: ")).endswith("nothing to do now, 1 task for later")
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
        assert "1 paused by the rate limit" in worker.lines[-1]
        assert "2 ended by an error" in worker.lines[-1]


async def test_what_a_killed_worker_had_is_waited_for_aloud(site: Site) -> None:
    async with api_that_hangs() as (address, asked):
        await site.ask(USER)
        async with site.worker("--api-url", address) as killed:
            await asyncio.wait_for(asked.wait(), 20)
            killed.process.kill()
            await killed.process.wait()
        async with site.worker("--api-url", address) as worker:
            told = await worker.said("waiting: ")
            assert re.search(
                r"waiting: 1 task with other workers; what a worker had that died comes back when its lease ends, "
                r"by \d\d:\d\d:\d\d at the latest",
                told,
            )
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0


async def test_an_outage_is_told_with_its_times_and_its_end(site: Site) -> None:
    async with site.worker() as worker:
        await worker.said("working: ")
        site.server.stop()
        began = await worker.said("no answer from Valkey")
        site.server.start()
        ended = await worker.said("Valkey answers again, after ")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
    for line in (began, ended):
        assert re.match(r"\d\d:\d\d:\d\d  ", line)


async def test_a_crawl_that_paused_here_counts_once(site: Site) -> None:
    async with Simulator(bookmarks=100, limit=1, window_s=1.0, token="a-token") as sim:
        await site.ask(sim.user_id)
        async with site.worker("--api-url", sim.base_url, "--json") as worker:
            await worker.said(": complete; ")
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
    assert sum("paused by the rate limit until" in line for line in worker.lines) >= 1
    assert re.search(r": 1 crawl, 1 completed; 100 bookmarks stored$", worker.lines[-1])
    told = json.loads(worker.out)
    assert told["crawls"] == {"completed": 1}
    assert told["sessions"]["paused_rate_limit"] >= 1


async def test_a_port_that_is_taken_ends_it_before_anything_is_made(site: Site) -> None:
    async def nothing(_reader: object, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with site.worker("--metrics-port", str(port)) as worker:
            assert await worker.ended() == 2
    (line,) = worker.lines
    assert line.startswith(f"twitor: cannot listen at 127.0.0.1 port {port}")
    assert not Path(site.db).exists()  # noqa: ASYNC240 - of a moment


# -- its end --------------------------------------------------------------------------------------


async def test_a_signal_ends_a_request_at_once_and_gives_the_crawl_back(site: Site) -> None:
    async with api_that_hangs() as (address, asked):
        await site.ask(USER)
        async with site.worker("--api-url", address, "--metrics-port", "0") as worker:
            url = await worker.url()
            await asyncio.wait_for(asked.wait(), 20)
            assert (await asyncio.to_thread(get, f"{url}/readyz"))[0] == 200
            assert (await site.health())["in_flight"] == 1
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
    (told,) = (line for line in worker.lines if f"user {USER}: " in line)
    assert told.endswith(
        "stopped; a checkpoint is saved, the crawl goes back to the queue; its session stored 0 bookmarks so far"
    )
    health = await site.health()
    assert (health["in_flight"], (health["queue_size"] or 0) + (health["delayed"] or 0)) == (0, 1)


async def is_finished_by_another(site: Site, user: str = USER) -> bool:
    """Another worker takes over what is left; whether every bookmark is stored, once, in the end."""
    async with Simulator(bookmarks=30, user_id=user) as sim:
        settings = Settings(lease_s=2.0)
        source = XBookmarks(Secret(sim.token), base_url=sim.base_url)
        async with (
            QueueManager(site.server.url, lease_s=2.0, settings=settings) as queue,
            CrawlEngine(site.db, settings=settings) as engine,
        ):
            worker = Worker(engine, queue, source, sweep_s=0.2)
            running = asyncio.create_task(worker.run())

            async def is_complete() -> bool:
                (newest,) = await engine.sessions(limit=1)
                return str(newest.value.state) == "completed"

            await until(is_complete, 20)
            worker.stop()
            await running
            return sorted([bookmark.id async for bookmark in engine.bookmarks(user)]) == sorted(
                sim.truth()
            )


@pytest.mark.parametrize("mode", ["deaf", "blocking"])
async def test_what_hangs_does_not_hold_the_end_and_nothing_is_lost(site: Site, mode: str) -> None:
    await site.ask(USER)
    options = ("--drain-timeout", "1", "--metrics-port", "0", "--json")
    async with site.worker(*options, script=(STUCK, mode)) as worker:
        url = await worker.url()
        await worker.said("hanging")
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        if mode == "deaf":  # while it drains, it lives and is not ready
            await worker.said("stopping: ")
            status, body = await asyncio.to_thread(get, f"{url}/readyz")
            assert (status, json.loads(body)["draining"]) == (503, True)
            assert (await asyncio.to_thread(get, f"{url}/healthz"))[0] == 200
        assert await worker.ended() == 75
        assert time.monotonic() - began >= 1.0
    assert "not everything ended within 1 s" in worker.lines[-1]
    told = json.loads(worker.out)
    assert (told["error"], told["exit_code"]) == ("interrupted", 75)
    assert (await site.health())["in_flight"] == 1, "its task is not done"
    assert await is_finished_by_another(site)


async def test_a_worker_that_drains_by_itself_ends_in_time_too(site: Site) -> None:
    await site.ask("1", USER)
    async with site.worker("--drain-timeout", "1", script=(STUCK, "memory")) as worker:
        assert await worker.ended() == 75
    assert any("out_of_memory: this worker drains" in line for line in worker.lines)
    assert "not everything ended within 1 s" in worker.lines[-1]


async def test_a_worker_that_drained_by_itself_ends_with_1(site: Site) -> None:
    await site.ask("1")
    async with site.worker("--json", script=(STUCK, "alone")) as worker:
        assert await worker.ended() == 1
    assert any("out_of_memory: this worker drains" in line for line in worker.lines)
    assert "stopped by itself: out of memory; its crawls are in the queue" in worker.lines[-1]
    told = json.loads(worker.out)
    assert (told["error"], told["exit_code"]) == ("fatal", 1)
    health = await site.health()
    assert (health["in_flight"], health["delayed"]) == (0, 1), "it comes again"
    assert await is_finished_by_another(site, "1")


def test_handlers_get_a_third_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALKEY_URL", "redis://127.0.0.1")
    assert settings_of("b.db", None, None, 6.0).cancel_grace_s == 2.0
    assert settings_of("b.db", None, None, 60.0).cancel_grace_s == 10.0
    monkeypatch.setenv("TWITOR_DRAIN_TIMEOUT_S", "9")
    monkeypatch.setenv("TWITOR_METRICS_PORT", "9464")
    found = settings_of("b.db", None, "::1", None)
    assert (found.metrics_host, found.metrics_port) == ("::1", 9464)
    assert (found.drain_timeout_s, found.cancel_grace_s) == (9.0, 3.0)
    assert settings_of("b.db", 0, None, 5.0).metrics_port == 0


async def test_a_stderr_that_nobody_reads_does_not_hold_the_end(site: Site) -> None:
    await site.ask(USER)
    async with site.worker("--drain-timeout", "1", script=(STUCK, "chatty")) as worker:
        await worker.said("hanging")
        worker.process.send_signal(signal.SIGTERM)
        await until(lambda: worker.process.returncode is not None)  # no word more is read
        assert worker.process.returncode == 75


async def test_a_second_signal_ends_it_at_once(site: Site) -> None:
    await site.ask(USER)
    async with site.worker("--drain-timeout", "600", script=(STUCK, "deaf")) as worker:
        await worker.said("hanging")
        worker.process.send_signal(signal.SIGTERM)
        await worker.said("stopping: ")

        def has_ended() -> bool:
            if worker.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGTERM)  # one soon after the first is none
            return worker.process.returncode is not None

        await until(has_ended)
        assert await worker.ended() == 143
    assert await is_finished_by_another(site)


async def test_a_session_that_only_waits_ends_well_within_the_limit(site: Site) -> None:
    await site.ask(USER)
    async with site.worker(script=(STUCK, "waiting")) as worker:
        await worker.said("hanging")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
    assert await is_finished_by_another(site)


async def test_a_worker_without_any_token_takes_nothing(site: Site) -> None:
    await site.ask(USER)
    del site.environment["X_BEARER_TOKEN"]
    async with site.worker("--json") as worker:
        assert await worker.ended() == 10
    assert "no token: neither TWITOR_TOKEN_DIR" in worker.lines[-1]
    assert (await site.health())["queue_size"] == 1


def test_each_users_token_goes_before_the_one_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("X_BEARER_TOKEN", "one-users")
    settings = Settings(token_dir=tmp_path)
    assert isinstance(tokens_of(settings, many=True), TokenFiles)
    assert isinstance(tokens_of(settings), EnvironmentToken)
    assert isinstance(tokens_of(Settings(), many=True), EnvironmentToken)


async def test_a_valkey_that_is_away_for_a_moment_ends_no_worker_that_says_what_it_does(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(valkey_url=site.server.url, database_url=site.db)
    async with site.queue() as queue:
        site.server.stop()  # while the worker waited for its schema
        await tell_start(Plan(settings, site.db, None, 10), queue, None)
        site.server.start()
        await queue.pause()
        await tell_start(Plan(settings, site.db, None, 10), queue, None)
    working, working_again, paused = capsys.readouterr().err.splitlines()
    assert working == working_again
    assert working.startswith("working: 10 crawls at once")
    assert "twitor queue resume" in paused
