"""Many users over several `twitor worker` processes that get SIGKILL all the time, as `benchmarks/fleet.py` does with 1,000."""

from pathlib import Path

import pytest
from store_factories import new_postgres_database, postgres_server
from valkey_server import Server

from fleet import Place, Plan, crawl_all

PLAN = Plan(users=40, bookmarks=30, kill_every_s=2.0, window_s=3.0, lease_s=2.0, limit_s=240.0)


@pytest.mark.slow
async def test_no_kill_of_workers_loses_doubles_or_mixes_anything(
    tmp_path: Path, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("X_BEARER_TOKEN", raising=False)
    url = new_postgres_database(postgres_server())
    outcome = await crawl_all(
        PLAN,
        Place(
            database_url=url.render_as_string(hide_password=False),
            connect={
                "host": url.query["host"],
                "user": url.username,
                "database": url.database,
            },
            valkey_url=own_server.url,
            folder=tmp_path,
        ),
    )

    assert outcome.problems == []
    assert outcome.stored == PLAN.users * PLAN.bookmarks
    assert outcome.kills >= 2
    assert outcome.takeovers > PLAN.users, "each was reserved, then taken; some again"
    assert outcome.pauses > 0
    assert outcome.killed_in_pause <= outcome.kills * PLAN.concurrency, "the others were released"
