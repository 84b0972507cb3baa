"""What an embedder holds: starts, resumes, watches and cancels crawls over one database.

Wires store, clock, machine and sessions together. Must not know: how a session runs, what a source speaks.
"""

import asyncio
import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Self, Unpack, cast

import attrs
from uuid_utils import uuid7

from .classify import ErrorRules
from .cleanup import discard_cleanup
from .clock import Clock, SystemClock
from .config import Settings, get_settings
from .core.progress import Rules
from .core.records import CrawlKey, SessionRecord
from .core.recovery import Policy, RecoveryPolicy, decide
from .core.states import (
    DEFAULT_SPEC,
    JournalRow,
    MachineSpec,
    State,
    check_for_crawls,
)
from .core.taxonomy import Reason
from .effects import Action, check_actions
from .errors import ConfigurationError, CrawlOwned, TwitorError
from .events import EventHub, Observer
from .handle import CrawlHandle, CrawlOptions
from .log_facts import logger_of
from .machine import machine_for
from .ownership import LIVE_RUNS, is_gone
from .plugins import check_options, check_source, count_of, page_sizes_of
from .report import SKIPPED_SHOWN, CrawlReport, SkippedBrief
from .session import CrawlSession, Limits
from .session_claims import NoSource, SessionClaims
from .sources.base import Source
from .storage.base import Bookmark, Forgotten, SkippedRow, Store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from .checkpoint_manager import CheckpointManager

_LOG: Final = logger_of("twitor_fsm.engine")

__all__ = ["CrawlEngine", "CrawlHandle", "CrawlOptions"]


class CrawlEngine:
    """Crawls into one database.

        async with CrawlEngine("sqlite+aiosqlite:///bookmarks.db") as engine:
            report = await engine.crawl(XBookmarks(token), user_id="me")

    The same call again resumes what was interrupted, or brings what is new.
    """

    def __init__(
        self,
        database: "str | AsyncEngine | Store | None" = None,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        spec: MachineSpec = DEFAULT_SPEC,
        effects: Mapping[str, Action] | None = None,
        rules: ErrorRules | None = None,
        policy: RecoveryPolicy = decide,
        observers: Iterable[Observer] = (),
        rng: random.Random | None = None,
    ) -> None:
        """Prepare an engine; nothing is opened yet.

        Args:
            database: URL or path of the database, an app's own `AsyncEngine`, or a `Store`; None takes it from the
                settings (`DATABASE_URL`).
            settings: All settings; None reads the environment.
            clock: Time; a test puts its own here.
            spec: The machine; an app may extend `DEFAULT_SPEC`.
            effects: What to do about effects that the app's machine added, after their step is durable; each has
                `cleanup_timeout_s`.
            rules: Categories of the app's own exception types.
            policy: In place of `decide`: what an error means; the machine stays the same.
            observers: Called with every event of every session; what they raise is logged.
            rng: Randomness (jitter of reset times).
        """
        self.settings: Final = settings if settings is not None else get_settings()
        self.clock: Final = clock if clock is not None else SystemClock()
        self._database = database if database is not None else self.settings.database_url
        check_for_crawls(spec)
        check_actions(effects or {}, spec)
        self._machine = machine_for(spec)
        self._effects = effects
        self._error_rules = rules
        self._decide = policy
        self._observers = tuple(observers)
        self._rng = rng
        self._store: Store | None = None
        self._running: dict[str, CrawlSession] = {}
        self._handing_over: Final = asyncio.Lock()
        """Held while crawls are left to others, which needs the database."""

    # -- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the database; a SQLite file is made and brought up to date."""
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what runs, gracefully, and let everything go."""
        await self.close()

    async def open(self) -> None:
        """Open the database. Raises `StoreUnavailable` or `SchemaMismatch`."""
        if self._store is None:
            store = self._make_store()
            await store.open()
            self._store = store

    async def close(self) -> None:
        """Cancel what runs, wait until it has ended, close the database. Safe to call twice, also by a handler."""
        here = asyncio.current_task()
        running = list(self._running.values())
        for session in running:
            session.cancel()
        for session in running:
            if session.main is not here:
                await session.ended.wait()
        async with self._handing_over:
            store, self._store = self._store, None
        if store is not None:
            await store.close()

    @property
    def store(self) -> Store:
        """The open store. Raises `ConfigurationError` before `open`."""
        if self._store is None:
            raise ConfigurationError(
                "the engine is not open; use it as `async with CrawlEngine(...) as engine:` or await engine.open()"
            )
        return self._store

    @property
    def _claims(self) -> SessionClaims:
        return SessionClaims(self.store, self.clock, self._machine, self.settings)

    def _make_store(self) -> Store:
        if isinstance(self._database, str) or not hasattr(self._database, "claim"):
            from .storage.store import SqlStore

            # Five attempts, and the waits between them, share the time that a busy store is given.
            return SqlStore(self._database, busy_timeout_s=self.settings.store_retry_s / 5.0)
        return cast("Store", self._database)  # of the embedder's own

    # -- crawls -----------------------------------------------------------------------------------

    async def crawl(
        self, source: Source, *, user_id: str, **options: Unpack[CrawlOptions]
    ) -> CrawlReport:
        """Start or resume the crawl of this user and source, and run it to an end.

        Args:
            source: Where the bookmarks come from.
            user_id: Whose they are.
            **options: See `CrawlOptions`.

        Returns:
            How it ended: errors of the crawl are in the report, not raised.

        Raises:
            CrawlOwned: The crawl runs in another process; nothing was started.
            StoreError: The database could not be used to begin with; nothing was started.
            asyncio.CancelledError: The task was cancelled; the session ended gracefully before, or, if it had not begun
                to work, is left to whoever crawls next.
        """
        return await self._run(await self._session(source, user_id, options))

    async def start(
        self, source: Source, *, user_id: str, **options: Unpack[CrawlOptions]
    ) -> CrawlHandle:
        """As `crawl`, in the background: returns as soon as the session is ours."""
        session = await self._session(source, user_id, options)
        task = asyncio.create_task(self._run(session), name=f"crawl {session.session_id}")
        task.add_done_callback(lambda _: self._forget(session))  # cancelled before it ran
        return CrawlHandle(session, task)

    async def _run(self, session: CrawlSession) -> CrawlReport:
        source, crawl = session.source, session.claim.session.crawl
        _IN_USE[id(source)] += 1
        try:
            report = await session.run()
        finally:
            self._forget(session)
            _IN_USE[id(source)] -= 1
            if not _IN_USE[id(source)]:
                del _IN_USE[id(source)]
                await _close(source)
        try:
            return await self._completed(report, crawl)
        except TwitorError:
            return report  # what the session itself knows

    def _forget(self, session: CrawlSession) -> None:
        if self._running.get(session.session_id) is session:  # not one that took it over here
            del self._running[session.session_id]
        LIVE_RUNS.discard(session.run_id)
        session.ended.set()

    async def _completed(self, report: CrawlReport, crawl: CrawlKey) -> CrawlReport:
        """The report with what only the store knows: the crawl's total, and items skipped by earlier runs."""
        checkpoint = await self.store.checkpoint(crawl)
        briefs = list(report.skipped_items)
        wanted = min(SKIPPED_SHOWN, report.counters.skipped)
        if len(briefs) < wanted:
            named = {brief.id for brief in briefs}
            rows = await self.store.skipped(user_id=crawl.user_id)
            skips = [r.skip for r in rows if r.crawl == crawl and r.skip.key not in named]
            briefs += [
                SkippedBrief(skip.key, skip.category.value, skip.reason, skip.message)
                for skip in skips[: wanted - len(briefs)]
            ]
        return attrs.evolve(
            report,
            bookmarks_count=checkpoint.bookmarks_count if checkpoint else 0,
            skipped_items=tuple(briefs),
        )

    async def _session(self, source: Source, user_id: str, options: CrawlOptions) -> CrawlSession:
        """A session of ours, ready to run; nothing is left behind if there is none to be had."""
        cleanup = tuple(options.get("cleanup") or ())
        run_id = str(uuid7())
        LIVE_RUNS.add(
            run_id
        )  # before the claim: other engines of this process must see it as alive
        try:
            check_source(source, user_id)
            check_options(options, CrawlOptions.__optional_keys__)
            rules = self._rules_for(source, options)
            hub = EventHub((*self._observers, *(options.get("observers") or ())))
            claim = await self._claims.claim(CrawlKey(user_id, source.name), run_id, source)
            session = CrawlSession(
                claim=claim,
                source=source,
                store=self.store,
                clock=self.clock,
                machine=self._machine,
                policy=Policy(self.settings.max_retries, self.settings.initial_backoff),
                rules=rules,
                limits=_limits(self.settings),
                run_id=run_id,
                handler=options.get("handler"),
                cleanup=cleanup,
                hub=hub,
                wait=options.get("wait", True),
                rng=self._rng,
                error_rules=self._error_rules,
                decide=self._decide,
                effects=self._effects,
            )
        except BaseException:
            LIVE_RUNS.discard(run_id)
            discard_cleanup(cleanup)
            raise
        self._running[session.session_id] = session
        return session

    def _rules_for(self, source: Source, options: CrawlOptions) -> Rules:
        settings, max_items = self.settings, count_of(options.get("max_items"))
        page_size, page_sizes = count_of(options.get("page_size")), page_sizes_of(source)
        if page_sizes and page_size is None:
            page_size = settings.page_size
            if max_items is not None:  # items beyond the limit would be paid for and left
                page_size = min(page_size, max(max_items, min(page_sizes)))
        return Rules(
            checkpoint_every=settings.checkpoint_every,
            max_skips_in_a_row=settings.max_skips_in_a_row,
            max_items=max_items,
            page_size=page_size,
            page_sizes=page_sizes,
            has_handler=options.get("handler") is not None,
            prefetch=settings.prefetch > 0,
        )

    # -- from any process -------------------------------------------------------------------------

    async def status(self, session_id: str) -> SessionRecord:
        """A session as of its last commit. Raises `SessionNotFound`."""
        return await self.store.session(session_id)

    async def sessions(
        self, *, user_id: str | None = None, limit: int = 100
    ) -> list[SessionRecord]:
        """Sessions, newest first."""
        return await self.store.sessions(user_id=user_id, limit=limit)

    def unfinished(self) -> AsyncIterator[SessionRecord]:
        """Every session that is not over, whoever runs it, in no order: what an app goes on with when it starts again.

        Read in portions, so that crawls may be started meanwhile; however many sessions there are, none is left out.
        One that cannot be read is logged once and left out.
        """
        return self.store.unfinished()

    async def journal(self, session_id: str) -> list[JournalRow]:
        """Every step that a session took, in order. Raises `SessionNotFound`."""
        return await self.store.journal(session_id)

    async def cancel(self, session_id: str, reason: str = Reason.STOPPED_BY_USER) -> SessionRecord:
        """End a session gracefully, wherever it runs.

        One that runs here is cancelled at once, one that runs elsewhere hears of it with its next commit or sign of
        life (a third of the lease), and one that nobody runs is ended here.

        Returns:
            The session as it is now; it may still be ending. Raises `SessionNotFound`.
        """
        if session_id in self._running:
            self._running[session_id].cancel_for_good(reason)
            return await self.store.session(session_id)
        record = await self.store.wish_cancel(session_id, reason)
        for _ in range(_CANCEL_ROUNDS):
            if record.ended_at is not None or not self._is_unowned(record):
                break
            try:
                await self._end_unowned(record, reason)
            except CrawlOwned:  # somebody has just taken it, and voided the wish: say it again
                record = await self.store.wish_cancel(session_id, reason)
            else:
                record = await self.store.session(session_id)
        return record

    def _is_unowned(self, record: SessionRecord) -> bool:
        owner = record.owner
        return owner is None or is_gone(owner) or record.lease_until <= self.clock.now()

    async def reserve(self, user_id: str, source_name: str) -> str | None:
        """Make the session of a crawl that is to be run by whoever comes first, here or elsewhere.

        Thus a wish to crawl is durable before any process works on it. Nothing changes if the crawl has a session that
        is not over.

        Returns:
            The new session's id; None if there was one.

        Raises:
            ConfigurationError: No crawl could be started with this user id or name of a source; nothing was made.
            CrawlOwned: For 10 s somebody else was at work on the crawl's row (a cleared checkpoint, say); nothing was
                made.
        """
        source = NoSource(source_name)
        check_source(source, user_id)
        return await self._claims.reserve(CrawlKey(user_id, source_name), source)

    def cancel_all(self, reason: str = Reason.SIGNAL) -> None:
        """End every session that runs here gracefully; returns at once."""
        for session in list(self._running.values()):
            session.cancel(reason)

    async def hand_over(self) -> int:
        """End what runs here as `cancel_all` does, wait for it, and leave each crawl that this cut short to be gone on with.

        For a host that stops: the next one, here or elsewhere, finds them with `unfinished`. Each has a session of its
        own by then, made by `reserve`; one that a user cancelled has none. `close` waits for it.

        Returns:
            How many. Raises the first `StoreError` if the database did not take one; what runs has ended all the same, and
            the others are left as they should be. The log names each that it did not take.
        """
        running = list(self._running.values())
        self.cancel_all(Reason.SIGNAL)
        async with self._handing_over:
            leaving = [self._leave_to_others(session) for session in running]
            outcomes = await asyncio.gather(*leaving, return_exceptions=True)
        failures = [
            (session.claim.session.crawl, outcome)
            for session, outcome in zip(running, outcomes, strict=True)
            if isinstance(outcome, BaseException)
        ]
        for crawl, error in failures:
            _LOG.error(
                "crawl %s of user %s was cut short and is not left to others: %s",
                crawl.source,
                crawl.user_id,
                error if isinstance(error, TwitorError) else type(error).__name__,
            )
        if failures:
            raise failures[0][1]
        return outcomes.count(True)

    async def _leave_to_others(self, session: CrawlSession) -> bool:
        """Wait for a session's end; whether it has one behind it now, because it was cut short by us and by nobody else."""
        await session.ended.wait()
        value, crawl = session.value, session.claim.session.crawl
        if value.state != State.SHUT_DOWN or value.reason != Reason.SIGNAL:
            return False
        if session.is_unwanted or (await self.store.session(session.session_id)).is_unwanted:
            return False
        return await self.reserve(crawl.user_id, crawl.source) is not None

    async def _end_unowned(self, record: SessionRecord, reason: str) -> None:
        source = NoSource(record.crawl.source)
        session = await self._session(source, record.crawl.user_id, {})
        session.cancel(reason)
        await self._run(session)

    # -- what is stored ---------------------------------------------------------------------------

    def bookmarks(self, user_id: str | None = None) -> AsyncIterator[Bookmark]:
        """Stored bookmarks, streamed; None: of all users."""
        return self.store.bookmarks(user_id)

    async def skipped(self, user_id: str | None = None, *, limit: int = 1000) -> list[SkippedRow]:
        """Items that were left out, with the reason; they can be tried again."""
        return await self.store.skipped(user_id=user_id, limit=limit)

    async def retry_skipped(
        self, user_id: str | None = None, *, keys: tuple[str, ...] | None = None
    ) -> int:
        """Have skipped items tried again, first of all, by the next crawl. Returns how many."""
        return await self.store.retry_skipped(user_id=user_id, keys=keys)

    async def forget(self, user_id: str) -> Forgotten:
        """Delete everything that is stored about a user, from all sources: one who leaves, or a mistyped one.

        In one transaction. Not deleted: what is elsewhere (tokens, backups, dead letters of the queue). A task of the
        queue that asks for a crawl of theirs comes to nothing, unless it was asked for without an engine.

        Returns:
            How much it was; see `Forgotten.was_known`.

        Raises:
            CrawlOwned: A session of the user runs, here or elsewhere; nothing was deleted. Cancel it first.
        """
        return await self.store.forget(user_id, now=self.clock.now(), is_gone=is_gone)

    def checkpoints(self, user_id: str, source: str = "x") -> "CheckpointManager":
        """The checkpoint of one crawl, to look at, set or clear by hand."""
        from .checkpoint_manager import CheckpointManager

        return CheckpointManager(self.store, user_id=user_id, source=source)


_CANCEL_ROUNDS: Final = 5
"""How often a session may change hands under a cancel from outside before its next owner is left to hear of it."""

_IN_USE: Final[Counter[int]] = Counter()
"""Sessions of this process that use a source; the last one to end closes it."""


async def _close(source: Source) -> None:
    task = asyncio.current_task()
    try:
        closing: object = source.aclose()
        if inspect.isawaitable(closing):
            await closing
    except BaseException as exc:  # a source may raise anything; its crawls have ended well
        if isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise
        _LOG.exception("source %s did not close", getattr(source, "name", "?"))


def _limits(settings: Settings) -> Limits:
    return Limits(
        lease_s=settings.lease_s,
        handler_timeout_s=settings.handler_timeout_s,
        cancel_grace_s=settings.cancel_grace_s,
        cleanup_timeout_s=settings.cleanup_timeout_s,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        store_retry_s=settings.store_retry_s,
    )
