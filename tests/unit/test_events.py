"""Events of a session: which there are, and what a reader that cannot keep up is told."""

from collections.abc import AsyncIterator
from itertools import islice
from typing import assert_never, get_args

from twitor_fsm import (
    CheckpointSaved,
    CrawlEvent,
    ErrorSeen,
    Event,
    EventsMissed,
    ItemSkipped,
    PageFetched,
    SessionEnded,
    SessionStarted,
    Transition,
)
from twitor_fsm.events import BACKLOG, EventHub


def told(event: CrawlEvent) -> str:
    """A word for each kind of event; the type checker refuses this function when one is left out."""
    match event:
        case SessionStarted():
            return "started"
        case Transition(row=row):
            return row.trigger
        case PageFetched() | CheckpointSaved():
            return "progress"
        case ErrorSeen() | ItemSkipped():
            return "trouble"
        case EventsMissed(count=count):
            return f"missed {count}"
        case SessionEnded():
            return "ended"
        case _:
            assert_never(event)


def page(number: int) -> PageFetched:
    """An event that can be told from others."""
    return PageFetched(session_id="s", at=float(number), items=number, cursor=None)


def numbers(events: list[CrawlEvent]) -> list[int]:
    """Which of them these are."""
    return [event.items for event in events if isinstance(event, PageFetched)]


async def rest(reader: AsyncIterator[CrawlEvent]) -> list[CrawlEvent]:
    """All that it still gives."""
    return [event async for event in reader]


def test_the_union_holds_every_event() -> None:
    assert set(get_args(CrawlEvent)) == set(Event.__subclasses__())
    assert told(page(1)) == "progress"


async def test_a_reader_that_keeps_up_misses_nothing() -> None:
    hub = EventHub()
    for number in range(BACKLOG):
        hub.emit(page(number))
    hub.end()

    assert numbers(await rest(hub.read())) == list(range(BACKLOG))


async def test_a_slow_reader_is_told_how_many_events_it_lost() -> None:
    hub = EventHub()
    slow = hub.read()
    hub.emit(page(0))
    assert await anext(slow) == page(0)
    for number in range(1, BACKLOG + 8):
        hub.emit(page(number))

    assert await anext(slow) == EventsMissed(session_id="s", at=8.0, count=7)
    assert await anext(slow) == page(8)
    for number in islice(range(BACKLOG + 8, 2 * BACKLOG), 20):
        hub.emit(page(number))
    hub.end()

    assert await anext(slow) == EventsMissed(session_id="s", at=28.0, count=19)
    assert numbers(await rest(slow)) == list(range(28, BACKLOG + 28))


async def test_a_reader_that_comes_late_is_told_what_is_gone() -> None:
    hub = EventHub()
    for number in range(BACKLOG + 5):
        hub.emit(page(number))
    hub.end()

    for _ in range(2):
        events = await rest(hub.read())
        assert [told(event) for event in events[:2]] == ["missed 5", "progress"]
        assert len(events) == BACKLOG + 1
