"""One small crawl whose SQL can be made to fail at the driver, below whatever built the statements."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from scripted import ids

from twitor_fsm.config import Settings
from twitor_fsm.core.records import SessionRecord
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import RateLimited, SourceUnavailable
from twitor_fsm.events import CheckpointSaved, Event, SessionEnded, SessionStarted
from twitor_fsm.report import CrawlReport
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing.clock import VirtualClock
from twitor_fsm.testing.soundness import Holdings, assert_sound
from twitor_fsm.testing.sources import ListSource
from twitor_fsm.testing.tapping import Call, tapped

KEYS = ids(25)
BROKEN = KEYS[13]
TRUTH = Holdings(
    stored=tuple(sorted(("me", key) for key in KEYS if key != BROKEN)),
    skipped=(("me", "x", BROKEN),),
)
MOST_REQUESTS = 3 + 2 + 2 + 2
"""Pages, the two that fail, a look at the top, and two for the run that was cut short."""


def driver_error(name: str) -> sqlite3.Error:
    """What the driver raises for a code of SQLite's."""
    error = sqlite3.OperationalError(f"injected {name}")
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@attrs.define
class Faults:
    """A tap that counts the calls and does something at some of them.

    Attributes:
        before: Called before each statement; what it raises is raised in its place.
        after: Called after each; what it raises is raised instead of its answer.
    """

    before_call: Callable[[Call], None] = lambda _: None
    after_call: Callable[[Call], None] = lambda _: None
    calls: list[Call] = attrs.field(factory=list)

    def before(self, call: Call) -> None:
        self.calls.append(call)
        self.before_call(call)

    def after(self, call: Call) -> None:
        self.after_call(call)


@attrs.define
class SmallCrawl:
    """25 items in pages of 10; request 2 meets a 429, request 4 a network failure, one item cannot be decoded.

    Successive runs go on with the same listing and the same count of requests.
    """

    database: Path
    handler: Callable[..., Any] | None = None
    observer: Callable[[Event], None] = lambda _: None
    events: list[Event] = attrs.field(factory=list)
    phases: list[int] = attrs.field(factory=list)
    """How many statements had been made when the session started, and when it ended."""
    source: ListSource = attrs.field(
        factory=lambda: ListSource(
            KEYS,
            script={2: RateLimited(), 4: SourceUnavailable("no answer")},
            bad={BROKEN},
            size=10,
        )
    )

    async def run(self, faults: Faults | None = None) -> CrawlReport:
        """One run as a process of its own would have it. Raises what `CrawlEngine.crawl` raises."""
        faults = faults if faults is not None else Faults()
        self.events.clear()

        def observe(event: Event) -> None:
            self.events.append(event)
            self.observer(event)
            if isinstance(event, (SessionStarted, SessionEnded)):
                self.phases.append(len(faults.calls))

        with tapped(faults):
            async with CrawlEngine(
                str(self.database), settings=Settings(), clock=VirtualClock(), observers=[observe]
            ) as engine:
                return await engine.crawl(self.source, user_id="me", handler=self.handler)

    async def finish(self) -> CrawlReport:
        """The next run: it completes, and everything is there, once."""
        report = await self.run()
        assert report.completed, report
        assert self.holdings() == TRUTH
        assert self.source.requests <= MOST_REQUESTS
        return report

    def holdings(self) -> Holdings:
        """What the file holds; it is sound."""
        return assert_sound(self.database)

    async def session(self) -> SessionRecord:
        """The last session's row."""
        store = SqlStore(self.database, read_only=True)
        await store.open()
        [newest, *_] = await store.sessions()
        await store.close()
        return newest

    @property
    def promised(self) -> int:
        """Items that the last run has told its observers to be durable."""
        saved = [event for event in self.events if isinstance(event, CheckpointSaved)]
        return saved[-1].counters.stored if saved else 0
