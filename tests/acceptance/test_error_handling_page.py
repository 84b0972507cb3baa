"""Every block of docs/error-handling.md runs, and its loop does what the page says, action by action."""

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from twitor_fsm import (
    CheckpointManager,
    CrawlEngine,
    ErrorContext,
    ErrorHandler,
    Item,
    Settings,
    XBookmarks,
)
from twitor_fsm.core.taxonomy import USER_ACTIONS, ErrorCategory
from twitor_fsm.errors import AuthenticationFailed, InvalidItem, RateLimited
from twitor_fsm.simulator import Fault, FaultKind, FaultPlan, Simulator

PAGE: Final = (Path(__file__).parents[2] / "docs" / "error-handling.md").read_text("utf-8")
BLOCKS: Final = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

UNAVAILABLE: Final = Fault(kind=FaultKind.SERVER_ERROR, at=(2,))


class Checkpoints:
    """Notes what happens, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, object]] = []
        self.stored: Any = None

    async def save_checkpoint(self, tweet_id: str, bookmarks_count: int | None = None) -> None:
        self.log.append(("save", tweet_id))
        self.stored = SimpleNamespace(
            last_tweet_id=tweet_id, last_crawled_at="now", bookmarks_count=bookmarks_count
        )

    async def get_checkpoint(self) -> Any:
        return self.stored

    async def clear_checkpoint(self) -> None:
        self.stored = None

    async def sleep(self, seconds: float) -> None:
        self.log.append(("wait", seconds))


@pytest.fixture
def checkpoints() -> Checkpoints:
    return Checkpoints()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_RETRIES", "INITIAL_BACKOFF"):
        monkeypatch.delenv(name, raising=False)


def names_of(word: str) -> dict[str, Any]:
    """The names that the one block with this word defines."""
    (code,) = (code for code in BLOCKS if word in code)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/error-handling.md", "exec"), names)
    return names


def test_there_is_a_test_for_every_block() -> None:
    words = [
        "ServiceDown",
        "def handler_of",
        "def recovering",
        "def shut_down",
        "get_checkpoint",
        "get_settings",
        "basicConfig",
    ]

    assert [sum(word in code for code in BLOCKS) for word in words] == [1] * len(words)
    assert len(BLOCKS) == len(words)


def test_the_table_holds_the_documents_user_actions() -> None:
    for category in ErrorCategory:
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{category}` |"))
        assert row.endswith(f"| {USER_ACTIONS[category]} |")


async def run(
    errors: list[Exception], checkpoints: Checkpoints, last_id: str | None = "42"
) -> str | None:
    """The page's loop around an operation that raises these, one at a call, then succeeds."""
    names = names_of("def recovering")
    names["asyncio"] = SimpleNamespace(sleep=checkpoints.sleep)
    left = list(errors)

    async def operation() -> str:
        if left:
            raise left.pop(0)
        return "done"

    result: str | None = await names["recovering"](
        operation, ErrorHandler(checkpoints), lambda: last_id
    )
    return result


async def test_a_rate_limit_saves_then_waits_and_goes_on(checkpoints: Checkpoints) -> None:
    assert await run([RateLimited(), RateLimited()], checkpoints) == "done"
    assert checkpoints.log == [("save", "42"), ("wait", 900.0)] * 2


async def test_a_pause_keeps_the_number_of_retries(checkpoints: Checkpoints) -> None:
    errors = [TimeoutError(), RateLimited(), TimeoutError()]

    assert await run(errors, checkpoints, last_id=None) == "done"
    assert checkpoints.log == [("wait", 1.0), ("wait", 900.0), ("wait", 2.0)]


async def test_a_network_that_stays_down_ends_after_the_ladder(checkpoints: Checkpoints) -> None:
    with pytest.raises(TimeoutError):
        await run([TimeoutError()] * 100, checkpoints)

    waits = [("wait", delay) for delay in (1.0, 2.0, 4.0, 8.0, 16.0)]
    assert checkpoints.log == [*waits, ("save", "42")]


async def test_bad_data_is_skipped(checkpoints: Checkpoints) -> None:
    assert await run([InvalidItem("x")], checkpoints) is None
    assert await run([ValueError("x")], checkpoints) is None
    assert checkpoints.log == []


@pytest.mark.parametrize(
    ("error", "log"), [(AuthenticationFailed("x"), []), (MemoryError(), [("save", "42")])]
)
async def test_an_abort_raises_the_error(
    error: Exception, log: list[tuple[str, object]], checkpoints: Checkpoints
) -> None:
    with pytest.raises(type(error)) as caught:
        await run([error], checkpoints)

    assert caught.value is error
    assert checkpoints.log == log


async def test_a_cancellation_passes_through_the_loop(checkpoints: Checkpoints) -> None:
    names = names_of("def recovering")

    async def operation() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await names["recovering"](operation, ErrorHandler(checkpoints), lambda: "42")


async def test_the_shutdown_of_the_page_saves_and_closes(checkpoints: Checkpoints) -> None:
    async def close() -> None:
        checkpoints.log.append(("close", None))

    await names_of("def shut_down")["shut_down"](
        ErrorHandler(checkpoints),
        ErrorContext(MemoryError(), last_processed_id="42"),
        SimpleNamespace(aclose=close),
        SimpleNamespace(close=close),
    )

    assert checkpoints.log == [("save", "42"), ("close", None), ("close", None)]


async def test_the_checkpoint_functions_of_the_page(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    names = names_of("get_checkpoint")
    for action in ("show", "set_by_hand", "show", "start_over", "show"):
        await names[action](checkpoints)

    assert capsys.readouterr().out.splitlines() == [
        "No checkpoint found, starting fresh crawl",
        "Resuming from tweet ID: 1234567890",
        "Last crawled: now",
        "Bookmarks processed: 100",
        "No checkpoint found, starting fresh crawl",
    ]


async def test_the_rules_of_the_page_classify_its_exceptions() -> None:
    names = names_of("ServiceDown")
    found = [
        (await names["handler"].handle_error(ErrorContext(names[name]()))).category
        for name in ("QuotaUsedUp", "ServiceDown")
    ]

    assert found == [ErrorCategory.RATE_LIMIT, ErrorCategory.NETWORK]


def test_the_settings_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITIAL_BACKOFF", "3")
    names = names_of("get_settings")
    numbers = [
        (names[name].max_retries, names[name].initial_backoff)
        for name in ("from_environment", "patient")
    ]

    assert numbers == [(5, 3.0), (8, 1.5)]


@contextmanager
def logging_of_the_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # basicConfig does nothing where there are some
    level = root.level
    try:
        names_of("basicConfig")
        yield
    finally:
        root.setLevel(level)


async def test_the_logging_of_the_page_tells_a_crawl_and_what_its_libraries_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse_one(item: Item, _fence: int) -> None:
        logging.getLogger("the_app").info("handling %s", item.key)
        if item.key == items[3]:
            raise InvalidItem("no")

    with logging_of_the_page(monkeypatch):
        async with (
            Simulator(250, faults=FaultPlan(faults=(UNAVAILABLE,))) as sim,
            CrawlEngine(str(tmp_path / "b.db"), settings=Settings(initial_backoff=0.01)) as engine,
        ):
            items = sim.truth()
            source = XBookmarks(sim.token, base_url=sim.base_url)
            report = await engine.crawl(source, user_id=sim.user_id, handler=refuse_one)

    said = capsys.readouterr().err
    who = f"{report.session_id} {report.user_id}"
    assert report.completed, report.message
    assert "Logging error" not in said
    assert re.search(r"^INFO httpx \[None None None\] HTTP Request: GET ", said, re.MULTILINE)
    assert f"INFO the_app [None None None] handling {items[0]}\n" in said
    assert re.search(
        rf"^INFO twitor_fsm.sources.x_api \[{who} fetch\] GET .* HTTP 503$", said, re.MULTILINE
    )
    assert f"WARNING twitor_fsm.recovery [{who} handle] item skipped: " in said
    assert f"INFO twitor_fsm.checkpoint [{who} save_checkpoint] checkpoint saved at " in said
    ours = [line for line in said.splitlines() if " twitor_fsm." in line]
    assert all(f"[{who} " in line and " None]" not in line for line in ours), ours


async def test_the_pages_handler_saves_what_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = names_of("def handler_of")
    store = names["store"]
    try:
        handler = names["handler_of"](store, "42")
        context = ErrorContext(MemoryError(), last_processed_id="7", bookmarks_count=3)
        await handler.execute_recovery_strategy(await handler.handle_error(context), context)
        saved = await CheckpointManager(store, user_id="42", source="myapp").get_checkpoint()
    finally:
        await store.close()

    assert saved is not None
    assert (saved.last_tweet_id, saved.bookmarks_count) == ("7", 3)
