"""What is written where in a picture: the lines of each state's box and of each edge's label.

Pure. Must not know: places, colours, formats. The words are the same in SVG, PNG and DOT.
"""

from typing import Final

import attrs

from ..core.states import MachineSpec
from .graph import Edge, Event, Graph, Node
from .path import Path
from .text import clipped, width

__all__ = ["SIZES", "Label", "Line", "Scene", "StateBox", "Style", "scene_of"]

Style = str
"""Which part of a text a line is: one of `SIZES`."""

SIZES: Final = {
    "title": 15.0,
    "said": 11.0,
    "name": 13.0,
    "event": 11.0,
    "effect": 9.0,
    "note": 10.5,
}
"""Font sizes."""

_BOLD: Final = frozenset({"title", "name"})
LEADING: Final = 1.32
"""Height of a line, in font sizes."""


@attrs.frozen
class Line:
    """One line of text.

    Attributes:
        text: Printable; not yet escaped.
        style: What it is.
        happened: Whether it is something that the session did; None where no session is shown.
        loops: Whether a mark before it says that the state is kept.
    """

    text: str
    style: Style
    happened: bool | None = None
    loops: bool = False

    @property
    def size(self) -> float:
        """Font size."""
        return SIZES[self.style]

    @property
    def height(self) -> float:
        """Room it takes downwards."""
        return self.size * LEADING

    @property
    def width(self) -> float:
        """Room it takes sideways, at most."""
        return width(self.text, self.size, bold=self.is_bold)

    @property
    def is_bold(self) -> bool:
        """Whether it stands out: what names something, and what a session did."""
        return self.style in _BOLD or (self.style == "event" and self.happened is True)


@attrs.frozen
class StateBox:
    """A state: its name, then what keeps it there, then why the session is in it."""

    node: Node
    inner: tuple[Line, ...] = ()
    notes: tuple[Line, ...] = ()
    visited: bool | None = None
    is_current: bool = False

    @property
    def name_line(self) -> Line:
        """The name as it is drawn."""
        return Line(clipped(self.node.name), "name")


@attrs.frozen
class Label:
    """An edge and what is written on it; `count` is None where no session is shown."""

    edge: Edge
    lines: tuple[Line, ...]
    count: int | None = None


@attrs.frozen
class Scene:
    """A whole picture before it has a shape."""

    title: str
    said: tuple[Line, ...]
    boxes: tuple[StateBox, ...]
    labels: tuple[Label, ...]
    description: str


def scene_of(
    spec: MachineSpec,
    path: Path | None = None,
    *,
    title: str | None = None,
    said: tuple[str, ...] = (),
) -> Scene:
    """Write a machine, or what a session did on it.

    Args:
        spec: The machine.
        path: The session's path; None draws the machine alone.
        title: Heading; None leaves it out.
        said: Lines below it.
    """
    graph = Graph.of(spec)
    below = list(said)
    if path is not None and path.last_error is not None:
        below.append(f"last error: {path.last_error}")
    return Scene(
        clipped(title, 100) if title else "",
        tuple(Line(clipped(line, 130), "said") for line in below),
        tuple(_box(node, graph, path) for node in graph.nodes),
        tuple(
            Label(edge, _lines(edge, path), None if path is None else path.count(edge.pair))
            for edge in graph.edges
            if not edge.is_loop
        ),
        describe(graph, path),
    )


def _box(node: Node, graph: Graph, path: Path | None) -> StateBox:
    loops = [edge for edge in graph.edges if edge.is_loop and edge.source == node.name]
    inner = [
        attrs.evolve(line, loops=line.style == "event")
        for edge in loops
        for line in _lines(edge, path)
    ]
    if path is None:
        return StateBox(node, tuple(inner))
    notes = [Line(clipped(note), "note") for note in path.notes if node.name == path.current]
    absorbed = path.absorbed.get(node.name, {})
    inner += [
        Line(f"{clipped(trigger)}: no effect{_times(number)}", "event", happened=True)
        for trigger, number in absorbed.items()
    ]
    return StateBox(
        node, tuple(inner), tuple(notes), node.name in path.visited, node.name == path.current
    )


def _lines(edge: Edge, path: Path | None) -> tuple[Line, ...]:
    lines: list[Line] = []
    for event in edge.events:
        number = None if path is None else path.count(edge.pair, event)
        happened = None if number is None else number > 0
        lines.append(Line(clipped(event.title) + _times(number or 0), "event", happened))
        if event.effects and happened is not False:
            lines.append(Line(", ".join(clipped(e) for e in event.effects), "effect", happened))
    return tuple(lines)


def _times(number: int) -> str:
    return f" ×{number:,}" if number > 1 else ""


def describe(graph: Graph, path: Path | None) -> str:
    """The picture in sentences, for those who do not see it."""
    states = ", ".join(f"{clipped(n.name)} ({n.kind})" for n in graph.nodes)
    first = next(n.name for n in graph.nodes if n.is_initial)
    sentences = [f"States: {states}.", f"It begins in {clipped(first)}."]
    for edge in graph.edges:
        if path is not None and not path.count(edge.pair):
            continue
        there = "itself" if edge.is_loop else clipped(edge.target)
        events = [_said(edge, event, path) for event in edge.events]
        sentences.append(
            f"From {clipped(edge.source)} to {there}: {', '.join(said for said in events if said)}."
        )
    if path is not None:
        why = f" ({'; '.join(clipped(note) for note in path.notes)})" if path.notes else ""
        sentences.append(f"It is in {clipped(path.current)}{why}.")
        if path.last_error:
            sentences.append(f"Last error: {clipped(path.last_error, 200)}")
    return " ".join(sentences)


def _said(edge: Edge, event: Event, path: Path | None) -> str:
    if path is None:
        return clipped(event.title)
    number = path.count(edge.pair, event)
    return f"{clipped(event.title)}{_times(number)}" if number else ""
