"""What there is to draw of a machine: states, and one edge for each pair of states with all its events.

Pure. Must not know: sessions, formats, fonts, places.
"""

from collections.abc import Iterator

import attrs

from ..core.states import Kind, MachineSpec

__all__ = ["Edge", "Event", "Graph", "Node", "Pair"]

Pair = tuple[str, str]
"""From, to."""


@attrs.frozen
class Event:
    """One row of the table as one edge shows it; a row stands on several edges if it has several sources."""

    trigger: str
    guard: str | None = None
    effects: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The trigger, its guard in brackets."""
        return self.trigger if self.guard is None else f"{self.trigger} [{self.guard}]"


@attrs.frozen
class Node:
    """One state."""

    name: str
    kind: Kind
    is_initial: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it is left no more."""
        return self.kind is Kind.FINAL


@attrs.frozen
class Edge:
    """Everything that leads from one state to another (or back to itself)."""

    source: str
    target: str
    events: tuple[Event, ...]

    @property
    def pair(self) -> Pair:
        """What names it."""
        return self.source, self.target

    @property
    def is_loop(self) -> bool:
        """Whether it stays where it is."""
        return self.source == self.target


@attrs.frozen
class Graph:
    """A machine to draw.

    Attributes:
        nodes: All states, in the order of the spec.
        edges: One for each pair of states, in the order of the table.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, spec: MachineSpec) -> "Graph":
        """Read a table."""
        pairs: dict[Pair, list[Event]] = {}
        for pair, event in _events(spec):
            pairs.setdefault(pair, []).append(event)
        return cls(
            tuple(
                Node(str(state.name), state.kind, str(state.name) == str(spec.initial))
                for state in spec.states
            ),
            tuple(Edge(*pair, tuple(events)) for pair, events in pairs.items()),
        )


def _events(spec: MachineSpec) -> Iterator[tuple[Pair, Event]]:
    for row in spec.rows:
        guard = str(row.guard) if row.guard is not None else None
        event = Event(str(row.trigger), guard, tuple(str(effect) for effect in row.effects))
        for source in row.sources:
            target = row.target if row.target is not None else source
            yield (str(source), str(target)), event
