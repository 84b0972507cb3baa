"""Signals in every state, clocks that jump, and names that are paths: no state is lost, no file but ours is opened."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scripted import ids

from twitor_fsm.config import Settings
from twitor_fsm.core.states import State
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import CredentialsMissing, RateLimited, SessionNotFound, SourceUnavailable
from twitor_fsm.report import CrawlReport
from twitor_fsm.simulator import Fault, FaultKind, FaultPlan, Simulator
from twitor_fsm.sources.base import Item
from twitor_fsm.sources.credentials import TokenFiles
from twitor_fsm.testing import ListSource, MemoryStore
from twitor_fsm.testing.simulated_time import LoopClock, SimulatedLoop

LISTING = ids(30)
HOUR_S = 3600.0


# -- signals --------------------------------------------------------------------------------------------


async def twitor(folder: Path, *args: str, **environment: str) -> Process:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TWITOR_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *args),
        cwd=folder,
        env={
            **inherited,
            "X_BEARER_TOKEN": "simulated-user-token",
            "DATABASE_URL": "",
            **environment,
        },
        stdout=PIPE,
        stderr=PIPE,
    )


async def said(process: Process, words: str) -> None:
    """Wait until stderr says this."""
    assert process.stderr is not None
    seen = ""
    while words not in seen:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        assert line, f"never said {words!r}: {seen}"
        seen += line.decode()


def state_in(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        (row,) = connection.execute("SELECT state FROM twitor_session").fetchall()
    return str(row[0])


STATES: dict[str, tuple[FaultKind, str, State]] = {
    "running": (FaultKind.SLOW, "starting the crawl", State.RUNNING),
    "retrying": (FaultKind.SERVER_ERROR, "trying again in", State.RETRYING),
    "paused": (FaultKind.RATE_LIMITED, "pausing", State.PAUSED_RATE_LIMIT),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(("kind", "words", "state"), STATES.values(), ids=list(STATES))
async def test_a_signal_in_any_state_costs_no_item(
    tmp_path: Path, number: signal.Signals, kind: FaultKind, words: str, state: State
) -> None:
    faults = FaultPlan(faults=(Fault(kind=kind, at=(2,), seconds=2.0),))
    async with Simulator(120, faults=faults, window_s=2.0) as simulator:
        crawl = ("-m", "twitor_fsm.cli", "crawl", "--api-url", simulator.base_url)
        process = await twitor(tmp_path, *crawl, "-v", INITIAL_BACKOFF="4")
        await said(process, words)
        while len(simulator.ledger) < 3:  # noqa: ASYNC110 - "me", a page, the fault
            await asyncio.sleep(0.01)
        process.send_signal(number)
        await asyncio.wait_for(process.communicate(), 30)
        if number is signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
            assert state_in(tmp_path / "bookmarks.db") in {state, State.RUNNING}
        else:
            assert process.returncode == 75
            assert state_in(tmp_path / "bookmarks.db") == State.SHUT_DOWN

        again = await twitor(tmp_path, *crawl, "--json", INITIAL_BACKOFF="0.01")
        out, _ = await asyncio.wait_for(again.communicate(), 60)
        assert again.returncode == 0
        assert json.loads(out)["bookmarks_count"] == len(simulator.obtainable()) == 120


CLEANING = """
import asyncio, sys
from twitor_fsm import CrawlEngine, Settings
from twitor_fsm.errors import AuthenticationFailed
from twitor_fsm.testing import ListSource

async def hang():
    print("cleaning up", file=sys.stderr, flush=True)
    await asyncio.Event().wait()

async def main(path, error):
    async with CrawlEngine(path, settings=Settings()) as engine:
        listing = [str(n) for n in range(1000, 1030)]
        source = ListSource(listing, script={2: error})
        await engine.crawl(source, user_id="me", cleanup=[hang])

error = AuthenticationFailed("no") if sys.argv[2] == "aborting" else MemoryError()
asyncio.run(main(sys.argv[1], error))
"""


@pytest.mark.parametrize("state", [State.ABORTING, State.SHUTTING_DOWN])
async def test_a_kill_amid_the_cleanup_leaves_what_the_next_run_takes_up(
    tmp_path: Path, state: State
) -> None:
    path = tmp_path / "b.db"
    process = await twitor(tmp_path, "-c", CLEANING, str(path), state)
    await said(process, "cleaning up")
    process.kill()
    await asyncio.wait_for(process.communicate(), 30)
    assert state_in(path) == state

    listing = [str(n) for n in range(1000, 1030)]
    async with CrawlEngine(str(path), settings=Settings()) as engine:
        report = await engine.crawl(ListSource(listing), user_id="me")
        assert report.completed
        assert sorted([one.id async for one in engine.bookmarks()]) == listing
        (_, buried) = await engine.sessions()
        ends = {State.ABORTING: State.ABORTED, State.SHUTTING_DOWN: State.SHUT_DOWN}
        assert buried.value.state == ends[state]
        assert (await engine.journal(buried.session_id))[-1].reason == "died_in_cleanup"


# -- clocks -----------------------------------------------------------------------------------------------


def crawl_with_jumps(jump_s: float) -> tuple[CrawlReport, float, int]:
    """A crawl through a retry and a pause; the wall clock jumps at an item, in the retry's wait and in the pause."""

    async def story(loop: SimulatedLoop) -> tuple[CrawlReport, float, int]:
        clock = LoopClock(loop)

        def jump() -> None:
            clock.skew_s += jump_s

        async def handler(item: Item, fence: int) -> None:
            await asyncio.sleep(0.1)
            if item.key == LISTING[3]:
                jump()

        source = ListSource(
            LISTING,
            size=10,
            script={2: SourceUnavailable("down"), 3: SourceUnavailable("down"), 5: RateLimited()},
        )

        def on_request(number: int) -> None:
            if number in {3, 5}:
                loop.call_later(0.5, jump)

        source.on_request = on_request
        async with CrawlEngine(MemoryStore(), settings=Settings(), clock=clock) as engine:
            report = await engine.crawl(source, user_id="me", handler=handler)
        return report, loop.time(), source.requests

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulatedLoop)
        return runner.run(story(loop))


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 365 * 24 * HOUR_S, -365 * 24 * HOUR_S])
def test_a_clock_that_jumps_makes_no_hot_loop_and_loses_nothing(jump_s: float) -> None:
    still, _, requests_then = crawl_with_jumps(0.0)
    report, seconds, requests = crawl_with_jumps(jump_s)

    assert still.completed
    assert (report.state, report.lost, report.durable) == (State.COMPLETED, False, True)
    assert report.counters.stored == len(LISTING)
    assert requests <= requests_then + 1
    longer_s = 2 * HOUR_S if jump_s == -HOUR_S else 0.0  # a wait ends when its hour strikes
    assert seconds <= 960.0 + 60.0 + longer_s


# -- names --------------------------------------------------------------------------------------------------

NAMES = [
    "../stolen",
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "a\0b",
    "\ud800",
    "x" * 10_000,
    "\x1b[2J\u202e",
    "\uff41\uff44\uff41",
    "' OR '1'='1",
    "%2e%2e%2f",
    "",
]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", NAMES)
async def test_a_session_id_that_is_none_finds_none_and_says_so_briefly(
    tmp_path: Path, name: str
) -> None:
    async with CrawlEngine(str(tmp_path / "b.db"), settings=Settings()) as engine:
        await engine.crawl(ListSource(LISTING), user_id="me")
        for ask in (engine.status, engine.journal, engine.cancel):
            with pytest.raises(SessionNotFound) as caught:
                await ask(name)
            said = str(caught.value)
            assert len(said) < 200
            assert said.isprintable()
        (session,) = await engine.sessions()
        assert session.value.state == State.COMPLETED
    assert names_in(tmp_path) <= {"b.db", "b.db-wal", "b.db-shm"}


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.isprintable() and 0 < len(name) <= 200]
)
async def test_a_user_whose_name_is_a_path_is_a_user_like_any_other(
    tmp_path: Path, name: str
) -> None:
    """A user's id is text of the database; as a file's name it is taken only where it cannot lead anywhere."""
    database = tmp_path / "in" / "b.db"
    database.parent.mkdir()
    async with CrawlEngine(str(database), settings=Settings()) as engine:
        assert (await engine.crawl(ListSource(LISTING), user_id=name)).completed
        assert len([one async for one in engine.bookmarks(name)]) == len(LISTING)
        assert [one async for one in engine.bookmarks("me")] == []
    assert names_in(tmp_path) == {"in"}
    (tmp_path / "stolen").write_text("a-token-of-somebody-else")
    with pytest.raises(CredentialsMissing):
        await TokenFiles(database.parent).token(name)


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "x" * 10_000, "\x1b[2J\u202e"])
async def test_the_command_line_takes_no_path_for_a_session(tmp_path: Path, name: str) -> None:
    async with CrawlEngine(str(tmp_path / "bookmarks.db"), settings=Settings()) as engine:
        await engine.crawl(ListSource(LISTING), user_id="me")
    process = await twitor(
        tmp_path, "-m", "twitor_fsm.cli", "sessions", "show", "--json", "--", name
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    told: dict[str, Any] = json.loads(out)
    assert (process.returncode, told["error"]) == (2, "usage")
    assert len(told["message"]) < 300
    assert all(char == "\n" or char.isprintable() for char in err.decode())
