"""The session's state machine as a value: states, triggers, effects and the one table of transitions.

Everything else is derived from `DEFAULT_SPEC`: the engine's behaviour, the diagrams, the docs, the checker.
Pure. Must not know: which library runs the table, who carries effects out, where a session is kept.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import attrs

from ..errors import SpecError
from .taxonomy import ErrorCategory

__all__ = [
    "DEFAULT_SPEC",
    "Absorb",
    "Draft",
    "Durability",
    "Effect",
    "Facts",
    "Guard",
    "JournalRow",
    "Kind",
    "MachineSpec",
    "Row",
    "SessionValue",
    "State",
    "StateDef",
    "Step",
    "Trigger",
    "check_for_crawls",
    "endings",
]


class State(StrEnum):
    """Where a session stands; spelled the same in storage, logs, metrics and diagrams."""

    RUNNING = "running"
    PAUSED_RATE_LIMIT = "paused_rate_limit"
    RETRYING = "retrying"
    ABORTING = "aborting"
    SHUTTING_DOWN = "shutting_down"
    COMPLETED = "completed"
    ABORTED = "aborted"
    SHUT_DOWN = "shut_down"


class Trigger(StrEnum):
    """What can happen to a session."""

    ITEM_SKIPPED = "item_skipped"
    NETWORK_FAILED = "network_failed"
    RECOVERED = "recovered"
    RATE_LIMITED = "rate_limited"
    RESUME = "resume"
    AUTH_FAILED = "auth_failed"
    FATAL_FAILED = "fatal_failed"
    STORE_FAILED = "store_failed"
    CANCEL = "cancel"
    FINISH = "finish"
    CLEANED_UP = "cleaned_up"
    RESTARTED = "restarted"


class Effect(StrEnum):
    """What a transition asks the shell to do, or changes in the session's value."""

    RESET_RETRIES = "reset_retries"
    RECORD_SKIP = "record_skip"
    SCHEDULE_RETRY = "schedule_retry"
    SAVE_CHECKPOINT = "save_checkpoint"
    SCHEDULE_RESUME = "schedule_resume"
    RUN_CLEANUP = "run_cleanup"
    END_SESSION = "end_session"


class Guard(StrEnum):
    """Conditions on a row of the table."""

    TRIES_LEFT = "tries_left"
    NO_TRIES_LEFT = "no_tries_left"
    HAS_TRIES = "has_tries"


class Kind(StrEnum):
    """What a session does in a state."""

    WORK = "work"
    WAITING = "waiting"
    ENDING = "ending"
    FINAL = "final"


class Durability(StrEnum):
    """When a step becomes true."""

    AT_ONCE = "at_once"
    """Committed at once, together with everything that is pending; adopted when that has committed."""
    RIDES = "rides"
    """Adopted at once, written with the next commit; dropped if that never comes."""
    ALONE = "alone"
    """Stepped from the last durable value and committed alone: pending work is dropped, no checkpoint is written."""
    UNSAVED = "unsaved"
    """Stepped from the last durable value and adopted without a commit: the store is out."""


@attrs.frozen
class StateDef:
    """One state of a machine: its name and its kind."""

    name: str
    kind: Kind


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        trigger: The event.
        sources: States it is allowed in.
        target: The state it leads to; None keeps the state.
        effects: Names, in order; each has an entry in `MachineSpec.effects`.
        guard: Name of a condition in `MachineSpec.guards`; None always holds.
        durability: When the step becomes true.
    """

    trigger: str
    sources: tuple[str, ...]
    target: str | None
    effects: tuple[str, ...] = ()
    guard: str | None = None
    durability: Durability = Durability.AT_ONCE

    def __str__(self) -> str:
        guard = f" [{self.guard}]" if self.guard else ""
        return f"{self.trigger}{guard}: {', '.join(self.sources)} -> {self.target or 'the same'}"


@attrs.frozen
class Absorb:
    """Triggers that are allowed in these states, journalled once each, and change nothing."""

    states: tuple[str, ...]
    triggers: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Facts:
    """What is known about one event; everything that a step depends on besides the session's value.

    Attributes:
        now: Epoch seconds, UTC.
        category: The error's category; None for events that are no errors.
        reason: Finer kind.
        delay_s: Wait that the recovery strategy decided, seconds; for schedule_retry and schedule_resume.
        tries_allowed: MAX_RETRIES of the session.
        message: What happened, for people; holds no secret and no content.
        item: Key of the item concerned, if one is.
        operation: What was being done ("fetch", "handle", "commit", "decode_item", ...).
    """

    now: float
    category: ErrorCategory | None = None
    reason: str | None = None
    delay_s: float = 0.0
    tries_allowed: int = 5
    message: str = ""
    item: str | None = None
    operation: str | None = None


@attrs.frozen
class SessionValue:
    """A session's whole state as far as the machine is concerned.

    Attributes:
        state: Name of the state.
        seq: Number of steps taken; the last journal row's sequence number.
        tries: Failures of the current operation so far, from 0.
        retry_at: When the operation is due again, epoch seconds; set while retrying.
        resume_at: When the pause ends, epoch seconds; set while paused.
        category: Category of the error that led to the present state; None if none did.
        reason: Reason for being in the present state; None at work.
        absorbed: Triggers absorbed so far while ending; each is journalled once.
    """

    state: str = State.RUNNING
    seq: int = 0
    tries: int = 0
    retry_at: float | None = None
    resume_at: float | None = None
    category: ErrorCategory | None = None
    reason: str | None = None
    absorbed: tuple[str, ...] = ()


@attrs.define
class Draft:
    """The session's value while a step is being taken; what guards read and effects may change."""

    state: str
    tries: int
    retry_at: float | None
    resume_at: float | None
    facts: Facts
    outbox: list[str]
    row: Row | None = None


@attrs.frozen
class JournalRow:
    """One step as it is kept for ever.

    Attributes:
        seq: 1, 2, 3, ... within the session.
        at: Epoch seconds, UTC.
        trigger: The event.
        source: State before.
        target: State after.
        category: Error category, or None.
        reason: Finer kind, or None.
        delay_s: Wait that was decided, seconds.
        tries: Failures of the operation after this step.
        tries_allowed: MAX_RETRIES when it happened.
        facts: Further facts, values of JSON: message, item, operation.
        spec: Fingerprint of the table that allowed the step.
        absorbed: Whether the event changed nothing.
    """

    seq: int
    at: float
    trigger: str
    source: str
    target: str
    category: ErrorCategory | None
    reason: str | None
    delay_s: float
    tries: int
    tries_allowed: int
    facts: Mapping[str, Any]
    spec: str
    absorbed: bool = False

    def to_facts(self) -> Facts:
        """The facts of the event, as `step` needs them to take it again."""
        return Facts(
            now=self.at,
            category=self.category,
            reason=self.reason,
            delay_s=self.delay_s,
            tries_allowed=self.tries_allowed,
            message=str(self.facts.get("message", "")),
            item=self.facts.get("item"),
            operation=self.facts.get("operation"),
        )


@attrs.frozen
class Step:
    """The outcome of one event.

    Attributes:
        session: The value after it.
        effects: What the shell has to do, in order.
        journal: The row to keep; None for an event absorbed before.
        durability: When the step becomes true.
    """

    session: SessionValue
    effects: tuple[str, ...]
    journal: JournalRow | None
    durability: Durability


def _reset_retries(draft: Draft) -> None:
    draft.tries = 0


def _schedule_retry(draft: Draft) -> None:
    draft.tries += 1
    draft.retry_at = draft.facts.now + draft.facts.delay_s


def _schedule_resume(draft: Draft) -> None:
    draft.resume_at = draft.facts.now + draft.facts.delay_s


def _unchanged(draft: Draft) -> None:
    """The effect is carried out by the shell alone."""


def _tries_left(draft: Draft) -> bool:
    return draft.tries < draft.facts.tries_allowed


def _no_tries_left(draft: Draft) -> bool:
    return draft.tries >= draft.facts.tries_allowed


def _has_tries(draft: Draft) -> bool:
    return draft.tries > 0


_EFFECTS: Final[Mapping[str, Callable[[Draft], None]]] = MappingProxyType(
    {
        Effect.RESET_RETRIES: _reset_retries,
        Effect.RECORD_SKIP: _unchanged,
        Effect.SCHEDULE_RETRY: _schedule_retry,
        Effect.SAVE_CHECKPOINT: _unchanged,
        Effect.SCHEDULE_RESUME: _schedule_resume,
        Effect.RUN_CLEANUP: _unchanged,
        Effect.END_SESSION: _unchanged,
    }
)

_GUARDS: Final[Mapping[str, Callable[[Draft], bool]]] = MappingProxyType(
    {
        Guard.TRIES_LEFT: _tries_left,
        Guard.NO_TRIES_LEFT: _no_tries_left,
        Guard.HAS_TRIES: _has_tries,
    }
)


def _proxy(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


@attrs.frozen(eq=False)
class MachineSpec:
    """A machine as a value: checked whole when it is made.

    Attributes:
        states: All states, in the order in which they are drawn.
        initial: Where every session begins.
        rows: The table of transitions.
        absorbs: Events without consequence while a session is ending.
        effects: What each effect changes in the session's value (`Draft -> None`).
        guards: Conditions by name (`Draft -> bool`).

    Raises:
        SpecError: An unknown or doubled name, an unreachable state, an edge out of a final state, a state without a
            way to an end, a missing effect or guard, or two rows of which the first always wins; names the row.
    """

    states: tuple[StateDef, ...]
    initial: str
    rows: tuple[Row, ...]
    absorbs: tuple[Absorb, ...] = ()
    effects: Mapping[str, Callable[[Draft], None]] = attrs.field(
        default=_EFFECTS, converter=_proxy, repr=False
    )
    guards: Mapping[str, Callable[[Draft], bool]] = attrs.field(
        default=_GUARDS, converter=_proxy, repr=False
    )
    fingerprint: str = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for problem in _problems(self):
            raise SpecError(problem)
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Kind of each state by its name."""
        return {str(state.name): state.kind for state in self.states}

    @property
    def triggers(self) -> tuple[str, ...]:
        """Every trigger of the table, each once, in its order."""
        named = [row.trigger for row in self.rows]
        named += [trigger for absorb in self.absorbs for trigger in absorb.triggers]
        return tuple(dict.fromkeys(named))

    def extend(
        self,
        *,
        states: Iterable[StateDef] = (),
        rows: Iterable[Row] = (),
        absorbs: Iterable[Absorb] = (),
        effects: Mapping[str, Callable[[Draft], None]] | None = None,
        guards: Mapping[str, Callable[[Draft], bool]] | None = None,
    ) -> "MachineSpec":
        """A new machine with these added to this one's; new rows come before the old ones of the same trigger.

        Raises:
            SpecError: As for the constructor.
        """
        return MachineSpec(
            states=(*self.states, *states),
            initial=self.initial,
            rows=(*rows, *self.rows),
            absorbs=(*self.absorbs, *absorbs),
            effects={**self.effects, **(effects or {})},
            guards={**self.guards, **(guards or {})},
        )


def _problems(spec: MachineSpec) -> Iterator[str]:
    """Everything wrong with a table, most basic first."""
    names = [str(state.name) for state in spec.states]
    for name in names:
        if names.count(name) > 1:
            yield f"state {name!r} is defined twice"
    if spec.initial not in names:
        yield f"the initial state {str(spec.initial)!r} is not among the states"
    kinds = {str(state.name): state.kind for state in spec.states}
    if Kind.FINAL not in kinds.values():
        yield "no state is final: a session could never end"
    for row in spec.rows:
        yield from _row_problems(row, spec, kinds)
    for absorb in spec.absorbs:
        for name in absorb.states:
            if name not in kinds:
                yield f"absorbed triggers {', '.join(absorb.triggers)}: unknown state {str(name)!r}"
            elif kinds[name] is Kind.FINAL:
                yield f"state {str(name)!r} is final and cannot absorb events"
    yield from _shadowed(spec)
    yield from _unreachable(spec, kinds)


def _row_problems(row: Row, spec: MachineSpec, kinds: Mapping[str, Kind]) -> Iterator[str]:
    for name in (*row.sources, *((row.target,) if row.target is not None else ())):
        if name not in kinds:
            yield f"row {row}: unknown state {str(name)!r}"
            return
    if not row.sources:
        yield f"row {row}: no source state"
    for name in row.sources:
        if kinds[name] is Kind.FINAL:
            yield f"row {row}: leaves the final state {str(name)!r}"
    for effect in row.effects:
        if effect not in spec.effects:
            yield f"row {row}: no handler for effect {str(effect)!r}"
    if row.guard is not None and row.guard not in spec.guards:
        yield f"row {row}: no guard {str(row.guard)!r}"


def _shadowed(spec: MachineSpec) -> Iterator[str]:
    """A row behind an unguarded one (or one with the same guard) for the same cell can never be taken."""
    taken: dict[tuple[str, str], list[Row]] = {}
    for row in spec.rows:
        for source in row.sources:
            before = taken.setdefault((row.trigger, source), [])
            for earlier in before:
                if earlier.guard is None or earlier.guard == row.guard:
                    yield f"row {row}: never taken in {str(source)!r}, since {earlier} comes first"
            before.append(row)
    for absorb in spec.absorbs:
        for state in absorb.states:
            for trigger in absorb.triggers:
                if (trigger, state) in taken:
                    yield f"trigger {str(trigger)!r} is both absorbed and a row in state {str(state)!r}"


def _unreachable(spec: MachineSpec, kinds: Mapping[str, Kind]) -> Iterator[str]:
    edges = [
        (source, row.target)
        for row in spec.rows
        if row.target is not None
        for source in row.sources
    ]
    forward = _closure({spec.initial}, edges)
    for name in kinds:
        if name not in forward:
            yield f"state {name!r} cannot be reached from {str(spec.initial)!r}"
    finals = {name for name, kind in kinds.items() if kind is Kind.FINAL}
    backward = _closure(finals, [(target, source) for source, target in edges])
    for name in kinds:
        if name not in backward:
            yield f"state {name!r} has no way to a final state"


def _closure(start: set[str], edges: list[tuple[str, str]]) -> set[str]:
    reached = set(start)
    while True:
        more = {target for source, target in edges if source in reached} - reached
        if not more:
            return reached
        reached |= more


def _fingerprint(spec: MachineSpec) -> str:
    """Names what the table says (not how its effects are coded): 16 hex digits."""
    lines = [f"initial {spec.initial!s}"]
    lines += [f"state {state.name!s} {state.kind!s}" for state in spec.states]
    lines += [f"{row} {','.join(row.effects)} {row.durability!s}" for row in spec.rows]
    lines += [f"absorb {','.join(a.states)} {','.join(a.triggers)}" for a in spec.absorbs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def endings(*states: str) -> tuple[Row, ...]:
    """Rows that let an app's own states end like ours: by a cancel, by errors, and by a restart of the process.

    Every state in which a session works or waits needs them.
    """
    shared = [row for row in DEFAULT_SPEC.rows if State.PAUSED_RATE_LIMIT in row.sources]
    return tuple(
        attrs.evolve(row, sources=tuple(states)) for row in shared if row.trigger != Trigger.RESUME
    )


def check_for_crawls(spec: MachineSpec) -> None:
    """Refuse a machine whose sessions could hang.

    Raises:
        SpecError: A state in which a session works or waits does not allow what may happen there at any time.
    """
    needed = (
        Trigger.CANCEL,
        Trigger.AUTH_FAILED,
        Trigger.FATAL_FAILED,
        Trigger.STORE_FAILED,
        Trigger.RESTARTED,
    )
    allowed = {(str(source), str(row.trigger)) for row in spec.rows for source in row.sources}
    for state in spec.states:
        if state.kind in {Kind.WORK, Kind.WAITING}:
            for trigger in needed:
                if (str(state.name), str(trigger)) not in allowed:
                    raise SpecError(
                        f"state {str(state.name)!r} has no row for {str(trigger)!r}, which may happen there at any "
                        "time; add endings(...) to the rows"
                    )


_ACTIVE: Final = (State.RUNNING, State.RETRYING, State.PAUSED_RATE_LIMIT)
_WORKING: Final = (State.RUNNING, State.RETRYING)
_ENDING: Final = (State.ABORTING, State.SHUTTING_DOWN)

DEFAULT_SPEC: Final = MachineSpec(
    states=(
        StateDef(State.RUNNING, Kind.WORK),
        StateDef(State.PAUSED_RATE_LIMIT, Kind.WAITING),
        StateDef(State.RETRYING, Kind.WAITING),
        StateDef(State.ABORTING, Kind.ENDING),
        StateDef(State.SHUTTING_DOWN, Kind.ENDING),
        StateDef(State.COMPLETED, Kind.FINAL),
        StateDef(State.ABORTED, Kind.FINAL),
        StateDef(State.SHUT_DOWN, Kind.FINAL),
    ),
    initial=State.RUNNING,
    rows=(
        Row(
            Trigger.ITEM_SKIPPED,
            _WORKING,
            State.RUNNING,
            (Effect.RESET_RETRIES, Effect.RECORD_SKIP),
            durability=Durability.RIDES,
        ),
        Row(
            Trigger.NETWORK_FAILED,
            _WORKING,
            State.RETRYING,
            (Effect.SCHEDULE_RETRY,),
            guard=Guard.TRIES_LEFT,
        ),
        Row(
            Trigger.NETWORK_FAILED,
            _WORKING,
            State.ABORTING,
            (Effect.SAVE_CHECKPOINT, Effect.RUN_CLEANUP),
            guard=Guard.NO_TRIES_LEFT,
        ),
        Row(
            Trigger.RECOVERED,
            (State.RUNNING,),
            State.RUNNING,
            (Effect.RESET_RETRIES,),
            guard=Guard.HAS_TRIES,
            durability=Durability.RIDES,
        ),
        Row(
            Trigger.RECOVERED,
            (State.RETRYING,),
            State.RUNNING,
            (Effect.RESET_RETRIES,),
            durability=Durability.RIDES,
        ),
        Row(
            Trigger.RATE_LIMITED,
            _WORKING,
            State.PAUSED_RATE_LIMIT,
            (Effect.SAVE_CHECKPOINT, Effect.SCHEDULE_RESUME),
        ),
        Row(
            Trigger.RESUME,
            (State.PAUSED_RATE_LIMIT,),
            State.RUNNING,
            durability=Durability.RIDES,
        ),
        Row(
            Trigger.AUTH_FAILED,
            _ACTIVE,
            State.ABORTING,
            (Effect.RUN_CLEANUP,),
            durability=Durability.ALONE,
        ),
        Row(
            Trigger.FATAL_FAILED,
            _ACTIVE,
            State.SHUTTING_DOWN,
            (Effect.SAVE_CHECKPOINT, Effect.RUN_CLEANUP),
        ),
        Row(
            Trigger.STORE_FAILED,
            _ACTIVE,
            State.SHUTTING_DOWN,
            (Effect.RUN_CLEANUP,),
            durability=Durability.UNSAVED,
        ),
        Row(
            Trigger.CANCEL,
            _ACTIVE,
            State.SHUTTING_DOWN,
            (Effect.SAVE_CHECKPOINT, Effect.RUN_CLEANUP),
        ),
        Row(
            Trigger.FINISH,
            (State.RUNNING,),
            State.COMPLETED,
            (Effect.SAVE_CHECKPOINT,),
        ),
        Row(
            Trigger.CLEANED_UP,
            (State.ABORTING,),
            State.ABORTED,
            (Effect.END_SESSION,),
        ),
        Row(
            Trigger.CLEANED_UP,
            (State.SHUTTING_DOWN,),
            State.SHUT_DOWN,
            (Effect.END_SESSION,),
        ),
        Row(Trigger.RESTARTED, _ACTIVE, None, durability=Durability.RIDES),
    ),
    absorbs=(
        Absorb(
            _ENDING,
            (
                Trigger.ITEM_SKIPPED,
                Trigger.NETWORK_FAILED,
                Trigger.RATE_LIMITED,
                Trigger.AUTH_FAILED,
                Trigger.FATAL_FAILED,
                Trigger.STORE_FAILED,
                Trigger.CANCEL,
            ),
        ),
    ),
)
"""The crawl session's machine. Source: the design document's categories; the two extra final states tell a session
that died in its cleanup from one that finished it."""
