"""Whole sessions through the engine on real SQLite: every row of the machine, every category of the document."""

import asyncio
import dataclasses
import enum
import logging
import math
import sqlite3
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import msgspec
import pytest
from scripted import ids, stored

from twitor_fsm.config import Settings
from twitor_fsm.core.listing import End
from twitor_fsm.core.states import JournalRow, State, Trigger
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.engine import CrawlEngine, CrawlHandle
from twitor_fsm.errors import (
    AuthenticationFailed,
    BillingRefused,
    ConfigurationError,
    CrawlOwned,
    CursorRefused,
    InvalidItem,
    RateLimited,
    SourceUnavailable,
)
from twitor_fsm.events import Event, SessionEnded, Transition
from twitor_fsm.report import CrawlReport, exit_code
from twitor_fsm.sources.base import Item, Page
from twitor_fsm.testing import ListSource, MemoryStore, VirtualClock, assert_conforms


async def steps(engine: CrawlEngine, report: CrawlReport) -> list[str]:
    """The journal in short; replayed through the machine on the way, since it must lead to the same states."""
    rows = await engine.journal(report.session_id)
    assert_conforms(rows)
    return [f"{row.trigger}:{row.target}" for row in rows]


def balanced(report: CrawlReport) -> bool:
    """Whether every item met is accounted for."""
    c = report.counters
    return c.seen == c.stored + c.already_known + c.skipped


async def test_everything_is_stored_and_the_same_again_finds_nothing_new(
    engine: CrawlEngine,
) -> None:
    source = ListSource(ids(205))

    first = await engine.crawl(source, user_id="me")
    again = await engine.crawl(source, user_id="me")

    assert (first.state, first.counters.stored, exit_code(first)) == ("completed", 205, 0)
    assert await stored(engine) == source.ids
    assert (again.state, again.counters.stored, again.counters.already_known) == (
        "completed",
        0,
        20,
    )
    assert again.counters.requests == 1
    assert balanced(first)
    assert balanced(again)


async def test_network_failures_are_retried_after_1_2_4_8_16_seconds_and_then_abort(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    down = {n: SourceUnavailable("no route") for n in range(3, 20)}
    source = ListSource(ids(100), script=down)  # type: ignore[arg-type]

    report = await engine.crawl(source, user_id="me")

    assert clock.sleeps == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert (report.state, report.category, exit_code(report)) == (
        State.ABORTED,
        ErrorCategory.NETWORK,
        12,
    )
    assert await steps(engine, report) == [
        *["network_failed:retrying"] * 5,
        "network_failed:aborting",
        "cleaned_up:aborted",
    ]
    assert await stored(engine) == source.ids[:40]
    checkpoint = await engine.store.checkpoint((await engine.status(report.session_id)).crawl)
    assert checkpoint is not None
    assert (checkpoint.last_tweet_id, checkpoint.bookmarks_count) == (source.ids[39], 40)


async def test_retries_and_backoff_follow_the_settings(db: str, clock: VirtualClock) -> None:
    settings = Settings(max_retries=2, initial_backoff=0.5)
    down = {n: ConnectionResetError() for n in range(1, 20)}
    async with CrawlEngine(db, settings=settings, clock=clock) as engine:
        await engine.crawl(ListSource(ids(5), script=down), user_id="me")  # type: ignore[arg-type]

    assert clock.sleeps == [0.5, 1.0]


async def test_a_success_between_failures_starts_the_ladder_anew(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    script = {n: SourceUnavailable("x") for n in (2, 3, 5)}
    report = await engine.crawl(
        ListSource(ids(60), script=script),  # type: ignore[arg-type]
        user_id="me",
    )

    assert clock.sleeps == [1.0, 2.0, 1.0]
    assert report.completed
    assert report.counters.retries == 3


async def test_a_rate_limit_pauses_900_seconds_when_the_service_names_no_time(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    source = ListSource(ids(60), script={2: RateLimited()})

    report = await engine.crawl(source, user_id="me")

    assert clock.sleeps == [900.0]
    assert report.completed
    assert report.counters.pauses == 1
    assert await steps(engine, report) == [
        "rate_limited:paused_rate_limit",
        "resume:running",
        "finish:completed",
    ]


async def test_a_pause_is_durable_with_its_checkpoint_before_the_wait(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    clock.hold()
    source = ListSource(ids(60), script={3: RateLimited(clock.now() + 120)})

    handle = await engine.start(source, user_id="me")
    async for event in handle:
        if isinstance(event, Transition) and event.row.trigger == Trigger.RATE_LIMITED:
            break
    record = await engine.status(handle.session_id)
    checkpoint = await engine.store.checkpoint(record.crawl)

    assert record.value.state == State.PAUSED_RATE_LIMIT
    assert record.value.resume_at is not None
    assert 120 <= record.value.resume_at - clock.now() <= 125
    assert checkpoint is not None
    assert checkpoint.bookmarks_count == len(await stored(engine)) == 40
    clock.release()
    assert (await handle.wait()).completed


async def test_without_waiting_a_pause_is_reported_and_honoured_by_the_next_run(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    begin = clock.now()
    source = ListSource(ids(60), script={2: RateLimited(begin + 120)})

    paused = await engine.crawl(source, user_id="me", wait=False)
    still = await engine.crawl(source, user_id="me", wait=False)

    assert (paused.state, exit_code(paused)) == ("paused_rate_limit", 11)
    assert paused.resume_at is not None
    assert (still.session_id, still.resume_at) == (paused.session_id, paused.resume_at)
    assert source.requests == 2

    done = await engine.crawl(source, user_id="me")

    assert done.completed
    assert clock.sleeps == [pytest.approx(paused.resume_at - begin)]
    assert await stored(engine) == source.ids


class SlowHeart(MemoryStore):
    """A sign of life takes its time, as in a database that is far away; and a caller that is cancelled stops none."""

    def __init__(self) -> None:
        super().__init__()
        self.beats = asyncio.Event()

    async def heartbeat(self, *args: Any, **options: Any) -> str | None:
        self.beats.set()
        return await asyncio.shield(asyncio.ensure_future(self._late(*args, **options)))

    async def _late(self, *args: Any, **options: Any) -> str | None:
        for _ in range(200):  # a release would have been written by then, many times over
            await asyncio.sleep(0)
        return await super().heartbeat(*args, **options)


@attrs.define
class Heard(ListSource):
    """Its second page comes when a sign of life is under way."""

    heart: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        if self.requests == 1:
            await self.heart.wait()
        return await super().fetch(user_id, cursor, page_size)


async def test_a_sign_of_life_under_way_does_not_take_a_left_pause_back(
    clock: VirtualClock,
) -> None:
    store = SlowHeart()
    settings = Settings(lease_s=1.0, prefetch=0)
    clock.hold()
    async with CrawlEngine(store, settings=settings, clock=clock) as engine:
        source = Heard(ids(60), script={2: RateLimited(clock.now() + 120)}, heart=store.beats)
        paused = await engine.crawl(source, user_id="me", wait=False)
        for _ in range(400):
            await asyncio.sleep(0)

        assert paused.state == "paused_rate_limit"
        assert (await engine.status(paused.session_id)).lease_until <= clock.now()


async def test_a_used_up_window_pauses_before_the_next_request(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    until = clock.now() + 60
    source = ListSource(ids(60), closed_until=lambda n: until if n == 2 else None)

    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert report.counters.pauses == 1
    assert report.counters.errors == {}
    assert 60 <= clock.sleeps[0] <= 65
    assert source.requests == 3


async def test_a_window_used_up_by_the_last_page_is_not_waited_for(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    source = ListSource(ids(60), closed_until=lambda n: clock.now() + 60 if n == 3 else None)

    assert (await engine.crawl(source, user_id="me")).completed
    assert clock.sleeps == []


async def test_another_session_of_the_account_honours_the_closed_window(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    """The time stands still until the other one has paused: both transactions take real time."""
    begin = clock.now()
    clock.hold()
    first = ListSource(ids(60), script={1: RateLimited(begin + 300)})
    handle = await engine.start(first, user_id="me")
    await _first_step(handle)

    other = await engine.start(ListSource(ids(10), name="x-likes"), user_id="me")
    paused = await _first_step(other)
    clock.release()

    assert paused.target == State.PAUSED_RATE_LIMIT
    assert 300 <= paused.delay_s <= 310  # each of the two adds up to 5 s of its own
    assert (await other.wait()).completed
    assert clock.now() - begin >= 300
    handle.cancel()
    await handle.wait()


async def _first_step(handle: CrawlHandle) -> JournalRow:
    async for event in handle:
        if isinstance(event, Transition):
            return event.row
    raise AssertionError("it took no step")


async def test_auth_aborts_at_once_and_writes_no_checkpoint(engine: CrawlEngine) -> None:
    async def handler(item: Item, fence: int) -> None: ...

    source = ListSource(ids(60), script={2: AuthenticationFailed("the token is refused")})

    report = await engine.crawl(source, user_id="me", handler=handler)

    assert (report.state, report.category, exit_code(report)) == (
        State.ABORTED,
        ErrorCategory.AUTH,
        10,
    )
    assert await steps(engine, report) == ["auth_failed:aborting", "cleaned_up:aborted"]
    assert "Update credentials and retry" in report.message


async def test_auth_in_a_handler_drops_the_buffer_and_the_items_come_again(
    engine: CrawlEngine,
) -> None:
    handled: list[str] = []

    async def handler(item: Item, fence: int) -> None:
        handled.append(item.key)
        if len(handled) == 15:
            raise AuthenticationFailed("refused by the app's service")

    source = ListSource(ids(20))
    report = await engine.crawl(source, user_id="me", handler=handler)

    assert report.counters.stored == 10
    assert await stored(engine) == source.ids[:10]
    checkpoint = await engine.store.checkpoint((await engine.status(report.session_id)).crawl)
    assert checkpoint is not None
    assert (checkpoint.bookmarks_count, checkpoint.last_tweet_id) == (10, source.ids[9])

    again = await engine.crawl(source, user_id="me", handler=handler)

    assert again.completed
    assert handled[15:] == source.ids[10:]
    assert sorted(await stored(engine)) == sorted(source.ids)


async def test_an_invalid_item_is_skipped_kept_and_tried_again_on_request(
    engine: CrawlEngine,
) -> None:
    keys = ids(30)
    source = ListSource(keys, bad={keys[3], keys[25]})

    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert (report.counters.stored, report.counters.skipped) == (28, 2)
    assert report.counters.errors == {"VALIDATION": 2}
    assert [brief.id for brief in report.skipped_items] == [keys[3], keys[25]]
    rows = await engine.skipped("me")
    assert [(row.skip.key, row.tries) for row in rows] == [(keys[3], 1), (keys[25], 1)]

    source.bad = {keys[25]}
    assert await engine.retry_skipped("me") == 2
    again = await engine.crawl(source, user_id="me")

    assert (again.counters.stored, again.counters.skipped) == (1, 1)
    assert balanced(again)
    assert [(row.skip.key, row.tries) for row in await engine.skipped("me")] == [(keys[25], 2)]
    assert sorted(await stored(engine)) == sorted(set(keys) - {keys[25]})


async def test_a_run_of_skips_is_fatal_and_its_items_are_tried_again(
    db: str, clock: VirtualClock
) -> None:
    broken = True

    async def handler(item: Item, fence: int) -> None:
        if broken:
            raise InvalidItem("the handler has a bug")

    source = ListSource(ids(100))
    async with CrawlEngine(db, settings=Settings(max_skips_in_a_row=12), clock=clock) as engine:
        report = await engine.crawl(source, user_id="me", handler=handler)

        assert (report.reason, exit_code(report)) == (Reason.TOO_MANY_SKIPS, 13)
        assert report.counters.skipped == 12

        broken = False
        again = await engine.crawl(source, user_id="me", handler=handler)

        assert again.completed
        assert again.counters.stored == 100
        assert sorted(await stored(engine)) == sorted(source.ids)
        assert await engine.skipped("me") == []


async def test_skips_with_successes_between_are_no_run(db: str, clock: VirtualClock) -> None:
    keys = ids(60)
    source = ListSource(keys, bad=set(keys[::2]))
    async with CrawlEngine(db, settings=Settings(max_skips_in_a_row=3), clock=clock) as engine:
        report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert report.counters.skipped == 30


async def test_an_item_that_the_handlers_database_refuses_is_skipped(engine: CrawlEngine) -> None:
    keys = ids(12)

    async def handler(item: Item, fence: int) -> None:
        if item.key == keys[4]:
            raise sqlite3.IntegrityError("UNIQUE constraint failed: notes.id")

    report = await engine.crawl(ListSource(keys), user_id="me", handler=handler)

    assert report.completed
    assert report.counters.errors == {"DATABASE": 1}
    assert [brief.category for brief in report.skipped_items] == ["DATABASE"]


async def test_an_unknown_exception_is_fatal_and_skips_nothing(engine: CrawlEngine) -> None:
    handled = 0

    async def handler(item: Item, fence: int) -> None:
        nonlocal handled
        handled += 1
        if handled == 14:
            raise KeyError("a bug of the app")

    source = ListSource(ids(40))
    report = await engine.crawl(source, user_id="me", handler=handler)

    assert (report.state, report.category, exit_code(report)) == (
        State.SHUT_DOWN,
        ErrorCategory.FATAL,
        1,
    )
    assert await stored(engine) == source.ids[:13]  # what was handled is saved, at once
    assert report.counters.skipped == 0
    assert (await engine.crawl(source, user_id="me", handler=handler)).completed
    assert sorted(await stored(engine)) == sorted(source.ids)


async def test_memory_and_billing_are_fatal_with_a_checkpoint(engine: CrawlEngine) -> None:
    for error, reason in (
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), Reason.DISK_FULL),
        (BillingRefused("credits are used up"), Reason.BILLING),
    ):
        source = ListSource(ids(60), name=f"x-{reason}", script={2: error})
        report = await engine.crawl(source, user_id="me")

        assert (report.state, report.reason) == (State.SHUT_DOWN, reason)
        assert await steps(engine, report) == [
            "fatal_failed:shutting_down",
            "cleaned_up:shut_down",
        ]
        assert report.counters.stored + report.counters.already_known == 20


async def test_cancel_ends_a_pause_at_once(engine: CrawlEngine, clock: VirtualClock) -> None:
    clock.hold()
    handle = await engine.start(ListSource(ids(60), script={2: RateLimited()}), user_id="me")
    async for event in handle:
        if isinstance(event, Transition):
            break

    handle.cancel()
    report = await handle.wait()

    assert (report.state, report.reason, exit_code(report)) == (
        State.SHUT_DOWN,
        Reason.STOPPED_BY_USER,
        75,
    )
    assert await steps(engine, report) == [
        "rate_limited:paused_rate_limit",
        "cancel:shutting_down",
        "cleaned_up:shut_down",
    ]
    clock.release()
    assert (await engine.crawl(ListSource(ids(60)), user_id="me")).completed


async def test_a_cancel_while_a_handler_works_saves_what_was_handled_before(
    db: str, clock: VirtualClock
) -> None:
    reached = asyncio.Event()

    async def handler(item: Item, fence: int) -> None:
        if item.key == keys[13]:
            reached.set()
            await asyncio.Event().wait()

    keys = ids(40)
    async with CrawlEngine(db, settings=Settings(cancel_grace_s=0.02), clock=clock) as engine:
        handle = await engine.start(ListSource(keys), user_id="me", handler=handler)
        await reached.wait()
        handle.cancel()
        report = await handle.wait()

        assert report.reason == Reason.STOPPED_BY_USER
        assert await stored(engine) == keys[:13]


async def test_a_cancelled_task_ends_the_session_and_then_raises(engine: CrawlEngine) -> None:
    reached = asyncio.Event()

    def on_request(number: int) -> None:
        if number == 3:
            reached.set()

    class Hanging(ListSource):
        async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Any:
            page = await super().fetch(user_id, cursor, page_size)
            if self.requests == 3:
                await asyncio.Event().wait()
            return page

    source = Hanging(ids(100), on_request=on_request)
    task = asyncio.create_task(engine.crawl(source, user_id="me"))
    await reached.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    [record] = await engine.sessions()
    assert (record.value.state, record.value.reason) == (State.SHUT_DOWN, Reason.TASK_CANCELLED)
    assert await stored(engine) == source.ids[:40]


async def test_cancel_by_session_id_from_another_engine_is_heard_with_the_next_sign_of_life(
    db: str, clock: VirtualClock
) -> None:
    clock.hold()
    settings = Settings(lease_s=1.0)
    async with (
        CrawlEngine(db, settings=settings, clock=clock) as engine,
        CrawlEngine(db, settings=settings, clock=clock) as other,
    ):
        handle = await engine.start(ListSource(ids(60), script={2: RateLimited()}), user_id="me")
        async for event in handle:
            if isinstance(event, Transition):
                break

        record = await other.cancel(handle.session_id)
        report = await asyncio.wait_for(handle.wait(), 10)

    assert record.cancel_wish == Reason.STOPPED_BY_USER
    assert (report.state, report.reason) == (State.SHUT_DOWN, Reason.STOPPED_BY_USER)


async def test_cancel_of_a_session_that_nobody_runs_ends_it_here(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    source = ListSource(ids(60), script={2: RateLimited(clock.now() + 100)})
    paused = await engine.crawl(source, user_id="me", wait=False)

    record = await engine.cancel(paused.session_id)

    assert (record.value.state, record.value.reason) == (
        State.SHUT_DOWN,
        Reason.STOPPED_BY_USER,
    )
    assert source.requests == 2
    assert (await engine.crawl(source, user_id="me")).completed
    assert await stored(engine) == source.ids


async def test_a_second_crawl_of_the_same_source_is_refused_while_one_runs(
    engine: CrawlEngine, db: str, clock: VirtualClock
) -> None:
    clock.hold()
    handle = await engine.start(ListSource(ids(60), script={2: RateLimited()}), user_id="me")
    async for event in handle:
        if isinstance(event, Transition):
            break

    with pytest.raises(CrawlOwned, match="already running"):
        await engine.crawl(ListSource(ids(60)), user_id="me")
    async with CrawlEngine(db, settings=Settings(), clock=clock) as other:
        with pytest.raises(CrawlOwned):
            await other.crawl(ListSource(ids(60)), user_id="me")

    handle.cancel()
    await handle.wait()


async def test_max_items_is_a_resumable_stop(engine: CrawlEngine) -> None:
    source = ListSource(ids(60))

    report = await engine.crawl(source, user_id="me", max_items=25)

    assert (report.reason, report.counters.seen, exit_code(report)) == (Reason.MAX_ITEMS, 25, 75)
    assert await stored(engine) == source.ids[:25]
    assert (await engine.crawl(source, user_id="me")).completed
    assert sorted(await stored(engine)) == sorted(source.ids)


async def test_the_same_max_items_again_goes_on(engine: CrawlEngine) -> None:
    source = ListSource(ids(60), size=50)
    for count in (7, 14, 21):
        report = await engine.crawl(source, user_id="me", max_items=7)
        assert report.reason == Reason.MAX_ITEMS
        assert await stored(engine) == source.ids[:count]


@pytest.mark.parametrize("user_id", ["", None, 5, "x" * 201])
async def test_a_user_id_that_is_none_is_refused_and_nothing_is_started(
    engine: CrawlEngine, user_id: Any
) -> None:
    with pytest.raises(ConfigurationError, match="Nothing was started"):
        await engine.crawl(ListSource(ids(5)), user_id=user_id)
    assert await engine.sessions() == []


async def test_an_incomplete_source_is_refused_by_name(engine: CrawlEngine) -> None:
    with pytest.raises(ConfigurationError, match=r"object is no source: it has no name"):
        await engine.crawl(object(), user_id="me")  # type: ignore[arg-type]


async def test_a_handler_that_is_no_coroutine_function_is_told_so(engine: CrawlEngine) -> None:
    def handler(item: Item, fence: int) -> None: ...

    report = await engine.crawl(
        ListSource(ids(3)),
        user_id="me",
        handler=handler,  # type: ignore[arg-type]
    )

    assert "async def" in report.message


async def test_cleanups_run_all_whatever_one_of_them_does(db: str, clock: VirtualClock) -> None:
    ran: list[str] = []

    async def first() -> None:
        ran.append("first")
        raise ValueError("no")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def last() -> None:
        ran.append("last")

    source = ListSource(ids(5), script={1: AuthenticationFailed("no")})
    async with CrawlEngine(db, settings=Settings(cleanup_timeout_s=0.02), clock=clock) as engine:
        report = await engine.crawl(source, user_id="me", cleanup=[first(), hangs, last])

    assert ran == ["first", "last"]
    assert report.category is ErrorCategory.AUTH
    assert len(report.cleanup_errors) == 2


async def test_cleanups_do_not_run_on_completed(engine: CrawlEngine) -> None:
    async def never() -> None:
        raise AssertionError

    report = await engine.crawl(ListSource(ids(5)), user_id="me", cleanup=[never(), never])

    assert report.completed
    assert report.cleanup_errors == ()


async def test_an_observer_that_raises_stops_nothing(
    engine: CrawlEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(event: Event) -> None:
        raise RuntimeError("no")

    with caplog.at_level(logging.ERROR):
        report = await engine.crawl(ListSource(ids(45)), user_id="me", observers=[observer])

    assert report.completed
    assert len([r for r in caplog.records if "observer" in r.message]) == 1


async def test_every_reader_sees_all_events_and_the_end(engine: CrawlEngine) -> None:
    handle = await engine.start(ListSource(ids(45)), user_id="me")
    seen = await asyncio.gather(_all(handle), _all(handle))

    assert seen[0] == seen[1]
    assert isinstance(seen[0][-1], SessionEnded)


async def _all(handle: Any) -> list[Event]:
    return [event async for event in handle]


async def test_what_a_handler_returns_is_stored_with_its_item(engine: CrawlEngine) -> None:
    async def handler(item: Item, fence: int) -> dict[str, Any]:
        return {"length": len(item.text or ""), "fence": fence}

    await engine.crawl(ListSource(ids(3)), user_id="me", handler=handler)

    results = [bookmark.result async for bookmark in engine.bookmarks("me")]
    assert results[0] == '{"length":12,"fence":1}'


async def test_a_handler_that_returns_nonsense_is_fatal(engine: CrawlEngine) -> None:
    async def handler(item: Item, fence: int) -> object:
        return object()

    report = await engine.crawl(ListSource(ids(3)), user_id="me", handler=handler)

    assert report.category is ErrorCategory.FATAL
    assert "JSON" in report.message


@pytest.mark.parametrize("number", [math.nan, -math.inf])
async def test_a_number_that_json_does_not_know_skips_its_item(
    engine: CrawlEngine, number: float
) -> None:
    """JSON would hold null in its place, and nobody would know that there was anything."""
    mean = {"3": number}

    async def handler(item: Item, fence: int) -> object:
        return {"means": [mean.get(item.key, 0.5)]}

    report = await engine.crawl(ListSource(["1", "2", "3"]), user_id="me", handler=handler)

    assert report.completed
    assert [(skip.id, skip.category) for skip in report.skipped_items] == [("3", "VALIDATION")]
    assert "NaN or infinite" in report.skipped_items[0].message
    assert {b.result async for b in engine.bookmarks("me")} == {'{"means":[0.5]}'}


@attrs.define
class _Measured:
    mean: float


@attrs.define(slots=False)
class _Open:
    mean: float


@dataclasses.dataclass
class _Rated:
    mean: float


class _Kept(msgspec.Struct):
    mean: float


class _Known(enum.Enum):
    NOTHING = math.nan
    HALF = 0.5


def _known(mean: float) -> _Known:
    return _Known.HALF if mean == 0.5 else _Known.NOTHING


@pytest.mark.parametrize("kind", [_Measured, _Open, _Rated, _Kept, _known])
async def test_a_number_that_json_does_not_know_is_found_in_whatever_holds_it(
    engine: CrawlEngine, kind: Callable[[float], object]
) -> None:
    async def handler(item: Item, fence: int) -> object:
        mean = math.nan if item.key == "3" else 0.5
        return [{"of": kind(mean)}]

    report = await engine.crawl(ListSource(["1", "2", "3"]), user_id="me", handler=handler)

    assert report.completed
    assert [(skip.id, skip.category) for skip in report.skipped_items] == [("3", "VALIDATION")]
    (kept,) = {b.result async for b in engine.bookmarks("me")}
    assert kept in {'[{"of":0.5}]', '[{"of":{"mean":0.5}}]'}


@dataclasses.dataclass
class _Limited:
    mean: float
    most: ClassVar[float] = math.inf
    start: dataclasses.InitVar[float] = math.nan


async def test_a_number_that_json_is_not_given_skips_nothing(engine: CrawlEngine) -> None:
    async def handler(item: Item, fence: int) -> object:
        return _Limited(0.5)

    report = await engine.crawl(ListSource(["1"]), user_id="me", handler=handler)

    assert (report.completed, report.skipped_items) == (True, ())
    assert [b.result async for b in engine.bookmarks("me")] == ['{"mean":0.5}']


@dataclasses.dataclass
class _Node:
    parent: "_Node | None" = None
    children: "list[_Node]" = dataclasses.field(default_factory=list)


async def test_a_result_that_holds_itself_is_refused_at_once(engine: CrawlEngine) -> None:
    """To look into it along every path would take for ever."""

    async def handler(item: Item, fence: int) -> object:
        root = _Node()
        root.children = [_Node(root), _Node(root)]
        return root

    report = await engine.crawl(ListSource(["1"]), user_id="me", handler=handler)

    assert report.category is ErrorCategory.FATAL
    assert "_Node, which JSON cannot hold" in report.message


async def test_a_handlers_rate_limit_repeats_its_item_and_closes_nothing(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    seen: list[str] = []

    async def handler(item: Item, fence: int) -> None:
        seen.append(item.key)
        if len(seen) == 3:
            raise RateLimited(clock.now() + 30)

    source = ListSource(ids(25))
    report = await engine.crawl(source, user_id="me", handler=handler)

    assert report.completed
    assert seen[2] == seen[3]
    assert len(clock.sleeps) == 1
    assert sorted(await stored(engine)) == sorted(source.ids)


async def test_a_refused_cursor_walks_from_the_top_once(engine: CrawlEngine) -> None:
    source = ListSource(ids(60), script={3: CursorRefused("the cursor is unknown")})

    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert source.fetched == [None, "20", "40", None, "20", "40"]
    assert await stored(engine) == source.ids


async def test_a_cursor_refused_twice_without_a_new_item_is_fatal(engine: CrawlEngine) -> None:
    script = {2: CursorRefused("unknown"), 4: CursorRefused("unknown")}
    report = await engine.crawl(
        ListSource(ids(60), script=script),  # type: ignore[arg-type]
        user_id="me",
    )

    assert (report.category, report.reason) == (ErrorCategory.FATAL, Reason.CURSOR_REFUSED)


async def test_an_unverified_end_is_asked_for_again(engine: CrawlEngine) -> None:
    source = ListSource(ids(50), end=End.UNVERIFIED)

    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert source.fetched == [None, "20", "40", "40"]


async def test_a_source_that_returns_nonsense_never_completes_a_crawl(
    engine: CrawlEngine,
) -> None:
    class Nonsense(ListSource):
        async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Any:
            return []

    report = await engine.crawl(Nonsense([]), user_id="me")

    assert (report.state, report.category) == (State.SHUT_DOWN, ErrorCategory.FATAL)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_a_handler_that_raises_a_base_exception_is_fatal_and_contained(
    engine: CrawlEngine, error: BaseException
) -> None:
    async def handler(item: Item, fence: int) -> None:
        raise error

    report = await engine.crawl(ListSource(ids(3)), user_id="me", handler=handler)

    assert report.category is ErrorCategory.FATAL


async def test_a_handler_over_its_time_is_a_network_failure(db: str, clock: VirtualClock) -> None:
    calls = 0

    async def handler(item: Item, fence: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.Event().wait()

    async with CrawlEngine(db, settings=Settings(handler_timeout_s=0.02), clock=clock) as engine:
        report = await engine.crawl(ListSource(ids(3)), user_id="me", handler=handler)

    assert report.completed
    assert report.counters.errors == {"NETWORK": 1}
    assert clock.sleeps == [1.0]


async def test_records_carry_session_user_and_operation(
    engine: CrawlEngine, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ids(30)
    script = {2: SourceUnavailable("x"), 3: RateLimited()}
    with caplog.at_level(logging.DEBUG, logger="twitor_fsm"):
        report = await engine.crawl(
            ListSource(keys, script=script, bad={keys[2]}),  # type: ignore[arg-type]
            user_id="me",
        )

    records = [r for r in caplog.records if r.name.startswith("twitor_fsm.re")]
    assert records
    for record in records:
        assert (record.session_id, record.user_id) == (report.session_id, "me")  # type: ignore[attr-defined]
        assert record.operation in {"fetch", "decode_item"}  # type: ignore[attr-defined]
