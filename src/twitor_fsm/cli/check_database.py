"""`twitor doctor`'s look at the database: file, rights, integrity, schema, room, checkpoints.

A SQLite file is looked at without changing it. Must not know: terminals.
"""

import asyncio
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from ..clock import SystemClock
from .check_sessions import SESSIONS, check_sessions
from .checkup import Check, fail, ok, warn
from .database import clear_name, database_of, file_of
from .words import ago, count, is_x_user

if TYPE_CHECKING:
    from ..config import Settings

__all__ = ["check_database", "has_wal_reset_bug", "sqlite_warning"]

_BUSY_S: Final = 1.0
_CHECK_S: Final = 5.0
_WRITE_VERSION: Final = 18
"""Where a file's head says how it is written: 1 with a rollback journal, 2 with WAL. Source: sqlite.org/fileformat2.html, 1.3."""

_LOW_BYTES: Final = 500 << 20
_EMPTY_BYTES: Final = 50 << 20

_OTHER_FILE: Final = (
    "name the right file with --db; a damaged one: keep a copy, then sqlite3 FILE .recover"
)
_ONE_PROCESS: Final = (
    "use SQLite 3.51.3 or newer (or 3.50.7, 3.44.6); until then one process at a time on a file: one worker "
    "crawls for many users at once (--concurrency)"
)


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite may corrupt a WAL database when two processes write and checkpoint at the same instant.

    Source: sqlite.org/wal.html, "The WAL-Reset Bug": 3.7.0 to 3.51.2, corrected in 3.51.3, 3.50.7 and 3.44.6.
    """
    if (3, 44, 6) <= version < (3, 45, 0) or (3, 50, 7) <= version < (3, 51, 0):
        return False
    return (3, 7, 0) <= version < (3, 51, 3)


def check_database(db: str | None, settings: "Settings") -> list[Check]:
    """Everything about the database."""
    database = database_of(db, settings)
    file = file_of(database)
    if file is None:
        return asyncio.run(_check_server(database))
    checks = [_check_sqlite()]
    if file.exists():
        checks += _check_file(file)
    else:
        checks += _check_missing(file)
    return [*checks, *_check_folder(file)]


def _check_missing(file: Path) -> Iterator[Check]:
    folder = file.absolute().parent
    if folder.is_dir() and not os.access(folder, os.W_OK):
        said = f"there is no {file}, and it cannot be made: the folder {folder} may not be written"
        yield fail("database", said, "allow writing to that folder, or choose another --db")
    else:
        yield warn("database", f"there is no {file} yet", "the first crawl makes it: twitor crawl")


def sqlite_warning(database: str) -> str | None:
    """What is to be said to whoever lets several processes write this database; None if nothing is."""
    if file_of(database) is None or not has_wal_reset_bug(sqlite3.sqlite_version_info):
        return None
    return f"{_wal_reset_bug()}. To do: {_ONE_PROCESS}"


def _wal_reset_bug() -> str:
    return (
        f"Python is linked with SQLite {sqlite3.sqlite_version}, which has the WAL-reset bug: two processes "
        "that write and checkpoint at the same instant may damage the file (rare)"
    )


def _check_sqlite() -> Check:
    if has_wal_reset_bug(sqlite3.sqlite_version_info):
        return warn("sqlite", _wal_reset_bug(), _ONE_PROCESS)
    return ok("sqlite", f"Python is linked with SQLite {sqlite3.sqlite_version}")


def _check_folder(file: Path) -> Iterator[Check]:
    folder = file.absolute().parent
    if not folder.is_dir():
        yield fail(
            "disk", f"the folder {folder} does not exist", "create it, or choose another --db"
        )
        return
    free = shutil.disk_usage(folder).free
    said = f"{free >> 20:,} MiB free at {folder}"
    if free < _EMPTY_BYTES:
        yield fail("disk", said, "free space on the disk, or put the database on another one")
    elif free < _LOW_BYTES:
        yield warn("disk", said, "free space soon: 100,000 bookmarks take some 300 MiB")
    else:
        yield ok("disk", said)


def _check_file(file: Path) -> Iterator[Check]:
    if file.is_dir():
        yield fail("database", f"{file} is a folder", "name a file with --db")
        return
    from ..storage.sqlite import is_writable, quietly

    how = "mode=ro" if is_writable(file) else quietly(file)
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True)) as reader:
            reader.execute("PRAGMA schema_version").fetchone()
            yield ok("database", f"{file} can be read ({file.stat().st_size >> 10:,} KiB)")
            yield _check_permissions(file)
            yield _check_integrity(reader)
            yield _check_journal_mode(reader, file)
            schema = _check_schema(reader)
            yield schema
            yield _check_writing(file)
            if schema.verdict == "ok":
                yield from _check_crawls(reader)
    except sqlite3.Error as exc:
        yield fail("database", f"{file} cannot be used: {_named(exc)}", _remedy(exc))


def _check_permissions(file: Path) -> Check:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warn(
            "permissions",
            f"others may read {file} (mode {mode:04o}); bookmarks are private",
            f"chmod 600 {file}*",
        )
    return ok("permissions", f"mode {mode:04o}: only you can read it")


def _check_integrity(reader: sqlite3.Connection) -> Check:
    clock = SystemClock()
    until = clock.monotonic() + _CHECK_S
    reader.set_progress_handler(lambda: clock.monotonic() > until, 100_000)
    try:
        (found,) = reader.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorname == "SQLITE_INTERRUPT":
            return warn(
                "integrity",
                f"not known: the check of a file this large takes more than {_CHECK_S:g} s",
                'run it in peace: sqlite3 FILE "PRAGMA quick_check"',
            )
        raise
    finally:
        reader.set_progress_handler(None, 0)
    if found == "ok":
        return ok("integrity", "SQLite's quick_check finds nothing wrong")
    return fail("integrity", "SQLite's quick_check finds damage", _OTHER_FILE)


def _check_journal_mode(reader: sqlite3.Connection, file: Path) -> Check:
    """The mode that the file remembers; a reader of a read-only one uses none, and says "delete"."""
    (mode,) = reader.execute("PRAGMA journal_mode").fetchone()
    with file.open("rb") as content:
        head = content.read(_WRITE_VERSION + 1)
    if mode == "wal" or head[_WRITE_VERSION:] == b"\x02":
        return ok("journal_mode", "WAL: readers and the crawl do not wait for each other")
    return warn("journal_mode", f"{mode} instead of WAL", "none: the next crawl sets it")


def _check_schema(reader: sqlite3.Connection) -> Check:
    from ..storage import tables

    names = {name for (name,) in reader.execute("SELECT name FROM sqlite_master")}
    if tables.VERSION_TABLE not in names:
        return warn(
            "schema", "the file has no tables of twitor_fsm yet", "the first crawl makes them"
        )
    found = [row[0] for row in reader.execute(f"SELECT version_num FROM {tables.VERSION_TABLE}")]  # noqa: S608 - a constant
    if found == [tables.REVISION]:
        return ok("schema", f"revision {tables.REVISION}, as this version needs it")
    return warn(
        "schema",
        f"revision {', '.join(map(str, found)) or 'none'}, this version has {tables.REVISION}",
        "twitor db upgrade; a newer revision needs a newer twitor_fsm",
    )


def _check_writing(file: Path) -> Check:
    """Take the write lock and give it back; a checkpoint needs no more."""
    from ..storage.sqlite import is_writable

    if not is_writable(file):
        return fail(
            "writing",
            f"{file}, or the folder around it, is read-only: it can be looked at, but no checkpoint can be saved",
            "allow writing to the file and its folder, or copy it",
        )
    try:
        with closing(
            sqlite3.connect(
                f"{file.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_S,
                isolation_level=None,
            )
        ) as writer:
            writer.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in writer.execute("SELECT name FROM sqlite_master")}
            if "twitor_crawl" in tables:
                writer.execute("UPDATE twitor_crawl SET last_crawled_at = last_crawled_at")
            writer.execute("ROLLBACK")
    except sqlite3.Error as exc:
        if str(exc.sqlite_errorname).startswith("SQLITE_BUSY"):
            return warn(
                "writing",
                "another program holds the write lock right now",
                "none while a crawl runs; else end the program that holds it",
            )
        return fail("writing", f"checkpoints cannot be saved: {_named(exc)}", _remedy(exc))
    return ok("writing", "a checkpoint could be saved (tried, and rolled back)")


def _check_crawls(reader: sqlite3.Connection) -> Iterator[Check]:
    now = SystemClock().now()
    rows = reader.execute(
        "SELECT user_id, source, has_checkpoint, last_crawled_at, bookmarks_count, mark, "
        "(SELECT max(lease_until > started_at) FROM twitor_session WHERE crawl_id = twitor_crawl.id) FROM twitor_crawl"
    ).fetchall()
    if not rows:
        yield ok("checkpoints", "no crawl yet, so none is expected")
    for user_id, source, has_checkpoint, saved_at, bookmarks, mark, is_begun in rows:
        who = f"user {user_id} from {source}"
        if source == "x" and not is_x_user(user_id):
            yield warn(
                "user_id",
                f"{who}: X's user ids are digits",
                "none if an app that embeds the engine named it so; else crawl with the right --user-id",
            )
        if not has_checkpoint and is_begun == 0:
            yield ok("checkpoints", f"{who}: asked for, and not begun yet")
        elif not has_checkpoint:
            yield warn(
                "checkpoints",
                f"{who}: none saved",
                "look at why: twitor sessions show; the next crawl begins at the top",
            )
        elif _is_readable(mark, saved_at, bookmarks):
            said = f"{who}: saved {ago(saved_at, now=now)}, {count(bookmarks, 'bookmark')}"
            yield ok("checkpoints", said)
        else:
            yield fail(
                "checkpoints",
                f"{who}: cannot be read, somebody else has written that row of twitor_crawl",
                "repair that row, or begin at the top with: twitor checkpoint clear",
            )
    yield from _check_last_sessions(reader)


def _is_readable(mark: object, saved_at: object, bookmarks: object) -> bool:
    from ..storage.rows import mark_from

    try:
        mark_from(str(mark))
    except Exception:  # noqa: BLE001 - whatever is in it
        return False
    return isinstance(saved_at, (int, float)) and isinstance(bookmarks, int)


def _check_last_sessions(reader: sqlite3.Connection) -> Iterator[Check]:
    rows = reader.execute(
        "SELECT session_id, counters FROM twitor_session ORDER BY started_at DESC LIMIT ?",
        [SESSIONS],
    )
    readable = []
    for session_id, text in rows:
        try:
            readable.append(json.loads(text))
        except ValueError:
            said = f"session {session_id} cannot be read: somebody else has written its row"
            yield warn("sessions", said, "repair or delete that row of twitor_session")
    yield from check_sessions(readable)


async def _check_server(database: str) -> list[Check]:
    """A database that is no SQLite file: whether it answers and has our schema."""
    from ..errors import ConfigurationError, SchemaMismatch, StoreError
    from ..storage.store import SqlStore

    name = clear_name(database)
    try:
        store = SqlStore(database, migrate=False)
        try:
            await asyncio.wait_for(store.open(), _CHECK_S)
            crawls = await store.crawls()
            sessions = await store.sessions(limit=SESSIONS)
        finally:
            await store.close()
    except SchemaMismatch as exc:
        return [ok("database", f"{name} answers"), fail("schema", str(exc), "twitor db upgrade")]
    except ConfigurationError as exc:
        return [fail("database", str(exc), "correct --db or DATABASE_URL")]
    except TimeoutError:
        return [
            fail("database", f"{name} does not answer", "check that it runs and can be reached")
        ]
    except StoreError as exc:
        return [fail("database", f"{name}: {exc}", "check that it runs, and the URL's user")]
    return [
        ok("database", f"{name} answers"),
        ok("schema", f"as this version needs it; {count(len(crawls), 'crawl')}"),
        *check_sessions([attrs.asdict(session.counters) for session in sessions]),
    ]


def _named(error: sqlite3.Error) -> str:
    return f"{getattr(error, 'sqlite_errorname', type(error).__name__)} ({error})"


def _remedy(error: sqlite3.Error) -> str:
    name = str(getattr(error, "sqlite_errorname", ""))
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return _OTHER_FILE
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return "free space, check the disk, and run again"
    return "check that file and folder may be read and written by you"
