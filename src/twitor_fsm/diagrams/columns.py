"""Which states stand below each other, so that a picture is narrow enough for a page.

The waiting states share a column, and so do those in which a session ends; work stands wherever the layout wants it. An
edge that leads back to an earlier column is laid out as its reverse, so that it does not move its states.
Pure. Must not know: sizes, formats.
"""

from typing import Final

from ..core.states import Kind
from .scene import Scene

__all__ = ["columns", "is_backward"]

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


def is_backward(source: Kind, target: Kind) -> bool:
    """Whether an edge leads to an earlier column."""
    return _COLUMN[target] < _COLUMN[source]
