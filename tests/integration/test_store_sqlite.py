"""The store on SQLite: files, locks, and what happens when the disk or the file fails."""

import asyncio
import gc
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from store_factories import (
    ALICE,
    BOB,
    ME,
    NOW,
    batch,
    claim,
    finish,
    item,
    new,
    walking,
)

from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import ConfigurationError, CrawlOwned, LeaseLost, StoreUnavailable
from twitor_fsm.storage import reads, writer
from twitor_fsm.storage.base import NewItem
from twitor_fsm.storage.driver import Driver
from twitor_fsm.storage.sqlite import SqliteFile
from twitor_fsm.storage.store import SqlStore

BUSY_S = 0.05
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bookmarks.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(path, busy_timeout_s=BUSY_S)
    await store.open()
    yield store
    await store.close()


def modes(folder: Path) -> dict[str, int]:
    """Permissions of the files in a folder."""
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}


def content(path: Path) -> bytes:
    """Every byte of a file."""
    return path.read_bytes()


def damage(path: Path) -> bytes:
    """Overwrite the beginning of every page but the first; returns what the file holds then."""
    whole = bytearray(path.read_bytes())
    for start in range(4096, len(whole), 4096):
        whole[start : start + 100] = b"\xff" * 100
    path.write_bytes(whole)
    return bytes(whole)


def pragma(store: SqlStore, statement: str) -> Any:
    """Run a PRAGMA on the store's own connection."""
    runner = store._thread
    assert runner is not None

    def run(connection: sa.Connection) -> list[Any]:
        driver = connection.connection.driver_connection
        assert driver is not None
        return list(driver.execute(statement))

    return runner.outside(run)


class TestFile:
    async def test_only_the_owner_may_read_the_files(self, path: Path, store: SqlStore) -> None:
        claimed = await claim(store)
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))

        assert modes(path.parent) == {
            "bookmarks.db": 0o600,
            "bookmarks.db-wal": 0o600,
            "bookmarks.db-shm": 0o600,
        }

    async def test_transactions_survive_a_power_cut(self, store: SqlStore) -> None:
        assert await pragma(store, "PRAGMA journal_mode") == [("wal",)]
        assert await pragma(store, "PRAGMA synchronous") == [(2,)]  # FULL

    @pytest.mark.parametrize(
        "spell",
        [
            "{}",
            "sqlite:///{}",
            "sqlite+aiosqlite:///{}",
            "sqlite+pysqlite:///{}",
        ],
    )
    async def test_a_database_can_be_spelled_in_many_ways(self, path: Path, spell: str) -> None:
        store = SqlStore(spell.format(path))
        await store.open()
        await claim(store)
        await store.close()

        assert modes(path.parent) == {path.name: 0o600}

    async def test_a_relative_path_stays_where_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        store = SqlStore("here.db")
        monkeypatch.chdir(tmp_path / "elsewhere")
        await store.open()
        await store.close()

        assert (tmp_path / "here.db").exists()

    async def test_a_database_in_memory_works(self) -> None:
        for url in (":memory:", "sqlite://", "sqlite+aiosqlite:///:memory:"):
            store = SqlStore(url)
            await store.open()
            await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))
            assert await store.count_bookmarks() == 1
            with pytest.raises(ConfigurationError, match="in memory"):
                _ = store.engine
            await store.close()

    async def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="no_such_folder does not exist"):
            await SqlStore(tmp_path / "no_such_folder" / "a.db").open()
        with pytest.raises(ConfigurationError, match="is a folder"):
            await SqlStore(tmp_path).open()

    async def test_a_file_of_two_names_is_not_written_by_either(self, path: Path) -> None:
        """Each name has a log of its own: two crawls at once damaged the file, and rows of one were lost."""
        store = SqlStore(path)
        await store.open()
        await store.close()
        other = path.with_name("other.db")
        other.hardlink_to(path)
        for name in (path, other):
            with pytest.raises(ConfigurationError, match="has 2 names"):
                await SqlStore(name).open()

        await asyncio.to_thread(path.unlink)
        store = SqlStore(other)
        await store.open()
        assert await store.count_bookmarks() == 0
        await store.close()

    async def test_who_may_only_look_sees_through_a_link_what_is_still_in_the_log(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = path.parent / "elsewhere" / "link.db"
        link.parent.mkdir()
        link.symlink_to(path)
        store, guest = SqlStore(path), SqlStore(link, read_only=True)
        await store.open()
        await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))

        monkeypatch.setattr("twitor_fsm.storage.sqlite.is_writable", lambda _: False)
        await guest.open()

        assert await guest.count_bookmarks() == 1
        await guest.close()
        await store.close()

    async def test_a_file_that_cannot_be_made_is_named(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            with pytest.raises(StoreUnavailable, match=r"bookmarks\.db") as raised:
                await SqlStore(path).open()

        assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_READ_ONLY, False)

    @pytest.mark.parametrize("url", ["mysql://host/db", "nonsense://", "", "http:// x"])
    def test_an_unknown_database_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError):
            SqlStore(url)

    async def test_an_embedder_reads_through_the_engine(self, store: SqlStore) -> None:
        await store.commit(batch(await claim(store), new=new("1"), mark=walking(1, 1)))

        async with store.engine.connect() as connection:
            found = await connection.execute(sa.text("SELECT item_id FROM twitor_bookmark"))
            assert found.scalars().all() == ["1"]

    async def test_a_process_that_forgets_to_close_ends(self, path: Path) -> None:
        program = (
            "import asyncio, sys\n"
            "from twitor_fsm.storage.store import SqlStore\n"
            "async def main():\n"
            "    store = SqlStore(sys.argv[1])\n"
            "    await store.open()\n"
            "asyncio.run(main())\n"
        )
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            timeout=60,
            capture_output=True,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, b"")

    async def test_closing_ends_the_thread(self, path: Path) -> None:
        store = SqlStore(path)
        await store.open()
        names = [t.name for t in threading.enumerate()]
        await store.close()

        assert "twitor-store" in names
        assert "twitor-store" not in [t.name for t in threading.enumerate()]

    async def test_a_store_that_is_dropped_ends_its_thread(self, path: Path) -> None:
        store = SqlStore(path)
        await store.open()
        (thread,) = [t for t in threading.enumerate() if t.name == "twitor-store"]
        del store
        gc.collect()
        await asyncio.to_thread(thread.join, 10)

        assert not thread.is_alive()

    async def test_sqlite_alone_needs_no_async_engine(self, path: Path) -> None:
        program = (
            "import asyncio, sys\n"
            "from twitor_fsm.storage.store import SqlStore\n"
            "async def main():\n"
            "    store = SqlStore(sys.argv[1])\n"
            "    await store.open()\n"
            "    await store.close()\n"
            "asyncio.run(main())\n"
            "for name in ('alembic', 'aiosqlite', 'greenlet', 'sqlalchemy.orm'):\n"
            "    assert name not in sys.modules, name\n"
        )
        not_measured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program, str(path)],
            env={**not_measured, "PYTHONPATH": str(SRC)},
            timeout=60,
            capture_output=True,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, b"")

    async def test_reading_many_bookmarks_takes_little_memory(self, store: SqlStore) -> None:
        claimed = await claim(store)
        raw = "x" * 2000
        for start in range(0, 10_000, 1000):
            items = tuple(NewItem(item(str(n), raw=raw), n) for n in range(start, start + 1000))
            await store.commit(batch(claimed, new=items, mark=walking(1, start + 1000)))
        tracemalloc.start()
        seen = 0
        async for _ in store.bookmarks():
            seen += 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert seen == 10_000
        assert peak < 8_000_000  # a tenth of them all together


class TestFailures:
    """After each the store goes on as soon as the cause is gone, and nothing was half written."""

    async def failed(self, store: SqlStore, claimed: Any, text: str = "x") -> StoreUnavailable:
        items = (NewItem(item("1", text=text), 0),)
        with pytest.raises(StoreUnavailable) as raised:
            await store.commit(batch(claimed, new=items, mark=walking(1, 1), last_key="1"))
        assert raised.value.message
        return raised.value

    async def goes_on(self, store: SqlStore, claimed: Any) -> None:
        assert await store.count_bookmarks() == 0
        assert (await store.session("s1")).revision == claimed.session.revision
        await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1), last_key="1"))
        assert await store.count_bookmarks() == 1

    async def test_busy(self, path: Path, store: SqlStore) -> None:
        claimed = await claim(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            error = await self.failed(store, claimed)
            assert await store.count_bookmarks() == 0  # readers wait for nobody
            other.execute("ROLLBACK")

        assert (error.reason, error.retryable) == (Reason.STORE_BUSY, True)
        assert "SQLITE_BUSY" in error.message
        await self.goes_on(store, claimed)

    async def test_busy_while_opening(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("CREATE TABLE of_the_app (a)")
            other.execute("BEGIN EXCLUSIVE")
            store = SqlStore(path, busy_timeout_s=BUSY_S)
            with pytest.raises(StoreUnavailable) as raised:
                await store.open()
            other.execute("ROLLBACK")

        assert raised.value.reason is Reason.STORE_BUSY
        await store.open()
        await store.close()

    async def test_full(self, store: SqlStore) -> None:
        claimed = await claim(store)
        ((pages,),) = await pragma(store, "PRAGMA page_count")
        await pragma(store, f"PRAGMA max_page_count={pages}")

        error = await self.failed(store, claimed, "x" * 100_000)

        assert (error.reason, error.retryable) == (Reason.STORE_FULL, False)
        await self.goes_on(store, claimed)  # on a new connection, without that limit

    async def test_read_only(self, store: SqlStore) -> None:
        claimed = await claim(store)
        await pragma(store, "PRAGMA query_only=ON")

        error = await self.failed(store, claimed)

        assert (error.reason, error.retryable) == (Reason.STORE_READ_ONLY, False)
        await self.goes_on(store, claimed)

    async def test_io_error(self, store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
        claimed = await claim(store)
        real = writer.commit

        def torn(driver: Driver, items: Any) -> None:
            real(driver, items)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_WRITE"
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(writer, "commit", torn)
            error = await self.failed(store, claimed)

        assert (error.reason, error.retryable) == (Reason.STORE_IO, False)
        await self.goes_on(store, claimed)

    async def test_a_table_that_was_dropped(self, path: Path, store: SqlStore) -> None:
        claimed = await claim(store)
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE twitor_listing")

        error = await self.failed(store, claimed)

        assert (error.reason, error.retryable) == (Reason.STORE_UNAVAILABLE, False)

    async def test_not_a_database(self, path: Path) -> None:
        before = b"this is no database, " * 200
        with open(path, "wb") as file:  # noqa: ASYNC230, PTH123 - a few bytes
            file.write(before)
        with pytest.raises(StoreUnavailable) as raised:
            await SqlStore(path, busy_timeout_s=BUSY_S).open()

        assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_CORRUPT, False)
        assert content(path) == before

    async def test_a_damaged_file(self, path: Path, store: SqlStore) -> None:
        claimed = await claim(store)
        items = tuple(NewItem(item(str(n), text="x" * 3000), n) for n in range(50))
        await store.commit(batch(claimed, new=items, mark=walking(1, 50)))
        await store.close()
        whole = damage(path)

        async def use() -> None:
            await store.open()
            await store.session("s1")

        with pytest.raises(StoreUnavailable) as raised:
            await use()

        assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_CORRUPT, False)
        assert content(path) == whole

    async def test_no_message_holds_a_value(self, path: Path, store: SqlStore) -> None:
        claimed = await claim(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            error = await self.failed(store, claimed, "the secret text")

        assert "secret" not in f"{error}{error.__cause__!r}"

    async def test_a_damaged_connection_in_memory_is_kept(self) -> None:
        store = SqlStore(":memory:")
        await store.open()
        claimed = await claim(store)
        await pragma(store, "PRAGMA query_only=ON")
        await self.failed(store, claimed)
        await pragma(store, "PRAGMA query_only=OFF")

        await self.goes_on(store, claimed)
        await store.close()


class TestTransactions:
    def test_a_transaction_is_a_plain_function(self, path: Path) -> None:
        asyncio.run(self.claimed(path))
        file = SqliteFile(sa.make_url(f"sqlite:///{path}"), busy_timeout_s=BUSY_S)
        connection = file.connect()
        with file.driving(connection) as driver:
            assert writer.heartbeat(driver, "s1", 1, NOW + 5) is None
        with pytest.raises(LeaseLost), file.driving(connection) as driver:
            writer.heartbeat(driver, "s1", 2, NOW + 5)
        assert not file.has_begun(connection)
        file.disconnect(connection)

    async def claimed(self, path: Path) -> None:
        store = SqlStore(path)
        await store.open()
        await claim(store)
        await store.close()

    async def test_a_reader_waits_for_no_writer(self, path: Path, store: SqlStore) -> None:
        claimed = await claim(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.lookup(ME, ("1",)) == {}
            assert await store.session("s1") == claimed.session

    async def test_a_loop_that_ends_early_leaves_a_usable_database(self, path: Path) -> None:
        def crawl(key: str) -> None:
            async def run() -> None:
                store = SqlStore(path)
                await store.open()
                claimed = await claim(store, gone=lambda _: True)
                commit = asyncio.ensure_future(
                    store.commit(batch(claimed, new=new(key), mark=walking(1, 1)))
                )
                await asyncio.sleep(0)
                commit.cancel()

            asyncio.run(run())

        for n in range(3):
            await asyncio.to_thread(crawl, str(n))

        store = SqlStore(path)
        await store.open()
        claimed = await claim(store, gone=lambda _: True)
        await finish(store, claimed)
        assert claimed.session.fence == 4
        await store.close()


def _claim_once(path: str, start: Any, answers: Any) -> None:
    async def run() -> str:
        store = SqlStore(path)
        await store.open()
        try:
            await claim(store, f"s{os.getpid()}", owner=BOB)
        except CrawlOwned:
            return "owned"
        finally:
            await store.close()
        return "won"

    start.wait()
    answers.put(asyncio.run(run()))


def test_of_processes_that_open_and_claim_a_new_file_exactly_one_wins(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=_claim_once, args=(str(path), start, answers)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    told = sorted(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)

    assert told == ["owned", "owned", "owned", "won"]


async def test_another_process_of_the_same_file_can_take_over(path: Path, store: SqlStore) -> None:
    old = await claim(store)
    other = SqlStore(path)
    await other.open()
    await claim(other, owner=BOB, gone=lambda owner: owner == ALICE)
    await other.close()

    with pytest.raises(LeaseLost):
        await store.commit(batch(old))


async def test_unfinished_sessions_are_found_by_the_index_that_holds_no_others(
    path: Path, store: SqlStore
) -> None:
    await claim(store)
    with closing(sqlite3.connect(path)) as connection:
        engine = sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.StaticPool)
        said: list[str] = []

        @sa.event.listens_for(engine, "before_cursor_execute")
        def explain(_c: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            plan = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            said.extend(row[3] for row in plan)

        with engine.connect() as asking:
            found, _, after = reads.unfinished_after(asking, 0, 10)
            assert ([s.session_id for s in found], after) == (["s1"], 1)
        engine.dispose()
    assert any("twitor_session_one_alive" in line for line in said), said
    assert not any("TEMP B-TREE" in line for line in said), said
