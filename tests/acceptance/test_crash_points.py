"""Every instant of a crawl at which a process can be killed: the next run leaves what an undisturbed one leaves."""

import asyncio
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import attrs
import httpx
import pytest
from virtual import START, Unspread, doubled

from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.simulator import Fault, FaultKind, FaultPlan, ItemFault, ItemKind, Simulator
from twitor_fsm.sources.base import Item
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.testing.crashes import CrashReport, crash_points

COUNT, PAGE = 26, 10
EVERY = 5
"""Items per checkpoint, with a handler."""

PLAN = FaultPlan(
    faults=(
        Fault(kind=FaultKind.RATE_LIMITED, at=(2,)),
        Fault(kind=FaultKind.CONNECTION_RESET, at=(4,)),
    ),
    items=(ItemFault(kind=ItemKind.WRONG_TYPES, at=(14,)),),
)
PAGES, REFUSED, PROBES, TOP_UP = 3, 2, 2, 2
"""Requests: what the listing takes, the two that fail, those that verify its end; a resumed crawl looks at the top again."""


@attrs.frozen
class FileClock:
    """Time that passes only by sleeping, for several processes: the file holds it."""

    path: Path

    def now(self) -> float:
        return float(self.path.read_text()) if self.path.exists() else START

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        self.path.write_text(repr(self.now() + seconds))


@attrs.frozen
class Reference:
    """The crawl that is killed: in mid-walk a 429, a broken connection, an item that cannot be decoded, and a doubted end.

    Attributes:
        with_handler: Whether each item has a handler; it notes its calls in a file.
        template: Bytes of an empty database to begin with; None: the run makes it.
    """

    with_handler: bool
    template: bytes | None = None

    async def run(self, folder: Path) -> None:
        told = json.loads((folder / "service.json").read_text())
        clock = FileClock(folder / "clock")

        async def handler(item: Item, fence: int) -> dict[str, str]:
            with (folder / "handled").open("a") as file:
                file.write(f"{item.key}\n")
            return {"handled": item.key}

        async with (
            httpx.AsyncClient(verify=False) as client,  # no TLS here, and its setting up is slow
            CrawlEngine(
                str(folder / "bookmarks.db"),
                settings=Settings(checkpoint_every=EVERY),
                clock=clock,
                rng=Unspread(),
            ) as engine,
        ):
            report = await engine.crawl(
                XBookmarks(
                    told["token"], base_url=told["url"], client=client, clock=clock, expand="none"
                ),
                user_id=told["user"],
                page_size=PAGE,
                handler=handler if self.with_handler else None,
            )
        assert report.completed, report

    @asynccontextmanager
    async def service(self, folder: Path) -> AsyncIterator[None]:
        """The simulated X, which outlives the kill; at the end it knows what the two runs should have brought, and at what cost."""
        if self.template is not None:
            (folder / "bookmarks.db").write_bytes(self.template)
        async with Simulator(COUNT, faults=PLAN, now=FileClock(folder / "clock").now) as sim:
            told = {"url": sim.base_url, "user": sim.user_id, "token": sim.token}
            (folder / "service.json").write_text(json.dumps(told))
            yield
            stored, skipped = rows_of(folder)
            assert sorted(stored) == sorted(sim.obtainable())
            assert len(skipped) == len(sim.invalid()) == 1, skipped
            most = PAGES + REFUSED + PROBES + TOP_UP + 2
            assert len(sim.ledger) <= most, f"{len(sim.ledger)} requests"

    def check(self, folder: Path) -> None:
        """Every item was handled; again only those whose commit was under way or to come."""
        if not self.with_handler:
            return
        stored, _ = rows_of(folder)
        handled = (folder / "handled").read_text().split()
        assert set(handled) == set(stored)
        assert len(doubled(handled)) <= EVERY
        with closing(sqlite3.connect(folder / "bookmarks.db")) as connection:
            results = connection.execute("SELECT item_id, result FROM twitor_bookmark").fetchall()
        assert all(json.loads(result) == {"handled": key} for key, result in results)


def rows_of(folder: Path) -> tuple[list[str], list[str]]:
    """Ids stored and skipped."""
    with closing(sqlite3.connect(folder / "bookmarks.db")) as connection:
        stored = connection.execute("SELECT item_id FROM twitor_bookmark").fetchall()
        skipped = connection.execute("SELECT item_key FROM twitor_skipped").fetchall()
    return [key for (key,) in stored], [key for (key,) in skipped]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database of ours in which nothing is."""
    path = tmp_path_factory.mktemp("template") / "empty.db"

    async def make() -> None:
        async with CrawlEngine(str(path), settings=Settings()):
            pass

    asyncio.run(make())
    return path.read_bytes()


SHARES = pytest.mark.parametrize("share", [(0, 2), (1, 2)], ids=["even", "odd"])
"""Points alternate between before and after; workers share them."""


def tell(report: CrashReport, share: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Print what was tried; every call of the reference crawl must have been heard, each counted twice."""
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    kinds = Counter(call.kind for call in report.calls)
    assert kinds["http"] == PAGES + REFUSED + PROBES
    commits = sum(call.text == "COMMIT" for call in report.calls)
    begins = sum(call.text.startswith("BEGIN") for call in report.calls)
    assert commits == begins > 10
    assert len(report.points) == len(range(share[0], 2 * len(report.calls), share[1]))


@SHARES
def test_a_kill_at_any_point_of_a_crawl_into_a_new_file_loses_and_doubles_nothing(
    share: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = Reference(with_handler=False)

    report = crash_points(reference.run, world=reference.service, folder=tmp_path, share=share)

    tell(report, share, capsys)


@SHARES
def test_a_kill_at_any_point_of_a_crawl_with_a_handler_loses_and_doubles_nothing(
    share: tuple[int, int], template: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = Reference(with_handler=True, template=template)

    report = crash_points(
        reference.run,
        world=reference.service,
        check=reference.check,
        folder=tmp_path,
        share=share,
    )

    tell(report, share, capsys)
