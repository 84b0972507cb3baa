"""What every source promises: subclass `SourceContract` in a test module of your own, and say how to make your source."""

import json
from collections.abc import Sequence

import pytest

from ...core.listing import End
from ...fetching import page_of
from ...sources.base import InvalidRaw, Item, Page, Source
from ..listings import MAX_PAGES
from ..mishaps import Plan
from ..parts import require_source
from ..trial import Trial

__all__ = ["SourceContract"]

PLANS = (
    "page 1: NETWORK, RATE_LIMIT; page 2: NETWORK, NETWORK, NETWORK",
    "fetches: AUTH, FATAL, BUG",
    "page 1: DEATH, DEATH; commit 2: DEATH; commit 5: DEATH_AFTER",
    "commit 1: LOST_ANSWER; commit 2: BUSY; lookup 1: BUSY",
    "page 1: CANCEL; page 2: CANCEL; commit 4: CANCEL",
    "item 1: VALIDATION; item 2: DATABASE; commit 3: STORE_OUT",
)
"""A crawl of the source survives these, whatever the source is."""


class SourceContract:
    """The promises of `twitor_fsm.Source`, as tests; needs pytest-asyncio.

        class TestMySource(SourceContract):
            def make_source(self) -> Source:
                return MySource()

    The source must have something to list (a few pages are best), and list the same each time.

    Attributes:
        user_id: Whose bookmarks to ask for.
        expected_ids: What it has to list, in the listing's order, known from elsewhere; None: whatever it lists. All
            else is measured against its own walk on a quiet day, which does not show what it always leaves out.
    """

    pytestmark = pytest.mark.asyncio
    user_id = "me"
    expected_ids: Sequence[str] | None = None

    def make_source(self) -> Source:
        """Make a source; may be called several times in one test. To be overridden."""
        raise NotImplementedError("say how to make your source: override make_source(self)")

    def _made_source(self) -> Source:
        """A source of `make_source`, looked at before it is tried. Raises `ConfigurationError` if it is none."""
        made = self.make_source()
        require_source(made, "make_source of the contract")
        return made

    async def pages(self, source: Source, size: int | None = None) -> list[Page]:
        """All pages from the top to the end."""
        found: list[Page] = []
        cursor: str | None = None
        while len(found) < MAX_PAGES:
            page = await page_of(source, self.user_id, cursor, size)
            found.append(page)
            if page.end is not End.MORE:
                await source.aclose()
                return found
            cursor = page.next_cursor
        raise AssertionError(f"no end after {MAX_PAGES} pages")

    async def test_it_says_what_it_is(self) -> None:
        source = self._made_source()

        assert isinstance(source, Source)
        for word in (source.name, source.service, source.endpoint):
            assert isinstance(word, str)
            assert 0 < len(word) <= 200
        assert list(source.page_sizes) == sorted(set(source.page_sizes), reverse=True)
        assert all(size > 0 for size in source.page_sizes)
        assert source.price_usd is None or source.price_usd >= 0.0

    async def test_it_has_one_name_for_good(self) -> None:
        """The name finds the checkpoint: with another one nothing is ever resumed, and all is fetched again."""
        assert self.make_source().name == self.make_source().name

    async def test_a_page_names_the_next_one_or_an_end(self) -> None:
        for page in await self.pages(self._made_source()):
            assert isinstance(page, Page)
            assert (page.end is End.MORE) == (page.next_cursor is not None)
            assert page.next_cursor != ""
            assert page.usage.requests >= 0
            assert page.usage.items >= 0

    async def test_it_lists_something_and_each_id_once(self) -> None:
        keys = [item.key for page in await self.pages(self._made_source()) for item in page.items]

        assert keys
        assert all(keys)
        assert len(keys) == len(set(keys))
        if self.expected_ids is not None:
            assert keys == list(self.expected_ids)

    async def test_what_it_lists_are_items_with_their_raw_form_as_json(self) -> None:
        for page in await self.pages(self._made_source()):
            for item in page.items:
                assert isinstance(item, Item | InvalidRaw)
                json.loads(item.raw)

    async def test_a_raw_form_decodes_to_the_same_item_again(self) -> None:
        source = self._made_source()
        for page in await self.pages(source):
            for item in page.items:
                again = source.decode(item.raw)
                assert type(again) is type(item)
                assert again.key == item.key

    async def test_the_same_request_again_brings_the_same_items(self) -> None:
        source = self._made_source()

        first, second = await self.pages(source), await self.pages(self._made_source())

        assert [p.items for p in first] == [p.items for p in second]
        assert [p.items for p in await self.pages(source)] == [p.items for p in first]

    async def test_a_cursor_names_one_page_whoever_asks_and_when(self) -> None:
        """A resumed crawl asks with a cursor kept by another process, of a source that has seen no page before it."""
        source = self.make_source()
        walked = await self.pages(source)
        cursors = [None, *(page.next_cursor for page in walked[:-1])]
        asked = list(zip(cursors, walked, strict=True))

        for cursor, page in reversed(asked):
            another = self.make_source()
            for anybody in (source, another):
                again = await page_of(anybody, self.user_id, cursor, None)
                assert [i.key for i in again.items] == [i.key for i in page.items], f"at {cursor!r}"
            await another.aclose()
        await source.aclose()

    async def test_a_page_is_no_larger_than_was_asked_for(self) -> None:
        source = self._made_source()
        for size in source.page_sizes:
            page = await page_of(source, self.user_id, None, size)
            assert len(page.items) <= size
        await source.aclose()

    async def test_it_can_be_closed_twice_and_used_again(self) -> None:
        source = self._made_source()
        await source.aclose()
        await source.aclose()

        assert await self.pages(source)

    @pytest.mark.parametrize("plan", PLANS)
    async def test_a_crawl_of_it_survives(self, plan: str) -> None:
        async with Trial(self._made_source(), Plan(plan), user_id=self.user_id) as trial:
            await trial.finish()
