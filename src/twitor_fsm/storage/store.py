"""The store in a SQL database: SQLite embedded, PostgreSQL for many machines, or an app's own engine.

Few methods, each one transaction: a plain function of a connection from `writer`, `claims`, `checkpoints` or `reads`,
carried out by a runner.
Must not know: SQL, threads, what a session does.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from ..core.listing import Known, Place
from ..core.progress import Checkpoint
from ..core.records import Claim, CrawlKey, Owner, SessionRecord, Skip
from ..core.states import JournalRow, SessionValue
from ..core.taxonomy import Reason
from ..errors import ConfigurationError, StoreError, StoreUnavailable
from ..log_facts import logger_of
from . import checkpoints, claims, forgetting, reads, schema, tables, writer
from .base import Batch, Bookmark, Forgotten, SkippedRow
from .engines import create_engine, known_driver, postgres_engine
from .failures import read_only_file, translate
from .runner import EngineRunner, Runner, ThreadRunner
from .sqlite import SqliteFile, is_writable
from .unused import remove_unused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # needs greenlet, which SQLite does without

__all__ = ["SqlStore", "sqlite_file"]

_PORTION: Final = 500  # bookmarks read at a time: about 1 MB, and 5 ms that a writer waits
_SESSIONS: Final = 500  # unfinished sessions read at a time

_LOG: Final = logger_of("twitor_fsm.store")


class SqlStore:
    """Keeps every crawl in a SQL database; implements `Store`.

    With SQLite all statements run on one thread of the store's own, a transaction a job. Cancelling a caller does not
    stop its transaction: it is committed or rolled back as a whole, and whoever must know which shields the call.
    """

    def __init__(
        self,
        database: "str | Path | sa.URL | AsyncEngine",
        *,
        busy_timeout_s: float = 5.0,
        migrate: bool | None = None,
        read_only: bool = False,
    ) -> None:
        """Name the database; nothing is opened.

        Args:
            database: A path, `:memory:`, a URL (`sqlite+aiosqlite:///bookmarks.db`, `sqlite:///bookmarks.db`,
                `postgresql+asyncpg://user@host/name`), or an app's own engine, which stays the app's to dispose of.
            busy_timeout_s: How long SQLite waits for another program's lock, seconds.
            migrate: Whether `open` may create and upgrade the schema; None: on SQLite only.
            read_only: Only look. `open` makes, migrates and changes nothing, and refuses a database without our tables;
                an SQLite file may lie on a medium that cannot be written. What writes raises `StoreUnavailable`.

        Raises:
            ConfigurationError: No such database or driver is known.
        """
        self._engine: AsyncEngine | None = None
        self._file: SqliteFile | None = None
        self._thread: ThreadRunner | None = None
        self._opened = False
        self._opening = asyncio.Lock()
        self._runner: Runner
        if not isinstance(database, (str, Path, sa.URL)):
            self._engine = known_driver(database)
            self._url = database.url
            self._runner = EngineRunner(database, owned=False)
        else:
            self._url = _url_of(database)
            if self._url.get_backend_name() == "sqlite":
                self._file = SqliteFile(
                    self._url, busy_timeout_s=busy_timeout_s, read_only=read_only
                )
                self._runner = self._thread = ThreadRunner(self._file)
            else:
                self._engine = postgres_engine(self._url)
                self._runner = EngineRunner(self._engine, owned=True)
        is_sqlite = self._url.get_backend_name() == "sqlite"
        self._migrate = not read_only and (is_sqlite if migrate is None else migrate)
        self._read_only = read_only
        self._unreadable: Final[set[str]] = set()

    # -- life -------------------------------------------------------------------------------------

    @property
    def engine(self) -> "AsyncEngine":
        """An async engine on the same database, for an embedder's own queries; made at first use.

        Raises:
            ConfigurationError: The database is in memory, where a second connection would see another one.
        """
        if self._engine is None:
            if self._file is None or self._file.path is None:
                raise ConfigurationError(
                    "a database in memory has no second connection; use a file, or pass your own engine to the store"
                )
            url = self._url.set(drivername="sqlite+aiosqlite", database=str(self._file.path))
            self._engine = create_engine(url, poolclass=sa.NullPool)
        return self._engine

    async def open(self) -> None:
        """Connect, and bring the schema up to date where that is allowed; see `Store.open`. Twice is harmless."""
        async with self._opening:
            if not self._opened:
                await self._open()

    async def _open(self) -> None:
        if self._file is not None:
            if not self._migrate and self._file.path is not None and not self._file.path.exists():
                raise schema.not_current()
            if self._read_only:
                self._look_first(self._file)
            else:
                self._file.prepare()
        try:
            if self._read_only:
                await self._runner.read(schema.require_ours)
            elif self._file is None:
                await self._runner.read(schema.require_unicode)
            if not await self._runner.read(schema.is_current):
                await self._bring_up()
            if self._thread is not None and self._file is not None and not self._read_only:
                await self._thread.outside(self._file.use_wal)
        except StoreUnavailable as exc:
            await self.close()
            raise self._read_only_medium(exc) from exc
        except BaseException:
            await self.close()
            raise
        self._opened = True

    async def revision(self) -> str | None:
        """Which schema the database has now; None if it has no tables of ours. Needs no `open`, changes nothing.

        Raises:
            SchemaMismatch: There are tables of ours and no revision, or several.
        """
        if self._file is not None and not self._opened:
            if self._file.path is None or not self._file.path.exists():
                return None
            if not self._holds_ours(self._file):
                return None
        try:
            return await self._runner.read(schema.find_revision)
        except StoreUnavailable as exc:
            raise self._read_only_medium(exc) from exc
        finally:
            if not self._opened:
                await self._runner.aclose()

    def _look_first(self, file: SqliteFile) -> None:
        """Refuse a file that is not ours before a connection could touch it."""
        if not self._holds_ours(file):
            raise schema.not_ours()

    def _holds_ours(self, file: SqliteFile) -> bool:
        try:
            return file.holds_tables((*tables.metadata.tables, tables.VERSION_TABLE))
        except sqlite3.Error as exc:
            raise translate(exc) or exc from exc

    def _read_only_medium(self, error: StoreUnavailable) -> StoreUnavailable:
        """SQLite only says that it cannot open its log, where the file's medium is read-only."""
        path = self._file.path if self._file is not None else None
        if error.reason is not Reason.STORE_UNAVAILABLE or path is None or not path.exists():
            return error
        return error if is_writable(path) else read_only_file(path)

    async def _bring_up(self) -> None:
        if self._migrate:
            await self._runner.write(schema.bring_up)
        else:
            await self._runner.read(schema.require_current)

    async def close(self) -> None:
        """Let everything go; safe to call twice."""
        self._opened = False
        await self._runner.aclose()
        if self._file is not None and self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()

    def remove_unused(self) -> bool:
        """After `close`: remove the SQLite file that `open` has made, if no row is in it and nobody else has it open.

        Returns:
            Whether it was removed.
        """
        file = self._file
        if self._opened or file is None or file.path is None or not file.is_made_here:
            return False
        ours = tables.metadata.tables
        return remove_unused(file.path, empty=ours, beside=[tables.VERSION_TABLE])

    async def check_writing(self) -> None:
        """See that rows may be written, before anything is paid for that could not be kept.

        Raises:
            StoreUnavailable: They may not, or another program holds the lock (`retryable`).
        """
        await self._run.write(schema.write_nothing)

    async def check(self) -> None:
        """See that the database answers and has our schema; see `Store.check`."""
        await self._run.read(schema.require_current)

    @property
    def _run(self) -> Runner:
        if not self._opened:
            raise StoreUnavailable(
                "the store is not open; nothing was read or written. Call open() first",
                retryable=False,
            )
        return self._runner

    # -- a running session ------------------------------------------------------------------------

    async def claim(
        self,
        crawl: CrawlKey,
        owner: Owner,
        *,
        session_id: str,
        initial: SessionValue,
        now: float,
        lease_s: float,
        limit: tuple[str, str, str],
        is_gone: Callable[[Owner], bool],
    ) -> Claim:
        """Start or take over a crawl's session; `is_gone` is called on the store's thread."""
        return await self._run.write(
            claims.claim,
            crawl,
            owner,
            session_id=session_id,
            initial=initial,
            now=now,
            lease_s=lease_s,
            limit=limit,
            is_gone=is_gone,
        )

    async def commit(self, batch: Batch) -> str | None:
        """Write the batch in one transaction; see `Store.commit`."""
        try:
            return await self._run.drive(writer.commit, batch)
        except writer.RowsRefused as exc:
            await self._run.drive(writer.trial, batch, exc.__cause__ or exc)
            raise AssertionError("a trial always raises, so that it is rolled back") from exc

    async def heartbeat(
        self, session_id: str, fence: int, *, now: float, lease_until: float
    ) -> str | None:
        """Renew the lease; `now` is not needed here."""
        return await self._run.drive(writer.heartbeat, session_id, fence, lease_until)

    async def lookup(self, crawl: CrawlKey, keys: tuple[str, ...]) -> dict[str, Known]:
        """What is known of these ids."""
        return await self._run.look(reads.lookup, crawl, keys)

    async def count_missing(self, crawl: CrawlKey, above: Place, walk: int) -> int:
        """Ids of the last completed listing above this place that `walk` has not met."""
        return await self._run.read(reads.count_missing, crawl, above, walk)

    async def due_skips(self, crawl: CrawlKey, limit: int) -> list[Skip]:
        """Skipped items that are to be tried again; one that cannot be read is logged and left out."""
        found, unreadable = await self._run.read(reads.due_skips, crawl, limit)
        self._tell_unreadable(unreadable)
        return found

    # -- sessions ---------------------------------------------------------------------------------

    async def session(self, session_id: str) -> SessionRecord:
        """One session. Raises `SessionNotFound`."""
        return await self._run.read(reads.find_session, session_id)

    async def sessions(
        self, *, crawl: CrawlKey | None = None, user_id: str | None = None, limit: int = 100
    ) -> list[SessionRecord]:
        """Sessions, newest first; one that cannot be read is logged and left out."""
        found, unreadable = await self._run.read(reads.sessions, crawl, user_id, limit)
        self._tell_unreadable(unreadable)
        return found

    async def unfinished(self, *, due_by: float | None = None) -> AsyncIterator[SessionRecord]:
        """Every session that is not over, or whose pause ends by then, 500 in memory at a time."""
        after = 0
        while True:
            portion, unreadable, after = await self._run.read(
                reads.unfinished_after, after, _SESSIONS, due_by
            )
            self._tell_unreadable(unreadable)
            for record in portion:
                yield record
            if len(portion) + len(unreadable) < _SESSIONS:
                return

    def _tell_unreadable(self, errors: list[reads.Unreadable]) -> None:
        """Once for each: they are met again and again."""
        for error in errors:
            message = str(error)
            if message not in self._unreadable:
                _LOG.error("%s", message)
                self._unreadable.add(message)

    async def journal(self, session_id: str) -> list[JournalRow]:
        """A session's journal in order. Raises `SessionNotFound` or `RowUnreadable`."""
        return await self._run.read(reads.journal, session_id)

    async def wish_cancel(self, session_id: str, reason: str) -> SessionRecord:
        """Ask whoever runs the session to end it. Raises `SessionNotFound`."""
        return await self._run.write(claims.wish_cancel, session_id, reason)

    # -- checkpoints ------------------------------------------------------------------------------

    async def checkpoint(self, crawl: CrawlKey) -> Checkpoint | None:
        """The crawl's checkpoint, or None. Raises `RowUnreadable`."""
        return await self._run.read(reads.checkpoint, crawl)

    async def save_checkpoint(
        self,
        crawl: CrawlKey,
        *,
        tweet_id: str,
        bookmarks_count: int | None,
        now: float,
        is_gone: Callable[[Owner], bool] | None = None,
    ) -> Checkpoint:
        """Set the checkpoint by hand; without `is_gone`, a session is live until its lease ends."""
        return await self._run.write(
            checkpoints.save_checkpoint,
            crawl,
            tweet_id=tweet_id,
            bookmarks_count=bookmarks_count,
            now=now,
            is_gone=is_gone,
        )

    async def clear_checkpoint(
        self, crawl: CrawlKey, *, now: float, is_gone: Callable[[Owner], bool] | None = None
    ) -> None:
        """Forget the checkpoint and all places; without `is_gone`, a session is live until its lease ends."""
        await self._run.write(checkpoints.clear_checkpoint, crawl, now=now, is_gone=is_gone)

    # -- what is stored ---------------------------------------------------------------------------

    async def crawls(self) -> list[CrawlKey]:
        """Every crawl in the database."""
        return await self._run.read(reads.crawls)

    async def bookmarks(self, user_id: str | None = None) -> AsyncIterator[Bookmark]:
        """Stored bookmarks in the order in which they were stored, 500 in memory at a time.

        Raises:
            RowUnreadable: After all others were given: there is one that cannot be read. If there are more, all are logged.
        """
        after = -1
        bad: list[reads.Unreadable] = []
        while True:
            portion, unreadable, after = await self._run.read(
                reads.bookmarks_after, user_id, after, _PORTION
            )
            bad += unreadable
            for bookmark in portion:
                yield bookmark
            if len(portion) + len(unreadable) < _PORTION:
                break
        if len(bad) > 1:
            self._tell_unreadable(bad)
        if bad:
            raise bad[0]

    async def count_bookmarks(self, user_id: str | None = None) -> int:
        """Number of stored bookmarks."""
        return await self._run.read(reads.count_bookmarks, user_id)

    async def skipped(self, *, user_id: str | None = None, limit: int = 1000) -> list[SkippedRow]:
        """Skipped items, oldest first; one that cannot be read is logged and left out."""
        found, unreadable = await self._run.read(reads.skipped, user_id, limit)
        self._tell_unreadable(unreadable)
        return found

    async def count_skipped(self, crawl: CrawlKey) -> tuple[int, int]:
        """Skipped items of a crawl: how many, and how many of them are to be tried again."""
        return await self._run.read(reads.count_skipped, crawl)

    async def retry_skipped(
        self, *, user_id: str | None = None, keys: tuple[str, ...] | None = None
    ) -> int:
        """Mark skipped items to be tried again by the next session. Returns how many."""
        return await self._run.write(checkpoints.retry_skipped, user_id, keys)

    async def forget(
        self, user_id: str, *, now: float, is_gone: Callable[[Owner], bool]
    ) -> Forgotten:
        """Delete every row of a user; SQLite overwrites them in its file. Raises `CrawlOwned` while a session runs."""
        forgotten = await self._run.write(forgetting.forget, user_id, now=now, is_gone=is_gone)
        if self._thread is not None and self._file is not None:
            await self._empty_log(self._thread, self._file)
        return forgotten

    async def _empty_log(self, thread: ThreadRunner, file: SqliteFile) -> None:
        """Until then the deleted rows stand in the file: their overwriting is only in the log."""
        try:
            is_empty = await thread.outside(file.empty_log)
        except StoreError as error:
            _LOG.warning("what was deleted is still in the database's file or its log: %s", error)
            return
        if not is_empty:
            _LOG.warning(
                "what was deleted is still in the database's file or its log (-wal), which other connections use; it is "
                "overwritten when the last process closes the database"
            )


def _url_of(database: str | Path | sa.URL) -> sa.URL:
    if isinstance(database, sa.URL):
        return database
    text = str(database)
    if isinstance(database, str) and "://" in text:
        try:
            return sa.make_url(text)
        except (sa.exc.ArgumentError, ValueError):
            raise ConfigurationError(
                "the database's URL cannot be read; nothing was opened. "
                "Examples: sqlite:///bookmarks.db, postgresql+asyncpg://user@host/name"
            ) from None  # of `me:password` without a host the cause quotes the password, as no number of a port
    if not text:
        raise ConfigurationError("the database has no name; give a path or a URL")
    return sa.URL.create("sqlite", database=text)


def sqlite_file(url: str) -> Path | None:
    """The file that a URL of an SQLite database names; None for any other database, and for one in memory."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return None
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return None
    return Path(str(parsed.database))
