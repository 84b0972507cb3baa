"""A session's inbox: events from outside, one at a time, and waits that an event ends.

Must not know: what an event means. Cancel goes before whatever else waits.
"""

import asyncio
from typing import Any, Final

import attrs

from .clock import Clock
from .core.states import Facts, Trigger
from .log_facts import logger_of

__all__ = ["Inbox", "InboxEvent", "end_task"]

_LOG: Final = logger_of("twitor_fsm.session")


@attrs.frozen
class InboxEvent:
    """A trigger with its facts."""

    trigger: str
    facts: Facts


class Inbox:
    """Events that wait for the session's loop."""

    def __init__(self, clock: Clock) -> None:
        """Make an empty one."""
        self._clock = clock
        self._events: list[InboxEvent] = []
        self._wake = asyncio.Event()

    def __bool__(self) -> bool:
        """Whether an event waits."""
        return bool(self._events)

    def put(self, event: InboxEvent) -> None:
        """Add an event; a cancel goes first, behind earlier ones: the first one's reason is the session's."""
        if event.trigger == Trigger.CANCEL:
            earlier = sum(waiting.trigger == Trigger.CANCEL for waiting in self._events)
            self._events.insert(earlier, event)
        else:
            self._events.append(event)
        self._wake.set()

    def pop(self) -> InboxEvent:
        """The next event."""
        return self._events.pop(0)

    def wake(self) -> None:
        """End a wait without an event."""
        self._wake.set()

    async def race(self, task: asyncio.Task[Any]) -> bool:
        """Wait for the task or an event; whether the task is done."""
        if self._events:
            return task.done()
        self._wake.clear()
        waker = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({task, waker}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await end_task(task)
            raise
        finally:
            waker.cancel()
        return task.done()

    async def sleep(self, seconds: float | None) -> None:
        """Wait so many seconds (None: for ever), or until an event arrives."""
        if seconds is None:
            if not self._events:
                self._wake.clear()
                await self._wake.wait()
            return
        task = asyncio.create_task(self._clock.sleep(max(0.0, seconds)))
        if not await self.race(task):
            await end_task(task)


STUBBORN_S: Final = 5.0
"""How long a cancelled task may take to end before it is left behind, seconds."""


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over; what it raises is of no interest any more."""
    task.cancel()
    task.add_done_callback(_look_away)
    _, pending = await asyncio.wait({task}, timeout=STUBBORN_S)
    if pending:
        _LOG.error("%s does not heed its cancellation and was left behind", task.get_name())


def _look_away(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
