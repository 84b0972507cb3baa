"""Every block of docs/queue.md runs on a real Valkey and does what the page says."""

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry
from valkey_server import QueueNames, until

from twitor_fsm import CrawlEngine, QueueManager, Settings, XBookmarks
from twitor_fsm.simulator import Simulator

PAGE: Final = (Path(__file__).parents[2] / "docs" / "queue.md").read_text("utf-8")
BLOCKS: Final = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MANAGER: Final = re.compile(r'QueueManager\("redis://localhost:6379/0", "(?:myapp|twitor):tasks"')


@pytest.fixture
def page(names: QueueNames) -> dict[str, Any]:
    """All names of the page's blocks, on this test's queue."""
    code = "\n".join(BLOCKS)
    here, count = MANAGER.subn(f'QueueManager("{names.url}", "{names.name}"', code)
    assert count == 3
    assert here.count("PrometheusMetrics()") == here.count("probes.start(") == 1
    here = here.replace("PrometheusMetrics()", "PrometheusMetrics(REGISTRY)")
    here = here.replace('await probes.start("127.0.0.1", 9464)', "await listen(probes)")
    found: dict[str, Any] = {"REGISTRY": CollectorRegistry()}
    exec(compile(here, "docs/queue.md", "exec"), found)
    return found


async def test_the_first_block_consumes_what_it_adds(
    page: dict[str, Any], names: QueueNames, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def has_printed() -> bool:
        said.append(capsys.readouterr().out)
        return "process_bookmark {'bookmark_id': '123'}\n" in "".join(said)

    running = asyncio.create_task(page["main"]())
    await until(has_printed)
    await until(lambda: names.left() == set())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("loop", ["one_loop", "dispatcher"])
async def test_the_loops_lose_nothing(page: dict[str, Any], names: QueueNames, loop: str) -> None:
    seen: list[tuple[int, int]] = []

    async def handler(task: Any) -> None:
        await asyncio.sleep(0)
        seen.append((task.payload["n"], task.retry_count))
        if task.payload["n"] == 1:
            raise ValueError

    async with page["queue"] as queue:
        await queue.enqueue_many([("x", {"n": n}) for n in range(3)], max_retries=0)
    page["handler"] = handler
    running = asyncio.create_task(page[loop]())
    await until(lambda: len(seen) == 3)
    await until(lambda: names.left() == {"dead", "dead_records", "dead_notes"})
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert sorted(seen) == [(0, 0), (1, 0), (2, 0)]
    names.may_be_left |= names.left()


async def test_the_adding_block_adds_each_once(
    page: dict[str, Any], names: QueueNames, capsys: pytest.CaptureFixture[str]
) -> None:
    await page["add"]()
    assert capsys.readouterr().out == "bookmark-0 is not done yet\n"
    async with page["queue"] as queue:
        health = await queue.health_check()
        assert (health["queue_size"], health["delayed"]) == (2, 2)
        names.may_be_left |= names.left()


async def test_the_answers_block_answers_as_it_says(
    page: dict[str, Any], names: QueueNames, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = asyncio.Event()
    async with page["queue"] as queue:
        await queue.enqueue_many([("x", {}), ("x", {"bookmark_id": "later"})])
        await queue.enqueue("x", {"bookmark_id": "7"}, task_id="one")
        running = asyncio.create_task(queue.consume(page["answer"], stop=stop))

        async def has_answered() -> bool:
            health = await queue.health_check()
            return (health["queue_size"], health["in_flight"]) == (0, 0)

        await until(has_answered)
        stop.set()
        await running
        health = await queue.health_check()
        assert (health["dead_letter_size"], health["delayed"]) == (1, 1)
        assert [task.reason for task in await queue.get_dead_letter_tasks()] == ["rejected"]
        assert capsys.readouterr().out == "one 7 0\n"
        names.may_be_left |= names.left()


async def test_the_watching_block_shows_what_waits(
    page: dict[str, Any], names: QueueNames, capsys: pytest.CaptureFixture[str]
) -> None:
    async with page["queue"] as queue:
        await queue.enqueue("x", {}, task_id="one")
    await page["watch"]()
    assert capsys.readouterr().out.splitlines() == ["healthy 1 0 None", "1 ['one']", "True"]
    names.may_be_left |= names.left()


def test_the_page_names_every_public_method() -> None:
    methods = {name for name in vars(QueueManager) if not name.startswith("_")}
    assert len(methods) > 15
    assert {name for name in methods if not re.search(rf"\b{name}\b", PAGE)} == set()


async def test_the_dead_letters_are_shown_and_given_another_try(
    page: dict[str, Any], names: QueueNames, capsys: pytest.CaptureFixture[str]
) -> None:
    async with page["queue"] as queue:
        await queue.enqueue("process_bookmark", {"n": 1}, task_id="one", max_retries=0)
        task = await queue.dequeue(timeout=0)
        try:
            raise KeyError
        except KeyError:
            assert await queue.retry_task(task) is False
    await page["look"]()
    assert capsys.readouterr().out == "one failed 0 KeyError {'n': 1}\n"
    async with page["queue"] as queue:
        assert await queue.size() == 1
        names.may_be_left |= names.left()


async def test_the_workers_block_crawls(
    page: dict[str, Any], names: QueueNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Simulator(bookmarks=5) as sim:
        (tmp_path / sim.user_id).write_text(sim.token)
        settings = Settings(
            database_url=str(tmp_path / "b.db"), token_dir=tmp_path, api_url=sim.base_url
        )
        page["XBookmarks"] = partial(XBookmarks, base_url=sim.base_url)
        running = asyncio.create_task(page["crawl_many"](settings, [sim.user_id]))

        async def has_all() -> bool:
            async with CrawlEngine(settings=settings) as engine:
                sessions = await engine.sessions()
                return bool(sessions) and str(sessions[0].value.state) == "completed"

        await until(has_all)
        await until(lambda: names.left() == set())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_probes_block_serves_a_worker(
    page: dict[str, Any], names: QueueNames, tmp_path: Path
) -> None:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def listen(probes: Any) -> None:
        port.set_result(await probes.start("127.0.0.1", 0))

    page["listen"] = listen
    settings = Settings(database_url=str(tmp_path / "b.db"), token_dir=tmp_path)
    running = asyncio.create_task(page["crawl_with_probes"](settings))
    reader, writer = await asyncio.open_connection("127.0.0.1", await port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b'"database":"ok"' in answer
    writer.close()
    await writer.wait_closed()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: names.left() == set())


def test_every_block_is_used() -> None:
    assert len(BLOCKS) == 9
