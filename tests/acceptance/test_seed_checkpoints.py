"""The design document's code about checkpoints runs as written, on a real SQLite file."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import attrs
import pytest
from seed_document import block

from twitor_fsm.checkpoint_manager import CheckpointManager
from twitor_fsm.error_handler import ErrorContext, ErrorHandler
from twitor_fsm.storage.store import SqlStore

NOW: Final = 1_700_000_000.0


@attrs.frozen
class FixedClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a checkpoint waits for nothing")


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[CheckpointManager]:
    store = SqlStore(str(tmp_path / "bookmarks.db"))
    yield CheckpointManager(store, user_id="me", clock=FixedClock())
    await store.close()


async def test_without_a_checkpoint_the_document_starts_afresh(
    manager: CheckpointManager, capsys: pytest.CaptureFixture[str]
) -> None:
    await block("Resuming from Checkpoint").run(checkpoint_manager=manager)

    assert capsys.readouterr().out == "No checkpoint found, starting fresh crawl\n"


async def test_the_checkpoint_that_the_document_saves_is_the_one_that_it_resumes_from(
    manager: CheckpointManager, capsys: pytest.CaptureFixture[str]
) -> None:
    await manager.save_checkpoint("1", 1)  # to be cleared and replaced

    await block("Manual Checkpoint Management").run(checkpoint_manager=manager)
    await block("Resuming from Checkpoint").run(checkpoint_manager=manager)

    assert capsys.readouterr().out.splitlines() == [
        "Resuming from tweet ID: 1234567890",
        "Last crawled: 2023-11-14 22:13:20+00:00",
        "Bookmarks processed: 100",
    ]


async def test_the_handler_saves_through_the_real_manager(manager: CheckpointManager) -> None:
    handler = ErrorHandler(manager, 5, 1.0)
    await manager.save_checkpoint("1", 100)
    failed = ErrorContext(error=MemoryError(), last_processed_id="42")

    await handler.execute_recovery_strategy(await handler.handle_error(failed), failed)

    saved = await manager.get_checkpoint()
    assert saved is not None
    assert (saved.last_tweet_id, saved.bookmarks_count) == (
        "42",
        100,
    )  # no count keeps the stored one
