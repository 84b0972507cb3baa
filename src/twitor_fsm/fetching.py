"""Makes requests of a source: counts each, holds the one page that is fetched ahead.

Must not know: what a page means. What a request raises is handed on as a value, to be judged when its turn comes.
"""

import asyncio
import inspect
import math
from collections.abc import Awaitable
from typing import Final, SupportsFloat

import attrs

from .classify import is_cancellation
from .core.plan import Fetch
from .errors import ConfigurationError, RateLimited, SourceError
from .inbox import end_task
from .ledger import Work
from .log_facts import doing
from .plugins import whole_number
from .sources.base import End, InvalidRaw, Item, Page, Source, Usage

__all__ = ["Failed", "Fetcher", "page_of"]

MAX_CURSOR: Final = 65_536
"""Characters of a cursor at most: it is written with every checkpoint."""

_NUMBERS: Final = 2**31
"""Databases keep smaller whole numbers."""


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

    def keep(self, wanted: Fetch, task: asyncio.Task[Page | Failed]) -> None:
        """Take a request back that nobody waits for just now, as if it had been begun ahead."""
        self._ahead = (wanted, task)

    def look_ahead(self, wanted: Fetch | None) -> None:
        """Begin the request for a page that will be wanted; at most one at a time."""
        if wanted is not None and self._ahead is None:
            self._ahead = (wanted, asyncio.create_task(self._request(wanted)))

    async def drop(self) -> float | None:
        """Give up what was fetched ahead.

        Returns:
            Until when its answer, if there was one, says that the limit is used up, epoch seconds.
        """
        if self._ahead is None:
            return None
        task = self._ahead[1]
        self._ahead = None
        await end_task(task)
        return _closed_until(task.result()) if task.done() and not task.cancelled() else None

    async def _request(self, wanted: Fetch) -> Page | Failed:
        """One page, or what went wrong; counted whatever becomes of it."""
        doing("fetch")
        try:
            page = await page_of(self._source, self._user_id, wanted.cursor, wanted.page_size)
        except BaseException as exc:
            self._work.requests += _requests_of(exc)
            if not is_cancellation(exc):
                return Failed(exc)
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Failed(
                _wrong(
                    f"raised {type(exc).__name__} although nobody had cancelled its request", exc
                )
            )
        self._work.requests += page.usage.requests
        self._work.items_fetched += page.usage.items
        return page


def _requests_of(error: BaseException) -> int:
    """How many requests were made for nothing; one, where what is said of it is no such number."""
    said = whole_number(error.requests) if isinstance(error, SourceError) else None
    return said if said is not None and 0 <= said < _NUMBERS else 1


def _closed_until(answer: Page | Failed) -> float | None:
    if isinstance(answer, Page):
        return answer.usage.closed_until
    until: object = answer.error.reset_at if isinstance(answer.error, RateLimited) else None
    return _time(until) if isinstance(until, (int, float)) else None


async def page_of(source: Source, user_id: str, cursor: str | None, page_size: int | None) -> Page:
    """What a source answers to a request, when it is a page.

    Args:
        source: Anybody's.
        user_id: See `Source.fetch`, also for the others, and for what it raises.
        cursor: Of the page.
        page_size: Items wanted.

    Raises:
        ConfigurationError: It is none; says what came instead.
    """
    return _checked(await _awaited(source.fetch(user_id, cursor, page_size)))


def _awaited(request: Awaitable[Page]) -> Awaitable[Page]:
    given: object = request
    if not inspect.isawaitable(given):
        kind = "an async generator" if inspect.isasyncgen(given) else f"a {type(given).__name__}"
        raise _wrong(f"gave {kind}: its `fetch` must be a coroutine function (`async def`, return)")
    return request


def _checked(page: object) -> Page:
    """A source may be anybody's: what it returns is checked once, here, and its numbers are made plain ones."""
    if not isinstance(page, Page):
        raise _wrong(f"returned a {type(page).__name__} instead of a Page")
    end: object = page.end
    if not isinstance(end, End):
        raise _wrong(f"said {end!r:.30} of its page's end, which is no End")
    cursor: object = page.next_cursor
    if (end is End.MORE) != (isinstance(cursor, str) and cursor != ""):
        raise _wrong("must name a next cursor (text) exactly when its page's end is End.MORE")
    if isinstance(cursor, str) and len(cursor) > MAX_CURSOR:
        raise _wrong(f"named a next cursor of {len(cursor)} characters, allowed are {MAX_CURSOR}")
    usage = _checked_usage(page.usage)
    items: object = page.items
    if not isinstance(items, (tuple, list)):
        raise _wrong(f"gave its page's items as a {type(items).__name__} instead of a tuple")
    return attrs.evolve(page, items=tuple(map(_checked_item, items)), usage=usage)


def _checked_usage(usage: object) -> Usage:
    if not isinstance(usage, Usage):
        raise _wrong("must give a Usage with its page")
    return attrs.evolve(
        usage,
        requests=_count(usage.requests, "must count its requests in"),
        items=_count(usage.items, "must count its items in"),
        closed_until=_time(usage.closed_until),
    )


def _count(value: object, what: str) -> int:
    number = whole_number(value)
    if number is None or not 0 <= number < _NUMBERS:
        raise _wrong(f"{what} a whole number from 0 to {_NUMBERS - 1}")
    return number


def _time(value: object) -> float | None:
    """Epoch seconds; a number beyond every float is an infinite one, of which a window is believed at most."""
    if value is None:
        return None
    try:
        if isinstance(value, SupportsFloat):
            return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]
    except ValueError:  # a signalling NaN
        pass
    raise _wrong("must give a Usage with its page, whose closed_until is a number or None")


def _checked_item(item: object) -> Item | InvalidRaw:
    if not isinstance(item, (Item, InvalidRaw)):
        raise _wrong(f"gave a {type(item).__name__} instead of an Item in its page")
    key: object = item.key
    if not isinstance(key, str) or not key:
        raise _wrong("gave an item whose key must be text, and not empty")
    raw: object = item.raw
    if not isinstance(raw, str):  # it is what is kept of an item that has to be skipped
        raise _wrong(f"gave an item whose raw is a {type(raw).__name__} instead of text")
    if isinstance(item, InvalidRaw):
        return item
    given: object = item.richness
    is_truth = isinstance(given, bool)  # a mix-up, which would outrank what says more
    richness = _count(None if is_truth else given, "gave an item whose richness must be")
    return item if type(given) is int else attrs.evolve(item, richness=richness)


def _wrong(what: str, cause: BaseException | None = None) -> ConfigurationError:
    error = ConfigurationError(f"the source {what}; nothing of that page was used")
    error.__cause__ = cause
    return error
