"""Two workers, one session: the one that was paused beyond its lease and is let go again writes nothing.

Real engines on real databases. The stale one's clock stands still, so its lease ends without it noticing: what a
suspended virtual machine, or a loop that was blocked, does to a process.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import sqlalchemy as sa
from store_factories import Place, postgres_place, postgres_server, sqlite_place
from valkey_server import until

from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine, CrawlHandle
from twitor_fsm.errors import AuthenticationFailed, RateLimited
from twitor_fsm.ownership import LIVE_RUNS
from twitor_fsm.report import CrawlReport
from twitor_fsm.sources.base import Item, Page
from twitor_fsm.storage import tables
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource, VirtualClock

IDS: Final = [str(n) for n in range(100, 150)]
SETTINGS: Final = Settings(checkpoint_every=4, prefetch=0)
LATE_S: Final = SETTINGS.lease_s + 1


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place[SqlStore]]:
    async with AsyncExitStack() as closing:
        if request.param == "sqlite":
            yield sqlite_place(tmp_path, closing)
        else:
            yield postgres_place(postgres_server(), closing)


@attrs.define
class Gate:
    """Where somebody stops until told to go on."""

    reached: asyncio.Event = attrs.Factory(asyncio.Event)
    open: asyncio.Event = attrs.Factory(asyncio.Event)

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()


@attrs.define
class GatedSource(ListSource):
    """Its n-th request goes through a gate, and may fail behind it."""

    at_request: int = 0
    gate: Gate = attrs.Factory(Gate)
    behind: BaseException | None = None

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        page = await super().fetch(user_id, cursor, page_size)
        if self.requests == self.at_request:
            await self.gate()
            if self.behind is not None:
                raise self.behind
        return page


@attrs.define
class Stale:
    """The first worker: where it stops, and how it is let go."""

    source: GatedSource
    gate: Gate
    handler: Callable[[Item, int], Awaitable[None]] | None = None
    cancels: bool = False
    wakes_s: float = 0.0

    async def has_stopped(self, clock: VirtualClock) -> None:
        if self.wakes_s:
            await until(lambda: clock.sleepers > 0)
        else:
            await self.gate.reached.wait()

    def let_go(self, handle: CrawlHandle, clock: VirtualClock) -> None:
        if self.cancels:
            handle.cancel()
        self.gate.open.set()
        clock.advance(self.wakes_s)


def in_a_fetch(number: int, behind: BaseException | None = None) -> Stale:
    source = GatedSource(IDS, at_request=number, behind=behind)
    return Stale(source, source.gate)


def in_a_handler() -> Stale:
    gate = Gate()

    async def handler(item: Item, _fence: int) -> None:
        if item.key == IDS[9]:
            await gate()

    return Stale(GatedSource(IDS), gate, handler=handler)


def in_a_pause() -> Stale:
    source = GatedSource(IDS, script={2: RateLimited(reset_at=None)})
    return Stale(source, source.gate, wakes_s=1000.0)


def in_a_retry() -> Stale:
    source = GatedSource(IDS, script={2: ConnectionResetError("down")})
    return Stale(source, source.gate, wakes_s=2.0)


POINTS: dict[str, Callable[[], Stale]] = {
    "before its first page": lambda: in_a_fetch(1),
    "in a page": lambda: in_a_fetch(2),
    "in the last page": lambda: in_a_fetch(3),
    "in a handler": in_a_handler,
    "in a pause": in_a_pause,
    "in a retry": in_a_retry,
    "before it is cancelled": lambda: attrs.evolve(in_a_fetch(2), cancels=True),
    "before a refused token": lambda: in_a_fetch(2, AuthenticationFailed("revoked")),
    "before a bug": lambda: in_a_fetch(2, ZeroDivisionError()),
}


@pytest.mark.parametrize("ended", [False, True], ids=["while it works", "when it has ended"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_stale_worker_writes_nothing(
    place: Place[SqlStore], point: str, *, ended: bool
) -> None:
    stale_clock, clock = VirtualClock(), VirtualClock()
    stale_clock.hold()
    clock.time += LATE_S
    stale = POINTS[point]()
    gate = Gate()
    if ended:
        gate.open.set()
    source = GatedSource(IDS, at_request=2, gate=gate)
    async with (
        CrawlEngine(await place.store(), settings=SETTINGS, clock=stale_clock) as one,
        CrawlEngine(await place.store(), settings=SETTINGS, clock=clock) as two,
    ):
        first = await one.start(stale.source, user_id="me", handler=stale.handler)
        await stale.has_stopped(stale_clock)
        second = await two.start(source, user_id="me")
        assert second.session_id == first.session_id
        report = await reaches(second, gate, ended=ended)

        before = await rows(two)
        stale.let_go(first, stale_clock)
        told = await asyncio.wait_for(first.wait(), 20)

        assert told.lost, "it has tried to write, and was told"
        assert await rows(two) == before
        gate.open.set()
        report = report or await second.wait()
        assert (report.state, report.lost) == ("completed", False)
        (session,) = await two.sessions()
        assert session.fence == 2
        assert sorted([b.id async for b in two.bookmarks()]) == IDS
    assert not LIVE_RUNS


async def reaches(second: CrawlHandle, gate: Gate, *, ended: bool) -> CrawlReport | None:
    """The new owner comes as far as it is to come; its report if that is the end."""
    if ended:
        return await second.wait()
    await gate.reached.wait()
    return None


async def rows(engine: CrawlEngine) -> dict[str, list[Any]]:
    """Everything in the database."""
    store = engine.store
    assert isinstance(store, SqlStore)
    async with store.engine.connect() as connection:
        return {
            name: sorted(map(repr, (await connection.execute(sa.select(table))).all()))
            for name, table in tables.metadata.tables.items()
        }
