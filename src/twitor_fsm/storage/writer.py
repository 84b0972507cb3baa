"""The transactions of a running session, as plain functions of a driver.

Whoever runs them begins, commits and rolls back. Each begins with a write to the session's row that is conditional on
the fence: it takes the lock and finds out whether we were replaced.
Must not know: threads, event loops, retries.
"""

from collections.abc import Iterator
from typing import Any

import attrs

from ..core.listing import Mark, Place
from ..core.progress import Listed
from ..errors import ItemsRefused, LeaseLost, StoreError
from .base import Batch, KnownItem, SkippedItem
from .driver import Driver
from .failures import Refusal, refusal, root_of
from .rows import (
    counters_text,
    item_columns,
    journal_columns,
    mark_from,
    mark_text,
    value_columns,
)
from .statements import Statements, statements
from .text import decode, encode

__all__ = ["RowsRefused", "commit", "heartbeat", "trial", "void_places", "void_walk"]


class RowsRefused(Exception):
    """The database refuses an item's row; a trial tells which. Never leaves the store."""


def heartbeat(driver: Driver, session_id: str, fence: int, lease_until: float) -> str | None:
    """Renew the lease; returns the cancel wish. Raises `LeaseLost`."""
    values = {"the_session_id": session_id, "the_fence": fence, "new_lease_until": lease_until}
    row = statements(driver.dialect).heartbeat.run(driver, values).fetchone()
    if row is None:
        raise LeaseLost(session_id)
    return None if row[0] is None else decode(row[0])


def commit(driver: Driver, batch: Batch) -> str | None:
    """Write a batch; returns the cancel wish.

    Raises:
        LeaseLost: Somebody else has the session.
        RowsRefused: An item's row was refused; roll back and run `trial`.
    """
    do = statements(driver.dialect)
    before = _update_session(driver, do, batch)
    crawl_id = before.crawl_id
    do.insert_journal.run_many(
        driver, (journal_columns(batch.session_id, row) for row in batch.journal)
    )
    if batch.mark is not None or batch.new or batch.known or batch.skips or batch.listed:
        _write_crawl(driver, do, batch, before)
    do.mark_due.run_many(
        driver,
        ({"the_crawl_id": crawl_id, "the_item_key": k, "new_due": True} for k in batch.due),
    )
    do.upsert_closed.run_many(driver, (attrs.asdict(c) for c in batch.closed))
    return before.wish


def trial(driver: Driver, batch: Batch, cause: BaseException) -> None:
    """Find the items that the database refuses, each with a savepoint of its own.

    Raises:
        ItemsRefused: These are refused.
        StoreError: None is refused alone; `cause` says what the whole batch was refused for.
    """
    do = statements(driver.dialect)
    crawl_id = _update_session(driver, do, batch).crawl_id
    refused: dict[str, Refusal] = {}
    for key, part in _parts(batch):
        try:
            with driver.savepoint():
                _write_items(driver, do, part, crawl_id, has_skips=True)
        except Exception as exc:
            found = refusal(exc)
            if found is None:
                raise
            refused[key] = found
    if refused:
        told = {key: (found.reason, found.message) for key, found in refused.items()}
        raise ItemsRefused(told) from root_of(cause)
    raise StoreError(
        "the database refused a batch and each of its items alone is fine; nothing of it was written. "
        "This is a bug, please report it"
    ) from root_of(cause)


def void_walk(driver: Driver, crawl_id: int, walk: int) -> None:
    """Take all places of one walk of a crawl's listing away."""
    for statement in statements(driver.dialect).void_walk:
        statement.run(driver, {"the_crawl_id": crawl_id, "the_walk": walk})


def void_places(
    driver: Driver, crawl_id: int, *, above: Place = (0, 0), but_of_walk: int = 0
) -> None:
    """Take places of a crawl's listing away.

    Args:
        driver: In a transaction.
        crawl_id: Whose.
        above: Those above this one; (0, 0) is below all.
        but_of_walk: This walk's places stay.
    """
    walk, position = above
    values = {"above_walk": walk, "above_position": position, "the_walk": but_of_walk}
    for statement in statements(driver.dialect).void_above:
        statement.run(driver, {"the_crawl_id": crawl_id, **values})


def _parts(batch: Batch) -> Iterator[tuple[str, Batch]]:
    """The batch, an item at a time."""
    bare = attrs.evolve(batch, new=(), known=(), skips=())
    for new in batch.new:
        yield new.item.key, attrs.evolve(bare, new=(new,))
    for known in batch.known:
        yield known.key, attrs.evolve(bare, known=(known,))
    for skip in batch.skips:
        yield skip.skip.key, attrs.evolve(bare, skips=(skip,))


@attrs.frozen
class _Before:
    """What the first statement of a transaction finds out.

    Attributes:
        wish: Reason of a cancel that somebody asked for.
        crawl_id: The crawl's row.
        mark: Where the crawl stood.
        has_skips: Whether it keeps any skipped items.
    """

    wish: str | None
    crawl_id: int
    mark: str
    has_skips: bool


def _update_session(driver: Driver, do: Statements, batch: Batch) -> _Before:
    values = {f"new_{name}": value for name, value in value_columns(batch.value).items()}
    values |= {
        "the_session_id": batch.session_id,
        "the_fence": batch.fence,
        "the_revision": batch.revision,
        "the_message": batch.message,
        "the_ended_at": batch.now if batch.final else None,
        "new_ended_at": batch.now if batch.final else None,
        "new_counters": counters_text(batch.counters),
        "new_durable": batch.durable,
        "new_lease_until": batch.now if batch.final else batch.lease_until,
        "new_updated_at": batch.now,
    }
    row: Any = do.update_session.run(driver, values).fetchone()
    if row is None:
        raise LeaseLost(batch.session_id)
    wish, crawl_id, mark, has_skips = row
    return _Before(None if wish is None else decode(wish), crawl_id, mark, bool(has_skips))


def _write_crawl(driver: Driver, do: Statements, batch: Batch, before: _Before) -> None:
    crawl_id = before.crawl_id
    _void_abandoned(driver, crawl_id, mark_from(before.mark), batch)
    try:
        _write_items(driver, do, batch, crawl_id, has_skips=before.has_skips)
    except Exception as exc:
        if refusal(exc) is None:
            raise
        raise RowsRefused from exc
    if batch.listed is not None:
        _void_unlisted(driver, crawl_id, batch.listed)
    count = len(batch.new) + sum(1 for known in batch.known if known.fresh)
    values: dict[str, Any] = {"the_id": crawl_id, "the_bookmarks_count": count}
    if batch.mark is not None:
        values |= {
            "new_mark": mark_text(batch.mark),
            "new_last_crawled_at": batch.now,
            "the_last_tweet_id": batch.last_key,
        }
        do.update_crawl.run(driver, values)
    elif count:
        do.update_count.run(driver, values)


def _void_abandoned(driver: Driver, crawl_id: int, before: Mark, batch: Batch) -> None:
    """Another walk has begun and the one under way never reached its end: its places say nothing."""
    if batch.mark is None or not before.under_way or before.walk == batch.mark.walk:
        return
    if batch.listed is None or batch.listed.walk != before.walk:
        void_walk(driver, crawl_id, before.walk)


def _void_unlisted(driver: Driver, crawl_id: int, listed: Listed) -> None:
    """What the last listing held above the place where the walk met it, and the walk did not, is gone from it."""
    at = listed.caught_up_at
    void_places(driver, crawl_id, above=(0, 0) if at is None else at, but_of_walk=listed.walk)


def _write_items(
    driver: Driver, do: Statements, batch: Batch, crawl_id: int, *, has_skips: bool
) -> None:
    do.upsert_bookmark.run(driver, _bookmarks(batch))
    do.enrich_bookmark.run_many(
        driver, (_enriched(batch, known) for known in batch.known if known.item is not None)
    )
    walk = _walk(batch)
    do.upsert_skipped.run_many(
        driver, (_skipped(batch, crawl_id, walk, skip) for skip in batch.skips)
    )
    met = [(new.item.key, new.position) for new in batch.new]
    met += [(known.key, known.position) for known in batch.known]
    user_id = batch.crawl.user_id
    do.place_bookmark.run(
        driver,
        [place for place in met if place[1] is not None],
        (crawl_id, walk, batch.ordinal, encode(user_id)),
    )
    row = {"the_crawl_id": crawl_id, "the_user_id": user_id, "the_session": batch.ordinal}
    do.meet_bookmark.run_many(
        driver, ({**row, "the_item_id": key} for key, position in met if position is None)
    )
    if has_skips:
        do.meet_skipped.run_many(
            driver,
            (
                {
                    "the_crawl_id": crawl_id,
                    "the_item_key": known.key,
                    "new_walk": 0 if known.position is None else walk,
                    "new_position": known.position or 0,
                    "new_session": batch.ordinal,
                }
                for known in batch.known
            ),
        )
        do.delete_skipped.run(driver, [(new.item.key,) for new in batch.new], (crawl_id,))


def _bookmarks(batch: Batch) -> list[tuple[Any, ...]]:
    """Rows of `twitor_bookmark`, in its order."""
    user_id, source, now = batch.crawl.user_id, batch.crawl.source, batch.now
    return [
        (
            user_id,
            (item := new.item).key,
            item.text,
            item.author_id,
            item.author_username,
            item.author_name,
            item.created_at,
            item.kind,
            item.richness,
            source,
            now,
            new.result,
            item.raw,
        )
        for new in batch.new
    ]


def _enriched(batch: Batch, known: KnownItem) -> dict[str, Any]:
    item = known.item
    if item is None:
        raise AssertionError("only items with content are asked for")
    values = {f"new_{name}": value for name, value in item_columns(item).items()}
    return {
        **values,
        "new_source": batch.crawl.source,
        "the_user_id": batch.crawl.user_id,
        "the_item_id": known.key,
        "the_richness": item.richness,
    }


def _skipped(batch: Batch, crawl_id: int, walk: int, skipped: SkippedItem) -> dict[str, Any]:
    skip, position = skipped.skip, skipped.position
    return {
        "crawl_id": crawl_id,
        "item_key": skip.key,
        "category": skip.category,
        "reason": skip.reason,
        "message": skip.message,
        "at": skip.at,
        "tries": 1,
        "due": False,
        "walk": 0 if position is None else walk,
        "position": position or 0,
        "session": batch.ordinal,
        "raw": skip.raw,
    }


def _walk(batch: Batch) -> int:
    """The walk that met the items: the one that ended with the batch, or the one that goes on."""
    if batch.listed is not None:
        return batch.listed.walk
    return batch.mark.walk if batch.mark is not None else 0
