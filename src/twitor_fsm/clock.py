"""Time, as an argument: the only module that reads a clock or sleeps.

Waits of the engine (backoff, pauses) go through one `Clock`, so that a test can put its own in place. Limits on real
work (a handler, a cleanup task) are the event loop's own timeouts, since no other clock can interrupt real work.
"""

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the engine knows of time."""

    def now(self) -> float:
        """Epoch seconds, UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an unknown point; never falls."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds (at once if not positive). Cancelling it ends it."""
        ...


class SystemClock:
    """The system's clock."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an unknown point; never falls."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds."""
        await asyncio.sleep(max(0.0, seconds))
