"""A session as time: which state it was in from when to when, and what happened at which moment.

Pure. Must not know: formats, colours.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import attrs

from ..core.states import Effect, JournalRow, Kind, MachineSpec, Trigger
from ..core.taxonomy import Reason
from ..replaying import Replayed, replay

__all__ = ["NOT_BEGUN", "Mark", "Scale", "Span", "Timeline"]

NOT_BEGUN: Final = "not begun"
"""In place of a state: the time in which the session was only asked for."""

MOST: Final = 0.62
"""Share of the picture that shortened spans may take together."""

LEAST: Final = 3.0
"""A span that would shrink by less is left as it is."""

SHORTEST: Final = 0.012
"""Share of the picture that any span gets, so that none is too short to be seen."""

_LANES: Final = (Kind.WORK, Kind.WAITING, Kind.ENDING, Kind.FINAL)


@attrs.frozen
class Span:
    """A time in one state; 0 seconds long if it was left at once."""

    state: str
    begin: float
    end: float


@attrs.frozen
class Mark:
    """Something that happened at a moment."""

    at: float
    lane: str
    text: str


@attrs.frozen
class Timeline:
    """What there is to draw.

    Attributes:
        spans: In order, without gaps; that of a final state is a moment, whatever time has passed since.
        states: States that were visited, with their kinds: work first, ends last, else in the order of the machine;
            before them `NOT_BEGUN`, if the session was asked for before anybody began it.
        errors: Each error, in the lane of its category.
        checkpoints: Each step that saved a checkpoint.
        restarts: Each time that another process took the session over.
        items: How many items were dealt with at which moment, as far as the journal says.
    """

    spans: tuple[Span, ...]
    states: tuple[tuple[str, Kind], ...]
    errors: tuple[Mark, ...]
    checkpoints: tuple[Mark, ...]
    restarts: tuple[Mark, ...]
    items: tuple[tuple[float, int], ...]

    @classmethod
    def of(
        cls,
        spec: MachineSpec,
        journal: Iterable[JournalRow],
        *,
        started_at: float | None = None,
        now: float | None = None,
        items: int | None = None,
        begun: bool = True,
    ) -> "Timeline":
        """Read a journal.

        Args:
            spec: The machine that it belongs to.
            journal: Its rows, in order.
            started_at: When the session started, epoch seconds; None takes its first step.
            now: Until when its last state has lasted; None takes its last step.
            items: How many items were dealt with by then, if that is known besides the journal.
            begun: Whether anybody has begun the session; without steps, nothing else says so.

        Raises:
            JournalRefused: The machine does not allow what the journal says.
        """
        steps = tuple(replay(journal, spec))
        initial = str(spec.initial) if begun else NOT_BEGUN
        spans = _ended(tuple(_spans(initial, steps, started_at, now)), spec)
        visited = {span.state for span in spans}
        in_lanes = sorted(spec.states, key=lambda state: _LANES.index(state.kind))
        counts = list(_items(steps))
        if items is not None and spans:
            counts.append((spans[-1].end, items))
        return cls(
            spans,
            (
                *([(NOT_BEGUN, Kind.WAITING)] if NOT_BEGUN in visited else []),
                *((str(s.name), s.kind) for s in in_lanes if str(s.name) in visited),
            ),
            tuple(_errors(steps)),
            tuple(
                Mark(step.row.at, "checkpoint", step.title)
                for step in steps
                if Effect.SAVE_CHECKPOINT in step.effects
            ),
            tuple(
                Mark(step.row.at, "restart", step.title)
                for step in steps
                if step.row.trigger == Trigger.RESTARTED and not _is_first(step.row)
            ),
            tuple(counts),
        )

    @property
    def begin(self) -> float:
        """Epoch seconds."""
        return self.spans[0].begin if self.spans else 0.0

    @property
    def end(self) -> float:
        """Epoch seconds."""
        return self.spans[-1].end if self.spans else 0.0

    @property
    def is_over(self) -> bool:
        """Whether the last state is a final one."""
        return bool(self.spans) and dict(self.states)[self.spans[-1].state] is Kind.FINAL

    def spent(self, state: str) -> float:
        """Seconds in a state."""
        return sum(span.end - span.begin for span in self.spans if span.state == state)


def _spans(
    initial: str, steps: Sequence[Replayed], started_at: float | None, now: float | None
) -> Iterator[Span]:
    """States in a row; a step that keeps the state does not end its span. Clocks that fell count as standing."""
    if not steps:
        begin = started_at if started_at is not None else now
        if begin is not None:
            yield Span(initial, begin, max(begin, now if now is not None else begin))
        return
    begin = started_at if started_at is not None else steps[0].row.at
    state = steps[0].row.source
    if _is_first(steps[0].row):
        yield Span(NOT_BEGUN, begin, max(begin, steps[0].row.at))
        begin = max(begin, steps[0].row.at)
    for step in steps:
        if step.row.target != state:
            end = max(begin, step.row.at)
            yield Span(state, begin, end)
            state, begin = step.row.target, end
    last = steps[-1].row.at if now is None else now
    yield Span(state, begin, max(begin, last))


def _ended(spans: tuple[Span, ...], spec: MachineSpec) -> tuple[Span, ...]:
    """Nothing happens in a final state any more: how long ago it was reached is no part of the session."""
    finals = {str(state.name) for state in spec.states if state.kind is Kind.FINAL}
    if not spans or spans[-1].state not in finals:
        return spans
    return *spans[:-1], attrs.evolve(spans[-1], end=spans[-1].begin)


def _is_first(row: JournalRow) -> bool:
    """Whether it is the moment in which somebody began what was only asked for."""
    return row.trigger == Trigger.RESTARTED and row.reason == Reason.ASKED_FOR


def _errors(steps: Iterable[Replayed]) -> Iterator[Mark]:
    for step in steps:
        row = step.row
        if row.category is not None and row.reason != Reason.CLOSED_UNTIL:
            yield Mark(row.at, row.category.value, (row.reason or "").replace("_", " "))


def _items(steps: Iterable[Replayed]) -> Iterator[tuple[float, int]]:
    for step in steps:
        count = step.row.facts.get("items")
        if isinstance(count, int):
            yield step.row.at, count


@attrs.frozen
class Scale:
    """Where each moment stands, from 0 to 1.

    Long spans are shortened, or else a pause of 15 minutes would leave nothing to see of the seconds of work around
    it; within a span time runs evenly. Which spans are shortened is said, for the picture to say so too.

    Attributes:
        spans: What was measured.
        begins: Where each span begins; one more says where the last one ends.
        shortened: Whether a span is shorter than it was.
    """

    spans: tuple[Span, ...]
    begins: tuple[float, ...]
    shortened: tuple[bool, ...]

    @classmethod
    def of(cls, spans: tuple[Span, ...], *, is_over: bool = False) -> "Scale":
        """Measure spans; when all is over, the last one is the end, which gets `SHORTEST` however short the others are."""
        if not is_over or len(spans) == 1:
            return cls._of(spans)
        before = cls._of(spans[:-1])
        begins = tuple(begin * (1.0 - SHORTEST) for begin in before.begins)
        return cls(spans, (*begins, 1.0), (*before.shortened, False))

    @classmethod
    def _of(cls, spans: tuple[Span, ...]) -> "Scale":
        lengths = [span.end - span.begin for span in spans]
        limit = _limit(lengths)
        drawn = [min(length, limit) for length in lengths]
        total = sum(drawn) or 1.0
        drawn = [max(length, SHORTEST * total) for length in drawn]
        total = sum(drawn) or 1.0
        begins = [0.0]
        for length in drawn:
            begins.append(begins[-1] + length / total)
        return cls(spans, tuple(begins), tuple(length > limit for length in lengths))

    def place(self, at: float) -> float:
        """Where a moment stands; one before or after all stands at the edge."""
        for span, (left, right) in zip(self.spans, pairwise(self.begins), strict=True):
            if at <= span.end:
                length = span.end - span.begin
                share = 0.0 if length <= 0 else max(0.0, at - span.begin) / length
                return left + share * (right - left)
        return self.begins[-1]


def _limit(lengths: Sequence[float]) -> float:
    """The longest length to draw in full; infinite where nothing is so long that it has to be shortened.

    If the longest spans are shortened, they take `MOST` of the picture together, each to at most a third of itself.
    """
    ordered = sorted(lengths, reverse=True)
    for number in range(1, len(ordered)):
        limit = sum(ordered[number:]) * MOST / (1.0 - MOST) / number
        if 0.0 < ordered[number] <= limit and limit * LEAST <= ordered[number - 1]:
            return limit
    return float("inf")
