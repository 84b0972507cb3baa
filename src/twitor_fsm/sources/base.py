"""What a source of bookmarks is: pages of items, a cursor, and evidence of an end.

An embedder's own source implements `Source`; nothing in it is about X.
Must not know: sessions, storage, retries. A source makes one request per `fetch`, and raises what went wrong.
"""

from enum import StrEnum
from typing import Protocol, runtime_checkable

import attrs

from ..core.listing import End

__all__ = ["End", "InvalidRaw", "Item", "ItemKind", "Page", "Source", "Usage"]


class ItemKind(StrEnum):
    """What stands behind an item's id."""

    POST = "post"
    TOMBSTONE = "tombstone"
    """The listing names it, but it is deleted, protected or withheld; kept, so that nobody looks for it again."""


@attrs.frozen(kw_only=True)
class Item:
    """One bookmark, decoded.

    Attributes:
        key: The item's id: text, unique within the user's bookmarks, never compared by size.
        raw: The object as the source gave it, as JSON text; what the decoder did not understand is still here.
        text: The whole text (the long form where there is one); None for a tombstone.
        author_id: Id of the author, or None when unknown.
        author_username: Handle without the @, or None when unknown.
        author_name: Display name, or None when unknown.
        created_at: When it was posted, ISO 8601 in UTC, or None when the source did not say.
        kind: A post or a tombstone.
        richness: How much the record says: of two records of one bookmark the higher one is kept. The scale of our
            own sources: `sources/richness.py`; a tombstone has 0.
    """

    key: str
    raw: str
    text: str | None = None
    author_id: str | None = None
    author_username: str | None = None
    author_name: str | None = None
    created_at: str | None = None
    kind: ItemKind = ItemKind.POST
    richness: int = 1

    @property
    def id(self) -> str:
        """The same as `key`."""
        return self.key


@attrs.frozen(kw_only=True)
class InvalidRaw:
    """An element of a page that is no usable item; it is skipped, kept, and may be decoded again later.

    Attributes:
        key: Its id if it has a usable one, else "sha256:" and the hex digest of `raw`.
        raw: The element as the source gave it, as JSON text.
        message: What is wrong with it, without its content.
    """

    key: str
    raw: str
    message: str


@attrs.frozen(kw_only=True)
class Usage:
    """What one answer cost, and what the service allows next.

    Attributes:
        requests: Requests made for it.
        items: Items the service counted (what may be billed).
        closed_until: When the next request is allowed, epoch seconds by our clock, if this one used the window up.
    """

    requests: int = 1
    items: int = 0
    closed_until: float | None = None


@attrs.frozen(kw_only=True)
class Page:
    """What one request brought.

    Attributes:
        items: In listing order, newest bookmark first; may be empty.
        next_cursor: Where the next page begins; None when the source names none.
        end: What the missing cursor means; `End.MORE` exactly when `next_cursor` is given.
        usage: What it cost.
    """

    items: tuple[Item | InvalidRaw, ...]
    next_cursor: str | None
    end: End
    usage: Usage = Usage()


@runtime_checkable
class Source(Protocol):
    """A listing of one user's bookmarks, newest first, a page at a time.

    Implementations hold no progress: the same arguments ask for the same page again. They are used by one session at
    a time and may be shared by successive ones.

    Attributes:
        name: Names the crawl together with the user ("x", "file:bookmarks.json"); a stable word of at most 200 characters.
        service: Whose rate limit it uses ("x"), shared by all sources of that service.
        endpoint: Which of the service's limits ("bookmarks").
        page_sizes: Page sizes to fall back to, falling, when an end is doubted; empty if pages have no size.
        price_usd: Estimated price of one item, USD; 0.0 when free, None when unknown.
    """

    @property
    def name(self) -> str:
        """Names the crawl together with the user."""
        ...

    @property
    def service(self) -> str:
        """Whose rate limit it uses."""
        ...

    @property
    def endpoint(self) -> str:
        """Which of the service's limits."""
        ...

    @property
    def page_sizes(self) -> tuple[int, ...]:
        """Page sizes to fall back to, falling; empty if pages have no size."""
        ...

    @property
    def price_usd(self) -> float | None:
        """Estimated price of one item, USD; 0.0 when free, None when unknown."""
        ...

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """Make one request and decode its answer.

        Args:
            user_id: Whose bookmarks.
            cursor: What an earlier page named as next; None for the top.
            page_size: Items wanted, a wish; None leaves it to the source.

        Returns:
            The page. An element that cannot be decoded is an `InvalidRaw` in its place, never an exception.

        Raises:
            RateLimited, AuthenticationFailed, SourceUnavailable, CursorRefused, RequestRefused, BillingRefused:
                As their names say; any other exception is classified by `classify`.
        """
        ...

    def decode(self, raw: str) -> Item | InvalidRaw:
        """Decode one kept element again (an item that was skipped and is to be tried once more)."""
        ...

    async def aclose(self) -> None:
        """Free what the source holds; it may be used again. Called when the last session that used it has ended."""
        ...
