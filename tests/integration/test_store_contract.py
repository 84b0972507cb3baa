"""Our own stores pass the public contract: SQLite, an app's own engine, PostgreSQL, and the stores of the test kit."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest
from store_factories import (
    app_engine_place,
    postgres_place,
    postgres_server,
    refuse_bad_texts,
    sqlite_place,
)

from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import Faults, FaultyStore
from twitor_fsm.testing.contracts.place import Place
from twitor_fsm.testing.contracts.store import StoreContract


class TestSqlite(StoreContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place[SqlStore]]:
        async with AsyncExitStack() as closing:
            yield sqlite_place(tmp_path, closing)


class TestAppEngine(StoreContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place[SqlStore]]:
        async with AsyncExitStack() as closing:
            yield app_engine_place(tmp_path, closing)


class TestPostgres(StoreContract):
    @pytest.fixture
    async def place(self) -> AsyncIterator[Place[SqlStore]]:
        async with AsyncExitStack() as closing:
            yield postgres_place(postgres_server(), closing)


class TestFaultyStoreWithoutFaults(StoreContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place[FaultyStore]]:
        def make() -> FaultyStore:
            inner = SqlStore(tmp_path / "bookmarks.db", busy_timeout_s=5.0)
            return FaultyStore(inner, Faults(), owns=True)

        async def refuse(store: FaultyStore) -> None:
            await refuse_bad_texts(cast("SqlStore", store.inner))

        async with Place(make, refuse=refuse) as place:
            yield place
