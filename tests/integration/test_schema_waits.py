"""A shared database is migrated by `db upgrade` alone, once, however many call it; whoever needs another schema waits."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from store_factories import Place, claim, postgres_place, postgres_server
from test_migrations import next_revision  # noqa: F401  a fixture
from valkey_server import QueueNames, until

from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import OtherSchemaVersion, SchemaMismatch, StoreUnavailable
from twitor_fsm.queue_manager import QueueManager
from twitor_fsm.readiness import open_when_ready
from twitor_fsm.storage import tables
from twitor_fsm.storage.schema import _LOCK_KEY
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource, VirtualClock
from twitor_fsm.worker import Worker

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def server() -> Any:
    return postgres_server()


@pytest.fixture
async def place(server: Any) -> AsyncIterator[Place[SqlStore]]:
    async with AsyncExitStack() as closing:
        yield postgres_place(server, closing)


def careful(place: Place[SqlStore]) -> SqlStore:
    """As every process but `db upgrade` opens it."""
    return SqlStore(place.make().engine.url)


async def change(store: SqlStore, statement: str) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(sa.text(statement))


async def upgrade_at_once(place: Place[SqlStore], count: int) -> list[SqlStore]:
    """Several `db upgrade`: all of them are seen to wait for the lock before the first may go on."""
    looking, stores = place.make(), [place.make() for _ in range(count)]
    try:
        async with looking.engine.begin() as holder:
            await holder.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
            upgrading = [asyncio.create_task(store.open()) for store in stores]

            async def all_wait() -> bool:
                return bool((await holder.execute(sa.text(WAITING))).scalar() == count)

            await until(all_wait)
        await asyncio.gather(*upgrading)
    finally:
        await looking.engine.dispose()
    return stores


async def test_upgrades_at_once_make_the_tables_once(place: Place[SqlStore]) -> None:
    stores = await upgrade_at_once(place, 3)
    for store in stores:
        assert await store.revision() == tables.REVISION
        await store.check()
    await claim(stores[0])
    for store in stores:
        await store.close()


async def test_upgrades_at_once_from_an_older_schema_migrate_once(
    place: Place[SqlStore], request: pytest.FixtureRequest
) -> None:
    await (await place.store()).close()
    request.getfixturevalue("next_revision")

    stores = await upgrade_at_once(place, 3)

    assert [await store.revision() for store in stores] == ["next"] * 3
    for store in stores:
        await store.close()


async def test_a_store_that_may_not_migrate_changes_nothing(
    place: Place[SqlStore], request: pytest.FixtureRequest
) -> None:
    with pytest.raises(OtherSchemaVersion, match=r"no tables of ours.*twitor db upgrade"):
        await careful(place).open()
    assert await careful(place).revision() is None
    await (await place.store()).close()
    before = tables.REVISION
    request.getfixturevalue("next_revision")

    with pytest.raises(OtherSchemaVersion, match=f"revision {before}, this version needs next"):
        await careful(place).open()
    assert await careful(place).revision() == before


async def test_a_worker_waits_for_its_schema_and_goes_on_by_itself(
    place: Place[SqlStore], caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    clock.hold()
    engine = CrawlEngine(careful(place), settings=Settings(), clock=clock)
    heard: list[str] = []
    opening = asyncio.create_task(
        open_when_ready(engine, stop=asyncio.Event(), on_wait=heard.append)
    )
    await until(lambda: clock.sleepers == 1)
    assert "no tables of ours" in heard[0]
    for _ in range(3):  # it looks again and again, and says it once
        clock.advance(5.0)
        await until(lambda: clock.sleepers == 1)
    assert [r.levelno for r in caplog.records if "waiting" in r.getMessage()] == [logging.WARNING]
    clock.advance(600.0)
    await until(lambda: clock.sleepers == 1)
    assert len([r for r in caplog.records if "waiting" in r.getMessage()]) == 2, "and every 10 min"

    await (await place.store()).close()
    clock.advance(5.0)

    assert await opening is True
    assert await engine.store.crawls() == []
    await engine.close()


async def test_a_worker_that_waits_can_be_stopped(place: Place[SqlStore]) -> None:
    stop = asyncio.Event()
    clock = VirtualClock()
    clock.hold()
    engine = CrawlEngine(careful(place), settings=Settings(), clock=clock)
    opening = asyncio.create_task(open_when_ready(engine, stop=stop))
    await until(lambda: clock.sleepers == 1)
    stop.set()
    assert await opening is False


async def test_only_another_version_is_waited_for(place: Place[SqlStore], server: Any) -> None:
    url = place.make().engine.url
    absent = SqlStore(url.set(database="no_such_database"))
    with pytest.raises(StoreUnavailable):
        await open_when_ready(CrawlEngine(absent, settings=Settings()), stop=asyncio.Event())

    store = await place.store()
    await change(store, f"DELETE FROM {tables.VERSION_TABLE}")
    with pytest.raises(SchemaMismatch, match="does not say of which revision"):
        await open_when_ready(CrawlEngine(careful(place)), stop=asyncio.Event())


async def test_a_worker_notices_that_its_database_was_upgraded_and_drains(
    place: Place[SqlStore], names: QueueNames
) -> None:
    store = await place.store()
    settings = attrs.evolve(Settings(), database_url="postgresql://unused")
    async with (
        QueueManager(names.url, names.name, settings=settings) as queue,
        CrawlEngine(careful(place), settings=settings) as engine,
    ):
        worker = Worker(engine, queue, ListSource([]), sweep_s=0.05)
        running = asyncio.create_task(worker.run())
        await change(store, f"UPDATE {tables.VERSION_TABLE} SET version_num = '9999'")
        await running
    assert worker.is_outdated
