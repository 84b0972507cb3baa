"""A request that is begun before its page is waited for: it is made once, and counted whatever becomes of it."""

import asyncio
from typing import Any

import attrs
import pytest
from scripted import ids
from test_engine_corners import SPEC
from valkey_server import until

from twitor_fsm import CrawlEngine, Item, RateLimited, Settings, SourceUnavailable
from twitor_fsm.sources.base import Page
from twitor_fsm.testing import ListSource, VirtualClock


@attrs.define
class Slow(ListSource):
    """Answers when it is told to; all requests at a cursor, if it is told so of the top."""

    asked: asyncio.Event = attrs.Factory(asyncio.Event)
    answers: asyncio.Event = attrs.Factory(asyncio.Event)
    top_is_slow: bool = False

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        page = await super().fetch(user_id, cursor, page_size)
        if cursor is not None or self.top_is_slow:
            self.asked.set()
            await self.answers.wait()
        return page


async def test_events_of_an_app_repeat_no_request(db: str, clock: VirtualClock) -> None:
    source = Slow(ids(10), top_is_slow=True)
    async with CrawlEngine(db, settings=Settings(), clock=clock, spec=SPEC) as engine:
        handle = await engine.start(source, user_id="me")
        await source.asked.wait()
        for _ in range(3):
            handle.post("hold")
            await until(lambda: handle.state == "on_hold")
            handle.post("go_on")
            await until(lambda: handle.state == "running")
        source.answers.set()
        report = await handle.wait()

        assert report.completed
        assert source.requests == report.counters.requests == 1


async def test_a_cancel_gives_up_a_request_and_counts_it(db: str, clock: VirtualClock) -> None:
    source = Slow(ids(10), top_is_slow=True)
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        handle = await engine.start(source, user_id="me")
        await source.asked.wait()
        handle.cancel()
        report = await handle.wait()

        assert report.state == "shut_down"
        assert (await engine.status(handle.session_id)).counters.requests == 1


async def test_a_pause_that_nobody_waits_for_counts_the_request_ahead(
    db: str, clock: VirtualClock
) -> None:
    source = Slow(ids(60))

    async def busy(_item: Item, _fence: int) -> None:
        await source.asked.wait()
        raise RateLimited(None)

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(source, user_id="me", handler=busy, wait=False)

        assert report.state == "paused_rate_limit"
        assert report.counters.requests == source.requests == 2
        assert (await engine.status(report.session_id)).counters == report.counters


@pytest.mark.parametrize("refusal", [None, float, int], ids=["the last one", "refused", "whole"])
async def test_a_cancel_forgets_no_closed_window_that_the_request_ahead_was_told_of(
    db: str, clock: VirtualClock, refusal: type[float] | None
) -> None:
    opens_at = clock.now() + 600.0
    source = ListSource(
        ids(60),
        script={2: RateLimited(refusal(opens_at))} if refusal is not None else {},
        closed_until=lambda number: opens_at if number == 2 else None,
    )

    async def stop(_item: Item, _fence: int) -> None:
        await until(lambda: source.requests == 2)
        handle.cancel()

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        handle = await engine.start(source, user_id="me", handler=stop)
        assert (await handle.wait()).state == "shut_down"

        again = await engine.crawl(source, user_id="me", wait=False)

        assert (again.state, source.requests) == ("paused_rate_limit", 2)
        assert again.resume_at is not None
        assert again.resume_at >= opens_at


@pytest.mark.parametrize("said", [None, "two", -1, 2**40])
async def test_a_request_ahead_that_counts_itself_oddly_counts_as_one_and_spoils_no_end(
    db: str, clock: VirtualClock, said: Any
) -> None:
    error = SourceUnavailable("away")
    error.requests = said
    source, cleaned = ListSource(ids(60), script={2: error}), asyncio.Event()

    async def stop(_item: Item, _fence: int) -> None:
        await until(lambda: source.requests == 2)
        handle.cancel()

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        handle = await engine.start(source, user_id="me", handler=stop, cleanup=[cleaned.set])
        report = await handle.wait()

        assert (report.state, report.counters.requests) == ("shut_down", 2)
        assert cleaned.is_set()
