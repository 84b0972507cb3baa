"""Draws a scene as SVG: text stays text, nothing in it runs, loads or points elsewhere.

Must not know: tables, journals, how places are found.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from . import layout as places
from .layout import Curve, Layout, Place, Point, lay_out
from .scene import Label, Line, Scene, StateBox
from .theme import FONT, Theme, style_sheet

__all__ = ["MARGIN", "document", "draw", "kind_mark", "number", "text_element"]

MARGIN: Final = 16.0
_BASELINE: Final = 0.98
"""Where in a line's height its text stands, in font sizes."""

_RING: Final = 3.0
_THINNEST: Final = 1.1
_THICKEST: Final = 4.5


def draw(scene: Scene, *, theme: Theme = "auto") -> str:
    """The scene as an SVG document.

    Raises:
        ConfigurationError: The extra `diagram` is not installed.
    """
    layout = lay_out(scene)
    head = list(_heading(scene))
    top = MARGIN + sum(line.height for line in head) + (8.0 if head else 0.0)
    is_session = any(label.count is not None for label in scene.labels)
    wide = max([layout.width, _legend_width(is_session=is_session), *(line.width for line in head)])
    high = top + layout.height + 2 * MARGIN + 14.0
    body = [*_lines(head, MARGIN, MARGIN)]
    body.append(
        f'<g transform="translate({number(MARGIN + (wide - layout.width) / 2)} {number(top)})">'
    )
    for label, place, halves in zip(scene.labels, layout.labels, layout.edges, strict=True):
        body += _edge(label, place, halves)
    body += _initial(layout)
    for box, place in zip(scene.boxes, layout.boxes, strict=True):
        body += _state(box, place)
    body.append("</g>")
    body += _legend(MARGIN, high - MARGIN, is_session=is_session)
    return document(
        body,
        wide + 2 * MARGIN,
        high,
        title=scene.title or "State diagram",
        description=scene.description,
        theme=theme,
    )


def document(
    body: Iterable[str], width: float, height: float, *, title: str, description: str, theme: Theme
) -> str:
    """An SVG document: its own paper and style, a title and a description for those who do not see it."""
    size = f'viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} font-family={quoteattr(FONT)}>',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{style_sheet(theme)}</style>",
            f'<rect class="paper" x="0.5" y="0.5" width="{number(width - 1)}" height="{number(height - 1)}" rx="8"/>',
            *body,
            "</svg>\n",
        )
    )


def text_element(
    text: str,
    x: float,
    y: float,
    size: float,
    *,
    classes: str = "ink",
    bold: bool = False,
    anchor: str = "",
) -> str:
    """One line of text; x and y are where its baseline begins (or ends, or is centred)."""
    weight = ' font-weight="600"' if bold else ""
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" class="{classes}"{weight}{anchored}>'
        f"{escape(text)}</text>"
    )


def _heading(scene: Scene) -> Iterator[Line]:
    if scene.title:
        yield Line(scene.title, "title")
    yield from scene.said


_CLASSES: Final = {
    "title": "ink",
    "said": "soft",
    "name": "ink",
    "event": "ink",
    "effect": "soft",
    "note": "ink",
}


def _lines(lines: Iterable[Line], x: float, y: float, *, inverse: bool = False) -> Iterator[str]:
    """Lines of text below each other; y is where the first begins."""
    for line in lines:
        classes = _CLASSES[line.style] if line.happened is not False else "faint"
        yield text_element(
            line.text,
            x,
            y + line.size * _BASELINE,
            line.size,
            classes="on-full" if inverse else classes,
            bold=line.is_bold,
        )
        y += line.height


# -- edges ----------------------------------------------------------------------------------------


def _edge(label: Label, place: Place, halves: tuple[Curve, Curve]) -> Iterator[str]:
    taken = bool(label.count)
    classes = " taken" if taken else ""
    dashed = ' stroke-dasharray="4 3"' if label.count == 0 else ""
    thickness = _thickness(label.count)
    for curve in halves:
        yield (
            f'<path class="edge{classes}" stroke-width="{number(thickness)}"{dashed} d="{_path(curve.points)}"/>'
        )
        if curve.has_head:
            yield _head(curve.points, classes, thickness)
    yield (
        f'<rect class="chip{classes}" x="{number(place.left)}" y="{number(place.top)}" width="{number(place.width)}" '
        f'height="{number(place.height)}" rx="5"{dashed}/>'
    )
    yield from _lines(label.lines, place.left + places.LABEL_PAD, place.top + places.LABEL_PAD / 2)


def _thickness(count: int | None) -> float:
    """An edge's width: by the logarithm of how often it was taken."""
    if not count:
        return _THINNEST
    return min(_THICKEST, 1.8 + 0.55 * math.log2(count))


def _path(points: tuple[Point, ...]) -> str:
    first, *rest = (f"{number(x)},{number(y)}" for x, y in points)
    return f"M{first}C{' '.join(rest)}"


def _head(points: tuple[Point, ...], classes: str, thickness: float) -> str:
    """The arrow's head: a triangle in the direction in which the curve ends."""
    (x, y), (before_x, before_y) = points[-1], _last_other(points)
    angle = math.atan2(y - before_y, x - before_x)
    half = 2.6 + thickness * 0.55
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    corners = [
        (x + along[0] * places.ARROW, y + along[1] * places.ARROW),
        (x + across[0] * half, y + across[1] * half),
        (x - across[0] * half, y - across[1] * half),
    ]
    drawn = " ".join(f"{number(a)},{number(b)}" for a, b in corners)
    return f'<polygon class="head{classes}" points="{drawn}"/>'


def _last_other(points: tuple[Point, ...]) -> Point:
    """The last point that is not the end itself."""
    end = points[-1]
    for point in reversed(points[:-1]):
        if math.dist(point, end) > 0.1:
            return point
    return end[0] - 1.0, end[1]


def _initial(layout: Layout) -> Iterator[str]:
    start = layout.start
    yield f'<circle class="ink" cx="{number(start.x)}" cy="{number(start.y)}" r="{number(start.width / 2)}"/>'
    yield f'<path class="edge" stroke-width="{number(_THINNEST)}" d="{_path(layout.first.points)}"/>'
    yield _head(layout.first.points, "", _THINNEST)


# -- states ---------------------------------------------------------------------------------------


def _state(box: StateBox, place: Place) -> Iterator[str]:
    kind = box.node.kind.value
    full = " full" if box.is_current else ""
    dashed = ' stroke-dasharray="5 4"' if box.visited is False else ""
    yield (
        f'<rect class="{kind}{full}" x="{number(place.left)}" y="{number(place.top)}" width="{number(place.width)}" '
        f'height="{number(place.height)}" rx="7" stroke-width="1.5"{dashed}/>'
    )
    if box.node.is_final:
        yield _ring(place, "stroke-on-full" if box.is_current else f"{kind}-line")
    x, y = place.left + 12.0, place.top + 7.0
    name = box.name_line
    centred = x + (place.width - 24.0 - name.width - places.KIND_MARK) / 2
    mark = "on-full" if box.is_current else f"{kind}-mark"
    yield kind_mark(kind, centred + 5.0, y + name.height / 2, mark)
    yield from _lines((name,), centred + places.KIND_MARK, y, inverse=box.is_current)
    y += name.height + (2.0 if box.notes else 0.0)
    yield from _lines(box.notes, x, y, inverse=box.is_current)
    y += sum(line.height for line in box.notes) + (3.0 if box.inner else 0.0)
    for line in box.inner:
        if line.loops:
            yield _loop_mark(x + 4.0, y + line.height / 2, "on-full" if box.is_current else "soft")
        yield from _lines((line,), x + places.LOOP_MARK, y, inverse=box.is_current)
        y += line.height


def _ring(place: Place, classes: str) -> str:
    return (
        f'<rect fill="none" class="{classes}" x="{number(place.left + _RING)}" y="{number(place.top + _RING)}" '
        f'width="{number(place.width - 2 * _RING)}" height="{number(place.height - 2 * _RING)}" rx="4.5" '
        'stroke-width="1"/>'
    )


def kind_mark(kind: str, x: float, y: float, classes: str) -> str:
    """A sign of each kind: a triangle that goes on, two bars that wait, a square that stops, a target that is reached."""
    match kind:
        case "work":
            return f'<path class="{classes}" d="M{number(x - 4)},{number(y - 5)}l9,5l-9,5z"/>'
        case "waiting":
            return f'<path class="{classes}" d="M{number(x - 4)},{number(y - 5)}h3v10h-3zm5.5,0h3v10h-3z"/>'
        case "ending":
            return f'<rect class="{classes}" x="{number(x - 4.5)}" y="{number(y - 4.5)}" width="9" height="9" rx="1"/>'
        case _:
            return (
                f'<path class="{classes}" fill-rule="evenodd" d="M{number(x - 5.5)},{number(y)}a5.5,5.5 0 1 0 11,0'
                f"a5.5,5.5 0 1 0 -11,0zm1.5,0a4,4 0 1 1 8,0a4,4 0 1 1 -8,0z"
                f'm1.7,0a2.3,2.3 0 1 0 4.6,0a2.3,2.3 0 1 0 -4.6,0z"/>'
            )


def _loop_mark(x: float, y: float, classes: str) -> str:
    """A round arrow: the event leads back to its state."""
    ring = f"M{number(x + 1.6)},{number(y - 3.1)}A3.5,3.5 0 1 0 {number(x + 3.4)},{number(y + 0.7)}"
    stroke = "stroke-on-full" if classes == "on-full" else "edge"
    return (
        f'<path fill="none" class="{stroke}" stroke-width="1.2" d="{ring}"/>'
        f'<path class="{classes}" d="M{number(x + 0.6)},{number(y - 5.6)}l4.2,2.2l-3.8,2.8z"/>'
    )


# -- the legend -----------------------------------------------------------------------------------

_KINDS: Final = (("work", "works"), ("waiting", "waits"), ("ending", "ends"), ("final", "final"))
_LEGEND_SIZE: Final = 9.5


def _legend_width(*, is_session: bool) -> float:
    return 590.0 if is_session else 320.0


def _legend(x: float, y: float, *, is_session: bool) -> Iterator[str]:
    for kind, word in _KINDS:
        yield kind_mark(kind, x + 5.0, y - 3.4, f"{kind}-mark")
        yield text_element(word, x + 15.0, y, _LEGEND_SIZE, classes="soft")
        x += 60.0
    yield _loop_mark(x + 5.0, y - 3.0, "soft")
    yield text_element("keeps the state", x + 15.0, y, _LEGEND_SIZE, classes="soft")
    x += 110.0
    if is_session:
        yield f'<path class="edge taken" stroke-width="2.4" d="M{number(x)},{number(y - 3.4)}h22"/>'
        yield text_element("taken", x + 27.0, y, _LEGEND_SIZE, classes="soft")
        x += 72.0
        yield f'<path class="edge" stroke-width="1.1" stroke-dasharray="4 3" d="M{number(x)},{number(y - 3.4)}h22"/>'
        yield text_element("never taken", x + 27.0, y, _LEGEND_SIZE, classes="soft")


def number(value: float) -> str:
    """A number with at most one decimal."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"
