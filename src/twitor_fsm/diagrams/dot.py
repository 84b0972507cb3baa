"""Writes a scene as DOT, for graphviz and everything that reads its language: plain text, no dependency.

As in our other pictures, a label is a node of its own in the middle of its edge, which nothing else covers.
The text is in graphviz's HTML-like labels, since only these know smaller type; they need a graphviz built with expat, as all
distributions build it. Must not know: tables, journals, places.
"""

import math
from collections.abc import Iterator
from html import escape
from typing import Final

from .columns import columns, is_reversed, stacks
from .scene import Label, Line, Scene, StateBox
from .theme import KIND_COLOURS, TAKEN

__all__ = ["draw"]

_FRAME: Final = """    graph [rankdir=LR, newrank=true, nodesep=0.13, ranksep=0.25, bgcolor="white", fontname="Helvetica,Arial,sans-serif"];
    node [shape=box, style="rounded,filled", fontname="Helvetica,Arial,sans-serif", fontsize=11, height=0.1];
    edge [color="#818b98", arrowsize=0.7];
    start [shape=circle, fillcolor="#1f2328", color="#1f2328", label="", width=0.15, fixedsize=true];"""

_UNTAKEN: Final = 'color="#d1d9e0", fillcolor="#f6f8fa"'


def draw(scene: Scene) -> str:
    """The scene as DOT text; every name in it is escaped."""
    return "\n".join(_lines(scene)) + "\n"


def _lines(scene: Scene) -> Iterator[str]:
    names = {box.node.name: f"s{number}" for number, box in enumerate(scene.boxes)}
    yield "digraph machine {"
    yield _FRAME
    if scene.title:
        yield f"    labelloc=t; labeljust=l; fontsize=11; label={_heading(scene)};"
    yield f"    tooltip={_quoted(scene.description)};"
    for box in scene.boxes:
        yield f"    {names[box.node.name]} {_state(box)};"
        if box.node.is_initial:
            yield f"    {{ rank=same; start; {names[box.node.name]}; }} start -> {names[box.node.name]};"
    kinds = {box.node.name: box.node.kind for box in scene.boxes}
    for number, label in enumerate(scene.labels):
        source, target, look = label.edge.source, label.edge.target, _look(label)
        yield f"    e{number} {_label(label)};"
        if is_reversed(kinds[source], kinds[target]):
            yield f"    {names[target]} -> e{number} [dir=back{look}];"
            yield f"    e{number} -> {names[source]} [dir=none{look}];"
        else:
            yield f"    {names[source]} -> e{number} [dir=none{look}];"
            yield f"    e{number} -> {names[target]} [weight=3{look}];"
    for column in columns(scene):
        yield f"    {{ rank=same; {'; '.join(column)}; }}"
    for number, stack in enumerate(stacks(scene)):
        yield f'    subgraph cluster_{number} {{ peripheries=0; margin=0; label=""; {"; ".join(stack)}; }}'
    yield "}"


def _heading(scene: Scene) -> str:
    lines = [f'<b>{escape(scene.title)}</b><br align="left"/>']
    lines += [f'{escape(line.text)}<br align="left"/>' for line in scene.said]
    return f"<{''.join(lines)}>"


def _state(box: StateBox) -> str:
    fill, line = KIND_COLOURS[box.node.kind.value]
    text = f'<b><font point-size="13">{escape(box.name_line.text)}</font></b>'
    if box.notes or box.inner:
        text += "<br/>" + "".join(_line(each) for each in (*box.notes, *box.inner))
    styles = ["rounded", "filled", *(["dashed"] if box.visited is False else [])]
    attributes = [f"label=<{text}>", f'style="{",".join(styles)}"', f'color="{line}"']
    attributes.append(f'fillcolor="{line if box.is_current else fill}"')
    attributes.append(f'fontcolor="{"#ffffff" if box.is_current else "#1f2328"}"')
    if box.node.is_final:
        attributes.append("peripheries=2")
    return f"[{', '.join(attributes)}]"


def _label(label: Label) -> str:
    text = "".join(_line(line) for line in label.lines)
    colours = f'color="{TAKEN}", fillcolor="#ddf4ff"' if label.count else _UNTAKEN
    dashed = ', style="rounded,filled,dashed", fontcolor="#59636e"' if label.count == 0 else ""
    return f'[label=<{text}>, margin="0.06,0.04", {colours}{dashed}]'


def _look(label: Label) -> str:
    """How an edge looks: by how often it was taken."""
    if label.count is None:
        return ""
    if not label.count:
        return ", style=dashed"
    thickness = min(4.5, 1.8 + 0.55 * math.log2(label.count))
    return f', color="{TAKEN}", penwidth={thickness:.1f}'


def _line(line: Line) -> str:
    text = escape(line.text)
    if line.style == "effect":
        text = f'<font point-size="9">{text}</font>'
    elif line.is_bold:
        text = f"<b>{text}</b>"
    if line.loops:
        text = f"↻ {text}"
    return f'{text}<br align="left"/>'


def _quoted(text: str) -> str:
    """A string in double quotes; graphviz reads entities in it, and a backslash before almost anything as a command."""
    return '"' + escape(text).replace("\\", "&#92;") + '"'
