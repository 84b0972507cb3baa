"""Each SQL statement of a crawl fails in turn: nothing is lost, the report says what is true, the next run completes."""

import asyncio
import itertools
import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from faulty_sql import TRUTH, Faults, SmallCrawl, driver_error

from twitor_fsm.core.states import State
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.errors import StoreUnavailable
from twitor_fsm.report import CrawlReport, exit_code
from twitor_fsm.sources.base import Item
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing.tapping import Call

bare = sqlite3.Connection.execute
"""Of the base class, so that no tap hears it."""


@attrs.frozen
class Trace:
    """The crawl that nobody disturbs: its statements, and how many come before the session and until its end."""

    calls: tuple[Call, ...]
    started: int
    ended: int

    def numbers(self, text: str | None = None, *, in_session: bool = False) -> list[int]:
        """Of all statements, or of those of this text; perhaps only from the session's start to its end."""
        chosen = [call.number for call in self.calls if text is None or call.text == text]
        return [n for n in chosen if not in_session or self.started < n <= self.ended]

    def writing_commits(self) -> list[int]:
        """Commits of the session's transactions that write."""
        ends = [call for call in self.calls if call.text in {"BEGIN", "BEGIN IMMEDIATE", "COMMIT"}]
        after = {end.number: begin.text for begin, end in itertools.pairwise(ends)}
        commits = self.numbers("COMMIT", in_session=True)
        return [number for number in commits if after[number] == "BEGIN IMMEDIATE"]

    def text(self, number: int) -> str:
        return " ".join(self.calls[number - 1].text.split())


async def trace(crawl: SmallCrawl) -> Trace:
    faults = Faults()
    assert (await crawl.run(faults)).completed
    assert crawl.holdings() == TRUTH
    started, ended = crawl.phases
    assert 10 < started < ended < len(faults.calls)
    return Trace(tuple(faults.calls), started, ended)


@attrs.define
class Files:
    """Databases for as many crawls as there are statements, one at a time."""

    folder: Path
    template: bytes | None = None

    @contextmanager
    def crawl(self, what: str) -> Iterator[SmallCrawl]:
        """A crawl into a file of its own; what fails inside says at which statement."""
        path = self.folder / "bookmarks.db"
        if self.template is not None:
            path.write_bytes(self.template)
        try:
            yield SmallCrawl(path)
        except BaseException as exc:
            exc.add_note(f"at {what:.100}")
            raise
        for file in self.folder.glob("bookmarks.db*"):
            file.unlink()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database of ours in which nothing is."""
    path = tmp_path_factory.mktemp("template") / "empty.db"

    async def make() -> None:
        store = SqlStore(path)
        await store.open()
        await store.close()

    asyncio.run(make())
    return path.read_bytes()


@pytest.fixture
def files(template: bytes, tmp_path: Path) -> Files:
    """Files with our tables."""
    return Files(tmp_path, template)


@attrs.frozen
class Fault:
    """How a statement fails.

    Attributes:
        name: SQLite's name of the error.
        reason: What we call it.
        lasts: Whether everything after it fails too, until the run is over.
        rolls_back: Whether SQLite has rolled the transaction back by itself, as it may after a failed write.
    """

    name: str
    reason: Reason
    lasts: bool = False
    rolls_back: bool = False

    def at(self, number: int) -> Faults:
        def fail(call: Call) -> None:
            if call.number != number and not (self.lasts and call.number > number):
                return
            if call.text == "ROLLBACK":
                return  # SQLite ends a transaction whatever befell it
            if self.rolls_back and call.connection is not None and call.connection.in_transaction:
                bare(call.connection, "ROLLBACK")
            raise driver_error(self.name)

        return Faults(before_call=fail)


FAULTS = [
    Fault("SQLITE_BUSY", Reason.STORE_BUSY),
    Fault("SQLITE_FULL", Reason.STORE_FULL, lasts=True),
    Fault("SQLITE_IOERR_WRITE", Reason.STORE_IO, rolls_back=True),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_statement_that_fails_before_the_session_starts_nothing_and_breaks_nothing(
    fault: Fault, tmp_path: Path
) -> None:
    """From the first statement on a file that is not there yet: opening, making the tables, claiming the crawl."""
    files = Files(tmp_path)
    with files.crawl("the undisturbed run") as crawl:
        undisturbed = await trace(crawl)
    waits_for_others = "PRAGMA journal_mode=WAL" if fault.name == "SQLITE_BUSY" else None
    for number in range(1, undisturbed.started + 1):
        with files.crawl(f"{number}: {undisturbed.text(number)}") as crawl:
            if undisturbed.text(number) == waits_for_others:
                assert (await crawl.run(fault.at(number))).completed
                continue
            with pytest.raises(StoreUnavailable) as caught:
                await crawl.run(fault.at(number))

            assert caught.value.reason is fault.reason
            assert crawl.source.requests == 0
            is_empty = not crawl.database.exists() or crawl.database.stat().st_size == 0
            if not is_empty or number == 1:  # an empty file is as good as the one before it
                await crawl.finish()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_whichever_statement_of_a_session_fails_nothing_is_lost(
    fault: Fault, files: Files
) -> None:
    with files.crawl("the undisturbed run") as crawl:
        undisturbed = await trace(crawl)
    for number in range(undisturbed.started + 1, len(undisturbed.calls) + 1):
        with files.crawl(f"{number}: {undisturbed.text(number)}") as crawl:
            report = await crawl.run(fault.at(number))

            assert (
                len(crawl.holdings().stored) == crawl.promised
            )  # the last commit, no more, no less
            if fault.name == "SQLITE_BUSY" or number > undisturbed.ended:
                assert (report.state, exit_code(report), report.durable) == ("completed", 0, True)
                assert crawl.holdings() == TRUTH
                assert "DATABASE" not in report.counters.errors
            else:
                is_out(report, fault.reason)
                await crawl.finish()


def is_out(report: CrawlReport, reason: Reason) -> None:
    """The report of a session whose store went away."""
    assert (report.state, report.category, exit_code(report), report.durable) == (
        State.SHUT_DOWN, ErrorCategory.DATABASE, 14, False,
    )  # fmt: skip
    assert report.reason == reason
    assert report.counters.errors["DATABASE"] == 1


# -- commits -------------------------------------------------------------------------------------


async def test_a_cancel_amid_any_commit_ends_the_crawl_and_loses_nothing(files: Files) -> None:
    """The cancel arrives while the store's thread is in COMMIT: that takes place all the same."""
    with files.crawl("the undisturbed run") as crawl:
        undisturbed = await trace(crawl)
    for number in undisturbed.numbers("COMMIT"):
        with files.crawl(f"commit {number}") as crawl:
            loop, arrived = asyncio.get_running_loop(), threading.Event()

            def cancel(task: "asyncio.Task[CrawlReport]", arrived: threading.Event) -> None:
                task.cancel()
                arrived.set()

            def amid(call: Call) -> None:
                if call.number == number:  # noqa: B023 - called in this turn alone
                    loop.call_soon_threadsafe(cancel, task, arrived)  # noqa: B023
                    assert arrived.wait(10)  # noqa: B023

            task = asyncio.create_task(crawl.run(Faults(before_call=amid)))
            with pytest.raises(asyncio.CancelledError):
                await task

            held = crawl.holdings()
            assert len(held.stored) >= crawl.promised
            if undisturbed.started < number <= undisturbed.ended:
                row = await crawl.session()
                assert row.value.state in {State.SHUT_DOWN, State.COMPLETED}
                assert row.counters.stored == len(held.stored)
            await crawl.finish()


@pytest.mark.parametrize("name", ["SQLITE_CANTOPEN", "SQLITE_IOERR_FSYNC"])
async def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled(
    name: str, files: Files
) -> None:
    """It took place, and the driver raises: the revision tells, whatever was raised."""
    with files.crawl("the undisturbed run") as crawl:
        undisturbed = await trace(crawl)
    for number in undisturbed.numbers("COMMIT", in_session=True):
        with files.crawl(f"commit {number}") as crawl:

            def lose(call: Call) -> None:
                if call.number == number:  # noqa: B023 - called in this turn alone
                    raise driver_error(name)

            report = await crawl.run(Faults(after_call=lose))

            if name == "SQLITE_CANTOPEN" or number in undisturbed.writing_commits():
                assert (report.state, report.durable) == (State.COMPLETED, True)
                assert "DATABASE" not in report.counters.errors
                assert crawl.holdings() == TRUTH
            else:  # of a transaction that only read
                is_out(report, Reason.STORE_IO)
                assert len(crawl.holdings().stored) == crawl.promised
                await crawl.finish()


# -- real ones -----------------------------------------------------------------------------------


async def bulky(item: Item, fence: int) -> str:
    """Makes every item need room of its own."""
    return item.key * 200


async def test_a_disk_that_is_really_full_from_any_transaction_on_loses_nothing(
    files: Files,
) -> None:
    """`max_page_count`: the database may not grow any more, and SQLite itself says SQLITE_FULL."""
    with files.crawl("the undisturbed run") as crawl:
        crawl.handler = bulky
        undisturbed = await trace(crawl)
    full = 0
    for number in undisturbed.numbers("BEGIN IMMEDIATE", in_session=True):
        with files.crawl(f"transaction {number}") as crawl:
            crawl.handler = bulky

            def fill(call: Call) -> None:
                if call.number >= number and call.text == "BEGIN IMMEDIATE":  # noqa: B023
                    assert call.connection is not None
                    [(pages,)] = bare(call.connection, "PRAGMA page_count")
                    bare(call.connection, f"PRAGMA max_page_count={pages}")

            report = await crawl.run(Faults(before_call=fill))

            assert len(crawl.holdings().stored) == crawl.promised
            if not report.completed:
                full += 1
                is_out(report, Reason.STORE_FULL)
                await crawl.finish()
    assert full >= 5


async def test_a_log_that_can_really_not_be_written_at_any_commit_loses_nothing(
    files: Files,
) -> None:
    """RLIMIT_FSIZE: the system refuses to let the file grow, and SQLite itself says SQLITE_IOERR."""
    with files.crawl("the undisturbed run") as crawl:
        undisturbed = await trace(crawl)
    log = files.folder / "bookmarks.db-wal"
    writing = undisturbed.writing_commits()
    assert len(writing) >= 5
    for number in writing:
        with files.crawl(f"commit {number}") as crawl:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

            def refuse(call: Call) -> None:
                if call.number == number:  # noqa: B023 - called in this turn alone
                    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))  # noqa: B023

            def allow(call: Call) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))  # noqa: B023

            report = await crawl.run(Faults(before_call=refuse, after_call=allow))

            is_out(report, Reason.STORE_IO)
            assert len(crawl.holdings().stored) == crawl.promised
            await crawl.finish()
