"""One empty database to try a store on."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Generic, Self, TypeVar

import pytest

from ...storage.base import Store
from ..parts import require_store

__all__ = ["Place"]

S = TypeVar("S", bound=Store)


class Place(Generic[S]):
    """One empty database; `await place.store()` opens one more store on it, as another process would.

    Leaving it closes all stores that were opened on it.
    """

    def __init__(
        self,
        make: Callable[[], S],
        *,
        refuse: Callable[[S], Awaitable[None]] | None = None,
        closing: AsyncExitStack | None = None,
    ) -> None:
        """Name the database.

        Args:
            make: Makes a store on it, not yet open.
            refuse: Makes the database refuse items whose text holds "bad" and skips whose raw form does, as an app's
                own constraint might; None if it cannot.
            closing: Where stores are left to be closed; None: with this place.
        """
        self.make = make
        self._refuse = refuse
        self._closing = closing if closing is not None else AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def store(self) -> S:
        """One more open store on the database. Raises `ConfigurationError` if what was made is none."""
        store = self.make()
        require_store(store, "make_store of the contract")
        await store.open()
        self._closing.push_async_callback(store.close)
        return store

    async def refuse_bad_texts(self, store: Any) -> None:
        """From now on the database refuses what holds "bad"; a database that cannot skips the test."""
        if self._refuse is None:
            pytest.skip("this database has no way to refuse a single item")
        await self._refuse(store)
