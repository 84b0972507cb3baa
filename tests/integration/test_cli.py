"""The command line in one process: what it prints for people and for programs."""

import asyncio
import csv
import io
import json
import math
import os
import re
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from twitor_fsm import CrawlEngine
from twitor_fsm.cli.app import twitor
from twitor_fsm.cli.check_database import has_wal_reset_bug, sqlite_warning
from twitor_fsm.cli.check_network import check_network
from twitor_fsm.cli.narrating import Narrator
from twitor_fsm.cli.shapes import next_step
from twitor_fsm.cli.terminal import json_text, printable
from twitor_fsm.cli.words import (
    ago,
    as_called,
    before_again,
    clock_time,
    count,
    duration,
    local_times,
    say_again,
    short_owner,
    with_db,
)
from twitor_fsm.core.records import Counters, CrawlKey, SessionRecord
from twitor_fsm.core.states import JournalRow, SessionValue, State
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.errors import ConfigurationError
from twitor_fsm.events import Transition
from twitor_fsm.simulator import Simulator

Run = Callable[..., Result]

ODD = "a\u2028b\u2029c \u202egnissap\u202c \x9b31m\x7f \ud83d end"
ESCAPE = "\x1b[31mred\x1b[0m"

REPORT_KEYS = {
    "session_id", "user_id", "source", "state", "category", "reason", "message", "seen", "stored",
    "already_known", "skipped", "skipped_items", "errors", "requests", "items_fetched",
    "cost_usd_estimate", "retries", "pauses", "resume_at", "durable", "lost", "resumed",
    "resumed_from", "bookmarks_count", "cleanup_errors", "cost_note", "user_id_from", "error",
    "exit_code",
}  # fmt: skip
SESSION_KEYS = {
    "session_id", "user_id", "source", "state", "final", "category", "reason", "message", "seen",
    "stored", "already_known", "skipped", "errors", "requests", "items_fetched", "retries", "pauses",
    "retry_at", "resume_at", "durable", "resumed_from", "cancel_wish", "owner", "lease_until",
    "started_at", "updated_at", "ended_at", "ordinal", "running",
}  # fmt: skip
CHECKPOINT_KEYS = {
    "last_tweet_id", "bookmarks_count", "last_crawled_at", "cursor", "page_size", "position",
    "generation", "under_way",
}  # fmt: skip


def post(number: int, text: str = "text", **more: Any) -> dict[str, Any]:
    return {"id": str(10**18 + number), "text": text, "author_id": "7", **more}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "X_BEARER_TOKEN", "NO_COLOR", "TWITOR_TOKEN_DIR"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*args: str, **options: Any) -> Result:
        return CliRunner().invoke(twitor, list(args), prog_name="twitor", **options)

    return invoke


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A saved page: 30 posts, one of them odd, and one element that is no post."""
    posts: list[Any] = [post(n) for n in range(29)]
    posts.insert(3, post(100, ODD))
    posts.insert(9, {"text": ESCAPE})
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"data": posts, "meta": {"result_count": len(posts)}}))
    return path


@pytest.fixture
def crawled(run: Run, file: Path) -> Run:
    result = run("crawl", str(file), "--json")
    assert result.exit_code == 0, result.output
    return run


def test_help_names_every_verb_with_one_line(run: Run) -> None:
    shown = run("--help").stdout
    verbs = (
        "crawl", "demo", "simulate", "status", "sessions", "skipped", "checkpoint", "export",
        "doctor", "db", "verify",
    )  # fmt: skip
    for verb in verbs:
        assert f"\n  {verb} " in shown
        assert run(verb, "--help").exit_code == 0


def test_a_session_that_cannot_be_read_is_named_and_hides_no_other(
    crawled: Run, file: Path, tmp_path: Path
) -> None:
    crawled("crawl", str(file), "--user-id", "43")
    shown = json.loads(crawled("sessions", "list", "--user-id", "43", "--json").stdout)
    bad = shown["sessions"][0]["session_id"]
    with closing(sqlite3.connect(tmp_path / "bookmarks.db")) as db:
        db.execute("UPDATE twitor_session SET counters = 'garbage' WHERE session_id = ?", [bad])
        db.commit()

    for verb in (("sessions", "list"), ("status",), ("export",)):
        assert crawled(*verb).exit_code == 0
    assert "user 43" in crawled("status").stdout
    assert "local" in crawled("sessions", "list").stdout
    refused = crawled("sessions", "show", bad)
    assert refused.exit_code == 14
    assert f"session {bad} cannot be read (JSONDecodeError)" in refused.stderr
    assert f"session {bad} cannot be read" in crawled("doctor", "--offline").stdout


@pytest.mark.parametrize(
    "verb", [("status",), ("crawl", "page.json"), ("export",), ("db", "current"), ("db", "upgrade")]
)
def test_a_file_that_is_no_database_is_named(
    run: Run, file: Path, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("no database, and longer than the head of one: " + "x" * 1000)
    result = run(*verb, "--db", "notes.txt")
    assert result.exit_code == 14, result.output
    assert "notes.txt" in result.stderr.splitlines()[-1]
    assert other.read_text().startswith("no database")


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_another_address_that_does_not_serve_the_api_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("X_BEARER_TOKEN", "a-token")
    monkeypatch.setenv("MAX_RETRIES", "0")
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}{path}"  # refuses: nobody listens
        result = run("crawl", "--user-id", "42", "--api-url", address)
    assert result.exit_code == 12, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("twitor: ")]
    assert address in line


@pytest.mark.parametrize(
    "verb", ["sessions list", "skipped list", "skipped retry", "checkpoint show"]
)
def test_who_asks_about_an_unknown_user_is_not_told_that_there_is_nothing(
    crawled: Run, verb: str
) -> None:
    result = crawled(*verb.split(), "--user-id", "nobody")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing is known of user 'nobody'" in result.stderr


def test_a_command_that_an_error_suggests_is_for_the_same_database(
    crawled: Run, file: Path
) -> None:
    crawled("crawl", str(file), "--db", "two.db")

    result = crawled("sessions", "show", "nobody", "--db", "two.db")

    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith("twitor sessions list --db two.db")


@pytest.mark.parametrize(
    ("message", "called"),
    [
        ("Begin with: twitor crawl", "Begin with: twitor crawl --db my.db"),
        ("Wait, or: twitor sessions cancel 01a214a1-0000-7000-8000-0123456789ab. So", None),
        ("Bring it up with: twitor db upgrade --db other.db", "as it is"),
        ("`twitor crawl` reads from X; twitor: wrong", "as it is"),
    ],
)
def test_a_suggested_command_is_completed_once(message: str, called: str | None) -> None:
    if called is None:
        called = message.replace("ab. So", "ab --db my.db. So")
    assert as_called(message, "my.db") == (message if called == "as it is" else called)
    assert as_called(message, None) == message


@pytest.mark.parametrize("text", ["plain", "\u00fcml\u00e4ut"])
def test_an_export_as_csv_is_named_as_what_it_is(run: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "posts.json"
    path.write_text(json.dumps({"data": [post(1, text)]}))
    run("crawl", str(path))
    run("export", "-o", "own.csv")

    result = run("crawl", "own.csv")

    assert result.exit_code == 2
    assert "a CSV that `twitor export` wrote" in result.stderr
    assert "--format jsonl" in result.stderr


@pytest.mark.parametrize("output", [(), ("-o", "out.jsonl")])
def test_an_export_of_an_unknown_user_is_a_mistake(
    crawled: Run, tmp_path: Path, output: tuple[str, ...]
) -> None:
    result = crawled("export", "--user-id", "nobody", *output)
    assert result.exit_code == 2
    assert "nothing is known of user 'nobody'" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out.jsonl").exists()


def test_an_export_of_a_known_user_without_bookmarks_is_empty(crawled: Run, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text('{"data": [], "meta": {"result_count": 0}}')
    assert crawled("crawl", "none.json", "--user-id", "empty").exit_code == 0
    result = crawled("export", "--user-id", "empty")
    assert (result.exit_code, result.stdout) == (0, "")


def _groups(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        yield words
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _groups(inner, (*words, name))


def test_the_help_of_every_group_tells_its_commands_in_whole_sentences(run: Run) -> None:
    groups = list(_groups(twitor))
    assert ("queue", "dead") in groups
    for words in groups:
        shown = run(*words, "--help")
        assert shown.exit_code == 0
        lines = shown.stdout.splitlines()
        cut = [line for line in lines if line.endswith("...") and "Usage: " not in line]
        assert [line for line in cut if "X_BEARER_TOKEN=..." not in line] == []
        assert max(map(len, lines)) <= 80


def test_help_imports_nothing_heavy() -> None:
    heavy = ("sqlalchemy", "rich", "starlette", "uvicorn", "structlog", "httpx", "alembic", "redis")
    code = (
        "import sys\n"
        "from twitor_fsm.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_help_takes_few_times_the_cpu_of_importing_its_libraries() -> None:
    """0.2 s on an idle machine; a ratio says the same on a busy one."""

    def cpu_s(*command: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        after = os.times()
        return (
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )

    def least_cpu_s(*command: str) -> float:
        return min(cpu_s(*command) for _ in range(3))

    floor_s = least_cpu_s("-c", "import attrs, click")
    assert least_cpu_s("-m", "twitor_fsm.cli", "--help") < 5.0 * floor_s


@pytest.mark.parametrize("missing", ["click", "rich", "structlog"])
def test_a_missing_extra_is_told_with_the_line_to_run(missing: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from twitor_fsm.cli import main\n"
        "import twitor_fsm.cli.watching as w\n"
        "w.is_terminal = lambda stream: True\n"
        "main(['crawl', 'page.json', '-v'])"
        if missing != "click"
        else "import sys; sys.modules['click'] = None\nfrom twitor_fsm.cli import main\nmain(['demo'])"
    )
    (tmp_path / "page.json").write_text('{"data": []}')
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2, done.stderr
    assert 'pip install "twitor-fsm[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_usage_errors_end_with_2_and_an_object(run: Run) -> None:
    result = run("crawl", "--page-size", "1000", "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["error"] == "usage"
    assert told["exit_code"] == 2
    assert told["message"] in result.stderr
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("crwal", "twitor crawl"),
        ("CRAWL", "twitor crawl"),
        ("queue pasue", "twitor queue pause"),
        ("session list", "twitor sessions"),
        ("sessions lits", "twitor sessions list"),
        ("enqueue crwal", "twitor enqueue crawl"),
        ("checkpoint claer", "twitor checkpoint clear"),
        ("skipped retyr", "twitor skipped retry"),
        ("db upgade", "twitor db upgrade"),
    ],
)
def test_a_misspelt_command_is_answered_with_the_nearest(run: Run, given: str, meant: str) -> None:
    result = run(*given.split(), "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)["message"]
    assert "nothing was done" in told
    assert f"Did you mean: {meant}?" in told or f"Did you mean: {meant} or " in told
    assert "--help" in told


def test_a_command_that_resembles_none_gets_no_guess(run: Run) -> None:
    for words in (["zzzz"], ["queue", "zzzz"]):
        result = run(*words)
        assert result.exit_code == 2
        assert "there is no command 'zzzz'" in result.stderr
        assert "Did you mean" not in result.stderr


@pytest.mark.parametrize(
    "verb",
    [
        ("status",),
        ("sessions", "list"),
        ("skipped", "list"),
        ("checkpoint", "show"),
        ("export",),
    ],
)
def test_a_misspelt_database_is_not_made(run: Run, tmp_path: Path, verb: tuple[str, ...]) -> None:
    result = run(*verb, "--db", "mispelt.db", "--json")
    assert result.exit_code == 2
    assert "mispelt.db" in json.loads(result.stdout)["message"]
    assert not (tmp_path / "mispelt.db").exists()


def test_a_wrong_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("MAX_RETRIES", "many")
    result = run("crawl", str(file))
    assert result.exit_code == 2
    assert "MAX_RETRIES" in result.stderr


def test_an_error_shows_no_traceback_unless_asked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("this is no database" * 100)
    result = run("status", "--db", "bad.db", "--json")
    assert result.exit_code == 14
    assert json.loads(result.stdout)["error"] == "database"
    assert "Traceback" not in result.output
    again = run("status", "--db", "bad.db", "--debug", "--json")
    assert (again.exit_code, json.loads(again.stdout)["error"]) == (14, "database")
    assert "Traceback" not in again.output


def test_crawling_a_file_tells_everything_as_json(run: Run, file: Path) -> None:
    result = run("crawl", str(file), "--json")
    told = json.loads(result.stdout)
    assert set(told) == REPORT_KEYS
    assert told["exit_code"] == result.exit_code == 0
    assert (told["state"], told["error"]) == ("completed", None)
    assert (told["seen"], told["stored"], told["skipped"]) == (31, 30, 1)
    assert told["user_id"] == "local"
    assert told["cost_usd_estimate"] == 0.0
    assert told["cost_note"] == "reading a file costs nothing"
    assert set(told["skipped_items"][0]) == {"id", "category", "reason", "message"}


def test_crawling_again_stores_nothing_twice(crawled: Run, file: Path) -> None:
    told = json.loads(crawled("crawl", str(file), "--json").stdout)
    assert told["stored"] == 0
    assert told["bookmarks_count"] == 30
    assert told["user_id_from"] == "database"


def test_the_summary_says_what_came_of_it_and_what_to_do(run: Run, file: Path) -> None:
    result = run("crawl", str(file))
    assert result.stdout.startswith("Completed")
    assert "30 bookmarks stored, 1 skipped" in result.stdout
    assert "twitor export" in result.stdout
    assert "starting the crawl" in result.stderr
    assert "\x1b" not in result.output


def test_quiet_says_nothing(run: Run, file: Path) -> None:
    result = run("crawl", str(file), "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_a_missing_file_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    result = run("crawl", "nowhere.json", "--json")
    assert result.exit_code == 2
    assert "nowhere.json" in json.loads(result.stdout)["message"]
    assert not (tmp_path / "bookmarks.db").exists()


def test_an_empty_name_of_a_file_is_told_as_such(run: Run) -> None:
    message = json.loads(run("crawl", "", "--json").stdout)["message"]
    assert "the name of the file is empty" in message
    assert "folder" not in message


def test_several_files_go_one_after_the_other(run: Run, file: Path, tmp_path: Path) -> None:
    result = run("crawl", str(file), "b c.json", "d.json", "--json")
    message = json.loads(result.stdout)["message"]
    assert result.exit_code == 2
    assert "3 were given; nothing was started" in message
    assert f"twitor crawl {file}, then twitor crawl 'b c.json', ..." in message
    assert not (tmp_path / "bookmarks.db").exists()
    assert "[OPTIONS] [x|FILE]\n" in run("crawl", "--help").stdout


def test_a_file_that_is_unknown_is_told_in_two_sentences(run: Run, tmp_path: Path) -> None:
    (tmp_path / "page.json.gz").write_bytes(b"\x1f\x8b\x08rest")
    assert json.loads(run("crawl", "page.json.gz", "--json").stdout)["message"] == (
        "nothing was started: 'page.json.gz' is not understood: it is packed with gzip; unpack it first (gunzip). "
        "Nothing was stored of it"
    )


def test_a_file_damaged_midway_is_told_in_whole_sentences(run: Run, tmp_path: Path) -> None:
    whole = json.dumps({"data": [post(n) for n in range(300)]})
    (tmp_path / "cut.json").write_text(whole + whole[:20])
    lines = run("crawl", "cut.json").stderr.splitlines()
    (fatal,) = (line for line in lines if "fatal" in line)
    assert "  fatal error, saving a checkpoint and ending: 'cut.json' is damaged: at byte" in fatal
    assert fatal.endswith(
        ". What stands before is stored and stays. Get a whole file and run again"
    )


def test_a_walk_that_begins_again_is_told_in_a_line_like_the_others(run: Run, file: Path) -> None:
    run("crawl", "page.json", "--max-items", "10", "--page-size", "10")
    os.utime(file, (1, 1))
    result = run("crawl", "page.json")
    assert result.exit_code == 0
    assert re.search(
        r"^\d\d:\d\d:\d\d  'page.json' is not, or no longer, the file that was being read[^;]*; "
        "the listing is walked from the top again$",
        result.stderr,
        re.MULTILINE,
    )
    assert "twitor: " not in result.stderr


def test_max_items_ends_with_75_and_goes_on(run: Run, file: Path) -> None:
    first = run("crawl", str(file), "--max-items", "10", "--json")
    told = json.loads(first.stdout)
    assert first.exit_code == told["exit_code"] == 75
    assert (told["reason"], told["error"]) == ("max_items", "interrupted")
    assert told["stored"] + told["skipped"] == 10
    second = run("crawl", str(file), "--json")
    assert second.exit_code == 0
    assert json.loads(second.stdout)["bookmarks_count"] == 30


def test_a_missing_token_ends_with_10_and_says_how_to_get_one(run: Run) -> None:
    result = run("crawl", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["error"]) == (10, "auth")
    assert "bookmark.read" in told["message"]
    assert "X_BEARER_TOKEN" in told["message"]


def test_status_tells_every_crawl(crawled: Run) -> None:
    told = json.loads(crawled("status", "--json").stdout)
    assert set(told) == {"database", "bookmarks", "crawls"}
    (crawl,) = told["crawls"]
    assert set(crawl) == {
        "user_id", "source", "bookmarks", "skipped", "skipped_due", "checkpoint", "last_session",
        "state", "reason", "running", "paused_until", "next", "checkpoint_error", "pause_message",
    }  # fmt: skip
    assert set(crawl["last_session"]) == SESSION_KEYS
    assert set(crawl["checkpoint"]) == CHECKPOINT_KEYS
    assert (crawl["bookmarks"], crawl["skipped"], crawl["running"]) == (30, 1, False)
    shown = crawled("status").stdout
    assert "completed" in shown
    assert "twitor export > bookmarks.jsonl" in shown


def test_sessions_are_listed_and_shown_by_a_beginning_of_their_id(crawled: Run) -> None:
    (session,) = json.loads(crawled("sessions", "list", "--json").stdout)["sessions"]
    assert set(session) == SESSION_KEYS
    whole = session["session_id"]
    shown = json.loads(crawled("sessions", "show", whole[:4], "--json").stdout)
    assert set(shown) == SESSION_KEYS | {"journal", "journal_error"}
    assert shown["session_id"] == whole
    assert whole in crawled("sessions", "show").stdout
    assert "finish" in crawled("sessions", "show", "last").stdout
    unknown = crawled("sessions", "show", "ffff", "--json")
    assert unknown.exit_code == 2


def test_a_beginning_shared_by_sessions_is_refused(crawled: Run, file: Path) -> None:
    crawled("crawl", str(file))
    ids = [
        s["session_id"]
        for s in json.loads(crawled("sessions", "list", "--json").stdout)["sessions"]
    ]
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(*ids, strict=True))
    result = crawled("sessions", "show", "".join(char for char, _ in shared)[:8])
    assert result.exit_code == 2
    assert "2 sessions" in result.stderr


def test_the_journal_is_json_lines(crawled: Run) -> None:
    lines = crawled("sessions", "show", "--journal").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["trigger"] for row in rows] == ["item_skipped", "finish"]
    assert set(rows[0]) == {
        "seq", "at", "trigger", "from", "to", "category", "reason", "delay_s", "tries",
        "tries_allowed", "facts", "absorbed", "spec", "session_id", "started_at",
    }  # fmt: skip


def test_cancelling_a_session_that_is_over_changes_nothing(crawled: Run) -> None:
    told = json.loads(crawled("sessions", "cancel", "last", "--json").stdout)
    assert set(told) == SESSION_KEYS | {"was_over"}
    assert (told["was_over"], told["state"]) == (True, "completed")


def test_skipped_items_are_listed_and_tried_again(crawled: Run, file: Path) -> None:
    (item,) = json.loads(crawled("skipped", "list", "--json").stdout)["skipped"]
    assert set(item) == {
        "id", "user_id", "source", "category", "reason", "message", "at", "tries", "due",
    }  # fmt: skip
    assert crawled("skipped", "retry", "unknown").exit_code == 2
    assert json.loads(crawled("skipped", "retry", item["id"], "--json").stdout) == {"marked": 1}
    assert json.loads(crawled("skipped", "list", "--json").stdout)["skipped"][0]["due"] is True
    crawled("crawl", str(file))
    (again,) = json.loads(crawled("skipped", "list", "--json").stdout)["skipped"]
    assert again["tries"] == 2
    assert "next crawl" in crawled("skipped", "retry").stdout
    assert "raw" in json.loads(crawled("skipped", "list", "--json", "--raw").stdout)["skipped"][0]
    assert '{"text":' not in crawled("skipped", "list").stdout
    shown = crawled("skipped", "list", "--raw").stdout
    assert '{"text":' in shown
    assert "\x1b" not in shown


def test_the_next_step_after_marking_skipped_items_is_a_crawl(crawled: Run) -> None:
    crawled("skipped", "retry")
    (crawl,) = json.loads(crawled("status", "--json").stdout)["crawls"]
    assert crawl["skipped_due"] == 1
    assert "twitor crawl page.json   (tries 1 skipped item again)" in crawl["next"]
    assert "export" not in crawl["next"]


def test_a_digest_may_be_shortened_and_an_id_may_not(run: Run, tmp_path: Path) -> None:
    page = {"data": [{"text": f"no id {n}"} for n in range(17)] + [{"id": "123", "text": 7}]}
    (tmp_path / "odd.json").write_text(json.dumps(page))
    run("crawl", "odd.json")
    keys = {s["id"] for s in json.loads(run("skipped", "list", "--json").stdout)["skipped"]}
    digests = sorted(key for key in keys if key.startswith("sha256:"))
    assert (len(keys), len(digests)) == (18, 17)
    assert run("skipped", "retry", "12").exit_code == 2
    assert run("skipped", "retry", "sha256:zz").exit_code == 2

    # Seventeen keys with one of sixteen digits: two begin alike.
    first, second = next(p for p in pairwise(digests) if p[0][:8] == p[1][:8])
    shared = run("skipped", "retry", first[:8])
    assert shared.exit_code == 2
    assert "nothing was changed" in shared.stderr
    assert first in shared.stderr
    for short in (first[:15], f"{second[:15]}…"):
        assert json.loads(run("skipped", "retry", short, "--json").stdout) == {"marked": 1}
    rows = json.loads(run("skipped", "list", "--json").stdout)["skipped"]
    assert {row["id"] for row in rows if row["due"]} == {first, second}


def test_clearing_a_checkpoint_needs_a_yes(crawled: Run) -> None:
    assert crawled("checkpoint", "clear").exit_code == 2
    (kept,) = json.loads(crawled("checkpoint", "show", "--json").stdout)["checkpoints"]
    assert set(kept) == {"user_id", "source", "checkpoint", "checkpoint_error"}
    assert kept["checkpoint"]["bookmarks_count"] == 30
    cleared = json.loads(crawled("checkpoint", "clear", "--yes", "--json").stdout)
    assert set(cleared) == {"user_id", "source", "cleared"}
    (gone,) = json.loads(crawled("checkpoint", "show", "--json").stdout)["checkpoints"]
    assert gone["checkpoint"] is None
    assert json.loads(crawled("status", "--json").stdout)["bookmarks"] == 30


def test_clearing_among_several_crawls_wants_a_choice(crawled: Run, file: Path) -> None:
    crawled("crawl", str(file), "--user-id", "other")
    result = crawled("checkpoint", "clear", "--yes")
    assert result.exit_code == 2
    assert "--user-id other" in result.stderr
    assert crawled("checkpoint", "clear", "--yes", "--user-id", "other").exit_code == 0


@pytest.mark.parametrize("shape", ["jsonl", "json"])
def test_export_is_valid_for_any_text(crawled: Run, shape: str) -> None:
    out = crawled("export", "--format", shape).stdout
    rows = [json.loads(line) for line in out.splitlines()] if shape == "jsonl" else json.loads(out)
    assert len(rows) == 30
    assert {row["id"] for row in rows} == {str(10**18 + n) for n in (*range(29), 100)}
    (odd,) = [row for row in rows if row["id"] == str(10**18 + 100)]
    assert odd["text"] == ODD
    assert set(odd) == {
        "id", "text", "author_id", "author_username", "author_name", "created_at", "kind",
        "source", "stored_at", "result", "raw",
    }  # fmt: skip
    assert isinstance(odd["raw"], dict)
    for risky in ("\u2028", "\u202e", "\x9b", "\x7f"):
        assert risky not in out


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_an_export_is_read_back_and_exported_as_it_was(crawled: Run, suffix: str) -> None:
    crawled("export", "-o", f"out.{suffix}")
    read = crawled("crawl", f"out.{suffix}", "--db", "other.db")
    assert read.exit_code == 0, read.output
    assert f"reading out.{suffix} as an export of twitor" in read.stderr

    def lines(*db: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in crawled("export", *db).stdout.splitlines()]
        return [{k: v for k, v in row.items() if k not in {"source", "stored_at"}} for row in rows]

    assert lines("--db", "other.db") == lines()
    known = json.loads(crawled("crawl", f"out.{suffix}", "--user-id", "local", "--json").stdout)
    assert (known["stored"], known["already_known"]) == (0, 30)


def test_a_csv_export_gives_every_text_back_but_formulas(run: Run, tmp_path: Path) -> None:
    texts = ["plain", 'a "b", c;\nd\r\n', "ü \u2028 \U0001f600", "'quoted", "1-2", " =1", ODD]
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "=cmd|' /C calc'!A0"]
    posts = [post(n, each) for n, each in enumerate([*texts, *formulas])]
    path = tmp_path / "posts.json"
    path.write_text(json.dumps({"data": posts}))
    assert run("crawl", str(path)).exit_code == 0
    result = run("export", "--format", "csv")
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout_bytes.decode(), newline="")))
    told = {row["id"]: row["text"] for row in rows}
    ids = [each["id"] for each in posts]
    shown = [
        *texts[:-1],
        ODD.replace("\x9b", "\ufffd").replace("\x7f", "\ufffd").replace("\ud83d", "\ufffd"),
    ]
    assert [told[key] for key in ids] == [*shown, *(f"'{each}" for each in formulas)]
    assert rows[0]["url"] == f"https://x.com/i/status/{rows[0]['id']}"
    assert all(row["stored_at"].endswith("Z") and row["kind"] == "post" for row in rows)
    assert "raw" not in rows[0]
    assert run("export", "--format", "csv", "--json").exit_code == 2
    to_file = run("export", "--format", "csv", "--json", "-o", "out.csv")
    assert json.loads(to_file.stdout)["bookmarks"] == len(posts)
    assert (tmp_path / "out.csv").read_bytes() == result.stdout_bytes


def test_an_empty_csv_export_has_its_head(run: Run) -> None:
    run("db", "upgrade")
    out = run("export", "--format", "csv").stdout
    assert out.startswith("id,url,text,")
    assert len(out.splitlines()) == 1


def test_export_writes_a_private_file_whole(crawled: Run, tmp_path: Path) -> None:
    told = json.loads(crawled("export", "-o", "out.jsonl", "--json").stdout)
    assert told == {"output": "out.jsonl", "format": "jsonl", "bookmarks": 30}
    out = tmp_path / "out.jsonl"
    assert len(out.read_text().splitlines()) == 30
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".*.part"))
    assert crawled("export", "-o", "no/such/dir.jsonl").exit_code == 2


@pytest.mark.parametrize(
    ("name", "shape"), [("b.csv", "csv"), ("b.JSON", "json"), ("b.txt", "jsonl")]
)
def test_an_export_is_written_as_its_file_is_called(crawled: Run, name: str, shape: str) -> None:
    told = json.loads(crawled("export", "-o", name, "--json").stdout)
    assert told["format"] == shape
    assert Path(name).read_text("utf-8") == crawled("export", "--format", shape).stdout
    named = json.loads(crawled("export", "-o", name, "--format", "jsonl", "--json").stdout)
    assert named["format"] == "jsonl"


def test_an_empty_export_is_valid(run: Run) -> None:
    run("db", "upgrade")
    assert json.loads(run("export", "--format", "json").stdout) == []


def test_nothing_a_terminal_obeys_reaches_people(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2Jevil\u202e.json"
    path.write_text(json.dumps({"data": [post(1, ESCAPE), {"id": ESCAPE, "text": ODD}]}))
    results = [
        run("crawl", str(path)),
        run("crawl", str(path) + "x"),
        run("status"),
        run("sessions", "show"),
        run("skipped", "list"),
        run("checkpoint", "show"),
    ]
    for result in results:
        shown = result.stdout + result.stderr
        assert shown
        assert all(char == "\n" or char.isprintable() for char in shown), repr(shown)


def test_doctor_names_each_check_and_its_remedy(
    crawled: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X_BEARER_TOKEN", "secret-token")
    result = crawled("doctor", "--offline", "--json")
    told = json.loads(result.stdout)
    assert set(told) == {"ok", "exit_code", "checks"}
    assert (result.exit_code, told["ok"]) == (0, True)
    assert all(set(check) == {"name", "verdict", "detail", "remedy"} for check in told["checks"])
    names = {check["name"] for check in told["checks"]}
    assert names >= {
        "settings", "sqlite", "database", "permissions", "integrity", "journal_mode", "schema",
        "writing", "checkpoints", "disk", "token",
    }  # fmt: skip
    assert "secret-token" not in result.output
    assert all(check["remedy"] for check in told["checks"] if check["verdict"] != "ok")


def test_doctor_sees_a_damaged_file_open_rights_and_no_network(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.db"
    bad.write_text("this is no database" * 100)
    monkeypatch.setenv("no_proxy", "*")
    result = run("doctor", "--db", "bad.db", "--api-url", "http://127.0.0.1:9", "--json")
    told = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 1
    assert told["database"]["verdict"] == "fail"
    assert told["connection"]["verdict"] == "fail"
    assert told["token"]["verdict"] == "warn"


def test_doctor_warns_of_a_database_that_others_read(crawled: Run, tmp_path: Path) -> None:
    (tmp_path / "bookmarks.db").chmod(0o644)
    checks = json.loads(crawled("doctor", "--offline", "--json").stdout)["checks"]
    (permissions,) = [check for check in checks if check["name"] == "permissions"]
    assert permissions["verdict"] == "warn"
    assert "chmod 600" in permissions["remedy"]


def test_doctor_changes_nothing(crawled: Run, tmp_path: Path) -> None:
    before = (tmp_path / "bookmarks.db").read_bytes()
    crawled("doctor", "--offline")
    assert (tmp_path / "bookmarks.db").read_bytes() == before


def test_db_upgrade_makes_the_tables(run: Run) -> None:
    told = json.loads(run("db", "upgrade", "--db", "new.db", "--json").stdout)
    assert told == {"database": "new.db", "revision": "0001", "before": None, "changed": True}
    assert json.loads(run("status", "--db", "new.db", "--json").stdout)["crawls"] == []


def test_a_password_in_the_database_url_is_never_shown(run: Run) -> None:
    result = run("status", "--db", "postgresql+asyncpg://me:hunter2@127.0.0.1:9/none", "--json")
    assert result.exit_code == 14
    assert "hunter2" not in result.output


def test_printable_and_json_neutralise_every_character() -> None:
    for number in (*range(0x3000), 0xD800, 0xFEFF, 0xE0001, 0x10FFFF):
        char = chr(number)
        assert printable(char).isprintable()
        assert json.loads(json_text(char)) == char
        json_text(char).encode()


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_the_wal_reset_bug_is_known_by_version(version: tuple[int, int, int], has_it: bool) -> None:
    assert has_wal_reset_bug(version) is has_it


@pytest.mark.parametrize(
    ("version", "database", "is_warned"),
    [
        ((3, 40, 1), "bookmarks.db", True),
        ((3, 40, 1), "sqlite:///bookmarks.db", True),
        ((3, 51, 3), "bookmarks.db", False),
        ((3, 40, 1), "postgresql+asyncpg://me@host/name", False),
    ],
)
def test_who_shares_a_file_is_warned_of_an_sqlite_with_the_bug(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], database: str, is_warned: bool
) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    warning = sqlite_warning(database)
    assert (warning is not None) is is_warned
    assert warning is None or ("one process at a time" in warning and "3.51.3" in warning)


# -- what a newcomer met ----------------------------------------------------------------------------


def test_debug_shows_where_the_unexpected_happened_and_changes_nothing_else(
    crawled: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("twitor_fsm.cli.verbs.status._look", broken)
    for extra in ((), ("--debug",)):
        result = crawled("status", "--json", *extra)
        assert (result.exit_code, json.loads(result.stdout)["error"]) == (1, "fatal")
        assert ("Traceback" in result.stderr) is bool(extra)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_an_export_onto_the_database_is_refused(crawled: Run, tmp_path: Path, suffix: str) -> None:
    database = tmp_path / "bookmarks.db"
    before = database.read_bytes()
    for name in (f"bookmarks.db{suffix}", f"./bookmarks.db{suffix}", f"{database}{suffix}"):
        result = crawled("export", "-o", name)
        assert result.exit_code == 2, result.output
        assert "database" in result.stderr
    assert database.read_bytes() == before
    assert len(list(tmp_path.glob("bookmarks.db*"))) == 1


def test_an_export_onto_a_link_another_database_or_no_file_is_refused(
    crawled: Run, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("bookmarks.db")
    os.link(tmp_path / "bookmarks.db", tmp_path / "hard")
    (tmp_path / "other.db").write_bytes((tmp_path / "bookmarks.db").read_bytes())
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "hard", "other.db", ".", str(tmp_path), "fifo", ""):
        result = crawled("export", "-o", name)
        assert result.exit_code == 2, (name, result.output)
        assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "link").is_symlink()
    assert json.loads(crawled("status", "--json").stdout)["bookmarks"] == 30
    assert not list(tmp_path.glob(".*.part"))


LOOKING = [
    ("status",), ("sessions", "list"), ("sessions", "show"), ("skipped", "list"),
    ("checkpoint", "show"), ("export",),
]  # fmt: skip
CHANGING = [
    ("sessions", "cancel", "last"), ("skipped", "retry"), ("checkpoint", "clear", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize("verb", [*LOOKING, *CHANGING], ids=" ".join)
@pytest.mark.parametrize("kind", ["notes", "wal", "empty"])
def test_a_foreign_database_is_left_as_it_is(
    run: Run, tmp_path: Path, verb: tuple[str, ...], kind: str
) -> None:
    path = tmp_path / "notes.db"
    path.touch()
    if kind != "empty":
        with closing(sqlite3.connect(path)) as notes:
            if kind == "wal":
                notes.execute("PRAGMA journal_mode=WAL")
            notes.execute("CREATE TABLE note (text)")
            notes.commit()
    before = path.read_bytes()
    result = run(*verb, "--db", "notes.db", "--json")
    assert result.exit_code == 2
    assert "holds no crawls; it was left untouched" in json.loads(result.stdout)["message"]
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.db"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
@pytest.mark.parametrize("verb", LOOKING, ids=" ".join)
def test_a_read_only_folder_can_be_looked_at(
    crawled: Run, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    _look_at_read_only(crawled, tmp_path, verb)


@pytest.mark.parametrize("verb", LOOKING, ids=" ".join)
def test_a_read_only_medium_can_be_looked_at(
    crawled: Run, tmp_path: Path, verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root the system writes everywhere, so the answer about the folder's rights is replaced."""
    monkeypatch.setattr("twitor_fsm.storage.sqlite.is_writable", lambda _: False)
    before = {entry.name for entry in tmp_path.iterdir()}
    result = crawled(*verb)
    assert result.exit_code == 0, result.output
    assert {entry.name for entry in tmp_path.iterdir()} == before


def _look_at_read_only(run: Run, folder: Path, verb: tuple[str, ...]) -> None:
    folder.chmod(0o500)
    (folder / "bookmarks.db").chmod(0o400)
    try:
        looked = run(*verb)
        crawl = run("crawl", "page.json", "--json")
    finally:
        folder.chmod(0o700)
        (folder / "bookmarks.db").chmod(0o600)
    assert looked.exit_code == 0, looked.output
    assert crawl.exit_code == 14
    assert "read-only" in json.loads(crawl.stdout)["message"]


def test_looking_leaves_no_files_behind(crawled: Run, tmp_path: Path) -> None:
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    for verb in LOOKING:
        assert crawled(*verb).exit_code == 0
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("source", "user"),
    [
        ("x", ""), ("x", "jack"), ("x", "me"), ("x", "1" * 21), ("x", "12 "), ("x", "\u0661"),
        ("page.json", ""), ("page.json", "a\x1bb"), ("page.json", "n" * 201),
    ],
)  # fmt: skip
def test_a_user_id_that_is_none_starts_nothing(
    run: Run, file: Path, tmp_path: Path, source: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X_BEARER_TOKEN", "token")
    result = (
        run("crawl", source, "--user-id", user, "--api-url", "http://127.0.0.1:9")
        if (source == "x")
        else run("crawl", source, "--user-id", user)
    )
    assert result.exit_code == 2
    assert "nothing was started" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.json"]


@pytest.mark.parametrize(
    "name", [".", "/dev/null", "nowhere.json", "notes.txt", "", "cut.json", "home.har"]
)
def test_a_file_that_cannot_be_read_is_refused_before_anything_is_made(
    run: Run, tmp_path: Path, name: str
) -> None:
    (tmp_path / "notes.txt").write_text("dear diary")
    (tmp_path / "cut.json").write_text('{"data": [{"id"')
    home = {"request": {"url": "https://x.com/home"}, "response": {"content": {"text": "x"}}}
    (tmp_path / "home.har").write_text(json.dumps({"log": {"entries": [home] * 3}}))
    result = run("crawl", name, "--json")
    assert result.exit_code == 2, result.output
    message = json.loads(result.stdout)["message"]
    assert "nothing was started" in message
    assert "stands before" not in message
    assert not (tmp_path / "bookmarks.db").exists()


def test_a_missing_token_leaves_no_database(run: Run, tmp_path: Path) -> None:
    assert run("crawl").exit_code == 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("database", [":memory:", "sqlite://", "sqlite+aiosqlite:///:memory:"])
def test_a_database_in_memory_is_refused(run: Run, file: Path, database: str) -> None:
    for verb in (("crawl", str(file)), ("status",), ("db", "upgrade"), ("demo",)):
        result = run(*verb, "--db", database)
        assert result.exit_code == 2, verb
        assert "memory" in result.stderr


def unfinished(source: str, *, lease_until: float, resume_at: float | None) -> SessionRecord:
    state = State.RUNNING if resume_at is None else State.PAUSED_RATE_LIMIT
    return SessionRecord(
        session_id="s1",
        crawl=CrawlKey("42", source),
        ordinal=1,
        value=SessionValue(state, resume_at=resume_at),
        counters=Counters(),
        fence=1,
        revision=1,
        owner=None,
        lease_until=lease_until,
        cancel_wish=None,
        resumed_from=None,
        message="",
        durable=True,
        started_at=900.0,
        updated_at=950.0,
        ended_at=None,
    )


@pytest.mark.parametrize(
    ("source", "lease_until", "resume_at", "when"),
    [
        ("x", 1030.0, None, "when its lease ends at "),
        ("x", 1000.0, None, "within 30 s"),
        ("x", 990.0, 1600.0, "when the pause is over at "),
        ("x", 1030.0, 1010.0, "when its lease ends at "),
        ("x", 990.0, 999.0, "within 30 s"),
        ("file:a.json@1", 1030.0, None, None),
    ],
)
def test_who_goes_on_with_a_session_that_nobody_runs_is_said(
    source: str, lease_until: float, resume_at: float | None, when: str | None
) -> None:
    record = unfinished(source, lease_until=lease_until, resume_at=resume_at)
    told = next_step(record, None, now=1000.0)
    assert "your crawl command again" in told
    assert ("a worker on this database takes it up by itself" in told) is (when is not None)
    assert when is None or f"by itself {when}" in told


def test_status_after_a_cleared_checkpoint_knows_what_is_stored(crawled: Run) -> None:
    crawled("checkpoint", "clear", "--yes")
    (crawl,) = json.loads(crawled("status", "--json").stdout)["crawls"]
    assert crawl["bookmarks"] == 30
    assert "again" in crawl["next"]
    shown = crawled("status").stdout
    assert "30" in shown.partition("bookmarks   ")[2].splitlines()[0]
    assert "walks the whole listing again" in shown


def test_the_same_command_is_printed_with_all_its_options(run: Run, file: Path) -> None:
    result = run(
        "crawl", "page.json", "--max-items", "10", "--user-id", "a b", "--page-size", "7",
        "--no-wait", "--db", "b c.db",
    )  # fmt: skip
    assert result.exit_code == 75
    assert (
        "run the same command again: twitor crawl page.json --user-id 'a b' --page-size 7 "
        "--max-items 10 --no-wait --db 'b c.db'\n"
    ) in result.stdout


def test_a_completed_file_brings_nothing_new_later(run: Run, file: Path) -> None:
    assert "brings what is new" not in run("crawl", str(file)).stdout
    assert "brings what is new" not in run("status").stdout


def test_a_usage_error_is_one_line_with_where_to_look(run: Run) -> None:
    result = run("crawl", "--page-size", "1000")
    (line,) = result.stderr.splitlines()
    assert line.startswith("twitor: ")
    assert line.endswith("See: twitor crawl --help")


@pytest.mark.parametrize("window", ["nan", "inf", "-1", "0"])
def test_a_window_that_is_no_length_is_refused(run: Run, window: str) -> None:
    assert run("simulate", "--window", window).exit_code == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_s": math.nan}, {"window_s": math.inf}, {"window_s": 0}, {"limit": math.nan},
        {"limit": 0}, {"bookmarks": math.nan}, {"bookmarks": -1}, {"users": 0},
    ],
)  # fmt: skip
def test_the_simulator_refuses_numbers_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Simulator(**wrong)


def test_an_owner_is_named_without_its_namespace() -> None:
    assert short_owner("process 7 on box pid:[4026531836]") == "process 7 on box"


def test_times_in_messages_are_told_by_the_same_clock() -> None:
    said = local_times("used up until 2026-11-23 22:48:01 UTC, then on", now=1795474081.0)
    assert said == f"used up until {clock_time(1795474081.0, now=1795474081.0)}, then on"


def test_the_command_is_printed_as_it_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "twitor"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bin/twitor"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert say_again("x", None, "7").startswith("bin/twitor crawl")
    monkeypatch.setenv("PATH", str(program.parent))
    assert say_again("x", None, "7").startswith("twitor crawl")


def test_a_password_of_the_database_is_in_no_command() -> None:
    assert "hunter2" not in with_db("twitor crawl", "postgresql://me:hunter2@host/name")


def test_doctor_knows_the_folder_of_tokens(
    crawled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tokens"
    monkeypatch.setenv("TWITOR_TOKEN_DIR", str(folder))

    def token() -> str:
        checks = json.loads(crawled("doctor", "--offline", "--json").stdout)["checks"]
        (found,) = [check for check in checks if check["name"] == "token"]
        return str(found["verdict"])

    assert token() == "fail"
    folder.mkdir()
    assert token() == "warn"
    (folder / "7").write_text("secret")
    (folder / "7").chmod(0o640)
    assert token() == "warn"
    (folder / "7").chmod(0o600)
    assert token() == "ok"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("7", b"", "7 is empty"),
        ("7", b"\xef\xbb\xbf \n", "7 is empty"),
        ("7", b"secret-one\nsecret-two\n", "holds characters that no token has"),
        ("7", "secret".encode("utf-16"), "7 cannot be read (it is no UTF-8 text"),
        ("7", b"AAAAAAAAAAAAAAAAAAAAAsecret", "7 looks like an app-only token"),
        ("7", b"secretsecretsecretsecret1:" + b"secret0123" * 5, "an app's key and secret"),
        ("ada", b"secret", "ada is no user's id"),
    ],
)
def test_doctor_knows_the_shape_of_a_tokens_file_and_shows_none(
    crawled: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    said: str,
) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    monkeypatch.setenv("TWITOR_TOKEN_DIR", str(folder))
    for file, text in (("1", b"\xef\xbb\xbfBearer good\n"), (name, content)):
        (folder / file).write_bytes(text)
        (folder / file).chmod(0o600)

    result = crawled("doctor", "--offline", "--json")

    (found,) = [c for c in json.loads(result.stdout)["checks"] if c["name"] == "token"]
    assert (found["verdict"], said in found["detail"]) == ("warn", True), found
    assert "secret0" not in result.output
    assert "secret-" not in result.output
    (folder / name).unlink()
    (found,) = [
        c
        for c in json.loads(crawled("doctor", "--offline", "--json").stdout)["checks"]
        if c["name"] == "token"
    ]
    assert found["verdict"] == "ok", "a byte order mark and the scheme are taken off"


def test_the_advice_is_that_of_the_reason() -> None:
    assert before_again(ErrorCategory.AUTH, Reason.TOKEN_REFUSED).startswith("get a new token")
    assert before_again(ErrorCategory.AUTH, Reason.TOKEN_MISSING).startswith("put a user's token")
    for reason in (Reason.ACCESS_REFUSED, Reason.SCOPE_MISSING, Reason.APP_ONLY_TOKEN):
        assert before_again(ErrorCategory.AUTH, reason).startswith("do what the message says; if")


@pytest.mark.parametrize("verb", [("worker",), ("crawl", "--user-id", "7")], ids=" ".join)
def test_a_folder_of_tokens_that_is_not_there_is_refused_at_once(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    unwanted = ("VALKEY_URL", "DATABASE_URL", "X_BEARER_TOKEN")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    result = subprocess.run(  # a process, since a worker that is not refused goes on for ever
        [sys.executable, "-m", "twitor_fsm.cli", *verb],
        cwd=tmp_path,
        env={**kept, "TWITOR_TOKEN_DIR": "tokens"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.returncode == 2, result.stderr
    assert "names the folder tokens, which does not exist; nothing was started" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_advice_after_a_failed_question_names_the_address_that_was_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X_BEARER_TOKEN", "t" * 30)
    monkeypatch.setenv("MAX_RETRIES", "0")
    result = run("crawl", "--api-url", "http://127.0.0.1:9")

    assert result.exit_code == 12, result.output
    assert "twitor doctor --api-url http://127.0.0.1:9; or" in result.stderr


def test_doctor_misses_no_checkpoint_of_a_crawl_that_is_only_asked_for(run: Run) -> None:
    async def ask() -> None:
        async with CrawlEngine("bookmarks.db") as engine:
            await engine.reserve("42", "x")

    asyncio.run(ask())
    checks = json.loads(run("doctor", "--offline", "--json").stdout)["checks"]
    (found,) = [check for check in checks if check["name"] == "checkpoints"]
    assert found["verdict"] == "ok"
    assert found["detail"] == "user 42 from x: asked for, and not begun yet"


async def test_doctor_takes_no_other_server_for_the_api() -> None:
    async with Simulator(1) as sim:
        verdicts = {
            address: {
                check.name: check.verdict
                for check in await asyncio.to_thread(lambda url: [*check_network(url)], address)
            }["answer"]
            for address in (sim.base_url, f"{sim.base_url}/elsewhere")
        }

    assert list(verdicts.values()) == ["ok", "warn"]


def test_the_count_in_the_database_is_one_users(crawled: Run, file: Path) -> None:
    told = crawled("crawl", str(file), "--user-id", "another").stdout

    assert "in the database" in told
    assert "30 bookmarks of this user from this source" in told
    assert json.loads(crawled("status", "--json").stdout)["bookmarks"] == 60


def test_numbers_are_asked_for_in_plain_words(run: Run) -> None:
    assert "'abc' is no whole number" in run("skipped", "list", "--limit", "abc").stderr
    assert "'abc' is no number" in run("simulate", "--window", "abc").stderr
    assert "above 0, at most a day" in " ".join(run("simulate", "--help").stdout.split())
    assert run("simulate", "--window", "86401").exit_code == 2


def test_a_stop_is_told_in_words() -> None:
    row = JournalRow(
        1, 0.0, "cancel", "running", "shutting_down", None, "stopped_by_user", 0.0, 0, 0, {}, "x"
    )
    told = Narrator().lines(Transition(session_id="s", at=0.0, row=row, until=None))
    assert told == ["checkpoint saved, stopping (stopped by user)"]


def test_a_session_that_is_over_will_have_no_item(run: Run, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text('{"data": [], "meta": {"result_count": 0}}')
    assert run("crawl", "none.json").exit_code == 0
    drawn = run("diagram", "--session", "last").stdout
    assert ": no item" in drawn
    assert "no item yet" not in drawn


def test_words() -> None:
    assert [duration(s) for s in (0, 0.2, 59, 60, 843, 7500, 200_000)] == [
        "0 s", "0.2 s", "59 s", "1 min", "14 min 3 s", "2 h 5 min", "2 days",
    ]  # fmt: skip
    assert [count(n, w) for n, w in ((1, "page"), (2, "page"), (2, "retry"))] == [
        "1 page", "2 pages", "2 retries",
    ]  # fmt: skip
    assert ago(None, now=5) == "never"
    assert say_again("x", None, "7") == "twitor crawl --user-id 7"
    assert say_again("file:my file.json@0123abcd", "a b.db", "local") == (
        "twitor crawl 'my file.json' --db 'a b.db'"
    )


def test_a_file_is_named_for_what_it_is_and_likes_want_to_be_asked_for(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "like.js"
    likes = [{"like": {"tweetId": str(n), "fullText": "text"}} for n in range(3)]
    path.write_text(f"window.YTD.like.part0 = {json.dumps(likes)}")
    refused = run("crawl", str(path))
    assert refused.exit_code == 2
    assert "it holds likes, no bookmarks" in refused.stderr
    assert "--likes" in refused.stderr
    assert not list(tmp_path.glob("*.db"))
    result = run("crawl", str(path), "--likes", "--max-items", "2")
    assert "reading like.js as like.js of X's data archive" in result.stderr
    assert "--likes" in result.stdout
    assert run("crawl", str(path), "--likes").exit_code == 0
    assert json.loads(run("status", "--json").stdout)["bookmarks"] == 3
    assert run("crawl", "--likes").exit_code == 2
