"""A listing in memory, and a source in front of any other that fails as a plan says.

Must not know: sessions, stores.
"""

import contextlib
from collections.abc import Callable

import attrs
import msgspec

from ..fetching import page_of
from ..sources.base import End, InvalidRaw, Item, Page, Source, Usage
from .clock import VirtualClock
from .faults import Faults
from .mishaps import Mishap
from .parts import require_faults, require_source

__all__ = ["FaultySource", "ListSource", "invalid_item", "item_of"]


def item_of(key: str) -> Item:
    """A small bookmark with this id."""
    raw = msgspec.json.encode({"id": key, "text": f"text of {key}"}).decode()
    return Item(key=key, raw=raw, text=f"text of {key}", author_id="7")


def invalid_item(key: str) -> InvalidRaw:
    """An element with this id that cannot be decoded."""
    return InvalidRaw(key=key, raw=msgspec.json.encode({"id": key}).decode(), message="no text")


@attrs.define
class ListSource:
    """A listing kept in a list; cursors are positions, so it should not change in the middle of a walk.

    Attributes:
        ids: The listing, newest first.
        script: Errors by request number (from 1): raised instead of a page.
        bad: Ids that cannot be decoded.
        end: What the last page says of the end.
        size: Items of a page when nobody asks for another number.
        drops_above: Pages larger than this name no next page once `drops_after` pages' worth of items were served, though
            there is more: what X does.
        drops_after: See there.
        on_request: Called with the number of each request.
        closed_until: Called with it too: until when the answer says that the limit is used up.
        requests: How many there were.
        fetched: The cursor of each.
        closed: Whether `aclose` was called.
    """

    ids: list[str]
    script: dict[int, BaseException] = attrs.field(factory=dict)
    bad: set[str] = attrs.field(factory=set)
    end: End = End.VERIFIED
    name: str = "x"
    service: str = "x"
    endpoint: str = "bookmarks"
    page_sizes: tuple[int, ...] = ()
    price_usd: float | None = 0.001
    size: int = 20
    drops_above: int | None = None
    drops_after: int = 3
    on_request: Callable[[int], None] = lambda _: None
    closed_until: Callable[[int], float | None] = lambda _: None
    requests: int = 0
    fetched: list[str | None] = attrs.field(factory=list)
    closed: bool = False

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """The page at this position; raises what the script says."""
        self.requests += 1
        self.fetched.append(cursor)
        self.on_request(self.requests)
        error = self.script.get(self.requests)
        if error is not None:
            raise error
        start = 0 if cursor is None else int(cursor)
        size = page_size or self.size
        upto = start + size
        keys = self.ids[start:upto]
        is_dropped = self.drops_above is not None and size > self.drops_above
        more = upto < len(self.ids) and not (is_dropped and upto >= self.drops_after * size)
        return Page(
            items=tuple(self._element(key) for key in keys),
            next_cursor=str(upto) if more else None,
            end=End.MORE if more else self.end,
            usage=Usage(requests=1, items=len(keys), closed_until=self.closed_until(self.requests)),
        )

    def decode(self, raw: str) -> Item | InvalidRaw:
        """The element, as the listing would give it now."""
        return self._element(str(msgspec.json.decode(raw)["id"]))

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True

    def _element(self, key: str) -> Item | InvalidRaw:
        return invalid_item(key) if key in self.bad else item_of(key)


class FaultySource:
    """A source in front of another: its requests meet what a plan says of `page N` and `fetches`.

    An item of which the plan says `item N: VALIDATION` comes as one that cannot be decoded, as long as no handler meets
    it first.
    """

    def __init__(
        self,
        inner: Source,
        faults: Faults,
        *,
        clock: VirtualClock | None = None,
        number_of: Callable[[str], int] | None = None,
    ) -> None:
        """Stand in front of a source.

        Args:
            inner: Who answers.
            faults: The plan as it happens.
            clock: Held still while a request is under way; None if there is none.
            number_of: Number of an item in the listing, from 1, by its key, for `item N: VALIDATION`; None leaves items
                alone.

        Raises:
            ConfigurationError: What was given is no source, or no faults; says what is missing.
        """
        require_source(inner, "FaultySource")
        require_faults(faults, "FaultySource")
        self.inner = inner
        self._faults = faults
        self._clock = clock
        self._number_of = number_of

    @property
    def name(self) -> str:
        """As the inner source's."""
        return self.inner.name

    @property
    def service(self) -> str:
        """As the inner source's."""
        return self.inner.service

    @property
    def endpoint(self) -> str:
        """As the inner source's."""
        return self.inner.endpoint

    @property
    def page_sizes(self) -> tuple[int, ...]:
        """As the inner source's."""
        return self.inner.page_sizes

    @property
    def price_usd(self) -> float | None:
        """As the inner source's."""
        return self.inner.price_usd

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """The inner source's page, unless the plan says otherwise."""
        await self._faults.attempt(self._faults.page(cursor), "fetches")
        with self._clock.busy() if self._clock is not None else contextlib.nullcontext():
            page = await page_of(self.inner, user_id, cursor, page_size)
        self._faults.check_alive()
        return attrs.evolve(page, items=tuple(self._spoilt(item) for item in page.items))

    def decode(self, raw: str) -> Item | InvalidRaw:
        """As the inner source does."""
        return self.inner.decode(raw)

    async def aclose(self) -> None:
        """Close the inner source."""
        await self.inner.aclose()

    def _spoilt(self, item: Item | InvalidRaw) -> Item | InvalidRaw:
        if self._number_of is None or isinstance(item, InvalidRaw):
            return item
        place = f"item {self._number_of(item.key)}"
        if not self._faults.spoils(place, Mishap.VALIDATION):
            return item
        return InvalidRaw(key=item.key, raw=item.raw, message="it has no text")
