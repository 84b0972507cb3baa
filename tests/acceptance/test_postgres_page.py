"""The code of docs/postgres.md runs on a real PostgreSQL and a real Valkey, and does what the page says."""

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import pytest
from store_factories import new_postgres_database, postgres_server
from valkey_server import QueueNames, until

from twitor_fsm import CrawlEngine, QueueManager, Settings, XBookmarks
from twitor_fsm.simulator import Simulator
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.worker import enqueue_crawl

PAGE: Final = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text("utf-8")
(BLOCK,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_worker_of_the_page_waits_then_crawls_then_stops(
    names: QueueNames, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_postgres_database(postgres_server()).render_as_string(hide_password=False)
    settings = Settings(database_url=url, valkey_url=names.url, token_dir=tmp_path)
    found: dict[str, Any] = {}
    exec(compile(BLOCK, "docs/postgres.md", "exec"), found)
    found["QueueManager"] = lambda **options: QueueManager(queue_name=names.name, **options)
    stop = asyncio.Event()
    async with Simulator(bookmarks=25) as sim:
        found["XBookmarks"] = lambda tokens: XBookmarks(tokens, base_url=sim.base_url)
        (tmp_path / sim.user_id).write_text(sim.token)
        (tmp_path / sim.user_id).chmod(0o600)

        working = asyncio.create_task(found["work"](settings, stop))
        await until(lambda: "no tables of ours" in caplog.text)
        upgrading = SqlStore(url, migrate=True)  # `twitor db upgrade`
        await upgrading.open()
        await upgrading.close()

        async with (
            CrawlEngine(settings=settings) as engine,
            QueueManager(names.url, names.name, settings=settings) as queue,
        ):
            await enqueue_crawl(queue, user_id=sim.user_id, engine=engine)

            async def is_complete() -> bool:
                (session,) = await engine.sessions()
                return str(session.value.state) == "completed"

            await until(is_complete, 30)
            assert await engine.store.count_bookmarks() == 25
        stop.set()
        await asyncio.wait_for(working, 20)
    assert names.left() == set()
