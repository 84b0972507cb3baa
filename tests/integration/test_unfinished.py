"""An app starts again and goes on with every crawl that its last run left, however that ended."""

import asyncio
import re
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from scripted import ids
from valkey_server import until

from twitor_fsm import (
    CrawlEngine,
    CrawlHandle,
    Item,
    RateLimited,
    Reason,
    Settings,
    StoreUnavailable,
)
from twitor_fsm.core.records import Claim, CrawlKey
from twitor_fsm.simulator import Simulator
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource, VirtualClock

MANY: Final = 130
"""More than `CrawlEngine.sessions` gives unless asked for more."""

PAGE: Final = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")


def snippet(word: str) -> dict[str, Any]:
    """Names of the one block of the page that has this word."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if f"def {word}(" in block]
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


async def test_a_crawl_that_cannot_be_gone_on_with_holds_up_no_other(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    users = ["damaged", "other"]
    async with CrawlEngine(db, settings=Settings(), clock=clock) as before:
        limited = ListSource(ids(40), script={n: RateLimited(None) for n in (2, 4)})
        for user in users:
            report = await before.crawl(limited, user_id=user, wait=False, page_size=20)
            assert report.state == "paused_rate_limit"
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE twitor_crawl SET mark = 'no JSON' WHERE user_id = 'damaged'")

    source = ListSource(ids(40))
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        assert [session.crawl.user_id async for session in engine.unfinished()] == users
        resuming = asyncio.create_task(snippet("resume_all")["resume_all"](engine, source))
        await until(lambda: source.requests > 0 and not engine._running)
        resuming.cancel()
        with suppress(asyncio.CancelledError):
            await resuming

        assert await left(engine) == ["damaged"]
    assert "the checkpoint of user damaged" in caplog.text


async def paused(engine: CrawlEngine, *users: str) -> list[CrawlHandle]:
    """Crawls of these users, each in a pause that lasts until time is let go on."""
    limited = ListSource(ids(3), script={n + 1: RateLimited(None) for n in range(len(users))})
    handles = [await engine.start(limited, user_id=user) for user in users]
    await until(lambda: all(handle.state == "paused_rate_limit" for handle in handles))
    return handles


async def left(engine: CrawlEngine) -> list[str]:
    return sorted([session.crawl.user_id async for session in engine.unfinished()])


class Refusing(SqlStore):
    """Lets nobody reserve crawls of some users."""

    async def claim(self, crawl: CrawlKey, *args: Any, **options: Any) -> Claim:
        if crawl.user_id.startswith("refused") and options["lease_s"] == 0.0:
            raise StoreUnavailable("busy", Reason.STORE_UNAVAILABLE)
        return await super().claim(crawl, *args, **options)


async def test_a_crawl_that_cannot_be_handed_over_keeps_no_other_from_it(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.hold()
    async with CrawlEngine(Refusing(db), settings=Settings(), clock=clock) as engine:
        await paused(engine, "refused", "first", "refused too", "second")

        with pytest.raises(StoreUnavailable, match="busy"):
            await engine.hand_over()

        assert await left(engine) == ["first", "second"]
        assert not engine._running
    told = [record.getMessage() for record in caplog.records if "cut short" in record.getMessage()]
    assert [message.partition(" was ")[0] for message in told] == [
        "crawl x of user refused",
        "crawl x of user refused too",
    ]


async def test_a_crawl_that_ends_late_keeps_no_other_from_being_handed_over(
    db: str, clock: VirtualClock
) -> None:
    """The host may be killed before it ends."""
    clock.hold()
    go_on = asyncio.Event()

    async def late(_item: Item, _fence: int) -> None:
        await go_on.wait()

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        await engine.start(ListSource(ids(3)), user_id="late", handler=late)
        await paused(engine, "quick")
        handing_over = asyncio.create_task(engine.hand_over())

        async def is_quick_left() -> bool:
            records = await engine.sessions(user_id="quick")
            return [str(record.value.state) for record in records] == ["running", "shut_down"]

        await until(is_quick_left)
        assert not handing_over.done()
        go_on.set()
        assert await handing_over == 2


async def test_an_engine_closes_when_its_crawls_are_handed_over(
    db: str, clock: VirtualClock
) -> None:
    clock.hold()
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        handles = await paused(engine, *"abc")
        handing_over = asyncio.create_task(engine.hand_over())  # as a signal's handler does
        await asyncio.gather(*(handle.wait() for handle in handles))
    assert await handing_over == 3

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        assert await left(engine) == ["a", "b", "c"]


async def test_crawls_are_handed_over_once_however_often_it_is_asked_for(
    db: str, clock: VirtualClock
) -> None:
    clock.hold()
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        await paused(engine, *"abc")
        assert sum(await asyncio.gather(engine.hand_over(), engine.hand_over())) == 3
        assert await left(engine) == ["a", "b", "c"]


async def test_a_crawl_that_is_cancelled_elsewhere_while_its_host_stops_is_not_handed_over(
    db: str, clock: VirtualClock
) -> None:
    clock.hold()
    async with (
        CrawlEngine(db, settings=Settings(), clock=clock) as engine,
        CrawlEngine(db, settings=Settings(), clock=clock) as elsewhere,
    ):
        unwanted, _ = await paused(engine, "unwanted", "cut")
        await elsewhere.cancel(unwanted.session_id)  # which its host would hear of in 10 s

        assert await engine.hand_over() == 1
        assert await left(engine) == ["cut"]


@pytest.mark.parametrize("reason", [Reason.STOPPED_BY_USER, Reason.SIGNAL])
async def test_a_crawl_that_its_user_cancels_here_while_it_is_ended_is_not_handed_over(
    db: str, clock: VirtualClock, reason: Reason
) -> None:
    go_on = asyncio.Event()

    async def late(_item: Item, _fence: int) -> None:
        await go_on.wait()

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        by_id = await engine.start(ListSource(ids(3)), user_id="by id", handler=late)
        by_handle = await engine.start(ListSource(ids(3)), user_id="by handle", handler=late)
        handing_over = asyncio.create_task(engine.hand_over())
        await asyncio.sleep(0)
        await engine.cancel(by_id.session_id, reason)
        by_handle.cancel(reason)
        go_on.set()

        wanted = ["by handle", "by id"] if reason is Reason.SIGNAL else []
        assert await handing_over == len(wanted)
        assert {(await handle.wait()).reason for handle in (by_id, by_handle)} == {Reason.SIGNAL}
        assert await left(engine) == wanted


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
