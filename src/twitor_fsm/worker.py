"""Runs crawls from the queue: one task for each crawl, one session at a time for each, no worker held by a pause.

The queue is an index and a bell; sessions, progress and ownership are in SQL. How a session ends decides its task, and
what the queue has lost a sweep over SQL puts back.
Must not know: scripts, keys, how a session runs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from .core.records import CrawlKey, SessionRecord
from .core.taxonomy import ErrorCategory, Reason
from .crawl_tasks import (
    CRAWL,
    DRAINING,
    AskedCrawl,
    Settling,
    ask_for_crawl,
    enqueue_crawl,
    is_done,
    needs_session,
    payload_of,
    settling,
    task_id_of,
)
from .engine import CrawlEngine
from .errors import (
    CrawlOwned,
    OtherSchemaVersion,
    QueueError,
    StoreError,
    StoreUnavailable,
    TaskRefused,
    TwitorError,
)
from .handling import Handler
from .log_facts import doing, logger_of, speak_for
from .ownership import is_gone
from .queue_manager import LEASE_LOST, Postpone, QueueManager, QueueTask, Reject
from .report import CrawlReport
from .sources.base import Source
from .sources.shared import SharedSource

__all__ = ["CRAWL", "PROCESS_BOOKMARK", "AskedCrawl", "Worker", "ask_for_crawl", "enqueue_crawl"]

PROCESS_BOOKMARK: Final = "process_bookmark"
"""Task type that runs the embedder's own function. Source: the design document, "Queue Manager Usage"."""

SWEEP_S: Final = 30.0
"""How often a worker looks for sessions that the queue does not know, seconds."""

PORTION: Final = 500
"""Crawls that a sweep asks for with one call."""

_SOON_S: Final = 1.0
"""A crawl that somebody else has is asked for again when its lease ends, but not sooner than this, seconds."""

_LOG: Final = logger_of("twitor_fsm.worker")
_CRAWLS: Final = logger_of("twitor_fsm.worker.crawls")
"""How crawls ended: who tells each one anyway leaves these records out."""

ProcessBookmark = Callable[[QueueTask], Awaitable[object]]


class CrawlFailed(TwitorError):
    """A session ended in a way that another one, later, may not."""


class UnknownTaskType(Reject):
    """No worker of this kind handles tasks of this type."""


class UnusablePayload(Reject):
    """A task asks for a crawl that this worker cannot run."""


class CrawlEndedFatally(Reject):
    """A session ended in a way that the next one would, too."""


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
        self.drained_by: Reason | None = None
        """Why it stopped by itself, if it did: what this process, or this machine, has run out of."""
        self.is_outdated = False
        """Whether it stopped because the database's schema is another version's now; see `readiness`."""

    def stop(self) -> None:
        """Take nothing more; sessions that run checkpoint, and their tasks go back to the queue."""
        self._stop.set()

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is taken: `stop` was called, or memory or disk ran out."""
        return self._stop.is_set()

    async def until_draining(self) -> None:
        """Return when nothing more is taken."""
        await self._stop.wait()

    async def run(self) -> None:
        """Work until `stop`.

        If Valkey is away by then, that is logged and it ends all the same: crawls that could not be given back come
        again when the leases of their tasks end, or with a sweep.

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
                known = [CRAWL] if self._process_bookmark is None else [CRAWL, PROCESS_BOOKMARK]
                raise UnknownTaskType(
                    f"this worker handles tasks of type {' and '.join(known)} alone, not {task.task_type!r}. Give other "
                    f"tasks a queue of their own ({self._queue.queue_name} is the workers')"
                )

    async def _crawl(self, task: QueueTask) -> None:
        user_id, source = task.payload.get("user_id"), task.payload.get("source")
        if not isinstance(user_id, str) or source != self._source.name:
            raise UnusablePayload(
                f"it names no user, or another source than this worker's, which is {self._source.name!r}"
            )
        if await self._is_void(task, CrawlKey(user_id, self._source.name)):
            return
        try:
            handle = await self._engine.start(
                self._source, user_id=user_id, handler=self._handler, wait=False
            )
        except CrawlOwned as error:
            _LOG.info("crawl of user %s: %s", user_id, error)
            left_s = error.lease_until - self._engine.clock.now()
            lease_s = self._engine.settings.lease_s
            raise Postpone(min(max(left_s, _SOON_S), lease_s)) from error
        except StoreUnavailable as error:
            if error.reason in DRAINING:
                self._drain(error.reason)
            raise
        speak_for(handle.session_id, user_id)
        doing(CRAWL)
        if self._stop.is_set():
            handle.cancel(Reason.SIGNAL)
        try:
            report = await handle.wait()
        except asyncio.CancelledError as error:
            # The queue has lost the task, perhaps all of them; the session is still ours in SQL, so it goes on.
            if error.args != (LEASE_LOST,):
                handle.cancel(Reason.TASK_CANCELLED)
            await self._keep(task, await handle.wait())
            raise
        await self._keep(task, report)
        await self._settle(report)

    async def _keep(self, task: QueueTask, report: CrawlReport) -> None:
        """Before a crawl goes back whose session is over: make its next session, so that SQL knows of it, too.

        Without that only its task would: a sweep sees no session that is over. What is not durable is not over in SQL.
        """
        if not report.durable or not needs_session(task, report):
            return
        if await self._is_unwanted(report):
            return
        try:
            await self._engine.reserve(report.user_id, report.source)
        except Exception as error:  # noqa: BLE001  its task is settled all the same
            _LOG.warning(
                "crawl of user %s goes back to the queue, which alone knows of it: its next session was not made: %s",
                report.user_id,
                error if isinstance(error, TwitorError) else type(error).__name__,
            )

    async def _is_void(self, task: QueueTask, crawl: CrawlKey) -> bool:
        """Whether a task that was put into the queue for a session has none to run any more.

        The user was forgotten; or the session that was asked for, or that a sweep found idle, was cancelled since; or it
        came, since the sweep, to another end that is the crawl's too.
        """
        is_resumed = task.payload.get("resume") is True
        if not is_resumed and task.payload.get("reserved") is not True:
            return False
        records = await self._engine.store.sessions(crawl=crawl, limit=1)
        if not records and crawl not in await self._engine.store.crawls():
            _LOG.info("crawl of user %s: it was forgotten since it was asked for", crawl.user_id)
            return True
        if not records or records[0].ended_at is None:
            return False  # it waits for us; or it cannot be read, which the start tells
        value = records[0].value
        if value.reason == Reason.STOPPED_BY_USER or records[0].is_unwanted:
            _LOG.info("crawl of user %s: it was cancelled since it was asked for", crawl.user_id)
            return True
        return is_resumed and is_done(value.state, value.category, value.reason)

    async def _settle(self, report: CrawlReport) -> None:
        """How a session ended decides its task: return it is done, else it comes again, or is a dead letter."""
        match settling(report):
            case Settling.LEFT:
                return
            case Settling.DONE:
                if report.category is ErrorCategory.AUTH:
                    _CRAWLS.error("crawl of user %s: %s", report.user_id, report.message)
            case Settling.PAUSED:
                raise Postpone(max(0.0, (report.resume_at or 0.0) - self._engine.clock.now()))
            case Settling.DRAINS:
                self._drain(Reason(str(report.reason)))
            case Settling.BILLED:
                await self._close_gate(report)
            case Settling.FAILED | Settling.STOPPED if await self._is_unwanted(report):
                _LOG.info("crawl of user %s: it was cancelled while it ended", report.user_id)
            case Settling.FAILED:
                raise CrawlFailed(report.message)
            case Settling.FATAL:
                _CRAWLS.error("crawl of user %s: %s", report.user_id, report.message)
                raise CrawlEndedFatally(str(report.reason))
            case Settling.STOPPED:
                raise Postpone(0.0)

    async def _is_unwanted(self, report: CrawlReport) -> bool:
        """Whether somebody cancelled a session that was ending just then; not known counts as no."""
        try:
            return (await self._engine.status(report.session_id)).is_unwanted
        except StoreError:
            return False

    def _drain(self, reason: Reason) -> NoReturn:
        """What this process lacks, its other sessions lack too: all go back, to where there may be more."""
        if self.drained_by is None:
            _LOG.critical("%s: this worker drains; its other crawls go back to the queue", reason)
            self.drained_by = reason
        self.stop()
        raise Postpone(self._engine.settings.lease_s)

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
        told: type[Exception] | None = None
        doing("sweep")
        while True:
            try:
                await self._engine.store.check()
                await self.sweep()
            except OtherSchemaVersion as error:
                _LOG.critical("this worker drains, its crawls go back to the queue: %s", error)
                self.is_outdated = True
                self.stop()
                return
            except (QueueError, StoreError) as error:
                _LOG.warning("the sweep failed, the next one tries again: %s", error)
            except Exception as error:  # noqa: BLE001  nothing else puts back what is lost
                if type(error) is not told:
                    _LOG.exception(
                        "the sweep met %s, which is unexpected; each next one tries again, and tells only of others",
                        type(error).__name__,
                    )
                told = type(error)
            else:
                told = None
            await self._engine.clock.sleep(self._sweep_s)

    async def sweep(self) -> int:
        """Ask for every crawl whose session is not over and has no living owner; returns for how many.

        A pause is looked at only when it ends soon: until then its task has nothing to do anyway. A crawl that the queue
        does not take is logged and left out; the others are asked for.
        """
        now, source = self._engine.clock.now(), self._source.name  # a file's is read from it
        count = 0
        portion: list[SessionRecord] = []
        async for record in self._engine.store.unfinished(due_by=now + 2 * self._sweep_s):
            if record.crawl.source == source and _is_idle(record, now):
                portion.append(record)
            if len(portion) >= PORTION:
                count += await self._ask_again(portion, now)
                portion.clear()
        return count + await self._ask_again(portion, now)

    async def _ask_again(self, records: list[SessionRecord], now: float) -> int:
        """One call for all; one by one if the queue refuses one of them."""
        try:
            await self._queue.enqueue_many(
                [(CRAWL, payload_of(record.crawl, resume_only=True)) for record in records],
                task_ids=[task_id_of(record.crawl) for record in records],
                delays=[max(0.0, (record.value.resume_at or 0.0) - now) for record in records],
            )
        except TaskRefused as error:
            if len(records) > 1:
                return sum([await self._ask_again([record], now) for record in records])
            _LOG.error(
                "session %s cannot be put back into the queue, it stays as it is: %s",
                records[0].session_id,
                error,
                extra={"session_id": records[0].session_id, "user_id": records[0].crawl.user_id},
            )
            return 0
        return len(records)


def _is_idle(record: SessionRecord, now: float) -> bool:
    return record.owner is None or record.lease_until <= now or is_gone(record.owner)
