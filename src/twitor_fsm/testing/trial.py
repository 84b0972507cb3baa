"""One crawl tried under a plan: runs it as often as it takes, over deaths and cancels, and checks all that must hold.

Must not know: how plans are drawn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self

from ..config import Settings
from ..core.records import CrawlKey
from ..core.recovery import Policy
from ..core.states import DEFAULT_SPEC, MachineSpec, State
from ..engine import CrawlEngine, CrawlHandle
from ..errors import StoreError
from ..report import CrawlReport
from ..sources.base import Item, Source
from ..storage.base import Batch, Store
from .clock import VirtualClock
from .faults import Faults, faulty_handler
from .invariants import Durable, of_transaction
from .listings import Listing, read_listing
from .mishaps import Mishap, Plan
from .parts import HANDLER, require_function, require_source, require_store
from .rows import missing_of, of_items, of_session
from .sources import FaultySource
from .stores import FaultyStore, MemoryStore

__all__ = ["Handler", "Trial"]

Handler = Callable[[Item, int], Awaitable[Any]]

_SHOWN: Final = 5

_STORE_FAILS: Final = (Mishap.BUSY, Mishap.LOST_ANSWER, Mishap.STORE_OUT)


class Trial:
    """A crawl of one user and one source, its database, its clock, and the faults that it meets.

    Every `run` is one life of the process, from a start to an end, a death included, and is checked when it is over.

    Attributes:
        faults: The plan as it happens.
        clock: Virtual time.
        store: Where the rows are; real, and without faults for whoever asks it directly.
        listing: What the source holds.
        durable: What was committed so far.
        problems: What was found wrong; `check` raises it.
        handle: The session that runs, if one does.
        ended: Done when it is over.
    """

    def __init__(
        self,
        source: Source,
        plan: Plan | None = None,
        *,
        handler: Handler | None = None,
        store: Store | None = None,
        clock: VirtualClock | None = None,
        settings: Settings | None = None,
        user_id: str = "me",
        listing: Listing | None = None,
        spec: MachineSpec = DEFAULT_SPEC,
        check_each_run: bool = True,
        **engine_options: Any,
    ) -> None:
        """Prepare.

        Args:
            source: The source to try; it must say the same every time it is asked.
            plan: What goes wrong.
            handler: The app's handler; every call may meet what the plan says of its item.
            store: An open store, which stays open; None makes a `MemoryStore` of the trial's own.
            clock: None makes one.
            settings: None takes the defaults, whatever the environment says.
            user_id: Whose crawl it is.
            listing: What the source holds; None reads it from top to end first.
            spec: The machine.
            check_each_run: Whether to read rows and journals after every run; if not, only at the end. Transactions are
                checked as they are written in either case.
            **engine_options: Further arguments of `CrawlEngine`.

        Raises:
            ConfigurationError: What was given is no source, store or handler; says what is missing.
        """
        require_source(source, "the trial")
        if store is not None:
            require_store(store, "the trial")
        if handler is not None:
            require_function(handler, "the trial", HANDLER, arguments=2)
        self.clock: Final = clock if clock is not None else VirtualClock()
        self.faults: Final = Faults(plan, self.clock)
        self.durable = Durable()
        self.problems: list[str] = []
        self.store: Store = store if store is not None else MemoryStore()
        self.listing: Listing = listing if listing is not None else Listing((), {})
        self.handle: CrawlHandle | None = None
        self.ended: asyncio.Task[CrawlReport] | None = None
        self._plan = plan if plan is not None else Plan()
        self._source = source
        self._handler = handler
        self._user_id = user_id
        self._owns_store = store is None
        self._reads_listing = listing is None
        self._checks_each_run = check_each_run
        self._settings = settings if settings is not None else Settings()
        self._policy = (
            None
            if "policy" in engine_options
            else Policy(self._settings.max_retries, self._settings.initial_backoff)
        )
        self._spec = spec
        self._engine_options = engine_options
        self._handled: set[str] = set()
        self._looks_as_before = False
        self._after_cancel: int | None = None
        self._cleaned = 0
        self._sessions: set[str] = set()
        self._skips_told: set[str] = set()

    # -- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._reads_listing:
            self.listing = await read_listing(self._source, self._user_id)
        if self._owns_store:  # last: what fails before leaves nothing open
            await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._owns_store:
            await self.store.close()

    @property
    def crawl_key(self) -> CrawlKey:
        """The crawl's name in the database."""
        return CrawlKey(self._user_id, self._source.name)

    async def run(self, **options: Any) -> CrawlReport | None:
        """One life of the process: a session until it ends, or until the process dies; then checked.

        Args:
            **options: As for `CrawlEngine.crawl` (`wait`, `max_items`, ...).

        Returns:
            The report; None when the store failed, or the process died, before there was a session.

        Raises:
            AssertionError: Something that must hold does not; the message says what, and under which plan.
        """
        async with self.engine() as engine:
            try:
                await self.start(engine, **options)
            except StoreError:
                report = None
            else:
                report = await self.end()
        if self._checks_each_run:
            await self.check(report)
        elif report is not None and not self.faults.is_dead:
            self.problems += self._of_report(report)
        return report

    def engine(self) -> CrawlEngine:
        """An engine as a new process has it, with the faulty store."""
        self.faults.revive()
        faulty = FaultyStore(
            self.store,
            self.faults,
            clock=self.clock,
            number_of=self.listing.number_of if self._handler is None else None,
        )
        faulty.on_commit = self._look_at
        return CrawlEngine(
            faulty,
            settings=self._settings,
            clock=self.clock,
            spec=self._spec,
            **self._engine_options,
        )

    async def start(self, engine: CrawlEngine, **options: Any) -> CrawlHandle:
        """Start a session on this engine, in the background."""
        source = FaultySource(
            self._source,
            self.faults,
            clock=self.clock,
            number_of=self.listing.number_of if self._handler is None else None,
        )
        handler = self._handler
        if handler is not None:
            handler = faulty_handler(self._watched(handler), self.faults, self.listing.number_of)
        self._handled.clear()
        self._after_cancel = None
        self.faults.on_cancel = self.cancel
        self.faults.on_attempt = self._count_after_cancel
        self._cleaned = 0
        options.setdefault("cleanup", [self._clean])
        self.handle = await engine.start(source, user_id=self._user_id, handler=handler, **options)
        self.ended = asyncio.create_task(self.handle.wait())
        self._sessions.add(self.handle.session_id)
        self._looks_as_before = False
        return self.handle

    async def end(self) -> CrawlReport:
        """Wait until the session that was started has ended, one way or another."""
        if self.ended is None:
            raise AssertionError("no session was started")
        report = await self.ended
        self.handle = self.ended = None
        return report

    async def _clean(self) -> None:
        self._cleaned += 1

    def cancel(self) -> None:
        """Cancel the session that runs, as its user would."""
        if self.handle is not None:
            self.handle.cancel()
            self._after_cancel = self._after_cancel or 0

    async def finish(self, *, runs: int | None = None) -> CrawlReport:
        """Run again and again until the crawl is complete, then check that nothing is missing.

        Args:
            runs: How many lives it may take; the default is one more than there are mishaps, and one for what they
                leave behind.
        """
        most = runs if runs is not None else len(self._plan) + 2
        last = "no session could be started"
        for _ in range(most):
            report = await self.run()
            last = report.message if report is not None else last
            if report is not None and report.completed:
                await self.check()
                await self.check_complete()
                return report
        raise await self._failed([f"the crawl is not complete after {most} runs: {last}"])

    # -- what is watched while it runs ------------------------------------------------------------

    def _look_at(self, batch: Batch) -> None:
        """A transaction was written."""
        self._looks_as_before = False
        self.problems += of_transaction(batch, self.durable, self.listing, self._handled)
        self.durable.apply(batch)
        self._skips_told |= {
            str(row.facts["item"])
            for row in batch.journal
            if row.trigger == "item_skipped" and not row.absorbed and "item" in row.facts
        }

    def _watched(self, handler: Handler) -> Handler:
        async def handle(item: Item, fence: int) -> Any:
            waiting = self._handled - self.durable.stored - self.durable.skipped
            if len(waiting) >= self._settings.checkpoint_every:
                self.problems.append(f"{len(waiting)} items are handled and not durable")
            if item.key in self.durable.stored:
                self.problems.append(f"item {item.key} is stored and was handled again")
            result = await handler(item, fence)
            self._handled.add(item.key)
            return result

        return handle

    def _count_after_cancel(self, place: str) -> None:
        """After a cancel no work begins any more, but for a request that was on its way already."""
        if self._after_cancel is None or place.startswith(("commit", "lookup", "heartbeat")):
            return
        self._after_cancel += 1
        if self._after_cancel > 1:
            self.problems.append(f"{place} was attempted after a cancel")

    # -- what is checked when it is over ----------------------------------------------------------

    async def check(self, report: CrawlReport | None = None) -> None:
        """Check journals and rows. Raises `AssertionError` with all that is wrong."""
        problems = self.problems
        if report is not None and not self.faults.is_dead:
            problems += self._of_report(report)
        if self._looks_as_before and not problems:
            return
        self._looks_as_before = True
        for session_id in sorted(self._sessions):
            problems += await of_session(
                self.store, session_id, policy=self._policy, spec=self._spec
            )
        self._sessions -= self.durable.ended  # which nothing can change any more
        problems += await of_items(
            self.store, self.crawl_key, self.durable, self.listing, self._skips_told
        )
        if problems:
            raise await self._failed(problems)

    def _of_report(self, report: CrawlReport) -> list[str]:
        counts = report.counters
        problems = []
        if counts.seen != counts.stored + counts.already_known + counts.skipped:
            problems.append(f"the report's counts do not add up: {counts}")
        if self._after_cancel is not None and report.state == "paused_rate_limit":
            problems.append("a cancelled session is paused instead of ended")
        if not report.durable and not any(met.endswith(_STORE_FAILS) for met in self.faults.met):
            problems.append(f"the store counts as out and was not: {report.message}")
        if report.lost:
            problems.append("the session counts as lost, and nobody else has it")
        elif self._cleaned != (report.state in {State.ABORTED, State.SHUT_DOWN}):
            problems.append(
                f"cleanup ran {self._cleaned} times in a session that is {report.state}"
            )
        return problems

    async def check_complete(self) -> None:
        """Check that every item of the listing is stored or recorded as skipped."""
        problems = await missing_of(self.store, self.crawl_key, self.listing.keys)
        if problems:
            raise await self._failed(problems)

    async def _failed(self, problems: Sequence[str]) -> AssertionError:
        told = [*await self._of_source(), *problems]
        lines = "\n".join(f"  {problem}" for problem in dict.fromkeys(told))
        met = "; ".join(self.faults.met) or "nothing went wrong"
        return AssertionError(f"under {self._plan!r}:\n{lines}\n  met so far: {met}")

    async def _of_source(self) -> list[str]:
        """Whether it is the source that changed: then all else that is wrong may come from that."""
        if not self._reads_listing:
            return []
        try:
            now = (await read_listing(self._source, self._user_id)).keys
        except Exception as exc:  # noqa: BLE001 - a source may raise anything
            return [f"the source listed its items when the trial began, and raises {exc!r} now"]
        if now == self.listing.keys:
            return []
        began = _brief(self.listing.keys)
        changed = (
            f"the source does not say the same each time, as a trial needs it: {began} when it began, {_brief(now)} now. "
            "What follows may come from that"
        )
        return [changed]


def _brief(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:_SHOWN]) or "nothing"
    return shown if len(keys) <= _SHOWN else f"{shown}, ... ({len(keys)} items)"
