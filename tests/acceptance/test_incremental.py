"""The next crawl of the same account: what is new arrives, what is known costs nothing more than it must."""

from pathlib import Path
from typing import Any

import pytest
from virtual import Watched, World, death, world

from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import SourceUnavailable
from twitor_fsm.report import CrawlReport, exit_code

COUNT = 400


def fetched(w: World, since: int) -> int:
    """Items that the service handed out since this request."""
    return sum(entry.items for entry in w.sim.ledger[since:])


async def again(w: World, **options: Any) -> tuple[CrawlReport, int]:
    """One more run, and the requests that it made; what it says it costs is what was fetched."""
    made = w.requests
    report = await w.crawl(**options)
    assert report.counters.requests == w.requests - made
    assert report.counters.items_fetched == fetched(w, made)
    assert report.cost_usd_estimate == pytest.approx(fetched(w, made) * 0.001)
    return report, w.requests - made


def nothing_is_missing(w: World) -> bool:
    return set(w.sim.truth()) <= set(w.stored())


@pytest.mark.parametrize(
    ("new", "requests"),
    [
        (0, 1),
        (1, 1),
        (7, 1),
        (70, 1),  # 20 known ones stand below them on the page
        (71, 2),
        (89, 2),
        (90, 2),
        (91, 2),
        (250, 3),
    ],
)
async def test_new_bookmarks_on_top_cost_their_pages(
    new: int, requests: int, tmp_path: Path
) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        w.sim.add(new)
        report, made = await again(w)

        assert (report.state, report.reason, exit_code(report)) == (
            "completed", Reason.CAUGHT_UP, 0,
        )  # fmt: skip
        assert (report.counters.stored, made) == (new, requests)
        assert sorted(w.stored()) == sorted(w.sim.truth())
        _, made = await again(w)
        assert made == 1


@pytest.mark.parametrize("new", [0, 1, 19, 20, 250])
async def test_a_small_account_is_walked_to_its_end_or_recognised(new: int, tmp_path: Path) -> None:
    async with world(tmp_path, 19) as w:
        await w.crawl()
        w.sim.add(new)
        report, _ = await again(w)

        assert report.completed
        assert report.counters.stored == new
        assert sorted(w.stored()) == sorted(w.sim.truth())


@pytest.mark.parametrize(
    ("gone", "requests"),
    [
        (slice(2, 40, 3), 1),  # a few here and there
        (slice(0, 19), 1),
        (slice(0, 25), None),  # more than a gap may hide: walked on
        (slice(200, 225), 1),  # in the middle: nobody looks there
        (slice(10, 30), None),
        (slice(0, 400), 2),  # all of them: an empty listing is asked for twice
    ],
)
async def test_removed_bookmarks_hide_nothing(
    gone: slice, requests: int | None, tmp_path: Path
) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        w.sim.remove(*w.sim.truth()[gone])
        report, made = await again(w)
        assert report.completed
        assert (report.counters.stored, len(w.stored())) == (0, COUNT)  # what is stored stays
        assert requests is None or made == requests

        new = w.sim.add(5)
        report, _ = await again(w)
        assert report.completed
        assert set(new) <= set(w.stored())
        assert report.counters.stored == 5


@pytest.mark.parametrize("block", [1, 5, 19, 20, 25, 60])
async def test_bookmarked_again_in_their_old_order_on_top_of_new_ones(
    block: int, tmp_path: Path
) -> None:
    """Old ones on top in the very order of the last listing are no reason to stop above what is new."""
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        old = w.sim.truth()[150 : 150 + block]
        new = w.sim.add(120)
        w.sim.rebookmark(*reversed(old))
        assert w.sim.truth()[:block] == old
        report, _ = await again(w)

        assert report.completed
        assert set(new) <= set(w.stored())
        assert report.counters.stored == 120
        assert nothing_is_missing(w)
        _, made = await again(w)
        assert made == 1


@pytest.mark.parametrize("block", [19, 20, 21, 40])
async def test_the_top_bookmarked_again_in_its_old_order_above_new_ones(
    block: int, tmp_path: Path
) -> None:
    """The new ones below it stand on the same page already: whoever sees them cannot believe to have caught up."""
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        old = w.sim.truth()[:block]
        new = w.sim.add(120)
        w.sim.rebookmark(*reversed(old))
        report, _ = await again(w)

        assert report.completed
        assert set(new) <= set(w.stored())


async def test_the_bottom_of_the_listing_bookmarked_again_hides_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        new = w.sim.add(100)
        w.sim.rebookmark(*reversed(w.sim.truth()[-90:]))
        report, _ = await again(w)

        assert report.completed
        assert set(new) <= set(w.stored())


async def test_the_top_bookmarked_again_in_place_costs_one_request(tmp_path: Path) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        w.sim.rebookmark(w.sim.truth()[0])
        report, made = await again(w)
        assert (report.counters.stored, made) == (0, 1)


def broken_at(number: int) -> Any:
    """A network that is down from this request on."""

    def before(n: int) -> None:
        if n >= number:
            raise SourceUnavailable("no route")

    return before


@pytest.mark.parametrize("how", ["max_items", "cancel", "network", "death"])
@pytest.mark.parametrize("new", [30, 250])
async def test_an_interrupted_crawl_in_between_hides_nothing(
    how: str, new: int, tmp_path: Path
) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        first = w.sim.add(new)
        match how:
            case "max_items":
                report = await w.crawl(max_items=20)
                assert exit_code(report) == 75
            case "cancel":
                async with w.engine() as engine:

                    def cancel_at_two(number: int) -> None:
                        if number == 2 or new == 30:
                            handle.cancel()

                    handle = await engine.start(
                        Watched(w.source(), cancel_at_two), user_id=w.sim.user_id
                    )
                    report = await handle.wait()
                    assert exit_code(report) == 75
            case "network":
                report = await w.crawl(Watched(w.source(), broken_at(1 if new == 30 else 2)))
                assert exit_code(report) == 12
            case "death":
                async with death(w, die_at=1 if new == 30 else 2, after=False) as died:
                    assert died
        assert not nothing_is_missing(w)
        second = w.sim.add(40)
        report = await w.crawl()

        assert report.completed
        assert set(first) | set(second) <= set(w.stored())
        assert sorted(w.stored()) == sorted(w.sim.truth())
        _, made = await again(w)
        assert made == 1


async def test_the_very_first_crawl_interrupted_and_the_account_changed_meanwhile(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl(max_items=200)
        new = w.sim.add(150)
        w.sim.rebookmark(*w.sim.truth()[300:330])
        w.sim.remove(*w.sim.truth()[200:230])
        report = await w.crawl()

        assert report.completed
        assert set(new) <= set(w.stored())
        assert nothing_is_missing(w)


@pytest.mark.parametrize("seed", range(1, 7))
async def test_many_crawls_of_an_account_that_changes_all_the_time(
    seed: int, tmp_path: Path
) -> None:
    import random

    draw = random.Random(seed)
    async with world(tmp_path, 150, seed=seed, page_size=20, limit=10**6) as w:
        lengths = {len(key) for key in w.sim.truth()}
        assert len(lengths) > 3  # ids of unequal length, in no order
        assert w.sim.truth() != sorted(w.sim.truth(), key=int, reverse=True)
        for _ in range(8):
            report = await w.crawl(max_items=draw.choice([None, None, 25, 45]))
            assert report.completed or report.reason == Reason.MAX_ITEMS
            if report.completed:
                assert nothing_is_missing(w)
            truth = w.sim.truth()
            start = draw.randrange(60, len(truth) - 40)
            match draw.randrange(3):
                case 0:
                    w.sim.add(draw.choice([1, 7, 20, 45]))
                case 1:
                    w.sim.remove(*truth[start : start + draw.choice([1, 3, 25])])
                case 2:
                    w.sim.add(draw.choice([0, 5, 30]))
                    w.sim.rebookmark(*reversed(truth[start : start + draw.choice([1, 20, 35])]))
        report = await w.crawl()

        assert report.completed
        assert nothing_is_missing(w)


async def test_a_cleared_checkpoint_walks_everything_and_stores_nothing_twice(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl()
        whole = w.requests
        async with w.engine() as engine:
            await engine.checkpoints(w.sim.user_id).clear_checkpoint()
        assert await w.checkpoint() is None
        report, made = await again(w)

        assert (report.state, report.reason) == ("completed", Reason.END_VERIFIED)
        assert made == whole
        assert (report.counters.stored, report.counters.already_known) == (0, COUNT)
        assert sorted(w.stored()) == sorted(w.sim.truth())
        checkpoint = await w.checkpoint()
        assert checkpoint is not None
        assert (checkpoint.bookmarks_count, checkpoint.generation) == (COUNT, 1)
        _, made = await again(w)
        assert made == 1


async def test_a_checkpoint_saved_by_hand_walks_from_the_top(tmp_path: Path) -> None:
    async with world(tmp_path, COUNT) as w:
        await w.crawl(max_items=200)
        new = w.sim.add(3)
        async with w.engine() as engine:
            await engine.checkpoints(w.sim.user_id).save_checkpoint(tweet_id=w.sim.truth()[100])
        made = w.requests
        report = await w.crawl()

        assert dict(entry_query(w, made)).get("pagination_token") is None
        assert report.completed
        assert set(new) <= set(w.stored())
        assert sorted(w.stored()) == sorted(w.sim.truth())
        checkpoint = await w.checkpoint()
        assert checkpoint is not None
        assert checkpoint.bookmarks_count == len(w.stored())


def entry_query(w: World, number: int) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    return parse_qsl(w.sim.ledger[number].query)
