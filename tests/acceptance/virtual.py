"""A whole stack on one virtual clock: the real engine, a SQLite file, the simulated X over real sockets.

Nothing waits: a pause of 900 s is a sleep that returns at once and moves the clock of engine and server alike.
"""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs

from twitor_fsm.config import Settings
from twitor_fsm.core.progress import Checkpoint
from twitor_fsm.core.records import CrawlKey
from twitor_fsm.core.states import Kind, SessionValue
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import LeaseLost
from twitor_fsm.machine import machine_for
from twitor_fsm.ownership import LIVE_RUNS
from twitor_fsm.report import CrawlReport
from twitor_fsm.simulator import EarlyEnd, Fault, FaultPlan, ItemFault, Simulator
from twitor_fsm.sources.base import Page, Source
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.storage.base import Batch, Store
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import VirtualClock, assert_conforms
from twitor_fsm.testing.clock import START

BUSY_S = 0.002
"""How long SQLite itself waits for a lock: real time, so next to nothing."""


class Unspread(random.Random):
    """No jitter: every delay is exact."""

    def random(self) -> float:
        return 0.0


class SharedClock(VirtualClock):
    """The kit's clock; a test hears of each sleep, and may hold those that begin from now on at a gate of its own."""

    def __init__(self) -> None:
        super().__init__(START)
        self.on_sleep: Callable[[float], None] | None = None
        self.gate: asyncio.Event | None = None
        """When set, sleeps wait for it."""

    async def sleep(self, seconds: float) -> None:
        if self.on_sleep is not None:
            self.on_sleep(seconds)
        if self.gate is None:
            await super().sleep(seconds)
            return
        self.sleeps.append(seconds)
        await self.gate.wait()
        self.time += seconds


Hook = Callable[[str, "Batch | None"], None]


class HookedStore(SqlStore):
    """The real store; a test hears of each call before it is made, and may break the database then."""

    def __init__(self, path: Path, hook: Hook | None = None) -> None:
        super().__init__(path, busy_timeout_s=BUSY_S)
        self.hook: Hook = hook if hook is not None else lambda _name, _batch: None
        self.commits = 0

    async def lookup(self, crawl: CrawlKey, keys: tuple[str, ...]) -> Any:
        self.hook("lookup", None)
        return await super().lookup(crawl, keys)

    async def commit(self, batch: Batch) -> str | None:
        self.commits += 1
        self.hook("commit", batch)
        return await super().commit(batch)


@attrs.define
class World:
    """One simulated account, one database file, one clock."""

    sim: Simulator
    clock: SharedClock
    path: Path
    settings: Settings
    page_size: int | None = None
    deadline_s: float = 120.0
    token: str | None = None

    @property
    def crawl_key(self) -> CrawlKey:
        return CrawlKey(self.sim.user_id, "x")

    @property
    def requests(self) -> int:
        """Requests that reached the service."""
        return len(self.sim.ledger)

    def source(self) -> XBookmarks:
        return XBookmarks(
            self.token if self.token is not None else self.sim.token,
            base_url=self.sim.base_url,
            clock=self.clock,
            expand="none",
            deadline_s=self.deadline_s,
        )

    @asynccontextmanager
    async def engine(self, store: Store | None = None) -> AsyncIterator[CrawlEngine]:
        """An engine as a process of its own would have it."""
        database = store if store is not None else HookedStore(self.path)
        async with CrawlEngine(
            database, settings=self.settings, clock=self.clock, rng=Unspread()
        ) as engine:
            yield engine

    async def crawl(
        self, source: Source | None = None, *, store: Store | None = None, **options: Any
    ) -> CrawlReport:
        """One run from open to close, checked for everything that holds after any run."""
        self.clock.sleeps.clear()
        options.setdefault("page_size", self.page_size)
        async with self.engine(store) as engine:
            report = await engine.crawl(
                source if source is not None else self.source(),
                user_id=self.sim.user_id,
                **options,
            )
            if report.durable:
                await self.check(engine, report)
        return report

    async def check(self, engine: CrawlEngine, report: CrawlReport) -> None:
        """What holds however a run ended: sums, journal, rows and checkpoint agree."""
        counts = report.counters
        assert counts.seen == counts.stored + counts.already_known + counts.skipped
        record = await engine.status(report.session_id)
        assert str(record.value.state) == report.state
        # a page fetched ahead and given up at the end is in the report alone: see test_categories
        assert (
            attrs.evolve(
                record.counters, requests=counts.requests, items_fetched=counts.items_fetched
            )
            == counts
        )
        replayed = await replay(engine, report.session_id)
        assert (replayed.state, replayed.tries, replayed.seq) == (
            record.value.state,
            record.value.tries,
            record.value.seq,
        )
        final = machine_for().spec.kinds[str(record.value.state)] is Kind.FINAL
        assert final == (record.ended_at is not None)
        assert report.completed == (report.state == "completed")
        self.check_rows()

    def check_rows(self) -> None:
        """Nothing is stored twice, nothing that is not there, and the checkpoint names what is stored."""
        keys = self.stored()
        assert len(keys) == len(set(keys))
        for last, count, _ in self.query(
            "SELECT last_tweet_id, bookmarks_count, mark FROM twitor_crawl WHERE source = 'x'"
        ):
            assert count <= len(keys)
            assert last is None or last in keys

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement).fetchall()

    def stored(self) -> list[str]:
        """Ids in the database in the order stored, those of tombstones included."""
        return [
            str(key) for (key,) in self.query("SELECT item_id FROM twitor_bookmark ORDER BY id")
        ]

    def skipped(self) -> list[str]:
        return [str(key) for (key,) in self.query("SELECT item_key FROM twitor_skipped")]

    def holds_everything(self) -> bool:
        """Whether the database has every bookmark that anybody could have obtained, each once."""
        keys = self.stored()
        return len(keys) == len(set(keys)) and set(self.sim.obtainable()) <= set(keys)

    async def checkpoint(self) -> Checkpoint | None:
        async with self.engine() as engine:
            return await engine.store.checkpoint(self.crawl_key)

    async def path_of(self, report: CrawlReport) -> list[str]:
        """The journal in short: trigger and the state that it led to."""
        async with self.engine() as engine:
            rows = await engine.journal(report.session_id)
        return [f"{row.trigger}:{row.target}" for row in rows]

    async def delays_of(self, report: CrawlReport) -> list[float]:
        """Delays that the journal tells."""
        async with self.engine() as engine:
            return [r.delay_s for r in await engine.journal(report.session_id) if r.delay_s]


async def replay(engine: CrawlEngine, session_id: str) -> SessionValue:
    """Take the journal's events through the machine again: each must lead where it led."""
    return assert_conforms(await engine.journal(session_id))


@asynccontextmanager
async def world(
    folder: Path,
    bookmarks: int = 200,
    *faults: Fault,
    items: Iterable[ItemFault] = (),
    early_end: EarlyEnd | None = None,
    plan: FaultPlan | None = None,
    settings: Settings | None = None,
    page_size: int | None = None,
    skew_s: float = 0.0,
    seed: int = 1,
    limit: int = 180,
    window_s: float = 900.0,
    deadline_s: float = 120.0,
    slow_hangs: bool = True,
) -> AsyncIterator[World]:
    """A world in which this goes wrong; slow answers hang for ever, or else take no time."""
    clock = SharedClock()
    stuck = asyncio.Event()

    async def never(_seconds: float) -> None:
        if slow_hangs:
            await stuck.wait()

    chosen = plan or FaultPlan(
        faults=faults, items=tuple(items), early_end=early_end, clock_skew_s=skew_s
    )
    async with Simulator(
        bookmarks,
        seed=seed,
        faults=chosen,
        now=clock.now,
        sleep=never,
        limit=limit,
        window_s=window_s,
    ) as sim:
        yield World(
            sim,
            clock,
            folder / "bookmarks.db",
            settings if settings is not None else Settings(),
            page_size=page_size,
            deadline_s=deadline_s,
        )
        stuck.set()


class MortalStore(HookedStore):
    """A store whose process dies at one of its commits, before it or after it.

    What a dead process does no more: every later call hangs until `bury`, and is refused then.
    """

    def __init__(self, path: Path, *, die_at: int, after: bool) -> None:
        super().__init__(path)
        self._die_at = die_at
        self._after = after
        self.died = asyncio.Event()
        self._buried = asyncio.Event()

    def bury(self) -> None:
        self._buried.set()

    async def _alive(self) -> None:
        if self.died.is_set():
            await self._buried.wait()
            raise LeaseLost("dead")

    async def commit(self, batch: Batch) -> str | None:
        await self._alive()
        if self.commits + 1 == self._die_at:
            if self._after:
                await super().commit(batch)
            self.died.set()
            await self._alive()
        return await super().commit(batch)

    async def lookup(self, crawl: CrawlKey, keys: tuple[str, ...]) -> Any:
        await self._alive()
        return await super().lookup(crawl, keys)

    async def heartbeat(self, *args: Any, **kwargs: Any) -> str | None:
        await self._alive()
        return await super().heartbeat(*args, **kwargs)

    async def count_missing(self, *args: Any, **kwargs: Any) -> int:
        await self._alive()
        return await super().count_missing(*args, **kwargs)


async def forget(engine: CrawlEngine, session_id: str) -> None:
    """From now on the run of this session counts as dead, as if its process had been killed."""
    owner = (await engine.status(session_id)).owner
    if owner is not None:
        LIVE_RUNS.discard(owner.run_id)


@asynccontextmanager
async def death(
    w: World, *, die_at: int, after: bool, source: Source | None = None, **options: Any
) -> AsyncIterator[bool]:
    """A process that dies at a commit; inside, it is dead. Yields whether it lived long enough to die."""
    store = MortalStore(w.path, die_at=die_at, after=after)
    options.setdefault("page_size", w.page_size)
    async with w.engine(store) as engine:
        handle = await engine.start(
            source if source is not None else w.source(), user_id=w.sim.user_id, **options
        )
        ended = asyncio.ensure_future(handle.wait())
        died = asyncio.ensure_future(store.died.wait())
        rows: list[str] = []
        try:
            await asyncio.wait({ended, died}, return_when=asyncio.FIRST_COMPLETED)
            await forget(engine, handle.session_id)
            yield store.died.is_set()
            rows = w.stored()
        finally:
            died.cancel()
            store.bury()
            report = await ended
        assert report.lost == store.died.is_set()
        assert w.stored() == rows  # the dead write nothing


@attrs.define
class Watched:
    """A source in front of another: tells of each request, and may raise in its place."""

    inner: Source
    before: Callable[[int], None]
    number: int = 0

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def service(self) -> str:
        return self.inner.service

    @property
    def endpoint(self) -> str:
        return self.inner.endpoint

    @property
    def page_sizes(self) -> tuple[int, ...]:
        return self.inner.page_sizes

    @property
    def price_usd(self) -> float | None:
        return self.inner.price_usd

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        self.number += 1
        self.before(self.number)
        return await self.inner.fetch(user_id, cursor, page_size)

    def decode(self, raw: str) -> Any:
        return self.inner.decode(raw)

    async def aclose(self) -> None:
        await self.inner.aclose()


def doubled(keys: Iterable[str]) -> list[str]:
    """Ids that are there more than once."""
    return [key for key, count in Counter(keys).items() if count > 1]
