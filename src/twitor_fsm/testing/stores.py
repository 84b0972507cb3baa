"""A real store that opens at once, and a store in front of any other that fails as a plan says.

Must not know: sessions, sources.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from ..core.listing import Known, Place
from ..core.progress import Checkpoint
from ..core.records import Claim, CrawlKey, Owner, SessionRecord, Skip
from ..core.states import JournalRow, SessionValue
from ..core.taxonomy import Reason
from ..errors import ItemsRefused, StoreUnavailable
from ..storage.base import Batch, Bookmark, Forgotten, SkippedRow, Store
from ..storage.runner import ThreadRunner
from ..storage.sqlite import SqliteFile
from ..storage.store import SqlStore
from .clock import VirtualClock
from .faults import Faults
from .mishaps import Mishap
from .parts import require_faults, require_store

__all__ = ["FaultyStore", "MemoryStore"]

T = TypeVar("T")


class _InlineRunner(ThreadRunner):
    """Works where it is asked, without a thread: the order of events depends on nothing but the program."""

    def _put(self, work: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        try:
            loop.call_soon(_deliver, answer, work(), None)
        except Exception as exc:  # noqa: BLE001 - raised again where it is awaited
            loop.call_soon(_deliver, answer, None, exc)
        return answer

    @property
    def file(self) -> SqliteFile:
        """The database."""
        return self._file

    async def aclose(self) -> None:
        """Keep the connection, which is all that a database in memory is."""


def _deliver(answer: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    """Bring an answer a turn of the loop later, as a thread would, unless nobody waits for it any more."""
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


_EMPTY: Final[list[bytes]] = []
"""An empty database with our tables, as bytes; made once per process (migrations take longer than a crawl)."""

_IDLE: Final[list[_InlineRunner]] = []
"""Connections of closed stores: a new one would compile every statement anew (two thirds of a small crawl's time)."""


class MemoryStore(SqlStore):
    """The real store on real SQLite in memory, without a thread: quick to open, and the same run twice is the same.

    What is in it is gone when it is closed.
    """

    def __init__(self) -> None:
        """Make one; `open` fills it with our tables."""
        super().__init__(":memory:")
        if self._file is None:
            raise AssertionError("a database in memory is a SQLite file")
        self._use(_InlineRunner(self._file))

    def _use(self, inline: _InlineRunner) -> None:
        self._file = inline.file
        self._runner = self._thread = self._inline = inline

    async def _open(self) -> None:
        if _IDLE:  # not sooner: a store that is never opened is never closed
            self._use(_IDLE.pop())
        if _EMPTY:
            await self._inline.outside(lambda c: _driver(c).deserialize(_EMPTY[0]))
        await super()._open()
        if not _EMPTY:
            _EMPTY.append(await self._inline.outside(lambda c: bytes(_driver(c).serialize())))

    async def close(self) -> None:
        """Let it go; safe to call twice."""
        was_open = self._opened
        await super().close()
        if was_open:
            _IDLE.append(self._inline)
            self._use(_InlineRunner(self._inline.file))


def _driver(connection: Any) -> Any:
    return connection.connection.driver_connection


class FaultyStore:
    """A store in front of another: its transactions meet what a plan says of `commit N` and `lookup N`.

    Faults before a commit, after it, in place of its answer, and for good; every other method fails only while the
    process is dead or the store is out. An item of which the plan says `item N: DATABASE` is refused by the database, as
    long as no handler meets it first.

    Attributes:
        on_commit: Called with every batch that was written, whatever becomes of the answer.
        on_claim: Called with every claim that was granted.
    """

    def __init__(
        self,
        inner: Store,
        faults: Faults,
        *,
        clock: VirtualClock | None = None,
        number_of: Callable[[str], int] | None = None,
        owns: bool = False,
    ) -> None:
        """Stand in front of a store.

        Args:
            inner: Who keeps the rows.
            faults: The plan as it happens.
            clock: Held still while the store works; None if there is none.
            number_of: Number of an item in the listing, from 1, by its key, for `item N: DATABASE`.
            owns: Whether `close` closes the inner store too: not, while other engines use it.

        Raises:
            ConfigurationError: What was given is no store, or no faults; says what is missing.
        """
        require_store(inner, "FaultyStore")
        require_faults(faults, "FaultyStore")
        self.inner = inner
        self.on_commit: Callable[[Batch], None] = lambda _: None
        self.on_claim: Callable[[Claim], None] = lambda _: None
        self._faults = faults
        self._clock = clock
        self._number_of = number_of
        self._owns = owns

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call that fails only with its process or its store."""
        self._faults.check_alive()
        if self._faults.store_is_out:
            raise _unavailable("the database is gone", retryable=False)
        with self._clock.busy() if self._clock is not None else contextlib.nullcontext():
            return await call()

    async def open(self) -> None:
        """Open the inner store."""
        await self.inner.open()

    async def close(self) -> None:
        """Close the inner store if it is ours."""
        if self._owns:
            await self.inner.close()

    async def check(self) -> None:
        """See `Store.check`."""
        await self._ask(self.inner.check)

    # -- a running session ------------------------------------------------------------------------

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
        """As the inner store."""
        claim = await self._ask(
            lambda: self.inner.claim(
                crawl,
                owner,
                session_id=session_id,
                initial=initial,
                now=now,
                lease_s=lease_s,
                limit=limit,
                is_gone=is_gone,
            )
        )
        self.on_claim(claim)
        return claim

    async def commit(self, batch: Batch) -> str | None:
        """As the inner store, unless the plan says otherwise."""
        met = await self._faults.attempt(self._faults.number("commit"))
        if met is Mishap.BUSY:
            raise _unavailable("the database is busy", retryable=True)
        self._refuse(batch)
        wish = await self._ask(lambda: self._commit(batch))
        if met is Mishap.DEATH_AFTER:
            self._faults.die()
        self._faults.check_alive()
        if met is Mishap.LOST_ANSWER:
            raise _unavailable("the connection died", retryable=True)
        return wish

    async def _commit(self, batch: Batch) -> str | None:
        wish = await self.inner.commit(batch)
        self.on_commit(batch)
        return wish

    def _refuse(self, batch: Batch) -> None:
        """Refuse items as a constraint would: nothing of the batch is written."""
        if self._number_of is None:
            return
        keys = [new.item.key for new in batch.new]
        refused = [k for k in keys if self._faults.spoils(self._place(k), Mishap.DATABASE)]
        if refused:
            why = (Reason.CONSTRAINT, "the database refuses the item: a constraint failed")
            raise ItemsRefused(dict.fromkeys(refused, why))

    def _place(self, key: str) -> str:
        return f"item {self._number_of(key) if self._number_of is not None else 0}"

    async def heartbeat(
        self, session_id: str, fence: int, *, now: float, lease_until: float
    ) -> str | None:
        """As the inner store."""
        await self._faults.attempt(self._faults.number("heartbeat"))
        return await self._ask(
            lambda: self.inner.heartbeat(session_id, fence, now=now, lease_until=lease_until)
        )

    async def lookup(self, crawl: CrawlKey, keys: tuple[str, ...]) -> dict[str, Known]:
        """As the inner store, unless the plan says otherwise."""
        met = await self._faults.attempt(self._faults.number("lookup"))
        if met is Mishap.BUSY:
            raise _unavailable("the database is busy", retryable=True)
        return await self._ask(lambda: self.inner.lookup(crawl, keys))

    async def count_missing(self, crawl: CrawlKey, above: Place, walk: int) -> int:
        """As the inner store."""
        return await self._ask(lambda: self.inner.count_missing(crawl, above, walk))

    async def due_skips(self, crawl: CrawlKey, limit: int) -> list[Skip]:
        """As the inner store."""
        return await self._ask(lambda: self.inner.due_skips(crawl, limit))

    # -- sessions ---------------------------------------------------------------------------------

    async def session(self, session_id: str) -> SessionRecord:
        """As the inner store."""
        return await self._ask(lambda: self.inner.session(session_id))

    async def sessions(
        self, *, crawl: CrawlKey | None = None, user_id: str | None = None, limit: int = 100
    ) -> list[SessionRecord]:
        """As the inner store."""
        return await self._ask(
            lambda: self.inner.sessions(crawl=crawl, user_id=user_id, limit=limit)
        )

    async def unfinished(self, *, due_by: float | None = None) -> AsyncIterator[SessionRecord]:
        """As the inner store."""
        self._faults.check_alive()
        async for record in self.inner.unfinished(due_by=due_by):
            yield record

    async def journal(self, session_id: str) -> list[JournalRow]:
        """As the inner store."""
        return await self._ask(lambda: self.inner.journal(session_id))

    async def wish_cancel(self, session_id: str, reason: str) -> SessionRecord:
        """As the inner store."""
        return await self._ask(lambda: self.inner.wish_cancel(session_id, reason))

    # -- checkpoints ------------------------------------------------------------------------------

    async def checkpoint(self, crawl: CrawlKey) -> Checkpoint | None:
        """As the inner store."""
        return await self._ask(lambda: self.inner.checkpoint(crawl))

    async def save_checkpoint(
        self,
        crawl: CrawlKey,
        *,
        tweet_id: str,
        bookmarks_count: int | None,
        now: float,
        is_gone: Callable[[Owner], bool] | None = None,
    ) -> Checkpoint:
        """As the inner store."""
        return await self._ask(
            lambda: self.inner.save_checkpoint(
                crawl, tweet_id=tweet_id, bookmarks_count=bookmarks_count, now=now, is_gone=is_gone
            )
        )

    async def clear_checkpoint(
        self, crawl: CrawlKey, *, now: float, is_gone: Callable[[Owner], bool] | None = None
    ) -> None:
        """As the inner store."""
        await self._ask(lambda: self.inner.clear_checkpoint(crawl, now=now, is_gone=is_gone))

    # -- what is stored ---------------------------------------------------------------------------

    async def crawls(self) -> list[CrawlKey]:
        """As the inner store."""
        return await self._ask(self.inner.crawls)

    async def bookmarks(self, user_id: str | None = None) -> AsyncIterator[Bookmark]:
        """As the inner store."""
        self._faults.check_alive()
        async for bookmark in self.inner.bookmarks(user_id):
            yield bookmark

    async def count_bookmarks(self, user_id: str | None = None) -> int:
        """As the inner store."""
        return await self._ask(lambda: self.inner.count_bookmarks(user_id))

    async def skipped(self, *, user_id: str | None = None, limit: int = 1000) -> list[SkippedRow]:
        """As the inner store."""
        return await self._ask(lambda: self.inner.skipped(user_id=user_id, limit=limit))

    async def count_skipped(self, crawl: CrawlKey) -> tuple[int, int]:
        """As the inner store."""
        return await self._ask(lambda: self.inner.count_skipped(crawl))

    async def retry_skipped(
        self, *, user_id: str | None = None, keys: tuple[str, ...] | None = None
    ) -> int:
        """As the inner store."""
        return await self._ask(lambda: self.inner.retry_skipped(user_id=user_id, keys=keys))

    async def forget(
        self, user_id: str, *, now: float, is_gone: Callable[[Owner], bool]
    ) -> Forgotten:
        """As the inner store."""
        return await self._ask(lambda: self.inner.forget(user_id, now=now, is_gone=is_gone))


def _unavailable(message: str, *, retryable: bool) -> StoreUnavailable:
    reason = Reason.STORE_BUSY if retryable else Reason.STORE_FULL
    return StoreUnavailable(
        f"{message}; what was committed before stands", reason, retryable=retryable
    )
