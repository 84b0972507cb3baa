"""A clock on which fifteen minutes pass at once: time moves only when everything waits.

It is injected like any other `Clock`; the event loop is left as it is, so that real work (a database thread, a socket)
never meets a time-out that only a patched loop would have seen.
Must not know: sessions, stores, what the waits are for.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Iterator
from typing import Final

__all__ = ["START", "VirtualClock"]

START: Final = 1_790_000_000.0
"""Epoch seconds at which virtual time begins: a whole second, so that dates without fractions are exact."""

QUIET_TURNS: Final = 30
"""Turns of the loop without a new wait after which nothing else is about to happen. From the end of one wait to the
begin of the next a session takes fewer than ten (counted); a turn costs about 5 us."""


class VirtualClock:
    """Time that passes only while everybody waits for it, and then at once.

    When all sleepers have been asleep for some turns of the loop and no real work is under way, time moves to the
    moment of the first to wake. Several sessions may sleep at the same time: two pauses of 900 s that begin together
    take 900 s. Work that the loop cannot see (a thread, a socket) holds time still while it is inside `busy()`, as
    every call through `FaultyStore` and `FaultySource` is.

    Attributes:
        time: Epoch seconds now; a test may set it, as an administrator sets a clock.
        sleeps: Every wait that was asked for, seconds, in order.
    """

    def __init__(self, start: float = START) -> None:
        """Begin at this time, epoch seconds."""
        self.time = start
        self.sleeps: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0
        self._busy = 0
        self._held = False
        self._quiet = 0
        self._watching: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return self.time

    def monotonic(self) -> float:
        """The same: seconds from an unknown point, which never fall unless a test set `time` back."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Wait so many virtual seconds; at once if not positive. Cancelling it ends it."""
        self.sleeps.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self._number += 1
        heapq.heappush(self._sleepers, (self.time + seconds, self._number, woken))
        self._watch(loop)
        await woken

    # -- for the test -----------------------------------------------------------------------------

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return sum(1 for _, _, woken in self._sleepers if not woken.done())

    @property
    def is_busy(self) -> bool:
        """Whether real work is under way."""
        return self._busy > 0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Real work is under way inside: time stands still."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._quiet = 0
            self._watch_if_needed()

    def hold(self) -> None:
        """From now on time moves only by `advance`."""
        self._held = True

    def release(self) -> None:
        """Time moves by itself again."""
        self._held = False
        self._watch_if_needed()

    def advance(self, seconds: float) -> None:
        """Let so much time pass; who was to wake meanwhile does.

        Raises:
            ValueError: Time does not run backwards; to set the clock back, set `time`.
        """
        if seconds < 0:
            raise ValueError(
                f"time cannot advance by {seconds} s; nothing was changed. Set `time` instead"
            )
        until = self.time + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            self._wake_first()
        self.time = until

    # -- how time moves ---------------------------------------------------------------------------

    def _watch_if_needed(self) -> None:
        with contextlib.suppress(RuntimeError):  # no loop runs: nobody can be asleep
            self._watch(asyncio.get_running_loop())

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._quiet = 0
        if self._watching is not loop and self._sleepers:
            self._watching = loop
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """One turn of the loop has passed; after enough of them in which nothing began, time moves."""
        while self._sleepers and self._sleepers[0][2].done():  # cancelled
            heapq.heappop(self._sleepers)
        if not self._sleepers or self._held or self._busy:
            self._watching = None
            return
        self._quiet += 1
        if self._quiet > QUIET_TURNS:
            self._quiet = 0
            self._wake_first()
        loop.call_soon(self._turn, loop)

    def _wake_first(self) -> None:
        when, _, woken = heapq.heappop(self._sleepers)
        if not woken.done():
            self.time = max(self.time, when)
            woken.set_result(None)
