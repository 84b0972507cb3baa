"""Forgetting a user: all rows about them, from all sources, in one transaction.

A plain function of a connection. Must not know: why somebody wants it, the queue, tokens.
"""

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from ..core.records import Owner
from ..errors import CrawlOwned
from . import tables as t
from .base import Forgotten
from .claims import hold_crawls
from .rows import owner_from

__all__ = ["forget"]

_MOMENT_S: Final = 1.0
"""After so long a lock is worth another try, seconds."""

_UNDONE: Final = "nothing was deleted"


def forget(
    connection: sa.Connection,
    user_id: str,
    *,
    now: float,
    is_gone: Callable[[Owner], bool],
) -> Forgotten:
    """Delete every row of the user; see `Store.forget`."""
    held = hold_crawls(connection, user_id)
    for crawl_id in held:
        _refuse_running(connection, crawl_id, now, is_gone)
    with _OverwritesWhatItDeletes(connection):
        forgotten = _delete(connection, user_id, tuple(held))
    found = connection.execute(sa.select(t.crawl.c.id).where(t.crawl.c.user_id == user_id))
    if found.first() is not None:  # begun meanwhile; what it knows as stored must not go
        raise CrawlOwned(None, "another process", now + _MOMENT_S, _UNDONE)
    return forgotten


def _refuse_running(
    connection: sa.Connection, crawl_id: int, now: float, is_gone: Callable[[Owner], bool]
) -> None:
    """Raise `CrawlOwned` if somebody runs a session of the crawl; else hold its row.

    Only owner and lease are read: a row that cannot be read otherwise can be forgotten.
    """
    c = t.session.c
    alive = sa.select(c.session_id, c.owner, c.lease_until).where(
        c.crawl_id == crawl_id, c.ended_at.is_(None)
    )
    found = connection.execute(alive).first()
    if found is None:
        return
    owner = _owner(found.owner)
    lease_until = found.lease_until
    if not isinstance(lease_until, (int, float)):  # SQLite keeps any text there, which is no lease
        lease_until = 0.0
    if owner is not None and lease_until > now and not is_gone(owner):
        raise CrawlOwned(found.session_id, str(owner), lease_until, _UNDONE)
    if connection.execute(alive.with_for_update(skip_locked=True)).first() != found:
        raise CrawlOwned(found.session_id, "another process", now + _MOMENT_S, _UNDONE)


def _owner(text: str | None) -> Owner | None:
    try:
        return owner_from(text)
    except (ValueError, TypeError):  # no owner that anybody could look for
        return None


def _delete(connection: sa.Connection, user_id: str, crawls: tuple[int, ...]) -> Forgotten:
    def count(table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
        return connection.execute(sa.delete(table).where(*where)).rowcount

    sessions = sa.select(t.session.c.session_id).where(t.session.c.crawl_id.in_(crawls))
    count(t.journal, t.journal.c.session_id.in_(sessions))
    count(t.listing, t.listing.c.crawl_id.in_(crawls))
    count(t.closed, t.closed.c.account == user_id)
    return Forgotten(
        user_id=user_id,
        sessions=count(t.session, t.session.c.crawl_id.in_(crawls)),
        skipped=count(t.skipped, t.skipped.c.crawl_id.in_(crawls)),
        bookmarks=count(t.bookmark, t.bookmark.c.user_id == user_id),
        crawls=count(t.crawl, t.crawl.c.id.in_(crawls)),
    )


class _OverwritesWhatItDeletes:
    """SQLite leaves deleted rows readable in the file until their place is needed; meanwhile not.

    Our own connections never do; one of an app's engine may.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection: Final = connection
        self._before: Any = None

    def __enter__(self) -> None:
        if self._connection.dialect.name == "sqlite":
            self._before = self._connection.exec_driver_sql("PRAGMA secure_delete").scalar()
            self._connection.exec_driver_sql("PRAGMA secure_delete = 1").close()

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            word = {0: "0", 1: "1", 2: "FAST"}[int(self._before)]
            self._connection.exec_driver_sql(f"PRAGMA secure_delete = {word}").close()
