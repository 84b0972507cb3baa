"""Wrong objects handed to the test kit: each refusal names what was given, what is missing, and what is asked for."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twitor_fsm.errors import ConfigurationError
from twitor_fsm.sources.base import Item
from twitor_fsm.testing import (
    CrawlMachine,
    Faults,
    FaultySource,
    FaultyStore,
    HandlerContract,
    ListSource,
    MemoryStore,
    SourceContract,
    Trial,
    crash_points,
)
from twitor_fsm.testing.contracts.place import Place


class NoFetch:
    """A source that forgot what matters."""

    name = service = endpoint = "mine"
    page_sizes = ()
    price_usd = None
    decode = None

    async def aclose(self) -> None:
        """Nothing."""


async def run(folder: Path) -> None:
    raise AssertionError("nothing is to be run")


async def one_argument(item: Item) -> None:
    raise AssertionError("nothing is to be run")


def one_argument_more(folder: Path, more: Path) -> None:
    raise AssertionError("nothing is to be run")


class Sources(SourceContract):
    given: Any = ListSource

    def make_source(self) -> Any:
        return self.given


class Handlers(HandlerContract):
    def make_handler(self) -> Any:
        return one_argument


class Crawls(CrawlMachine):
    def make_source(self) -> Any:
        return NoFetch()


class CrawlsNowhere(CrawlMachine):
    def make_store(self) -> Any:
        return MemoryStore


class DeafSource(ListSource):
    fetch = None  # type: ignore[assignment]


def set_up(machine: CrawlMachine) -> None:
    try:
        machine.set_up()
    finally:
        machine.teardown()


PARTS = "name, service, endpoint, page_sizes, price_usd, fetch, decode, aclose"

WRONG: list[tuple[str, Callable[[], object], tuple[str, ...]]] = [
    (
        "a class as a source",
        lambda: FaultySource(ListSource, Faults()),  # type: ignore[arg-type]
        ("FaultySource was given the class ListSource, not a source", "ListSource(...)"),
    ),
    (
        "a source without fetch",
        lambda: FaultySource(NoFetch(), Faults()),  # type: ignore[arg-type]
        ("an object of type NoFetch, which is no source: it has no fetch.", f"asks for {PARTS}."),
    ),
    (
        "a source whose fetch is no method",
        lambda: FaultySource(DeafSource([]), Faults()),  # type: ignore[arg-type]
        ("an object of type DeafSource, which is no source: fetch cannot be called",),
    ),
    (
        "a plan as faults",
        lambda: FaultySource(ListSource([]), "page 1: NETWORK"),  # type: ignore[arg-type]
        ("FaultySource was given an object of type str as its faults", "Faults(Plan(...))"),
    ),
    (
        "a text as a store",
        lambda: FaultyStore("my.db", Faults()),  # type: ignore[arg-type]
        ("FaultyStore was given the text 'my.db', not a store", "SqlStore('my.db')"),
    ),
    (
        "a class as a store",
        lambda: FaultyStore(MemoryStore, Faults()),  # type: ignore[arg-type]
        ("FaultyStore was given the class MemoryStore, not a store",),
    ),
    (
        "a source as a store",
        lambda: FaultyStore(ListSource([]), Faults()),  # type: ignore[arg-type]
        ("which is no store: it has no open, close, check, claim, commit,",),
    ),
    (
        "a class as a trial's source",
        lambda: Trial(ListSource),  # type: ignore[arg-type]
        ("the trial was given the class ListSource",),
    ),
    (
        "a handler of one argument",
        lambda: Trial(ListSource([]), handler=one_argument),  # type: ignore[arg-type]
        ("the trial was given the function one_argument, not a handler: async def handler(item, ",),
    ),
    (
        "a coroutine as a run",
        lambda: crash_points(run(Path())),  # type: ignore[arg-type]
        ("crash_points was given an object of type coroutine, not a run: async def run(folder)",),
    ),
    (
        "a run without a folder",
        lambda: crash_points(lambda: None),  # type: ignore[arg-type,misc]
        ("crash_points was given the function <lambda>, not a run",),
    ),
    (
        "a world that is none",
        lambda: crash_points(run, world=asyncio.Lock()),  # type: ignore[arg-type]
        ("crash_points was given an object of type Lock, not a world",),
    ),
    (
        "a check of two",
        lambda: crash_points(run, check=one_argument_more),  # type: ignore[arg-type]
        ("not a check: def check(folder)",),
    ),
    (
        "a contract's class",
        lambda: asyncio.run(Sources().test_it_says_what_it_is()),
        ("make_source of the contract was given the class ListSource",),
    ),
    (
        "a contract's handler",
        lambda: asyncio.run(Handlers().test_it_returns_what_json_can_hold()),
        ("make_handler of the contract was given the function one_argument",),
    ),
    (
        "a contract's store",
        lambda: asyncio.run(Place(lambda: "my.db").store()),  # type: ignore[type-var]
        ("make_store of the contract was given the text 'my.db', not a store",),
    ),
    (
        "a machine's source",
        lambda: set_up(Crawls()),
        ("the trial was given an object of type NoFetch, which is no source",),
    ),
    (
        "a machine's store",
        lambda: set_up(CrawlsNowhere()),
        ("make_store of the machine was given the class MemoryStore, not a store",),
    ),
]


@pytest.mark.parametrize(("hand_over", "told"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_is_missing_is_said_before_anything_runs(
    hand_over: Callable[[], object], told: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        hand_over()
    assert str(raised.value).endswith("Nothing was run")
    for words in told:
        assert words in str(raised.value)
