"""What a worker says to people: how each crawl ends, when there is nothing to do, and a summary at its end.

An observer of events, as the panel of a single crawl is. Must not know: how tasks are taken.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ..core.records import Counters
from ..core.states import State
from ..events import Event, SessionEnded, SessionStarted
from .terminal import say
from .words import clock_time, count, duration, local_times, parts, state_colour, state_words

if TYPE_CHECKING:
    from ..clock import Clock
    from ..queue_manager import QueueManager

__all__ = ["WorkerVoice"]

LOOK_S: Final = 1.0
"""How often a worker that runs nothing looks whether there is nothing to do, seconds."""

_LOST: Final = "lost"


class WorkerVoice:
    """Tells what one worker does."""

    def __init__(self, clock: "Clock") -> None:
        """Begin to count."""
        self._clock: Final = clock
        self._began: Final = clock.monotonic()
        self._running: Final[dict[str, SessionStarted]] = {}
        self._ends: Final[Counter[str]] = Counter()
        self._stored = 0
        self._skipped = 0
        self._is_idle_told = False

    def observe(self, event: Event) -> None:
        """Take one event."""
        match event:
            case SessionStarted():
                self._is_idle_told = False
                self._running[event.session_id] = event
            case SessionEnded():
                began = self._running.pop(event.session_id, None)
                if began is not None:
                    self._tell_end(began, event)
            case _:
                pass

    def _tell_end(self, began: SessionStarted, event: SessionEnded) -> None:
        self._ends[_LOST if event.lost else event.state] += 1
        self._stored += max(0, event.counters.stored - began.counters.stored)
        self._skipped += max(0, event.counters.skipped - began.counters.skipped)
        say(
            f"{clock_time(event.at, now=event.at)}  user {began.user_id}: {_end(event)}",
            colour=None if event.lost else state_colour(event.state),
        )

    async def watch(self, queue: "QueueManager") -> None:
        """Say once, each time it comes to that, that there is nothing to do; for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            if not self._running and not self._is_idle_told:
                await self._tell_idle(queue)

    async def _tell_idle(self, queue: "QueueManager") -> None:
        health = await queue.health_check()
        if health["queue_size"] or health["in_flight"] or health["status"] != "healthy":
            return  # others' work, work that is about to come, or an outage that the log tells
        self._is_idle_told = True
        later = f", {count(health['delayed'], 'task')} for later" if health["delayed"] else ""
        say(f"waiting: nothing to do now{later}")

    def summary(self) -> dict[str, Any]:
        """What was done, for programs."""
        return {
            "sessions": dict(sorted(self._ends.items())),
            "stored": self._stored,
            "skipped": self._skipped,
            "seconds": round(self._clock.monotonic() - self._began, 3),
        }

    def tell_summary(self) -> None:
        """The same, for people."""
        ends = parts([(number, _word(state)) for state, number in sorted(self._ends.items())])
        say(
            f"stopped after {duration(self._clock.monotonic() - self._began)}: {ends or 'no crawl was run'}; "
            f"{count(self._stored, 'bookmark')} stored"
            + (f", {self._skipped:,} skipped" if self._skipped else "")
        )


def _word(state: str) -> str:
    return "taken over elsewhere" if state == _LOST else state_words(state)


def _end(event: SessionEnded) -> str:
    """How a crawl ended, in a sentence."""
    kept = _kept(event.counters)
    if event.lost:
        return "another process runs this crawl now; it goes on there"
    if event.state == State.COMPLETED:
        return f"complete; {kept}"
    if event.resume_at is not None:
        until = clock_time(event.resume_at, now=event.at)
        return f"paused by the rate limit until {until}; {kept} so far"
    return f"{state_words(event.state)}: {local_times(event.message, now=event.at)}; {kept} so far"


def _kept(counters: Counters) -> str:
    """What the session has brought, runs in other processes included."""
    others = parts([(counters.already_known, "known already"), (counters.skipped, "skipped")])
    return f"{count(counters.stored, 'bookmark')} stored" + (f", {others}" if others else "")
