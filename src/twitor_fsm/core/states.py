"""The one table of transitions.

Everything else is derived from `DEFAULT_SPEC`: the engine's behaviour, the diagrams, the docs, the checker. The words
and values that it is made of are named here too, so that `core.states` is the one place to import them from.
Pure. Must not know: which library runs the table, who carries effects out, where a session is kept.
"""

from typing import Final

import attrs

from ..errors import SpecError
from .spec import Absorb, Draft, MachineSpec, Row, StateDef
from .values import Facts, JournalRow, SessionValue, Step
from .words import Durability, Effect, Guard, Kind, State, Trigger

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
    "check_skips",
    "endings",
]


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
        SpecError: A state in which a session works or waits does not allow what may happen there at any time; or as of
            `check_skips`.
    """
    check_skips(spec)
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


def check_skips(spec: MachineSpec) -> None:
    """Refuse a machine that would write an item's skip before the item is skipped, and so try to store it again.

    Raises:
        SpecError: A row of `item_skipped` does not ride.
    """
    for row in spec.rows:
        if row.trigger == Trigger.ITEM_SKIPPED and row.durability is not Durability.RIDES:
            raise SpecError(
                f"row {row}: a skip is written together with the item that it leaves out, so its step has to ride "
                "(Durability.RIDES)"
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
