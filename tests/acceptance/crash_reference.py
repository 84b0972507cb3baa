"""The crawls that are killed at every point. `python crash_reference.py NAME N OF` tries every OF-th point from the N-th on.

In an interpreter of its own: forks of one that has run half a test suite cost several times as much.
"""

import asyncio
import json
import logging
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
import httpx
from virtual import Unspread, doubled

from twitor_fsm.config import Settings
from twitor_fsm.core.listing import End
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import RateLimited, SourceUnavailable
from twitor_fsm.simulator import Fault, FaultKind, FaultPlan, ItemFault, ItemKind, Simulator
from twitor_fsm.sources.base import Item, Page
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.testing import ListSource, crash_points
from twitor_fsm.testing.clock import START

COUNT, PAGE = 26, 10
EVERY = 5
"""Items per checkpoint, with a handler."""

PAGES, REFUSED, PROBES, TOP_UP = 3, 2, 2, 2
"""Requests: what the listing takes, the two that fail, those that verify its end; a resumed crawl looks at the top again."""

PLAN = FaultPlan(
    faults=(
        Fault(kind=FaultKind.RATE_LIMITED, at=(2,)),
        Fault(kind=FaultKind.CONNECTION_RESET, at=(4,)),
    ),
    items=(ItemFault(kind=ItemKind.WRONG_TYPES, at=(14,)),),
)


@attrs.frozen
class FileClock:
    """Time that passes only by sleeping, for several processes: the file holds it."""

    path: Path

    def now(self) -> float:
        return float(self.path.read_text()) if self.path.exists() else START

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        self.path.write_text(repr(self.now() + seconds))


def engine_in(folder: Path) -> CrawlEngine:
    return CrawlEngine(
        str(folder / "bookmarks.db"),
        settings=Settings(checkpoint_every=EVERY),
        clock=FileClock(folder / "clock"),
        rng=Unspread(),
    )


def rows_of(folder: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "bookmarks.db")) as connection:
        return connection.execute(statement).fetchall()


def stored(folder: Path) -> list[str]:
    return [key for (key,) in rows_of(folder, "SELECT item_id FROM twitor_bookmark")]


def skipped(folder: Path) -> list[str]:
    return [key for (key,) in rows_of(folder, "SELECT item_key FROM twitor_skipped")]


# -- with a handler, from the simulated X over real HTTP ------------------------------------------


@attrs.frozen
class WithHandler:
    """In mid-walk a 429, a broken connection, an item that cannot be decoded, and a doubted end; a handler for each item.

    Attributes:
        template: Bytes of a database with our tables, to begin with.
    """

    template: bytes

    async def run(self, folder: Path) -> None:
        told = json.loads((folder / "service.json").read_text())

        async def handler(item: Item, fence: int) -> dict[str, str]:
            with (folder / "handled").open("a") as file:
                file.write(f"{item.key}\n")
            return {"handled": item.key}

        async with (
            httpx.AsyncClient(verify=False) as client,  # no TLS here, and its setting up is slow
            engine_in(folder) as engine,
        ):
            source = XBookmarks(
                told["token"],
                base_url=told["url"],
                client=client,
                clock=FileClock(folder / "clock"),
                expand="none",
            )
            report = await engine.crawl(
                source, user_id=told["user"], page_size=PAGE, handler=handler
            )
        assert report.completed, report

    @asynccontextmanager
    async def world(self, folder: Path) -> AsyncIterator[None]:
        """The simulated X outlives the kill; at the end it knows what the two runs should have brought, and at what cost."""
        (folder / "bookmarks.db").write_bytes(self.template)
        async with Simulator(COUNT, faults=PLAN, now=FileClock(folder / "clock").now) as sim:
            told = {"url": sim.base_url, "user": sim.user_id, "token": sim.token}
            (folder / "service.json").write_text(json.dumps(told))
            yield
            assert sorted(stored(folder)) == sorted(sim.obtainable())
            assert len(skipped(folder)) == len(sim.invalid()) == 1
            most = PAGES + REFUSED + PROBES + TOP_UP + 2
            assert len(sim.ledger) <= most, f"{len(sim.ledger)} requests"

    def check(self, folder: Path) -> None:
        """Every item was handled; again only those whose commit was under way or to come."""
        handled = (folder / "handled").read_text().split()
        assert set(handled) == set(stored(folder))
        assert len(doubled(handled)) <= EVERY, f"handled twice: {doubled(handled)}"
        for key, result in rows_of(folder, "SELECT item_id, result FROM twitor_bookmark"):
            assert json.loads(result) == {"handled": key}


# -- without a handler, into a new file -----------------------------------------------------------

KEYS = [str(1000 + number * 37 % 101) for number in range(COUNT)]
BROKEN = KEYS[13]


class KeptSource(ListSource):
    """A listing whose requests are counted, and fail, over the deaths of processes; its end is doubted."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            KEYS,
            script={2: RateLimited(), 4: SourceUnavailable("no answer")},
            bad={BROKEN},
            end=End.UNVERIFIED,
            page_sizes=(10, 5),
        )
        self._count = folder / "requests"
        self.requests = requests_in(folder)

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        with self._count.open(
            "ab"
        ) as file:  # a byte each: the store's thread may be killed at any instant of it
            file.write(b".")
        return await super().fetch(user_id, cursor, page_size)


def requests_in(folder: Path) -> int:
    path = folder / "requests"
    return path.stat().st_size if path.exists() else 0


async def bare(folder: Path) -> None:
    """The same story, without HTTP; the first run makes the file."""
    async with engine_in(folder) as engine:
        report = await engine.crawl(KeptSource(folder), user_id="me", page_size=PAGE)
    assert report.completed, report


def check_bare(folder: Path) -> None:
    assert sorted(stored(folder)) == sorted(set(KEYS) - {BROKEN})
    assert skipped(folder) == [BROKEN]
    requests = requests_in(folder)
    assert requests <= PAGES + REFUSED + PROBES + TOP_UP + 2, f"{requests} requests"


# -- as a program ---------------------------------------------------------------------------------


def template() -> bytes:
    """A database of ours in which nothing is."""

    async def make(folder: Path) -> None:
        async with engine_in(folder):
            pass

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(make(Path(name)))
        return Path(name, "bookmarks.db").read_bytes()


def try_all(name: str, share: tuple[int, int]) -> dict[str, Any]:
    """What was tried, for the test that started us; raises at the end if a point is not survived."""
    trial: Callable[..., Any] = crash_points
    if name == "handler":
        crawl = WithHandler(template())
        report = trial(crawl.run, world=crawl.world, check=crawl.check, share=share)
    else:
        report = trial(bare, check=check_bare, share=share)
    calls = [[call.kind, call.text.split()[0]] for call in report.calls]
    return {"told": str(report), "points": len(report.points), "calls": calls}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.stdout.write(json.dumps(try_all(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])))))
