"""A crawl that is asked for before anybody begins it: the wait is no work, and no takeover."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner
from store_factories import ALICE, LEASE_S, claim

from twitor_fsm.cli.app import twitor
from twitor_fsm.cli.narrating import Narrator
from twitor_fsm.config import Settings
from twitor_fsm.core.records import CrawlKey
from twitor_fsm.core.states import DEFAULT_SPEC
from twitor_fsm.diagrams.timeline import Timeline
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import RateLimited
from twitor_fsm.events import Event
from twitor_fsm.replaying import replay
from twitor_fsm.testing import ListSource, VirtualClock


async def test_the_journal_says_when_it_was_begun_and_the_picture_shows_it(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    said: list[str] = []
    narrator = Narrator()

    def observe(event: Event) -> None:
        said.extend(narrator.lines(event))

    asked_at = clock.now()
    await engine.reserve("me", "x")
    await clock.sleep(3600.0)
    report = await engine.crawl(ListSource(["1", "2"]), user_id="me", observers=(observe,))

    assert report.completed
    rows = await engine.journal(report.session_id)
    assert (rows[0].trigger, rows[0].reason) == ("restarted", "asked_for")
    assert len(list(replay(rows))) == len(rows)
    timeline = Timeline.of(DEFAULT_SPEC, rows, started_at=asked_at)
    assert [span.state for span in timeline.spans] == ["not begun", "running", "completed"]
    assert timeline.spent("not begun") == 3600.0
    assert timeline.restarts == ()
    assert "it was asked for, and nobody had begun it" in said


async def test_a_session_that_somebody_had_begun_is_taken_over(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    await engine.reserve("me", "x")
    await clock.sleep(1.0)
    begun = await claim(
        engine.store, "other", owner=ALICE, now=clock.now(), crawl=CrawlKey("me", "x")
    )
    assert (begun.taken_over, begun.was_only_asked_for) == (True, True)
    await clock.sleep(2 * LEASE_S)  # it died before it had done anything
    report = await engine.crawl(ListSource(["1"]), user_id="me")

    rows = await engine.journal(report.session_id)
    assert (rows[0].trigger, rows[0].reason) == ("restarted", "taken_over")


async def test_a_session_that_was_left_at_once_was_begun(
    engine: CrawlEngine, clock: VirtualClock
) -> None:
    """Its lease ended in the moment in which it began."""
    source = ListSource(["1"], script={1: RateLimited()})
    left = await engine.crawl(source, user_id="me", wait=False)
    assert left.state == "paused_rate_limit"
    await clock.sleep(3600.0)
    report = await engine.crawl(source, user_id="me")

    restarts = [
        row for row in await engine.journal(report.session_id) if row.trigger == "restarted"
    ]
    assert [row.reason for row in restarts] == ["taken_over"]


def test_the_command_line_draws_one_that_nobody_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def ask() -> None:
        async with CrawlEngine("bookmarks.db", settings=Settings()) as engine:
            await engine.reserve("42", "x")

    asyncio.run(ask())
    drawn = CliRunner().invoke(
        twitor,
        ["diagram", "--session", "last", "--timeline", "--db", "bookmarks.db"],
        prog_name="twitor",
    )
    assert drawn.exit_code == 0, drawn.output
    assert "not begun: it is only asked for" in drawn.stdout
    assert ">running<" not in drawn.stdout
