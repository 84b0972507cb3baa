"""What of a session is true, what rides with the next commit, and what is durable.

Turns progress and buffered content into one batch, and gets it written: tries again while the database is busy, finds
out what became of a commit whose answer was lost. Takes no decision about the crawl.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Self, TypeVar

import attrs

from .clock import Clock
from .core.progress import Entry, Save, Status, Tally
from .core.records import Claim, Closed, Counters, Skip
from .core.states import JournalRow, SessionValue
from .core.taxonomy import ErrorCategory, Reason
from .errors import StoreUnavailable
from .inbox import Inbox
from .sources.base import InvalidRaw, Item
from .storage.base import Batch, KnownItem, NewItem, SkippedItem, Store

__all__ = ["Contents", "Interrupted", "Ledger", "Work"]

WRITE_TRIES: Final = 5
"""Attempts at one transaction before the store counts as gone."""

T = TypeVar("T")


class Interrupted(Exception):
    """A cancel arrived while the store was tried again; nothing was written."""


@attrs.define
class Work:
    """Counts that do not depend on items: requests, errors, waits."""

    requests: int = 0
    items_fetched: int = 0
    retries: int = 0
    pauses: int = 0
    errors: dict[str, int] = attrs.field(factory=dict)

    @classmethod
    def since(cls, before: Counters) -> Self:
        """What goes on counting where a session stood."""
        return cls(
            before.requests,
            before.items_fetched,
            before.retries,
            before.pauses,
            dict(before.errors),
        )

    def note_error(self, category: ErrorCategory) -> None:
        """Count one error."""
        self.errors[category.value] = self.errors.get(category.value, 0) + 1

    def counters(self, tally: Tally) -> Counters:
        """All counts of the session, given those of its items."""
        return Counters(
            seen=tally.seen,
            stored=tally.stored,
            already_known=tally.already_known,
            skipped=tally.skipped,
            requests=self.requests,
            items_fetched=self.items_fetched,
            retries=self.retries,
            pauses=self.pauses,
            errors=dict(self.errors),
        )


@attrs.define
class Contents:
    """Content of the page in hand: what progress knows by key and index only."""

    items: tuple[Item | InvalidRaw, ...] = ()
    results: dict[int, str] = attrs.field(factory=dict)
    skips: dict[int, Skip] = attrs.field(factory=dict)
    fresh: frozenset[str] = frozenset()
    bare: set[int] = attrs.field(factory=set)
    """Elements whose content the database refuses beside the record it has: that record is left alone."""

    def rows(self, entries: tuple[Entry, ...], save: Save) -> "Rows":
        """What a save writes of the page: new items, known ones, skipped ones."""
        new: list[NewItem] = []
        known: list[KnownItem] = []
        skips: list[SkippedItem] = []
        for index in range(save.first, save.upto):
            entry, item = entries[index], self.items[index]
            if entry.status is Status.NEW and isinstance(item, Item):
                new.append(NewItem(item, entry.position, self.results.get(index)))
            elif entry.status is Status.SKIPPED:
                skips.append(SkippedItem(self.skips[index], entry.position))
            elif entry.status is not Status.REPEATED:
                is_content = entry.status is Status.KNOWN and index not in self.bare
                content = item if is_content and isinstance(item, Item) else None
                known.append(KnownItem(entry.key, entry.position, content, entry.key in self.fresh))
        return Rows(tuple(new), tuple(known), tuple(skips))


@attrs.frozen
class Rows:
    """What a batch writes of a page."""

    new: tuple[NewItem, ...] = ()
    known: tuple[KnownItem, ...] = ()
    skips: tuple[SkippedItem, ...] = ()


class Ledger:
    """The books of one session in this process."""

    def __init__(
        self,
        store: Store,
        claim: Claim,
        clock: Clock,
        *,
        lease_s: float,
        retry_s: float,
        inbox: Inbox,
    ) -> None:
        """Open the books.

        Args:
            store: Where they are kept.
            claim: What we hold.
            clock: Time.
            lease_s: Length of the lease, seconds.
            retry_s: How long a busy store is tried again, seconds in all.
            inbox: An event in it ends the wait for a busy store.
        """
        self._store = store
        self._clock = clock
        self._lease_s = lease_s
        self._retry_s = retry_s
        self._inbox = inbox
        self._session = claim.session
        self._revision = claim.session.revision
        self.value: SessionValue = claim.session.value
        self.durable: SessionValue = claim.session.value
        self.riding: list[JournalRow] = []
        self.closed: list[Closed] = []
        self.message: str = claim.session.message
        self.is_closing = False
        """Whether the session's end is written or being written: it gives the lease up, so who is refused for want of
        one learns nothing from that."""

    def ride(self, value: SessionValue, row: JournalRow | None) -> None:
        """Adopt a step now and write it with the next commit."""
        self.value = value
        if row is not None:
            self.riding.append(row)

    def drop_riding(self) -> None:
        """Go back to the last durable value."""
        self.value = self.durable
        self.riding.clear()

    async def write(
        self,
        value: SessionValue,
        row: JournalRow | None,
        *,
        counters: Counters,
        final: bool,
        contents: Rows | None = None,
        save: Save | None = None,
        due: tuple[str, ...] = (),
        release: bool = False,
        durable: bool = True,
        once: bool = False,
        alone: bool = False,
        message: str | None = None,
    ) -> str | None:
        """Make a value and all that is pending durable; adopt it when that has committed.

        With `alone`, steps that ride are not written: they are dropped, but only when the value has become true.

        Returns:
            The reason of a cancel that somebody asked for, or None.

        Raises:
            LeaseLost, ItemsRefused, StoreUnavailable: See `Store.commit`; the old value stands.
            Interrupted: A cancel arrived while the store was tried again; the old value stands.
        """
        now = self._clock.now()
        rows = contents if contents is not None else Rows()
        riding = () if alone else tuple(self.riding)
        batch = Batch(
            session_id=self._session.session_id,
            fence=self._session.fence,
            crawl=self._session.crawl,
            ordinal=self._session.ordinal,
            now=now,
            lease_until=now if release else now + self._lease_s,
            value=value,
            final=final,
            revision=self._revision if durable else None,
            counters=counters,
            journal=(*riding, row) if row is not None else riding,
            message=message if message is not None else self.message,
            durable=durable,
            new=rows.new,
            known=rows.known,
            skips=rows.skips,
            due=due,
            mark=save.mark if save is not None else None,
            last_key=save.last_key if save is not None else None,
            listed=save.listed if save is not None else None,
            closed=tuple(self.closed),
        )
        self.is_closing = self.is_closing or final
        wish = await self._commit(batch, tries=1 if once else WRITE_TRIES)
        self._revision += 1
        self.value = self.durable = value
        self.riding.clear()
        self.closed.clear()
        return wish

    async def _commit(self, batch: Batch, *, tries: int) -> str | None:
        in_doubt = False

        async def attempt() -> str | None:
            """Commit, unless an earlier commit of this batch may have taken place: then first find out."""
            nonlocal in_doubt
            if in_doubt and await self._is_written():
                return None
            in_doubt = True
            try:
                return await _shielded(self._store.commit(batch))
            except StoreUnavailable as exc:
                if await self._took_place(exc):
                    return None
                in_doubt = False
                raise

        return await self._tried(attempt, tries)

    async def _took_place(self, error: StoreUnavailable) -> bool:
        """Whether a commit that raised took place all the same. Raises `StoreUnavailable` as `_is_written`.

        A disk may fail after it has written: a store that is out for good is asked too, and if it cannot tell, its
        error stands.
        """
        try:
            return await self._is_written()
        except StoreUnavailable:
            if error.retryable:
                raise
            return False

    async def _is_written(self) -> bool:
        """Whether the commit whose answer was lost took place. Raises `StoreUnavailable` while nobody can tell."""
        record = await self._store.session(self._session.session_id)
        return record.fence == self._session.fence and record.revision == self._revision + 1

    async def read(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the store something; tried again while it is busy. Raises as `write`."""
        return await self._tried(question, WRITE_TRIES)

    async def _tried(self, attempt: Callable[[], Awaitable[T]], tries: int) -> T:
        # 1 : 3 : 9 : 27 of retry_s in all
        delay = self._retry_s / 40.0
        for left in range(tries - 1, -1, -1):
            try:
                return await attempt()
            except StoreUnavailable as exc:
                if not exc.retryable or left == 0:
                    raise
            await self._inbox.sleep(delay)
            delay *= 3.0
            if self._inbox:
                raise Interrupted
        raise StoreUnavailable("the database was not asked", Reason.STORE_UNAVAILABLE)


async def _shielded(commit: Awaitable[T]) -> T:
    """A commit is never cancelled: whoever cancels us waits for it, so that its outcome is known."""
    task = asyncio.ensure_future(commit)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()  # seen: whoever cancelled us does not ask
        raise
