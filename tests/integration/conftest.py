"""Real SQLite files; helpers of the integration tests."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from valkey_server import names, own_server, valkey_server

from twitor_fsm.config import Settings
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.testing import VirtualClock

__all__ = ["names", "own_server", "valkey_server"]


@pytest.fixture
def clock() -> VirtualClock:
    """Time that does not wait."""
    return VirtualClock()


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Path of a database that is not there yet."""
    return str(tmp_path / "bookmarks.db")


@pytest.fixture
async def engine(db: str, clock: VirtualClock) -> AsyncIterator[CrawlEngine]:
    """An open engine with default settings, whatever the environment says."""
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        yield engine
