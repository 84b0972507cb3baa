"""The deciding code, asked once for the same input: step, plan, recovery.

A session's value is kept in its normal form: what decides, and nothing that is only told (category, reason, absorbed
triggers, the number of steps; times are seconds from now, and a time that has passed is 0).
Pure. Must not know: what can happen.
"""

from collections.abc import Callable
from typing import Final

import attrs

from ...errors import IllegalStep
from .. import plan as ops
from ..plan import Operation, Plan
from ..progress import Progress, begin
from ..recovery import ErrorFacts, Policy, RecoveryStrategy, decide
from ..spec import MachineSpec
from ..taxonomy import ErrorAction, ErrorCategory, Reason
from ..values import Facts, SessionValue, Step
from ..words import Durability, Kind, Trigger
from .invariants import Invariant, StepTaken
from .scope import Scope

__all__ = [
    "CLEANED_UP",
    "DIED",
    "RECOVERED",
    "RESTARTED",
    "STORE_FAILED",
    "WISHED",
    "Decider",
    "Decisions",
    "Event",
    "Stepped",
]


@attrs.frozen(kw_only=True)
class Decisions:
    """The code that decides; the real one unless something is put in its place.

    Attributes:
        step: Takes one event through the machine.
        plan: See `core.plan`.
        trigger_for: See `core.plan`.
        decide: See `core.recovery`.
        begin: See `core.progress`; the progress that it makes may be of a class of its own.
    """

    step: Callable[[SessionValue, str, Facts], Step]
    plan: Callable[..., Plan] = ops.plan
    trigger_for: Callable[..., Trigger] = ops.trigger_for
    decide: Callable[..., RecoveryStrategy] = decide
    begin: Callable[..., Progress] = begin


@attrs.frozen(cache_hash=True)
class Event:
    """An event, as far as a step depends on it; see `Facts`. Steps are looked up by it: the same one is found fastest."""

    trigger: str
    category: ErrorCategory | None = None
    reason: str | None = None
    delay_s: float = 0.0
    tries_allowed: int = 0


CLEANED_UP: Final = Event(Trigger.CLEANED_UP)
DIED: Final = Event(Trigger.CLEANED_UP, reason=Reason.DIED_IN_CLEANUP)
RECOVERED: Final = Event(Trigger.RECOVERED)
RESTARTED: Final = Event(Trigger.RESTARTED, reason=Reason.TAKEN_OVER)
STORE_FAILED: Final = Event(Trigger.STORE_FAILED, ErrorCategory.DATABASE, Reason.STORE_UNAVAILABLE)
WISHED: Final = Event(Trigger.CANCEL, reason=Reason.STOPPED_BY_USER)


@attrs.frozen
class Stepped:
    """A step: the session's number then, and the invariant that it breaks (empty for none)."""

    value: int
    trigger: str
    reason: str | None
    effects: tuple[str, ...]
    durability: Durability
    broken: str


class Decider:
    """Asks and remembers."""

    def __init__(
        self,
        scope: Scope,
        spec: MachineSpec,
        decisions: Decisions,
        invariants: tuple[Invariant, ...],
    ) -> None:
        """Nothing was asked yet."""
        self.values: Final[list[SessionValue]] = []
        self.taken: Final[set[tuple[str, str, str]]] = set()
        """(trigger, state before, state after) of every step that was taken."""
        self._by = decisions
        self._kinds = spec.kinds
        self._guarded = {str(s) for row in spec.rows if row.guard is not None for s in row.sources}
        self._policy = Policy(max_retries=scope.max_retries)
        self._idle = decisions.begin(None, rules=scope.rules, ordinal=1)
        self._numbers: dict[SessionValue, int] = {}
        self._steps: dict[tuple[int, Event], Stepped] = {}
        self._kinds_of_error: dict[tuple[int, bool], list[tuple[ErrorCategory, Event]]] = {}
        self._left: dict[int, str] = {}
        self._errors: dict[tuple[object, ...], Event] = {}
        self._invariants = [i.of_step for i in invariants if i.of_step is not None]
        self._names = [i.name for i in invariants if i.of_step is not None]

    def number(self, value: SessionValue) -> int:
        """The number of a session's value."""
        value = SessionValue(
            str(value.state),
            tries=0 if self._is_tireless(value.state) else value.tries,
            retry_at=_not_past(value.retry_at),
            resume_at=_not_past(value.resume_at),
        )
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found

    def _is_tireless(self, state: str) -> bool:
        """Whether nothing in this state asks how often an operation failed."""
        return self._kinds[state] in {Kind.ENDING, Kind.FINAL} and state not in self._guarded

    def kind(self, number: int) -> Kind:
        """What a session does."""
        return self._kinds[self.values[number].state]

    def later(self, number: int, seconds: float) -> int:
        """The session when so much time has passed."""
        value = self.values[number]
        if value.retry_at is None and value.resume_at is None:
            return number
        return self.number(
            attrs.evolve(
                value,
                retry_at=None if value.retry_at is None else value.retry_at - seconds,
                resume_at=None if value.resume_at is None else value.resume_at - seconds,
            )
        )

    def operation(self, number: int, progress: Progress | None) -> Operation:
        """What the plan does next; a session that is ending needs no progress."""
        session = self.values[number]
        known = progress if progress is not None else self._idle
        return self._by.plan(session, known, now=0.0, kinds=self._kinds).operation

    def error(
        self,
        number: int,
        category: ErrorCategory,
        reason: Reason = Reason.UNKNOWN,
        *,
        of_item: bool,
        reset_at: float | None = None,
    ) -> Event:
        """The event that an error is: as `Steps._strategy` and `Steps._post_strategy`."""
        key = (number, category, reason, of_item, reset_at)
        if key not in self._errors:
            tries, allowed = self.values[number].tries, self._policy.max_retries
            facts = ErrorFacts(category, reason, tries, reset_at)
            strategy = self._by.decide(facts, self._policy, now=0.0, jitter=0.0)
            trigger = self._by.trigger_for(strategy, of_item=of_item)
            if strategy.action is ErrorAction.RETRY:
                allowed = max(allowed, tries + 1)
            elif trigger is Trigger.NETWORK_FAILED:
                allowed = min(allowed, tries)
            self._errors[key] = Event(
                trigger, strategy.category, strategy.reason, strategy.delay, allowed
            )
        return self._errors[key]

    def errors(self, number: int, *, of_item: bool) -> list[tuple[ErrorCategory, Event]]:
        """An error of each category; where two lead to the same, the first stands for both."""
        key = (number, of_item)
        if key not in self._kinds_of_error:
            found: dict[tuple[object, ...], tuple[ErrorCategory, Event]] = {}
            for category in ErrorCategory:
                event = self.error(number, category, of_item=of_item)
                stepped = self.step(number, event)
                then = (stepped.value, stepped.trigger, stepped.effects, stepped.durability)
                found.setdefault((then, stepped.broken, event.delay_s), (category, event))
            self._kinds_of_error[key] = list(found.values())
        return self._kinds_of_error[key]

    def step(self, number: int, event: Event) -> Stepped:
        """Take an event through the machine; one that the table refuses ends the session as a bug."""
        key = (number, event)
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._take(self.values[number], event)
        return found

    def left(self, number: int, triggers: tuple[str, ...]) -> str:
        """The invariant that is broken by an event that leads out of a final state; empty if none does."""
        if number not in self._left:
            steps = (self._tried(self.values[number], trigger) for trigger in triggers)
            self._left[number] = next((broken for broken in steps if broken), "")
        return self._left[number]

    def _tried(self, before: SessionValue, trigger: str) -> str:
        try:
            step = self._by.step(before, trigger, Facts(now=0.0))
        except IllegalStep:
            return ""
        return self._broken(before, Event(trigger), step.session, step.effects)

    def _take(self, before: SessionValue, event: Event) -> Stepped:
        facts = Facts(
            now=0.0,
            category=event.category,
            reason=event.reason,
            delay_s=event.delay_s,
            tries_allowed=event.tries_allowed,
        )
        try:
            step = self._by.step(before, event.trigger, facts)
        except IllegalStep:
            return self._refused(before, event)
        after = step.session
        self.taken.add((str(event.trigger), str(before.state), str(after.state)))
        broken = self._broken(before, event, after, step.effects)
        return Stepped(
            self.number(after), event.trigger, after.reason, step.effects, step.durability, broken
        )

    def _refused(self, before: SessionValue, event: Event) -> Stepped:
        """The table has no row: as `Steps._illegal`."""
        broken = self._broken(before, event, before, (), is_refused=True)
        number = self.number(before)
        is_ending = self._kinds[before.state] in {Kind.ENDING, Kind.FINAL}
        if event.trigger == Trigger.FATAL_FAILED or is_ending:
            return Stepped(number, event.trigger, None, (), Durability.RIDES, broken)
        bug = self.step(number, Event(Trigger.FATAL_FAILED, ErrorCategory.FATAL, Reason.BUG))
        return attrs.evolve(bug, broken=broken or bug.broken)

    def _broken(
        self,
        before: SessionValue,
        event: Event,
        after: SessionValue,
        effects: tuple[str, ...],
        *,
        is_refused: bool = False,
    ) -> str:
        taken = StepTaken(
            event.trigger,
            event.category,
            before,
            after,
            effects,
            self._kinds[before.state],
            self._kinds[after.state],
            is_refused,
            self._policy.max_retries,
        )
        pairs = zip(self._names, self._invariants, strict=True)
        return next((name for name, holds in pairs if not holds(taken)), "")


def _not_past(when: float | None) -> float | None:
    return when if when is None or when > 0.0 else 0.0
