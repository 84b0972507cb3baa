"""Runs crawls from the queue: one task for each crawl, one session at a time for each, no worker held by a pause.

The queue is an index and a bell; sessions, progress and ownership are in SQL. How a session ends decides its task, and
what the queue has lost a sweep over SQL puts back.
Must not know: scripts, keys, how a session runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from .core.records import SessionRecord
from .core.taxonomy import ErrorCategory, Reason
from .engine import CrawlEngine
from .errors import CrawlOwned, QueueError, SessionNotFound, StoreError, TwitorError
from .ownership import is_gone
from .queue_manager import LEASE_LOST, Postpone, QueueManager, QueueTask, Reject
from .report import CrawlReport
from .session import Handler
from .sources.base import InvalidRaw, Item, Page, Source

__all__ = ["CRAWL", "PROCESS_BOOKMARK", "Worker", "enqueue_crawl"]

CRAWL: Final = "crawl"
"""Task type of a crawl; its payload names user and source, never a token."""

PROCESS_BOOKMARK: Final = "process_bookmark"
"""Task type that runs the embedder's own function. Source: the design document, "Queue Manager Usage"."""

SWEEP_S: Final = 30.0
"""How often a worker looks for sessions that the queue does not know, seconds."""

SWEEP_LIMIT: Final = 100_000

_DRAINING: Final = frozenset({Reason.OUT_OF_MEMORY, Reason.DISK_FULL, Reason.STORE_FULL})
"""What the other sessions of this process would meet next."""

_DONE: Final = frozenset({Reason.STOPPED_BY_USER, Reason.MAX_ITEMS})

_INTERRUPTED: Final = frozenset({Reason.SIGNAL, Reason.TASK_CANCELLED})
"""Ends of a session that end no crawl: its worker stopped, or lost the task."""

_LOG: Final = logging.getLogger("twitor_fsm.worker")

ProcessBookmark = Callable[[QueueTask], Awaitable[object]]


class CrawlFailed(TwitorError):
    """A session ended in a way that another one, later, may not."""


async def enqueue_crawl(
    queue: QueueManager,
    *,
    user_id: str,
    source: str = "x",
    engine: CrawlEngine | None = None,
    session_id: str | None = None,
    delay: float = 0.0,
    priority: int = 0,
) -> str:
    """Ask for a crawl; while one of this user and source is asked for or runs, nothing is added.

    Args:
        queue: Connected.
        user_id: Whose.
        source: Name of the source.
        engine: Makes the wish durable: the session is made in the database first, so that a sweep asks for it again
            whatever the queue loses. None leaves it to the queue alone.
        session_id: Only to bring this session to its end: if it is over by then, nothing is done.
        delay: Not before so many seconds.
        priority: Higher is crawled first.

    Returns:
        The task's id.
    """
    if engine is not None:
        await engine.reserve(user_id, source)
    return await queue.enqueue(
        CRAWL,
        {"user_id": user_id, "source": source}
        | ({"session_id": session_id} if session_id is not None else {}),
        task_id=f"{CRAWL}:{source}:{user_id}",
        delay=delay,
        priority=priority,
    )


@attrs.frozen
class SharedSource:
    """A source that many sessions use: it stays open until the worker ends."""

    inner: Source

    @property
    def name(self) -> str:
        """Its name."""
        return self.inner.name

    @property
    def service(self) -> str:
        """Its service."""
        return self.inner.service

    @property
    def endpoint(self) -> str:
        """Its endpoint."""
        return self.inner.endpoint

    @property
    def page_sizes(self) -> tuple[int, ...]:
        """Its page sizes."""
        return self.inner.page_sizes

    @property
    def price_usd(self) -> float | None:
        """Its price for an item."""
        return self.inner.price_usd

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """A page."""
        return await self.inner.fetch(user_id, cursor, page_size)

    def decode(self, raw: str) -> Item | InvalidRaw:
        """An item."""
        return self.inner.decode(raw)

    async def aclose(self) -> None:
        """Nothing: others use it."""


class Worker:
    """Takes tasks of one queue and runs them in one engine."""

    def __init__(
        self,
        engine: CrawlEngine,
        queue: QueueManager,
        source: Source,
        *,
        concurrency: int = 10,
        handler: Handler | None = None,
        process_bookmark: ProcessBookmark | None = None,
        sweep_s: float = SWEEP_S,
    ) -> None:
        """Prepare; nothing is taken.

        Args:
            engine: Open.
            queue: Connected.
            source: Of all crawls: it finds each user's token by the user's id, and shares its connections.
            concurrency: Sessions at once.
            handler: Run on every new item of every crawl.
            process_bookmark: Runs tasks of that type; without it they are rejected.
            sweep_s: How often to look for sessions that the queue does not know, seconds.
        """
        self._engine: Final = engine
        self._queue: Final = queue
        self._source: Final = SharedSource(source)
        self._concurrency: Final = concurrency
        self._handler: Final = handler
        self._process_bookmark: Final = process_bookmark
        self._sweep_s: Final = sweep_s
        self._stop: Final = asyncio.Event()

    def stop(self) -> None:
        """Take nothing more; sessions that run checkpoint, and their tasks go back to the queue."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop`.

        Raises:
            QueueError: Valkey refuses this user.
        """
        sweeping = asyncio.create_task(self._sweep())
        stopping = asyncio.create_task(self._end_sessions())
        try:
            await self._queue.consume(self._work, self._concurrency, stop=self._stop)
        finally:
            for task in (sweeping, stopping):
                task.cancel()
            await asyncio.gather(sweeping, stopping, return_exceptions=True)
            await self._source.inner.aclose()

    async def _end_sessions(self) -> None:
        await self._stop.wait()
        self._engine.cancel_all(Reason.SIGNAL)

    # -- one task ----------------------------------------------------------------------------------

    async def _work(self, task: QueueTask) -> None:
        match task.task_type:
            case "crawl":
                await self._crawl(task)
            case "process_bookmark" if self._process_bookmark is not None:
                await self._process_bookmark(task)
            case _:
                raise Reject(f"nothing here handles tasks of type {task.task_type!r}")

    async def _crawl(self, task: QueueTask) -> None:
        user_id, source = task.payload.get("user_id"), task.payload.get("source")
        if not isinstance(user_id, str) or source != self._source.name:
            raise Reject("the payload names no user, or another source than this worker's")
        if await self._is_over(task.payload.get("session_id")):
            return
        try:
            handle = await self._engine.start(
                self._source, user_id=user_id, handler=self._handler, wait=False
            )
        except CrawlOwned as error:
            _LOG.info("crawl of user %s: %s", user_id, error)
            raise Postpone(self._engine.settings.lease_s) from error
        if self._stop.is_set():
            handle.cancel(Reason.SIGNAL)
        try:
            report = await handle.wait()
        except asyncio.CancelledError as error:
            # The queue has lost the task, perhaps all of them; the session is still ours in SQL, so it goes on.
            if error.args != (LEASE_LOST,):
                handle.cancel(Reason.TASK_CANCELLED)
            await handle.wait()
            raise
        await self._settle(report)

    async def _is_over(self, session_id: object) -> bool:
        """Whether the session that a sweep found idle has come to its end since."""
        if not isinstance(session_id, str):
            return False
        try:
            record = await self._engine.status(session_id)
        except SessionNotFound:
            return True
        return record.ended_at is not None and record.value.reason not in _INTERRUPTED

    async def _settle(self, report: CrawlReport) -> None:
        """How a session ended decides its task: return it is done, else it comes again, or is a dead letter."""
        reason = report.reason
        if report.lost or report.completed or reason in _DONE:
            return
        if report.resume_at is not None:
            raise Postpone(max(0.0, report.resume_at - self._engine.clock.now()))
        if reason in _DRAINING:
            _LOG.critical("%s: this worker drains; its other crawls go back to the queue", reason)
            self.stop()
            raise Postpone(self._engine.settings.lease_s)
        if reason == Reason.BILLING:
            await self._close_gate(report)
            return
        match report.category:
            case ErrorCategory.AUTH:
                _LOG.error("crawl of user %s: %s", report.user_id, report.message)
            case ErrorCategory.NETWORK | ErrorCategory.DATABASE:
                raise CrawlFailed(report.message)
            case ErrorCategory.FATAL:
                _LOG.error("crawl of user %s: %s", report.user_id, report.message)
                raise Reject(str(reason))
            case _:
                raise Postpone(0.0)  # it was stopped midway: this worker ends

    async def _close_gate(self, report: CrawlReport) -> None:
        """No clock heals a bill: nobody crawls until a person says so."""
        if await self._queue.pause():
            _LOG.critical(
                "%s The queue is paused for all workers. When that is settled: twitor queue resume",
                report.message,
            )
        raise Postpone(0.0)

    # -- what the queue has lost -------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            try:
                await self.sweep()
            except (QueueError, StoreError) as error:
                _LOG.warning("the sweep failed, the next one tries again: %s", error)
            await self._engine.clock.sleep(self._sweep_s)

    async def sweep(self) -> int:
        """Ask for every crawl whose session is not over and has no living owner; returns how many there are."""
        now = self._engine.clock.now()
        count = 0
        for record in await self._engine.sessions(limit=SWEEP_LIMIT):
            if (
                record.ended_at is None
                and _is_idle(record, now)
                and record.crawl.source == self._source.name
            ):
                count += 1
                await enqueue_crawl(
                    self._queue,
                    user_id=record.crawl.user_id,
                    source=record.crawl.source,
                    session_id=record.session_id,
                    delay=max(0.0, (record.value.resume_at or 0.0) - now),
                )
        return count


def _is_idle(record: SessionRecord, now: float) -> bool:
    return record.owner is None or is_gone(record.owner) or record.lease_until <= now
