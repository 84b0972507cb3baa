"""The defects of the system that this one descends from: one test each, or the test that states the fact already.

| defect | what went wrong there | stated by |
| --- | --- | --- |
| A1 | no crawl could start | acceptance/test_cli_crawls.py::test_a_crawl_ends_with_one_object_and_asks_who_it_is_once |
| A2 | messages did not fit their own types | here::test_a2_... |
| A3 | a progress message stopped the crawl | test_engine.py::test_an_observer_that_raises_stops_nothing, here::test_a3_... |
| A4 | models and migrations differed | test_migrations.py::test_migrations_make_the_tables_that_the_code_expects |
| A5 | calls of methods that do not exist | `make lint`: mypy --strict over the whole package |
| A6 | an unexpected shape was an empty account, completed | here::test_a6_..., unit/test_x_decode.py::test_what_is_no_page_is_never_an_empty_page |
| A7 | a migration failed on a table with rows | test_migrations.py::test_a_database_with_rows_goes_down_and_up_and_is_used_again |
| B1 | a resume fetched only what was there already | acceptance/test_promises.py::test_a_death_at_any_commit_loses_and_doubles_nothing |
| B2 | ids compared as strings | here::test_b2_... |
| B3 | an old post bookmarked last stopped the crawl | here::test_b3_... |
| B4 | a resume paid for every page again | acceptance/test_promises.py::test_a_death_at_half_costs_the_pages_in_hand |
| B5 | an outage of the sink skipped every item | acceptance/test_store_outage.py::test_an_outage_for_good_loses_nothing, here::test_b5_... |
| B6 | checkpoints named items that were only in memory | here::test_b6_... |
| B7 | two sessions overwrote one checkpoint | test_store_contract.py::test_a_replaced_owner_writes_nothing, here::test_b7_... |
| B8 | the count was that of the last session | here::test_b8_... |
| B9 | skipped items were not counted | here::test_b9_... |
| B10 | a second cancel lost the checkpoint | here::test_b10_... |
| B11 | no rollback after a failed commit | acceptance/test_store_outage.py::test_a_store_that_is_busy_for_a_moment_costs_a_wait_and_nothing_else |
| C1 | a rate limit ended the session as failed | test_engine.py::test_a_pause_is_durable_with_its_checkpoint_before_the_wait, acceptance/test_kill_loop.py::test_a_kill_inside_a_pause_is_waited_out_by_the_next_process_without_a_request |
| C2 | the service's reset time was thrown away | acceptance/test_categories.py::test_a_fault_ends_where_its_category_says (429 ...) |
| C3 | a 401 in mid-crawl became NETWORK | acceptance/test_categories.py::test_a_fault_ends_where_its_category_says (401), test_x_api.py::test_each_refusal_becomes_its_exception |
| C4 | no network at the login became AUTH | here::test_c4_... |
| C5 | connection errors were fatal | here::test_c5_..., test_classify.py::test_a_transport_error_is_a_network_error |
| C6 | any ValueError skipped its item | here::test_c6_... |
| C7 | retries within retries | here::test_c7_... |
| C8 | stop knew only the sessions of its own object | here::test_c8_... |
| C9 | a second start ran beside the first | here::test_c9_... |
| C10 | a database session shared and closed under the crawl | here::test_c10_... |
| C11 | cleanup replaced the original error | test_engine.py::test_cleanups_run_all_whatever_one_of_them_does, here::test_c11_... |
| C12 | a checkpoint up to three times for one error | here::test_c12_... |
| C13 | a session stayed "running" for ever | acceptance/test_categories.py::test_a_new_process_goes_on_in_the_state_that_it_finds |
| C14 | readers split the events among them | test_engine.py::test_every_reader_sees_all_events_and_the_end, here::test_c14_... |
| C15 | a bad date became now | unit/test_x_decode.py::test_a_date_is_utc_or_unknown_and_never_a_guess |
| C16 | health was a constant | test_cli.py::test_doctor_sees_a_damaged_file_open_rights_and_no_network |
| C17 | settings that nothing reads | unit/test_config.py::test_every_setting_is_read_somewhere_or_documented_as_not_yet |
| C18 | a hidden request, and 0 for unknown | here::test_c18_... |

Part D is about the queue.
"""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from scripted import ids, stored

from twitor_fsm import events
from twitor_fsm.config import Settings
from twitor_fsm.core.records import Counters
from twitor_fsm.core.states import State
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import (
    AuthenticationFailed,
    BillingRefused,
    CrawlOwned,
    RateLimited,
    SourceUnavailable,
)
from twitor_fsm.events import CheckpointSaved, Event, SessionEnded, Transition
from twitor_fsm.report import exit_code
from twitor_fsm.simulator import Simulator
from twitor_fsm.sources.base import End, Item
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.storage.base import Batch
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource, VirtualClock


async def paused(engine: CrawlEngine, **options: Any) -> Any:
    """A session that waits in a rate-limit pause (the clock's gate must be set)."""
    source = ListSource(ids(60), script={2: RateLimited()})
    handle = await engine.start(source, user_id="me", **options)
    async for event in handle:
        if isinstance(event, Transition):
            break
    return handle


async def test_a2_every_message_of_a_crawl_is_plain_json_under_its_documented_names(
    engine: CrawlEngine,
) -> None:
    seen: list[Event] = []
    script: dict[int, BaseException] = {2: SourceUnavailable("x"), 4: RateLimited()}
    keys = ids(60)
    report = await engine.crawl(
        ListSource(keys, script=script, bad={keys[3]}), user_id="me", observers=[seen.append]
    )

    kinds = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    }
    kinds.discard(events.EventsMissed)  # observers miss none
    assert {type(event) for event in seen} == kinds
    for event in seen:
        json.dumps(attrs.asdict(event), default=str)
    assert json.loads(json.dumps(report.to_dict()))["state"] == "completed"


async def test_a3_an_observer_that_raises_at_any_event_loses_no_item_and_no_other_observer(
    engine: CrawlEngine,
) -> None:
    heard: list[Event] = []

    def raising(event: Event) -> None:
        raise ZeroDivisionError

    report = await engine.crawl(
        ListSource(ids(45)), user_id="me", observers=[raising, heard.append]
    )

    assert report.completed
    assert len(await stored(engine)) == 45
    assert isinstance(heard[-1], SessionEnded)


@pytest.mark.parametrize(
    "answer", ["{}", "[]", "null", '{"tweets": []}', '{"data": null}', '{"data": {"id": "1"}}', ""]
)
async def test_a6_an_answer_of_an_unexpected_shape_never_completes_a_crawl(
    answer: str, engine: CrawlEngine
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n"
            writer.write((head + answer).encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        source = XBookmarks("t", base_url=f"http://127.0.0.1:{port}", clock=engine.clock)
        report = await engine.crawl(source, user_id="42")
        await source.aclose()

    assert report.state == State.ABORTED
    assert (report.category, report.reason) == (ErrorCategory.NETWORK, Reason.BAD_PAGE)


async def test_b2_a_resume_at_998_fetches_1009_too(engine: CrawlEngine) -> None:
    keys = ["1009", "99", "998", "1010", "9", "10000000000000000000", "97", "1", "10", *ids(40)]
    source = ListSource(keys, size=3)
    await engine.crawl(source, user_id="me", max_items=3)
    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert await stored(engine) == keys


async def test_b3_an_old_post_bookmarked_last_stops_nothing(engine: CrawlEngine) -> None:
    keys = ids(60)
    await engine.crawl(ListSource(keys), user_id="me")
    fresh = [str(10**18 + n) for n in range(30)]
    source = ListSource(["20", keys[50], *fresh, *keys[:50], *keys[51:]])
    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert set(await stored(engine)) == {"20", *fresh, *keys}


async def test_b5_an_outage_of_the_apps_sink_is_never_completed_with_silent_skips(
    db: str, clock: VirtualClock
) -> None:
    """A handler's database that is gone skips at first, as the document says; each is kept, and a run of them ends it."""
    import sqlite3

    broken = True

    async def handler(item: Item, fence: int) -> None:
        if broken:
            raise sqlite3.OperationalError("no such table: notes")

    source = ListSource(ids(80))
    async with CrawlEngine(db, settings=Settings(max_skips_in_a_row=10), clock=clock) as engine:
        report = await engine.crawl(source, user_id="me", handler=handler)
        assert not report.completed
        kept = await engine.skipped("me")
        assert len(kept) == report.counters.skipped <= 10
        broken = False
        assert (await engine.crawl(source, user_id="me", handler=handler)).completed
        assert sorted(await stored(engine)) == sorted(source.ids)
        assert await engine.skipped("me") == []


async def test_b6_every_checkpoint_names_only_what_is_durable(db: str, clock: VirtualClock) -> None:
    """Seen from a second connection at the moment when each checkpoint is announced."""
    import sqlite3
    from contextlib import closing

    seen: list[int] = []

    def observer(event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            with closing(sqlite3.connect(db)) as other:
                keys = [k for (k,) in other.execute("SELECT item_id FROM twitor_bookmark")]
                [(last, count)] = other.execute(
                    "SELECT last_tweet_id, bookmarks_count FROM twitor_crawl"
                ).fetchall()
            assert last in keys
            assert count == len(keys) == event.counters.stored
            seen.append(count)

    async def handler(item: Item, fence: int) -> None: ...

    failures: list[BaseException] = []

    def checked(event: Event) -> None:
        try:
            observer(event)
        except BaseException as exc:
            failures.append(exc)
            raise

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        await engine.crawl(ListSource(ids(45)), user_id="me", handler=handler, observers=[checked])
    assert failures == []
    assert seen == [10, 20, 30, 40, 45]


async def test_b7_two_crawls_of_one_user_keep_checkpoints_of_their_own_that_never_go_back(
    engine: CrawlEngine,
) -> None:
    positions: dict[str, list[int]] = {}

    def watch(name: str) -> Any:
        def observer(event: Event) -> None:
            if isinstance(event, CheckpointSaved):
                positions.setdefault(name, []).append(event.position)

        return observer

    keys = ids(120)
    first, second = ListSource(keys[:100], name="x"), ListSource(keys[20:], name="likes")
    reports = await asyncio.gather(
        *(engine.crawl(s, user_id="me", observers=[watch(s.name)]) for s in (first, second))
    )

    assert all(report.completed for report in reports)
    assert all(found == sorted(found) for found in positions.values())
    assert sorted(await stored(engine)) == sorted(keys)
    one, two = [await engine.checkpoints("me", name).get_checkpoint() for name in ("x", "likes")]
    assert one is not None
    assert two is not None
    assert (one.last_tweet_id, two.last_tweet_id) == (keys[99], keys[119])


async def test_b8_the_count_is_that_of_the_crawl_whatever_ended_its_sessions(
    engine: CrawlEngine,
) -> None:
    source = ListSource(ids(150), script={4: BillingRefused("no"), 6: AuthenticationFailed("no")})
    counts: list[int] = []
    for options in ({"max_items": 33}, {}, {}, {}):
        report = await engine.crawl(source, user_id="me", **options)  # type: ignore[arg-type]
        checkpoint = await engine.checkpoints("me").get_checkpoint()
        assert checkpoint is not None
        assert checkpoint.bookmarks_count == len(await stored(engine)) == report.bookmarks_count
        counts.append(checkpoint.bookmarks_count)

    assert counts == sorted(counts)
    assert counts[0] == 33
    assert counts[-1] == 150


async def test_b9_skipped_items_move_the_checkpoint_and_are_counted(engine: CrawlEngine) -> None:
    keys = ids(60)
    source = ListSource(keys, bad={keys[19], keys[20], keys[39]})
    report = await engine.crawl(source, user_id="me", max_items=40)
    counts = report.counters

    assert (counts.seen, counts.stored, counts.skipped) == (40, 37, 3)
    source.fetched.clear()
    again = await engine.crawl(source, user_id="me")
    assert again.completed
    assert "0" not in source.fetched
    assert source.fetched[0] == "40"  # behind what was skipped last
    assert len(await stored(engine)) == 57


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_b10_a_second_cancel_at_any_moment_loses_no_checkpoint(
    turns: int, engine: CrawlEngine
) -> None:
    handled: list[str] = []
    reached = asyncio.Event()

    async def handler(item: Item, fence: int) -> None:
        handled.append(item.key)
        if len(handled) == 25:
            reached.set()
        await asyncio.sleep(0)

    source = ListSource(ids(100))
    task = asyncio.create_task(engine.crawl(source, user_id="me", handler=handler))
    await reached.wait()
    task.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    rows = await stored(engine)
    checkpoint = await engine.checkpoints("me").get_checkpoint()
    assert checkpoint is not None
    assert (checkpoint.bookmarks_count, checkpoint.last_tweet_id) == (len(rows), rows[-1])
    assert len(rows) >= 20
    report = await engine.crawl(source, user_id="me", handler=handler)
    assert report.completed
    assert sorted(await stored(engine)) == sorted(source.ids)


async def test_c4_no_network_while_asking_who_the_user_is_is_no_auth_error(
    engine: CrawlEngine,
) -> None:
    source = XBookmarks("t", base_url="http://127.0.0.1:9", clock=engine.clock)
    report = await engine.crawl(source, user_id="me")

    assert (report.category, report.reason, exit_code(report)) == (
        ErrorCategory.NETWORK, Reason.CONNECTION, 12,
    )  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(), TimeoutError(), BrokenPipeError(), OSError(101, "unreachable")],
    ids=lambda error: type(error).__name__,
)
async def test_c5_a_broken_connection_is_tried_again_by_the_whole_engine(
    error: BaseException, engine: CrawlEngine, clock: VirtualClock
) -> None:
    report = await engine.crawl(ListSource(ids(45), script={2: error}), user_id="me")

    assert report.completed
    assert clock.sleeps == [1.0]


@pytest.mark.parametrize("error", [ValueError("bug"), TypeError("bug"), KeyError("bug")])
async def test_c6_a_programming_error_in_a_handler_skips_nothing(
    error: Exception, engine: CrawlEngine
) -> None:
    async def handler(item: Item, fence: int) -> None:
        raise error

    report = await engine.crawl(ListSource(ids(45)), user_id="me", handler=handler)

    assert report.category is ErrorCategory.FATAL
    assert report.counters.skipped == 0
    assert await stored(engine) == []


async def test_c7_one_failure_is_one_request_and_one_wait_through_every_layer(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    """Source and engine do not retry within each other: six requests in all, and the ladder to its end."""
    async with Simulator(50, faults="none") as sim:
        sim.service.answer = _unavailable(sim)  # type: ignore[method-assign]
        source = XBookmarks(sim.token, base_url=sim.base_url, clock=clock)
        report = await engine.crawl(source, user_id=sim.user_id)
        await source.aclose()

    assert len(sim.ledger) == report.counters.requests == 6
    assert clock.sleeps == [1.0, 2.0, 4.0, 8.0, 16.0]


def _unavailable(sim: Simulator) -> Any:
    answer = sim.service.answer

    def refuse(asked: Any) -> Any:
        return attrs.evolve(answer(asked), status=503, body=b"")

    return refuse


async def test_c8_a_session_is_stopped_through_the_store_by_an_engine_that_never_saw_it(
    engine: CrawlEngine, db: str
) -> None:
    wished = asyncio.Event()
    handled: list[str] = []

    async def handler(item: Item, fence: int) -> None:
        handled.append(item.key)
        if len(handled) == 5:
            await wished.wait()

    handle = await engine.start(ListSource(ids(60)), user_id="me", handler=handler)
    async with CrawlEngine(db, settings=Settings(), clock=VirtualClock()) as other:
        await other.cancel(handle.session_id)
    wished.set()
    report = await handle.wait()

    assert (report.state, report.reason) == (State.SHUT_DOWN, Reason.STOPPED_BY_USER)
    assert len(handled) == 10  # the commit of the first ten brought the wish


async def test_c9_of_two_starts_at_once_one_runs_and_the_other_changes_nothing(
    db: str, clock: VirtualClock
) -> None:
    sources = [ListSource(ids(60)) for _ in range(4)]
    async with (
        CrawlEngine(db, settings=Settings(), clock=clock) as one,
        CrawlEngine(db, settings=Settings(), clock=clock) as two,
    ):
        results = await asyncio.gather(
            *(e.start(s, user_id="me") for e, s in zip([one, two] * 2, sources, strict=True)),
            return_exceptions=True,
        )
        handles = [found for found in results if not isinstance(found, BaseException)]
        refused = [found for found in results if isinstance(found, CrawlOwned)]
        reports = [await handle.wait() for handle in handles]

        assert len(handles) >= 1
        assert len(handles) + len(refused) == 4
        assert all(report.completed and not report.lost for report in reports)
        sessions = await one.sessions()
        assert len(sessions) == len(handles)
        assert {record.value.state for record in sessions} == {State.COMPLETED}
        assert await stored(one) == sources[0].ids


async def test_c10_reading_and_other_crawls_on_one_engine_do_not_disturb_each_other(
    engine: CrawlEngine,
) -> None:
    async def look() -> None:
        for _ in range(20):
            await stored(engine)
            await engine.sessions()

    crawls = [engine.crawl(ListSource(ids(100)), user_id=f"user{n}") for n in range(5)]
    *reports, _, _ = await asyncio.gather(*crawls, look(), look())

    assert all(report is not None and report.completed for report in reports)
    assert len(await stored(engine, "user3")) == 100


async def test_c11_a_cleanup_cannot_replace_a_cancellation(engine: CrawlEngine) -> None:
    reached = asyncio.Event()

    async def handler(item: Item, fence: int) -> None:
        reached.set()
        await asyncio.sleep(0)

    async def cleanup() -> None:
        raise AttributeError("close")

    task = asyncio.create_task(
        engine.crawl(ListSource(ids(60)), user_id="me", handler=handler, cleanup=[cleanup])
    )
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    [record] = await engine.sessions()
    assert record.value.reason == Reason.TASK_CANCELLED


async def test_c12_one_fatal_error_writes_one_checkpoint(db: str, clock: VirtualClock) -> None:
    written: list[str] = []

    class Counting(SqlStore):
        async def commit(self, batch: Batch) -> str | None:
            written.append(f"{batch.value.state}{'+checkpoint' if batch.mark else ''}")
            return await super().commit(batch)

    source = ListSource(ids(60), script={2: BillingRefused("no")})
    async with CrawlEngine(Counting(db), settings=Settings(), clock=clock) as engine:
        await engine.crawl(source, user_id="me")

    assert written == ["running+checkpoint", "shutting_down+checkpoint", "shut_down"]


async def test_c14_a_reader_that_leaves_takes_nothing_from_the_others(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    clock.hold()
    handle = await paused(engine)

    async def leaves() -> int:
        async for _ in handle:
            return 1
        return 0

    async def stays() -> list[Event]:
        return [event async for event in handle]

    staying = asyncio.create_task(stays())
    assert await leaves() == 1
    clock.release()
    await handle.wait()
    late = await stays()  # what came before is replayed, the end is always delivered

    assert await staying == late
    assert isinstance(late[-1], SessionEnded)


async def test_c18_what_is_unknown_is_none_and_asking_costs_no_request(
    engine: CrawlEngine,
) -> None:
    source = ListSource(ids(25), price_usd=None)
    assert await engine.checkpoints("me").get_checkpoint() is None
    assert await engine.sessions() == []
    report = await engine.crawl(source, user_id="me")
    await engine.status(report.session_id)

    assert report.cost_usd_estimate is None
    assert report.counters.requests == source.requests == 2
    assert report.counters == attrs.evolve(
        Counters(), seen=25, stored=25, requests=2, items_fetched=25
    )


@pytest.mark.parametrize("end", [End.VERIFIED, End.UNVERIFIED])
async def test_a6_completed_implies_that_the_source_said_so(
    end: End, engine: CrawlEngine, tmp_path: Path
) -> None:
    """An empty account is complete only after the source named its end, and a doubtful end is asked for again."""
    source = ListSource([], end=end)
    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert source.requests == (1 if end is End.VERIFIED else 2)
