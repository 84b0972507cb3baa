"""Runs one session: does what the plan says, and turns what happens into events and progress.

No decision of its own: what to do next comes from `core.plan`, what an error means from `core.recovery`, what an event
does from the machine. One event at a time; a wait is never part of a step.
Must not know: how a handler is kept within its time, how a lease is renewed, how steps become durable.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

import attrs

from .cleanup import CleanupTask, discard_cleanup, run_cleanup
from .clock import Clock
from .core import plan as ops
from .core.listing import Known
from .core.progress import Rules, begin
from .core.records import Claim, Counters, Skip
from .core.recovery import Policy, decide, is_believable
from .core.states import Facts, Kind, SessionValue, State, Trigger
from .core.taxonomy import ErrorCategory, Reason
from .effects import Action, Effects
from .ending import report_of_run
from .errors import CursorRefused, LeaseLost, StoreError
from .events import EventHub
from .fetching import Failed, Fetcher
from .handling import Handler, Handling
from .heartbeat import Heartbeat
from .inbox import Inbox, InboxEvent, end_task
from .ledger import Contents, Interrupted, Ledger, Work
from .log_facts import doing, logger_of, speak_for
from .machine import Machine
from .ownership import LIVE_RUNS
from .plugins import price_of
from .report import CrawlReport
from .sources.base import InvalidRaw, Item, Source
from .steps import Decide, Steps, tally_of
from .storage.base import Store
from .telling import Teller

__all__ = ["CrawlSession", "Handler", "Limits"]

_LOG: Final = logger_of("twitor_fsm.session")

_NAMES: Final[Mapping[type[ops.Operation], str]] = {
    ops.Fetch: "fetch",
    ops.FetchSkipped: "lookup",
    ops.Lookup: "lookup",
    ops.Count: "lookup",
    ops.Handle: "handle",
    ops.Commit: "commit",
    ops.Cleanup: "cleanup",
}
"""Operations as log records name them."""

SKIPS_AT_ONCE: Final = 100
"""Skipped items that are tried again at a time."""


@attrs.frozen(kw_only=True)
class Limits:
    """How long things may take, seconds.

    Attributes:
        lease_s: Without a sign of life for so long, another process may take the session over.
        handler_timeout_s: One item's handler.
        cancel_grace_s: What a handler gets to end after a cancel.
        cleanup_timeout_s: Each cleanup task.
        shutdown_timeout_s: What is left to end gracefully when the task is cancelled.
        store_retry_s: How long a busy store is tried again, in all.
    """

    lease_s: float = 30.0
    handler_timeout_s: float = 60.0
    cancel_grace_s: float = 10.0
    cleanup_timeout_s: float = 10.0
    shutdown_timeout_s: float = 25.0
    store_retry_s: float = 5.0


class CrawlSession:
    """One session in this process: from a claim to a report.

    Made by `CrawlEngine`; runs once.
    """

    def __init__(
        self,
        *,
        claim: Claim,
        source: Source,
        store: Store,
        clock: Clock,
        machine: Machine,
        policy: Policy,
        rules: Rules,
        limits: Limits,
        run_id: str,
        handler: Handler | None = None,
        cleanup: Iterable[CleanupTask] = (),
        hub: EventHub | None = None,
        wait: bool = True,
        rng: random.Random | None = None,
        error_rules: Mapping[type[BaseException], ErrorCategory] | None = None,
        decide: Decide = decide,
        effects: Mapping[str, Action] | None = None,
    ) -> None:
        """Prepare a session; see `CrawlEngine.start` for the arguments."""
        session = claim.session
        self.claim: Final = claim
        self.session_id: Final = session.session_id
        self.hub: Final = hub if hub is not None else EventHub()
        self.source: Final = source
        self.ended: Final = asyncio.Event()
        """Set when the run is over, whatever came of it."""
        self._store = store
        self._clock = clock
        self._limits = limits
        self.run_id: Final = run_id
        self._handling = (
            Handling(handler, fence=session.fence, timeout_s=limits.handler_timeout_s)
            if handler is not None
            else None
        )
        self._cleanup = tuple(cleanup)
        self._waits = wait
        self._kinds = machine.spec.kinds
        self.triggers: Final = frozenset(machine.spec.triggers)
        """Every event that the machine knows."""
        self._max_retries = policy.max_retries
        self._inbox = Inbox(clock)
        self._teller = Teller(claim, clock, self.hub)
        self._heartbeat = Heartbeat(
            session,
            store,
            clock,
            lease_s=limits.lease_s,
            on_wish=self._wished,
            on_lost=self._lease_lost,
            extra=self._teller.extra("heartbeat"),
        )
        work = Work.since(session.counters)
        self._fetcher = Fetcher(source, session.crawl.user_id, work)
        self._ledger = Ledger(
            store,
            claim,
            clock,
            lease_s=limits.lease_s,
            retry_s=limits.store_retry_s,
            inbox=self._inbox,
        )
        self._steps = Steps(
            machine=machine,
            ledger=self._ledger,
            progress=begin(
                claim.checkpoint,
                rules=rules,
                ordinal=session.ordinal,
                tally=tally_of(session.counters),
                due_skips=claim.due_skips,
            ),
            work=work,
            policy=policy,
            decide=decide,
            clock=clock,
            rng=rng if rng is not None else random.Random(),
            teller=self._teller,
            limit=(source.service, session.crawl.user_id, source.endpoint),
            error_rules=error_rules,
            effects=Effects(
                effects or {},
                timeout_s=limits.cleanup_timeout_s,
                extra=self._teller.extra("effect"),
            ),
            cancel=self.cancel,
        )
        if claim.closed_until is not None and is_believable(claim.closed_until, now=clock.now()):
            self._steps.closed(claim.closed_until)
        self.is_unwanted = False
        """Whether somebody cancelled it here, for whatever reason it may have been ending by then."""
        self.main: asyncio.Task[CrawlReport] | None = None
        """The session's own task, once it runs."""
        self._lost = False
        self._is_restart = claim.taken_over
        self._cleanup_errors: tuple[str, ...] = ()

    # -- from outside -----------------------------------------------------------------------------

    def cancel(self, reason: str = Reason.STOPPED_BY_USER) -> None:
        """End gracefully: checkpoint, cleanup, then `shut_down`. Safe to call again, and after the end."""
        self.post(Trigger.CANCEL, reason=reason)

    def cancel_for_good(self, reason: str) -> None:
        """As `cancel`, for somebody who wants no more of this crawl unless the reason is that a process stops."""
        self.is_unwanted |= reason not in {Reason.SIGNAL, Reason.TASK_CANCELLED}
        self.cancel(reason)

    def post(self, trigger: str, *, reason: str | None = None, message: str = "") -> None:
        """Put an event into the inbox (an extended machine has triggers of its own); cancel goes first."""
        facts = Facts(
            now=self._clock.now(), reason=reason, message=message, tries_allowed=self._max_retries
        )
        self._inbox.put(InboxEvent(str(trigger), facts))
        if trigger == Trigger.CANCEL and self._handling is not None:
            self._handling.hurry(self._limits.cancel_grace_s)

    @property
    def value(self) -> SessionValue:
        """State and timers now."""
        return self._ledger.value

    @property
    def counters(self) -> Counters:
        """Counts now, what is not yet durable included."""
        return self._steps.pending_counters()

    async def run(self) -> CrawlReport:
        """Run until the session ends, pauses without waiting, or is taken over by another process.

        Cancelling the task that awaits this ends the session gracefully within `shutdown_timeout_s` and then raises
        `CancelledError`; a second cancellation raises after the commit in flight.
        """
        LIVE_RUNS.add(self.run_id)
        main = self.main = asyncio.create_task(self._live())
        try:
            return await asyncio.shield(main)
        except asyncio.CancelledError:
            if not main.done():
                self.cancel(Reason.TASK_CANCELLED)
                await self._end_within(main)
            raise
        finally:
            LIVE_RUNS.discard(self.run_id)

    async def _end_within(self, main: asyncio.Task[CrawlReport]) -> None:
        try:
            await asyncio.wait({main}, timeout=self._limits.shutdown_timeout_s)
        finally:
            if not main.done():
                await end_task(main)
            if not main.cancelled() and (error := main.exception()) is not None:
                _LOG.error("the session broke while ending: %s", type(error).__name__)

    # -- the loop ---------------------------------------------------------------------------------

    async def _live(self) -> CrawlReport:
        speak_for(self.session_id, self.claim.session.crawl.user_id)
        self._teller.started(resumed=self.claim.is_resumed)
        heart = asyncio.create_task(self._heartbeat.run())
        try:
            await self._loop()
            while not self._lost and not self._is_final and not await self._left():
                await self._loop()
            if self._lost:
                await self._run_cleanup()
        finally:
            await self._fetcher.drop()
            await end_task(heart)
            discard_cleanup(self._cleanup)
            report = report_of_run(
                self.claim,
                self._ledger,
                self._steps,
                price_usd=price_of(self.source),
                is_lost=self._lost,
                cleanup_errors=self._cleanup_errors,
            )
            self._teller.ended(report)
        return report

    async def _left(self) -> bool:
        """Leave a paused session; whether nothing came up meanwhile."""
        await self._give_up_ahead()
        try:
            async with self._heartbeat.resting():
                wish = await self._steps.release()
        except LeaseLost:
            self._lost = True
            return True
        if wish is not None:
            self.cancel(wish)
        if self._inbox:
            self._heartbeat.go_on()
        return not self._inbox

    async def _loop(self) -> None:
        turn: Callable[[], Awaitable[bool]] = self._turn
        bugs = 0
        while not self._lost:
            try:
                if not await turn():
                    return
                turn = self._turn
            except LeaseLost:
                self._lost = True
            except Interrupted:
                turn = self._turn
            except StoreError as exc:
                turn = partial(self._end_for, exc)
            except Exception as exc:
                bugs += 1
                if bugs > 2:
                    raise
                turn = partial(self._end_for, exc, again=bugs > 1)

    async def _end_for(self, problem: Exception, *, again: bool = False) -> bool:
        """A turn of its own for what nothing foresaw: its event may fail as any other."""
        if isinstance(problem, StoreError):
            await self._steps.store_failed(problem)
        else:
            await self._steps.broke(problem, again=again)
        return True

    async def _turn(self) -> bool:
        """One event, or one operation; whether there is more to come."""
        if self._is_restart:
            self._is_restart = False
            is_first = self.claim.was_only_asked_for
            facts = self._steps.facts(reason=Reason.ASKED_FOR if is_first else Reason.TAKEN_OVER)
            await self._steps.post(Trigger.RESTARTED, facts)
        if self._inbox and not self._is_final:
            event = self._inbox.pop()
            await self._steps.hear(event.trigger, event.facts)
            return True
        step = ops.plan(
            self._ledger.value, self._steps.progress, now=self._clock.now(), kinds=self._kinds
        )
        if isinstance(step.operation, ops.End):
            return False
        if isinstance(step.operation, ops.Wait) and self._leaves_pause:
            return False
        self._fetcher.look_ahead(step.prefetch)
        await self._perform(step.operation)
        return True

    @property
    def _leaves_pause(self) -> bool:
        return not self._waits and self._ledger.value.state == State.PAUSED_RATE_LIMIT

    @property
    def _is_final(self) -> bool:
        return self._kinds[self._ledger.value.state] is Kind.FINAL

    async def _perform(self, operation: ops.Operation) -> None:
        doing(_NAMES.get(type(operation), "session"))
        steps, ledger, crawl = self._steps, self._ledger, self.claim.session.crawl
        match operation:
            case ops.Fetch():
                await self._fetch(operation)
            case ops.FetchSkipped():
                skips = await ledger.read(lambda: self._store.due_skips(crawl, SKIPS_AT_ONCE))
                self._fetched_skipped(skips)
            case ops.Lookup(keys):
                self._looked_up(await ledger.read(lambda: self._store.lookup(crawl, keys)))
            case ops.Count(above, walk):
                missing = await ledger.read(lambda: self._store.count_missing(crawl, above, walk))
                steps.progress = steps.progress.sighted(missing)
            case ops.Handle(index):
                await self._handle(index)
            case ops.Commit():
                await steps.commit()
            case ops.Wait(until):
                await self._inbox.sleep(None if until is None else until - self._clock.now())
            case ops.Post():
                await steps.decided(operation)
            case ops.Cleanup():
                await self._run_cleanup()
                while self._inbox:  # absorbed: nothing changes the end any more
                    event = self._inbox.pop()
                    await steps.hear(event.trigger, event.facts)
                await steps.post(Trigger.CLEANED_UP, steps.facts())
            case ops.End():
                raise AssertionError("nothing is done after the end")

    # -- operations -------------------------------------------------------------------------------

    async def _fetch(self, wanted: ops.Fetch) -> None:
        task = await self._fetcher.begin(wanted)
        if not await self._inbox.race(task):
            self._fetcher.keep(wanted, task)  # paid for: the event decides whether it is wanted
            return
        page = task.result()
        if isinstance(page, Failed):
            await self._fetch_failed(page.error)
            return
        steps = self._steps
        steps.contents = Contents(page.items)
        steps.progress = steps.progress.fetched(
            tuple(item.key for item in page.items),
            invalid=_invalid(page.items),
            next_cursor=page.next_cursor,
            end=page.end,
        )
        steps.closed(page.usage.closed_until)
        steps.recovered()
        self._teller.fetched(len(page.items), wanted.cursor)

    async def _fetch_failed(self, error: BaseException) -> None:
        if isinstance(error, CursorRefused):
            again = self._steps.progress.cursor_refused()
            if again is not None:
                _LOG.warning(
                    "%s; the listing is walked from the top again",
                    error,
                    extra=self._teller.extra("fetch"),
                )
                self._steps.progress = again
                return
        await self._steps.failed(error, "fetch")

    def _fetched_skipped(self, skips: list[Skip]) -> None:
        """Skipped items that are tried again are a page of their own."""
        items = tuple(self._decoded(skip) for skip in skips)
        self._steps.contents = Contents(items)
        self._steps.progress = self._steps.progress.fetched_skipped(
            tuple(skip.key for skip in skips), invalid=_invalid(items)
        )

    def _decoded(self, skip: Skip) -> Item | InvalidRaw:
        try:
            item = self.source.decode(skip.raw)
            is_same = item.key == skip.key
        except Exception as exc:  # noqa: BLE001 - a source may raise anything; the item stays skipped
            return InvalidRaw(key=skip.key, raw=skip.raw, message=f"{type(exc).__name__} in decode")
        if is_same:
            return item
        why = item.message if isinstance(item, InvalidRaw) else "it is read as another item now"
        return InvalidRaw(key=skip.key, raw=skip.raw, message=why)

    def _looked_up(self, known: Mapping[str, Known]) -> None:
        self._steps.contents.fresh = frozenset(
            key for key, fact in known.items() if fact.stored and not (fact.walk or fact.session)
        )
        self._steps.progress = self._steps.progress.looked_up(known)

    async def _handle(self, index: int) -> None:
        item, handling = self._steps.contents.items[index], self._handling
        if handling is None or not isinstance(item, Item):
            raise AssertionError("the plan asked for a handler on something that has none")
        try:
            result = await handling.run(item)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # noqa: BLE001 - a handler may raise anything; it is classified
            if isinstance(exc, TimeoutError) and (self._inbox or self._lost):
                return  # its grace is over: the item counts as unhandled
            await self._steps.failed(exc, "handle", index)
            return
        if result is not None:
            self._steps.contents.results[index] = result
        self._steps.progress = self._steps.progress.handled()
        self._steps.recovered()

    async def _give_up_ahead(self) -> None:
        """Before the last commit, which then holds what that request cost, and what it was told of the limit."""
        closed_until = await self._fetcher.drop()
        if closed_until is not None:
            self._steps.closed(closed_until)

    async def _run_cleanup(self) -> None:
        await self._give_up_ahead()
        tasks, self._cleanup = self._cleanup, ()
        self._cleanup_errors += await run_cleanup(
            tasks,
            timeout_s=self._limits.cleanup_timeout_s,
            extra=self._teller.extra("cleanup"),
        )

    # -- the lease --------------------------------------------------------------------------------

    def _wished(self, reason: str) -> None:
        if not self._inbox:
            self.cancel(reason)

    def _lease_lost(self) -> None:
        if self._ledger.is_closing:
            return  # its commit finds out by itself whether there is another owner
        self._lost = True
        self._inbox.wake()
        if self._handling is not None:
            self._handling.hurry(0.0)


def _invalid(items: tuple[Item | InvalidRaw, ...]) -> frozenset[int]:
    return frozenset(i for i, item in enumerate(items) if isinstance(item, InvalidRaw))
