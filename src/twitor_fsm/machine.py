"""Runs the table: a `MachineSpec` becomes one shared `transitions` machine, and `step` takes one event through it.

Pure to its callers: a session value and facts go in, a new value, effects and a journal row come out.
The only importer of `transitions`. Must not know: storage, timers, the loop, what a crawl is.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from transitions import Machine as _Transitions
from transitions import MachineError

from .core.states import (
    DEFAULT_SPEC,
    Draft,
    Durability,
    Facts,
    JournalRow,
    Kind,
    MachineSpec,
    Row,
    SessionValue,
    Step,
)
from .errors import IllegalStep

__all__ = ["Machine", "machine_for", "step"]

_NAME: Final = "twitor_fsm"


def _is_of_others(record: logging.LogRecord) -> bool:
    """`transitions` logs several records a step; ours say nothing that the journal does not."""
    args = record.args
    return not (isinstance(args, tuple) and args and args[0] == f"{_NAME}: ")


logging.getLogger("transitions.core").addFilter(_is_of_others)


class Machine:
    """One table, ready to step any number of sessions; holds none of them.

    Sessions are handed in and out as plain values, so the cost of a session is the value itself: nothing is
    registered with `transitions` (its `add_model` is quadratic and refuses slotted classes).
    """

    def __init__(self, spec: MachineSpec) -> None:
        """Build the machine of a spec; its table has been checked already."""
        self.spec: Final = spec
        self._kinds: Final = spec.kinds
        engine = _Transitions(
            model=None,
            states=[{"name": str(s.name), "final": s.kind is Kind.FINAL} for s in spec.states],
            initial=str(spec.initial),
            auto_transitions=False,
            send_event=False,
            name=_NAME,
        )
        for row in spec.rows:
            engine.add_transition(
                str(row.trigger),
                [str(source) for source in row.sources],
                "=" if row.target is None else str(row.target),
                conditions=[spec.guards[row.guard]] if row.guard is not None else None,
                before=[_note_row(row), *(_callback(e, spec.effects[e]) for e in row.effects)],
            )
        self._absorbed: Final = frozenset(
            (str(state), str(trigger))
            for absorb in spec.absorbs
            for state in absorb.states
            for trigger in absorb.triggers
        )
        self._events: Final = {str(name): event for name, event in engine.events.items()}

    def step(self, session: SessionValue, trigger: str, facts: Facts) -> Step:
        """Take one event.

        Args:
            session: The value before; not changed.
            trigger: The event's name.
            facts: What is known about it.

        Returns:
            The value after, the effects, and the journal row (None for a trigger absorbed before).

        Raises:
            IllegalStep: The table has no row for this trigger in this state (with these facts).
        """
        source = str(session.state)
        if (source, trigger) in self._absorbed:
            return self._absorb(session, trigger, facts)
        draft = Draft(source, session.tries, session.retry_at, session.resume_at, facts, [])
        event = self._events.get(trigger)
        try:
            moved = event is not None and event.trigger(draft, draft)
        except MachineError as exc:
            raise IllegalStep(source, str(trigger)) from exc
        if not moved or draft.row is None:
            raise IllegalStep(source, str(trigger))
        after = self._settle(session, draft)
        return Step(
            after,
            tuple(draft.outbox),
            self._journal(source, trigger, facts, after, absorbed=False),
            draft.row.durability,
        )

    def _settle(self, session: SessionValue, draft: Draft) -> SessionValue:
        """The draft as a value: a reason belongs to the state that it led to; the first one stays while ending."""
        target, before = draft.state, str(session.state)
        kind, kind_before = self._kinds[target], self._kinds[before]
        category, reason = session.category, session.reason
        if kind is Kind.WORK:
            category, reason = None, None
        elif target != before and kind_before is not Kind.ENDING:
            category, reason = draft.facts.category, draft.facts.reason
        return SessionValue(
            target,
            session.seq + 1,
            draft.tries,
            draft.retry_at,
            draft.resume_at,
            category,
            reason,
            session.absorbed,
        )

    def _absorb(self, session: SessionValue, trigger: str, facts: Facts) -> Step:
        if trigger in session.absorbed:
            return Step(session, (), None, Durability.RIDES)
        after = SessionValue(
            session.state,
            session.seq + 1,
            session.tries,
            session.retry_at,
            session.resume_at,
            session.category,
            session.reason,
            (*session.absorbed, str(trigger)),
        )
        row = self._journal(str(session.state), trigger, facts, after, absorbed=True)
        return Step(after, (), row, Durability.RIDES)

    def _journal(
        self, source: str, trigger: str, facts: Facts, after: SessionValue, *, absorbed: bool
    ) -> JournalRow:
        further: dict[str, Any] = {}
        if facts.message:
            further["message"] = facts.message
        if facts.item is not None:
            further["item"] = facts.item
        if facts.operation is not None:
            further["operation"] = facts.operation
        if facts.items is not None:
            further["items"] = facts.items
        return JournalRow(
            after.seq,
            facts.now,
            str(trigger),
            source,
            str(after.state),
            facts.category,
            facts.reason,
            facts.delay_s,
            after.tries,
            facts.tries_allowed,
            further,
            self.spec.fingerprint,
            absorbed,
        )


def _note_row(row: Row) -> Callable[[Draft], None]:
    keeps_timers = row.target is None

    def note_row(draft: Draft) -> None:
        draft.row = row
        if not keeps_timers:  # a timer belongs to the state that it was set for
            draft.retry_at = draft.resume_at = None

    return note_row


def _callback(effect: str, update: Callable[[Draft], None]) -> Callable[[Draft], None]:
    """The callback of an effect bears its name: it updates the draft and puts the effect into the outbox."""

    def callback(draft: Draft) -> None:
        update(draft)
        draft.outbox.append(effect)

    callback.__name__ = callback.__qualname__ = str(effect)
    return callback


@cache
def machine_for(spec: MachineSpec = DEFAULT_SPEC) -> Machine:
    """The machine of a spec; built once per spec and process."""
    return Machine(spec)


def step(session: SessionValue, trigger: str, facts: Facts) -> Step:
    """Take one event through the default machine; see `Machine.step`."""
    return machine_for(DEFAULT_SPEC).step(session, trigger, facts)
