"""What is durable of a crawl: its checkpoint, and what the next commit adds to it.

Pure. Must not know: how anything is written.
"""

from datetime import datetime

import attrs

from .listing import Mark, Place
from .page import Tally

__all__ = ["Checkpoint", "Listed", "Save"]


@attrs.frozen(kw_only=True)
class Checkpoint:
    """Where a crawl can be resumed; it names durable items only.

    Attributes:
        last_tweet_id: Id of the item that was made durable last; None before the first.
        bookmarks_count: Items of the crawl that are stored.
        last_crawled_at: When it was saved, UTC.
        mark: Where the walk through the listing stands.
        generation: Rises when the checkpoint is cleared: everything is walked again.
    """

    last_tweet_id: str | None
    bookmarks_count: int
    last_crawled_at: datetime
    mark: Mark = Mark()
    generation: int = 0

    @property
    def cursor(self) -> str | None:
        """The page to fetch next; None is the top of the listing."""
        return self.mark.cursor

    @property
    def page_size(self) -> int | None:
        """The page size in use; it falls while an end is doubted."""
        return self.mark.page_size

    @property
    def position(self) -> int:
        """Items walked so far in this listing; informational."""
        return self.mark.position


@attrs.frozen
class Listed:
    """A walk reached its end: it is the last completed listing now.

    Attributes:
        walk: Its number.
        caught_up_at: Ids of older walks above this place, not met again, are no longer in the listing; None: none of
            those that were not met again is.
    """

    walk: int
    caught_up_at: Place | None


@attrs.frozen
class Save:
    """What the next commit makes durable.

    Attributes:
        first: Index of the first entry of the page to write.
        upto: Index behind the last one.
        mark: Where the crawl stands then.
        listed: The walk that reached its end with it, if one did.
        tally: The session's counts then.
        last_key: Id of the last item made durable by it, or None if it has none.
    """

    first: int
    upto: int
    mark: Mark
    listed: Listed | None
    tally: Tally
    last_key: str | None
