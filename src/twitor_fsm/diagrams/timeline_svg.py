"""Draws a timeline as SVG: a lane for each state, then for each category of errors, checkpoints and items.

Must not know: tables, journals.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import attrs

from ..core.states import Kind
from .path import clock_text, span_text
from .svg import MARGIN, document, kind_mark, number, text_element
from .text import clipped, width
from .theme import Theme
from .timeline import Mark, Scale, Timeline

__all__ = ["draw"]

WIDTH: Final = 920.0
_LANE: Final = 26.0
_BAR: Final = 16.0
_SIZE: Final = 11.0
_SMALL: Final = 9.0
_ITEMS: Final = 40.0
"""Height of the lane of items."""


@attrs.frozen
class _Field:
    """Where time runs: from `left` to `right`; lanes begin at `top`."""

    left: float
    right: float
    top: float
    scale: Scale

    def x(self, at: float) -> float:
        """Where a moment stands."""
        return self.left + self.scale.place(at) * (self.right - self.left)

    def lane(self, index: int) -> float:
        """The middle of a lane."""
        return self.top + (index + 0.5) * _LANE


def draw(
    timeline: Timeline, *, title: str = "", said: tuple[str, ...] = (), theme: Theme = "auto"
) -> str:
    """The timeline as an SVG document."""
    errors = _by_lane(timeline.errors)
    names = [*(clipped(state) for state, _ in timeline.states), *errors, "checkpoints", "items"]
    label = max(width(name, _SIZE) for name in names) + 26.0
    head = MARGIN + (22.0 if title else 0.0) + 15.0 * len(said)
    field = _Field(
        MARGIN + label + 60.0,
        WIDTH - MARGIN - 44.0,
        head + 20.0,
        Scale.of(timeline.spans, is_over=timeline.is_over),
    )
    lanes = len(timeline.states) + len(errors) + 1
    bottom = field.top + lanes * _LANE
    high = bottom + _ITEMS + 30.0 + MARGIN
    body = [*_heading(title, said)]
    body += _grid(timeline, field, bottom + _ITEMS)
    body += _states(timeline, field)
    for index, (category, marks) in enumerate(errors.items(), len(timeline.states)):
        body += _lane_name(category, field.lane(index), f"{len(marks)}×")
        body += _ticks(field, marks, field.lane(index), "error")
    middle = field.lane(lanes - 1)
    body += _lane_name("checkpoints", middle, f"{len(timeline.checkpoints)}×")
    body += _ticks(field, timeline.checkpoints, middle, "checkpoint")
    body += _items(timeline, field, bottom)
    body += _notes(timeline, field, high - MARGIN)
    return document(
        body,
        WIDTH,
        high,
        title=title or "Timeline of a session",
        description=describe(timeline),
        theme=theme,
    )


def describe(timeline: Timeline) -> str:
    """The picture in sentences, for those who do not see it."""
    lasting = timeline.spans[:-1] if timeline.is_over else timeline.spans
    sentences = [
        f"{clipped(span.state)} for {span_text(span.end - span.begin)}." for span in lasting
    ]
    if timeline.is_over:
        sentences.append(f"{clipped(timeline.spans[-1].state)}.")
    for category, marks in _by_lane(timeline.errors).items():
        sentences.append(f"{len(marks)} {category}.")
    sentences.append(f"{len(timeline.checkpoints)} checkpoints at steps.")
    if timeline.items:
        sentences.append(f"{timeline.items[-1][1]} items.")
    return " ".join(sentences)


def _by_lane(marks: Iterable[Mark]) -> dict[str, list[Mark]]:
    lanes: dict[str, list[Mark]] = {}
    for mark in marks:
        lanes.setdefault(mark.lane, []).append(mark)
    return lanes


def _heading(title: str, said: tuple[str, ...]) -> Iterator[str]:
    y = MARGIN + 14.0
    if title:
        yield text_element(clipped(title, 100), MARGIN, y, 15.0, bold=True)
        y += 20.0
    for line in said:
        yield text_element(clipped(line, 130), MARGIN, y, _SIZE, classes="soft")
        y += 15.0


def _lane_name(name: str, y: float, beside: str) -> Iterator[str]:
    yield text_element(name, MARGIN + 18.0, y + 4.0, _SIZE)
    yield from _beside(name, y, beside)


def _beside(name: str, y: float, beside: str) -> Iterator[str]:
    """A number behind a lane's name."""
    x = MARGIN + 18.0 + width(name, _SIZE) + 6.0
    yield text_element(beside, x, y + 4.0, _SMALL, classes="soft")


def _grid(timeline: Timeline, field: _Field, bottom: float) -> Iterator[str]:
    """A line at each change of state; its time is written where there is room."""
    begins = [span.begin for span in timeline.spans]
    if not timeline.is_over:
        begins.append(timeline.end)
    free = field.left - 1.0
    for index, at in enumerate(begins):
        x = field.left + field.scale.begins[index] * (field.right - field.left) if begins else 0.0
        yield (
            f'<path class="tick" fill="none" stroke-width="0.8" d="M{number(x)},{number(field.top)}V{number(bottom)}"/>'
        )
        text = f"+{span_text(at - timeline.begin)}" if index else clock_text(at)
        wide = width(text, _SMALL)
        left = min(x, field.right + 40.0 - wide)
        if left >= free and (x > field.left or not index):
            yield text_element(text, left, field.top - 6.0, _SMALL, classes="soft")
            free = left + wide + 8.0


def _states(timeline: Timeline, field: _Field) -> Iterator[str]:
    """The times in each state as bars; a final state, which has none, as an end with its name."""
    lanes = {state: field.lane(index) for index, (state, _) in enumerate(timeline.states)}
    kinds = dict(timeline.states)
    for state, kind in timeline.states:
        yield kind_mark(kind.value, MARGIN + 5.0, lanes[state], f"{kind.value}-mark")
        spent = "" if kind is Kind.FINAL else span_text(timeline.spent(state))
        yield from _lane_name(clipped(state), lanes[state], spent)
    for (left, right), span, short in zip(
        pairwise(field.scale.begins), timeline.spans, field.scale.shortened, strict=True
    ):
        x0 = field.left + left * (field.right - field.left)
        x1 = field.left + right * (field.right - field.left)
        y = lanes[span.state]
        is_end = kinds[span.state] is Kind.FINAL
        classes = f"{kinds[span.state].value}{' full' if is_end else ''}"
        yield (
            f'<rect class="{classes}" x="{number(x0)}" y="{number(y - _BAR / 2)}" width="{number(max(2.0, x1 - x0))}" '
            f'height="{_BAR:g}" rx="3" stroke-width="1.2"/>'
        )
        if is_end:
            name = clipped(span.state)
            yield from _backed(name, x0 - 7.0 - width(name, _SMALL), y + 3.2)
            continue
        if short:
            yield from _break((x0 + x1) / 2, y)
        text = span_text(span.end - span.begin)
        if short or width(text, _SMALL) + 22.0 < x1 - x0:
            yield text_element(text, x0 + 5.0, y + 3.2, _SMALL, classes="ink")


def _break(x: float, y: float, *, high: float = _BAR) -> Iterator[str]:
    """Two slanted lines across a bar: time is left out here."""
    for shift in (-3.0, 3.0):
        begin = f"M{number(x + shift - 3)},{number(y + high / 2 + 3)}"
        yield f'<path class="cut" fill="none" stroke-width="2" d="{begin}l6,{number(-high - 6)}"/>'


def _ticks(field: _Field, marks: Iterable[Mark], y: float, shape: str) -> Iterator[str]:
    """A sign for each moment, and what it was, where there is room."""
    free = 0.0
    placed = [(field.x(mark.at), mark) for mark in marks]
    for index, (x, mark) in enumerate(placed):
        if shape == "error":
            yield (
                f'<path class="error" fill="none" stroke-width="2" d="M{number(x - 4)},{number(y - 4)}l8,8m0,-8l-8,8"/>'
            )
        else:
            yield f'<path class="mark" d="M{number(x)},{number(y - 5.5)}l5,5.5l-5,5.5l-5,-5.5z"/>'
        text = clipped(mark.text, 40)
        room = placed[index + 1][0] - 8.0 if index + 1 < len(placed) else field.right + 44.0
        if x + 8.0 >= free and x + 9.0 + width(text, _SMALL) <= room:
            yield from _backed(text, x + 9.0, y + 3.2)
            free = x + 9.0 + width(text, _SMALL)


def _backed(text: str, x: float, y: float) -> Iterator[str]:
    """Small text that no line runs through."""
    yield (
        f'<rect class="blank" x="{number(x - 2)}" y="{number(y - 9)}" width="{number(width(text, _SMALL) + 4)}" '
        'height="12"/>'
    )
    yield text_element(text, x, y, _SMALL, classes="soft")


def _items(timeline: Timeline, field: _Field, top: float) -> Iterator[str]:
    """How many items were dealt with: a stair, as far as the journal says."""
    floor = top + _ITEMS - 4.0
    if not any(count for _, count in timeline.items):
        yield from _lane_name(
            "items", floor - 4.0, "0" if timeline.items else "not in this journal"
        )
        return
    most = max(count for _, count in timeline.items)
    yield from _lane_name("items", floor - 4.0, f"{timeline.items[-1][1]:,}")
    stairs = [(field.x(at), count) for at, count in _changes(timeline.items)]
    points = [(field.left, floor)]
    for x, count in stairs:
        y = floor - (_ITEMS - 18.0) * count / most
        points += [(x, points[-1][1]), (x, y)]
    points += [(field.right, points[-1][1]), (field.right, floor)]
    drawn = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    yield f'<polygon class="chip taken" stroke-width="1.2" points="{drawn}"/>'
    for index, (x, count) in enumerate(stairs):
        wide, is_last = width(f"{count:,}", _SMALL), index + 1 == len(stairs)
        if is_last or x + wide + 5.0 <= stairs[index + 1][0]:
            y = floor - (_ITEMS - 18.0) * count / most
            yield from _backed(f"{count:,}", min(x + 1.0, field.right + 40.0 - wide), y - 5.0)


def _changes(items: Iterable[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    """Where the count rises."""
    before = 0
    for at, count in items:
        if count > before:
            yield at, count
            before = count


def _notes(timeline: Timeline, field: _Field, y: float) -> Iterator[str]:
    """What the signs mean that are not explained by their lane."""
    x = MARGIN
    said = "checkpoints: those of steps; each page saves one as well"
    yield text_element(said, x, y, _SMALL, classes="soft")
    x += width(said, _SMALL) + 24.0
    if any(field.scale.shortened):
        yield (
            f'<rect class="waiting" x="{number(x)}" y="{number(y - 9)}" width="26" height="11" rx="2" '
            'stroke-width="1"/>'
        )
        yield from _break(x + 13.0, y - 3.5, high=11.0)
        yield text_element("shortened", x + 31.0, y, _SMALL, classes="soft")
    for restart in timeline.restarts:
        at = field.x(restart.at)
        yield (
            f'<path class="error" fill="none" stroke-width="1.2" stroke-dasharray="3 2" '
            f'd="M{number(at)},{number(field.top)}V{number(y - 26.0)}"/>'
        )
        yield text_element("taken over", at, y - 16.0, _SMALL, classes="soft", anchor="middle")
