"""The checkpoint of a crawl in the hands of an app: the design document's own calls, on a real store."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from store_factories import ME, NOW, batch, claim, finish, new, walking

from twitor_fsm.checkpoint_manager import MAX_WORD, CheckpointManager
from twitor_fsm.errors import ConfigurationError, CrawlOwned
from twitor_fsm.storage.store import SqlStore


class FixedClock:
    """Time stands still."""

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(tmp_path / "bookmarks.db")
    yield store
    await store.close()


@pytest.fixture
def manager(store: SqlStore) -> CheckpointManager:
    return CheckpointManager(store, user_id="me", clock=FixedClock())


async def test_a_checkpoint_is_set_read_and_cleared(manager: CheckpointManager) -> None:
    assert await manager.get_checkpoint() is None

    await manager.save_checkpoint(tweet_id="1234567890", bookmarks_count=100)

    checkpoint = await manager.get_checkpoint()
    assert checkpoint is not None
    assert checkpoint.last_tweet_id == "1234567890"
    assert checkpoint.bookmarks_count == 100
    assert checkpoint.last_crawled_at == datetime.fromtimestamp(NOW, UTC)
    assert checkpoint.last_crawled_at.utcoffset() is not None
    assert checkpoint.cursor is None
    await manager.clear_checkpoint()
    assert await manager.get_checkpoint() is None


async def test_the_stored_count_is_kept_unless_another_is_given(
    manager: CheckpointManager, store: SqlStore
) -> None:
    await manager.save_checkpoint(tweet_id="1", bookmarks_count=7)
    claimed = await claim(store)
    await store.commit(batch(claimed, new=new("1", "2"), mark=walking(1, 2), last_key="2"))
    await finish(store, claimed)

    saved = await manager.save_checkpoint("3")

    assert (saved.last_tweet_id, saved.bookmarks_count) == ("3", 9)


async def test_users_and_sources_have_their_own(store: SqlStore) -> None:
    managers = [
        CheckpointManager(store, user_id=user, source=source)
        for user in ("me", "anna")
        for source in ("x", "file:archive.json")
    ]
    for n, manager in enumerate(managers):
        await manager.save_checkpoint(tweet_id=str(n))

    found = [await manager.get_checkpoint() for manager in managers]

    assert [c.last_tweet_id for c in found if c is not None] == ["0", "1", "2", "3"]


async def test_a_running_session_keeps_its_checkpoint(
    manager: CheckpointManager, store: SqlStore
) -> None:
    await store.open()
    await claim(store, crawl=ME, now=NOW)

    with pytest.raises(CrawlOwned, match="nothing was changed"):
        await manager.save_checkpoint(tweet_id="1")
    with pytest.raises(CrawlOwned, match="nothing was changed"):
        await manager.clear_checkpoint()
    assert await manager.get_checkpoint() is None


async def test_saves_are_logged(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "twitor_fsm.checkpoint"):
        await manager.save_checkpoint(tweet_id="1")

    (record,) = [r for r in caplog.records if r.name == "twitor_fsm.checkpoint"]
    assert record.levelno == logging.INFO
    assert vars(record)["user_id"] == "me"
    assert vars(record)["operation"] == "save_checkpoint"
    assert vars(record)["session_id"] is None


@pytest.mark.parametrize("wrong", ["", "  ", None, 7, "x" * (MAX_WORD + 1)])
async def test_words_that_name_nothing_are_refused(
    manager: CheckpointManager, store: SqlStore, wrong: Any
) -> None:
    with pytest.raises(ConfigurationError, match="user_id"):
        CheckpointManager(store, user_id=wrong)
    with pytest.raises(ConfigurationError, match="source"):
        CheckpointManager(store, user_id="me", source=wrong)
    with pytest.raises(ConfigurationError, match="tweet_id"):
        await manager.save_checkpoint(tweet_id=wrong)


@pytest.mark.parametrize("wrong", [-1, 1.5, "7", True, 2**63])
async def test_a_count_is_a_whole_number(manager: CheckpointManager, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="bookmarks_count"):
        await manager.save_checkpoint(tweet_id="1", bookmarks_count=wrong)
    assert await manager.get_checkpoint() is None
