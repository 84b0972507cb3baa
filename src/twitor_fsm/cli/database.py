"""Opening the database that a verb names, and finding crawls and sessions in it.

Must not know: SQL, terminals.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .failures import Failure
from .words import program, with_db

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.progress import Checkpoint
    from ..core.records import CrawlKey, SessionRecord
    from ..engine import CrawlEngine
    from ..errors import RowUnreadable
    from ..events import Observer
    from ..storage.store import SqlStore

__all__ = [
    "checkpoint_of",
    "clear_name",
    "database_of",
    "file_of",
    "find_session",
    "make_engine",
    "one_crawl",
    "opened",
    "refuse_memory",
    "refuse_unknown_user",
    "refused",
]

_MANY: Final = 100_000
_SHOWN: Final = 20  # users whom a message names


def database_of(db: str | None, settings: "Settings") -> str:
    """The database to use: `--db`, else what the settings say."""
    return db if db is not None else settings.database_url


def file_of(database: str) -> Path | None:
    """The file of an SQLite database; None for another one."""
    if "://" not in database:
        return None if database == ":memory:" else Path(database)
    from ..storage.store import sqlite_file

    return sqlite_file(database)


def refuse_memory(database: str) -> None:
    """Refuse a database that ends with the command. Raises `Failure`."""
    is_memory = database == ":memory:"
    if "://" in database:
        is_memory = database.partition(":")[0].partition("+")[0] == "sqlite" and (
            file_of(database) is None or ":memory:" in database or "mode=memory" in database
        )
    if is_memory:
        raise Failure(
            "a database in memory ends with this command, and what was crawled with it; nothing was started. "
            "Name a file with --db",
            2,
        )


def clear_name(database: str) -> str:
    """The database's name, for people: without a password."""
    from ..config import without_password

    file = file_of(database)
    return without_password(database) if file is None else str(file)


@asynccontextmanager
async def opened(
    db: str | None,
    *,
    settings: "Settings | None" = None,
    must_exist: bool = True,
    look: bool = False,
    begins: bool = False,
    observers: "Iterable[Observer]" = (),
) -> "AsyncIterator[CrawlEngine]":
    """An engine over the database, open.

    Args:
        db: What `--db` was.
        settings: Settings; None reads them.
        must_exist: Refuse to make a new file, which after a misspelt name would look like an empty database, and to
            make tables in a database that has none of ours. A file with tables of others alone is refused in any case.
        look: Only look: nothing is made, migrated or changed, and the file may be read-only.
        begins: A crawl shall begin: a database that may not be written is refused now, and a file that was made for it
            is removed at the end if nothing came into it.
        observers: Told of every event of every session.
    """
    from ..config import get_settings
    from ..engine import CrawlEngine
    from ..storage.store import SqlStore

    settings = settings if settings is not None else get_settings()
    database = database_of(db, settings)
    refuse_memory(database)
    file = file_of(database)
    if file is not None:
        _refuse_others(file, db)
    if must_exist and file is not None:
        if not file.exists():
            raise Failure(
                f"there is no database {file}; nothing was made. "
                f"Name the right one with --db, or begin with: {program()} crawl (or {program()} demo)",
                2,
            )
        if not look:
            first = SqlStore(database, read_only=True)
            with refused(db, database):
                await first.open()  # refuses what is not ours
            await first.close()
    store = SqlStore(database, read_only=look)
    engine = CrawlEngine(store, settings=settings, observers=observers)
    try:
        with refused(db, database):
            await engine.open()
        try:
            if begins:
                with refused(db, database):
                    await _check_writing(store)
            yield engine
        finally:
            await engine.close()
    finally:
        if begins:
            store.remove_unused()


def _refuse_others(file: Path, db: str | None) -> None:
    """Refuse another program's file: after a misspelt `--db` our tables would be in it, and its journal mode changed."""
    from ..storage.foreign import tables_of_others

    names = tables_of_others(file)
    if names:
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise Failure(
            f"{file} is another program's database ({some}) and holds no crawls; it was left untouched. Name another one "
            f"with --db, or have our tables beside the others: {with_db('twitor db upgrade', db)}",
            2,
        )


async def _check_writing(store: "SqlStore") -> None:
    """Refuse a database that may not be written; what holds its lock may be gone when the crawl needs it."""
    from ..errors import StoreUnavailable

    try:
        await store.check_writing()
    except StoreUnavailable as exc:
        if not exc.retryable:
            raise


def make_engine(
    database: str, settings: "Settings", *, observers: "Iterable[Observer]" = ()
) -> "CrawlEngine":
    """An engine over the database, not yet open."""
    from ..engine import CrawlEngine
    from ..storage.store import SqlStore

    return CrawlEngine(SqlStore(database), settings=settings, observers=observers)


@contextmanager
def refused(db: str | None, database: str) -> Iterator[None]:
    """A database that cannot be used is named; so is the command that brings its schema up."""
    from ..errors import OtherSchemaVersion, StoreError

    try:
        yield
    except StoreError as exc:
        message = str(exc)
        if file_of(database) is not None:
            if clear_name(database) in message:
                raise
        elif isinstance(exc, OtherSchemaVersion):
            message = message.replace("twitor db upgrade", with_db("twitor db upgrade", db))
        raise Failure(f"{clear_name(database)}: {message}", 14) from exc


async def find_session(engine: "CrawlEngine", session_id: str | None) -> "SessionRecord":
    """The session with this id or unique beginning of one; None is the newest."""
    if session_id is None or session_id == "last":
        newest = await engine.store.sessions(limit=1)
        if not newest:
            raise Failure("there is no session in this database yet. Begin with: twitor crawl", 2)
        return newest[0]
    wanted = session_id.strip().lower()
    found = [
        record
        for record in await engine.store.sessions(limit=_MANY)
        if record.session_id.startswith(wanted)
    ]
    exact = [record for record in found if record.session_id == wanted]
    if len(exact) == 1 or len(found) == 1:
        return (exact or found)[0]
    if not found and wanted:
        from ..errors import SessionNotFound

        with suppress(SessionNotFound):  # one that cannot be read is there
            return await engine.store.session(wanted)
    if not found or not wanted:
        raise Failure(
            f"no session begins with {session_id!r:.60} in this database; list them with: "
            "twitor sessions list",
            2,
        )
    raise Failure(
        f"{len(found)} sessions begin with {session_id!r}; give more of the id "
        f"(for example {found[0].session_id})",
        2,
    )


async def checkpoint_of(
    engine: "CrawlEngine", crawl: "CrawlKey"
) -> "Checkpoint | RowUnreadable | None":
    """A crawl's checkpoint; the error, if it cannot be read, so that it hides no other crawl."""
    from ..errors import RowUnreadable

    try:
        return await engine.store.checkpoint(crawl)
    except RowUnreadable as error:
        return error


async def refuse_unknown_user(engine: "CrawlEngine", user_id: str) -> None:
    """Refuse a user of whom the database knows nothing: a misspelt one, say. Raises `Failure`."""
    crawls = await engine.store.crawls()
    known = sorted({crawl.user_id for crawl in crawls})
    if user_id in known or await engine.store.count_bookmarks(user_id):
        return
    shown = ", ".join(known[:_SHOWN]) + (" and others" if len(known) > _SHOWN else "")
    raise Failure(
        f"nothing is known of user {user_id!r:.60} in this database, and nothing was done; "
        + (f"it knows: {shown}" if known else "it knows nobody"),
        2,
    )


async def one_crawl(engine: "CrawlEngine", user_id: str | None, source: str | None) -> "CrawlKey":
    """The only crawl that fits; a choice among several is the user's."""
    crawls = await engine.store.crawls()
    fitting = [
        crawl
        for crawl in crawls
        if user_id in (None, crawl.user_id) and source in (None, crawl.source)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        known = ", ".join(f"user {c.user_id} from {c.source}" for c in crawls)
        raise Failure(
            "there is no such crawl in this database; "
            + (f"it has: {known}" if known else "it has none yet. Begin with: twitor crawl"),
            2,
        )
    named = "; ".join(f"--user-id {c.user_id} --source {c.source}" for c in fitting)
    raise Failure(f"there are {len(fitting)} crawls; nothing was changed. Choose one: {named}", 2)
