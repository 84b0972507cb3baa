"""What a store is: the durable memory of every crawl.

The session talks to a `Store` only; an embedder or a test may put its own in place.
Must not know: SQL, files, which database.
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import attrs

from ..core.listing import Known, Mark, Place
from ..core.progress import Checkpoint, Listed
from ..core.records import Claim, Closed, Counters, CrawlKey, Owner, SessionRecord, Skip
from ..core.states import JournalRow, SessionValue
from ..sources.base import Item

__all__ = [
    "Batch",
    "Bookmark",
    "Forgotten",
    "KnownItem",
    "NewItem",
    "SkippedItem",
    "SkippedRow",
    "Store",
]


@attrs.frozen
class NewItem:
    """An item to store.

    Attributes:
        item: Its content.
        position: Its place in the walk; None if it has one already or comes from the skipped items.
        result: What the handler returned for it, JSON text, or None.
    """

    item: Item
    position: int | None
    result: str | None = None


@attrs.frozen
class KnownItem:
    """An item that is stored (or kept as skipped) already and was met again.

    Attributes:
        key: Its id.
        position: Its place in the walk; None if it has one already.
        item: Its content as the source gave it now; kept instead of a poorer record. None leaves the record alone.
        fresh: Whether this crawl meets it for the first time (another source of the user had stored it).
    """

    key: str
    position: int | None
    item: Item | None = None
    fresh: bool = False


@attrs.frozen
class SkippedItem:
    """An item to keep as skipped, and its place in the walk (None if it has one already)."""

    skip: Skip
    position: int | None


@attrs.frozen(kw_only=True)
class Batch:
    """Everything that becomes true together.

    Attributes:
        session_id: The session; the transaction begins with an update of its row conditional on `fence`.
        fence: Our fence; another value in the row means that we were replaced.
        crawl: Whose rows these are.
        ordinal: The session's number within the crawl; noted on every item met.
        now: Epoch seconds.
        lease_until: New end of the lease, epoch seconds.
        value: State of the session after the batch; a final state ends it (owner and lease are given up).
        final: Whether `value.state` is final.
        revision: The session's revision before the batch; another one in the row means that we do not know what is
            stored, and counts as a lost lease. None does not ask.
        counters: Its counts after the batch.
        journal: Rows to append.
        message: What the first error said; kept if the session has none yet.
        durable: What the session row says of the rest (False: the store failed before).
        new: Items to store.
        known: Items met again.
        skips: Items to keep as skipped; an item that is in `new` is no longer skipped.
        due: Keys of skipped items that the next session is to try again.
        mark: Where the crawl stands then; None writes no checkpoint.
        last_key: Id of the last durable item, for the checkpoint; None keeps the stored one.
        listed: The walk that reached its end with this batch.
        closed: Limits that are used up.
    """

    session_id: str
    fence: int
    crawl: CrawlKey
    ordinal: int
    now: float
    lease_until: float
    value: SessionValue
    final: bool
    revision: int | None = None
    counters: Counters
    journal: tuple[JournalRow, ...] = ()
    message: str = ""
    durable: bool = True
    new: tuple[NewItem, ...] = ()
    known: tuple[KnownItem, ...] = ()
    skips: tuple[SkippedItem, ...] = ()
    due: tuple[str, ...] = ()
    mark: Mark | None = None
    last_key: str | None = None
    listed: Listed | None = None
    closed: tuple[Closed, ...] = ()


@attrs.frozen(kw_only=True)
class Bookmark:
    """A stored bookmark.

    Attributes:
        id: The post's id.
        text, author_id, author_username, author_name, created_at: As decoded; None when unknown.
        kind: "post" or "tombstone".
        source: Name of the source that gave the record.
        stored_at: Epoch seconds.
        result: What the handler returned for it, JSON text, or None.
        raw: The source's object, JSON text.
    """

    id: str
    text: str | None
    author_id: str | None
    author_username: str | None
    author_name: str | None
    created_at: str | None
    kind: str
    source: str
    stored_at: float
    result: str | None
    raw: str


@attrs.frozen(kw_only=True)
class SkippedRow:
    """A skipped item as it is kept: the skip, its crawl, how often it was tried, and whether it is due again."""

    crawl: CrawlKey
    skip: Skip
    tries: int
    due: bool


@attrs.frozen(kw_only=True)
class Forgotten:
    """What was deleted of a user: how many crawls, sessions, bookmarks and skipped items; all 0 if none was known."""

    user_id: str
    crawls: int
    sessions: int
    bookmarks: int
    skipped: int

    @property
    def was_known(self) -> bool:
        """Whether there was anything."""
        return bool(self.crawls or self.sessions or self.bookmarks or self.skipped)


class Store(Protocol):
    """Durable memory of every crawl: what is stored, what was skipped, how far it has come.

    Once a method that writes has returned, what it wrote survives the death of the process; once it has raised,
    nothing of it was written, except after `StoreUnavailable`, when a connection may have died during the commit:
    `session(...)` tells by its revision. Calls for different sessions may run concurrently.

    Every method raises `StoreUnavailable` when the database gives no answer, is full, read-only or broken.
    """

    async def open(self) -> None:
        """Connect, and bring the schema up to date where that is allowed; safe to call when it is open already.

        Raises:
            SchemaMismatch: The schema is newer than this version, or not ours; nothing was changed.
        """
        ...

    async def close(self) -> None:
        """Let everything go; safe to call twice."""
        ...

    async def check(self) -> None:
        """See that the database answers, and that its schema is still this version's.

        Raises:
            SchemaMismatch: It is not: the database was upgraded meanwhile, say.
        """
        ...

    async def claim(
        self,
        crawl: CrawlKey,
        owner: Owner,
        *,
        session_id: str,
        initial: SessionValue,
        now: float,
        lease_s: float,
        limit: tuple[str, str, str],
        is_gone: Callable[[Owner], bool],
    ) -> Claim:
        """Take the crawl: start a session, or take over the one that nobody runs any more. One transaction.

        Args:
            crawl: Whose bookmarks, from where; made if it is new.
            owner: Us.
            session_id: Id for a new session.
            initial: Its first value.
            now: Epoch seconds.
            lease_s: How long we may be trusted without a sign of life, seconds.
            limit: (service, account, endpoint) whose closed-until time is wanted.
            is_gone: Whether the process that an owner names is certainly dead, or no longer runs that session.

        Raises:
            CrawlOwned: Another live process has it; nothing was written.
            SessionUnreadable: Its session is one that cannot be read; nothing was written.
        """
        ...

    async def commit(self, batch: Batch) -> str | None:
        """Write the batch in one transaction, and raise the session's revision.

        Returns:
            The reason of a cancel that somebody asked for, or None.

        Raises:
            LeaseLost: Another owner has the session; nothing was written.
            ItemsRefused: The database refuses some of the items, found by a trial with savepoints that was rolled
                back; nothing was written.
        """
        ...

    async def heartbeat(
        self, session_id: str, fence: int, *, now: float, lease_until: float
    ) -> str | None:
        """Renew the lease. Returns and raises as `commit`."""
        ...

    async def lookup(self, crawl: CrawlKey, keys: tuple[str, ...]) -> dict[str, Known]:
        """What is known of these ids; ids that nothing is known of are left out."""
        ...

    async def count_missing(self, crawl: CrawlKey, above: Place, walk: int) -> int:
        """Ids of the last completed listing that stood above this place and that `walk` has not met."""
        ...

    async def due_skips(self, crawl: CrawlKey, limit: int) -> list[Skip]:
        """Skipped items that are to be tried again, at most `limit`. One that cannot be read is logged once and left out."""
        ...

    async def session(self, session_id: str) -> SessionRecord:
        """One session. Raises `SessionNotFound`, or `SessionUnreadable` if somebody else wrote its row."""
        ...

    async def sessions(
        self, *, crawl: CrawlKey | None = None, user_id: str | None = None, limit: int = 100
    ) -> list[SessionRecord]:
        """Sessions, newest first. One that cannot be read is logged once and left out: it hides no other."""
        ...

    def unfinished(self, *, due_by: float | None = None) -> AsyncIterator[SessionRecord]:
        """Every session that is not over, read in portions, in no order; the cost does not grow with those that are.

        One that begins or ends meanwhile may be among them or not.

        Args:
            due_by: Leave out those that are paused for longer than that, epoch seconds; None leaves out none.
        """
        ...

    async def journal(self, session_id: str) -> list[JournalRow]:
        """A session's journal in order.

        Raises:
            SessionNotFound: No session has this id.
            RowUnreadable: Somebody else wrote one of its rows; `others` holds those that can be read.
        """
        ...

    async def wish_cancel(self, session_id: str, reason: str) -> SessionRecord:
        """Ask whoever runs the session to end it; without effect on one that has ended. Raises `SessionNotFound`."""
        ...

    async def checkpoint(self, crawl: CrawlKey) -> Checkpoint | None:
        """The crawl's checkpoint, or None before the first or after `clear_checkpoint`.

        Raises `RowUnreadable` if somebody else wrote it; `clear_checkpoint` heals that.
        """
        ...

    async def save_checkpoint(
        self,
        crawl: CrawlKey,
        *,
        tweet_id: str,
        bookmarks_count: int | None,
        now: float,
        is_gone: Callable[[Owner], bool] | None = None,
    ) -> Checkpoint:
        """Set the checkpoint by hand: no cursor, so the next crawl walks from the top; None keeps the count.

        A session whose owner `is_gone` does not count as running; without that, it runs until its lease ends.

        Raises:
            CrawlOwned: A session of the crawl runs now; nothing was changed.
        """
        ...

    async def clear_checkpoint(
        self, crawl: CrawlKey, *, now: float, is_gone: Callable[[Owner], bool] | None = None
    ) -> None:
        """Forget the checkpoint and all places: the next crawl walks everything, without early stop.

        Stored items stay. Raises `CrawlOwned` while a session of the crawl runs.
        """
        ...

    async def crawls(self) -> list[CrawlKey]:
        """Every crawl in the database."""
        ...

    def bookmarks(self, user_id: str | None = None) -> AsyncIterator[Bookmark]:
        """Stored bookmarks, read in portions, in the order in which they were stored; None: of all users.

        Raises `RowUnreadable`, after all others were given, if somebody else wrote the row of one.
        """
        ...

    async def count_bookmarks(self, user_id: str | None = None) -> int:
        """Number of stored bookmarks."""
        ...

    async def skipped(self, *, user_id: str | None = None, limit: int = 1000) -> list[SkippedRow]:
        """Skipped items, oldest first. One that cannot be read is logged once and left out: it hides no other."""
        ...

    async def count_skipped(self, crawl: CrawlKey) -> tuple[int, int]:
        """Skipped items of a crawl: how many, and how many of them are to be tried again."""
        ...

    async def retry_skipped(
        self, *, user_id: str | None = None, keys: tuple[str, ...] | None = None
    ) -> int:
        """Mark skipped items (all, or these) to be tried again by the next session. Returns how many."""
        ...

    async def forget(
        self, user_id: str, *, now: float, is_gone: Callable[[Owner], bool]
    ) -> Forgotten:
        """Delete everything about a user, from all sources, in one transaction.

        That is: bookmarks, skipped items, checkpoints, sessions, journals, and until when a service is closed to them.

        Args:
            user_id: Who.
            now: Epoch seconds.
            is_gone: As in `claim`: a session whose owner is gone does not count as running.

        Raises:
            CrawlOwned: A session of the user runs now; nothing was deleted.
        """
        ...
