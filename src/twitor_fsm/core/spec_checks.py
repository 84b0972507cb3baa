"""What can be wrong with a machine's table, and the name of what it says.

Pure. Must not know: how a table is run.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from .words import Durability, Effect, Kind

if TYPE_CHECKING:
    from .spec import MachineSpec, Row

__all__ = ["fingerprint", "problems"]

_NO_STATES: Final = frozenset({"", "="})
_NO_TRIGGERS: Final = frozenset({"", "state"})
"""Words that mean something else to the library which runs a table (`transitions`): "the same", its own attribute."""


def problems(spec: "MachineSpec") -> Iterator[str]:
    """Everything wrong with a table, most basic first."""
    names = [str(state.name) for state in spec.states]
    yield from _misnamed(spec, names)
    if spec.initial not in names:
        yield f"the initial state {str(spec.initial)!r} is not among the states"
    kinds = {str(state.name): state.kind for state in spec.states}
    if Kind.FINAL not in kinds.values():
        yield "no state is final: a session could never end"
    for row in spec.rows:
        yield from _row_problems(row, spec, kinds)
        yield from _undone(row, kinds)
    for absorb in spec.absorbs:
        for name in absorb.states:
            if name not in kinds:
                yield f"absorbed triggers {', '.join(absorb.triggers)}: unknown state {str(name)!r}"
            elif kinds[name] is Kind.FINAL:
                yield f"state {str(name)!r} is final and cannot absorb events"
    yield from _shadowed(spec)
    yield from _unreachable(spec, kinds)


def _misnamed(spec: "MachineSpec", names: list[str]) -> Iterator[str]:
    for name in names:
        if names.count(name) > 1:
            yield f"state {name!r} is defined twice"
        if name in _NO_STATES:
            yield f"no state can be named {name!r}"
    for trigger in spec.triggers:
        if trigger in _NO_TRIGGERS:
            yield f"no trigger can be named {str(trigger)!r}"


def _row_problems(row: "Row", spec: "MachineSpec", kinds: Mapping[str, Kind]) -> Iterator[str]:
    for name in (*row.sources, *((row.target,) if row.target is not None else ())):
        if name not in kinds:
            yield f"row {row}: unknown state {str(name)!r}"
    if not row.sources:
        yield f"row {row}: no source state"
    for name in row.sources:
        if kinds.get(name) is Kind.FINAL:
            yield f"row {row}: leaves the final state {str(name)!r}"
    for effect in row.effects:
        if effect not in spec.effects:
            yield (
                f"row {row}: no handler for effect {str(effect)!r}. Give one with extend(effects={{{str(effect)!r}: "
                "function}), a function of the Draft that may do nothing; what is to be done after the step's commit "
                "goes to CrawlEngine(effects=...)"
            )
    if row.guard is not None and row.guard not in spec.guards:
        yield f"row {row}: no guard {str(row.guard)!r}"


def _undone(row: "Row", kinds: Mapping[str, Kind]) -> Iterator[str]:
    """What would never be done: a step that rides waits for a commit of work to come, which no ending or final state has."""
    kind = kinds.get(row.target) if row.target is not None else None
    if Effect.RUN_CLEANUP in row.effects and kind is Kind.FINAL:
        yield f"row {row}: asks for the cleanup, which is run in an ending state, and leads to a final one"
    if row.durability is not Durability.RIDES:
        return
    if kind is Kind.FINAL:
        yield f"row {row}: rides into a final state, so that it would never be written"
    elif kind is Kind.ENDING and Effect.SAVE_CHECKPOINT in row.effects:
        yield f"row {row}: rides into an ending state, so that its checkpoint would never be written"


def _shadowed(spec: "MachineSpec") -> Iterator[str]:
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


def _unreachable(spec: "MachineSpec", kinds: Mapping[str, Kind]) -> Iterator[str]:
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


def fingerprint(spec: "MachineSpec") -> str:
    """Names what the table says (not how its effects are coded): 16 hex digits."""
    lines = [f"initial {spec.initial!s}"]
    lines += [f"state {state.name!s} {state.kind!s}" for state in spec.states]
    lines += [f"{row} {','.join(row.effects)} {row.durability!s}" for row in spec.rows]
    lines += [f"absorb {','.join(a.states)} {','.join(a.triggers)}" for a in spec.absorbs]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:16]
