"""The enumeration of crash points bites: what cannot survive a kill is named, and so is a run that cannot be judged."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from scripted import ids

from twitor_fsm.config import Settings
from twitor_fsm.core.records import Counters
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.sources.base import Item
from twitor_fsm.storage.base import Batch
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing.clock import VirtualClock
from twitor_fsm.testing.crashes import crash_points
from twitor_fsm.testing.sources import ListSource

KEYS = ids(10)


async def crawl(
    folder: Path,
    handler: Callable[[Item, int], Any] | None = None,
    store: SqlStore | None = None,
) -> None:
    database = store if store is not None else SqlStore(folder / "b.db")
    async with CrawlEngine(database, settings=Settings(), clock=VirtualClock()) as engine:
        await engine.crawl(ListSource(KEYS, size=5), user_id="me", handler=handler)


def test_a_sound_crawl_survives_every_kill_and_the_report_says_how_many(tmp_path: Path) -> None:
    report = crash_points(crawl, folder=tmp_path, share=(1, 20))

    sql = len(report.calls)
    assert {call.kind for call in report.calls} == {"sql"}
    assert len(report.points) == len(range(1, 2 * sql, 20))
    assert [len(held.stored) for held in report.truth.values()] == [10]
    assert str(report) == (
        f"{len(report.points)} crash points of {2 * sql} (before and after each of {sql} sql): "
        "each time 10 stored once and 0 skipped after the next run"
    )
    assert list(tmp_path.iterdir()) == []


class CheckpointFirst(SqlStore):
    """A store that commits a page's checkpoint, and then its items."""

    extra = 0

    async def commit(self, batch: Batch) -> str | None:
        assert batch.revision is not None
        batch = attrs.evolve(batch, revision=batch.revision + self.extra)
        if batch.mark is not None and batch.new and not batch.journal:
            await super().commit(attrs.evolve(batch, new=(), last_key=None, counters=Counters()))
            self.extra += 1
            batch = attrs.evolve(batch, mark=None, revision=(batch.revision or 0) + 1)
        return await super().commit(batch)


def test_a_checkpoint_that_is_committed_before_its_items_is_caught(tmp_path: Path) -> None:
    async def run(folder: Path) -> None:
        await crawl(folder, store=CheckpointFirst(folder / "b.db"))

    with pytest.raises(AssertionError, match="crash points are not survived") as caught:
        crash_points(run, folder=tmp_path, share=(0, 6))

    assert "the checkpoint stands at 5, 0 are stored" in str(caught.value)
    assert "before sql" in str(caught.value)


def test_a_handler_that_appends_without_a_key_is_caught_by_the_check(tmp_path: Path) -> None:
    async def run(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "app.db", isolation_level=None)) as app:
            app.execute("CREATE TABLE IF NOT EXISTS sent (key TEXT)")

            async def append(item: Item, fence: int) -> None:
                app.execute("INSERT INTO sent VALUES (?)", (item.key,))

            await crawl(folder, append)

    def check(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "app.db")) as app:
            twice = app.execute("SELECT key FROM sent GROUP BY key HAVING count(*) > 1").fetchall()
        assert not twice, f"sent twice: {twice}"

    with pytest.raises(AssertionError, match="sent twice"):
        crash_points(run, check=check, folder=tmp_path, share=(0, 8))


def test_a_run_that_makes_other_calls_than_the_undisturbed_one_is_told(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    async def run(folder: Path) -> None:
        await crawl(folder)
        if not marker.exists():
            marker.touch()
            with closing(sqlite3.connect(folder / "b.db")) as connection:
                for _ in range(20):
                    connection.execute("SELECT 'only once'")

    with pytest.raises(AssertionError, match="as if it made no such call") as caught:
        crash_points(run, folder=tmp_path, share=(0, 20))

    assert "2 of " in str(caught.value)
    assert "SELECT 'only once'" in str(caught.value)


async def raises(folder: Path) -> None:
    raise KeyError("a bug in the run")


async def stores_nothing(folder: Path) -> None:
    async with CrawlEngine(str(folder / "b.db"), settings=Settings()):
        pass


async def does_not_complete(folder: Path) -> None:
    async with CrawlEngine(
        str(folder / "b.db"), settings=Settings(), clock=VirtualClock()
    ) as engine:
        await engine.crawl(ListSource(KEYS, size=5), user_id="me", max_items=3)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (raises, "a bug in the run"),
        (stores_nothing, "stored nothing"),
        (does_not_complete, r"did not complete .*'me'"),
    ],
)
def test_a_run_that_cannot_be_judged_is_refused(run: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=told):
        crash_points(run, folder=tmp_path)


def test_what_the_world_asserts_at_its_end_is_told_with_the_point(tmp_path: Path) -> None:
    @asynccontextmanager
    async def world(folder: Path) -> AsyncIterator[None]:
        (folder / "address").write_text("here")
        yield
        assert not (folder / "again").exists(), "asked twice"

    async def run(folder: Path) -> None:
        assert (folder / "address").read_text() == "here"
        (folder / "again" if (folder / "once").exists() else folder / "once").touch()
        await crawl(folder)

    with pytest.raises(AssertionError, match="asked twice") as caught:
        crash_points(run, world=world, folder=tmp_path, share=(0, 50))

    assert "- before sql 1: PRAGMA" in str(caught.value)


def test_a_world_that_cannot_be_entered_is_told(tmp_path: Path) -> None:
    @asynccontextmanager
    async def world(folder: Path) -> AsyncIterator[None]:
        if folder.name:
            raise OSError("no such service")
        yield

    with pytest.raises(AssertionError, match="no such service"):
        crash_points(crawl, world=world, folder=tmp_path)
