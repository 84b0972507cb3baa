"""An embedder's own test file: everything of `twitor_fsm.testing` on a source and a handler of one's own.

Run it: `pytest examples/test_notes.py`. It needs `pip install "twitor-fsm[testing]"` and `asyncio_mode = "auto"`.
"""

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings

from notes import Notes, count_words, write_notes
from twitor_fsm import CrawlEngine, Item, Source, SqlStore, Store
from twitor_fsm.testing import (
    CrawlMachine,
    Faults,
    FaultySource,
    FaultyStore,
    HandlerContract,
    MemoryStore,
    Plan,
    SourceContract,
    StoreContract,
    VirtualClock,
    assert_conforms,
    assert_survives,
    crash_points,
    error_sequences,
    fault_plans,
)


@contextmanager
def notes() -> Iterator[Notes]:
    """Some notes in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Notes(write_notes(Path(folder)))


# -- what a source, a handler and a store promise ---------------------------------------------------


class TestNotes(SourceContract):
    """The source keeps what `twitor_fsm.Source` promises."""

    def make_source(self) -> Source:
        """Eight notes."""
        return Notes(write_notes(Path(tempfile.mkdtemp(prefix="notes"))))


class TestCountWords(HandlerContract):
    """The handler may be called again for the same note."""

    def make_handler(self) -> Callable[[Item, int], Awaitable[Any]]:
        """The handler itself."""
        return count_words


class TestStore(StoreContract):
    """A store of one's own goes here; this one is the engine's."""

    def make_store(self, folder: Path) -> Store:
        """A store on the database of this folder."""
        return SqlStore(folder / "notes.db")


# -- whatever goes wrong ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(plan=error_sequences(at="handles"))
def test_no_note_is_lost_whatever_the_handler_meets(plan: Plan) -> None:
    """Errors of all six categories, cancels, deaths."""
    with notes() as source:
        assert_survives(plan, source, handler=count_words)


@settings(max_examples=30, deadline=None)
@given(plan=fault_plans(items=8, pages=3))
@example(plan=Plan())  # a quiet day: what fails even then is told at once, without shrinking
def test_no_note_is_lost_wherever_something_fails(plan: Plan) -> None:
    """At pages, items and transactions."""
    with notes() as source:
        assert_survives(plan, source, handler=count_words)


class NotesMachine(CrawlMachine):
    """Any order of faults, work, waits, cancels and deaths."""

    def make_source(self) -> Source:
        """Eight notes."""
        return Notes(write_notes(Path(tempfile.mkdtemp(prefix="notes"))))

    def make_handler(self) -> Callable[[Item, int], Awaitable[Any]]:
        """The handler itself."""
        return count_words


TestNotesMachine = NotesMachine.TestCase
TestNotesMachine.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


def test_no_kill_loses_a_note() -> None:
    """Killed before and after every statement; here at every tenth of them (leave `share` out for all)."""

    async def run(folder: Path) -> None:
        inbox = folder / "inbox"
        inbox.mkdir(exist_ok=True)
        async with CrawlEngine(f"sqlite:///{folder}/notes.db") as engine:
            await engine.crawl(Notes(write_notes(inbox, 4)), user_id="me", handler=count_words)

    print(crash_points(run, share=(0, 10)))


# -- a story of one's own, with the parts of the kit ------------------------------------------------


async def test_fifteen_minutes_of_pause_take_no_time(
    virtual_clock: VirtualClock, memory_store: MemoryStore
) -> None:
    """Written by hand: faults by name, virtual time, and the journal replayed."""
    faults = Faults(Plan("page 2: RATE_LIMIT; commit 1: LOST_ANSWER"), virtual_clock)
    with notes() as source:
        store = FaultyStore(memory_store, faults, clock=virtual_clock, owns=True)
        async with CrawlEngine(store, clock=virtual_clock) as engine:
            report = await engine.crawl(
                FaultySource(source, faults, clock=virtual_clock), user_id="me"
            )
            value = assert_conforms(await engine.journal(report.session_id))

    assert (report.completed, value.state) == (True, "completed")
    assert virtual_clock.sleeps == [900.0]
    assert faults.met == ["page 2: RATE_LIMIT", "commit 1: LOST_ANSWER"]
