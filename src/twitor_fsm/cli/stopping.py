"""SIGINT and SIGTERM: the first asks for a graceful end, the second ends the process at once.

Handlers are installed before anything heavy is loaded, so that no moment is left in which a signal ends the process
between two thoughts.
Must not know: what is being stopped.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Self

from ..clock import SystemClock
from .failures import Failure
from .terminal import say, show_cursor

__all__ = ["STOPPING", "Stop", "stoppable", "stopped_early"]

STOPPING: Final = (
    "stopping: what is under way is finished and a checkpoint saved "
    "(a second signal ends at once; the last checkpoint stands then)"
)

_DOUBLE_S: Final = 0.2
"""Signals this close together are one: `timeout`, shells and launchers send theirs to process and group."""


class Stop:
    """Catches the signals while it is entered.

    Args:
        message: Said at the first signal.
    """

    def __init__(self, message: str) -> None:
        self.asked = False
        """Whether a first signal came."""
        self._message = message
        self._at = 0.0
        self._clock = SystemClock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._react: Callable[[], Any] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._caught)
            except ValueError:  # not the main thread: whoever runs us there has the signals
                return self
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def react(self, callback: Callable[[], Any]) -> None:
        """What the first signal does from now on, in the running loop; at once if it came already."""
        self._loop = asyncio.get_running_loop()
        self._react = callback
        if self.asked:
            callback()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        now = self._clock.monotonic()
        if not self.asked:
            self.asked, self._at = True, now
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._begin)
            else:
                os.write(2, f"{self._message}\n".encode())
        elif now - self._at > _DOUBLE_S:
            show_cursor()
            os.write(2, b"ended at once; the last checkpoint stands\n")
            os._exit(128 + number)

    def _begin(self) -> None:
        say(self._message, colour="yellow")
        if self._react is not None:
            self._react()


def stoppable(stop: Stop) -> None:
    """Until a session runs, a signal ends the task that calls this."""
    task = asyncio.current_task()
    if task is not None:
        stop.react(task.cancel)


def stopped_early() -> Failure:
    """A signal came before the crawl began."""
    return Failure("stopped before the crawl began; nothing was changed. Run it again", 75)
