"""The examples and the documentation's snippets run as they are."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A script, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "json_pages.py",
            [
                "first: completed, 49 stored, 0 known, 1 skipped, 1 retried",
                "second: completed, 0 stored, 19 known, 1 skipped, 0 retried",
            ],
        ),
        ("http_handler.py", ["completed: 100 stored, 2 retried", "100 bookmarks have a label"]),
        (
            "fastapi_host.py",
            ["6 pages, last event SessionEnded", "completed: 300 stored, 300 read back"],
        ),
    ],
)
def test_an_example_says_what_it_should(name: str, lines: list[str]) -> None:
    done = run(f"examples/{name}")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == lines


def blocks(path: str, language: str) -> list[str]:
    """Fenced code of a page."""
    text = (ROOT / path).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readmes_first_example_prints_what_it_shows() -> None:
    code, shown = blocks("README.md", "python")[0], blocks("README.md", "text")[0]

    done = run("-c", code)

    assert done.returncode == 0, done.stderr
    assert done.stdout == shown
    skipped, pause = done.stderr.splitlines()  # the two lines that the page speaks of
    assert skipped.startswith("item skipped: ")
    assert pause.startswith("rate limit: pausing ")


def test_the_quickstart_is_the_readmes_example() -> None:
    code = blocks("README.md", "python")[0]
    script = (ROOT / "examples" / "quickstart.py").read_text()

    body = code.partition("async def main")[2].partition("asyncio.run")[0].strip()
    assert body in script


async def test_the_snippets_of_embedding_work(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import twitor_fsm
    from twitor_fsm.simulator import Simulator
    from twitor_fsm.testing import ListSource

    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in blocks("docs/embedding.md", "python"):
        alone: dict[str, Any] = {}
        exec(compile(code, "docs/embedding.md", "exec"), alone)
        names |= alone

    async with Simulator(120, user_id="42") as sim:
        source = twitor_fsm.XBookmarks(sim.token, base_url=sim.base_url)
        await names["hold_for_a_while"](source)
        assert re.fullmatch(r"on hold since [\d.]+\n", capsys.readouterr().out)
        async with twitor_fsm.CrawlEngine("watched.db") as engine:
            await names["watch"](engine, source)
            handle = await engine.start(source, user_id="42")
            lines = [names["line"](event) async for event in handle]
            assert lines[0] == "starting for 42"
            assert lines[-1] == "completed (caught_up)"
        async with twitor_fsm.CrawlEngine("step.db") as engine:
            assert await names["one_step"](engine, source) is None
        async with twitor_fsm.CrawlEngine("handled.db") as engine:
            await names["crawl_with_handler"](engine, source)
            results = [bookmark.result async for bookmark in engine.bookmarks("42")]
            assert len(results) == 120
            assert {'{"label":"long"}', '{"label":"short"}'} >= set(results)
            await names["leave"](engine, "42")
            assert await engine.store.crawls() == []
            assert await engine.store.count_bookmarks() == 0
        await source.aclose()
    async with names["strict_engine"]() as engine:
        broken = ListSource(["1", "2", "3"], bad={"2"})
        report = await engine.crawl(broken, user_id="7")
        assert (report.state, report.category) == ("shut_down", "VALIDATION")
        assert [bookmark.id async for bookmark in engine.bookmarks("7")] == ["1"]


def pytest_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *arguments)


def test_the_embedders_test_file_passes() -> None:
    done = pytest_run("examples/test_notes.py")

    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed, 5 skipped", done.stdout, flags=re.MULTILINE), done.stdout


def test_the_broken_source_fails_as_the_page_shows() -> None:
    done = pytest_run("examples/broken_notes.py", "--tb=short", "--show-capture=no")

    assert done.returncode == 1, done.stdout
    assert blocks("docs/testing.md", "text")[0] in done.stdout
    assert "1 failed, 1 passed" in done.stdout


async def test_the_snippets_of_testing_work() -> None:
    names: dict[str, Any] = {}
    for code in blocks("docs/testing.md", "python"):
        exec(compile(code, "docs/testing.md", "exec"), names)

    await asyncio.to_thread(names["test_nothing_is_lost"])  # it has a loop of its own
    await names["test_a_pause_takes_no_time"]()
    await names["TestMySource"]().test_it_lists_something_and_each_id_once()
