"""Faults for the core: each a known-bad variant of table, plan, recovery or progress, to see that it is caught.

`PLANTED` gives each a name, a sentence, and a function that returns what to put in place of the real thing, by the
names of `prove`'s arguments: `spec`, `step`, `plan`, `decide` or `begin`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from twitor_fsm.core import plan as ops
from twitor_fsm.core import recovery
from twitor_fsm.core.listing import End
from twitor_fsm.core.page import Status, Tally
from twitor_fsm.core.progress import Progress, Save
from twitor_fsm.core.progress import begin as real_begin
from twitor_fsm.core.recovery import ErrorFacts, Policy, RecoveryStrategy
from twitor_fsm.core.spec import MachineSpec, Row
from twitor_fsm.core.states import DEFAULT_SPEC
from twitor_fsm.core.taxonomy import ErrorAction, ErrorCategory, Reason
from twitor_fsm.core.values import Facts, SessionValue, Step
from twitor_fsm.core.words import Durability, Effect, Kind, State, Trigger
from twitor_fsm.machine import machine_for

__all__ = ["PLANTED", "Replacement"]

Replacement = Mapping[str, Any]
"""Arguments for `prove`."""


# -- the table ------------------------------------------------------------------------------------


def _table(change: Callable[[Row], Row]) -> Replacement:
    """Our table with some rows changed."""
    return {
        "spec": MachineSpec(
            states=DEFAULT_SPEC.states,
            initial=DEFAULT_SPEC.initial,
            rows=tuple(change(row) for row in DEFAULT_SPEC.rows),
            absorbs=DEFAULT_SPEC.absorbs,
        )
    }


def _pause_without_save() -> Replacement:
    def change(row: Row) -> Row:
        if row.trigger != Trigger.RATE_LIMITED:
            return row
        return attrs.evolve(row, effects=(Effect.SCHEDULE_RESUME,), durability=Durability.RIDES)

    return _table(change)


def _auth_saves() -> Replacement:
    def change(row: Row) -> Row:
        if row.trigger != Trigger.AUTH_FAILED:
            return row
        effects = (Effect.SAVE_CHECKPOINT, Effect.RUN_CLEANUP)
        return attrs.evolve(row, effects=effects, durability=Durability.AT_ONCE)

    return _table(change)


def _fatal_drops_work() -> Replacement:
    def change(row: Row) -> Row:
        if row.trigger != Trigger.FATAL_FAILED:
            return row
        return attrs.evolve(row, durability=Durability.ALONE)

    return _table(change)


def _retries_not_reset() -> Replacement:
    def change(row: Row) -> Row:
        effects = tuple(effect for effect in row.effects if effect != Effect.RESET_RETRIES)
        return attrs.evolve(row, effects=effects)

    return _table(change)


def _pause_gives_tries_back() -> Replacement:
    def change(row: Row) -> Row:
        is_resume = row.trigger == Trigger.RESUME
        return attrs.evolve(row, effects=(Effect.RESET_RETRIES,)) if is_resume else row

    return _table(change)


def _cancel_swallowed() -> Replacement:
    rows: list[Row] = []
    for row in DEFAULT_SPEC.rows:
        if row.trigger == Trigger.CANCEL:
            rows.append(attrs.evolve(row, sources=(State.RUNNING, State.RETRYING)))
            rows.append(
                Row(Trigger.CANCEL, (State.PAUSED_RATE_LIMIT,), None, durability=Durability.RIDES)
            )
        else:
            rows.append(row)
    return {
        "spec": MachineSpec(
            states=DEFAULT_SPEC.states,
            initial=DEFAULT_SPEC.initial,
            rows=tuple(rows),
            absorbs=DEFAULT_SPEC.absorbs,
        )
    }


def _restart_ends_pause() -> Replacement:
    def change(row: Row) -> Row:
        is_restart = row.trigger == Trigger.RESTARTED
        return attrs.evolve(row, target=State.RUNNING) if is_restart else row

    return _table(change)


def _event_refused() -> Replacement:
    def change(row: Row) -> Row:
        if row.trigger != Trigger.RATE_LIMITED:
            return row
        return attrs.evolve(row, sources=(State.RUNNING,))

    return _table(change)


def _final_left() -> Replacement:
    real = machine_for(DEFAULT_SPEC).step

    def step(session: SessionValue, trigger: str, facts: Facts) -> Step:
        if session.state == State.COMPLETED and trigger == Trigger.CANCEL:
            running = attrs.evolve(session, state=State.RUNNING)
            return real(running, trigger, facts)
        return real(session, trigger, facts)

    return {"step": step}


# -- recovery -------------------------------------------------------------------------------------


def _tries_unbounded() -> Replacement:
    def decide(
        error: ErrorFacts, policy: Policy, *, now: float, jitter: float = 0.0
    ) -> RecoveryStrategy:
        patient = attrs.evolve(policy, max_retries=policy.max_retries + 1)
        return recovery.decide(error, patient, now=now, jitter=jitter)

    return {"decide": decide}


def _gives_up_early() -> Replacement:
    def decide(
        error: ErrorFacts, policy: Policy, *, now: float, jitter: float = 0.0
    ) -> RecoveryStrategy:
        hasty = attrs.evolve(policy, max_retries=max(0, policy.max_retries - 1))
        return recovery.decide(error, hasty, now=now, jitter=jitter)

    return {"decide": decide}


def _auth_is_retried() -> Replacement:
    def decide(
        error: ErrorFacts, policy: Policy, *, now: float, jitter: float = 0.0
    ) -> RecoveryStrategy:
        strategy = recovery.decide(error, policy, now=now, jitter=jitter)
        if error.category is not ErrorCategory.AUTH:
            return strategy
        return attrs.evolve(strategy, action=ErrorAction.RETRY, delay=1.0)

    return {"decide": decide}


# -- the plan -------------------------------------------------------------------------------------


def _pause_not_waited_out() -> Replacement:
    def plan(
        session: SessionValue, progress: Progress, *, now: float, kinds: Mapping[str, Kind]
    ) -> ops.Plan:
        if session.state == State.PAUSED_RATE_LIMIT:
            return ops.Plan(ops.Post(Trigger.RESUME))
        return ops.plan(session, progress, now=now, kinds=kinds)

    return {"plan": plan}


def _backoff_ignored() -> Replacement:
    def plan(
        session: SessionValue, progress: Progress, *, now: float, kinds: Mapping[str, Kind]
    ) -> ops.Plan:
        if session.state == State.RETRYING:
            session = attrs.evolve(session, retry_at=now)
        return ops.plan(session, progress, now=now, kinds=kinds)

    return {"plan": plan}


def _closed_source_asked() -> Replacement:
    def plan(
        session: SessionValue, progress: Progress, *, now: float, kinds: Mapping[str, Kind]
    ) -> ops.Plan:
        return ops.plan(session, progress.closed(None), now=now, kinds=kinds)

    return {"plan": plan}


def _no_checkpoint_within_a_page() -> Replacement:
    def plan(
        session: SessionValue, progress: Progress, *, now: float, kinds: Mapping[str, Kind]
    ) -> ops.Plan:
        rules = attrs.evolve(progress.rules, checkpoint_every=1000)
        return ops.plan(session, attrs.evolve(progress, rules=rules), now=now, kinds=kinds)

    return {"plan": plan}


def _retry_never_due() -> Replacement:
    def plan(
        session: SessionValue, progress: Progress, *, now: float, kinds: Mapping[str, Kind]
    ) -> ops.Plan:
        if session.state == State.RETRYING:
            return ops.Plan(ops.Wait(None))
        return ops.plan(session, progress, now=now, kinds=kinds)

    return {"plan": plan}


def _cleanup_waits_for_an_event() -> Replacement:
    def plan(
        session: SessionValue, progress: Progress, *, now: float, kinds: Mapping[str, Kind]
    ) -> ops.Plan:
        if session.state == State.ABORTING:
            return ops.Plan(ops.Wait(None))
        return ops.plan(session, progress, now=now, kinds=kinds)

    return {"plan": plan}


# -- progress -------------------------------------------------------------------------------------


def _beginning_as(kind: type[Progress]) -> Replacement:
    """Sessions whose progress is of this class."""

    def begin(*arguments: Any, **options: Any) -> Progress:
        real = real_begin(*arguments, **options)
        return kind(**{field.name: getattr(real, field.name) for field in attrs.fields(Progress)})

    return {"begin": begin}


class _CheckpointFirst(Progress):
    __slots__ = ()

    def save(self, *, finishing: bool = False) -> Save:
        save = super().save(finishing=finishing)
        page = self.page
        if page is None or page.verdict is None or page.verdict.ended is not None:
            return save
        return attrs.evolve(save, mark=page.verdict.mark)


class _SkipForgotten(Progress):
    __slots__ = ()

    def skipped(self, index: int) -> Progress:
        after = super().skipped(index)
        page = after.page
        assert page is not None
        entry = attrs.evolve(page.entries[index], status=Status.REPEATED)
        entries = (*page.entries[:index], entry, *page.entries[index + 1 :])
        return attrs.evolve(after, page=attrs.evolve(page, entries=entries))


class _EndBelieved(Progress):
    __slots__ = ()

    def looked_up(self, known: Any) -> Progress:
        after = super().looked_up(known)
        page = after.page
        if page is None or page.verdict is None or page.end is not End.UNVERIFIED:
            return after
        verdict = attrs.evolve(page.verdict, ended=Reason.END_VERIFIED)
        return attrs.evolve(after, page=attrs.evolve(page, verdict=verdict))


class _CountedTwice(Progress):
    __slots__ = ()

    def pending_tally(self) -> Tally:
        tally = super().pending_tally()
        return attrs.evolve(tally, seen=tally.seen + tally.skipped)


class _KnownStoredAgain(Progress):
    __slots__ = ()

    def looked_up(self, known: Any) -> Progress:
        return super().looked_up(
            {key: attrs.evolve(fact, stored=False) for key, fact in known.items()}
        )


def _resumed_walk_trusted() -> Replacement:
    def begin(*arguments: Any, **options: Any) -> Progress:
        real = real_begin(*arguments, **options)
        return attrs.evolve(real, mark=attrs.evolve(real.mark, resumed=False))

    return {"begin": begin}


PLANTED: Final[Mapping[str, tuple[str, Callable[[], Replacement]]]] = {
    "pause_without_save": ("a pause is adopted before it is durable", _pause_without_save),
    "auth_saves": ("an AUTH error saves a checkpoint", _auth_saves),
    "fatal_drops_work": ("a FATAL error drops what is handled and not saved", _fatal_drops_work),
    "retries_not_reset": ("a success does not give tries back", _retries_not_reset),
    "pause_gives_tries_back": ("the end of a pause gives tries back", _pause_gives_tries_back),
    "cancel_swallowed": ("a cancel during a pause is swallowed", _cancel_swallowed),
    "restart_ends_pause": ("a restart of the process ends a pause", _restart_ends_pause),
    "event_refused": ("no row for a rate limit while retrying", _event_refused),
    "final_left": ("a cancel leads out of completed", _final_left),
    "tries_unbounded": ("one try more than MAX_RETRIES", _tries_unbounded),
    "gives_up_early": ("one try less than MAX_RETRIES", _gives_up_early),
    "auth_is_retried": ("an AUTH error is retried", _auth_is_retried),
    "pause_not_waited_out": ("a pause resumes without waiting", _pause_not_waited_out),
    "backoff_ignored": ("a failed operation is repeated at once", _backoff_ignored),
    "closed_source_asked": ("a source is asked before its limit resets", _closed_source_asked),
    "no_checkpoint_within_a_page": (
        "no checkpoint is due within a page",
        _no_checkpoint_within_a_page,
    ),
    "retry_never_due": ("a retry waits for an event that nobody sends", _retry_never_due),
    "cleanup_waits_for_an_event": (
        "the cleanup after an abort waits for an event that nobody sends",
        _cleanup_waits_for_an_event,
    ),
    "checkpoint_before_items": (
        "the checkpoint names the next page before this page's items are durable",
        lambda: _beginning_as(_CheckpointFirst),
    ),
    "skip_not_recorded": ("a skip is not recorded", lambda: _beginning_as(_SkipForgotten)),
    "end_believed": (
        "the end is believed without evidence",
        lambda: _beginning_as(_EndBelieved),
    ),
    "counted_twice": ("a skipped item is counted twice", lambda: _beginning_as(_CountedTwice)),
    "known_stored_again": (
        "what is stored already is taken for new",
        lambda: _beginning_as(_KnownStoredAgain),
    ),
    "resumed_walk_trusted": (
        "a resumed walk is not followed by one from the top",
        _resumed_walk_trusted,
    ),
}
"""Name -> what is wrong, and what to put in place of the real thing."""
