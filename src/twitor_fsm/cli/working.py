"""What a worker says to people: how each crawl ends, when there is nothing to do, and a summary at its end.

An observer of events, as the panel of a single crawl is. Must not know: how tasks are taken.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ..core.records import Counters
from ..core.states import State
from ..core.taxonomy import Reason
from ..ending import RUN_AGAIN
from ..events import Event, SessionEnded, SessionStarted
from .terminal import say
from .words import (
    clock_time,
    count,
    duration,
    local_times,
    parts,
    state_colour,
    state_words,
    tells_how,
    what_happened,
)

if TYPE_CHECKING:
    from ..clock import Clock
    from ..queue_manager import QueueHealth, QueueManager

__all__ = ["WorkerVoice"]

LOOK_S: Final = 1.0
"""How often a worker that runs nothing looks whether there is nothing to do, seconds."""

CRAWLS: Final = 10_000
"""Crawls that are remembered one by one, at most: those that ended last. A worker may serve more users than that for months."""

_LOST: Final = "lost"


class WorkerVoice:
    """Tells what one worker does."""

    def __init__(self, clock: "Clock") -> None:
        """Begin to count."""
        self._clock: Final = clock
        self._began: Final = clock.monotonic()
        self._running: Final[dict[str, SessionStarted]] = {}
        self._ends: Final[Counter[str]] = Counter()
        self._crawls: Final[dict[tuple[str, str], str]] = {}
        """How each crawl's last session here ended, the latest last."""
        self._older: Final[Counter[str]] = Counter()
        """Ends of crawls that are not remembered any more; one that comes again counts again."""
        self._stored = 0
        self._skipped = 0
        self._waits_told: Final[set[str]] = set()
        self._waits_seen = ""
        self._how_told = False

    def observe(self, event: Event) -> None:
        """Take one event."""
        match event:
            case SessionStarted():
                self._waits_told.clear()
                self._waits_seen = ""
                self._running[event.session_id] = event
            case SessionEnded():
                began = self._running.pop(event.session_id, None)
                if began is not None:
                    self._tell_end(began, event)
            case _:
                pass

    def _tell_end(self, began: SessionStarted, event: SessionEnded) -> None:
        end = _LOST if event.lost else event.state
        self._ends[end] += 1
        self._note(began.user_id, began.source, end)
        self._stored += max(0, event.counters.stored - began.counters.stored)
        self._skipped += max(0, event.counters.skipped - began.counters.skipped)
        say(
            f"{clock_time(event.at, now=event.at)}  user {began.user_id}: {_end(event, self._brief(event.message))}",
            colour=None if event.lost else state_colour(event.state),
        )

    def _note(self, user_id: str, source: str, end: str) -> None:
        self._crawls.pop((user_id, source), None)
        self._crawls[user_id, source] = end
        if len(self._crawls) > CRAWLS:
            self._older[self._crawls.pop(next(iter(self._crawls)))] += 1

    @property
    def _crawl_ends(self) -> Counter[str]:
        """How many crawls ended how."""
        return self._older + Counter(self._crawls.values())

    def _brief(self, message: str) -> str:
        """A session's message; how a token is got is told once, however many users need one."""
        if not tells_how(message):
            return message
        is_told, self._how_told = self._how_told, True
        return what_happened(message) if is_told else message

    async def watch(self, queue: "QueueManager", *, lease_s: float) -> None:
        """Say what is waited for while nothing runs: each thing once between two sessions of ours; for ever.

        Args:
            queue: What is taken from.
            lease_s: For how long a task that was taken is left to who took it, seconds.
        """
        while True:
            await self._clock.sleep(LOOK_S)
            if not self._running:
                self._tell_waits(await queue.health_check(), lease_s)

    def _tell_waits(self, health: "QueueHealth", lease_s: float) -> None:
        if health["status"] != "healthy" or (health["queue_size"] or 0) > 0:
            return  # an outage that the log tells, or work that is about to come
        later = f", {count(health['delayed'], 'task')} for later" if health["delayed"] else ""
        kind = "others" if health["in_flight"] else "nothing"
        before, self._waits_seen = self._waits_seen, kind
        if kind in self._waits_told or (kind == "others" and before != kind):
            return  # told already; or it may be our own, about to begin or to be settled
        self._waits_told.add(kind)
        if kind == "nothing":
            say(f"waiting: nothing to do now{later}")
            return
        now = self._clock.now()
        say(
            f"waiting: {count(health['in_flight'] or 0, 'task')} with other workers{later}; what a worker had that died comes "
            f"back when its lease ends, by {clock_time(now + lease_s, now=now)} at the latest"
        )

    def summary(self) -> dict[str, Any]:
        """What was done, for programs."""
        return {
            "crawls": dict(sorted(self._crawl_ends.items())),
            "sessions": dict(sorted(self._ends.items())),
            "stored": self._stored,
            "skipped": self._skipped,
            "seconds": round(self._clock.monotonic() - self._began, 3),
        }

    def tell_summary(self) -> None:
        """The same, for people."""
        ends = self._crawl_ends
        told = parts([(number, _word(state)) for state, number in sorted(ends.items())])
        what = f"{count(ends.total(), 'crawl')}, {told}" if told else "no crawl was run"
        say(
            f"stopped after {duration(self._clock.monotonic() - self._began)}: {what}; "
            f"{count(self._stored, 'bookmark')} stored"
            + (f", {self._skipped:,} skipped" if self._skipped else "")
        )


def _word(state: str) -> str:
    words = {_LOST: "taken over elsewhere", State.SHUT_DOWN: "stopped midway"}
    return words.get(state, state_words(state))


def _end(event: SessionEnded, message: str) -> str:
    """How a crawl ended, in a sentence; `message` is what the session said of it."""
    kept = _kept(event.counters)
    if event.lost:
        return "another process runs this crawl now; it goes on there"
    if event.state == State.COMPLETED:
        return f"complete; {kept}"
    if event.resume_at is not None:
        until = clock_time(event.resume_at, now=event.at)
        return f"paused by the rate limit until {until}; {kept} so far"
    state, message = state_words(event.state), local_times(_goes_on(event, message), now=event.at)
    return f"{message if message.startswith(state) else f'{state}: {message}'}; {kept} so far"


def _goes_on(event: SessionEnded, message: str) -> str:
    """The message of a session that was stopped midway: here nobody has to run it again, the queue brings it back."""
    if not message.endswith(RUN_AGAIN):
        return message
    is_wanted = event.reason == Reason.STOPPED_BY_USER
    then = "asked for again it goes on" if is_wanted else "the crawl goes back to the queue"
    return f"{message.removesuffix(RUN_AGAIN)}, {then}"


def _kept(counters: Counters) -> str:
    """What this one session has brought, runs in other processes included; not what is stored of the user in all."""
    others = parts([(counters.already_known, "known already"), (counters.skipped, "skipped")])
    return f"its session stored {count(counters.stored, 'bookmark')}" + (
        f", {others}" if others else ""
    )
