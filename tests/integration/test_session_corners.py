"""How a session ends when what it stands on has a bug: the store, the source's close, events that no table knows."""

import asyncio
import sqlite3
from typing import Any

import attrs
import pytest
from scripted import ids, stored
from test_engine_corners import SPEC
from valkey_server import until

from twitor_fsm.config import Settings
from twitor_fsm.core.recovery import ErrorFacts, Policy, RecoveryStrategy, decide
from twitor_fsm.core.states import (
    DEFAULT_SPEC,
    Durability,
    Kind,
    Row,
    State,
    StateDef,
    endings,
)
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import (
    AuthenticationFailed,
    ItemsRefused,
    LeaseLost,
    SourceUnavailable,
    StoreUnavailable,
)
from twitor_fsm.events import Transition
from twitor_fsm.sources.base import Item, Page
from twitor_fsm.storage.base import Batch
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource, VirtualClock


class BuggyStore(SqlStore):
    """Raises what no store should, for a batch that leads into one of these states."""

    broken: frozenset[str] = frozenset()
    error: Exception = ZeroDivisionError("a bug of the store's")

    async def commit(self, batch: Batch) -> str | None:
        if str(batch.value.state) in self.broken:
            raise self.error
        return await super().commit(batch)


@pytest.mark.parametrize(
    ("broken", "left"),
    [
        ({"running", "aborting", "shutting_down"}, State.RUNNING),
        ({"shut_down"}, State.SHUTTING_DOWN),
    ],
)
async def test_a_bug_of_the_store_while_a_session_ends_is_raised_and_the_next_start_goes_on(
    db: str, clock: VirtualClock, broken: set[str], left: State
) -> None:
    keys = ids(40)
    store = BuggyStore(db)
    store.broken = frozenset(broken)
    async with CrawlEngine(store, settings=Settings(), clock=clock) as engine:
        handle = await engine.start(ListSource(keys), user_id="me")
        if left is State.SHUTTING_DOWN:
            handle.cancel()
        with pytest.raises(ZeroDivisionError):
            await handle.wait()
        assert (await engine.status(handle.session_id)).value.state == left

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        assert (await engine.crawl(ListSource(keys), user_id="me")).completed
        assert sorted(await stored(engine)) == sorted(keys)


async def test_a_bug_of_the_store_under_a_cancelled_crawl_is_logged_and_the_crawl_is_cancelled(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = BuggyStore(db)
    async with CrawlEngine(store, settings=Settings(), clock=clock) as engine:
        fetching = asyncio.Event()

        @attrs.define
        class Waiting(ListSource):
            async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
                fetching.set()
                return await asyncio.Future()

        crawl = asyncio.create_task(engine.crawl(Waiting(ids(3)), user_id="me"))
        await fetching.wait()
        store.broken = frozenset({"shutting_down", "aborting", "shut_down"})
        crawl.cancel()
        with pytest.raises(asyncio.CancelledError):
            await crawl
    assert "the session broke while ending: ZeroDivisionError" in caplog.text


async def test_items_refused_where_there_are_none_end_the_session_without_the_store(
    db: str, clock: VirtualClock
) -> None:
    store = BuggyStore(db)
    store.broken = frozenset({"shutting_down"})
    store.error = ItemsRefused({"1000": (Reason.CONSTRAINT, "no such item")})
    async with CrawlEngine(store, settings=Settings(), clock=clock) as engine:
        handle = await engine.start(ListSource(ids(3)), user_id="me")
        handle.cancel()
        report = await handle.wait()

    assert (report.state, report.category, report.durable) == (
        "shut_down",
        ErrorCategory.DATABASE,
        False,
    )


async def test_a_database_that_refuses_to_keep_a_skipped_item_ends_the_session_and_not_the_item(
    db: str, clock: VirtualClock
) -> None:
    keys = ["1", "5", "8"]
    async with CrawlEngine(db, settings=Settings(), clock=clock):
        pass
    with sqlite3.connect(db) as connection:
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON twitor_skipped BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    connection.close()

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(ListSource(keys, bad={"5"}), user_id="me")

        assert (report.state, report.category) == ("shut_down", ErrorCategory.DATABASE)
        assert "refuses even to keep a skipped item" in report.message
        assert await stored(engine) == []


async def test_an_event_that_comes_while_a_session_ends_is_dropped(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with CrawlEngine(db, settings=Settings(), clock=clock, spec=SPEC) as engine:

        async def late() -> None:
            handle.post("hold")

        handle = await engine.start(ListSource(ids(40)), user_id="me", cleanup=[late])
        handle.cancel()
        report = await handle.wait()

    assert (report.state, report.reason) == ("shut_down", "stopped_by_user")
    assert "'hold' is not allowed in state 'shutting_down'" in caplog.text


async def test_an_apps_waiting_state_waits_for_its_event_for_ever(
    db: str, clock: VirtualClock
) -> None:
    async with CrawlEngine(db, settings=Settings(), clock=clock, spec=SPEC) as engine:
        handle = await engine.start(ListSource(ids(40)), user_id="me")
        handle.post("hold")
        async for event in handle:
            if isinstance(event, Transition) and event.row.target == "on_hold":
                handle.post("go_on")

        assert (await handle.wait()).completed
        assert clock.now() == VirtualClock().now()


@attrs.define
class ClosesOddly(ListSource):
    """Its `aclose` is no coroutine function, or raises."""

    raises: BaseException | None = None

    def aclose(self) -> None:  # type: ignore[override]
        if self.raises is not None:
            raise self.raises


@pytest.mark.parametrize("raises", [None, RuntimeError("shut"), asyncio.CancelledError()])
async def test_a_source_that_closes_oddly_spoils_no_report(
    db: str, clock: VirtualClock, raises: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        source = ClosesOddly(ids(3), raises=raises)
        assert (await engine.crawl(source, user_id="me")).completed  # type: ignore[arg-type]
    assert ("did not close" in caplog.text) == (raises is not None)


def unready(error: ErrorFacts, policy: Policy, *, now: float, jitter: float) -> RecoveryStrategy:
    """A policy with a bug."""
    raise ZeroDivisionError(error.message)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (StoreUnavailable("gone", retryable=False), "shut_down", Reason.STORE_UNAVAILABLE),
        (StoreUnavailable("busy"), "shut_down", Reason.STORE_UNAVAILABLE),
        (LeaseLost("this"), "running", Reason.LEASE_LOST),
    ],
    ids=["gone", "busy", "lost"],
)
async def test_a_bug_that_the_store_cannot_take_is_reported_all_the_same(
    db: str, clock: VirtualClock, error: Exception, state: str, reason: Reason
) -> None:
    store, cleaned = BuggyStore(db), asyncio.Event()
    store.broken, store.error = frozenset({"shutting_down"}), error
    source = ListSource(ids(40), script={2: SourceUnavailable("away")})
    async with CrawlEngine(store, settings=Settings(), clock=clock, policy=unready) as engine:
        report = await engine.crawl(source, user_id="me", page_size=20, cleanup=[cleaned.set])

        assert (report.state, report.reason) == (state, reason)
        assert cleaned.is_set()
        assert len(await stored(engine)) == 20


async def test_a_cancel_ends_a_session_whose_bug_waits_for_the_store(
    db: str, clock: VirtualClock
) -> None:
    clock.hold()
    store = BuggyStore(db)
    store.broken, store.error = frozenset({"shutting_down"}), StoreUnavailable("busy")
    source = ListSource(ids(40), script={1: SourceUnavailable("away")})
    async with CrawlEngine(store, settings=Settings(), clock=clock, policy=unready) as engine:
        handle = await engine.start(source, user_id="me")
        await until(lambda: clock.sleepers > 0)  # for the store
        store.broken = frozenset()
        handle.cancel()
        report = await handle.wait()

        assert (report.state, report.reason) == ("shut_down", Reason.STOPPED_BY_USER)


class Picky(SqlStore):
    """Refuses one item."""

    key = ""

    async def commit(self, batch: Batch) -> str | None:
        if any(new.item.key == self.key for new in batch.new):
            raise ItemsRefused({self.key: (Reason.CONSTRAINT, "no such item")})
        return await super().commit(batch)


@pytest.mark.parametrize("error", [AuthenticationFailed("no"), SourceUnavailable("away")])
async def test_a_journal_ends_with_as_many_items_as_its_session_has_seen(
    db: str, clock: VirtualClock, error: Exception
) -> None:
    """What is handled and not yet durable is dropped by an end that saves no checkpoint."""
    keys, store = ids(40), BuggyStore(db)
    store.broken, store.error = frozenset({"retrying"}), StoreUnavailable("gone", retryable=False)

    async def fail(item: Item, _fence: int) -> None:
        if item.key == keys[17]:
            raise error

    async with CrawlEngine(store, settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(ListSource(keys), user_id="me", handler=fail)

        last = (await engine.journal(report.session_id))[-1]
        assert last.trigger == "cleaned_up"
        assert last.facts["items"] == report.counters.seen == len(await stored(engine)) == 10


def unready_for_networks(
    error: ErrorFacts, policy: Policy, *, now: float, jitter: float
) -> RecoveryStrategy:
    """A policy that has its bug elsewhere."""
    if error.category is ErrorCategory.NETWORK:
        raise ZeroDivisionError(error.message)
    return decide(error, policy, now=now, jitter=jitter)


@pytest.mark.parametrize(("policy", "kept"), [(unready, 0), (unready_for_networks, 6)])
async def test_a_bug_that_meets_an_item_which_is_refused_is_reported_all_the_same(
    db: str, clock: VirtualClock, policy: Any, kept: int
) -> None:
    """What the policy can say of the item is said before; where it cannot, all that is pending is left to the next run."""
    keys = ids(40)
    store, cleaned = Picky(db), asyncio.Event()
    store.key = keys[3]

    async def away(item: Item, _fence: int) -> None:
        if item.key == keys[7]:
            raise SourceUnavailable("away")

    async with CrawlEngine(store, settings=Settings(), clock=clock, policy=policy) as engine:
        report = await engine.crawl(
            ListSource(keys), user_id="me", handler=away, cleanup=[cleaned.set]
        )

        assert (report.state, report.reason, report.durable) == ("shut_down", Reason.BUG, True)
        assert cleaned.is_set()
        assert len(await stored(engine)) == kept
        assert [row.skip.key for row in await engine.skipped()] == [keys[3]] * bool(kept)


async def test_an_event_that_comes_while_a_bug_waits_for_the_store_does_not_undo_its_end(
    db: str, clock: VirtualClock
) -> None:
    clock.hold()
    store, cleaned = BuggyStore(db), asyncio.Event()
    store.broken, store.error = frozenset({"shutting_down"}), StoreUnavailable("busy")
    source = ListSource(ids(40), script=dict.fromkeys((1, 2), SourceUnavailable("away")))
    async with CrawlEngine(
        store, settings=Settings(), clock=clock, policy=unready, spec=SPEC
    ) as engine:
        handle = await engine.start(source, user_id="me", cleanup=[cleaned.set])
        await until(lambda: clock.sleepers > 0)  # for the store
        store.broken = frozenset()
        handle.post("hold")
        await until(lambda: handle.state == "on_hold")
        handle.post("go_on")
        report = await handle.wait()

        assert (report.state, report.reason) == ("shut_down", Reason.BUG)
        assert cleaned.is_set()


async def test_an_item_that_is_refused_in_a_state_of_an_apps_own_is_left_out_by_the_next_run(
    db: str, clock: VirtualClock
) -> None:
    """The step into that state rides, so that items handled before it are written after it."""
    keys = ids(40)
    spec = DEFAULT_SPEC.extend(
        states=[StateDef("aside", Kind.WAITING)],
        rows=[
            Row("step_aside", (State.RUNNING,), "aside", durability=Durability.RIDES),
            *endings("aside"),
        ],
    )
    store = Picky(db)
    store.key = keys[1]

    async def step_aside(item: Item, _fence: int) -> None:
        if item.key == keys[4]:
            handle.post("step_aside")

    async with CrawlEngine(store, settings=Settings(), clock=clock, spec=spec) as engine:
        handle = await engine.start(
            ListSource(keys), user_id="me", handler=step_aside, page_size=20
        )
        await until(lambda: handle.state == "aside")
        handle.cancel()
        first = await handle.wait()
        assert (first.state, first.reason) == ("shut_down", Reason.CONSTRAINT)
        assert "lets none be left out in state 'aside'" in first.message

        second = await engine.crawl(ListSource(keys), user_id="me")
        assert second.completed
        assert sorted(await stored(engine)) == sorted(set(keys) - {keys[1]})
        assert [row.skip.key for row in await engine.skipped()] == [keys[1]]
