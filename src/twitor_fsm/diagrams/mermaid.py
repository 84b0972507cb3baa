"""Writes a scene as Mermaid, which GitHub and many others draw: no dependency, no picture file.

A flow chart, since Mermaid's state diagrams know neither dashed nor thick edges and lay the labels of neighbouring edges
over each other: here each label is a node of its own in the middle of its edge, which nothing else covers.
Must not know: tables, journals, places.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from .scene import Line, Scene, StateBox
from .theme import KIND_COLOURS, TAKEN

__all__ = ["draw", "escaped"]

_PLAIN: Final = frozenset(" _,/×…·")
_SETTINGS: Final = '%%{init: {"flowchart": {"wrappingWidth": 500, "nodeSpacing": 12, "rankSpacing": 20, "padding": 6}}}%%'
"""Mermaid would break lines of more than 200 px, and leave more room between everything."""

_MARKUP: Final = frozenset("<>&")
_JOINED: Final = frozenset("$`\\")
_JOINER: Final = "\u2060"  # WORD JOINER: no width, no break
_START: Final = "#818b98"


def draw(scene: Scene) -> str:
    """The scene as Mermaid text; every name in it is escaped."""
    return "\n".join(_lines(scene)) + "\n"


def escaped(text: str) -> str:
    """Text that Mermaid draws as it is: everything but letters, digits and a few signs as a character code.

    `#35;` is Mermaid's own notation. The text is printable already, so what is neither is a sign or a symbol.
    """
    return "".join(c if c.isalnum() or c in _PLAIN else _code(c) for c in text)


def _code(char: str) -> str:
    """Behind what Mermaid reads even as a code (two dollars begin a formula) an invisible joiner stands."""
    return f"#{ord(char)};{_JOINER if char in _JOINED else ''}"


def _lines(scene: Scene) -> Iterator[str]:
    names = {box.node.name: f"s{number}" for number, box in enumerate(scene.boxes)}
    first = next(box.node.name for box in scene.boxes if box.node.is_initial)
    title = " · ".join(text for text in (scene.title, *(line.text for line in scene.said)) if text)
    if title:
        yield f"---\ntitle: {_quoted(title)}\n---"
    yield _SETTINGS
    yield "flowchart LR"
    yield f"    accTitle: {escaped(scene.title or 'State diagram')}"
    yield f"    accDescr: {escaped(scene.description)}"
    yield f"    start(( )):::start --> {names[first]}"
    for box in scene.boxes:
        yield f"    {names[box.node.name]}{_state(box)}"
    styles = []
    for number, label in enumerate(scene.labels):
        source, target = names[label.edge.source], names[label.edge.target]
        line, arrow = ("-.-", "-.->") if label.count == 0 else ("---", "-->")
        look = "taken" if label.count else "label"
        yield f'    {source} {line} e{number}["{_text(label.lines)}"]:::{look} {arrow} {target}'
        if label.count:
            thickness = min(8, 1 + label.count.bit_length())
            links = f"{2 * number + 1},{2 * number + 2}"
            styles.append(f"    linkStyle {links} stroke:{TAKEN},stroke-width:{thickness}px")
    yield from styles
    never = [names[box.node.name] for box in scene.boxes if box.visited is False]
    if never:
        yield f"    class {','.join(never)} never"
    yield from _classes(is_session=bool(styles))


def _quoted(text: str) -> str:
    """A string of the front matter, which is YAML.

    Mermaid reads it as HTML and draws the source of that, and knows no code there. What it writes for a code, until it
    has drawn everything, it takes as one all the same.
    """
    text = "".join(f"ﬂ°°{ord(c)}¶ß" if c in _MARKUP else c for c in text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _state(box: StateBox) -> str:
    lines = [f"<b>{escaped(box.name_line.text)}</b>", *(escaped(n.text) for n in box.notes)]
    inner = _text(box.inner)
    text = "<br/>".join([*lines, inner] if inner else lines)
    opening, closing = ("[[", "]]") if box.node.is_final else ("(", ")")
    look = f"{box.node.kind.value}{'_now' if box.is_current else ''}"
    return f'{opening}"{text}"{closing}:::{look}'


def _text(lines: Iterable[Line]) -> str:
    return "<br/>".join(_line(line) for line in lines)


def _line(line: Line) -> str:
    text = escaped(line.text)
    if line.style == "effect":
        return f"<small>{text}</small>"
    text = f"<b>{text}</b>" if line.is_bold else text
    return f"↻ {text}" if line.loops else text


def _classes(*, is_session: bool) -> Iterator[str]:
    """Dark text on light fills, or the theme's own text on none: light or dark mode is the host's to choose."""
    yield f"    classDef start fill:{_START},stroke:{_START}"
    yield f"    classDef label fill:none,stroke:{_START},stroke-width:0.7px"
    if is_session:
        yield f"    classDef taken fill:#ddf4ff,color:#1f2328,stroke:{TAKEN}"
        yield "    classDef never stroke-dasharray:5 4"
    for kind, (fill, line) in KIND_COLOURS.items():
        yield f"    classDef {kind} fill:{fill},color:#1f2328,stroke:{line},stroke-width:1.5px"
        if is_session:
            yield f"    classDef {kind}_now fill:{line},color:#ffffff,stroke:{line}"
