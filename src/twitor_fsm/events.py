"""What a running session tells its observers: typed events, and the hub that hands them out.

An observer can never stop, slow or change a crawl: what it raises is logged. A reader that falls behind loses the oldest
events, and is told how many.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias

import attrs

from .core.records import Counters
from .core.states import JournalRow
from .core.taxonomy import ErrorAction, ErrorCategory
from .log_facts import logger_of

__all__ = [
    "CheckpointSaved",
    "CrawlEvent",
    "ErrorSeen",
    "Event",
    "EventHub",
    "EventsMissed",
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


@attrs.frozen(kw_only=True)
class EventsMissed(Event):
    """A reader was too slow, or came late: `count` events are gone that would stand here. Observers miss none."""

    count: int


CrawlEvent: TypeAlias = (
    SessionStarted
    | Transition
    | ErrorSeen
    | PageFetched
    | ItemSkipped
    | CheckpointSaved
    | EventsMissed
    | SessionEnded
)
"""Every event that there is: a `match` over its classes that ends in `assert_never` is checked to be complete."""

Observer: TypeAlias = Callable[[CrawlEvent], None]
"""Called with every event, by the session itself: it should return at once."""


class EventHub:
    """Hands every event to every observer and every reader."""

    def __init__(self, observers: tuple[Observer, ...] = ()) -> None:
        """Begin with these observers."""
        self._observers = observers
        self._failed: set[int] = set()
        self._readers: list[_Reader] = []
        self._history = _Backlog()
        self._ended = False

    def emit(self, event: CrawlEvent) -> None:
        """Hand out one event; nothing that an observer raises comes out of it."""
        self._history.push(event)
        for reader in self._readers:
            reader.backlog.push(event)
            reader.wake.set()
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

    async def read(self) -> AsyncIterator[CrawlEvent]:
        """All events still remembered and all to come; each call is a reader of its own.

        Where events were dropped, `EventsMissed` stands in their place.
        """
        reader = _Reader(self._history.copy())
        self._readers.append(reader)
        try:
            while True:
                while reader.backlog.events:
                    yield reader.backlog.pull()
                if self._ended:
                    return
                reader.wake.clear()
                await reader.wake.wait()
        finally:
            self._readers.remove(reader)


@attrs.define(eq=False)
class _Backlog:
    """The newest events, and how many older ones were dropped."""

    events: deque[CrawlEvent] = attrs.field(factory=deque)
    dropped: int = 0

    def push(self, event: CrawlEvent) -> None:
        self.events.append(event)
        if len(self.events) > BACKLOG:
            self.events.popleft()
            self.dropped += 1

    def pull(self) -> CrawlEvent:
        """The oldest event; first, how many are gone before it. There has to be one."""
        oldest = self.events[0]
        if self.dropped:
            missed, self.dropped = self.dropped, 0
            return EventsMissed(session_id=oldest.session_id, at=oldest.at, count=missed)
        return self.events.popleft()

    def copy(self) -> "_Backlog":
        return _Backlog(self.events.copy(), self.dropped)


@attrs.define(eq=False)
class _Reader:
    backlog: _Backlog
    wake: asyncio.Event = attrs.field(factory=asyncio.Event)
