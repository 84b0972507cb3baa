"""Many paused sessions, as `benchmarks/paused.py` measures them with 50,000: no task each, few bytes, each once."""

from pathlib import Path

import pytest
from store_factories import new_postgres_database, postgres_server
from valkey_server import Server

from paused import Outcome, measure
from twitor_fsm.storage.store import SqlStore

COUNT = 3000


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_paused_sessions_cost_little_and_go_on_once(
    tmp_path: Path, own_server: Server, database: str
) -> None:
    store = (
        SqlStore(tmp_path / "bookmarks.db")
        if database == "sqlite"
        else SqlStore(new_postgres_database(postgres_server()), migrate=True)
    )

    found: Outcome = await measure(store, own_server.url, COUNT)

    assert found.swept == COUNT
    assert found.bytes_each <= 300
    assert found.tasks_held == 0
    assert (found.consumed, found.twice) == (COUNT, 0)
    assert found.promotions_a_server_s >= 20_000
