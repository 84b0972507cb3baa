"""What every peer fails one of: an early end, a rate limit in mid-crawl, a death at half; then everything at once.

All bookmarks arrive, `completed` is only said then, and requests are counted to the last one.
"""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from virtual import Watched, World, death, world

from twitor_fsm.config import Settings
from twitor_fsm.core.states import State
from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.events import CheckpointSaved, Event
from twitor_fsm.report import CrawlReport, exit_code
from twitor_fsm.simulator import EarlyEnd, Fault, FaultKind, FaultPlan
from twitor_fsm.sources.base import Item
from twitor_fsm.sources.files import FileBookmarks
from twitor_fsm.testing.clock import START

MANY = 2995
PAGES = 34  # of 90: 33 and one of 25
PROBE = 2  # the 25 of the last page again, 20 at a time
TOP_UP = 1  # the walk from the top that follows a resumed one, and recognises it on its first page

# -- an early end without a token -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("above", "after", "requests"),
    [
        # 3 pages of 100, the third without a token; from its cursor 2,795 at 90 a page; the last 5 once more at 20
        (90, 2, 3 + 32 + 1),
        (90, 1, 2 + 33 + 1),
        # the same, but 90 a page ends early too; 2,795 at 20 a page; the last 15 once more at 10
        (50, 2, 3 + 1 + 140 + 2),
        (20, 1, 2 + 1 + 145 + 2),
        # 20 a page ends early too; 10 a page is taken, and the last 5 once more at 5
        (10, 2, 3 + 1 + 1 + 280 + 1),
    ],
)
async def test_an_early_end_is_not_believed(
    above: int, after: int, requests: int, tmp_path: Path
) -> None:
    early = EarlyEnd(above=above, after_pages=after)
    async with world(tmp_path, MANY, early_end=early, page_size=100, limit=10**6) as w:
        report = await w.crawl()

        assert (report.state, report.reason, exit_code(report)) == (
            State.COMPLETED, Reason.END_VERIFIED, 0,
        )  # fmt: skip
        assert w.stored() == w.sim.truth()
        assert report.counters.stored == MANY
        assert w.requests == report.counters.requests == requests
        assert report.cost_usd_estimate == pytest.approx(
            sum(entry.items for entry in w.sim.ledger) * 0.001
        )


async def test_what_is_not_yet_verified_is_not_complete(tmp_path: Path) -> None:
    """Stopped anywhere in a crawl with early ends, no session says completed before the last id is stored."""
    early = EarlyEnd(above=20, after_pages=1)
    async with world(tmp_path, 400, early_end=early, limit=10**6) as w:
        runs = 0
        while True:
            runs += 1
            report = await w.crawl(max_items=120)
            assert report.completed == w.holds_everything() or not report.completed
            if report.completed:
                break
            assert (report.reason, exit_code(report)) == (Reason.MAX_ITEMS, 75)
            assert runs < 20

        assert sorted(w.stored()) == sorted(w.sim.truth())


async def test_a_small_limit_of_items_brings_the_crawl_forward_with_every_run(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, 100) as w:
        await w.crawl(max_items=37)
        again = await w.crawl(max_items=37)

        assert again.reason == Reason.MAX_ITEMS
        assert len(w.stored()) > 37


@pytest.mark.parametrize("count", [0, 1, 5, 19, 35, 89, 91, 179])
async def test_a_true_end_costs_its_tail_once_more(count: int, tmp_path: Path) -> None:
    async with world(tmp_path, count) as w:
        report = await w.crawl()

        assert report.completed
        assert w.stored() == w.sim.truth()
        full, rest = divmod(count, 90)
        tail = rest or (90 if count else 0)
        pages = full + (1 if rest or not count else 0)
        assert w.requests == pages + max(1, -(-tail // 20))


@pytest.mark.parametrize("count", [20, 40, 90, 180])
async def test_a_true_end_on_a_full_page_is_found_too(count: int, tmp_path: Path) -> None:
    async with world(tmp_path, count) as w:
        report = await w.crawl()

        assert report.completed
        assert w.stored() == w.sim.truth()


# -- a rate limit in mid-crawl --------------------------------------------------------------------


async def test_a_window_that_is_used_up_is_waited_out_before_the_service_refuses(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, MANY, limit=10) as w:
        report = await w.crawl()

        assert report.completed
        assert w.stored() == w.sim.truth()
        assert w.requests == report.counters.requests == PAGES + PROBE
        assert {entry.status for entry in w.sim.ledger} == {200}
        assert (report.counters.pauses, report.counters.errors) == (3, {})
        assert w.clock.sleeps == [900.0, 900.0, 900.0]
        assert [entry.at - START for entry in w.sim.ledger] == [
            900.0 * (n // 10) for n in range(PAGES + PROBE)
        ]
        assert await w.path_of(report) == [
            *["rate_limited:paused_rate_limit", "resume:running"] * 3,
            "finish:completed",
        ]


async def test_a_window_that_another_client_used_up_is_waited_out(tmp_path: Path) -> None:
    limited = Fault(kind=FaultKind.RATE_LIMITED, at=(2, 3, 20, 36))
    async with world(tmp_path, MANY, limited) as w:
        report = await w.crawl()

        assert report.completed
        assert w.stored() == w.sim.truth()
        assert w.requests == PAGES + PROBE + 4
        assert w.clock.sleeps == [900.0] * 4


async def test_a_window_far_longer_than_any_reset_that_is_believed(tmp_path: Path) -> None:
    async with world(tmp_path, 390, limit=3, window_s=86_400.0) as w:
        report = await w.crawl()

        assert report.completed
        assert w.stored() == w.sim.truth()
        assert max(w.clock.sleeps) == 960.0
        assert sum(w.clock.sleeps) >= 86_400.0
        refused = sum(entry.status == 429 for entry in w.sim.ledger)
        assert w.requests == 5 + 2 + refused


async def test_pauses_that_nobody_waits_for_add_up_to_the_same_crawl(tmp_path: Path) -> None:
    """A command started every hour, as cron would: each run uses one window, one session in all."""
    async with world(tmp_path, MANY, limit=10) as w:
        reports: list[CrawlReport] = []
        while not reports or not reports[-1].completed:
            reports.append(await w.crawl(wait=False))
            assert w.clock.sleeps == []
            w.clock.time += 3600.0
            assert len(reports) < 10

        assert len({report.session_id for report in reports}) == 1
        assert [exit_code(report) for report in reports] == [11, 11, 11, 0]
        assert sorted(w.stored()) == sorted(w.sim.truth())
        # each run after the first walks on, and the last one tops up
        assert PAGES + PROBE <= w.requests <= PAGES + PROBE + TOP_UP
        assert {entry.status for entry in w.sim.ledger} == {200}


# -- a death at half ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefetch", "after", "again"),
    [
        (0, False, 1),  # the page that was being stored
        (0, True, 0),
        (1, False, 2),  # that one and the next, which was fetched meanwhile
        (1, True, 1),
    ],
)
async def test_a_death_at_half_costs_the_pages_in_hand(
    prefetch: int, after: bool, again: int, tmp_path: Path
) -> None:
    async with (
        world(tmp_path, MANY, settings=Settings(prefetch=prefetch)) as w,
        death(w, die_at=17, after=after) as died,
    ):
        assert died
        assert len(w.stored()) == 90 * (17 if after else 16)
        report = await w.crawl()

        assert (report.state, report.resumed) == (State.COMPLETED, True)
        assert sorted(w.stored()) == sorted(w.sim.truth())
        assert report.counters.stored == MANY
        least = PAGES + PROBE + TOP_UP + min(again, 1 if not after else 0)
        assert least <= w.requests <= PAGES + PROBE + TOP_UP + again


@pytest.mark.parametrize("after", [False, True])
async def test_a_death_at_any_commit_loses_and_doubles_nothing(after: bool, tmp_path: Path) -> None:
    """Every commit of a crawl with a handler, a retry, a pause and a skip."""
    faults = (
        Fault(kind=FaultKind.SERVER_ERROR, at=(2,)),
        Fault(kind=FaultKind.RATE_LIMITED, at=(4,)),
    )
    die_at = 0
    while True:
        die_at += 1
        folder = tmp_path / str(die_at)
        folder.mkdir()
        handled: list[str] = []

        async def handler(item: Item, fence: int, handled: list[str] = handled) -> None:
            handled.append(item.key)

        async with (
            world(folder, 60, *faults, page_size=20) as w,
            death(w, die_at=die_at, after=after, handler=handler) as died,
        ):
            if not died:
                break
            await check_death(w, handler, handled)
    assert die_at > 8


async def check_death(w: World, handler: Any, handled: list[str]) -> None:
    before = len(w.stored())
    checkpoint = await w.checkpoint()
    assert (checkpoint.bookmarks_count if checkpoint else 0) == before
    report = await w.crawl(handler=handler)

    assert report.completed
    assert sorted(w.stored()) == sorted(w.sim.truth())
    assert set(handled) == set(w.sim.truth())
    assert len(handled) <= 60 + 10  # only what was handled and not yet durable is handled again


async def test_a_crawl_that_dies_again_and_again_completes(tmp_path: Path) -> None:
    """Twenty deaths, each two commits after the start: progress is made every time."""
    async with world(tmp_path, 895, page_size=20, limit=10**6) as w:
        deaths = 0
        while True:
            async with death(w, die_at=3, after=False) as died:
                pass
            if not died:
                break
            deaths += 1
            assert deaths < 40
        assert w.holds_everything()
        assert w.requests <= 45 + 3 + 2 * deaths + 5


async def test_completed_is_said_in_the_commit_that_holds_the_last_item_and_never_before(
    tmp_path: Path,
) -> None:
    seen: list[tuple[int, bool]] = []

    def observer(event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            [[state]] = w.query("SELECT state FROM twitor_session")
            seen.append((len(w.stored()), state == "completed"))

    async with world(tmp_path, 500) as w:
        await w.crawl(observers=[observer])

    assert [count for count, completed in seen if completed] == [500]
    assert seen[-1][1]


# -- everything at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 9))
async def test_whatever_happens_running_again_ends_with_everything(
    seed: int, tmp_path: Path
) -> None:
    plan = FaultPlan.preset("hostile")
    async with world(tmp_path, 400, plan=plan, seed=seed, window_s=60.0, slow_hangs=False) as w:
        runs = 0
        while True:
            runs += 1
            report = await w.crawl()
            assert report.state in {State.COMPLETED, State.ABORTED, State.SHUT_DOWN}
            assert report.reason in list(Reason)
            assert report.message
            if report.completed:
                break
            assert runs < 10, report.message

        posts = {
            key for key, kind in w.query("SELECT item_id, kind FROM twitor_bookmark")
            if kind == "post"
        }  # fmt: skip
        assert posts == set(w.sim.obtainable())
        gone = {k for k, kind in w.sim.invalid().items() if kind in ("tombstone", "protected")}
        assert set(w.stored()) == posts | gone
        assert len(w.skipped()) <= len(w.sim.invalid()) - len(gone)  # two nulls are one


@pytest.mark.parametrize("seed", [11, 12, 13])
async def test_with_deaths_among_everything_else_too(seed: int, tmp_path: Path) -> None:
    plan = FaultPlan.preset("hostile")
    async with world(tmp_path, 300, plan=plan, seed=seed, window_s=60.0, slow_hangs=False) as w:
        for number in range(1, 7):
            async with death(w, die_at=2 + number % 3, after=number % 2 == 0):
                pass
        for _ in range(10):
            report = await w.crawl()
            if report.completed:
                break

        assert report.completed, report.message
        assert w.holds_everything()


async def test_what_changes_while_the_walk_is_under_way_is_there_after_the_next_one(
    tmp_path: Path,
) -> None:
    changes = (
        Fault(kind=FaultKind.INSERT, at=(2, 5), items=4),
        Fault(kind=FaultKind.REMOVE, at=(3,), items=3),
        Fault(kind=FaultKind.REBOOKMARK, at=(4, 6), items=5),
    )
    async with world(tmp_path, 400, *changes, page_size=50) as w:
        first = await w.crawl()
        again = await w.crawl()

        assert first.completed
        assert again.completed
        assert set(w.sim.truth()) <= set(w.stored())


# -- files ----------------------------------------------------------------------------------------


def saved_pages(folder: Path, count: int) -> tuple[Path, list[str]]:
    """API pages of 50 as somebody saved them, a line a page; ids of unequal length in no order."""
    keys = [str((7919 * n) % 100_003 + 10 ** (n % 17)) for n in range(count)]
    assert len(set(keys)) == count
    path = folder / "pages.jsonl"
    with path.open("w") as file:
        for start in range(0, count, 50):
            page = [{"id": key, "text": f"text {key}"} for key in keys[start : start + 50]]
            file.write(json.dumps({"data": page, "meta": {"result_count": len(page)}}) + "\n")
    return path, keys


@attrs.define
class Failing:
    """Raises in place of these requests."""

    errors: dict[int, BaseException]

    def __call__(self, number: int) -> None:
        if number in self.errors:
            raise self.errors[number]


@pytest.mark.parametrize("after", [False, True])
async def test_a_death_at_any_commit_of_a_file_loses_and_doubles_nothing(
    after: bool, tmp_path: Path
) -> None:
    path, keys = saved_pages(tmp_path, 200)
    die_at = 0
    while True:
        die_at += 1
        folder = tmp_path / str(die_at)
        folder.mkdir()
        async with world(folder, 0) as w:
            source = FileBookmarks(path, page_size=20)
            async with death(w, die_at=die_at, after=after, source=source) as died:
                if not died:
                    break
                report = await w.crawl(FileBookmarks(path, page_size=20))
                assert report.completed
                assert sorted(w.stored()) == sorted(keys)
    assert die_at > 10


async def test_a_file_on_a_disk_that_fails_now_and_then_arrives_whole(tmp_path: Path) -> None:
    path, keys = saved_pages(tmp_path, 500)
    async with world(tmp_path, 0) as w:
        failing = Failing({n: ConnectionResetError() for n in (2, 3, 7)})
        report = await w.crawl(Watched(FileBookmarks(path, page_size=50), failing))

        assert report.completed
        assert w.stored() == keys
        assert w.clock.sleeps == [1.0, 2.0, 1.0]


async def test_a_file_that_breaks_off_is_never_complete(tmp_path: Path) -> None:
    path, keys = saved_pages(tmp_path, 500)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    async with world(tmp_path, 0) as w:
        report = await w.crawl(FileBookmarks(path, page_size=50))

        assert not report.completed
        assert exit_code(report) in {1, 12}
        stored = w.stored()
        assert stored == keys[: len(stored)]
        assert len(stored) >= 150  # what stands before the break
        path.write_bytes(whole)
        assert (await w.crawl(FileBookmarks(path, page_size=50))).completed
        assert sorted(w.stored()) == sorted(keys)


async def test_the_same_file_again_stores_nothing_twice(tmp_path: Path) -> None:
    path, keys = saved_pages(tmp_path, 300)
    async with world(tmp_path, 0) as w:
        first = await w.crawl(FileBookmarks(path))
        again = await w.crawl(FileBookmarks(path))

        assert (first.counters.stored, again.counters.stored) == (300, 0)
        assert again.completed
        assert w.stored() == keys
        assert first.cost_usd_estimate == 0.0
