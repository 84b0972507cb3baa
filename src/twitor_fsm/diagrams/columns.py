"""Which states stand below each other, so that a picture is narrow enough for a page.

The waiting states share a column, and so do those in which a session ends; work stands wherever the layout wants it. A
final state stands right below the state that leads to it.
Pure. Must not know: sizes, formats.
"""

from typing import Final

from ..core.states import Kind
from .scene import Scene

__all__ = ["columns", "is_reversed", "stacks"]

_COLUMN: Final = {Kind.WORK: 0, Kind.WAITING: 1, Kind.ENDING: 2, Kind.FINAL: 2}
"""0 is no column."""


def columns(scene: Scene) -> list[list[str]]:
    """Names of what shares a column: states as `s0`, `s1`, ..., labels of edges within a column as `e0`, `e1`, ..."""
    shared: dict[int, list[str]] = {1: [], 2: []}
    kinds = {box.node.name: box.node.kind for box in scene.boxes}
    for number, box in enumerate(scene.boxes):
        if _COLUMN[box.node.kind]:
            shared[_COLUMN[box.node.kind]].append(f"s{number}")
    for number, label in enumerate(scene.labels):
        source, target = _COLUMN[kinds[label.edge.source]], _COLUMN[kinds[label.edge.target]]
        if source == target != 0:
            shared[source].append(f"e{number}")
    return [names for names in shared.values() if len(names) > 1]


def stacks(scene: Scene) -> list[list[str]]:
    """Names of what is to stay together within a column: an ending state, labels, and the final states below it."""
    kinds = {box.node.name: box.node.kind for box in scene.boxes}
    names = {box.node.name: f"s{number}" for number, box in enumerate(scene.boxes)}
    found: dict[str, list[str]] = {}
    placed: set[str] = set()
    for number, label in enumerate(scene.labels):
        source, target = label.edge.source, label.edge.target
        if kinds[source] is Kind.ENDING and kinds[target] is Kind.FINAL and target not in placed:
            placed.add(target)
            found.setdefault(source, [names[source]]).extend((f"e{number}", names[target]))
    return list(found.values())


def is_reversed(source: Kind, target: Kind) -> bool:
    """Whether an edge is laid out as its reverse.

    One that leads back to an earlier column, so that it does not move its states; and one to a final state within a
    stack, since graphviz orders those from below.
    """
    if source is Kind.ENDING and target is Kind.FINAL:
        return True
    return _COLUMN[target] < _COLUMN[source]
