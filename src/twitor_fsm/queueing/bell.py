"""Wakes whoever waits for a task: one connection listens for all of a process.

A ring wakes one waiter. A waiter that gives up passes its ring on; a ring that nobody hears is given back.
Must not know: what the woken one does.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from ..clock import Clock
from ..errors import QueueError, QueueUnavailable

__all__ = ["LOOK_S", "POLL_S", "Bell", "quiet_s"]

BLOCK_S: Final = 5.0
"""How long one listening call blocks, seconds."""

LISTEN_AGAIN_S: Final = 0.2
"""Pause after a lost connection, seconds; waiters look by themselves meanwhile."""


LOOK_S: Final = 1.0
"""How often an idle waiter looks for leases that ended and tasks that became due, seconds at most."""

POLL_S: Final = 0.05
"""How often a waiter looks again where nothing can wake it, seconds."""


class Rings(Protocol):
    """What the bell needs of the queue."""

    def wait_for_bell(self, block_s: float) -> Awaitable[bool]:
        """Wait for a ring and take it; whether one came."""
        ...


class Bell:
    """The waiters of one process."""

    def __init__(
        self, queue: Rings, clock: Clock, *, give_back: Callable[[], Awaitable[object]]
    ) -> None:
        """Prepare; listening starts with the first waiter.

        Args:
            queue: Whose bell it is.
            clock: For the pause after a lost connection.
            give_back: Rings again if there is still something to take.
        """
        self._queue: Final = queue
        self._clock: Final = clock
        self._give_back: Final = give_back
        self._waiters: Final[deque[asyncio.Future[None]]] = deque()
        self._listening: asyncio.Task[None] | None = None

    def listen(self) -> asyncio.Future[None]:
        """A future that a ring resolves; hand it to `forget` when it is no longer waited for."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())
        return waiter

    def forget(self, waiter: "asyncio.Future[None]", *, is_heard: bool) -> None:
        """End a wait. `is_heard` False: a ring that came meanwhile goes to another waiter."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if waiter.done() and not waiter.cancelled() and not is_heard:
            self._pass_on()
        waiter.cancel()

    async def wait(self, limit_s: float) -> None:
        """Wait for a ring, so many seconds at most."""
        waiter = self.listen()
        is_heard = False
        try:
            await asyncio.wait([waiter], timeout=limit_s)
            is_heard = True
        finally:
            self.forget(waiter, is_heard=is_heard)

    async def close(self) -> None:
        """Stop listening."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self) -> None:
        while self._waiters:
            try:
                has_rung = await self._queue.wait_for_bell(BLOCK_S)
            except QueueUnavailable:
                await self._clock.sleep(LISTEN_AGAIN_S)
            except QueueError:
                return  # the waiters look by themselves and meet the error where it can be raised
            else:
                if has_rung and not self._pass_on():
                    await self._ring_unheard()

    def _pass_on(self) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return True
        return False

    async def _ring_unheard(self) -> None:
        try:
            await self._give_back()
        except QueueError:
            return  # whoever looks next rings again


def quiet_s(bell: Bell | None, due_in_s: float | None) -> float:
    """How long a waiter need not look by itself, seconds.

    Args:
        bell: What wakes it; None where nothing can.
        due_in_s: When a task becomes due or a lease ends; None: not known, or of no interest.
    """
    longest = POLL_S if bell is None else LOOK_S
    return longest if due_in_s is None else min(longest, due_in_s + 0.001)
