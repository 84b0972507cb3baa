"""What a person sees while a crawl runs: a live panel on a terminal, plain lines elsewhere, or nothing.

A watcher is a context manager and an observer of events. It can never stop a crawl: the engine logs what it raises.
Must not know: how a crawl is started.
"""

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from ..events import CheckpointSaved, Event
from .narrating import Narrator
from .terminal import is_terminal, say
from .words import clock_time, count

__all__ = ["LineWatcher", "SilentWatcher", "Watcher", "watcher_for"]

_PROGRESS_EVERY_S: Final = 10.0


class Watcher(AbstractContextManager["Watcher"], Protocol):
    """Shows a crawl while it is entered."""

    def observe(self, event: Event) -> None:
        """Take one event."""
        ...


class SilentWatcher:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def observe(self, event: Event) -> None:
        """Nothing is shown."""


class LineWatcher(SilentWatcher):
    """A line for each change of state, and one for the progress now and then."""

    def __init__(self) -> None:
        self._narrator = Narrator()
        self._told_at: float | None = None

    def observe(self, event: Event) -> None:
        """Say what there is to say."""
        if isinstance(event, CheckpointSaved):
            self._progress(event)
        for line in self._narrator.lines(event):
            say(f"{clock_time(event.at, now=event.at)}  {line}")

    def _progress(self, event: CheckpointSaved) -> None:
        if self._told_at is None:
            self._told_at = event.at
        elif event.at - self._told_at >= _PROGRESS_EVERY_S:
            self._told_at = event.at
            counters = event.counters
            say(
                f"{clock_time(event.at, now=event.at)}  {count(counters.stored, 'bookmark')} stored, "
                f"{counters.already_known:,} known already, {counters.skipped:,} skipped"
            )


def watcher_for(*, title: str, quiet: bool) -> Watcher:
    """The right one for this stderr.

    Args:
        title: Stands on the panel.
        quiet: Show nothing.
    """
    if quiet:
        return SilentWatcher()
    if is_terminal(sys.stderr):
        from .panel import PanelWatcher

        return PanelWatcher(title)
    return LineWatcher()
