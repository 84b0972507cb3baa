"""Forgetting a user: at the command line, in an engine, and in the bytes of the file."""

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from store_factories import (
    Place,
    claim,
    finish,
    new,
    over,
    postgres_place,
    postgres_server,
)

from twitor_fsm.cli.app import twitor
from twitor_fsm.core.records import CrawlKey
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import CrawlOwned
from twitor_fsm.storage import tables as t
from twitor_fsm.storage.forgetting import forget
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing.contracts.rows import ANNA, ARCHIVE

Run = Callable[..., Result]
SECRET = "a sentence that nobody is to find again"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "X_BEARER_TOKEN", "TWITOR_TOKEN_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(twitor, list(args), prog_name="twitor")

    return invoke


@pytest.fixture
def crawled(run: Run, tmp_path: Path) -> Run:
    """Two users in one database, from one file."""
    posts = [{"id": str(10**18 + n), "text": f"{SECRET} {n}"} for n in range(300)]
    file = tmp_path / "page.json"
    file.write_text(json.dumps({"data": posts, "meta": {"result_count": len(posts)}}))
    for user_id in ("42", "43"):
        assert run("crawl", str(file), "--user-id", user_id).exit_code == 0
    return run


def holds_secret(folder: Path) -> bool:
    return any(SECRET.encode() in file.read_bytes() for file in folder.glob("bookmarks.db*"))


def test_a_user_is_forgotten_and_others_are_not(crawled: Run) -> None:
    result = crawled("forget", "--user-id", "42", "--yes")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("user 42 is forgotten: 300 bookmarks")
    assert crawled("export", "--user-id", "43").stdout.count("\n") == 300
    assert [
        crawl["user_id"] for crawl in json.loads(crawled("status", "--json").stdout)["crawls"]
    ] == ["43"]


def test_what_was_forgotten_is_told_to_programs(crawled: Run) -> None:
    told = json.loads(crawled("forget", "--user-id", "42", "--yes", "--json").stdout)

    assert told == {"user_id": "42", "crawls": 1, "sessions": 1, "bookmarks": 300, "skipped": 0}


def test_nothing_is_forgotten_unasked(crawled: Run) -> None:
    result = crawled("forget", "--user-id", "42")

    assert result.exit_code == 2
    assert "forgetting user 42: 300 bookmarks" in result.stderr
    assert "nothing was deleted: nobody is there to ask. Say --yes" in result.stderr
    assert crawled("export", "--user-id", "42").stdout.count("\n") == 300


def test_a_user_whom_nobody_knows_is_a_mistake(crawled: Run) -> None:
    result = crawled("forget", "--user-id", "24", "--yes")

    assert result.exit_code == 2
    assert "nothing is known of user '24'" in result.stderr
    assert "it knows: 42, 43" in result.stderr


def test_a_token_that_stays_is_named(
    crawled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "42").write_text("token")
    monkeypatch.setenv("TWITOR_TOKEN_DIR", "tokens")

    assert "token is still there" in crawled("forget", "--user-id", "42", "--yes").stderr


def test_what_is_forgotten_is_not_in_the_file_either(crawled: Run, tmp_path: Path) -> None:
    crawled("forget", "--user-id", "43", "--yes")
    assert holds_secret(tmp_path)
    crawled("forget", "--user-id", "42", "--yes")

    assert not holds_secret(tmp_path)


def test_no_copy_is_left_where_sqlite_overwrites_nothing_by_itself(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were moved to another page while others were stored, and rows that were skipped first."""
    connect = sqlite3.connect

    def as_most_are_built(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.execute("PRAGMA secure_delete = OFF").close()
        return connection

    monkeypatch.setattr("sqlite3.dbapi2.connect", as_most_are_built)
    drawn = random.Random(1)
    ids = [drawn.randrange(10**17, 10**19) for _ in range(600)]
    broken = [{"id": str(n), "txt": SECRET} for n in ids[:30]]
    posts = [{"id": str(n), "text": f"{SECRET} {n}"} for n in ids]
    for name, data in (("a.json", broken), ("b.json", posts)):
        page = {"data": data, "meta": {"result_count": len(data)}}
        (tmp_path / name).write_text(json.dumps(page))
        assert run("crawl", name, "--user-id", "42").exit_code == 0
    assert holds_secret(tmp_path)

    assert run("forget", "--user-id", "42", "--yes").exit_code == 0

    assert not holds_secret(tmp_path)


def test_no_copy_waits_for_others_to_close_the_file(crawled: Run, tmp_path: Path) -> None:
    crawled("forget", "--user-id", "43", "--yes")
    with closing(sqlite3.connect(tmp_path / "bookmarks.db")) as other:
        other.execute("SELECT count(*) FROM twitor_bookmark").fetchall()

        assert crawled("forget", "--user-id", "42", "--yes").stderr == ""

        assert not holds_secret(tmp_path)


async def test_a_copy_that_somebody_reads_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as closes:
        store = SqlStore(tmp_path / "bookmarks.db", busy_timeout_s=0.0)
        await store.open()
        closes.push_async_callback(store.close)
        await finish(store, await claim(store), new=new("1"), mark=over(1, 1))
        with closing(sqlite3.connect(tmp_path / "bookmarks.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM twitor_bookmark").fetchall()

            assert (await store.forget("me", now=0.0, is_gone=lambda _: True)).bookmarks == 1

    assert ["last process closes" in record.message for record in caplog.records] == [True]


async def test_a_running_crawl_keeps_its_user(tmp_path: Path) -> None:
    async with CrawlEngine(str(tmp_path / "bookmarks.db")) as engine:
        session_id = await engine.reserve("42", "x")
        claimed = await claim(engine.store, crawl=CrawlKey("42", "x"), now=engine.clock.now())
        assert claimed.session.session_id == session_id

        with pytest.raises(CrawlOwned, match=r"nothing was deleted\. .* sessions cancel"):
            await engine.forget("42")

        assert len(await engine.sessions()) == 1


# -- on both databases -----------------------------------------------------------------------------


@pytest.fixture
async def postgres() -> AsyncIterator[Place[SqlStore]]:
    async with AsyncExitStack() as closing:
        yield postgres_place(postgres_server(), closing)


async def test_a_session_whose_row_is_locked_counts_as_running(
    postgres: Place[SqlStore],
) -> None:
    """Its lease is over, but its process is writing: to wait for it could end in a deadlock."""
    store = await postgres.store()
    await claim(store)
    async with store.engine.begin() as connection:
        await connection.execute(sa.select(t.session.c.session_id).with_for_update())
        with pytest.raises(CrawlOwned):
            await store.forget("me", now=4e9, is_gone=lambda _: True)

    assert (await store.forget("me", now=4e9, is_gone=lambda _: True)).sessions == 1


async def test_a_crawl_that_was_begun_meanwhile_keeps_its_user(postgres: Place[SqlStore]) -> None:
    store = await postgres.store()
    await finish(store, await claim(store), new=new("1"), mark=over(1, 1))
    begun: list[str] = []

    def begin_another(*told: object) -> None:
        if "DELETE FROM twitor_crawl" in str(told[2]) and not begun:
            begun.append("another")
            postgres_server().psql(
                f"\\c {store.engine.url.database}\n"
                "INSERT INTO twitor_crawl (user_id, source, generation, has_checkpoint, bookmarks_count, mark, "
                "last_session_ordinal) VALUES ('me', 'another', 0, false, 0, '{}', 0);"
            )

    sa.event.listen(store.engine.sync_engine, "after_cursor_execute", begin_another)
    with pytest.raises(CrawlOwned, match="Try again"):
        await store.forget("me", now=0.0, is_gone=lambda _: True)

    assert await store.count_bookmarks("me") == 1
    assert (await store.forget("me", now=0.0, is_gone=lambda _: True)).crawls == 2


async def test_no_crawl_begins_while_its_user_is_forgotten(postgres: Place[SqlStore]) -> None:
    """It would find as stored what is gone when the deletion is committed."""
    store = await postgres.store()
    await finish(store, await claim(store), new=new("1"), mark=over(1, 1))
    async with store.engine.begin() as connection:
        await connection.run_sync(forget, "me", now=0.0, is_gone=lambda _: True)
        with pytest.raises(CrawlOwned, match="Try again"):
            await claim(store, "s2", crawl=ARCHIVE)
        await claim(store, "s3", crawl=ANNA)

    assert not (await claim(store, "s2", crawl=ARCHIVE)).taken_over


async def test_a_checkpoint_cleared_while_its_crawl_is_forgotten_is_none(
    postgres: Place[SqlStore],
) -> None:
    store = await postgres.store()
    await finish(store, await claim(store), new=new("1"), mark=over(1, 1))
    async with store.engine.begin() as connection:
        await connection.execute(sa.delete(t.crawl))  # as whoever forgets, just before the commit
        clearing = asyncio.create_task(store.clear_checkpoint(CrawlKey("me", "x"), now=0.0))
        await _until_waiting(store)
    await clearing

    assert await store.crawls() == []


async def _until_waiting(store: SqlStore) -> None:
    """Until some transaction waits for another's lock."""
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while True:
        async with store.engine.connect() as connection:
            if (await connection.execute(waiting)).scalar_one():
                return
