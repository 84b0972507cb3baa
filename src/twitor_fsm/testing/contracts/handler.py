"""What every handler promises: subclass `HandlerContract` in a test module of your own, and say what your handler is."""

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from ...classify import classify
from ...config import Settings
from ...core.taxonomy import Reason
from ...plugins import is_finite
from ...sources.base import Item
from ..clock import START
from ..mishaps import Plan
from ..parts import HANDLER, require_function
from ..sources import ListSource, item_of
from ..trial import Handler, Trial

__all__ = ["HandlerContract"]

LIMIT_S: Final = Settings().handler_timeout_s
"""Seconds that one call may take, real ones: the engine's own limit, by default."""

PLANS = (
    "item 1: NETWORK, RATE_LIMIT; item 3: NETWORK",
    "item 2: VALIDATION; item 3: DATABASE; item 4: AUTH; item 5: FATAL",
    "item 2: DEATH; item 3: DEATH; commit 2: DEATH; commit 3: DEATH_AFTER",
    "item 1: SLOW, CANCEL; commit 1: LOST_ANSWER; commit 2: BUSY",
)
"""A crawl with the handler survives these, whatever it does."""


class _Given(ListSource):
    """The handler's items, listed."""

    def __init__(self, items: Sequence[Item]) -> None:
        super().__init__([item.key for item in items], size=4)
        self.items = {item.key: item for item in items}

    def _element(self, key: str) -> Item:
        return self.items[key]

    def decode(self, raw: str) -> Item:
        """The item with this raw form."""
        (found,) = [item for item in self.items.values() if item.raw == raw]
        return found


class HandlerContract:
    """The promises of a handler, as tests; needs pytest-asyncio.

        class TestMyHandler(HandlerContract):
            def make_handler(self):
                return my_handler

    A handler is called at least once for each item: again after a death, perhaps in another process with a higher fence.
    """

    pytestmark = pytest.mark.asyncio

    def make_handler(self) -> Handler:
        """The handler, as the engine is given it. To be overridden."""
        raise NotImplementedError("say what your handler is: override make_handler(self)")

    def make_items(self) -> Sequence[Item]:
        """Items as the source gives them; at least five, each id once."""
        return [item_of(str(number)) for number in range(1, 8)]

    def _made_handler(self) -> Handler:
        """What `make_handler` gives, looked at before it is tried. Raises `ConfigurationError` if it is no handler."""
        made = self.make_handler()
        require_function(made, "make_handler of the contract", HANDLER, arguments=2)
        return made

    async def call(self, item: Item, fence: int = 1) -> tuple[Any, BaseException | None]:
        """What it returns for an item, or what it raises."""
        handler = self._made_handler()
        try:
            async with asyncio.timeout(LIMIT_S) as limit:
                return await handler(item, fence), None
        except Exception as exc:  # noqa: BLE001 - whatever it raises is looked at
            assert not limit.expired(), f"not over after {LIMIT_S:.0f} s with item {item.key}"
            return None, exc

    async def test_it_is_a_coroutine_function(self) -> None:
        handler = self._made_handler()
        call = handler if inspect.isroutine(handler) else type(handler).__call__

        assert inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(handler)

    async def test_it_returns_what_json_can_hold(self) -> None:
        for item in self.make_items():
            result, _ = await self.call(item)
            msgspec.json.encode(result)
            assert is_finite(result), f"a number that JSON does not know, with item {item.key}"

    async def test_what_it_raises_has_a_category(self) -> None:
        """An exception that nobody knows ends the session: a bug must not skip a user's items."""
        for item in self.make_items():
            _, error = await self.call(item)
            if error is not None:
                found = classify(error, operation="handle", now=START)
                assert found.reason is not Reason.UNKNOWN, f"{error!r} ends the session"

    async def test_the_same_item_again_gives_the_same_result(self) -> None:
        for item in self.make_items():
            first, error = await self.call(item, 1)
            second, error_then = await self.call(item, 2)
            assert second == first
            assert type(error_then) is type(error)

    @pytest.mark.parametrize("plan", PLANS)
    async def test_a_crawl_with_it_survives_and_keeps_its_results(self, plan: str) -> None:
        items = self.make_items()
        expected = {}
        for item in items:
            result, error = await self.call(item)
            if error is None:
                expected[item.key] = (
                    None if result is None else msgspec.json.encode(result).decode()
                )

        async with Trial(_Given(items), Plan(plan), handler=self._made_handler()) as trial:
            await trial.finish()
            stored = {b.id: b.result async for b in trial.store.bookmarks()}

        assert stored == {key: expected.get(key) for key in stored}
