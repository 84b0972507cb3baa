"""What every store promises: subclass `StoreContract` in a test module of your own, and say how to make your store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ...storage.base import Store
from .place import Place
from .store_checkpoints import CheckpointContract
from .store_claims import ClaimContract, LifeContract
from .store_forgetting import ForgettingContract
from .store_items import ItemsContract, LookupContract, SkipsContract
from .store_listings import ListingContract
from .store_refusals import CancellationContract, RefusedItemsContract
from .store_sessions import FenceContract, SessionsContract

__all__ = ["StoreContract"]


class StoreContract(
    LifeContract,
    ClaimContract,
    FenceContract,
    SessionsContract,
    ItemsContract,
    LookupContract,
    SkipsContract,
    CheckpointContract,
    ListingContract,
    ForgettingContract,
    RefusedItemsContract,
    CancellationContract,
):
    """The promises of `twitor_fsm.Store`, as tests; needs pytest-asyncio.

        class TestMyStore(StoreContract):
            def make_store(self, folder: Path) -> Store:
                return MyStore(folder / "mine.db")

    A test may ask for several stores on one database, as several processes would open it: a second call of `make_store`
    with the same folder is one more store on the same database.
    """

    pytestmark = pytest.mark.asyncio

    def make_store(self, folder: Path) -> Store:
        """Make a store, not yet open, on the one database of this folder. To be overridden."""
        raise NotImplementedError("say how to make your store: override make_store(self, folder)")

    @pytest_asyncio.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place[Any]]:
        """The empty database of one test; override it if `make_store` is not enough."""
        async with Place(lambda: self.make_store(tmp_path)) as place:
            yield place
