"""Fixtures of the test kit for pytest; nothing happens until a test asks for one.

Loaded by pytest in every environment that has twitor_fsm, so it imports nothing but pytest.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .clock import VirtualClock
    from .stores import MemoryStore

__all__ = ["memory_store", "virtual_clock"]

pytest.register_assert_rewrite("twitor_fsm.testing.contracts")


@pytest.fixture
def virtual_clock() -> "VirtualClock":
    """Time that passes at once when everything waits; see `VirtualClock`."""
    from .clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def memory_store() -> "MemoryStore":
    """A store on SQLite in memory for one `CrawlEngine`, which opens and closes it; see `MemoryStore`."""
    from .stores import MemoryStore

    return MemoryStore()
