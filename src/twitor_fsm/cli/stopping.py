"""SIGINT and SIGTERM: the first asks for a graceful end, the second ends the process at once; so may a time limit.

Handlers are installed before anything heavy is loaded, so that no moment is left in which a signal ends the process
between two thoughts.
Must not know: what is being stopped.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Self

import attrs

from ..clock import SystemClock
from .failures import Failure, close
from .terminal import say, show_cursor

__all__ = ["STOPPING", "Stop", "TimeLimit", "stoppable", "stopped_early"]

STOPPING: Final = (
    "stopping: what is under way is finished and a checkpoint saved "
    "(a second signal ends at once; the last checkpoint stands then)"
)

_DOUBLE_S: Final = 0.2
"""Signals this close together are one: `timeout`, shells and launchers send theirs to process and group."""


_TELL_S: Final = 0.5
"""How long telling of an end may hold it up: whoever should read may have stopped reading."""


@attrs.frozen
class TimeLimit:
    """How long a graceful end may take.

    Attributes:
        seconds: From the first signal on.
        failure: What is told when it took longer; the process ends with its code.
        as_json: Whether programs are told too.
    """

    seconds: float
    failure: Failure
    as_json: bool


class Stop:
    """Catches the signals while it is entered.

    Args:
        message: Said at the first signal.
    """

    def __init__(self, message: str) -> None:
        self._limit: TimeLimit | None = None
        self._alarm: threading.Timer | None = None
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
        if self._alarm is not None:
            self._alarm.cancel()

    def limit(self, limit: TimeLimit) -> None:
        """End the process if a graceful end takes longer. A thread sees to it: what hangs may be the event loop."""
        self._limit = limit
        if self.asked:
            self.hurry()

    def hurry(self) -> None:
        """An end has begun: from now on the limit counts, if there is one. Again is harmless."""
        if self._limit is None or self._alarm is not None:
            return
        self._alarm = threading.Timer(self._limit.seconds, self._overdue, [self._limit])
        self._alarm.daemon = True
        self._alarm.start()

    @staticmethod
    def _overdue(limit: TimeLimit) -> None:
        telling = threading.Thread(
            target=close, args=[limit.failure], kwargs={"as_json": limit.as_json}, daemon=True
        )
        telling.start()
        telling.join(_TELL_S)
        os._exit(limit.failure.exit_code)

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
            self.hurry()
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
