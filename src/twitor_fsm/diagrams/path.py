"""The path that a session took over its machine: what happened how often, where it stands and why.

Pure but for the machine it replays on. Must not know: formats, places, storage.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import attrs

from ..core.states import JournalRow, Kind, MachineSpec
from ..core.taxonomy import Reason
from ..replaying import Replayed, replay
from .graph import Event, Pair

__all__ = ["Path", "clock_text", "span_text"]


@attrs.frozen
class Path:
    """What a journal says, for drawing.

    Attributes:
        counts: How often each event was taken on each edge.
        absorbed: How often each event changed nothing, by state and trigger.
        current: The state that the session is in.
        notes: Why it is there, in short lines.
        last_error: The last error in one line; None if there was none.
        steps: All steps in order.
    """

    counts: Mapping[tuple[Pair, str], int]
    absorbed: Mapping[str, Mapping[str, int]]
    current: str
    notes: tuple[str, ...]
    last_error: str | None
    steps: tuple[Replayed, ...]

    @classmethod
    def of(
        cls,
        spec: MachineSpec,
        journal: Iterable[JournalRow],
        *,
        now: float | None = None,
        alive: bool | None = None,
    ) -> "Path":
        """Read a journal.

        Args:
            spec: The machine that it belongs to.
            journal: Its rows, in order.
            now: Epoch seconds, for times that are still to come; None says such times as dates.
            alive: Whether somebody runs the session now; None if that is not known.

        Raises:
            JournalRefused: The machine does not allow what the journal says.
        """
        steps = tuple(replay(journal, spec))
        counts: Counter[tuple[Pair, str]] = Counter()
        absorbed: dict[str, Counter[str]] = {}
        for step in steps:
            row = step.row
            if row.absorbed:
                absorbed.setdefault(row.source, Counter())[row.trigger] += 1
            else:
                counts[(row.source, row.target), step.title] += 1
        current = steps[-1].row.target if steps else str(spec.initial)
        return cls(
            counts,
            absorbed,
            current,
            tuple(_notes(spec, steps, now=now, alive=alive)),
            _last_error(steps),
            steps,
        )

    def count(self, pair: Pair, event: Event | None = None) -> int:
        """How often an edge (or one of its events) was taken."""
        return sum(
            number
            for (taken, title), number in self.counts.items()
            if taken == pair and (event is None or event.title == title)
        )

    @property
    def visited(self) -> frozenset[str]:
        """States that the session has been in."""
        first = {self.steps[0].row.source} if self.steps else {self.current}
        return frozenset(first | {step.row.target for step in self.steps})


def _notes(
    spec: MachineSpec, steps: tuple[Replayed, ...], *, now: float | None, alive: bool | None
) -> Iterable[str]:
    if steps:
        value = steps[-1].after
        if value.reason is not None:
            yield _reason(value.category, value.reason)
        elif steps[-1].row.reason is not None:  # an end that is no error, such as `end_verified`
            yield _words(steps[-1].row.reason)
        if value.retry_at is not None:
            yield f"tries again {_when(value.retry_at, now)}"
        if value.resume_at is not None:
            yield f"resumes {_when(value.resume_at, now)}"
    current = steps[-1].row.target if steps else str(spec.initial)
    if spec.kinds[current] is not Kind.FINAL and alive is not None:
        yield "runs now" if alive else "nobody runs it now"


def _reason(category: str | None, reason: str) -> str:
    return _words(reason) if category is None else f"{category}: {_words(reason)}"


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def _last_error(steps: tuple[Replayed, ...]) -> str | None:
    for step in reversed(steps):
        row = step.row
        if row.category is not None and row.reason != Reason.CLOSED_UNTIL:
            said = str(row.facts.get("message", "")).partition(". User action: ")[0]
            tries = (
                f" (failure {row.tries} of {row.tries_allowed})"
                if row.delay_s and row.tries
                else ""
            )
            return (
                f"{row.category} at {clock_text(row.at)}{tries}: {said or _words(row.reason or '')}"
            )
    return None


def _when(at: float, now: float | None) -> str:
    if now is None:
        return f"at {clock_text(at)}"
    return f"in {span_text(at - now)}" if at > now else "now"


def clock_text(at: float) -> str:
    """A time of day, UTC."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "a time that no calendar has"


def span_text(seconds: float) -> str:
    """A length of time in at most two units: "0.42 s", "2.4 s", "16 s", "14 min 20 s", "2 h 5 min", "3 d 4 h"."""
    if 0 < seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(max(0.0, seconds))
    for size, unit, smaller, part in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {part}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
