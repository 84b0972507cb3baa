"""What a source holds: the truth that a crawl is compared with.

Must not know: crawls.
"""

from typing import Final

import attrs

from ..fetching import page_of
from ..sources.base import End, Source

__all__ = ["MAX_PAGES", "Listing", "read_listing"]

MAX_PAGES: Final = 10_000
"""A listing is read before a trial to know the truth; one without an end would be read for ever."""


@attrs.frozen
class Listing:
    """What a source holds.

    Attributes:
        keys: Every id, newest bookmark first.
        above: For each page's cursor, the ids that stand before that page.
    """

    keys: tuple[str, ...]
    above: dict[str | None, frozenset[str]]

    def number_of(self, key: str) -> int:
        """The item's number in the listing, from 1; 0 if it is not there."""
        return self.keys.index(key) + 1 if key in self.keys else 0


async def read_listing(source: Source, user_id: str) -> Listing:
    """Walk a source from top to end, in its smallest pages, to know what a crawl has to bring.

    Raises:
        ConfigurationError: It gave what is no page, as the engine would say.
        AssertionError: It has no end.
    """
    size = min(source.page_sizes, default=None)
    keys: dict[str, None] = {}
    above: dict[str | None, frozenset[str]] = {None: frozenset()}
    cursor: str | None = None
    try:
        for _ in range(MAX_PAGES):
            page = await page_of(source, user_id, cursor, size)
            keys |= dict.fromkeys(item.key for item in page.items)
            if page.end is not End.MORE:
                return Listing(tuple(keys), above)
            cursor = page.next_cursor
            above[cursor] = frozenset(keys)
    finally:
        await source.aclose()
    raise AssertionError(f"the source has no end: {MAX_PAGES} pages were read")
