"""SIGINT, SIGTERM and SIGHUP: the first asks for a graceful end, the second ends the process at once; so may a time limit.

Handlers are installed before anything heavy is loaded. Before that, while the interpreter itself starts (some tenths of a
second), a signal ends the process as the system does: nothing has been opened by then.
Must not know: what is being stopped.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
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


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STREAMS: Final = (0, 1, 2)

_BEGIN: Final = b"\0"
_BEGINNINGS: Final = (_BEGIN, *(bytes([number]) for number in _SIGNALS))
"""What begins the time of an end: our own word, or a signal as the interpreter writes it."""


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


class _Alarm:
    """Ends the process when its time is over. A thread sees to it, since what hangs may be the event loop.

    The interpreter itself writes to the thread's pipe when a signal comes: Python's own handlers wait for the main thread,
    which may be blocked for ever (seen: in a write to a stderr that nobody reads). The thread is there from the start: a
    handler that starts one may interrupt the starting of another, and wait for its lock for ever.
    """

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._over = threading.Event()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before: int | None = None
        with suppress(ValueError):  # not the main thread: whoever runs us there has the signals
            self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """From now on."""
        with suppress(BlockingIOError):  # so full that it has begun
            os.write(self._writing, _BEGIN)

    def cancel(self) -> None:
        """It ended in time."""
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
        self._over.set()
        self.begin()
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def _watch(self) -> None:
        while os.read(self._reading, 1) not in _BEGINNINGS:
            pass
        if self._over.wait(self._limit.seconds):
            return
        failure = self._limit.failure
        telling = threading.Thread(
            target=close, args=[failure], kwargs={"as_json": self._limit.as_json}, daemon=True
        )
        telling.start()
        telling.join(_TELL_S)
        os._exit(failure.exit_code)


class Stop:
    """Catches the signals while it is entered.

    Args:
        message: Said at the first signal.
    """

    def __init__(self, message: str) -> None:
        self._alarm: _Alarm | None = None
        self.asked = False
        """Whether a first signal came."""
        self._message = message
        self._at = 0.0
        self._clock = SystemClock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._react: Callable[[], Any] | None = None
        self._before: dict[int, Any] = {}
        self._terminals = [stream for stream in _STREAMS if os.isatty(stream)]

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # under nohup: it goes on
            try:
                self._before[number] = signal.signal(number, self._caught)
            except ValueError:  # not the main thread: whoever runs us there has the signals
                return self
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # Who was told to end and has ended well is about to exit: a launcher's second signal must not kill it now.
            # (Interpreters that exit put handlers of Python's back to the default; to ignore a signal is kept.)
            signal.signal(number, signal.SIG_IGN if self.asked else handler)
        self._before.clear()
        if self._alarm is not None:
            self._alarm.cancel()

    def limit(self, limit: TimeLimit) -> None:
        """End the process if a graceful end takes longer; may be said once."""
        self._alarm = _Alarm(limit)
        if self.asked:
            self.hurry()

    def hurry(self) -> None:
        """An end has begun: from now on the limit counts, if there is one. Again is harmless."""
        if self._alarm is not None:
            self._alarm.begin()

    def react(self, callback: Callable[[], Any]) -> None:
        """What the first signal does from now on, in the running loop; at once if it came already."""
        self._loop = asyncio.get_running_loop()
        self._react = callback
        if self.asked:
            callback()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        now = self._clock.monotonic()
        if number == signal.SIGHUP:
            self._leave_terminals()
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

    def _leave_terminals(self) -> None:
        """A terminal that was closed takes no word more: what is written to it would fail."""
        with suppress(OSError):  # not one descriptor is left
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in self._terminals:
                os.dup2(nowhere, stream)
            os.close(nowhere)

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
    return Failure("stopped before the crawl began; no bookmark was stored. Run it again", 75)
