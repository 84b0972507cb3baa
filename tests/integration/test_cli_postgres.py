"""The command line on a real PostgreSQL: from an empty database to a fleet's crawls, and what it says when it cannot."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from pooler import pooling
from store_factories import new_postgres_database, postgres_server
from valkey_server import Server

from twitor_fsm.cli.app import twitor
from twitor_fsm.simulator import Simulator
from twitor_fsm.storage.tables import REVISION

PASSWORD = "hunter2-secret"
CLI = ("-m", "twitor_fsm.cli")
QUICK = str(Path(__file__).parent / "quick_worker.py")
API = "http://127.0.0.1:9"
VERBS = {
    "status": ("status",),
    "sessions": ("sessions", "list"),
    "crawl": ("crawl", "--api-url", API, "--user-id", "42"),
    "enqueue": ("enqueue", "crawl", "--user", "42"),
    "worker": ("worker", "--api-url", API),
}


@attrs.frozen
class Twitor:
    """The command in a folder of its own, as processes and in this one."""

    folder: Path
    database: str

    def start(self, *args: str, script: tuple[str, ...] = CLI) -> "subprocess.Popen[str]":
        command = [sys.executable, *script, *args, "--db", self.database]
        return subprocess.Popen(
            command, cwd=self.folder, stderr=subprocess.PIPE, text=True, env=os.environ
        )

    def __call__(self, *args: str, db: str | None = None) -> Result:
        named = ["--db", db or self.database]
        return CliRunner().invoke(twitor, [*args, *named], prog_name="twitor")

    def told(self, *args: str) -> Any:
        result = self(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def url() -> sa.URL:
    """A new, empty database."""
    return new_postgres_database(postgres_server())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_server: Server, url: sa.URL) -> Twitor:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "NO_COLOR", "TWITOR_TOKEN_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VALKEY_URL", own_server.url)
    monkeypatch.setenv("X_BEARER_TOKEN", "a-token")
    return Twitor(tmp_path, url.render_as_string(hide_password=False))


async def test_from_an_empty_database_to_complete_crawls(
    run: Twitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir(mode=0o700)
    monkeypatch.setenv("TWITOR_TOKEN_DIR", str(tokens))
    monkeypatch.delenv("X_BEARER_TOKEN")
    async with Simulator(bookmarks=30, users=3) as sim:
        for user_id, token in sim.tokens.items():
            (tokens / user_id).write_text(token)
            (tokens / user_id).chmod(0o600)

        worker = run.start("worker", "--api-url", sim.base_url)
        line = await until_line(worker, "waiting for the database, nothing is taken:")
        assert "twitor db upgrade" in line
        assert (await threaded(run, "db", "current")).exit_code == 14
        assert (await threaded(run, "db", "upgrade")).exit_code == 0
        assert (await threaded(run, "db", "current")).exit_code == 0
        await until_line(worker, "working: 10 crawls at once")

        asked = await asyncio.to_thread(run.told, "enqueue", "crawl", "--all-users")
        assert len(asked["tasks"]) == 3
        while True:
            crawls = (await asyncio.to_thread(run.told, "status"))["crawls"]
            if [crawl["state"] for crawl in crawls] == ["completed"] * 3:
                break
            assert worker.poll() is None
        assert sorted(crawl["user_id"] for crawl in crawls) == sorted(sim.user_ids)
        assert [crawl["bookmarks"] for crawl in crawls] == [30, 30, 30]
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 20) == 0
        assert worker.stderr is not None
        worker.stderr.close()

        again = await threaded(
            run, "crawl", "--api-url", sim.base_url, "--user-id", sim.user_id, "-q", "--json"
        )
        assert (again.exit_code, json.loads(again.stdout)["stored"]) == (0, 0), again.output
        listed = await asyncio.to_thread(run.told, "sessions", "list")
        assert len(listed["sessions"]) == 4


async def test_a_worker_whose_database_is_upgraded_waits_and_works_again(run: Twitor) -> None:
    assert (await threaded(run, "db", "upgrade")).exit_code == 0
    worker = run.start("worker", "--api-url", API, script=(QUICK,))
    await until_line(worker, "working: ")
    set_revision(run.database, "9999")
    await until_line(worker, "this worker drains, its crawls go back to the queue: ")
    line = await until_line(worker, "waiting for the database, nothing is taken: ")
    assert "'9999' is not known to this version" in line
    set_revision(run.database, REVISION)
    await until_line(worker, "working: ")
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 20) == 0
    assert worker.stderr is not None
    worker.stderr.close()


async def threaded(run: Twitor, *args: str) -> Result:
    return await asyncio.to_thread(run, *args)


async def until_line(process: "subprocess.Popen[str]", beginning: str) -> str:
    """The next line of stderr with this in it; in between only that there is nothing to do."""
    assert process.stderr is not None
    while True:
        line: str = await asyncio.to_thread(process.stderr.readline)
        if beginning in line:
            return line
        assert "nothing to do" in line, line


def test_every_verb_works_on_it_as_on_a_file(run: Twitor, tmp_path: Path) -> None:
    saved = tmp_path / "saved.jsonl"
    posts = [{"id": str(n), "text": f"text {n}"} for n in range(1, 31)] + [{"text": "no id"}]
    saved.write_text(json.dumps({"data": posts, "meta": {"result_count": len(posts)}}) + "\n")
    assert run("db", "upgrade").exit_code == 0
    crawled = run("crawl", str(saved), "-q", "--json")
    assert (crawled.exit_code, json.loads(crawled.stdout)["stored"]) == (0, 30), crawled.output

    assert run.told("status")["bookmarks"] == 30
    (session,) = run.told("sessions", "list")["sessions"]
    assert run.told("sessions", "show", "last")["session_id"] == session["session_id"]
    assert run.told("replay")["of"] == f"session {session['session_id']}"
    assert session["session_id"] in run("diagram", "--session", "last").stdout
    assert len(run("export").stdout.splitlines()) == 30
    assert len(run.told("skipped", "list")["skipped"]) == 1
    assert run.told("skipped", "retry")["marked"] == 1
    assert run.told("checkpoint", "show")["checkpoints"][0]["checkpoint"]["bookmarks_count"] == 30
    assert run("checkpoint", "clear", "--yes").exit_code == 0
    doctor = json.loads(run("doctor", "--json").stdout)
    found = {check["name"]: check["verdict"] for check in doctor["checks"]}
    assert (found["database"], found["schema"]) == ("ok", "ok")

    assert run("enqueue", "crawl", "--user", "42").exit_code == 0
    (asked,) = [s for s in run.told("sessions", "list")["sessions"] if s["user_id"] == "42"]
    cancelled = run.told("sessions", "cancel", asked["session_id"])
    assert (cancelled["state"], cancelled["reason"]) == ("shut_down", "stopped_by_user")
    assert run.told("sessions", "resume", asked["session_id"])["task_id"] == "crawl:x:42"


# -- refusals --------------------------------------------------------------------------------------


def guarded(url: sa.URL) -> sa.URL:
    """The URL of a role that has to give a password, with a wrong one."""
    server = postgres_server()
    hba = server.pgdata / "pg_hba.conf"
    rule = "local all guarded scram-sha-256\n"
    if not hba.read_text().startswith(rule):
        hba.write_text(rule + hba.read_text())
        server.psql("CREATE ROLE guarded LOGIN PASSWORD 'right'; SELECT pg_reload_conf();")
    return url.set(username="guarded", password=PASSWORD)


BAD: dict[str, tuple[Callable[[sa.URL], sa.URL], int, str]] = {
    "refused": (
        lambda url: url.set(host="127.0.0.1", port=1, query={}, password=PASSWORD),
        14,
        "does not answer",
    ),
    "no socket": (
        lambda url: url.set(query={"host": "/no/such/folder"}, password=PASSWORD),
        14,
        "does not answer",
    ),
    "wrong password": (guarded, 14, "refuses the login"),
    "no database": (lambda url: url.set(database="none", password=PASSWORD), 14, "Create it"),
    "no driver": (
        lambda url: url.set(drivername="postgresql+nothing", password=PASSWORD),
        2,
        "postgresql+asyncpg://",
    ),
    "odd option": (
        lambda url: url.update_query_dict({"passwd": PASSWORD}),
        2,
        "asyncpg does not know (passwd)",
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("bad", BAD)
def test_a_database_that_cannot_be_used_is_one_clear_line(
    run: Twitor, url: sa.URL, bad: str, verb: str
) -> None:
    spoil, code, words = BAD[bad]
    named = spoil(url).render_as_string(hide_password=False)
    assert PASSWORD in named

    result = run(*VERBS[verb], db=named)

    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("twitor: ")
    assert words in line
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"statement_cache_size": "x"}, 2, "statement_cache_size in the database's URL"),
        ({"max_cached_statement_lifetime": "-1"}, 2, "no whole number from 0"),
        ({"command_timeout": "0"}, 2, "no number of seconds above 0"),
        ({"connect_timeout": "nan"}, 2, "no number of seconds above 0"),
        ({"server_settings": "search_path=x"}, 2, "SET search_path"),
        ({"dsn": f"postgres://me:{PASSWORD}@h/db"}, 2, "no URL can give (dsn)"),
        ({"async_fallback": "x"}, 2, "asyncpg does not know (async_fallback)"),
        ({"sslmode": "always"}, 2, "the option sslmode in the database's URL is none of disable,"),
        ({"target_session_attrs": "any-at-all"}, 2, "the option target_session_attrs"),
    ],
)
def test_an_option_of_the_url_that_cannot_work_is_told(
    run: Twitor, url: sa.URL, options: dict[str, str], code: int, words: str
) -> None:
    named = url.update_query_dict(options).render_as_string(hide_password=False)

    result = run("status", db=named)

    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert words in line
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    "options",
    [
        {"statement_cache_size": "0"},
        {"prepared_statement_cache_size": "0"},
        {"statement_cache_size": "20", "max_cached_statement_lifetime": "0"},
    ],
)
def test_statements_may_be_kept_as_the_url_says(
    run: Twitor, url: sa.URL, options: dict[str, str]
) -> None:
    named = url.update_query_dict(options).render_as_string(hide_password=False)
    assert run("db", "upgrade", db=named).exit_code == 0
    assert run("status", db=named).exit_code == 0


def test_behind_a_pooler_of_transactions_everything_is_stored(
    run: Twitor, url: sa.URL, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.jsonl"
    posts = [{"id": str(n), "text": f"text {n}"} for n in range(1, 301)]
    pages = [{"data": part, "meta": {}} for part in (posts[:100], posts[100:200], posts[200:])]
    saved.write_text("".join(json.dumps(page) + "\n" for page in pages))
    with pooling(f"{url.query['host']}/.s.PGSQL.5432") as port:
        through = url.set(host="127.0.0.1", port=port, query={"sslmode": "disable"})
        plain = through.render_as_string(hide_password=False)
        named = f"{plain}&statement_cache_size=0"
        assert run("db", "upgrade", db=named).exit_code == 0
        crawled = run("crawl", str(saved), "-q", "--json", db=named)
        assert (crawled.exit_code, json.loads(crawled.stdout)["stored"]) == (0, 300), crawled.output
        assert len(run("export", db=named).stdout.splitlines()) == 300

        refused = run("crawl", str(saved), "--user-id", "other", "-q", db=plain)

    assert refused.exit_code == 14
    (line,) = refused.stderr.splitlines()
    assert "add to the database's URL: statement_cache_size=0" in line


def test_a_schema_that_is_not_there_is_told(run: Twitor, url: sa.URL) -> None:
    postgres_server().psql(f"ALTER DATABASE {url.database} SET search_path = nowhere;")

    result = run("db", "upgrade")

    assert result.exit_code == 14
    (line,) = result.stderr.splitlines()
    assert "search_path names no schema" in line


def test_a_database_that_cannot_hold_every_text_is_refused_before_anything_is_made(
    run: Twitor, url: sa.URL
) -> None:
    name = f"{url.database}_latin"
    postgres_server().psql(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;"
    )
    named = url.set(database=name).render_as_string(hide_password=False)

    for args in (("db", "upgrade"), ("crawl", "--api-url", API, "--user-id", "42")):
        result = run(*args, db=named)
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert "encoding is LATIN1" in line
    assert run("db", "current", "--json", db=named).exit_code == 14


@pytest.mark.parametrize("verb", ["crawl", "enqueue"])
@pytest.mark.parametrize("revision", [None, "0000", "9999"], ids=["empty", "older", "newer"])
def test_another_schema_is_refused_with_the_command_to_run(
    run: Twitor, verb: str, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if revision is not None:
        assert run("db", "upgrade").exit_code == 0
        monkeypatch.setattr("twitor_fsm.storage.migrations.is_known", lambda found: found < "9")
        set_revision(run.database, revision)
    monkeypatch.setenv("DATABASE_URL", run.database)

    result = CliRunner().invoke(twitor, list(VERBS[verb]), prog_name="twitor")

    assert result.exit_code == 14
    (line,) = result.stderr.splitlines()
    remedy = "Install the version" if revision == "9999" else "twitor db upgrade"
    assert remedy in line
    assert (revision or "no tables of ours") in line


def set_revision(database: str, revision: str) -> None:
    url = sa.make_url(database)
    postgres_server().psql(
        f"\\c {url.database}\nUPDATE twitor_alembic_version SET version_num = '{revision}';"
    )


def test_to_look_at_an_empty_database_makes_nothing(run: Twitor) -> None:
    for args in (("status",), ("sessions", "list")):
        result = run(*args)
        assert result.exit_code == 2
        assert "make its tables with: twitor db upgrade" in result.stderr
    current = run("db", "current", "--json")
    assert current.exit_code == 14
    assert json.loads(current.stdout)["revision"] is None


@pytest.mark.parametrize("verb", ["enqueue", "worker"])
def test_an_embedded_queue_beside_a_shared_database_is_refused(
    run: Twitor, verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VALKEY_URL", "embedded")
    result = run(*VERBS[verb])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "which serves one machine" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_extra_is_one_line_with_the_command_to_run(
    run: Twitor, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    result = run(*VERBS[verb])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert 'pip install "twitor-fsm[postgres]"' in line


def test_a_file_is_upgraded_and_looked_at_too(run: Twitor, tmp_path: Path) -> None:
    assert run("db", "current", db="new.db").exit_code == 2
    assert list(tmp_path.iterdir()) == []
    made, again = (run("db", "upgrade", db="new.db") for _ in range(2))
    assert (made.exit_code, again.exit_code) == (0, 0)
    assert made.stdout == "new.db has its tables now (revision 0001)\n"
    assert again.stdout.startswith(
        "new.db had this version's schema already (revision 0001); nothing"
    )
    assert json.loads(run("db", "upgrade", "--json", db="new.db").stdout) == {
        "database": "new.db",
        "revision": "0001",
        "before": "0001",
        "changed": False,
    }
    found = run("db", "current", "--json", db="new.db")
    assert (found.exit_code, json.loads(found.stdout)["is_current"]) == (0, True)
