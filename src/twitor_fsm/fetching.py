"""Makes requests of a source: counts each, holds the one page that is fetched ahead.

Must not know: what a page means. What a request raises is handed on as a value, to be judged when its turn comes.
"""

import asyncio

import attrs

from .core.plan import Fetch
from .errors import ConfigurationError, SourceError
from .inbox import end_task
from .ledger import Work
from .sources.base import End, InvalidRaw, Item, Page, Source, Usage

__all__ = ["Failed", "Fetcher"]


@attrs.frozen
class Failed:
    """A request that raised."""

    error: BaseException


class Fetcher:
    """The requests of one session."""

    def __init__(self, source: Source, user_id: str, work: Work) -> None:
        """Prepare; `work` is where requests are counted."""
        self._source = source
        self._user_id = user_id
        self._work = work
        self._ahead: tuple[Fetch, asyncio.Task[Page | Failed]] | None = None

    async def begin(self, wanted: Fetch) -> asyncio.Task[Page | Failed]:
        """The request for this page: the one under way if it was fetched ahead, else a new one."""
        if self._ahead is not None and self._ahead[0] == wanted:
            task = self._ahead[1]
            self._ahead = None
            return task
        await self.drop()
        return asyncio.create_task(self._request(wanted))

    def look_ahead(self, wanted: Fetch | None) -> None:
        """Begin the request for a page that will be wanted; at most one at a time."""
        if wanted is not None and self._ahead is None:
            self._ahead = (wanted, asyncio.create_task(self._request(wanted)))

    async def drop(self) -> None:
        """Give up what was fetched ahead."""
        if self._ahead is not None:
            task = self._ahead[1]
            self._ahead = None
            await end_task(task)

    async def _request(self, wanted: Fetch) -> Page | Failed:
        """One page, or what went wrong; counted whatever becomes of it."""
        try:
            page = await self._source.fetch(self._user_id, wanted.cursor, wanted.page_size)
            _check(page)
        except asyncio.CancelledError as exc:
            self._work.requests += 1
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Failed(RuntimeError(f"the source cancelled itself: {type(exc).__name__}"))
        except BaseException as exc:  # noqa: BLE001 - a source may raise anything; it is classified
            self._work.requests += exc.requests if isinstance(exc, SourceError) else 1
            return Failed(exc)
        self._work.requests += page.usage.requests
        self._work.items_fetched += page.usage.items
        return page


def _check(page: object) -> None:
    """A source may be anybody's: what it returns is checked once, here."""
    if not isinstance(page, Page):
        raise ConfigurationError(f"the source returned {type(page).__name__} instead of a Page")
    cursor: object = page.next_cursor
    if (page.end is End.MORE) != (isinstance(cursor, str) and cursor != ""):
        raise ConfigurationError(
            "the source's page must name a next cursor (text) exactly when its end is End.MORE"
        )
    usage: object = page.usage
    if not isinstance(usage, Usage) or not isinstance(usage.closed_until, (int, float, type(None))):
        raise ConfigurationError(
            "the source's page needs a Usage, whose closed_until is a number or None"
        )
    for item in page.items:
        if not isinstance(item, (Item, InvalidRaw)):
            raise ConfigurationError(
                f"the source's page holds {type(item).__name__} instead of an Item"
            )
        richness: object = item.richness if isinstance(item, Item) else 0
        if type(richness) is not int or not 0 <= richness < 2**31:
            raise ConfigurationError(
                "an item's richness must be a whole number from 0 to 2147483647; its page was not used"
            )
        key: object = item.key
        if not isinstance(key, str) or not key:
            raise ConfigurationError("an item's key must be text, and not empty")
