"""What a hostile reviewer found once: each story lost data, hung, or said what was not so."""

import asyncio
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from scripted import ids, stored

from twitor_fsm.config import Settings
from twitor_fsm.core.records import Claim
from twitor_fsm.core.recovery import ErrorFacts, Policy, RecoveryStrategy, decide
from twitor_fsm.core.states import DEFAULT_SPEC, Kind, Row, State, StateDef, Trigger
from twitor_fsm.core.taxonomy import ErrorAction, ErrorCategory, Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import (
    ConfigurationError,
    CrawlOwned,
    LeaseLost,
    RateLimited,
    SpecError,
    StoreError,
    StoreUnavailable,
)
from twitor_fsm.events import CheckpointSaved, Event, SessionEnded
from twitor_fsm.ownership import LIVE_RUNS
from twitor_fsm.report import CrawlReport, exit_code
from twitor_fsm.sources.base import Page
from twitor_fsm.storage.base import Batch
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource, MemoryStore, VirtualClock
from twitor_fsm.testing.simulated_time import LoopClock, SimulatedLoop


class LossyStore(SqlStore):
    """A store whose answers get lost: `lose(n, batch)` says of the n-th commit whether it took place unheard."""

    def __init__(self, path: str, fate: Callable[[int, Batch], str]) -> None:
        super().__init__(path)
        self.fate = fate
        self.commits = 0
        self.deaf = 0

    async def commit(self, batch: Batch) -> str | None:
        self.commits += 1
        match self.fate(self.commits, batch):
            case "applied, unheard":
                await super().commit(batch)
                self.deaf = 1
                raise StoreUnavailable("the connection died")
            case "lost":
                raise StoreUnavailable("the connection died")
            case "broken":
                raise StoreError("something else")
            case _:
                return await super().commit(batch)

    async def session(self, session_id: str) -> Any:
        if self.deaf:
            self.deaf -= 1
            raise StoreUnavailable("still dead")
        return await super().session(session_id)


async def test_a_commit_whose_answer_is_lost_is_never_repeated_and_none_is_skipped(
    db: str, clock: VirtualClock
) -> None:
    fates = {2: "applied, unheard", 5: "lost", 7: "applied, unheard", 9: "lost"}
    store = LossyStore(db, lambda number, _: fates.get(number, ""))
    async with CrawlEngine(store, settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(ListSource(ids(200)), user_id="me")

        assert report.completed
        assert report.bookmarks_count == report.counters.stored == 200
        assert sorted(await stored(engine)) == sorted(ids(200))


async def test_a_final_commit_whose_answer_is_lost_is_found_out(
    db: str, clock: VirtualClock
) -> None:
    store = LossyStore(db, lambda _, batch: "applied, unheard" if batch.final else "")
    async with CrawlEngine(store, settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(ListSource(ids(30)), user_id="me")

    assert (report.state, report.lost, report.durable) == (State.COMPLETED, False, True)


async def test_an_unforeseen_store_error_ends_the_session_with_a_report(
    db: str, clock: VirtualClock
) -> None:
    store = LossyStore(db, lambda number, _: "broken" if number == 2 else "")
    async with CrawlEngine(store, settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(ListSource(ids(60)), user_id="me")
        assert (report.category, report.durable) == (ErrorCategory.DATABASE, False)
        assert (await engine.crawl(ListSource(ids(60)), user_id="me")).completed
        assert sorted(await stored(engine)) == sorted(ids(60))


async def test_an_item_that_was_broken_once_is_stored_when_it_is_whole(engine: CrawlEngine) -> None:
    source = ListSource(ids(10), bad={ids(10)[3]})
    await engine.crawl(source, user_id="me")
    source.bad = set()

    report = await engine.crawl(source, user_id="me")

    assert report.counters.stored == 1
    assert sorted(await stored(engine)) == sorted(ids(10))
    assert await engine.skipped("me") == []


async def test_old_skips_that_fail_again_do_not_block_a_crawl(db: str, clock: VirtualClock) -> None:
    keys = ids(40)
    source = ListSource(keys, bad=set(keys[::2]))
    async with CrawlEngine(db, settings=Settings(max_skips_in_a_row=5), clock=clock) as engine:
        await engine.crawl(source, user_id="me")
        assert await engine.retry_skipped("me") == 20
        source.ids.insert(0, "new")

        report = await engine.crawl(source, user_id="me")

        assert report.completed
        assert "new" in await stored(engine)


async def test_a_pause_written_by_a_clock_that_was_a_year_ahead_is_not_waited_out(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    right = clock.time
    clock.time += 365 * 86_400
    source = ListSource(ids(40), script={2: RateLimited()})
    await engine.crawl(source, user_id="me", wait=False)
    clock.time = right

    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert sum(clock.sleeps) <= 960


async def test_a_cancel_while_a_paused_session_is_left_is_heard(
    engine: CrawlEngine, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = engine.store
    commit = store.commit
    handles: list[Any] = []

    async def cancelling(batch: Batch) -> str | None:
        if batch.lease_until <= batch.now and not batch.final:
            handles[0].cancel()
        return await commit(batch)

    monkeypatch.setattr(store, "commit", cancelling)
    source = ListSource(ids(40), script={2: RateLimited()})
    handles.append(await engine.start(source, user_id="me", wait=False))

    report = await handles[0].wait()

    assert (report.state, report.reason) == (State.SHUT_DOWN, Reason.STOPPED_BY_USER)


async def test_closing_right_after_a_start_ends_the_session_first(db: str) -> None:
    engine = CrawlEngine(db, settings=Settings())
    await engine.open()
    handle = await engine.start(ListSource(ids(40)), user_id="me")
    await engine.close()

    assert (await handle.wait()).reason == Reason.STOPPED_BY_USER
    assert not LIVE_RUNS


async def test_closing_does_not_wait_for_what_a_caller_does_afterwards(db: str) -> None:
    engine = CrawlEngine(db, settings=Settings())
    await engine.open()
    crawled, never = asyncio.Event(), asyncio.Event()

    async def worker() -> None:
        await engine.crawl(ListSource(ids(40)), user_id="me")
        crawled.set()
        await never.wait()

    task = asyncio.create_task(worker())
    await crawled.wait()
    await asyncio.wait_for(engine.close(), 5)
    task.cancel()
    await asyncio.wait({task})


async def test_a_source_is_closed_when_its_last_crawl_has_ended(engine: CrawlEngine) -> None:
    source = ListSource(ids(5))
    await engine.crawl(source, user_id="me")

    assert source.closed


async def test_a_finish_cannot_be_posted_from_outside(engine: CrawlEngine) -> None:
    handle = await engine.start(ListSource(ids(40)), user_id="me")
    with pytest.raises(ConfigurationError, match="the session itself"):
        handle.post(Trigger.FINISH)
    assert (await handle.wait()).completed


def test_a_machine_whose_sessions_could_hang_is_refused(db: str) -> None:
    spec = DEFAULT_SPEC.extend(
        states=[StateDef("on_hold", Kind.WAITING)],
        rows=[Row("hold", (State.RUNNING,), "on_hold"), Row("go", ("on_hold",), State.RUNNING)],
    )
    with pytest.raises(SpecError, match="'on_hold' has no row for"):
        CrawlEngine(db, settings=Settings(), spec=spec)


async def test_a_policy_that_aborts_on_a_bad_item_is_obeyed(db: str, clock: VirtualClock) -> None:
    def strict(error: ErrorFacts, policy: Policy, **rest: float) -> RecoveryStrategy:
        strategy = decide(error, policy, **rest)
        if error.category is not ErrorCategory.VALIDATION:
            return strategy
        return RecoveryStrategy(
            ErrorAction.ABORT, 0.0, "no bad data here", True, error.category, error.reason
        )

    keys = ids(10)
    async with CrawlEngine(db, settings=Settings(), clock=clock, policy=strict) as engine:
        report = await engine.crawl(ListSource(keys, bad={keys[4]}), user_id="me")
        assert (report.state, exit_code(report)) == (State.SHUT_DOWN, 13)
        assert await stored(engine) == keys[:4]


async def test_a_policy_that_raises_ends_the_session_with_a_report(
    db: str, clock: VirtualClock
) -> None:
    def broken(error: ErrorFacts, policy: Policy, **rest: float) -> RecoveryStrategy:
        raise KeyError("no")

    async with CrawlEngine(db, settings=Settings(), clock=clock, policy=broken) as engine:
        report = await engine.crawl(ListSource(ids(40), script={2: RateLimited()}), user_id="me")
        assert (report.state, report.reason) == (State.SHUT_DOWN, Reason.BUG)
        assert await stored(engine) == ids(40)[:20]


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit])
async def test_an_observer_that_raises_no_exception_proper_stops_nothing(
    engine: CrawlEngine, error: type[BaseException]
) -> None:
    def observer(event: Event) -> None:
        if not isinstance(event, SessionEnded):
            raise error

    assert (await engine.crawl(ListSource(ids(40)), user_id="me", observers=[observer])).completed


async def test_cleanups_of_a_crawl_that_is_refused_are_not_left_unawaited(
    engine: CrawlEngine,
) -> None:
    async def cleanup() -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError):
        await engine.crawl(ListSource(ids(4)), user_id="", cleanup=[cleanup()])


async def test_a_store_that_fails_at_a_cancel_is_the_cause(db: str, clock: VirtualClock) -> None:
    def fate(_: int, batch: Batch) -> str:
        return "broken" if batch.value.state == State.SHUTTING_DOWN else ""

    async with CrawlEngine(LossyStore(db, fate), settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(ListSource(ids(40)), user_id="me", max_items=5)

    assert (report.category, report.durable, exit_code(report)) == (
        ErrorCategory.DATABASE,
        False,
        14,
    )


async def test_a_session_that_this_process_took_over_from_itself_is_still_ended_by_close(
    db: str, clock: VirtualClock
) -> None:
    """A process that stood still longer than its lease starts the crawl again: the old run must not take the new one's
    place in the engine's books with it."""
    never = asyncio.Event()

    class Hanging(ListSource):
        async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Any:
            page = await super().fetch(user_id, cursor, page_size)
            if cursor is not None:
                await never.wait()
            return page

    engine = CrawlEngine(db, settings=Settings(), clock=clock)
    await engine.open()
    old = await engine.start(Hanging(ids(60)), user_id="me")
    async for event in old:
        if isinstance(event, CheckpointSaved):
            break
    clock.time += 100.0  # its lease is over
    new = await engine.start(Hanging(ids(60)), user_id="me")
    assert new.session_id == old.session_id

    old.cancel()
    assert (await old.wait()).lost
    await asyncio.wait_for(engine.close(), 5)

    report = await asyncio.wait_for(new.wait(), 5)
    assert (report.state, report.reason, report.durable) == (
        State.SHUT_DOWN,
        Reason.STOPPED_BY_USER,
        True,
    )


def test_a_sign_of_life_that_meets_the_sessions_own_end_is_no_loss() -> None:
    """The end gives up owner and lease; a heartbeat that is refused for that was not refused by another owner. (Found by
    the simulation: seed 146.)"""

    class Slow(MemoryStore):
        """The answer to the last commit comes after the next heartbeat."""

        refused = asyncio.Event()

        async def commit(self, batch: Batch) -> str | None:
            wish = await super().commit(batch)
            if batch.final:
                await self.refused.wait()
            return wish

        async def heartbeat(self, *args: Any, **when: Any) -> str | None:
            try:
                return await super().heartbeat(*args, **when)
            except LeaseLost:
                self.refused.set()
                raise

    async def story() -> CrawlReport:
        clock = LoopClock(asyncio.get_running_loop())
        async with CrawlEngine(Slow(), settings=Settings(), clock=clock) as engine:
            return await engine.crawl(ListSource(ids(30)), user_id="me")

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        report = runner.run(story())

    assert (report.state, report.lost, report.reason) == (
        State.COMPLETED,
        False,
        Reason.END_VERIFIED,
    )


@pytest.mark.parametrize("richness", ["7", b"x", 2**40, -1, True, 1.5])
async def test_a_richness_that_is_no_number_outranks_nothing(
    engine: CrawlEngine, richness: Any
) -> None:
    class Odd(ListSource):
        async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
            page = await super().fetch(user_id, cursor, page_size)
            odd = tuple(attrs.evolve(item, richness=richness) for item in page.items)
            return attrs.evolve(page, items=odd)

    report = await engine.crawl(Odd(ids(4)), user_id="me")

    assert (report.category, report.counters.stored) == (ErrorCategory.FATAL, 0)
    assert "richness must be a whole number" in report.message


class HeldStore(SqlStore):
    """A store whose crawl somebody else is at work on for so many claims."""

    def __init__(self, path: str, held: int) -> None:
        super().__init__(path)
        self.held = held

    async def claim(self, *arguments: Any, **options: Any) -> Any:
        if self.held:
            self.held -= 1
            raise CrawlOwned(None, "another process", 0.0)
        return await super().claim(*arguments, **options)


async def test_a_reservation_outlasts_a_moment_of_somebody_else(
    db: str, clock: VirtualClock
) -> None:
    store = HeldStore(db, held=3)
    async with CrawlEngine(store, clock=clock) as engine:
        reserved = await engine.reserve("me", "x")
        assert [record.session_id for record in await engine.sessions()] == [reserved]
        assert await engine.reserve("me", "x") is None

        store.held = 1000
        with pytest.raises(CrawlOwned, match="Try again"):
            await engine.reserve("you", "x")


async def test_a_cancel_that_meets_a_takeover_is_said_again(db: str, clock: VirtualClock) -> None:
    store = HeldStore(db, held=0)
    async with CrawlEngine(store, clock=clock) as engine:
        reserved = await engine.reserve("me", "list")
        assert reserved is not None

        store.held = 2
        record = await engine.cancel(reserved)
        assert record.value.state == State.SHUT_DOWN

        other = await engine.reserve("me", "list")
        assert other is not None
        store.held = 1000
        assert (await engine.cancel(other)).cancel_wish == Reason.STOPPED_BY_USER


async def test_a_cancel_that_comes_with_the_release_of_a_pause_is_heard(
    db: str, clock: VirtualClock
) -> None:
    """Another process wishes it just before the lease is given up, and a third would take the session over at once."""
    source = ListSource(ids(6), size=3, closed_until=lambda _: clock.now() + 600.0)
    refused: list[bool] = []

    class Releasing(SqlStore):
        async def commit(self, batch: Batch) -> str | None:
            is_release = not batch.final and batch.lease_until <= batch.now
            if is_release and not refused:
                await SqlStore.wish_cancel(self, batch.session_id, Reason.STOPPED_BY_USER)
            wish = await super().commit(batch)
            if is_release and not refused:
                async with CrawlEngine(db, clock=clock) as third:
                    try:
                        await third.start(source, user_id="me")
                    except CrawlOwned:
                        refused.append(True)
            return wish

    async with CrawlEngine(Releasing(db), clock=clock) as engine:
        report = await engine.crawl(source, user_id="me", wait=False)

    assert refused == [True]
    assert (report.state, report.reason) == (State.SHUT_DOWN, Reason.STOPPED_BY_USER)


async def test_a_caller_who_is_cancelled_at_a_start_keeps_no_other_process_waiting(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by cancelling a crawl after each turn of the loop: others were told for 30 s that it was running."""
    async with CrawlEngine(db) as engine:
        claim, claimed = engine.store.claim, asyncio.Event()

        async def noticed(*args: Any, **options: Any) -> Claim:
            claimed.set()
            return await claim(*args, **options)

        monkeypatch.setattr(engine.store, "claim", noticed)
        task = asyncio.create_task(engine.crawl(ListSource(ids(40)), user_id="me"))
        await claimed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        (session,) = await engine.sessions()
        assert session.lease_until <= session.updated_at
        assert (await engine.crawl(ListSource(ids(40)), user_id="me")).completed
