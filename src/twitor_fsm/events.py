"""What a running session tells its observers: typed events, and the hub that hands them out.

An observer can never stop, slow or change a crawl: what it raises is logged, what it cannot keep up with is dropped.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import attrs

from .core.records import Counters
from .core.states import JournalRow
from .core.taxonomy import ErrorAction, ErrorCategory
from .log_facts import logger_of

__all__ = [
    "CheckpointSaved",
    "ErrorSeen",
    "Event",
    "EventHub",
    "ItemSkipped",
    "Observer",
    "PageFetched",
    "SessionEnded",
    "SessionStarted",
    "Transition",
]

_LOG: Final = logger_of("twitor_fsm.events")
BACKLOG: Final = 1000
"""Events kept for a reader that is slow; older ones are dropped."""


@attrs.frozen(kw_only=True)
class Event:
    """Something a session did. `at` is epoch seconds, UTC."""

    session_id: str
    at: float


@attrs.frozen(kw_only=True)
class SessionStarted(Event):
    """A session begins, or goes on in this process (`resumed`).

    Attributes:
        counters: The session's counts as of its last commit: those of another process, if it goes on.
    """

    user_id: str
    source: str
    state: str
    resumed: bool
    counters: Counters = attrs.field(factory=Counters)


@attrs.frozen(kw_only=True)
class Transition(Event):
    """The machine took a step.

    Attributes:
        row: The step as the journal keeps it.
        until: When the wait that it began ends, epoch seconds; None if it began none.
    """

    row: JournalRow
    until: float | None = None


@attrs.frozen(kw_only=True)
class ErrorSeen(Event):
    """An error was classified and its recovery decided; or the store or the program failed, which ends the session."""

    category: ErrorCategory
    reason: str
    action: ErrorAction
    delay_s: float
    message: str
    operation: str
    item: str | None = None


@attrs.frozen(kw_only=True)
class PageFetched(Event):
    """A page arrived: number of its elements, and the cursor that asked for it."""

    items: int
    cursor: str | None


@attrs.frozen(kw_only=True)
class ItemSkipped(Event):
    """An item is left out and kept to be tried again."""

    item: str
    category: ErrorCategory
    reason: str
    message: str


@attrs.frozen(kw_only=True)
class CheckpointSaved(Event):
    """Progress became durable.

    Attributes:
        counters: The session's counts.
        last_tweet_id: The item made durable last, or None.
        position: Items walked so far in this listing.
    """

    counters: Counters
    last_tweet_id: str | None
    position: int


@attrs.frozen(kw_only=True)
class SessionEnded(Event):
    """The session's run in this process is over; always the last event.

    Attributes:
        counters: The session's counts as of its last commit.
        resume_at: When its pause ends, epoch seconds; None if it does not pause.
        lost: Whether another process took it over.
    """

    state: str
    reason: str | None
    message: str
    counters: Counters = attrs.field(factory=Counters)
    resume_at: float | None = None
    lost: bool = False


Observer = Callable[[Event], None]


class EventHub:
    """Hands every event to every observer and every reader."""

    def __init__(self, observers: tuple[Observer, ...] = ()) -> None:
        """Begin with these observers."""
        self._observers = observers
        self._failed: set[int] = set()
        self._readers: list[_Reader] = []
        self._history: deque[Event] = deque(maxlen=BACKLOG)
        self._ended = False

    def emit(self, event: Event) -> None:
        """Hand out one event; nothing that an observer raises comes out of it."""
        self._history.append(event)
        for reader in self._readers:
            reader.push(event)
        for number, observer in enumerate(self._observers):
            try:
                observer(event)
            except (Exception, asyncio.CancelledError, SystemExit):  # noqa: BLE001 - it can never stop a crawl
                # KeyboardInterrupt is the user's, who presses Ctrl-C while an observer happens to run
                if number not in self._failed:  # once is enough: it may fail on every event
                    self._failed.add(number)
                    _LOG.exception("an observer failed; the crawl goes on without regard to it")

    def end(self) -> None:
        """No more events will come; readers stop after what they still have."""
        self._ended = True
        for reader in self._readers:
            reader.wake.set()

    async def read(self) -> AsyncIterator[Event]:
        """All events still remembered and all to come; each call is a reader of its own."""
        reader = _Reader(deque(self._history, maxlen=BACKLOG))
        self._readers.append(reader)
        try:
            while True:
                while reader.events:
                    yield reader.events.popleft()
                if self._ended:
                    return
                reader.wake.clear()
                await reader.wake.wait()
        finally:
            self._readers.remove(reader)


@attrs.define(eq=False)
class _Reader:
    events: deque[Event]
    wake: asyncio.Event = attrs.field(factory=asyncio.Event)

    def push(self, event: Event) -> None:
        self.events.append(event)
        self.wake.set()
