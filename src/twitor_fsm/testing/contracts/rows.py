"""Values that store contracts are made of: items, marks, journal rows, batches; each with sensible defaults."""

from collections.abc import Callable
from typing import Any, Final

from ...core.listing import Mark
from ...core.records import Claim, Counters, CrawlKey, Owner, Skip
from ...core.states import JournalRow, SessionValue, State, Trigger
from ...core.taxonomy import ErrorCategory, Reason
from ...sources.base import Item
from ...storage.base import Batch, NewItem, SkippedItem, Store

ME: Final = CrawlKey("me", "x")
LIMIT: Final = ("x", "me", "bookmarks")
ALICE: Final = Owner("host", "boot", 1, "10", "run-a")
BOB: Final = Owner("host", "boot", 2, "20", "run-b")
NOW: Final = 1_700_000_000.0
LEASE_S: Final = 30.0
UNUSUAL: Final = "nul \x00 lone \ud800 and \udfff, \ufdd0, \u2028, \U0001f600, ' \" \\ % : ?"
"""Text that databases and encodings stumble over."""
ANNA: Final = CrawlKey("anna", "x")
ARCHIVE: Final = CrawlKey("me", "file:archive.json")


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
    store: Store,
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


async def finish(store: Store, claimed: Claim, **content: Any) -> None:
    """End the claimed session."""
    value = SessionValue(state=State.COMPLETED)
    await store.commit(batch(claimed, value=value, final=True, **content))
