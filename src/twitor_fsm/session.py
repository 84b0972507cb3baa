"""Runs one session: does what the plan says, and turns what happens into events and progress.

No decision of its own: what to do next comes from `core.plan`, what an error means from `core.recovery`, what an event
does from the machine. One event at a time; a wait is never part of a step.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

from .classify import is_cancellation
from .cleanup import CleanupTask, discard_cleanup, run_cleanup
from .clock import Clock
from .core import plan as ops
from .core.listing import Known
from .core.progress import Rules, begin
from .core.records import Claim, Counters, Skip
from .core.recovery import Policy, decide, is_believable
from .core.states import Facts, Kind, SessionValue, State, Step, Trigger
from .core.taxonomy import ErrorCategory, Reason
from .errors import ConfigurationError, CursorRefused, InvalidItem, LeaseLost, StoreError
from .events import EventHub
from .fetching import Failed, Fetcher
from .inbox import Inbox, InboxEvent, end_task
from .ledger import Contents, Interrupted, Ledger, Work
from .log_facts import doing, logger_of, speak_for
from .machine import Machine
from .ownership import LIVE_RUNS
from .plugins import is_finite, price_of
from .report import CrawlReport
from .sources.base import InvalidRaw, Item, Source
from .steps import Decide, Steps, tally_of
from .storage.base import Store
from .telling import Teller

__all__ = ["CrawlSession", "Handler", "Limits"]

_LOG: Final = logger_of("twitor_fsm.session")

Handler = Callable[[Item, int], Awaitable[Any]]
"""An app's own work on one item before it is stored: given the item and the session's fence, may return JSON."""

LATE_S: Final = 1.0
"""A sign of life that comes so much too late, seconds, is told: the loop was blocked."""

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

REDO_PORTION: Final = 100
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
        effects: Mapping[str, Callable[[Step], Awaitable[None]]] | None = None,
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
        self._handler = handler
        self._cleanup = tuple(cleanup)
        self._waits = wait
        self._kinds = machine.spec.kinds
        self._allowed = policy.max_retries
        self._inbox = Inbox(clock)
        self._teller = Teller(claim, clock, self.hub)
        before = session.counters
        work = Work(
            before.requests,
            before.items_fetched,
            before.retries,
            before.pauses,
            dict(before.errors),
        )
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
                tally=tally_of(before),
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
            effects=effects or {},
            cancel=self.cancel,
        )
        if claim.closed_until is not None and is_believable(claim.closed_until, now=clock.now()):
            self._steps.closed(claim.closed_until)
        self.main: asyncio.Task[CrawlReport] | None = None
        """The session's own task, once it runs."""
        self._handling: asyncio.Timeout | None = None
        self._beating = asyncio.Lock()
        """Held by a sign of life under way: one that came after the release would take the lease back."""
        self._is_released = False
        self._lost = False
        self._is_restart = claim.taken_over
        self._cleanup_errors: tuple[str, ...] = ()

    # -- from outside -----------------------------------------------------------------------------

    def cancel(self, reason: str = Reason.STOPPED_BY_USER) -> None:
        """End gracefully: checkpoint, cleanup, then `shut_down`. Safe to call again, and after the end."""
        self.post(Trigger.CANCEL, reason=reason)

    def post(self, trigger: str, *, reason: str | None = None, message: str = "") -> None:
        """Put an event into the inbox (an extended machine has triggers of its own); cancel goes first."""
        facts = Facts(
            now=self._clock.now(), reason=reason, message=message, tries_allowed=self._allowed
        )
        self._inbox.put(InboxEvent(str(trigger), facts))
        if trigger == Trigger.CANCEL:
            self._hurry_handler(self._limits.cancel_grace_s)

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
        self._teller.started(resumed=self._is_resumed)
        heart = asyncio.create_task(self._beat())
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
            report = self._report()
            self._teller.ended(report)
        return report

    async def _left(self) -> bool:
        """Leave a paused session; whether nothing came up meanwhile."""
        try:
            async with self._beating:
                wish = await self._steps.release()
                self._is_released = True
        except LeaseLost:
            self._lost = True
            return True
        if wish is not None:
            self.cancel(wish)
        self._is_released = not self._inbox
        return self._is_released

    async def _loop(self) -> None:
        bugs = 0
        while not self._lost:
            try:
                if not await self._turn():
                    return
            except LeaseLost:
                self._lost = True
            except Interrupted:
                continue
            except StoreError as exc:
                await self._steps.store_failed(exc)
            except Exception as exc:
                bugs += 1
                if bugs > 1:
                    raise
                await self._steps.broke(exc)

    async def _turn(self) -> bool:
        """One event, or one operation; whether there is more to come."""
        if self._is_restart:
            self._is_restart = False
            facts = self._steps.facts(reason=Reason.TAKEN_OVER)
            await self._steps.post(Trigger.RESTARTED, facts)
        if self._inbox and not self._is_final:
            event = self._inbox.pop()
            await self._steps.post(event.trigger, event.facts)
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

    @property
    def _is_resumed(self) -> bool:
        return self.claim.taken_over or self.claim.session.resumed_from is not None

    async def _perform(self, operation: ops.Operation) -> None:
        doing(_NAMES.get(type(operation), "session"))
        steps, ledger, crawl = self._steps, self._ledger, self.claim.session.crawl
        match operation:
            case ops.Fetch():
                await self._fetch(operation)
            case ops.FetchSkipped():
                skips = await ledger.read(lambda: self._store.due_skips(crawl, REDO_PORTION))
                self._again(skips)
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
                await self._fetcher.drop()  # before the last commit: what it cost is counted
                await self._run_cleanup()
                while self._inbox:  # absorbed: nothing changes the end any more
                    event = self._inbox.pop()
                    await steps.post(event.trigger, event.facts)
                await steps.post(Trigger.CLEANED_UP, steps.facts())
            case ops.End():
                raise AssertionError("nothing is done after the end")

    # -- operations -------------------------------------------------------------------------------

    async def _fetch(self, wanted: ops.Fetch) -> None:
        task = await self._fetcher.begin(wanted)
        if not await self._inbox.race(task):
            await end_task(task)
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
                _LOG.warning("%s; walking from the top", error, extra=self._teller.extra("fetch"))
                self._steps.progress = again
                return
        await self._steps.failed(error, "fetch")

    def _again(self, skips: list[Skip]) -> None:
        """Skipped items are a page of their own."""
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
        if not is_same:
            return InvalidRaw(key=skip.key, raw=skip.raw, message="still has no usable id")
        return item

    def _looked_up(self, known: Mapping[str, Known]) -> None:
        self._steps.contents.fresh = frozenset(
            key for key, fact in known.items() if fact.stored and not (fact.walk or fact.session)
        )
        self._steps.progress = self._steps.progress.looked_up(known)

    async def _handle(self, index: int) -> None:
        item, handler = self._steps.contents.items[index], self._handler
        if handler is None or not isinstance(item, Item):
            raise AssertionError("the plan asked for a handler on something that has none")
        try:
            result = await self._handled(handler, item)
            encoded = None if result is None else _as_json(result)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # noqa: BLE001 - a handler may raise anything; it is classified
            if isinstance(exc, TimeoutError) and (self._inbox or self._lost):
                return  # its grace is over: the item counts as unhandled
            await self._steps.failed(exc, "handle", index)
            return
        if encoded is not None:
            self._steps.contents.results[index] = encoded
        self._steps.progress = self._steps.progress.handled()
        self._steps.recovered()

    async def _handled(self, handler: Handler, item: Item) -> Any:
        """Run it within its time; a cancel shortens that to its grace."""
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(self._limits.handler_timeout_s) as self._handling:
                outcome = handler(item, self.claim.session.fence)
                if not inspect.isawaitable(outcome):
                    raise ConfigurationError(
                        f"the handler gave a {type(outcome).__name__}, so it is no coroutine function (`async def`); "
                        "its item was not stored"
                    )
                return await _ungrouped(outcome)
        except asyncio.CancelledError as exc:
            if task is not None and task.cancelling() == before:
                raise ConfigurationError(
                    f"the handler raised {type(exc).__name__} although nobody had cancelled it; its item was not stored"
                ) from exc
            raise
        finally:
            self._handling = None

    def _hurry_handler(self, seconds: float) -> None:
        """A handler that runs now gets at most so much longer."""
        if self._handling is not None and not self._handling.expired():
            when = asyncio.get_running_loop().time() + seconds
            before = self._handling.when()
            self._handling.reschedule(when if before is None else min(when, before))

    async def _run_cleanup(self) -> None:
        tasks, self._cleanup = self._cleanup, ()
        self._cleanup_errors += await run_cleanup(
            tasks,
            timeout_s=self._limits.cleanup_timeout_s,
            extra=self._teller.extra("cleanup"),
        )

    async def _beat(self) -> None:
        """A sign of life at a third of the lease; hears of cancel wishes, of a new owner, and of a blocked loop."""
        session, lease_s = self.claim.session, self._limits.lease_s
        loop, pace_s = asyncio.get_running_loop(), lease_s / 3.0
        for_ever = loop.create_future()
        while True:
            due = loop.time() + pace_s
            await asyncio.wait({for_ever}, timeout=pace_s)
            if loop.time() - due > LATE_S:
                _LOG.warning(
                    "the event loop stood still for %.1f s or longer: something blocks it (a handler, a source or an "
                    "observer that does not await), and nothing of this process goes on meanwhile. After %g s another "
                    "process may take the session over; put such work into asyncio.to_thread",
                    loop.time() - due,
                    lease_s,
                    extra=self._teller.extra("heartbeat"),
                )
            try:
                async with self._beating:
                    if self._is_released:
                        continue
                    now = self._clock.now()
                    wish = await self._store.heartbeat(
                        session.session_id, session.fence, now=now, lease_until=now + lease_s
                    )
            except LeaseLost:
                if (
                    self._ledger.is_closing
                ):  # its commit finds out by itself whether there is another owner
                    return
                self._lost = True
                self._inbox.wake()
                self._hurry_handler(0.0)
                return
            except Exception as exc:  # noqa: BLE001 - the next beat may work; without beats the lease ends
                _LOG.warning("no sign of life: %s", exc, extra=self._teller.extra("heartbeat"))
                continue
            if wish is not None and not self._inbox:
                self.cancel(wish)

    # -- the report -------------------------------------------------------------------------------

    def _report(self) -> CrawlReport:
        value, session, steps = self._ledger.value, self.claim.session, self._steps
        category, reason = value.category, value.reason
        if steps.cause is not None and value.state != State.COMPLETED:
            category, reason = steps.cause
        if self._lost:
            category, reason = None, Reason.LEASE_LOST
        counters, price = steps.counters(), price_of(self.source)
        return CrawlReport(
            session_id=self.session_id,
            user_id=session.crawl.user_id,
            source=session.crawl.source,
            state=str(value.state),
            category=category,
            reason=str(reason) if reason is not None else None,
            message=self._message(category),
            counters=counters,
            skipped_items=tuple(steps.skipped),
            cost_usd_estimate=None if price is None else round(counters.items_fetched * price, 6),
            resume_at=value.resume_at,
            durable=not steps.store_is_out,
            lost=self._lost,
            resumed=self._is_resumed,
            resumed_from=session.resumed_from,
            cleanup_errors=self._cleanup_errors,
        )

    def _message(self, category: ErrorCategory | None) -> str:
        state = self._ledger.value.state
        if self._lost:
            return str(LeaseLost(self.session_id))
        if state == State.COMPLETED:
            return "complete: everything in the listing is stored or recorded as skipped"
        if state == State.PAUSED_RATE_LIMIT:
            return "paused until the rate limit resets; a checkpoint is saved, run again to go on"
        if self._steps.store_is_out and category is None:
            return "stopped while the database was out; what was committed before stands, run again to go on"
        if category is None:
            why = self._ledger.message or "stopped"
            return f"{why}; a checkpoint is saved, run again to go on"
        return self._ledger.message


def _invalid(items: tuple[Item | InvalidRaw, ...]) -> frozenset[int]:
    return frozenset(i for i, item in enumerate(items) if isinstance(item, InvalidRaw))


async def _ungrouped(outcome: Awaitable[Any]) -> Any:
    """What a handler gives; a cancellation that it put into a group is one again, for `timeout` knows it bare only."""
    try:
        return await outcome
    except BaseExceptionGroup as exc:
        if is_cancellation(exc):
            raise asyncio.CancelledError from exc
        raise


def _as_json(result: Any) -> str:
    if not is_finite(result):
        raise InvalidItem("the handler returned a number that JSON does not know (NaN or infinite)")
    try:
        return msgspec.json.encode(result).decode()
    except (TypeError, ValueError, RecursionError, OverflowError) as exc:
        raise ConfigurationError(
            f"the handler returned {type(result).__name__}, which JSON cannot hold; its item was not stored. "
            "Return plain values or None"
        ) from exc
