"""Our own sources and handlers pass the public contracts; ones that break a promise do not."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from twitor_fsm.core.listing import End
from twitor_fsm.errors import ConfigurationError, InvalidItem, SourceUnavailable
from twitor_fsm.simulator import Simulator
from twitor_fsm.sources.base import InvalidRaw, Item, Page, Source
from twitor_fsm.sources.files import FileBookmarks
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.testing import (
    Faults,
    FaultySource,
    HandlerContract,
    ListSource,
    SourceContract,
)
from twitor_fsm.testing.listings import read_listing
from twitor_fsm.testing.trial import Handler

IDS = [f"{n * 7919 % 1009}" for n in range(1, 26)]


class TestListSource(SourceContract):
    expected_ids = IDS

    def make_source(self) -> Source:
        return ListSource(IDS, size=10, bad={IDS[3]})


class TestListSourceWithDoubtfulEnds(SourceContract):
    def make_source(self) -> Source:
        return ListSource(IDS, end=End.UNVERIFIED, page_sizes=(20, 10, 5))


class TestFaultySourceWithoutFaults(SourceContract):
    def make_source(self) -> Source:
        return FaultySource(ListSource(IDS, size=10), Faults())


class TestFile(SourceContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        records: list[dict[str, Any]] = [
            {"id": key, "full_text": f"text {key}", "screen_name": "ada", "user_id": "7"}
            for key in IDS
        ]
        del records[2]["id"]
        self.path = tmp_path / "bookmarks.json"
        self.path.write_text(json.dumps(records))

    def make_source(self) -> Source:
        return FileBookmarks(self.path)


class TestX(SourceContract):
    @pytest.fixture(autouse=True)
    async def _simulator(self) -> AsyncIterator[None]:
        async with Simulator(25, limit=10_000) as simulator:
            self.simulator = simulator
            self.user_id = simulator.user_id
            self.expected_ids = simulator.truth()
            yield

    def make_source(self) -> Source:
        return XBookmarks(self.simulator.token, base_url=self.simulator.base_url)


class TestHandler(HandlerContract):
    def make_handler(self) -> Handler:
        async def handler(item: Item, fence: int) -> dict[str, Any]:
            if item.key == "3":
                raise InvalidItem("not this one")
            return {"length": len(item.text or ""), "tags": ["a"]}

        return handler


class TestHandlerObject(HandlerContract):
    def make_handler(self) -> Handler:
        @attrs.frozen
        class Labels:
            label: str

            async def __call__(self, item: Item, fence: int) -> None:
                await asyncio.sleep(0)

        return Labels("x")


# -- what is broken is found ----------------------------------------------------------------------


class Forgetful(ListSource):
    """Its last page has no end."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        page = await super().fetch(user_id, cursor, page_size)
        return attrs.evolve(page, end=End.MORE) if page.next_cursor is None else page


class Doubling(ListSource):
    """A page begins with the last item of the one before."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        above = None if cursor is None else str(int(cursor) - 1)
        return await super().fetch(user_id, above, page_size)


class Shifting(ListSource):
    """The second request for a page brings another one."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        page = await super().fetch(user_id, cursor, page_size)
        self.ids = [*self.ids[1:], self.ids[0]] if cursor is None else self.ids
        return page


class Undecoding(ListSource):
    def decode(self, raw: str) -> Item | InvalidRaw:
        return InvalidRaw(key="0", raw=raw, message="no")


class Turning(ListSource):
    """Its pages come in turn, whatever cursor is asked with."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        if cursor is None:
            self.fetched.clear()
        turn = str(len(self.fetched) * self.size) if self.fetched else None
        return await super().fetch(user_id, turn, page_size)


class Renaming(ListSource):
    """Its name is new each time."""

    def __init__(self, ids: list[str], size: int) -> None:
        super().__init__(ids, size=size, name=f"list {id(self)}")
        NAMED.append(self)  # two of one address would have one name


NAMED: list[Renaming] = []


@pytest.mark.parametrize(
    ("source", "test"),
    [
        (Turning, "test_a_cursor_names_one_page_whoever_asks_and_when"),
        (Renaming, "test_it_has_one_name_for_good"),
        (Forgetful, "test_a_page_names_the_next_one_or_an_end"),
        (Doubling, "test_it_lists_something_and_each_id_once"),
        (Shifting, "test_the_same_request_again_brings_the_same_items"),
        (Undecoding, "test_a_raw_form_decodes_to_the_same_item_again"),
    ],
)
async def test_a_source_that_breaks_a_promise_fails(
    source: Callable[..., Source], test: str
) -> None:
    class Contract(SourceContract):
        def make_source(self) -> Source:
            return source(list(IDS), size=10)

    run: Callable[[], Coroutine[Any, Any, None]] = getattr(Contract(), test)
    with pytest.raises((AssertionError, SourceUnavailable, ConfigurationError, TypeError)):
        await run()


class LeavingOut(ListSource):
    """It ends before its last page."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        page = await super().fetch(user_id, cursor, page_size)
        is_last_but_one = page.next_cursor == "20"
        return attrs.evolve(page, next_cursor=None, end=End.VERIFIED) if is_last_but_one else page


async def test_what_a_source_always_leaves_out_is_missed_if_it_is_expected() -> None:
    class Contract(SourceContract):
        def make_source(self) -> Source:
            return LeavingOut(list(IDS), size=10)

    contract = Contract()
    await contract.test_it_lists_something_and_each_id_once()
    contract.expected_ids = IDS
    with pytest.raises(AssertionError):
        await contract.test_it_lists_something_and_each_id_once()


class Undressed(ListSource):
    """Its answer is the bare dict of a service."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        return cast("Page", {"items": [], "next_cursor": None})


async def test_what_is_no_page_is_told_in_the_engines_words() -> None:
    class Contract(SourceContract):
        def make_source(self) -> Source:
            return Undressed(list(IDS), page_sizes=(10,))

    contract, source = Contract(), Undressed(list(IDS))
    for asks in (
        read_listing(source, "me"),
        FaultySource(source, Faults()).fetch("me", None, None),
        contract.test_a_page_names_the_next_one_or_an_end(),
        contract.test_a_page_is_no_larger_than_was_asked_for(),
        contract.test_a_crawl_of_it_survives(""),
    ):
        with pytest.raises(ConfigurationError, match="returned a dict instead of a Page"):
            await asks


async def _random(item: Item, fence: int) -> int:
    return fence


async def _bytes(item: Item, fence: int) -> object:
    return object()


async def _buggy(item: Item, fence: int) -> None:
    raise KeyError("a bug")


def _plain(item: Item, fence: int) -> None: ...


async def _no_number(item: Item, fence: int) -> list[float]:
    return [float("nan")]


async def _endless(item: Item, fence: int) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("handler", "test"),
    [
        (_random, "test_the_same_item_again_gives_the_same_result"),
        (_bytes, "test_it_returns_what_json_can_hold"),
        (_buggy, "test_what_it_raises_has_a_category"),
        (_plain, "test_it_is_a_coroutine_function"),
        (_no_number, "test_it_returns_what_json_can_hold"),
        (_endless, "test_it_returns_what_json_can_hold"),
    ],
)
async def test_a_handler_that_breaks_a_promise_fails(
    handler: Any, test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if handler is _endless:
        monkeypatch.setattr("twitor_fsm.testing.contracts.handler.LIMIT_S", 0.01)

    class Contract(HandlerContract):
        def make_handler(self) -> Handler:
            return handler  # type: ignore[no-any-return]

    run: Callable[[], Coroutine[Any, Any, None]] = getattr(Contract(), test)
    with pytest.raises((AssertionError, TypeError)):
        await run()


@pytest.mark.parametrize("contract", [SourceContract, HandlerContract])
async def test_a_contract_says_what_to_override(contract: Any) -> None:
    make = getattr(contract(), "make_source", None) or contract().make_handler
    with pytest.raises(NotImplementedError, match="override make_"):
        make()
