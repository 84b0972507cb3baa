"""An app starts again and goes on with every crawl that its last run left, however that ended."""

import asyncio
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from scripted import ids
from valkey_server import until

from twitor_fsm import CrawlEngine, RateLimited, Reason, Settings
from twitor_fsm.simulator import Simulator
from twitor_fsm.testing import ListSource, VirtualClock

MANY: Final = 130
"""More than `CrawlEngine.sessions` gives unless asked for more."""

PAGE: Final = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")


def snippet(word: str) -> dict[str, Any]:
    """Names of the one block of the page that has this word."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if word in block]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/embedding.md", "exec"), names)
    return names


async def ended(engine: CrawlEngine) -> Counter[tuple[str, str | None]]:
    """How many sessions are in which state, and why."""
    records = await engine.sessions(limit=10 * MANY)
    return Counter((str(record.value.state), record.value.reason) for record in records)


async def test_every_crawl_that_was_left_goes_on(db: str, clock: VirtualClock) -> None:
    users = [f"user-{number}" for number in range(MANY)]
    limited = ListSource(ids(3), script={n + 1: RateLimited(None) for n in range(MANY)})
    async with CrawlEngine(db, settings=Settings(), clock=clock) as before:
        for user in users:
            report = await before.crawl(limited, user_id=user, wait=False)
            assert report.state == "paused_rate_limit"

    source = ListSource(ids(3))
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        left = [session.crawl.user_id async for session in engine.unfinished()]
        assert sorted(left) == sorted(users)

        resuming = asyncio.create_task(snippet("resume_all")["resume_all"](engine, source))
        await until(lambda: source.requests == MANY)
        await until(lambda: not engine._running)
        resuming.cancel()
        with suppress(asyncio.CancelledError):
            await resuming

        assert [session async for session in engine.unfinished()] == []
        assert await ended(engine) == {("completed", "end_verified"): MANY}


async def test_a_host_that_stops_leaves_what_it_cut_short(db: str, clock: VirtualClock) -> None:
    clock.hold()  # a pause lasts until the test lets it end
    limited = ListSource(ids(3), script={1: RateLimited(None), 2: RateLimited(None)})
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        await engine.start(limited, user_id="cut")
        unwanted = await engine.start(limited, user_id="unwanted")
        await until(lambda: unwanted.state == "paused_rate_limit" and limited.requests == 2)
        await engine.crawl(ListSource(ids(3)), user_id="done")
        unwanted.cancel()

        assert await engine.hand_over() == 1

        left = [session.crawl.user_id async for session in engine.unfinished()]
        assert left == ["cut"]
        assert await ended(engine) == {
            ("shut_down", Reason.SIGNAL): 1,
            ("shut_down", Reason.STOPPED_BY_USER): 1,
            ("completed", Reason.END_VERIFIED): 1,
            ("running", None): 1,
        }
        assert await engine.hand_over() == 0


async def test_a_restarted_app_finishes_what_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifespan = snippet("resume_all")["lifespan"]
    monkeypatch.chdir(tmp_path)
    token = tmp_path / "tokens" / "42"
    token.parent.mkdir()
    token.touch(0o600)
    async with Simulator(120, user_id="42") as sim:
        token.write_text(sim.token)
        monkeypatch.setenv("TWITOR_API_URL", sim.base_url)
        app = SimpleNamespace(state=SimpleNamespace())
        async with lifespan(app):
            await app.state.engine.start(app.state.source, user_id="42")
        async with lifespan(app):
            engine = app.state.engine

            async def has_all() -> bool:
                return await engine.store.count_bookmarks() == 120 and not engine._running

            await until(has_all)
            assert await ended(engine) == {
                ("shut_down", "signal"): 1,
                ("completed", "end_verified"): 1,
            }
