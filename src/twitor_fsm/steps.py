"""Makes events true: through the machine, into the ledger, together with all that is pending.

What an error means comes from `core.recovery`, what an event does from the machine; here both become one transaction.
Must not know: sources, handlers, waiting.
"""

import math
import random
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from . import logs
from .classify import classify
from .classifying.case import where
from .clock import Clock
from .core import plan as ops
from .core.progress import Progress, Status, Tally
from .core.records import Closed, Counters, Skip
from .core.recovery import MAX_BACKOFF_S, ErrorFacts, Policy, RecoveryStrategy, believable
from .core.states import Durability, Facts, Kind, SessionValue, State, Step, Trigger
from .core.taxonomy import ErrorAction, ErrorCategory, Reason
from .effects import Effects
from .errors import (
    ConfigurationError,
    IllegalStep,
    ItemsRefused,
    LeaseLost,
    StoreError,
    StoreUnavailable,
)
from .ledger import Contents, Interrupted, Ledger, Work
from .log_facts import logger_of
from .machine import Machine
from .report import SKIPPED_SHOWN, SkippedBrief
from .sources.base import InvalidRaw
from .telling import Teller

__all__ = ["Decide", "Steps"]

_LOG: Final = logger_of("twitor_fsm.session")

Decide = Callable[..., RecoveryStrategy]
"""`recovery.decide`, or an embedder's policy in its place."""

_WHERE: Final[Mapping[str, str]] = {
    "fetch": "the source failed: ",
    "handle": "the handler failed: ",
}
"""Said before an error that nobody knows: whose code it is."""

_MESSAGES: Final[Mapping[Reason, str]] = {
    Reason.SOURCE_LOOPS: "the listing repeats itself instead of ending; what it brought is stored and the crawl can "
    "be resumed. If it happens again, walk from the top: twitor checkpoint clear",
    Reason.TOO_MANY_SKIPS: "too many items in a row had to be skipped, which is a bug or an outage rather than bad "
    "data; they are kept and will be tried again by the next run",
    Reason.CLOSED_UNTIL: "the rate limit is used up",
    Reason.MAX_ITEMS: "the wanted number of items is reached",
}


class Steps:
    """The progress of one session, and the only way in which it changes."""

    def __init__(
        self,
        *,
        machine: Machine,
        ledger: Ledger,
        progress: Progress,
        work: Work,
        policy: Policy,
        decide: Decide,
        clock: Clock,
        rng: random.Random,
        teller: Teller,
        limit: tuple[str, str, str],
        error_rules: Mapping[type[BaseException], ErrorCategory] | None,
        effects: Effects,
        cancel: Callable[[str], None],
    ) -> None:
        """Begin.

        Args:
            machine: The table.
            ledger: The books.
            progress: Where the session stands.
            work: Counts of requests, errors and waits.
            policy: MAX_RETRIES and INITIAL_BACKOFF.
            decide: What an error means.
            clock: Time.
            rng: Jitter.
            teller: Log and observers.
            limit: (service, account, endpoint) of the source's rate limit.
            error_rules: Categories of an app's own exception types.
            effects: Carries out effects of an app's own.
            cancel: Puts a cancel with this reason into the inbox.
        """
        self._machine = machine
        self._ledger = ledger
        self.progress = progress
        self.contents = Contents()
        self._work = work
        self._policy = policy
        self._decide = decide
        self._clock = clock
        self._rng = rng
        self._teller = teller
        self._limit = limit
        self._error_rules = error_rules
        self._effects = effects
        self._cancel = cancel
        self._kinds = machine.spec.kinds
        self.cause: tuple[ErrorCategory | None, str | None] | None = None
        self.skipped: list[SkippedBrief] = []
        self._skipped_durably = 0
        self.store_is_out = False

    # -- errors -----------------------------------------------------------------------------------

    async def failed(self, error: BaseException, operation: str, index: int | None = None) -> None:
        """An operation raised (on the element at `index`, if on one): classify, decide, post the event that it is."""
        found = classify(error, operation=operation, rules=self._error_rules, now=self._clock.now())
        reason = found.reason
        if operation == "handle" and reason is Reason.INVALID_ITEM:
            reason = Reason.REFUSED_BY_HANDLER  # the element itself could be decoded
        if found.reason is Reason.UNKNOWN:  # perhaps a bug of the app: its author needs the place
            _LOG.error("unexpected error", exc_info=error, extra=self._teller.extra(operation))
        whose = _WHERE.get(operation, "") if reason is Reason.UNKNOWN else ""
        strategy = self._strategy(found.category, reason, whose + found.message, found.reset_at)
        trigger = ops.trigger_for(strategy, of_item=index is not None)
        if trigger is Trigger.RATE_LIMITED and index is None:
            self.closed(self._clock.now() + strategy.delay)
        await self._post_strategy(trigger, strategy, operation, index=index)

    async def decided(self, decided: ops.Post) -> None:
        """The plan itself found that something is an event."""
        reason = decided.reason if decided.reason is not None else Reason.UNKNOWN
        message = _MESSAGES.get(reason, "")
        if decided.category is None:
            await self.post(decided.trigger, self.facts(reason=decided.reason, message=message))
        elif decided.index is not None:
            element = self.contents.items[decided.index]
            message = element.message if isinstance(element, InvalidRaw) else message
            strategy = self._strategy(decided.category, reason, message)
            trigger = ops.trigger_for(strategy, of_item=True)
            await self._post_strategy(trigger, strategy, "decode_item", index=decided.index)
        else:
            until = self.progress.closed_until
            strategy = self._strategy(decided.category, reason, message, until)
            trigger = ops.trigger_for(strategy, of_item=False)
            await self._post_strategy(trigger, strategy, "fetch")

    async def broke(self, error: Exception, *, again: bool = False) -> None:
        """Something raised that nobody foresaw: a bug, of ours or of an app's policy. The session ends, its work is kept.

        Args:
            error: What was raised.
            again: Not for the first time: what is pending may be why (an item that is refused, say), and is left out.

        Raises:
            Exception: It is ending already; the row stays as it is, and the next start buries it.
        """
        _LOG.critical("this is a bug", exc_info=error, extra=self._teller.extra("session"))
        if self._kinds[self._ledger.value.state] is Kind.ENDING:
            raise error
        self._work.note_error(ErrorCategory.FATAL)
        message = (
            f"unexpected {type(error).__name__}{where(error)}. What was committed before stands"
        )
        facts = self.facts(ErrorCategory.FATAL, Reason.BUG, message)
        self._teller.broke(facts, operation="session")
        await self.post(Trigger.FATAL_FAILED, facts, durability=Durability.ALONE if again else None)

    async def store_failed(self, error: StoreError) -> None:
        """The store is out: end without it."""
        self._work.note_error(ErrorCategory.DATABASE)
        reason = error.reason if isinstance(error, StoreUnavailable) else Reason.DATABASE_ERROR
        facts = self.facts(ErrorCategory.DATABASE, reason, str(error))
        logs.log_store_failed(str(error), extra=self._teller.extra("commit"))
        self._teller.broke(facts, operation="commit")
        await self.post(Trigger.STORE_FAILED, attrs.evolve(facts, operation="commit"))

    def recovered(self) -> None:
        """An operation succeeded; if it had failed before, that is over."""
        value = self._ledger.value
        if value.tries > 0 or value.state == State.RETRYING:
            facts = attrs.evolve(self.facts(), items=self.progress.pending_tally().seen)
            self._adopt(self._machine.step(value, Trigger.RECOVERED, facts))

    def closed(self, until: float | None) -> None:
        """The source's limit is used up until then, epoch seconds; noted durably with the next commit."""
        if until is None or math.isnan(until):
            self.progress = self.progress.closed(None)
            return
        until = believable(until, now=self._clock.now())
        self.progress = self.progress.closed(until)
        self._ledger.closed = [Closed(*self._limit, until)]

    def _strategy(
        self,
        category: ErrorCategory,
        reason: Reason,
        message: str,
        reset_at: float | None = None,
    ) -> RecoveryStrategy:
        error = ErrorFacts(category, reason, self._ledger.value.tries, reset_at, message)
        strategy = self._decide(
            error, self._policy, now=self._clock.now(), jitter=self._rng.random()
        )
        return _within_bounds(strategy)

    async def _post_strategy(
        self,
        trigger: Trigger,
        strategy: RecoveryStrategy,
        operation: str,
        *,
        index: int | None = None,
    ) -> None:
        tries, allowed = self._ledger.value.tries, self._policy.max_retries
        if trigger is Trigger.RATE_LIMITED:
            self._work.pauses += 1
        if strategy.reason is not Reason.CLOSED_UNTIL:  # foreseen, no error
            self._work.note_error(strategy.category)
        if strategy.action is ErrorAction.RETRY:
            self._work.retries += 1
            allowed = max(allowed, tries + 1)
        elif trigger is Trigger.NETWORK_FAILED:
            allowed = min(allowed, tries)
        item = self.contents.items[index].key if index is not None else None
        facts = attrs.evolve(
            self.facts(strategy.category, strategy.reason, strategy.message),
            delay_s=strategy.delay,
            tries_allowed=allowed,
            item=item,
            operation=operation,
        )
        self._teller.error(strategy, tries=tries, operation=operation, item=item)
        await self.post(trigger, facts)
        if trigger is Trigger.ITEM_SKIPPED and index is not None:
            self._skip(index, strategy)

    def _skip(self, index: int, strategy: RecoveryStrategy) -> None:
        element = self.contents.items[index]
        skip = Skip(
            element.key,
            element.raw,
            strategy.category,
            str(strategy.reason),
            strategy.message,
            self._clock.now(),
        )
        self.contents.skips[index] = skip
        self.progress = self.progress.skipped(index)
        if len(self.skipped) < SKIPPED_SHOWN:
            self.skipped.append(
                SkippedBrief(skip.key, skip.category.value, skip.reason, skip.message)
            )
        self._teller.skipped(skip)

    # -- events -----------------------------------------------------------------------------------

    async def hear(self, trigger: str, facts: Facts) -> None:
        """Take an event from outside; one that does not fit is dropped: its sender cannot know what happens meanwhile.

        Raises as `post`.
        """
        try:
            self._machine.step(self._ledger.value, trigger, facts)
        except IllegalStep as exc:
            _LOG.warning(
                "%s: the event was dropped, the session goes on",
                exc,
                extra=self._teller.extra("step"),
            )
            return
        await self.post(trigger, facts)

    async def post(
        self, trigger: str, facts: Facts, *, durability: Durability | None = None
    ) -> None:
        """Take one event through the machine, and make it true as its row says, or as `durability` does.

        Raises:
            LeaseLost, StoreUnavailable, Interrupted: It did not become true; the old value stands.
        """
        ledger = self._ledger
        # What an end has dropped is not made up for.
        is_ending = self._kinds[ledger.value.state] is Kind.ENDING
        tally = self.progress.tally if is_ending else self.progress.pending_tally()
        facts = attrs.evolve(facts, items=tally.seen)
        try:
            step = self._machine.step(ledger.value, trigger, facts)
        except IllegalStep as exc:
            await self._illegal(exc, facts)
            return
        match durability or step.durability:
            case Durability.RIDES:
                self._adopt(step)
            case Durability.AT_ONCE:
                await self._commit_step(step, facts)
            case Durability.ALONE:
                step = self._step_from_durable(trigger, facts)
                await self._commit_value(step, facts, alone=True)
                del self.skipped[self._skipped_durably :]
            case Durability.UNSAVED:
                step = self._step_from_durable(trigger, facts)
                ledger.drop_riding()
                self._effects.drop_riding()
                del self.skipped[self._skipped_durably :]
                self.store_is_out = True
                self._note_cause(step, facts)
                self._adopt(step)

    def _step_from_durable(self, trigger: str, facts: Facts) -> Step:
        """What is pending is dropped, so the step and its facts are those of the last commit."""
        durable = attrs.evolve(facts, items=self.progress.tally.seen)
        return self._machine.step(self._ledger.durable, trigger, durable)

    def _note_cause(self, step: Step, facts: Facts) -> None:
        """The session is ending for this; what fails from now on changes nothing about it."""
        if self.cause is None and self._kinds[step.session.state] is Kind.ENDING:
            self.cause = (facts.category, facts.reason)
            self._ledger.message = facts.message

    async def _illegal(self, error: IllegalStep, facts: Facts) -> None:
        """An event that the table does not know here is a bug: the session ends, its work is kept."""
        extra = self._teller.extra("step")
        if self._kinds[self._ledger.value.state] in {Kind.FINAL, Kind.ENDING}:
            _LOG.error("%s; dropped", error, extra=extra)
            return
        if error.trigger == Trigger.FATAL_FAILED:
            raise error
        _LOG.critical("%s; this is a bug", error, extra=extra)
        self._work.note_error(ErrorCategory.FATAL)
        bug = attrs.evolve(
            facts, category=ErrorCategory.FATAL, reason=Reason.BUG, message=str(error), delay_s=0.0
        )
        self._teller.broke(bug, operation="step")
        await self.post(Trigger.FATAL_FAILED, bug)

    def facts(
        self,
        category: ErrorCategory | None = None,
        reason: str | None = None,
        message: str = "",
    ) -> Facts:
        """Facts of an event that happens now."""
        return Facts(
            now=self._clock.now(),
            category=category,
            reason=reason,
            message=message,
            tries_allowed=self._policy.max_retries,
        )

    def _adopt(self, step: Step) -> None:
        self._ledger.ride(step.session, step.journal)
        self._effects.ride(step)
        self._teller.stepped(step)

    # -- commits ----------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Make what is pending durable. Raises as `post`."""
        await self._commit_all(self._ledger.value, None)

    async def _commit_step(self, step: Step, facts: Facts) -> None:
        ending = self._kinds[self._ledger.value.state] is Kind.ENDING
        if ending or self.store_is_out:
            await self._commit_value(step, facts)
        else:
            await self._commit_all(step.session, step, facts)

    async def _commit_all(
        self, value: SessionValue, step: Step | None, facts: Facts | None = None
    ) -> None:
        """A step (or none) together with items, skips and checkpoint: one transaction."""
        ledger, progress = self._ledger, self.progress
        trigger = step.journal.trigger if step is not None and step.journal is not None else None
        save = progress.save(finishing=trigger == Trigger.FINISH)
        page = progress.page
        try:
            wish = await ledger.write(
                value,
                step.journal if step is not None else None,
                counters=self._work.counters(save.tally),
                final=self._kinds[value.state] is Kind.FINAL,
                contents=self.contents.rows(page.entries, save) if page is not None else None,
                save=save,
                due=progress.skip_run if value.reason == Reason.TOO_MANY_SKIPS else (),
                once=trigger == Trigger.CANCEL and value.reason != Reason.MAX_ITEMS,
                message=self._message_of(step, facts),
            )
        except ItemsRefused as exc:
            await self._refused(exc)
            if trigger == Trigger.CANCEL and value.reason != Reason.MAX_ITEMS:  # decided afresh
                self._cancel(value.reason or Reason.STOPPED_BY_USER)
            elif trigger is not None and facts is not None and facts.reason == Reason.BUG:
                await self.post(trigger, facts)  # which no plan would decide on afresh
            return
        self.progress = progress.committed(save)
        self._skipped_durably = len(self.skipped)
        if step is not None and facts is not None:
            self._note_cause(step, facts)
        if self.progress.page is None:
            self.contents = Contents()
        if step is not None:
            self._teller.stepped(step)
        self._teller.saved(step, self.progress, self._work.counters(save.tally), save.last_key)
        if wish is not None and self._kinds[value.state] is not Kind.FINAL:
            self._cancel(wish)
        await self._effects.carry_out(step)

    def _message_of(self, step: Step | None, facts: Facts | None) -> str | None:
        """What the session's row says of its cause, if this step makes it end."""
        if step is None or facts is None or self.cause is not None:
            return None
        return facts.message if self._kinds[step.session.state] is Kind.ENDING else None

    async def _commit_value(self, step: Step, facts: Facts, *, alone: bool = False) -> None:
        """State and journal only: nothing of items or checkpoint, and `alone` no step that rides either."""
        value = step.session
        final = self._kinds[value.state] is Kind.FINAL
        try:
            await self._ledger.write(
                value,
                step.journal,
                counters=self._work.counters(self.progress.tally),
                final=final,
                durable=not self.store_is_out,
                once=self.store_is_out,
                alone=alone,
                message=self._message_of(step, facts),
            )
        except (StoreError, Interrupted) as exc:
            if not final or isinstance(exc, LeaseLost):
                raise
            logs.log_end_not_noted(str(exc), extra=self._teller.extra("commit"))
            self.store_is_out = True
            self._ledger.ride(value, None)
            self._note_cause(step, facts)
            self._teller.stepped(step)
            return
        if alone:
            self._effects.drop_riding()
        self._note_cause(step, facts)
        self._teller.stepped(step)
        await self._effects.carry_out(step)

    async def _refused(self, refusal: ItemsRefused) -> None:
        """The database refuses items of the batch: each is an event of its own."""
        page = self.progress.page
        if page is None:
            raise StoreUnavailable(str(refusal), retryable=False) from refusal
        for key, (reason, message) in refusal.refused.items():
            index = page.keys.index(key)
            status = page.entries[index].status
            if status is Status.KNOWN and index not in self.contents.bare:
                _LOG.warning(
                    "the database refuses a richer record of an item (%s); the stored one stays",
                    message,
                    extra=self._teller.extra("commit"),
                )
                self.contents.bare.add(index)
                continue
            if status is not Status.NEW:  # skipping it once more would not help
                raise StoreUnavailable(
                    f"the database refuses even to keep a skipped item ({message}); "
                    "what was committed before stands",
                    reason,
                    retryable=False,
                ) from refusal
            strategy = self._strategy(ErrorCategory.DATABASE, reason, message)
            if not self._allows(Trigger.ITEM_SKIPPED, strategy):  # in a state of an app's own
                raise StoreUnavailable(
                    f"the database refuses an item ({message}), and the machine lets none be left out in state "
                    f"{str(self._ledger.value.state)!r}; what was committed before stands, run again to leave it out",
                    reason,
                    retryable=False,
                ) from refusal
            await self._post_strategy(Trigger.ITEM_SKIPPED, strategy, "commit", index=index)

    def _allows(self, trigger: str, strategy: RecoveryStrategy) -> bool:
        facts = self.facts(strategy.category, strategy.reason, strategy.message)
        try:
            self._machine.step(self._ledger.value, trigger, facts)
        except IllegalStep:
            return False
        return True

    async def release(self) -> str | None:
        """Leave a paused session to whoever comes first: its state is durable, its lease ends now.

        Returns:
            The reason of a cancel that somebody asked for. Raises `LeaseLost`.
        """
        try:
            wish = await self._ledger.write(
                self._ledger.value,
                None,
                counters=self._work.counters(self.progress.tally),
                final=False,
                release=True,
            )
        except (StoreUnavailable, Interrupted) as exc:
            _LOG.warning(
                "the paused session keeps its lease: %s", exc, extra=self._teller.extra("pause")
            )
            return None
        await self._effects.carry_out()
        return wish

    def counters(self) -> Counters:
        """Counts as of the last commit."""
        return self._work.counters(self.progress.tally)

    def pending_counters(self) -> Counters:
        """Counts with all that is dealt with, durable or not."""
        return self._work.counters(self.progress.pending_tally())


def _within_bounds(strategy: RecoveryStrategy) -> RecoveryStrategy:
    """What an app's policy decided: a longer wait than any would be taken for the mistake of a clock, and for none.

    Raises:
        ConfigurationError: Its delay is no number.
    """
    delay: object = strategy.delay
    if not isinstance(delay, int | float) or math.isnan(delay):
        raise ConfigurationError(
            f"the policy decided on a delay of {delay!r:.30}, which is no number of seconds"
        )
    if 0.0 <= delay <= MAX_BACKOFF_S:
        return strategy
    return attrs.evolve(strategy, delay=min(max(delay, 0.0), MAX_BACKOFF_S))


def tally_of(counters: Counters) -> Tally:
    """The item counts among a session's counters."""
    return Tally(
        counters.seen,
        counters.stored,
        counters.already_known,
        counters.skipped,
        counters.stored + counters.skipped,
    )
