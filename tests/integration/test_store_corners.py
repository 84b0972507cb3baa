"""What a store meets seldom: rows of two sources, races lost, refusals that no single item explains, looking only."""

import errno
import sqlite3
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from faulty_sql import Faults, driver_error
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.asyncio import create_async_engine
from store_factories import (
    ME,
    Place,
    batch,
    claim,
    finish,
    journal_row,
    new,
    over,
    postgres_place,
    postgres_server,
    refuse_bad_texts,
    skip,
    sqlite_place,
    walking,
)

from twitor_fsm.config import Settings
from twitor_fsm.core.listing import Known
from twitor_fsm.core.records import CrawlKey
from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import (
    ConfigurationError,
    SchemaMismatch,
    SessionUnreadable,
    StoreError,
    StoreUnavailable,
)
from twitor_fsm.sources.base import Item
from twitor_fsm.storage import tables as t
from twitor_fsm.storage.base import NewItem
from twitor_fsm.storage.failures import no_file, refusal, translate
from twitor_fsm.storage.prepared import Prepared, PreparedRows
from twitor_fsm.storage.statements import insert
from twitor_fsm.storage.store import SqlStore, sqlite_file
from twitor_fsm.testing import ListSource
from twitor_fsm.testing.tapping import Call, tapped


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place[SqlStore]]:
    async with AsyncExitStack() as closing_all:
        if request.param == "sqlite":
            yield sqlite_place(tmp_path, closing_all)
        else:
            yield postgres_place(postgres_server(), closing_all)


@pytest.fixture
async def store(place: Place[SqlStore]) -> SqlStore:
    return await place.store()


async def test_skipped_items_are_counted_with_those_to_be_tried_again(store: SqlStore) -> None:
    claimed = await claim(store)
    await store.commit(batch(claimed, skips=(skip("1"), skip("2"), skip("3"))))
    await store.retry_skipped(keys=("2",))

    assert await store.count_skipped(ME) == (3, 1)
    assert await store.count_skipped(CrawlKey("me", "other")) == (0, 0)


async def test_an_item_that_one_source_skipped_and_another_stored_is_both(store: SqlStore) -> None:
    claimed = await claim(store)
    await store.commit(batch(claimed, skips=(skip("1", 4),), mark=walking(1, 5)))
    other = CrawlKey("me", "file")
    beside = await claim(store, "s2", crawl=other)
    await store.commit(batch(beside, new=new("1"), mark=walking(1, 1)))

    assert await store.lookup(ME, ("1",)) == {"1": Known(True, True, 1, 4, 1)}
    assert await store.lookup(other, ("1",)) == {"1": Known(True, False, 1, 0, 1)}


async def test_items_without_a_mark_are_counted_and_are_no_checkpoint(store: SqlStore) -> None:
    claimed = await claim(store)
    await store.commit(batch(claimed, new=new("1", "2")))

    assert await store.checkpoint(ME) is None
    await finish(store, claimed, mark=over(1))
    checkpoint = await store.checkpoint(ME)
    assert checkpoint is not None
    assert checkpoint.bookmarks_count == 2


async def test_a_session_whose_id_is_taken_does_not_start(store: SqlStore) -> None:
    await claim(store, "s1")

    with pytest.raises(StoreError, match="nothing of this transaction was written"):
        await claim(store, "s1", crawl=CrawlKey("me", "other"))

    assert [s.crawl for s in await store.sessions()] == [ME]


async def test_a_batch_that_is_refused_although_each_item_is_fine_is_a_bug_that_is_told(
    tmp_path: Path,
) -> None:
    """A trigger that minds the journal, which a trial does not write."""
    async with AsyncExitStack() as closing_all:
        store = await sqlite_place(tmp_path, closing_all).store()
        claimed = await claim(store)
        async with store.engine.begin() as connection:
            await connection.exec_driver_sql(
                "CREATE TRIGGER mind BEFORE INSERT ON twitor_bookmark "
                "WHEN EXISTS (SELECT 1 FROM twitor_journal) BEGIN SELECT RAISE(ABORT, 'no'); END"
            )

        with pytest.raises(StoreError, match="each of its items alone is fine"):
            await store.commit(batch(claimed, new=new("1", "2"), journal=(journal_row(1),)))

        assert await store.count_bookmarks() == 0
        assert (await store.session("s1")).revision == claimed.session.revision


async def test_a_trial_that_meets_a_failing_disk_blames_no_item(tmp_path: Path) -> None:
    trying = False

    def fail(call: Call) -> None:
        nonlocal trying
        trying = trying or call.text.startswith("SAVEPOINT")
        if trying and call.text.startswith("INSERT INTO twitor_bookmark"):
            raise driver_error("SQLITE_IOERR_WRITE")

    with tapped(Faults(before_call=fail)):
        async with AsyncExitStack() as closing_all:
            store = await sqlite_place(tmp_path, closing_all).store()
            claimed = await claim(store)
            await refuse_bad_texts(store)
            bad = NewItem(Item(key="2", raw="{}", text="bad"), 1)

            with pytest.raises(StoreUnavailable) as raised:
                await store.commit(batch(claimed, new=(*new("1"), bad)))

            assert trying
            assert raised.value.reason is Reason.STORE_IO
            assert await store.count_bookmarks() == 0


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class TestLookingOnly:
    async def test_it_reads_and_writes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "bookmarks.db"
        writer = SqlStore(path)
        await writer.open()
        claimed = await claim(writer)
        await writer.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))
        assert path.with_name("bookmarks.db-wal").stat().st_size > 0

        looking = SqlStore(path, read_only=True)
        await looking.open()
        assert await looking.count_bookmarks() == 1
        with pytest.raises(StoreUnavailable) as raised:
            await looking.wish_cancel("s1", "no")
        assert raised.value.reason is Reason.STORE_READ_ONLY
        await looking.close()
        await writer.close()

        before = files(tmp_path)
        async with AsyncExitStack() as closing_all:
            await looking.open()
            closing_all.push_async_callback(looking.close)
            assert [s.session_id for s in await looking.sessions()] == ["s1"]
        assert files(tmp_path) == before

    async def test_a_medium_that_cannot_be_written_is_read_and_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "bookmarks.db"
        writer = SqlStore(path)
        await writer.open()
        await claim(writer)
        await writer.close()
        monkeypatch.setattr("twitor_fsm.storage.sqlite.is_writable", lambda _: False)

        looking = SqlStore(path, read_only=True)
        await looking.open()
        assert len(await looking.sessions()) == 1
        await looking.close()

        assert list(files(tmp_path)) == ["bookmarks.db"]

    @pytest.mark.parametrize(
        ("content", "error", "told"),
        [
            (None, SchemaMismatch, "no tables of ours"),
            (b"", ConfigurationError, "holds no crawls"),
            (b"no database at all" * 100, StoreUnavailable, "not an SQLite database"),
        ],
        ids=["absent", "empty", "foreign"],
    )
    async def test_a_file_that_is_not_ours_is_left_untouched(
        self, content: bytes | None, error: type[Exception], told: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "other.db"
        if content is not None:
            path.write_bytes(content)

        with pytest.raises(error, match=told):
            await SqlStore(path, read_only=True).open()

        assert (path.read_bytes() if path.exists() else None) == content

    async def test_a_log_that_cannot_be_opened_on_a_medium_that_cannot_be_written_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "bookmarks.db"
        store = SqlStore(path)
        await store.open()
        await store.close()
        monkeypatch.setattr("twitor_fsm.storage.store.is_writable", lambda _: False)

        def fail(call: Call) -> None:
            if call.text == "PRAGMA journal_mode=WAL":
                raise driver_error("SQLITE_CANTOPEN")

        with tapped(Faults(before_call=fail)), pytest.raises(StoreUnavailable) as raised:
            await store.open()
        assert raised.value.reason is Reason.STORE_READ_ONLY

    async def test_a_database_in_memory_holds_nothing_to_look_at(self) -> None:
        with pytest.raises(ConfigurationError, match="holds no crawls"):
            await SqlStore(":memory:", read_only=True).open()

    async def test_an_empty_postgres_holds_nothing_to_look_at(self) -> None:
        async with AsyncExitStack() as closing_all:
            made = postgres_place(postgres_server(), closing_all).make()
            closing_all.push_async_callback(made.close)
            looking = SqlStore(made.engine.url, read_only=True)
            with pytest.raises(ConfigurationError, match="holds no crawls"):
                await looking.open()

            await made.open()
            await looking.open()
            assert await looking.sessions() == []
            await looking.close()


class TestNames:
    async def test_a_database_without_a_name_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="has no name"):
            SqlStore("")

    @pytest.mark.parametrize("url", ["sqlite:////x:y:z@@/", "not a url://"])
    def test_a_url_that_cannot_be_read_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError):
            SqlStore("://" + url)

    async def test_a_database_in_memory_has_no_second_connection(self) -> None:
        with pytest.raises(ConfigurationError, match="no second connection"):
            _ = SqlStore(":memory:").engine

    @pytest.mark.parametrize(
        ("missing", "url", "told"),
        [
            ("asyncpg", "postgresql://me@host/db", r'pip install "twitor-fsm\[postgres\]"'),
            ("psycopg", "postgresql+psycopg://me@host/db", "name the driver that comes along"),
        ],
    )
    def test_a_missing_driver_is_named(
        self, missing: str, url: str, told: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ConfigurationError, match=told):
            SqlStore(url)

    async def test_a_driver_that_takes_parameters_by_name_is_refused_at_once(self) -> None:
        engine = create_async_engine("sqlite+aiosqlite://", paramstyle="named")
        with pytest.raises(ConfigurationError, match="does not work with the driver"):
            SqlStore(engine)
        await engine.dispose()

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("sqlite:///b.db", Path("b.db")),
            ("sqlite://", None),
            ("postgresql://me@host/db", None),
            ("no url", None),
        ],
    )
    def test_the_file_of_a_url_is_named(self, url: str, found: Path | None) -> None:
        assert sqlite_file(url) == found

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (PermissionError(errno.EACCES, "denied"), Reason.STORE_READ_ONLY),
            (OSError(errno.ENOSPC, "no space"), Reason.STORE_FULL),
            (OSError(errno.EDQUOT, "quota"), Reason.STORE_FULL),
            (OSError(errno.EIO, "broken"), Reason.STORE_UNAVAILABLE),
        ],
    )
    def test_a_file_that_the_system_refuses_to_make_says_why(
        self, error: OSError, reason: Reason
    ) -> None:
        refused = no_file(error, "b.db")
        assert (refused.reason, refused.retryable) == (reason, False)
        assert "nothing was changed" in str(refused)

    def test_no_insert_is_made_for_another_dialect(self) -> None:
        with pytest.raises(ConfigurationError, match="not mysql"):
            insert(t.crawl, mysql.dialect())


class TestTranslation:
    """Of errors that need a strange driver, or a network, to come up."""

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (sa.exc.TimeoutError("no connection in the pool"), Reason.STORE_UNAVAILABLE),
            (sa.exc.InterfaceError("SELECT", {}, Exception("gone")), Reason.STORE_UNAVAILABLE),
            (
                sa.exc.DBAPIError("SELECT", {}, Exception("gone"), connection_invalidated=True),
                Reason.STORE_UNAVAILABLE,
            ),
        ],
    )
    def test_a_database_out_of_reach_is_worth_another_try(
        self, error: Exception, reason: Reason
    ) -> None:
        found = translate(error)
        assert isinstance(found, StoreUnavailable)
        assert (found.reason, found.retryable) == (reason, True)

    def test_an_os_error_counts_only_where_a_network_lies_between(self) -> None:
        assert isinstance(translate(OSError("broken pipe"), remote=True), StoreUnavailable)
        assert translate(OSError("broken pipe")) is None

    @pytest.mark.parametrize(
        "error",
        [
            sa.exc.DBAPIError("SELECT", {}, Exception("odd")),
            sa.exc.StatementError("odd", "SELECT", {}, None),
        ],
    )
    def test_any_other_error_of_a_statement_is_ours_and_no_outage(self, error: Exception) -> None:
        found = translate(error)
        assert isinstance(found, StoreError)
        assert not isinstance(found, StoreUnavailable)

    def test_what_is_no_database_error_stays_what_it_is(self) -> None:
        assert translate(KeyError("a bug")) is None
        assert translate(StoreUnavailable("ours")) is None

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (sqlite3.DataError("string or blob too big"), Reason.DATABASE_ERROR),
            (sqlite3.InterfaceError("type not supported"), Reason.ENCODING),
            (OverflowError("int too large"), Reason.ENCODING),
        ],
    )
    def test_a_row_may_be_refused_for_its_values(self, error: Exception, reason: Reason) -> None:
        found = refusal(error)
        assert found is not None
        assert found.reason is reason

    def test_an_error_that_says_nothing_of_the_row_is_no_refusal(self) -> None:
        assert refusal(driver_error("SQLITE_BUSY")) is None


class TestPreparing:
    def test_only_statements_with_parameters_are_prepared(self) -> None:
        with pytest.raises(TypeError, match="not a statement with parameters"):
            Prepared(sa.schema.CreateTable(t.crawl), sqlite.dialect())

    def test_rows_must_stand_in_one_values(self) -> None:
        statement: Any = (
            sa.update(t.crawl)
            .values(generation=sa.bindparam("g"))
            .where(t.crawl.c.id == sa.bindparam("i"))
        )
        with pytest.raises(ValueError, match="do not stand in one VALUES"):
            PreparedRows(statement, sqlite.dialect(), row="g i")


async def test_a_file_of_another_program_is_not_taken_over(tmp_path: Path) -> None:
    """Opened to be written, a database with foreign tables gets ours beside them."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as app:
        app.execute("CREATE TABLE app (x)")
        app.execute("INSERT INTO app VALUES (1)")
        app.commit()
    store = SqlStore(path)
    await store.open()
    await claim(store)
    await store.close()
    with closing(sqlite3.connect(path)) as app:
        assert app.execute("SELECT x FROM app").fetchall() == [(1,)]


# -- rows that somebody else wrote -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("counters", "garbage"),
        ("counters", '{"seen": "many"}'),
        ("counters", '{"errors": {"FATAL": null}}'),
        ("category", "NO SUCH"),
        ("owner", "{}"),
        ("absorbed", "7"),
    ],
)
async def test_a_session_that_cannot_be_read_hides_no_other(
    place: Place[SqlStore], caplog: pytest.LogCaptureFixture, column: str, text: str
) -> None:
    store = await place.store()
    await claim(store, "bad")
    await finish(store, await claim(store, "good", crawl=CrawlKey("anna", "x")), new=new("1"))
    async with store.engine.begin() as connection:
        spoiled = sa.update(t.session).where(t.session.c.session_id == "bad").values({column: text})
        await connection.execute(spoiled)

    assert [record.session_id for record in await store.sessions()] == ["good"]
    assert [record.session_id for record in await store.sessions()] == ["good"]
    assert [r.levelname for r in caplog.records if "session bad cannot be read" in r.message] == [
        "ERROR"
    ]
    for broken in (store.session("bad"), store.wish_cancel("bad", "x"), claim(store, "next")):
        with pytest.raises(SessionUnreadable, match="session bad cannot be read"):
            await broken
    assert (await claim(store, "hers", crawl=CrawlKey("anna", "x"))).session.ordinal == 2
    assert (await store.forget("me", now=4e9, is_gone=lambda _: False)).sessions == 1


@pytest.mark.parametrize("column", ["ordinal", "fence", "lease_until", "started_at", "resume_at"])
async def test_a_word_where_sqlite_should_hold_a_number_hides_no_other_session(
    tmp_path: Path, column: str
) -> None:
    path = tmp_path / "bookmarks.db"
    async with CrawlEngine(str(path)) as engine:
        await claim(engine.store, "bad")
        await claim(engine.store, "good", crawl=CrawlKey("anna", "x"))
        with closing(sqlite3.connect(path)) as other:
            other.execute(f"UPDATE twitor_session SET {column} = 'x' WHERE session_id = 'bad'")
            other.commit()

        assert [record.session_id for record in await engine.sessions()] == ["good"]
        with pytest.raises(SessionUnreadable, match="session bad cannot be read"):
            await claim(engine.store, "next")
        assert (await engine.store.forget("me", now=4e9, is_gone=lambda _: False)).sessions == 1


async def test_a_word_in_place_of_the_last_fence_keeps_no_session_from_beginning(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bookmarks.db"
    async with CrawlEngine(str(path)) as engine:
        await finish(engine.store, await claim(engine.store, "bad"))
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE twitor_session SET fence = 'x'")
            other.commit()

        assert (await claim(engine.store, "next")).session.fence == 1


async def test_a_skipped_item_that_cannot_be_read_keeps_no_other_from_being_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bookmarks.db"
    keys = ["1", "2", "3", "4"]
    async with CrawlEngine(str(path), settings=Settings()) as engine:
        await engine.crawl(ListSource(keys, bad=set(keys)), user_id="me")
        assert await engine.retry_skipped("me") == 4
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE twitor_skipped SET category = 'spoiled' WHERE item_key IN (1, 2)")
            other.commit()
        due = await engine.store.due_skips(CrawlKey("me", "x"), 2)
        assert [skip.key for skip in due] == ["3", "4"]

        report = await engine.crawl(ListSource(keys), user_id="me")

        assert report.completed
        assert await engine.store.count_bookmarks("me") == 4  # the listing has them, too
    assert caplog.text.count("the skipped item 1 of crawl 1") == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://me:s3cret",
        "postgresql+asyncpg://me@host:s3cret/name",
        "postgresql+asyncpg://me@host/name?port=s3cret",
        "postgresql+asyncpg://me@host/name?prepared_statement_cache_size=s3cret",
        "sqlite:///FOLDER/a.db?timeout=s3cret",
    ],
)
async def test_what_stands_at_the_wrong_place_of_a_url_is_refused_and_not_quoted(
    tmp_path: Path, url: str
) -> None:
    """A password without a host is taken for a port; as no number it was quoted, and told as a bug."""
    with pytest.raises(ConfigurationError, match="nothing was opened") as refused:
        await SqlStore(url.replace("FOLDER", str(tmp_path))).open()

    assert "s3cret" not in "".join(traceback.format_exception(refused.value))
