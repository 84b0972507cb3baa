"""A source that many sessions use at once.

Must not know: what it gives.
"""

import attrs

from .base import InvalidRaw, Item, Page, Source

__all__ = ["SharedSource"]


@attrs.frozen
class SharedSource:
    """A source that many sessions use: it stays open until the worker ends."""

    inner: Source

    @property
    def name(self) -> str:
        """Its name."""
        return self.inner.name

    @property
    def service(self) -> str:
        """Its service."""
        return self.inner.service

    @property
    def endpoint(self) -> str:
        """Its endpoint."""
        return self.inner.endpoint

    @property
    def page_sizes(self) -> tuple[int, ...]:
        """Its page sizes."""
        return self.inner.page_sizes

    @property
    def price_usd(self) -> float | None:
        """Its price for an item."""
        return self.inner.price_usd

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """A page."""
        return await self.inner.fetch(user_id, cursor, page_size)

    def decode(self, raw: str) -> Item | InvalidRaw:
        """An item."""
        return self.inner.decode(raw)

    async def aclose(self) -> None:
        """Nothing: others use it."""
