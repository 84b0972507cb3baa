"""`twitor` as a process against the simulated X: exit codes, streams, signals."""

import asyncio
import contextlib
import json
import os
import pty
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from terminals import read_all

from twitor_fsm.simulator import EarlyEnd, Fault, FaultKind, FaultPlan, ItemFault, Simulator

REPORT_KEYS = {
    "session_id", "state", "reason", "message", "seen", "stored", "already_known", "skipped",
    "skipped_items", "errors", "requests", "items_fetched", "cost_usd_estimate", "retries", "pauses",
    "resume_at", "durable", "exit_code", "cost_note", "error",
}  # fmt: skip


@attrs.frozen
class Done:
    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        assert value["exit_code"] == self.code
        return value


@attrs.frozen
class Twitor:
    """Starts the command line in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    async def start(self, *args: str, **environment: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "twitor_fsm.cli", *args,
            cwd=self.folder, env={**self.environment, **environment}, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip

    async def __call__(self, *args: str, **environment: str) -> Done:
        return await finish(await self.start(*args, **environment))


async def finish(process: Process) -> Done:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Done(process.returncode, out.decode(), err.decode())


async def said(process: Process, words: str) -> str:
    """Wait until stderr says this."""
    assert process.stderr is not None
    seen = ""
    while words not in seen:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        assert line, f"never said {words!r}: {seen}"
        seen += line.decode()
    return seen


@pytest.fixture
def twitor(tmp_path: Path) -> Twitor:
    unwanted = ("DATABASE_URL", "X_BEARER_TOKEN", "NO_COLOR", "PYTHONPATH", "TWITOR_TOKEN_DIR")
    environment = {name: text for name, text in os.environ.items() if name not in unwanted}
    return Twitor(
        tmp_path,
        {**environment, "INITIAL_BACKOFF": "0.01", "X_BEARER_TOKEN": "simulated-user-token"},
    )


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(250, window_s=0.5) as simulator:
        yield simulator


def paths(simulator: Simulator) -> list[str]:
    return [entry.path for entry in simulator.ledger]


def plan(*faults: Fault, **more: Any) -> FaultPlan:
    return FaultPlan(faults=faults, **more)


async def exported(twitor: Twitor, *args: str) -> list[str]:
    done = await twitor("export", *args)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    return [row["id"] for row in rows if row["kind"] == "post"]


async def test_a_crawl_ends_with_one_object_and_asks_who_it_is_once(
    twitor: Twitor, sim: Simulator
) -> None:
    first = await twitor("crawl", "--api-url", sim.base_url, "--json")
    assert first.code == 0, first.err
    assert set(first.told) >= REPORT_KEYS
    assert (first.told["state"], first.told["stored"]) == ("completed", 250)
    assert first.told["user_id_from"] == "api"
    assert "0.005" in first.told["cost_note"]
    assert "expansions" in first.told["cost_note"]
    second = await twitor("crawl", "--api-url", sim.base_url, "--json")
    assert second.told["stored"] == 0
    assert second.told["user_id_from"] == "database"
    assert paths(sim).count("/2/users/me") == 1
    assert sorted(await exported(twitor)) == sorted(sim.obtainable())


async def test_every_recovery_is_said_and_everything_arrives(twitor: Twitor) -> None:
    async with Simulator(400, faults="typical", window_s=0.5) as sim:
        done = await twitor("crawl", "--api-url", sim.base_url, "--page-size", "20")
        assert done.code == 0, done.err
        for words in ("network:", "trying again", "recovered", "rate limit", "pausing", "skipped"):
            assert words in done.err
        assert done.out.startswith("Completed")
        assert sorted(await exported(twitor)) == sorted(sim.obtainable())


async def test_the_summary_prints_the_same_command(twitor: Twitor) -> None:
    faults = plan(Fault(kind=FaultKind.RATE_LIMITED, at=(2,)))
    async with Simulator(250, faults=faults, window_s=0.5) as sim:
        options = (
            "--api-url", sim.base_url, "--user-id", sim.user_id, "--page-size", "50", "--expand",
            "none", "--no-wait", "--db", "a b.db",
        )  # fmt: skip
        first = await twitor("crawl", *options)
        assert first.code == 11
        line = first.out.partition("run the same command again: ")[2].splitlines()[0]
        words = shlex.split(line)
        assert words[words.index("crawl") :] == ["crawl", *options]
        assert "simulated-user-token" not in first.out
        second = await twitor("crawl", *options[:-3], *options[-2:])
        assert second.code == 0
        assert "it is paused by the rate limit" in second.err  # and perhaps that the pause is over
        assert "nobody runs it now" not in second.err
        shown = (await twitor("status", "--db", "a b.db")).out
        assert "with the options you crawled with" in shown
        assert "UTC" not in first.out + first.err + second.err + shown


async def test_a_refused_token_is_told_once_and_leaves_no_database(
    twitor: Twitor, sim: Simulator
) -> None:
    done = await twitor("crawl", "--api-url", sim.base_url, X_BEARER_TOKEN="wrong")
    assert done.code == 10
    assert list(twitor.folder.iterdir()) == []
    assert "nothing was started" in done.err
    known = await twitor(
        "crawl", "--api-url", sim.base_url, "--user-id", sim.user_id, X_BEARER_TOKEN="wrong"
    )
    assert (known.out + known.err).count("PKCE") <= 1
    assert "Cost" not in known.out


async def test_a_database_that_cannot_be_made_costs_no_request(
    twitor: Twitor, sim: Simulator
) -> None:
    """Not even root makes a file in /sys."""
    done = await twitor("crawl", "--api-url", sim.base_url, "--db", "/sys/bookmarks.db", "--json")
    assert done.code == 14
    assert "/sys/bookmarks.db cannot be made" in done.told["message"]
    assert sim.ledger == []


async def test_a_signal_before_the_crawl_begins_leaves_no_database(twitor: Twitor) -> None:
    limit = Fault(kind=FaultKind.RATE_LIMITED, endpoint="me", probability=1.0)
    async with Simulator(5, faults=plan(limit), window_s=3600.0) as sim:
        process = await twitor.start("crawl", "--api-url", sim.base_url)
        await said(process, "asking whose token this is: ")
        assert (twitor.folder / "bookmarks.db").exists()
        process.send_signal(signal.SIGINT)
        done = await finish(process)
    assert done.code == 75
    assert "stopped before the crawl began" in done.err
    assert list(twitor.folder.iterdir()) == []


async def test_no_network_before_a_session_names_the_host_and_starts_nothing(
    twitor: Twitor,
) -> None:
    done = await twitor("crawl", "--api-url", "http://127.0.0.1:9", "--json", MAX_RETRIES="0")
    assert (done.code, done.told["error"]) == (12, "network")
    assert "127.0.0.1:9" in done.told["message"]
    assert "nothing was started" in done.told["message"]
    assert list(twitor.folder.iterdir()) == []


async def test_tokens_come_from_a_folder_too(twitor: Twitor, sim: Simulator) -> None:
    folder = twitor.folder / "tokens"
    folder.mkdir()
    tokens = {"X_BEARER_TOKEN": "", "TWITOR_TOKEN_DIR": str(folder)}
    unknown = await twitor("crawl", "--api-url", sim.base_url, **tokens)
    assert unknown.code == 10
    assert "--user-id" in unknown.err
    (folder / sim.user_id).write_text(sim.token)
    (folder / sim.user_id).chmod(0o600)
    options = ("crawl", "--api-url", sim.base_url, "--json")
    first = await twitor(*options, "--user-id", sim.user_id, **tokens)
    assert (first.code, first.told["stored"]) == (0, 250)
    second = await twitor(*options, **tokens)
    assert (second.code, second.told["user_id_from"]) == (0, "database")
    wins = await twitor(*options, **{**tokens, "X_BEARER_TOKEN": "wrong"})
    assert wins.code == 10


async def test_a_missing_token_makes_no_request(twitor: Twitor, sim: Simulator) -> None:
    done = await twitor("crawl", "--api-url", sim.base_url, "--json", X_BEARER_TOKEN="")
    assert (done.code, done.told["error"]) == (10, "auth")
    assert sim.ledger == []


@pytest.mark.parametrize("with_user", [True, False])
async def test_a_refused_token_ends_with_10(
    twitor: Twitor, sim: Simulator, with_user: bool
) -> None:
    user = ("--user-id", sim.user_id) if with_user else ()
    done = await twitor(
        "crawl", "--api-url", sim.base_url, "--json", *user, X_BEARER_TOKEN="hunter2-wrong"
    )
    assert (done.code, done.told["error"]) == (10, "auth")
    assert "hunter2" not in done.out + done.err
    assert done.told["message"] in done.err


async def test_no_wait_ends_with_11_and_the_next_run_goes_on(twitor: Twitor) -> None:
    faults = plan(Fault(kind=FaultKind.RATE_LIMITED, at=(2,)))
    async with Simulator(250, faults=faults, window_s=0.5) as sim:
        first = await twitor("crawl", "--api-url", sim.base_url, "--no-wait", "--json")
        assert (first.code, first.told["state"]) == (11, "paused_rate_limit")
        assert first.told["error"] == "rate_limit"
        assert first.told["resume_at"] > 0
        status = json.loads((await twitor("status", "--json")).out)
        assert status["crawls"][0]["paused_until"] == first.told["resume_at"]
        second = await twitor("crawl", "--api-url", sim.base_url, "--json")
        assert second.code == 0
        assert second.told["bookmarks_count"] == 250


async def test_a_pause_whose_length_is_assumed_says_so(twitor: Twitor) -> None:
    faults = plan(Fault(kind=FaultKind.RATE_LIMITED, at=(1,), reset="missing"))
    async with Simulator(5, faults=faults, window_s=900.0) as sim:
        done = await twitor("crawl", "--api-url", sim.base_url, "--no-wait")
    assert done.code == 11
    assert "a window of 900 s is assumed" in done.err
    assert "a window of 900 s is assumed" in (await twitor("status")).out
    (crawl,) = json.loads((await twitor("status", "--json")).out)["crawls"]
    assert "a window of 900 s is assumed" in crawl["pause_message"]


@pytest.mark.parametrize("with_user", [True, False])
async def test_no_network_ends_with_12_after_every_retry(twitor: Twitor, with_user: bool) -> None:
    user = ("--user-id", "42") if with_user else ()
    done = await twitor(
        "crawl", "--api-url", "http://127.0.0.1:9", "--json", *user, MAX_RETRIES="3"
    )
    assert (done.code, done.told["error"]) == (12, "network")
    assert done.err.count("trying again") == 3


async def test_too_many_skips_end_with_13(twitor: Twitor) -> None:
    faults = FaultPlan(items=(ItemFault(kind="missing_id", probability=1.0),))
    async with Simulator(200, faults=faults) as sim:
        done = await twitor("crawl", "--api-url", sim.base_url, "--json")
        assert (done.code, done.told["error"]) == (13, "too_many_skips")
        assert done.told["reason"] == "too_many_skips"
        assert done.err.count(": it is kept") <= 20


async def test_a_file_that_is_no_database_ends_with_14_untouched(
    twitor: Twitor, sim: Simulator
) -> None:
    database = twitor.folder / "bookmarks.db"
    database.write_text("notes that somebody keeps\n" * 200)
    before = database.read_bytes()
    done = await twitor("crawl", "--api-url", sim.base_url, "--json")
    assert (done.code, done.told["error"]) == (14, "database")
    assert database.read_bytes() == before
    assert sim.ledger == []


async def test_used_up_credits_end_with_1_and_say_so(twitor: Twitor) -> None:
    faults = plan(Fault(kind=FaultKind.CREDITS_DEPLETED, at=(2,)))
    async with Simulator(250, faults=faults) as sim:
        done = await twitor("crawl", "--api-url", sim.base_url, "--json")
        assert (done.code, done.told["error"]) == (1, "fatal")
        assert done.told["reason"] == "billing"
        assert "credits" in done.err


def slow(seconds: float = 5.0) -> FaultPlan:
    return plan(Fault(kind=FaultKind.SLOW, at=(2,), seconds=seconds))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_first_signal_saves_a_checkpoint_and_ends_with_75(
    twitor: Twitor, number: signal.Signals
) -> None:
    async with Simulator(250, faults=slow()) as sim:
        process = await twitor.start("crawl", "--api-url", sim.base_url, "--json", "-v")
        await said(process, "starting the crawl")
        while len(sim.ledger) < 3:  # noqa: ASYNC110 - "me", a page, the slow one
            await asyncio.sleep(0.01)
        process.send_signal(number)
        first = await finish(process)
        assert first.code == 75, first.err
        assert (first.told["reason"], first.told["durable"]) == ("signal", True)
        assert "a second signal ends at once" in first.err
        second = await twitor("crawl", "--api-url", sim.base_url, "--json")
        assert second.told["bookmarks_count"] == 250
        assert sorted(await exported(twitor)) == sorted(sim.obtainable())


@pytest.mark.parametrize("apart_s", [0.0, 0.05, 0.15])
async def test_signals_that_a_launcher_sends_twice_count_as_one(
    twitor: Twitor, apart_s: float
) -> None:
    """Also when the graceful end is over before the second one comes."""
    async with Simulator(250, faults=slow()) as sim:
        process = await twitor.start("crawl", "--api-url", sim.base_url)
        await said(process, "starting the crawl")
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(apart_s)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        assert (await finish(process)).code == 75


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_second_signal_ends_at_once(
    twitor: Twitor, number: signal.Signals, code: int
) -> None:
    """The loop is held up, so that the graceful end cannot come first."""
    block = (
        "import sys, time\n"
        "from twitor_fsm.cli import main\n"
        "from twitor_fsm.session import CrawlSession\n"
        "def hold(self, reason='x'): time.sleep(30)\n"
        "CrawlSession.cancel = hold\n"
        "main(['crawl', '--api-url', sys.argv[1]])\n"
    )
    async with Simulator(250, faults=slow(20.0)) as held:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", block, held.base_url,
            cwd=twitor.folder, env=twitor.environment, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        await said(process, "starting the crawl")
        process.send_signal(number)
        await said(process, "stopping")
        await asyncio.sleep(0.3)  # signals closer together count as one
        process.send_signal(number)
        done = await finish(process)
        assert done.code == code
        assert "the last checkpoint stands" in done.err


async def test_a_second_crawl_of_the_same_user_ends_with_75(twitor: Twitor) -> None:
    async with Simulator(250, faults=slow(25.0)) as sim:
        process = await twitor.start("crawl", "--api-url", sim.base_url)
        await said(process, "starting the crawl")
        other = await twitor("crawl", "--api-url", sim.base_url, "--json")
        assert (other.code, other.told["error"]) == (75, "interrupted")
        assert "already running" in other.told["message"]
        cancelled = await twitor("sessions", "cancel", "last")
        assert "asked to end" in cancelled.out
        process.terminate()
        assert (await finish(process)).code == 75


async def test_after_an_early_death_the_status_says_what_the_next_crawl_does(
    twitor: Twitor,
) -> None:
    async with Simulator(250, faults=slow()) as sim:
        process = await twitor.start("crawl", "--api-url", sim.base_url)
        await said(process, "starting the crawl")
        process.kill()
        await process.wait()
        shown = (await twitor("status")).out
        assert "interrupted: it was running, and nobody runs it now" in shown
        assert "(begins at the top)" in shown
        assert "a worker on this database takes it up by itself when its lease ends at" in shown
        assert "without one, your crawl command again" in shown
        assert "goes on from the checkpoint" not in shown


async def test_a_kill_in_a_pause_is_followed_by_no_request_until_it_is_over(
    twitor: Twitor,
) -> None:
    faults = plan(Fault(kind=FaultKind.RATE_LIMITED, at=(2,)))
    async with Simulator(250, faults=faults, window_s=3.0) as sim:
        process = await twitor.start("crawl", "--api-url", sim.base_url)
        await said(process, "pausing")
        process.kill()
        await process.wait()
        status = json.loads((await twitor("status", "--json")).out)["crawls"][0]
        assert status["running"] is False
        until, requests = status["paused_until"], len(sim.ledger)
        done = await twitor("crawl", "--api-url", sim.base_url, "--json")
        assert done.told["bookmarks_count"] == 250
        assert min(entry.at for entry in sim.ledger[requests:]) >= until


async def test_records_as_json_are_alone_on_stderr(twitor: Twitor) -> None:
    async with Simulator(300, faults="typical", window_s=0.5) as sim:
        done = await twitor(
            "crawl", "--api-url", sim.base_url, "--page-size", "20", "--log-json", "--user-id",
            sim.user_id,
        )  # fmt: skip
        records = [json.loads(line) for line in done.err.splitlines()]
        assert records
        assert {"warning", "info"} <= {record["level"] for record in records}
        recoveries = [r for r in records if r["logger"] == "twitor_fsm.recovery"]
        assert all(
            {"session_id", "user_id", "operation", "event", "timestamp"} <= set(record)
            for record in recoveries
        )


async def test_a_failure_is_a_record_too(twitor: Twitor, sim: Simulator) -> None:
    done = await twitor(
        "crawl", "--api-url", sim.base_url, "--log-json", "--json", X_BEARER_TOKEN=""
    )
    assert done.code == 10
    (record,) = [json.loads(line) for line in done.err.splitlines()]
    assert "X_BEARER_TOKEN" in record["event"]


async def test_very_verbose_shows_retries(twitor: Twitor) -> None:
    async with Simulator(300, faults="typical", window_s=0.5) as sim:
        done = await twitor("crawl", "--api-url", sim.base_url, "--page-size", "20", "-vv")
        assert "retry 1 in" in done.err


async def test_a_reader_that_goes_away_is_no_traceback(twitor: Twitor, sim: Simulator) -> None:
    assert (await twitor("crawl", "--api-url", sim.base_url, "-q")).code == 0
    process = await twitor.start("export")
    assert process.stdout is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]
    assert process.stderr is not None
    err = await process.stderr.read()
    assert await process.wait() == 141
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


async def test_an_interrupted_demo_says_how_to_go_on(twitor: Twitor) -> None:
    process = await twitor.start("demo", INITIAL_BACKOFF="30")
    await said(process, "trying again")
    process.send_signal(signal.SIGINT)
    done = await finish(process)
    assert done.code == 75
    assert re.search(r"again: .*(twitor|twitor_fsm\.cli) demo\n", done.out)


async def test_simulate_tells_when_it_is_ready_and_ends_with_a_signal(twitor: Twitor) -> None:
    process = await twitor.start(
        "simulate", "--json", "--bookmarks", "40", "--users", "2", "--window", "2"
    )
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert set(told) == {
        "base_url", "user_id", "token", "tokens", "bookmarks", "seed", "faults", "window_s",
        "users",
    }  # fmt: skip
    done = await twitor(
        "crawl", "--api-url", told["base_url"], "--json", X_BEARER_TOKEN=told["token"]
    )
    assert done.told["stored"] == 40
    process.terminate()
    ended = await finish(process)
    assert ended.code == 0
    assert "X_BEARER_TOKEN=" in ended.err
    assert "fake" in ended.err


async def test_a_port_that_is_taken_is_a_usage_error(twitor: Twitor, sim: Simulator) -> None:
    port = sim.base_url.rpartition(":")[2]
    done = await twitor("simulate", "--port", port, "--json")
    assert (done.code, done.told["error"]) == (2, "usage")


async def test_the_demo_recovers_and_the_second_run_finds_nothing_new(twitor: Twitor) -> None:
    demo = (
        "import sys\n"
        "from twitor_fsm.cli import main\n"
        "from twitor_fsm.cli.verbs import demo\n"
        "demo.WINDOW_S = 0.5\n"
        "main(['demo', *sys.argv[1:]])"
    )

    async def run(*args: str) -> Done:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", demo, *args,
            cwd=twitor.folder, env=twitor.environment, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        return await finish(process)

    first = await run()
    assert first.code == 0, first.err
    for words in ("network:", "rate limit", "skipped", "recovered"):
        assert words in first.err
    assert first.out.startswith("Completed")
    assert "export --db demo.db" in first.out
    second = await run()
    assert second.code == 0
    assert second.out.startswith("Completed: nothing new")
    assert (await run("--json")).told["stored"] == 0
    assert len(await exported(twitor, "--db", "demo.db")) == 996
    assert re.search(
        r"(twitor|twitor_fsm\.cli) demo", (await twitor("status", "--db", "demo.db")).out
    )


@pytest.mark.parametrize("no_color", ["", "1"])
async def test_a_terminal_gets_a_panel_and_colours_only_where_wanted(
    twitor: Twitor, sim: Simulator, no_color: str
) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "twitor_fsm.cli", "crawl", "--api-url", sim.base_url,
        cwd=twitor.folder,
        env={**twitor.environment, "NO_COLOR": no_color, "TERM": "xterm-256color"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = await asyncio.to_thread(read_all, ours)
    assert await process.wait() == 0
    assert "bookmarks" in shown
    assert "Ctrl-C" in shown
    assert "Completed" in shown
    has_colours = re.search(r"\x1b\[[0-9;]*3[0-9]", shown) is not None
    assert has_colours is (no_color == "")
    assert shown.count("\x1b[?25h") >= shown.count("\x1b[?25l")  # the cursor is back


ON_ITS_TERMINAL = (  # a session without one takes the first that it opens
    "import os, signal, sys\n"
    "os.open(os.ttyname(0), os.O_RDWR)\n"
    "if 'nohup' in os.environ: signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    "from twitor_fsm.cli import main\n"
    "main(sys.argv[1:])\n"
)


async def left_by_its_terminal(
    twitor: Twitor, sim: Simulator, *args: str, **environment: str
) -> Process:
    """A crawl on a terminal of its own, which was closed while the second page was slow to come."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ON_ITS_TERMINAL, "crawl", "--api-url", sim.base_url, *args,
        cwd=twitor.folder, env={**twitor.environment, **environment},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    while len(sim.ledger) < 3:  # noqa: ASYNC110 - "me", a page, the slow one
        await asyncio.sleep(0.01)
    os.close(ours)
    return process


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
async def test_a_terminal_that_is_closed_is_a_first_signal(
    twitor: Twitor, quiet: tuple[str, ...]
) -> None:
    async with Simulator(250, faults=slow()) as sim:
        process = await left_by_its_terminal(twitor, sim, *quiet)
        assert await asyncio.wait_for(process.wait(), 30) == 75
        (shown,) = json.loads((await twitor("status", "--json")).out)["crawls"]
        last = shown["last_session"]
        assert (last["state"], last["reason"]) == ("shut_down", "signal")


async def test_a_command_under_nohup_outlives_its_terminal(twitor: Twitor) -> None:
    async with Simulator(250, faults=slow(1.0)) as sim:
        process = await left_by_its_terminal(twitor, sim, "--quiet", nohup="1")
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_an_early_end_is_not_believed(twitor: Twitor) -> None:
    faults = FaultPlan(early_end=EarlyEnd(above=20, after_pages=1))
    async with Simulator(250, faults=faults) as sim:
        done = await twitor("crawl", "--api-url", sim.base_url, "--json")
        assert done.told["stored"] == 250


async def test_a_crawl_of_another_users_token_says_where_the_id_came_from(
    twitor: Twitor,
) -> None:
    async with Simulator(30, users=2) as sim:
        assert (await twitor("crawl", "--api-url", sim.base_url, "-q")).code == 0
        other = sim.tokens[sim.user_ids[1]]
        done = await twitor("crawl", "--api-url", sim.base_url, X_BEARER_TOKEN=other)
        assert done.code != 0
        assert "--user-id" in done.out
