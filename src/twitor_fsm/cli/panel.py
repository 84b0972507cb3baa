"""The live panel: state, bookmarks so far, errors by category, the countdown of a pause; recoveries scroll above it.

The only module that imports rich.
Must not know: how a crawl is started.
"""

import math
import sys
from collections import Counter
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..clock import SystemClock
from ..config import colour_from_environment
from ..core.records import Counters
from ..events import (
    CheckpointSaved,
    ErrorSeen,
    Event,
    PageFetched,
    SessionEnded,
    SessionStarted,
    Transition,
)
from .narrating import Narrator
from .terminal import printable
from .words import clock_time, duration, parts, state_colour, state_words

__all__ = ["PanelWatcher"]

_FRAMES_PER_S: Final = 5
_WIDTH: Final = 78


class PanelWatcher:
    """Draws on stderr.

    Args:
        title: Stands on the frame.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._clock = SystemClock()
        self._narrator = Narrator()
        self._state = "running"
        self._until: float | None = None
        self._counters = Counters()
        self._pages = 0
        self._errors: Counter[str] = Counter()
        self._console = Console(
            file=sys.stderr,
            highlight=False,
            markup=False,
            emoji=False,
            no_color=None if colour_from_environment() else True,
        )
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_FRAMES_PER_S,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def observe(self, event: Event) -> None:
        """Take one event; the panel shows it with its next frame, a sentence about it at once."""
        match event:
            case SessionStarted() | SessionEnded():
                self._state = event.state
            case Transition():
                self._state, self._until = event.row.target, event.until
            case CheckpointSaved():
                self._counters = event.counters
            case PageFetched():
                self._pages += 1
            case ErrorSeen():
                self._errors[event.category.value] += 1
            case _:
                pass
        for line in self._narrator.lines(event):
            at = clock_time(event.at, now=event.at)
            self._console.print(Text.assemble((at, "dim"), "  ", printable(line)))

    def _render(self) -> RenderableType:
        counters, colour = self._counters, state_colour(self._state)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(overflow="fold")
        grid.add_row("state", Text(state_words(self._state), style=f"bold {colour}"))
        grid.add_row("bookmarks", f"{counters.stored:,} stored{self._others()}, in this session")
        grid.add_row("requests", f"{counters.requests:,}, {counters.items_fetched:,} items fetched")
        grid.add_row(
            "errors", parts([(n, name) for name, n in sorted(self._errors.items())]) or "none"
        )
        grid.add_row("waiting", self._waiting())
        return Panel(
            grid,
            title=Text(printable(self._title)),
            subtitle=Text("Ctrl-C: save a checkpoint and stop"),
            title_align="left",
            subtitle_align="left",
            border_style=colour,
            width=min(_WIDTH, self._console.width),
        )

    def _others(self) -> str:
        others = parts(
            [(self._counters.already_known, "known already"), (self._counters.skipped, "skipped")]
        )
        return f", {others}" if others else ""

    def _waiting(self) -> Text:
        now = self._clock.now()
        if self._until is None or self._until <= now:
            return Text("-")
        return Text(
            f"{duration(math.ceil(self._until - now))} more, until {clock_time(self._until, now=now)}",
            style="yellow",
        )
