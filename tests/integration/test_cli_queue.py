"""`twitor queue`, `enqueue`, `worker` and `sessions resume`: what they print, and how they end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from valkey_server import QueueNames, Server

from twitor_fsm import CrawlEngine
from twitor_fsm.cli.app import twitor
from twitor_fsm.config import Settings
from twitor_fsm.queue_manager import QueueManager

Run = Callable[..., Result]
PASSWORD = "hunter2-secret"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_server: Server) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "X_BEARER_TOKEN", "NO_COLOR", "TWITOR_TOKEN_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VALKEY_URL", own_server.url)
    monkeypatch.setenv("X_BEARER_TOKEN", "a-token")

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(twitor, list(args), prog_name="twitor")

    return invoke


def said(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_health_says_what_the_document_says(run: Run) -> None:
    result = run("queue", "health")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:3] == ["✓ Queue is healthy", "  Queue size: 0", "  Dead letter: 0"]
    found = said(run("queue", "health", "--json"))
    assert found["status"] == "healthy"
    assert said(run("queue", "stats", "--json"))["in_flight"] == 0


def test_an_unhealthy_queue_is_told(run: Run, own_server: Server) -> None:
    own_server.stop()
    result = run("queue", "health")
    assert result.exit_code == 1
    assert result.stdout.startswith("✗ Queue is unhealthy: no answer from Valkey at")
    assert json.loads(run("queue", "health", "--json").stdout)["status"] == "unhealthy"


def test_crawls_are_asked_for_once(run: Run) -> None:
    assert run("enqueue", "crawl", "--user", "42", "--user", "43").exit_code == 0
    found = said(run("enqueue", "crawl", "--user", "42", "--json"))
    assert found == {"tasks": ["crawl:x:42"], "asked_for": 0, "already_queued": 1}
    told = run("enqueue", "crawl", "--user", "42", "--user", "44").stdout
    assert told == "1 crawl asked for, 1 already in the queue\n"
    assert said(run("queue", "stats", "--json"))["queue_size"] == 3
    status = run("status").stdout
    assert "asked for; nobody has begun it" in status
    assert "wait for a worker (twitor queue health looks at the queue)" in status


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--user", "nobody"), "twitor: --user 'nobody' is no X user id"),
        ((), "either --user ID or --all-users"),
        (("--all-users",), "no user is known"),
    ],
)
def test_nothing_is_asked_for_by_mistake(run: Run, args: tuple[str, ...], said: str) -> None:
    result = run("enqueue", "crawl", *args)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("args", [("--all-users",), ("--user", "nobody")])
def test_a_wish_that_is_refused_leaves_nothing_behind(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, args: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VALKEY_URL", "embedded")
    assert run("enqueue", "crawl", *args).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_gets_no_queue(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VALKEY_URL", "embedded")
    other = tmp_path / "notes.txt"
    other.write_text("no database, and longer than the head of one: " + "x" * 1000)
    result = run("enqueue", "crawl", "--user", "42", "--db", str(other))
    assert result.exit_code == 14
    assert str(other) in result.stderr
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(
    "verb",
    [("queue", "health"), ("queue", "stats", "--json"), ("enqueue", "crawl", "--user", "42")],
)
def test_which_queue_is_used_is_said_once_and_without_its_password(
    run: Run, own_server: Server, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "rich", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    monkeypatch.setenv("VALKEY_URL", f"unix://rich:{PASSWORD}@{own_server.socket}")
    result = run(*verb)
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("queue twitor:tasks at unix://")
    assert line.endswith(str(own_server.socket))
    assert PASSWORD not in result.output


def test_all_users_are_those_with_a_token(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    for user_id in ("42", "43"):
        (tokens / user_id).write_text("token")
    (tokens / "README").write_text("no token")
    monkeypatch.setenv("TWITOR_TOKEN_DIR", str(tokens))
    found = said(run("enqueue", "crawl", "--all-users", "--json"))
    assert found["tasks"] == ["crawl:x:42", "crawl:x:43"]
    (tokens / "44").write_text("token")
    told = run("enqueue", "crawl", "--all-users").stdout
    assert told == "1 crawl asked for, 2 already in the queue\n"


def test_a_user_with_an_id_of_an_apps_own_is_left_to_the_app(run: Run) -> None:
    async def as_the_app() -> None:
        async with CrawlEngine("bookmarks.db") as engine:
            for user_id in ("me", "42"):
                await engine.reserve(user_id, "x")

    asyncio.run(as_the_app())
    result = run("enqueue", "crawl", "--all-users")
    assert result.stdout == "1 crawl asked for, 0 already in the queue\n"
    assert "left out, since X has no such ids" in result.stderr
    assert result.stderr.rstrip().endswith(": 'me'")
    found = said(run("enqueue", "crawl", "--all-users", "--json"))
    assert (found["tasks"], found["left_out"]) == (["crawl:x:42"], ["me"])
    advice = {each["user_id"]: each["next"] for each in said(run("status", "--json"))["crawls"]}
    assert "--user-id 42" in advice["42"]
    assert advice["me"].startswith(
        "the app that began it goes on with it (engine.crawl, user_id='me')"
    )
    assert "--user-id" not in advice["me"]


def test_a_session_that_nobody_had_begun_is_ended_and_resumed(run: Run) -> None:
    """Resumed as asked for: with a session in the database, so that `forget` and a cancel reach it."""
    run("enqueue", "crawl", "--user", "42", "--db", "b.db")

    assert (
        "is ended; nobody had begun it" in run("sessions", "cancel", "last", "--db", "b.db").stdout
    )
    assert "at the top of the listing" in run("checkpoint", "show", "--db", "b.db").stdout
    run("sessions", "resume", "last", "--db", "b.db")

    new, old = said(run("sessions", "list", "--db", "b.db", "--json"))["sessions"]
    assert (old["reason"], new["reason"]) == ("stopped_by_user", None)
    assert "asked for; nobody has begun it" in run("sessions", "list", "--db", "b.db").stdout


def test_a_session_of_a_file_is_no_workers(run: Run, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"data": [{"id": "1", "text": "t"}], "meta": {"result_count": 1}}))
    run("crawl", str(saved), "--db", "b.db", "-q")

    result = run("sessions", "resume", "last", "--db", "b.db")

    assert result.exit_code == 2
    assert "workers crawl X alone; nothing was added" in result.stderr
    assert said(run("queue", "stats", "--db", "b.db", "--json"))["queue_size"] == 0


def test_the_queue_is_paused_and_resumed(run: Run) -> None:
    assert run("queue", "pause").stdout == "the queue is paused\n"
    assert run("queue", "pause").stdout == "the queue is paused already\n"
    assert said(run("queue", "resume", "--json")) == {"paused": False, "changed": True}


def test_that_the_queue_is_paused_is_seen(run: Run) -> None:
    assert said(run("queue", "health", "--json"))["paused"] is False
    run("queue", "pause")
    assert "Paused: workers get nothing" in run("queue", "health").stdout
    assert said(run("queue", "stats", "--json"))["paused"] is True
    told = [line.split(maxsplit=1) for line in run("queue", "stats").stdout.splitlines()]
    assert ["paused", "yes (twitor queue resume)"] in told
    assert "oldest waits" in run("queue", "stats").stdout
    assert said(run("queue", "health", "--json"))["paused"] is True


@pytest.mark.parametrize(
    "verb", [("queue", "health"), ("queue", "dead", "list"), ("queue", "pause")]
)
def test_to_look_makes_no_queue(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VALKEY_URL", "embedded")
    result = run(*verb, "--db", "other.db")
    assert result.exit_code == 2
    assert "there is no database other.db" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_dead_letters_are_listed_retried_and_purged(run: Run, own_server: Server) -> None:
    names = QueueNames(own_server, "twitor:tasks")
    run("enqueue", "crawl", "--user", "42")
    with own_server.client() as client:  # spoiled, so that it dies when it is taken
        client.hset(names.key("tasks"), "crawl:x:42", b"\x80garbage\x1b[31m")
    run("enqueue", "crawl", "--user", "43")
    worker = start_worker()
    with own_server.client() as client:
        while not client.exists(names.key("dead")):  # the spoiled task was taken
            assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=20)
    assert worker.returncode == 0
    (dead,) = said(run("queue", "dead", "list", "--json"))["dead"]
    assert (dead["task_id"], dead["reason"]) == ("crawl:x:42", "malformed")
    shown = run("queue", "dead", "list", "--reason", "malformed")
    assert "crawl:x:42" in shown.stdout
    assert "\x1b" not in shown.stdout
    unread = run("queue", "dead", "retry", "crawl:x:42", "--json")
    assert (unread.exit_code, json.loads(unread.stdout)["error"]) == (2, "usage")
    unasked = run("queue", "dead", "purge")
    assert (unasked.exit_code, "Say --yes" in unasked.stderr) == (2, True)
    assert run("queue", "dead", "purge", "--yes").stdout == "1 dead letter forgotten\n"
    assert said(run("queue", "dead", "purge", "--yes", "--json")) == {"purged": 0}
    assert run("queue", "dead", "list").stdout == "no dead letters\n"


@pytest.mark.parametrize("verb", ["retry", "purge"])
def test_a_dead_letter_that_is_not_there_is_a_mistake(run: Run, verb: str) -> None:
    result = run("queue", "dead", verb, "no-such")
    assert result.exit_code == 2
    assert "there is no dead letter 'no-such'" in result.stderr
    assert "nothing was changed" in result.stderr
    assert (
        run(
            "queue",
            "dead",
            verb,
            "--type",
            "no-such",
            "--reason",
            "failed",
            *(["--yes"] if verb == "purge" else []),
        ).exit_code
        == 0
    )


def test_a_dead_letters_payload_is_shown_as_json(run: Run, own_server: Server) -> None:
    payload = {"url": "https://x.com/\x1b[31m", "tags": [None, True, "é"]}

    async def bury() -> None:
        async with QueueManager(own_server.url, settings=Settings()) as queue:
            await queue.enqueue("process_bookmark", payload, task_id="one")
            task = await queue.dequeue(timeout=0)
            assert task is not None
            await queue.reject(task)

    asyncio.run(bury())
    line = run("queue", "dead", "list").stdout.rstrip("\n")
    assert "after 0 retries" in line
    shown = line[line.index("{") :]
    assert json.loads(shown) == payload
    assert shown.isprintable()


def start_worker() -> "subprocess.Popen[bytes]":
    """A worker whose API is not there, when it has begun to work."""
    command = [sys.executable, "-m", "twitor_fsm.cli", "worker", "--api-url", "http://127.0.0.1:9"]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ)
    assert worker.stderr is not None
    line = worker.stderr.readline()
    if not line.startswith(b"working: 10 crawls at once"):
        worker.kill()
        worker.wait()
        pytest.fail(f"the worker says {line!r}")
    return worker


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"http://:{PASSWORD}@x", 2),
        (f"redis://:{PASSWORD}@127.0.0.1:1/0", 2),
        ("{wrong}", 10),
        ("{forbidden}", 2),
    ],
)
@pytest.mark.parametrize(
    "verb", [("queue", "stats"), ("enqueue", "crawl", "--user", "1"), ("worker",)]
)
def test_a_url_that_cannot_be_used_is_one_clear_line(
    run: Run,
    own_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    code: int,
    verb: tuple[str, ...],
) -> None:
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", f">{PASSWORD}", "~*", "+ping")
    path = str(own_server.socket)
    chosen = {
        "{wrong}": f"unix://nobody:{PASSWORD}@{path}",
        "{forbidden}": f"unix://poor:{PASSWORD}@{path}",
    }
    monkeypatch.setenv("VALKEY_URL", chosen.get(url, url))
    result = run(*verb)
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("twitor: ")
    assert PASSWORD not in result.output


def test_without_a_url_the_embedded_server_is_used_and_that_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VALKEY_URL")
    result = run("enqueue", "crawl", "--user", "42")
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "queue twitor:tasks at the embedded Valkey beside bookmarks.db (VALKEY_URL is not set)\n"
    )
    assert json.loads(run("queue", "stats", "--json").stdout)["queue_size"] == 1, "kept in its file"
    assert (tmp_path / "bookmarks.db-valkey").is_dir()
