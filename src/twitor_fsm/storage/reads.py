"""What is asked of the store without writing: plain functions of a connection.

Must not know: transactions, threads, what makes a row unreadable.
"""

import attrs
import sqlalchemy as sa

from ..core.listing import Known, Place
from ..core.progress import Checkpoint
from ..core.records import CrawlKey, SessionRecord, Skip
from ..core.states import JournalRow
from ..errors import RowUnreadable, SessionNotFound
from . import tables as t
from .base import Bookmark, SkippedRow
from .driver import Driver
from .row_readers import (
    Unreadable,
    all_rows,
    read_all,
    read_bookmark,
    read_checkpoint,
    read_session,
    read_skip,
    read_skipped,
    read_step,
)
from .session_statements import COUNT_MISSING, CRAWL_BY_KEY, SESSION, SESSIONS, of_key
from .statements import statements
from .text import decode

__all__ = [
    "Unreadable",
    "bookmarks_after",
    "checkpoint",
    "count_bookmarks",
    "count_missing",
    "count_skipped",
    "crawl_id",
    "crawls",
    "due_skips",
    "find_session",
    "journal",
    "lookup",
    "sessions",
    "skipped",
    "unfinished_after",
]


def lookup(driver: Driver, crawl: CrawlKey, keys: tuple[str, ...]) -> dict[str, Known]:
    """What is known of these ids, from the user's bookmarks and the crawl's listing."""
    do = statements(driver.dialect)
    values = {"keys": do.key_list(keys), **of_key(crawl)}
    known: dict[str, Known] = {}
    for text, stored, walk, position, session, undecoded in do.lookup.run(
        driver, values
    ).fetchall():
        key = decode(text)
        place = (walk, position, session)
        before = known.get(key)
        if before is None:
            known[key] = Known(bool(stored), not stored, *place, bool(undecoded))
        else:  # skipped by this crawl, and stored by another source since
            latest = max(place, (before.walk, before.position, before.session))
            known[key] = Known(True, True, *latest)  # noqa: FBT003
    return known


def crawl_id(crawl: CrawlKey) -> sa.ScalarSelect[int]:
    """The id of a crawl's row, as an expression; NULL for a crawl that was never started."""
    c = t.crawl.c
    found = sa.select(c.id).where(c.user_id == crawl.user_id, c.source == crawl.source)
    return found.scalar_subquery()


def count_missing(connection: sa.Connection, crawl: CrawlKey, above: Place, walk: int) -> int:
    """Rows of the last completed listing above a place; the rows of `walk` are met, so they are not among them."""
    above_walk, above_position = above
    values = {
        **of_key(crawl),
        "above_walk": above_walk,
        "above_position": above_position,
        "the_walk": walk,
    }
    return sum(int(connection.execute(found, values).scalar_one()) for found in COUNT_MISSING)


def due_skips(
    connection: sa.Connection, crawl: CrawlKey, limit: int
) -> tuple[list[Skip], list[Unreadable]]:
    """Skipped items to be tried again, oldest first; what cannot be read is left out, and takes nobody's place."""
    c = t.skipped.c
    due = (
        sa.select(t.skipped)
        .where(c.crawl_id == crawl_id(crawl), c.due.is_(True))
        .order_by(c.at, c.item_key)
        .limit(limit)
    )
    found: list[Skip] = []
    unreadable: list[Unreadable] = []
    while len(found) < limit:
        rows = all_rows(connection, due.offset(len(found) + len(unreadable)))
        readable, others = read_all(rows, read_skip)
        found += readable
        unreadable += others
        if len(rows) < limit:
            break
    return found[:limit], unreadable


def count_skipped(connection: sa.Connection, crawl: CrawlKey) -> tuple[int, int]:
    """Skipped items of a crawl: how many, and how many of them are to be tried again."""
    c = t.skipped.c
    due = sa.func.count().filter(c.due.is_(True))
    found = sa.select(sa.func.count(), due).where(c.crawl_id == crawl_id(crawl))
    number, again = connection.execute(found).one()
    return int(number), int(again)


def find_session(connection: sa.Connection, session_id: str) -> SessionRecord:
    """One session. Raises `SessionNotFound`."""
    row = connection.execute(SESSION, {"the_session_id": session_id}).mappings().first()
    if row is None:
        raise SessionNotFound(session_id)
    return read_session(row)


def sessions(
    connection: sa.Connection, crawl: CrawlKey | None, user_id: str | None, limit: int
) -> tuple[list[SessionRecord], list[Unreadable]]:
    """The newest sessions, newest first; those among them that cannot be read are apart."""
    c = t.session.c
    found = SESSIONS.order_by(c.started_at.desc(), c.ordinal.desc(), c.session_id.desc())
    if crawl is not None:
        found = found.where(c.crawl_id == crawl_id(crawl))
    if user_id is not None:
        found = found.where(t.crawl.c.user_id == user_id)
    return read_all(all_rows(connection, found.limit(limit)), read_session)


def unfinished_after(
    connection: sa.Connection, after: int, limit: int, due_by: float | None = None
) -> tuple[list[SessionRecord], list[Unreadable], int]:
    """The next portion of the sessions that are not over, and the crawl's row id that it ends with.

    Rows that cannot be read are apart. With `due_by`, those are left out that are paused for longer.

    A crawl has at most one of them (a unique index, which holds no others, and which is walked here).
    """
    c = t.session.c
    found = SESSIONS.where(c.ended_at.is_(None), c.crawl_id > after).order_by(c.crawl_id)
    if due_by is not None:
        found = found.where(sa.or_(c.resume_at.is_(None), c.resume_at <= due_by))
    rows = all_rows(connection, found.limit(limit))
    records, unreadable = read_all(rows, read_session)
    return records, unreadable, rows[-1]["crawl_id"] if rows else after


def journal(connection: sa.Connection, session_id: str) -> list[JournalRow]:
    """A session's journal in order. Raises `SessionNotFound`, or `RowUnreadable` with the rows that are not."""
    c = t.journal.c
    found = sa.select(t.journal).where(c.session_id == session_id).order_by(c.seq)
    rows, unreadable = read_all(all_rows(connection, found), read_step)
    for error in unreadable:
        if isinstance(error, RowUnreadable):
            raise attrs.evolve(error, others=tuple(rows)) from error.__cause__
    if not rows:
        find_session(connection, session_id)
    return rows


def checkpoint(connection: sa.Connection, crawl: CrawlKey) -> Checkpoint | None:
    """The crawl's checkpoint, if it has one. Raises `RowUnreadable`."""
    row = connection.execute(CRAWL_BY_KEY, of_key(crawl)).mappings().first()
    return None if row is None else read_checkpoint(row)


def crawls(connection: sa.Connection) -> list[CrawlKey]:
    """Every crawl, in the order in which they were first started."""
    found = sa.select(t.crawl.c.user_id, t.crawl.c.source).order_by(t.crawl.c.id)
    return [CrawlKey(user_id, source) for user_id, source in connection.execute(found)]


def bookmarks_after(
    connection: sa.Connection, user_id: str | None, after: int, limit: int
) -> tuple[list[Bookmark], list[Unreadable], int]:
    """The next portion of the bookmarks behind a row id, those that cannot be read, and the row id that it ends with."""
    c = t.bookmark.c
    found = sa.select(t.bookmark).where(c.id > after).order_by(c.id).limit(limit)
    if user_id is not None:
        found = found.where(c.user_id == user_id)
    rows = all_rows(connection, found)
    found_all, unreadable = read_all(rows, read_bookmark)
    return found_all, unreadable, rows[-1]["id"] if rows else after


def count_bookmarks(connection: sa.Connection, user_id: str | None) -> int:
    """Number of stored bookmarks."""
    found = sa.select(sa.func.count()).select_from(t.bookmark)
    if user_id is not None:
        found = found.where(t.bookmark.c.user_id == user_id)
    return int(connection.execute(found).scalar_one())


def skipped(
    connection: sa.Connection, user_id: str | None, limit: int
) -> tuple[list[SkippedRow], list[Unreadable]]:
    """Skipped items, oldest first; those among them that cannot be read are apart."""
    c = t.skipped.c
    join = t.skipped.join(t.crawl, t.crawl.c.id == c.crawl_id)
    found = sa.select(t.skipped, t.crawl.c.user_id, t.crawl.c.source).select_from(join)
    if user_id is not None:
        found = found.where(t.crawl.c.user_id == user_id)
    rows = all_rows(connection, found.order_by(c.at, c.crawl_id, c.item_key).limit(limit))
    return read_all(rows, read_skipped)
