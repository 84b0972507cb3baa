"""An event loop on which no time passes but the program's own: timers, time-outs and waits are exact and cost nothing.

Only for programs without threads and sockets (a `MemoryStore` is one): a loop that jumps over waits would jump over real
work too, and time it out. There `VirtualClock` is right; here even a lease, a heartbeat and a handler's time-out run on
virtual time, and the order of events depends on nothing but the program.
"""

import asyncio
import selectors
from typing import Any, Final

from ..clock import SystemClock
from .clock import START

__all__ = ["LoopClock", "SimulatedLoop", "Standstill"]


class Standstill(AssertionError):
    """Everybody waits, and nobody for time: the program would hang for ever."""


class _Jump(selectors.SelectSelector):
    """Waits for nothing: the time that it was to wait has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let so much time pass."""
        if timeout is None:
            raise Standstill(f"at {self.time:.3f} s all tasks wait for each other")
        self.time += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` is virtual, from 0."""

    def __init__(self) -> None:
        """Begin at 0."""
        self._jump: Final = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jump.time


class LoopClock:
    """The loop's own time as a `Clock`; one for each process of a simulation, so that clocks may differ.

    Attributes:
        skew_s: How far this clock is ahead of the others, seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, skew_s: float = 0.0) -> None:
        """Read this loop's time."""
        self._loop = loop
        self.skew_s = skew_s

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return START + self._loop.time() + self.skew_s

    def monotonic(self) -> float:
        """Seconds since the loop was made."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait so many virtual seconds."""
        await SystemClock().sleep(seconds)
