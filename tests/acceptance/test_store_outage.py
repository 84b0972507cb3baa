"""The store goes away in mid-crawl: nothing lost, the right exit code, and the next run on the repaired file completes."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from virtual import HookedStore, World, forget, world

from twitor_fsm.config import Settings
from twitor_fsm.core.states import State
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.errors import AuthenticationFailed, InvalidItem, StoreUnavailable
from twitor_fsm.events import Transition
from twitor_fsm.report import CrawlReport, exit_code
from twitor_fsm.simulator import Fault, FaultKind
from twitor_fsm.sources.base import Item
from twitor_fsm.storage.base import Batch
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing.tapping import Call, tapped

COUNT = 200
LADDER = [5.0 * share / 40 for share in (1, 3, 9, 27)]
"""Four waits between five attempts, five seconds in all."""


# -- ways to break a store ------------------------------------------------------------------------


@attrs.define
class Outage:
    """A store that breaks at a moment, and the way to repair it."""

    path: Path
    lock: sqlite3.Connection | None = None
    injected: bool = False
    copy: Path | None = None

    def busy(self, _store: "Breaking") -> None:
        self.lock = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.lock.execute("BEGIN EXCLUSIVE")

    def full(self, store: "Breaking") -> None:
        store.pragma = "PRAGMA max_page_count=1"  # SQLite takes it as: no more than there are

    def readonly(self, store: "Breaking") -> None:
        store.pragma = "PRAGMA query_only=ON"

    def ioerr(self, store: "Breaking") -> None:
        self.injected = True

    def corrupt(self, _store: "Breaking") -> None:
        self._damage(at=4096, count=1 << 30)

    def notadb(self, _store: "Breaking") -> None:
        self._damage(at=0, count=100)

    def deleted(self, _store: "Breaking") -> None:
        self._keep()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def _keep(self) -> None:
        """A backup, as somebody may have it."""
        self.copy = self.path.with_suffix(".copy")
        with closing(sqlite3.connect(self.path)) as one, closing(sqlite3.connect(self.copy)) as two:
            one.backup(two)

    def _damage(self, *, at: int, count: int) -> None:
        self._keep()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        whole = self.path.read_bytes()
        upto = min(len(whole), at + count)
        self.path.write_bytes(whole[:at] + b"\xa5" * (upto - at) + whole[upto:])

    def repair(self) -> None:
        self.injected = False
        if self.lock is not None:
            self.lock.close()
            self.lock = None
        if self.copy is not None:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            shutil.move(self.copy, self.path)
            self.copy = None


class Breaking(HookedStore):
    """Breaks at one call, and stays broken."""

    def __init__(self, path: Path, when: Callable[[str, Batch | None], bool], how: str) -> None:
        super().__init__(path, self._maybe)
        self.outage = Outage(path)
        self.pragma: str | None = None
        self.broken = False
        self.attempts: list[str] = []
        self._when = when
        self._how = how
        self._tap = ExitStack()

    async def open(self) -> None:
        self._tap.enter_context(tapped(self))
        await super().open()

    async def close(self) -> None:
        await super().close()
        self._tap.close()

    def before(self, call: Call) -> None:
        """A statement of ours (not of a look at the rows) is about to be made."""
        if call.connection is None or threading.current_thread().name != "twitor-store":
            return
        if self.outage.injected:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_WRITE"
            raise error
        if self.pragma is not None and call.text.startswith("BEGIN"):
            sqlite3.Connection.execute(call.connection, self.pragma)

    def after(self, call: Call) -> None: ...

    def _maybe(self, name: str, batch: Batch | None) -> None:
        if self.broken:
            self.attempts.append(name)
        elif self._when(name, batch):
            self.broken = True
            self.attempts.append(name)
            getattr(self.outage, self._how)(self)


def at_lookup() -> Callable[[str, Batch | None], bool]:
    calls = iter(range(100))
    return lambda name, _: name == "lookup" and next(calls) == 1


def at_page() -> Callable[[str, Batch | None], bool]:
    calls = iter(range(100))
    return lambda name, _: name == "commit" and next(calls) == 1


def at_pause(_: str, batch: Batch | None) -> bool:
    return batch is not None and batch.value.state == State.PAUSED_RATE_LIMIT


def at_finish(_: str, batch: Batch | None) -> bool:
    return batch is not None and batch.value.state == State.COMPLETED


MOMENTS: dict[str, Callable[[], Callable[[str, Batch | None], bool]]] = {
    "lookup": at_lookup,
    "page": at_page,
    "pause": lambda: at_pause,
    "finish": lambda: at_finish,
}

REASONS = {
    "busy": Reason.STORE_BUSY,
    "full": Reason.STORE_FULL,
    "ioerr": Reason.STORE_IO,
    "readonly": Reason.STORE_READ_ONLY,
    "corrupt": Reason.STORE_CORRUPT,
    "notadb": Reason.STORE_CORRUPT,
}


@pytest.fixture
def breaking() -> Iterator[Callable[[World, str, str], Breaking]]:
    made: list[Breaking] = []

    def make(w: World, moment: str, how: str) -> Breaking:
        made.append(Breaking(w.path, MOMENTS[moment](), how))
        return made[-1]

    yield make
    for store in made:
        store.outage.repair()


async def noop(item: Item, fence: int) -> None: ...


def is_in(report: CrawlReport, reasons: set[Reason]) -> None:
    assert (report.state, report.category, exit_code(report), report.durable) == (
        State.SHUT_DOWN, ErrorCategory.DATABASE, 14, False,
    )  # fmt: skip
    assert report.reason in reasons


@pytest.mark.parametrize("handler", [None, noop], ids=["bare", "handler"])
@pytest.mark.parametrize(
    ("how", "moment"),
    [
        (how, moment)
        for how in REASONS
        for moment in MOMENTS
        if (how, moment) != ("full", "finish")  # the few last rows still fit into pages begun
    ],
)
async def test_an_outage_for_good_loses_nothing(
    how: str, moment: str, handler: Any, tmp_path: Path, breaking: Any
) -> None:
    limited = Fault(kind=FaultKind.RATE_LIMITED, at=(3,))
    cleaned: list[str] = []

    async def cleanup() -> None:
        cleaned.append("once")

    async with world(tmp_path, COUNT, limited, settings=Settings(prefetch=0)) as w:
        store = breaking(w, moment, how)
        before: list[str] = []
        when = store._when

        def note(name: str, batch: Batch | None) -> bool:
            broken = bool(when(name, batch))
            if broken:
                before.extend(w.stored())
            return broken

        store._when = note
        report = await w.crawl(store=store, handler=handler, cleanup=[cleanup])

        assert store.broken
        is_in(report, {REASONS[how]})
        assert cleaned == ["once"]
        assert report.counters.errors["DATABASE"] == 1
        assert report.counters.retries == 0  # network tries are not used up
        waits = [s for s in w.clock.sleeps if s < 60]
        assert waits == (LADDER if how == "busy" else [])
        assert report.message
        store.outage.repair()
        assert w.stored() == before  # rows stay at the last commit
        [[count]] = w.query("SELECT bookmarks_count FROM twitor_crawl")
        assert count == len(before)

        again = await w.crawl(handler=handler)
        assert (again.state, exit_code(again)) == (State.COMPLETED, 0)
        assert sorted(w.stored()) == sorted(w.sim.truth())


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_store_that_is_busy_for_a_moment_costs_a_wait_and_nothing_else(
    moment: str, tmp_path: Path, breaking: Any
) -> None:
    limited = Fault(kind=FaultKind.RATE_LIMITED, at=(3,))
    async with world(tmp_path, COUNT, limited) as w:
        store = breaking(w, moment, "busy")
        waits: list[float] = []

        def relent(seconds: float) -> None:
            if store.broken and store.outage.lock is not None:
                waits.append(seconds)
                if len(waits) == 3:
                    store.outage.repair()

        w.clock.on_sleep = relent
        report = await w.crawl(store=store)

        assert (report.state, exit_code(report), report.durable) == (State.COMPLETED, 0, True)
        assert waits == LADDER[:3]
        assert report.counters.errors == {"RATE_LIMIT": 1}
        assert report.counters.retries == 0
        assert w.stored() == w.sim.truth()
        assert "store_failed:shutting_down" not in await w.path_of(report)


async def test_a_deleted_file_ends_the_crawl_and_the_next_run_brings_everything(
    tmp_path: Path, breaking: Any
) -> None:
    """An open file outlives its name; what matters is that nobody is told of rows that no file holds."""
    async with world(tmp_path, COUNT, settings=Settings(prefetch=0)) as w:
        store = breaking(w, "page", "deleted")
        report = await store_crawl(w, store)

        is_gone = not w.path.exists()
        assert not (report.completed and is_gone)
        assert exit_code(report) == 14
        assert not report.durable
        again = await w.crawl()
        assert again.completed
        assert sorted(w.stored()) == sorted(w.sim.truth())


async def store_crawl(w: World, store: Breaking) -> CrawlReport:
    """A run whose database may not be there to be checked afterwards."""
    async with w.engine(store) as engine:
        return await engine.crawl(w.source(), user_id=w.sim.user_id)


@pytest.mark.parametrize("how", ["busy", "readonly"])
async def test_a_cancel_in_a_pause_while_the_store_is_out_ends_in_time(
    how: str, tmp_path: Path, breaking: Any
) -> None:
    """store_failed from paused: the cancel's own transaction is tried once."""
    limited = Fault(kind=FaultKind.RATE_LIMITED, at=(2,))
    async with world(tmp_path, COUNT, limited) as w:
        w.clock.gate = asyncio.Event()
        store = Breaking(
            w.path, lambda _, b: b is not None and b.value.state == "shutting_down", how
        )
        try:
            async with w.engine(store) as engine:
                handle = await engine.start(w.source(), user_id=w.sim.user_id)
                async for event in handle:
                    if isinstance(event, Transition):
                        break
                handle.cancel()
                report = await asyncio.wait_for(handle.wait(), 5)
        finally:
            store.outage.repair()

        assert report.state == State.SHUT_DOWN
        assert not report.durable
        assert len(w.stored()) == 90
        w.clock.gate = None
        again = await w.crawl()  # the row still says paused: that session goes on
        assert again.completed
        assert again.session_id == report.session_id
        assert sorted(w.stored()) == sorted(w.sim.truth())


async def test_a_cancel_while_a_busy_store_is_waited_for_ends_in_time(tmp_path: Path) -> None:
    async with world(tmp_path, COUNT) as w:
        store = Breaking(w.path, at_page(), "busy")
        waiting = asyncio.Event()
        w.clock.on_sleep = lambda _: waiting.set()
        w.clock.gate = asyncio.Event()  # the wait for the store lasts for ever
        try:
            async with w.engine(store) as engine:
                handle = await engine.start(w.source(), user_id=w.sim.user_id)
                await waiting.wait()
                handle.cancel()
                report = await asyncio.wait_for(handle.wait(), 5)
        finally:
            store.outage.repair()

        assert (report.state, report.durable) == (State.SHUT_DOWN, False)
        assert len(w.stored()) == 90
        w.clock.gate = w.clock.on_sleep = None
        assert (await w.crawl()).completed
        assert sorted(w.stored()) == sorted(w.sim.truth())


async def test_a_cancel_that_finds_the_store_again_is_saved(tmp_path: Path) -> None:
    async with world(tmp_path, COUNT) as w:
        store = Breaking(w.path, at_page(), "busy")
        waiting = asyncio.Event()
        w.clock.on_sleep = lambda _: waiting.set()
        w.clock.gate = asyncio.Event()
        async with w.engine(store) as engine:
            handle = await engine.start(w.source(), user_id=w.sim.user_id)
            await waiting.wait()
            store.outage.repair()
            handle.cancel()
            report = await asyncio.wait_for(handle.wait(), 5)
            await w.check(engine, report)

        assert (report.reason, exit_code(report), report.durable) == (
            Reason.STOPPED_BY_USER, 75, True,
        )  # fmt: skip
        assert w.stored() == w.sim.truth()[:180]  # the page in hand went with it


async def test_a_cancel_that_ends_the_wait_for_an_auth_step_drops_nothing(tmp_path: Path) -> None:
    """The step of AUTH drops what is pending; when it does not become true, nothing is dropped."""

    def at_auth(_: str, batch: Batch | None) -> bool:
        return batch is not None and batch.value.state == State.ABORTING

    calls = 0

    async def handler(item: Item, fence: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise InvalidItem("no text")
        if calls == 3:
            raise AuthenticationFailed("the app's own service refuses")

    async with world(tmp_path, COUNT) as w:
        store = Breaking(w.path, at_auth, "busy")
        waiting = asyncio.Event()
        w.clock.on_sleep = lambda _: waiting.set()
        w.clock.gate = asyncio.Event()
        async with w.engine(store) as engine:
            handle = await engine.start(w.source(), user_id=w.sim.user_id, handler=handler)
            await waiting.wait()
            store.outage.repair()
            handle.cancel()
            report = await asyncio.wait_for(handle.wait(), 5)
            await w.check(engine, report)

        assert report.reason == Reason.STOPPED_BY_USER
        assert await w.path_of(report) == [
            "item_skipped:running",
            "cancel:shutting_down",
            "cleaned_up:shut_down",
        ]
        assert [brief.id for brief in report.skipped_items] == w.sim.truth()[:1]
        assert w.stored() == w.sim.truth()[1:2]


async def test_a_commit_whose_answer_was_lost_is_neither_lost_nor_doubled(tmp_path: Path) -> None:
    """The transaction took place, the connection died before it said so: the revision tells."""

    class Silent(HookedStore):
        async def commit(self, batch: Batch) -> str | None:
            answer = await super().commit(batch)
            if self.commits in (1, 2, 4):
                raise StoreUnavailable("the connection was lost")
            return answer

    async with world(tmp_path, COUNT) as w:
        report = await w.crawl(store=Silent(w.path))

        assert report.completed
        assert report.counters.errors == {}
        assert w.clock.sleeps == []
        assert w.stored() == w.sim.truth()


async def test_after_an_outage_the_session_is_taken_over_as_after_a_death(
    tmp_path: Path, breaking: Any
) -> None:
    async with world(tmp_path, COUNT) as w:
        store = breaking(w, "page", "readonly")
        report = await w.crawl(store=store)
        store.outage.repair()
        async with w.engine() as engine:
            record = await engine.status(report.session_id)
            assert record.ended_at is None
            assert record.value.state == State.RUNNING
            await forget(engine, report.session_id)  # its process is over
        again = await w.crawl()

        assert again.session_id == report.session_id
        assert (await w.path_of(again))[0] == "restarted:running"
        assert again.completed


async def test_a_store_that_comes_back_for_the_end_notes_the_failure(
    tmp_path: Path, breaking: Any
) -> None:
    """After cleanup one attempt writes the session and its journal."""
    async with world(tmp_path, COUNT) as w:
        store = breaking(w, "page", "ioerr")

        async def cleanup() -> None:
            store.outage.repair()

        report = await w.crawl(store=store, cleanup=[cleanup])

        is_in(report, {Reason.STORE_IO})
        async with w.engine() as engine:
            record = await engine.status(report.session_id)
        assert (record.value.state, record.durable) == (State.SHUT_DOWN, False)
        assert await w.path_of(report) == ["store_failed:shutting_down", "cleaned_up:shut_down"]
        assert len(w.stored()) == 90
        again = await w.crawl()
        assert (again.completed, again.resumed_from) == (True, report.session_id)
        assert sorted(w.stored()) == sorted(w.sim.truth())


async def test_a_store_that_is_out_before_the_start_starts_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, COUNT) as w:
        async with w.engine():
            pass
        w.path.chmod(0o600)
        with closing(sqlite3.connect(w.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreUnavailable):
                await w.crawl(store=SqlStore(w.path, busy_timeout_s=0.002))
            other.execute("ROLLBACK")
        assert w.requests == 0
        assert (await w.crawl()).completed
