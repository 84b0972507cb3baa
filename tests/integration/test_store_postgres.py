"""What a store says when a PostgreSQL server goes away, refuses, or is read-only; and that it goes on afterwards."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from store_factories import (
    Place,
    batch,
    claim,
    new,
    new_postgres_database,
    postgres_place,
    postgres_server,
    walking,
)

from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import StoreUnavailable
from twitor_fsm.storage.store import SqlStore


@pytest.fixture
def server() -> Any:
    return postgres_server()


@pytest.fixture
async def place(server: Any) -> AsyncIterator[Place[SqlStore]]:
    async with AsyncExitStack() as closing:
        yield postgres_place(server, closing)


async def test_a_lost_connection_is_opened_anew(place: Place[SqlStore], server: Any) -> None:
    store = await place.store()
    claimed = await claim(store)
    name = store.engine.url.database
    server.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';")

    await store.commit(batch(claimed, new=new("1"), mark=walking(1, 1)))

    assert await store.count_bookmarks() == 1


async def test_a_connection_lost_in_a_transaction_writes_nothing(place: Place[SqlStore]) -> None:
    store = await place.store()
    claimed = await claim(store)

    def commit_suicide(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE twitor_session SET state = 'half written'"))
        connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(StoreUnavailable) as raised:
        await store._run.write(commit_suicide)

    assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_UNAVAILABLE, True)
    assert await store.session("s1") == claimed.session


async def test_a_fence_goes_on_beyond_what_an_integer_holds(place: Place[SqlStore]) -> None:
    store = await place.store()
    await claim(store)
    async with store.engine.begin() as other:
        await other.execute(sa.text("UPDATE twitor_session SET fence = 3000000000, ended_at = 1"))

    assert (await claim(store, "s2")).session.fence == 3_000_000_001


async def test_a_read_only_database_is_told(place: Place[SqlStore], server: Any) -> None:
    store = await place.store()
    claimed = await claim(store)
    name = store.engine.url.database
    server.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on;")
    await store.engine.dispose()

    with pytest.raises(StoreUnavailable) as raised:
        await store.commit(batch(claimed))
    with pytest.raises(StoreUnavailable, match="read-only"):
        await store.check_writing()

    assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_READ_ONLY, False)
    server.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = off;")
    await store.engine.dispose()
    await store.commit(batch(claimed))


async def test_a_lock_that_is_not_to_be_had_is_worth_another_try(place: Place[SqlStore]) -> None:
    store, other = await place.store(), await place.store()
    claimed = await claim(store)
    name = store.engine.url.database
    async with other.engine.begin() as connection:
        await connection.execute(sa.text(f"ALTER DATABASE {name} SET lock_timeout = '20ms'"))
    await store.engine.dispose()
    async with other.engine.begin() as connection:
        await connection.execute(sa.text("UPDATE twitor_session SET state = state"))
        with pytest.raises(StoreUnavailable) as raised:
            await store.commit(batch(claimed))

    assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_BUSY, True)
    await store.commit(batch(claimed))


async def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    store = SqlStore("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable) as raised:
        await store.open()

    assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_UNAVAILABLE, True)


async def test_a_database_that_is_not_there_is_not(place: Place[SqlStore]) -> None:
    url = place.make().engine.url.set(database="no_such_database")
    with pytest.raises(StoreUnavailable) as raised:
        await SqlStore(url).open()

    assert (raised.value.reason, raised.value.retryable) == (Reason.STORE_UNAVAILABLE, False)
    assert "Create it" in str(raised.value)


async def test_transactions_see_what_others_commit_and_an_apps_own_are_left_alone(
    server: Any,
) -> None:
    """Else crawls of different users collide, and whoever forgets a user overlooks a crawl that began meanwhile."""
    url = new_postgres_database(server)
    server.psql(f"ALTER DATABASE {url.database} SET default_transaction_isolation = serializable;")
    engine = create_async_engine(url)
    store = SqlStore(engine, migrate=True)
    await store.open()

    def ask(connection: sa.Connection) -> object:
        return connection.execute(sa.text("SHOW transaction_isolation")).scalar()

    assert [await store._run.write(ask), await store._run.read(ask)] == ["read committed"] * 2
    async with engine.connect() as connection:
        assert await connection.run_sync(ask) == "serializable"
    await store.close()
    await engine.dispose()
