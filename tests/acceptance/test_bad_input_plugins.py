"""Sources and handlers of an embedder that break their contract: each is told what it did, and no process dies of it."""

import asyncio
import logging
import math
import operator
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
from scripted import ids, stored

from twitor_fsm.config import Settings
from twitor_fsm.core.recovery import PAUSE_SLACK_S, WINDOW_S
from twitor_fsm.core.states import State
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import ConfigurationError
from twitor_fsm.fetching import MAX_CURSOR
from twitor_fsm.plugins import MAX_WORD
from twitor_fsm.report import CrawlReport, exit_code
from twitor_fsm.sources.base import End, Item, Page, Usage
from twitor_fsm.testing import ListSource, MemoryStore, VirtualClock
from twitor_fsm.testing.simulated_time import LoopClock, SimulatedLoop

Change = Callable[[Page], Any]

LISTING = ids(30)
EXIT = 3


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[CrawlEngine]:
    path = str(tmp_path / "bookmarks.db")
    async with CrawlEngine(path, settings=Settings(), clock=VirtualClock()) as engine:
        yield engine


class Whole:
    """A number as numpy's are: no `int`, but one by `__index__`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> int:
        return operator.index(self.value)


class Odd(ListSource):
    """A source whose second page is changed before it is given."""

    change: Change = staticmethod(lambda page: page)

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        page = await super().fetch(user_id, cursor, page_size)
        changed: Page = self.change(page) if cursor is not None else page
        return changed


def odd(change: Change) -> Odd:
    source = Odd(LISTING)
    source.change = change
    return source


def with_items(**changes: Any) -> Change:
    return lambda page: attrs.evolve(
        page, items=tuple(attrs.evolve(item, **changes) for item in page.items)
    )


def with_parts(**changes: Any) -> Change:
    return lambda page: attrs.evolve(page, **changes)


def usage_of(values: dict[str, Any]) -> Usage:
    return attrs.evolve(Usage(), **values)


PAGES: dict[str, tuple[Change, str]] = {
    "none": (lambda _: None, "returned a NoneType instead of a Page"),
    "a dict": (lambda _: {"items": []}, "returned a dict instead of a Page"),
    "items missing": (with_parts(items=None), "items as a NoneType instead of a tuple"),
    "items once only": (with_parts(items=iter(())), "instead of a tuple"),
    "items of text": (with_parts(items=("a",)), "gave a str instead of an Item"),
    "a cursor of bytes": (with_parts(next_cursor=b"x", end=End.MORE), "must name a next cursor"),
    "a cursor without end": (
        with_parts(next_cursor="x" * (MAX_CURSOR + 1), end=End.MORE),
        f"{MAX_CURSOR + 1} characters",
    ),
    "an end of its own": (with_parts(end="over"), "'over' of its page's end"),
    "no usage": (with_parts(usage=None), "must give a Usage"),
    "requests of text": (with_parts(usage=usage_of({"requests": "1"})), "count its requests"),
    "requests of half": (
        with_parts(usage=usage_of({"requests": Decimal("1.5")})),
        "count its requests",
    ),
    "a time of text": (
        with_parts(usage=usage_of({"closed_until": "1e9"})),
        "closed_until is a number or None",
    ),
    "a time that signals": (
        with_parts(usage=usage_of({"closed_until": Decimal("sNaN")})),
        "closed_until is a number or None",
    ),
    "requests below zero": (with_parts(usage=Usage(requests=-1)), "count its requests"),
    "items beyond number": (with_parts(usage=Usage(items=2**40)), "count its items"),
    "a key of a number": (with_items(key=7), "whose key must be text"),
    "raw of bytes": (with_items(raw=b"{}"), "whose raw is a bytes instead of text"),
    "no raw": (with_items(raw=None), "whose raw is a NoneType"),
}


@pytest.mark.parametrize(("change", "said"), PAGES.values(), ids=list(PAGES))
async def test_a_page_that_breaks_the_contract_is_told_and_keeps_what_came_before(
    engine: CrawlEngine, change: Change, said: str
) -> None:
    report = await engine.crawl(odd(change), user_id="me")

    assert (report.state, report.reason, exit_code(report)) == (State.SHUT_DOWN, "configuration", 1)
    assert said in report.message
    assert "nothing of that page was used" in report.message
    assert "memory" not in report.message
    assert await stored(engine) == LISTING[:20]
    assert (await engine.crawl(ListSource(LISTING), user_id="me")).completed
    assert sorted(await stored(engine)) == sorted(LISTING)


@pytest.mark.parametrize("changes", [{"text": 7}, {"author_id": ["x"]}, {"created_at": 5.0}])
async def test_a_field_of_the_wrong_type_costs_its_item(
    engine: CrawlEngine, changes: dict[str, Any]
) -> None:
    report = await engine.crawl(odd(with_items(**changes)), user_id="me")

    assert report.completed
    assert (report.counters.stored, report.counters.skipped) == (20, 10)
    assert {brief.reason for brief in report.skipped_items} == {Reason.ENCODING}


class Plain(ListSource):
    def fetch(self, *_: Any) -> Any:
        return Page(items=(), next_cursor=None, end=End.VERIFIED)


class Generating(ListSource):
    async def fetch(self, *_: Any) -> Any:
        yield Page(items=(), next_cursor=None, end=End.VERIFIED)


@pytest.mark.parametrize("source", [Plain, Generating])
async def test_a_fetch_that_is_no_coroutine_function_is_told_so(
    engine: CrawlEngine, source: type[ListSource]
) -> None:
    report = await engine.crawl(source(LISTING), user_id="me")

    assert (report.category, report.reason) == (ErrorCategory.FATAL, Reason.CONFIGURATION)
    assert "its `fetch` must be a coroutine function" in report.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("price_usd", "0.1"),
        ("price_usd", float("nan")),
        ("price_usd", True),
        ("price_usd", Decimal("-0.1")),
        ("price_usd", Decimal("sNaN")),
        ("price_usd", 10**400),
        ("page_sizes", None),
        ("page_sizes", ("90",)),
        ("page_sizes", (0,)),
        ("page_sizes", "90"),
        ("page_sizes", [Whole([90, 10])]),
        ("page_sizes", b"90"),
        ("page_sizes", range(2, -1, -1)),
        ("service", None),
        ("endpoint", 3),
        ("name", "x" * (MAX_WORD + 1)),
        ("name", "two\nlines"),
        ("service", " "),
    ],
)
async def test_a_source_with_a_wrong_attribute_starts_nothing(
    engine: CrawlEngine, name: str, value: Any
) -> None:
    source = ListSource(LISTING)
    setattr(source, name, value)

    with pytest.raises(ConfigurationError, match=f"source's {name} .* Nothing was started"):
        await engine.crawl(source, user_id="me")
    assert await engine.sessions() == []
    assert source.requests == 0


@pytest.mark.parametrize(
    "user_id", ["", " ", "x\ny", "\t", "a\x00b", "\u202e7", "\ud800", "x" * (MAX_WORD + 1), 7, None]
)
async def test_a_user_id_that_the_command_would_refuse_starts_nothing(
    engine: CrawlEngine, user_id: Any
) -> None:
    source = ListSource(LISTING)

    for call in (
        engine.crawl(source, user_id=user_id),
        engine.start(source, user_id=user_id),
        engine.reserve(user_id, "x"),
    ):
        with pytest.raises(ConfigurationError, match=r"user_id is .* Nothing was started"):
            await call
    assert await engine.store.crawls() == []
    assert source.requests == 0


# -- numbers of other kinds ------------------------------------------------------------------------


class Few(IntEnum):
    ONE = 1
    FIVE = 5


@pytest.mark.parametrize(
    ("price", "cost"), [(Decimal("0.001"), 0.03), (Fraction(1, 500), 0.06), (1, 30.0)]
)
async def test_a_price_may_be_any_kind_of_number(
    engine: CrawlEngine, price: Any, cost: float
) -> None:
    report = await engine.crawl(ListSource(LISTING, price_usd=price), user_id="me")

    assert (report.state, report.cost_usd_estimate) == (State.COMPLETED, cost)
    assert type(report.cost_usd_estimate) is float


class Sized(ListSource):
    """A source that notes which sizes it was asked for."""

    asked: list[int | None]

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        self.asked.append(page_size)
        return await super().fetch(user_id, cursor, page_size)


@pytest.mark.parametrize("sizes", [range(20, 0, -10), [Whole(20), Whole(10)], (20, 10)])
async def test_page_sizes_may_be_any_sequence_of_whole_numbers(
    engine: CrawlEngine, sizes: Any
) -> None:
    source = Sized(LISTING, page_sizes=sizes)
    source.asked = []
    options: dict[str, Any] = {"max_items": Whole(5)}
    limited = await engine.crawl(source, user_id="me", **options)

    assert (limited.counters.stored, source.asked[0]) == (5, 10)
    assert {type(size) for size in source.asked} == {int}


@pytest.mark.parametrize("one", [True, Few.ONE, Whole(1)], ids=lambda one: type(one).__name__)
async def test_counts_may_be_any_kind_of_whole_number(engine: CrawlEngine, one: Any) -> None:
    report = await engine.crawl(odd(with_parts(usage=Usage(requests=one, items=one))), user_id="me")

    assert report.completed
    assert report.counters.stored == len(LISTING)
    assert report.counters.items_fetched == len(LISTING[:20]) + 1
    assert type(report.counters.items_fetched) is int


@pytest.mark.parametrize("richness", [Few.FIVE, Whole(5)], ids=lambda value: type(value).__name__)
async def test_richness_may_be_any_kind_of_whole_number(engine: CrawlEngine, richness: Any) -> None:
    assert (await engine.crawl(odd(with_items(richness=richness)), user_id="me")).completed
    assert sorted(await stored(engine)) == sorted(LISTING)


@pytest.mark.parametrize(
    ("until", "waits"),
    [
        (10**400, True),
        (Fraction(10**400), True),
        (math.inf, True),
        (Decimal("Infinity"), True),
        (-(10**400), False),
        (math.nan, False),
        (True, False),
    ],
    ids=lambda value: repr(value)[:12],
)
async def test_of_an_absurd_time_a_window_is_believed_at_most(
    engine: CrawlEngine, until: Any, waits: bool
) -> None:
    source = ListSource(LISTING, closed_until=lambda number: until if number == 1 else None)
    before = engine.clock.now()
    report = await engine.crawl(source, user_id="me")

    assert report.completed
    assert report.counters.stored == len(LISTING)
    assert engine.clock.now() - before == (pytest.approx(WINDOW_S + PAUSE_SLACK_S) if waits else 0)


async def one_argument(item: Item) -> None: ...


@pytest.mark.parametrize(
    "options",
    [
        {"handler": one_argument},
        {"handler": 5},
        {"max_items": "5"},
        {"max_items": True},
        {"page_size": 0},
        {"page_size": 2.5},
    ],
)
async def test_an_option_that_cannot_work_starts_nothing(
    engine: CrawlEngine, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="Nothing was started"):
        await engine.crawl(ListSource(LISTING), user_id="me", **options)
    assert await engine.sessions() == []


@pytest.mark.parametrize("call", ["crawl", "start"])
async def test_a_misspelt_option_starts_nothing(engine: CrawlEngine, call: str) -> None:
    """Its items would be stored without the handler, and never be given to it again."""
    options: dict[str, Any] = {"handlr": None}

    with pytest.raises(TypeError, match=r"no option 'handlr': did you mean 'handler'\?"):
        await getattr(engine, call)(ListSource(LISTING), user_id="me", **options)

    assert await engine.sessions() == []


# -- what they raise -------------------------------------------------------------------------------

RAISED = [
    SystemExit(EXIT),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopAsyncIteration(),
    RecursionError(),
    BaseExceptionGroup("of", [SystemExit(EXIT)]),
    BaseExceptionGroup("of", [asyncio.CancelledError()]),
    AttributeError("no such thing"),
]
RAISING = pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)


@RAISING
async def test_whatever_a_source_raises_ends_its_session_and_nothing_else(
    engine: CrawlEngine, error: BaseException
) -> None:
    other = await engine.start(ListSource(LISTING), user_id="other")
    report = await engine.crawl(ListSource(LISTING, script={2: error}), user_id="me")

    assert (report.state, report.durable, exit_code(report)) == (State.SHUT_DOWN, True, 1)
    assert report.message.startswith("the source ")
    assert "memory" not in report.message
    assert (await other.wait()).completed
    assert (await engine.crawl(ListSource(LISTING), user_id="me")).completed


@RAISING
async def test_whatever_a_handler_raises_ends_its_session_and_nothing_else(
    engine: CrawlEngine, error: BaseException
) -> None:
    async def handler(item: Item, fence: int) -> None:
        if item.key == LISTING[5]:
            raise error

    other = await engine.start(ListSource(LISTING), user_id="other")
    report = await engine.crawl(ListSource(LISTING), user_id="me", handler=handler)

    assert (report.state, report.durable, exit_code(report)) == (State.SHUT_DOWN, True, 1)
    assert report.message.startswith("the handler ")
    assert "memory" not in report.message
    assert report.counters.stored == 5
    assert (await other.wait()).completed
    assert (await engine.crawl(ListSource(LISTING), user_id="me")).completed


async def test_a_bug_is_told_by_its_place_and_logged_with_its_traceback(
    engine: CrawlEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(item: Item, fence: int) -> None:
        raise IndexError(item.text)

    report = await engine.crawl(ListSource(LISTING), user_id="me", handler=handler)

    where = f"{Path(__file__).name}, line {handler.__code__.co_firstlineno + 1}"
    assert f"the handler failed: unexpected IndexError at {where}" in report.message
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


async def test_memory_that_is_used_up_is_still_told_as_that(engine: CrawlEngine) -> None:
    report = await engine.crawl(ListSource(LISTING, script={2: MemoryError()}), user_id="me")

    assert report.reason == Reason.OUT_OF_MEMORY
    assert "free memory/disk" in report.message


@pytest.mark.parametrize("error", [SystemExit(EXIT), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_a_source_that_does_not_close_ends_no_process(
    engine: CrawlEngine, error: BaseException
) -> None:
    class Unclosing(ListSource):
        async def aclose(self) -> None:
            raise error

    assert (await engine.crawl(Unclosing(LISTING), user_id="me")).completed


# -- a blocked loop ---------------------------------------------------------------------------------

BLOCKED_S = 25.0


def run_blocked(block_s: float) -> tuple[list[CrawlReport], list[str]]:
    """Two crawls on one loop; the handler of the first blocks it once, on the loop's own time."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    async def story(loop: SimulatedLoop) -> list[CrawlReport]:
        async def blocking(item: Item, fence: int) -> None:
            if item.key == LISTING[4]:
                loop._jump.time += block_s
            await asyncio.sleep(1.0)

        async def patient(item: Item, fence: int) -> None:
            await asyncio.sleep(1.0)

        clock = LoopClock(loop)
        handlers: list[Callable[[Item, int], Awaitable[None]]] = [blocking, patient]
        async with CrawlEngine(MemoryStore(), settings=Settings(), clock=clock) as engine:
            crawls = [
                engine.crawl(ListSource(LISTING), user_id=str(number), handler=handler)
                for number, handler in enumerate(handlers)
            ]
            return list(await asyncio.gather(*crawls))

    listener = Listener(logging.WARNING)
    logger = logging.getLogger("twitor_fsm.session")
    logger.addHandler(listener)
    try:
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, SimulatedLoop)
            return runner.run(story(loop)), said
    finally:
        logger.removeHandler(listener)


def test_a_blocked_loop_is_told_and_every_session_goes_on() -> None:
    reports, said = run_blocked(BLOCKED_S)

    assert all(report.completed and report.counters.stored == len(LISTING) for report in reports)
    told = [message for message in said if "the event loop stood still" in message]
    assert len(told) == len(reports)  # each session tells how late its own sign of life is
    assert all("asyncio.to_thread" in message for message in told)
    assert run_blocked(0.0)[1] == []
