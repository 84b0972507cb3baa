"""A PostgreSQL whose open connections go silent without a word, as behind a proxy or a host that died."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from store_factories import new_postgres_database, postgres_server

from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import ConfigurationError
from twitor_fsm.sources.base import Item
from twitor_fsm.storage import postgres_options
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import ListSource


@attrs.define
class Proxy:
    """Passes bytes on, until it is told to keep those of all connections that are open."""

    place: Path
    port: int = 0
    generation: int = 0
    tasks: set[asyncio.Task[Any]] = attrs.Factory(set)
    writers: list[asyncio.StreamWriter] = attrs.Factory(list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation = self.generation
        there, back = await asyncio.open_unix_connection(self.place)
        self.writers += [writer, back]

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while (data := await source.read(65536)) and generation == self.generation:
                sink.write(data)
                await sink.drain()
            if not data:
                sink.close()

        for one, other in ((reader, back), (there, writer)):
            task = asyncio.create_task(pass_on(one, other))
            self.tasks.add(task)

    def go_silent(self) -> None:
        self.generation += 1


@contextlib.asynccontextmanager
async def proxied(url: sa.URL) -> AsyncIterator[tuple[Proxy, sa.URL]]:
    """A proxy before this database, and its URL."""
    folder = str(url.query["host"])
    proxy = Proxy(Path(folder, ".s.PGSQL.5432"))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, url.set(host="127.0.0.1", port=proxy.port, query={})
    finally:
        server.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
        for writer in proxy.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # a turn or two, in which they are closed


async def test_a_connection_that_goes_silent_is_left_and_the_crawl_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres_options, "COMMAND_LIMIT_S", 1.0)  # as the URL's command_timeout
    url = new_postgres_database(postgres_server())
    store = SqlStore(url, migrate=True)
    await store.open()
    await store.close()

    async with proxied(url) as (proxy, behind):

        async def handler(item: Item, _fence: int) -> None:
            if item.key == "25":
                proxy.go_silent()

        keys = [str(number) for number in range(60)]
        async with CrawlEngine(behind.render_as_string(hide_password=False)) as engine:
            async with asyncio.timeout(60):
                report = await engine.crawl(ListSource(keys), user_id="me", handler=handler)
            stored = [bookmark.id async for bookmark in engine.bookmarks("me")]

    assert report.completed, report.message
    assert sorted(stored) == sorted(keys)


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="command_timeout"):
        SqlStore("postgresql+asyncpg://me@host/name?command_timeout=soon")
