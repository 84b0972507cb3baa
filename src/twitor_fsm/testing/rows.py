"""What must hold of the rows of a crawl, read from the store: sessions, items, the checkpoint.

Each function returns what is wrong, as sentences. Must not know: how a crawl is run.
"""

from collections.abc import Collection

from ..core.records import CrawlKey
from ..core.recovery import Policy
from ..core.states import DEFAULT_SPEC, Kind, MachineSpec
from ..storage.base import Store
from .conformance import assert_conforms
from .invariants import Durable, of_journal
from .listings import Listing

__all__ = ["missing_of", "of_items", "of_session"]


async def of_session(
    store: Store,
    session_id: str,
    *,
    policy: Policy | None = None,
    spec: MachineSpec = DEFAULT_SPEC,
) -> list[str]:
    """What is wrong with a session: its journal, and whether its row says the same."""
    record, rows = await store.session(session_id), await store.journal(session_id)
    name = f"session {record.ordinal}"
    try:
        value = assert_conforms(rows, spec)
    except AssertionError as exc:
        return [f"{name}: {exc}"]
    problems = list(of_journal(rows, policy))
    if (value.state, value.tries, value.seq) != (
        record.value.state,
        record.value.tries,
        record.value.seq,
    ):
        problems.append(f"the journal leads to {value}, the session's row says {record.value}")
    is_over = spec.kinds[str(record.value.state)] is Kind.FINAL
    if is_over != (record.ended_at is not None):
        problems.append(f"its state is {record.value.state}, and it ended at {record.ended_at}")
    return [f"{name}: {problem}" for problem in problems]


async def of_items(
    store: Store, crawl: CrawlKey, durable: Durable, listing: Listing, skips: Collection[str] = ()
) -> list[str]:
    """What is wrong with the items of a crawl and its checkpoint.

    Args:
        store: Where they are.
        crawl: Whose.
        durable: What its transactions wrote.
        listing: What the source holds.
        skips: Ids of which the journal says that they were skipped.
    """
    stored = [bookmark.id async for bookmark in store.bookmarks(crawl.user_id)]
    skipped = {row.skip.key for row in await store.skipped(user_id=crawl.user_id)}
    saved = await store.checkpoint(crawl)
    problems = [f"item {key} is stored twice" for key in stored if stored.count(key) > 1]
    if odd := sorted(set(stored) ^ durable.stored):
        problems.append(f"items {odd[:5]} are stored and were not committed, or the reverse")
    if lost := sorted(set(skips) - skipped - set(stored)):
        problems.append(f"items {lost[:5]} were skipped and are not recorded")
    if both := sorted(set(stored) & skipped):
        problems.append(f"items {both[:5]} are stored and skipped at once")
    if saved is None:
        return problems
    if saved.bookmarks_count != len(stored):
        problems.append(
            f"the checkpoint counts {saved.bookmarks_count} items, {len(stored)} are stored"
        )
    above = listing.above.get(saved.cursor, frozenset()) if saved.mark.under_way else frozenset()
    if ahead := sorted(above - set(stored) - skipped):
        problems.append(f"the saved checkpoint is ahead: items {ahead[:5]} are missing")
    return problems


async def missing_of(store: Store, crawl: CrawlKey, keys: Collection[str]) -> list[str]:
    """What a complete crawl lacks of these ids."""
    stored = {bookmark.id async for bookmark in store.bookmarks(crawl.user_id)}
    skipped = {row.skip.key for row in await store.skipped(user_id=crawl.user_id)}
    missing = [key for key in keys if key not in stored | skipped]
    return [f"items {missing[:5]} are neither stored nor recorded as skipped"] if missing else []
