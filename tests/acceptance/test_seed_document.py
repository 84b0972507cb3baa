"""The design document's own code about errors and settings runs as written, branch by branch."""

import logging
import sqlite3
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from seed_document import block, blocks

from twitor_fsm.config import Settings, get_settings
from twitor_fsm.error_handler import ErrorAction, ErrorContext, ErrorHandler
from twitor_fsm.errors import AuthenticationFailed, InvalidItem, RateLimited

HERE = {"Basic Usage", "Graceful Shutdown", "Settings in Code", "Complete Error Handling Flow"}
CHECKPOINTS = {"Resuming from Checkpoint", "Manual Checkpoint Management"}
QUEUE = {"Queue Manager Usage", "Dead Letter Queue", "Health Checks", "Queue-Based Processing"}

LADDER = [1.0, 2.0, 4.0, 8.0, 16.0]


class Checkpoints:
    """Remembers what it was asked to save."""

    def __init__(self) -> None:
        self.saved: list[tuple[str, int | None]] = []

    async def save_checkpoint(self, tweet_id: str, bookmarks_count: int | None = None) -> None:
        self.saved.append((tweet_id, bookmarks_count))


class Waits:
    """Stands in for `asyncio`: the document waits by asyncio.sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def checkpoints() -> Checkpoints:
    return Checkpoints()


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VALKEY_URL", "VALKEY_MAX_CONNECTIONS", "MAX_RETRIES", "INITIAL_BACKOFF"):
        monkeypatch.delenv(name, raising=False)


def skipped(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the document's own logger warned of."""
    return [record.getMessage() for record in caplog.records if record.name == "app"]


def test_no_block_of_the_document_is_forgotten() -> None:
    assert {each.heading for each in blocks()} == HERE | CHECKPOINTS | QUEUE


# -- Basic Usage ----------------------------------------------------------------------------------


async def basic_usage(error: Exception, checkpoints: Checkpoints, waits: Waits) -> dict[str, Any]:
    async def operation() -> None:
        raise error

    filled_in = block("Basic Usage").replaced(
        "    # ... operation that might fail\n    pass\n", "    await operation()\n"
    )
    return await filled_in.run(
        operation=operation,
        ErrorAction=ErrorAction,
        asyncio=waits,
        checkpoint_manager=checkpoints,
        last_tweet_id="42",
        logger=logging.getLogger("app"),
        session_id="s1",
        user_id="me",
    )


async def test_basic_usage_waits_and_retries_a_network_error(
    checkpoints: Checkpoints, waits: Waits
) -> None:
    names = await basic_usage(httpx.ConnectError("x"), checkpoints, waits)
    assert names["strategy"].action is ErrorAction.RETRY
    assert waits.slept == [1.0]
    assert checkpoints.saved == []


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("id"), TypeError("x"), sqlite3.IntegrityError("x")]
)
async def test_basic_usage_skips_a_bookmark_that_is_broken_or_refused(
    error: Exception, checkpoints: Checkpoints, waits: Waits, caplog: pytest.LogCaptureFixture
) -> None:
    names = await basic_usage(error, checkpoints, waits)
    assert names["strategy"].action is ErrorAction.SKIP
    (warning,) = skipped(caplog)
    assert warning == f"Skipping: {names['strategy'].message}"
    assert (waits.slept, checkpoints.saved) == ([], [])


@pytest.mark.parametrize(
    ("error", "saved"),
    [
        (AuthenticationFailed("x"), []),
        (MemoryError(), [("42", None)]),
        (RuntimeError("a bug"), [("42", None)]),
    ],
)
async def test_basic_usage_aborts_with_the_checkpoint_that_its_category_asks_for(
    error: Exception, saved: list[tuple[str, int | None]], checkpoints: Checkpoints, waits: Waits
) -> None:
    with pytest.raises(type(error)) as caught:
        await basic_usage(error, checkpoints, waits)
    assert caught.value is error
    assert checkpoints.saved == saved
    assert waits.slept == []


async def test_basic_usage_has_no_branch_for_a_pause(
    checkpoints: Checkpoints, waits: Waits
) -> None:
    names = await basic_usage(RateLimited(), checkpoints, waits)
    strategy = names["strategy"]
    assert (strategy.action, strategy.delay) == (ErrorAction.PAUSE, 900.0)
    assert strategy.save_checkpoint
    assert (waits.slept, checkpoints.saved) == ([], [])


# -- Complete Error Handling Flow -----------------------------------------------------------------


def failing(error: Exception, times: int) -> Callable[[], Any]:
    """An operation that fails so many times, then succeeds."""
    left = times

    async def risky_operation() -> str:
        nonlocal left
        if left:
            left -= 1
            raise error
        return "done"

    return risky_operation


async def complete_flow(
    operation: Callable[[], Any], checkpoints: Checkpoints, waits: Waits
) -> str | None:
    names = await block("Complete Error Handling Flow").run(
        ErrorAction=ErrorAction,
        ErrorContext=ErrorContext,
        ErrorHandler=ErrorHandler,
        asyncio=waits,
        checkpoint_manager=checkpoints,
        last_id="42",
        logger=logging.getLogger("app"),
        risky_operation=operation,
    )
    result: str | None = await names["process_with_error_handling"]()
    return result


@pytest.mark.parametrize("failures", range(6))
async def test_the_flow_climbs_the_ladder_until_the_network_is_back(
    failures: int, checkpoints: Checkpoints, waits: Waits
) -> None:
    operation = failing(httpx.ReadTimeout("x"), failures)
    assert await complete_flow(operation, checkpoints, waits) == "done"
    assert waits.slept == LADDER[:failures]
    assert checkpoints.saved == []


async def test_the_flow_aborts_with_a_checkpoint_when_the_network_stays_down(
    checkpoints: Checkpoints, waits: Waits
) -> None:
    error = httpx.ReadTimeout("x")
    with pytest.raises(httpx.ReadTimeout) as caught:
        await complete_flow(failing(error, 100), checkpoints, waits)
    assert caught.value is error
    assert waits.slept == LADDER
    assert checkpoints.saved == [("42", None)]


async def test_the_flow_follows_the_environment(
    checkpoints: Checkpoints, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RETRIES", "3")
    monkeypatch.setenv("INITIAL_BACKOFF", "0.25")
    with pytest.raises(TimeoutError):
        await complete_flow(failing(TimeoutError(), 100), checkpoints, waits)
    assert waits.slept == [0.25, 0.5, 1.0]
    assert checkpoints.saved == [("42", None)]


async def test_the_flow_skips_an_item(
    checkpoints: Checkpoints, waits: Waits, caplog: pytest.LogCaptureFixture
) -> None:
    assert await complete_flow(failing(InvalidItem("no id"), 1), checkpoints, waits) is None
    (warning,) = skipped(caplog)
    assert warning.startswith("Skipping: no id")
    assert checkpoints.saved == []


@pytest.mark.parametrize(
    ("error", "saved"),
    [
        (AuthenticationFailed("x"), []),
        (MemoryError(), [("42", None)]),
        (RateLimited(), [("42", None)]),  # the document's loop has no branch for it: "else: ABORT"
    ],
)
async def test_the_flow_raises_what_it_cannot_recover_from(
    error: Exception, saved: list[tuple[str, int | None]], checkpoints: Checkpoints, waits: Waits
) -> None:
    with pytest.raises(type(error)) as caught:
        await complete_flow(failing(error, 1), checkpoints, waits)
    assert caught.value is error
    assert checkpoints.saved == saved
    assert waits.slept == []


# -- Graceful Shutdown ----------------------------------------------------------------------------


async def shut_down(close: Callable[[], Any], checkpoints: Checkpoints) -> httpx.AsyncClient:
    client = httpx.AsyncClient()
    context = ErrorContext(error=MemoryError(), last_processed_id="42", bookmarks_count=7)
    await block("Graceful Shutdown").run(
        bookmark_processor=SimpleNamespace(close=close),
        error_context=context,
        error_handler=ErrorHandler(checkpoint_manager=checkpoints),
        http_client=client,
    )
    return client


async def test_a_graceful_shutdown_saves_once_closes_everything_and_returns(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    closed = []

    async def close() -> None:
        assert checkpoints.saved == [("42", 7)], "the checkpoint comes first"
        closed.append("processor")

    client = await shut_down(close, checkpoints)
    assert closed == ["processor"]
    assert client.is_closed
    assert checkpoints.saved == [("42", 7)]
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)


async def test_a_cleanup_that_fails_does_not_stop_the_others(checkpoints: Checkpoints) -> None:
    async def close() -> None:
        raise RuntimeError("already closed")

    assert (await shut_down(close, checkpoints)).is_closed


# -- Settings -------------------------------------------------------------------------------------


async def test_the_settings_are_read_in_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await block("Settings in Code").run()
    monkeypatch.setenv("VALKEY_URL", "redis://elsewhere:6380/1")
    monkeypatch.setenv("VALKEY_MAX_CONNECTIONS", "3")
    await block("Settings in Code").run()
    assert capsys.readouterr().out.splitlines() == [
        "Valkey URL: redis://localhost:6379/0",
        "Max connections: 10",
        "Valkey URL: redis://elsewhere:6380/1",
        "Max connections: 3",
    ]


def test_the_defaults_are_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = block("Environment Variables", "bash").code.splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    before = get_settings()
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert get_settings() == before
    assert set(said) == {"VALKEY_URL", "VALKEY_MAX_CONNECTIONS", "MAX_RETRIES", "INITIAL_BACKOFF"}
    assert Settings().valkey_url == said["VALKEY_URL"]


def test_the_compose_commands_name_what_is_there() -> None:
    commands = [
        line
        for each in blocks("bash")
        for line in each.code.splitlines()
        if line.startswith("docker-compose ")
    ]
    assert len(commands) == 5
    for command in commands:
        assert command.startswith("docker-compose -f docker-compose.valkey.yml ")
        words = command.split()[3:]
        assert words[0] in {"up", "ps", "logs"}
        assert [word for word in words[1:] if not word.startswith("-")] in ([], ["valkey"])
