"""A machine as a value: its states, the rows of its table, and what its effects change.

Pure. Must not know: our own table, which library runs one.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from ..errors import SpecError
from .spec_checks import fingerprint, problems
from .values import Facts
from .words import Durability, Effect, Guard, Kind

__all__ = ["Absorb", "Draft", "MachineSpec", "Row", "StateDef"]


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


@attrs.frozen(eq=False, repr=False)
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
    effects: Mapping[str, Callable[[Draft], None]] = attrs.field(default=_EFFECTS, converter=_proxy)
    guards: Mapping[str, Callable[[Draft], bool]] = attrs.field(default=_GUARDS, converter=_proxy)
    fingerprint: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        for problem in problems(self):
            raise SpecError(problem)
        object.__setattr__(self, "fingerprint", fingerprint(self))

    def __repr__(self) -> str:
        """Short: it stands in signatures and traces, where the whole table would hide the rest."""
        return f"<MachineSpec {self.fingerprint}: {len(self.states)} states, {len(self.rows)} rows>"

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
