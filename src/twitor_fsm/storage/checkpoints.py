"""Changes made by hand between sessions: the checkpoint set or cleared, skipped items marked to be tried again.

Plain functions of a connection, each one transaction.
Must not know: why somebody wants it.
"""

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from ..core.listing import Mark
from ..core.progress import Checkpoint
from ..core.records import CrawlKey, Owner
from ..errors import CrawlOwned
from . import tables as t
from .claims import ensure_crawl, live_session
from .driver import CoreDriver
from .reads import checkpoint
from .rows import mark_from, mark_text
from .session_statements import CRAWL_ID, of_key
from .writer import void_places, void_walk

__all__ = ["clear_checkpoint", "retry_skipped", "save_checkpoint"]

_UNDONE: Final = "nothing was changed"

KEYS_AT_ONCE: Final = 500  # keys in one statement; SQLite takes 32766 parameters, older ones 999


def save_checkpoint(
    connection: sa.Connection,
    crawl: CrawlKey,
    *,
    tweet_id: str,
    bookmarks_count: int | None,
    now: float,
    is_gone: Callable[[Owner], bool] | None = None,
) -> Checkpoint:
    """Set the checkpoint: the next crawl walks from the top; an unfinished walk's places are void."""
    crawl_id = ensure_crawl(connection, crawl)
    before = _lock(connection, crawl_id, now, is_gone)
    if before is None:
        raise AssertionError("whoever forgets the crawl waits for what `ensure_crawl` holds")
    mark = _mark_of(before)
    if mark is None:
        mark = Mark()
        void_places(CoreDriver(connection), crawl_id)
    elif mark.under_way:
        void_walk(CoreDriver(connection), crawl_id, mark.walk)
    values: dict[str, Any] = {
        "has_checkpoint": True,
        "last_tweet_id": tweet_id,
        "last_crawled_at": now,
        "mark": mark_text(Mark(walk=mark.walk)),
    }
    if bookmarks_count is not None:
        values["bookmarks_count"] = bookmarks_count
    connection.execute(sa.update(t.crawl).values(values).where(t.crawl.c.id == crawl_id))
    saved = checkpoint(connection, crawl)
    if saved is None:
        raise AssertionError("the row was just written")
    return saved


def clear_checkpoint(
    connection: sa.Connection,
    crawl: CrawlKey,
    *,
    now: float,
    is_gone: Callable[[Owner], bool] | None = None,
) -> None:
    """Forget the checkpoint and every place; items and their count stay. A crawl never started has none."""
    crawl_id = connection.execute(CRAWL_ID, of_key(crawl)).scalar()
    if crawl_id is None:
        return
    before = _lock(connection, crawl_id, now, is_gone)
    if before is None:
        return
    void_places(CoreDriver(connection), crawl_id)
    mark = _mark_of(before) or Mark()
    connection.execute(
        sa.update(t.crawl)
        .values(
            generation=t.crawl.c.generation + 1,
            has_checkpoint=False,
            last_tweet_id=None,
            last_crawled_at=None,
            mark=mark_text(Mark(walk=mark.walk)),
        )
        .where(t.crawl.c.id == crawl_id)
    )


def retry_skipped(
    connection: sa.Connection, user_id: str | None, keys: tuple[str, ...] | None
) -> int:
    """Mark skipped items to be tried again; returns how many are."""
    c = t.skipped.c
    change = sa.update(t.skipped).values(due=True)
    if user_id is not None:
        crawls = sa.select(t.crawl.c.id).where(t.crawl.c.user_id == user_id)
        change = change.where(c.crawl_id.in_(crawls))
    if keys is None:
        return connection.execute(change).rowcount
    wanted = tuple(dict.fromkeys(keys))
    portions = (wanted[i : i + KEYS_AT_ONCE] for i in range(0, len(wanted), KEYS_AT_ONCE))
    return sum(
        connection.execute(change.where(c.item_key.in_(portion))).rowcount for portion in portions
    )


def _mark_of(row: dict[str, Any]) -> Mark | None:
    """The crawl's mark; None if somebody else has written it. Without places, walks may be counted anew."""
    try:
        return mark_from(row["mark"])
    except Exception:  # noqa: BLE001 - whatever is in it
        return None


def _lock(
    connection: sa.Connection,
    crawl_id: int,
    now: float,
    is_gone: Callable[[Owner], bool] | None,
) -> dict[str, Any] | None:
    """The crawl's row, locked against claims; None if it was just forgotten.

    Raises `CrawlOwned` while a live session runs.
    """
    locked = sa.select(t.crawl).where(t.crawl.c.id == crawl_id).with_for_update()
    row = connection.execute(locked).mappings().first()
    if row is None:
        return None
    found = live_session(connection, crawl_id)
    if found is not None and found.owner is not None and found.lease_until > now:
        is_dead = is_gone is not None and is_gone(found.owner)
        if not is_dead:
            raise CrawlOwned(found.session_id, str(found.owner), found.lease_until, _UNDONE)
    return dict(row)
