"""What a handler returns is stored as JSON with its item, or says clearly that it cannot be."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import attrs
import pydantic
import pytest
from scripted import ids

from twitor_fsm import CrawlEngine, Item, Reason
from twitor_fsm.report import CrawlReport
from twitor_fsm.testing import ListSource


@attrs.frozen
class Value:
    """A value of an app's own."""

    label: str


@dataclass
class Data:
    """Another one."""

    label: str


class Colour(Enum):
    """A closed set."""

    RED = "red"


class Model(pydantic.BaseModel):
    """What is no plain value: it has `model_dump` for that."""

    label: str


async def crawled(engine: CrawlEngine, result: Any) -> CrawlReport:
    """A crawl of one item whose handler returns this."""

    async def handler(item: Item, fence: int) -> Any:
        return result

    return await engine.crawl(ListSource(ids(1)), user_id="me", handler=handler)


@pytest.mark.parametrize(
    ("result", "stored"),
    [
        (None, None),
        ({"a": [1, 2.5, True, None, "é"]}, '{"a":[1,2.5,true,null,"é"]}'),
        (("a", "b"), '["a","b"]'),
        ({7}, "[7]"),
        (frozenset({"x"}), '["x"]'),
        (b"\x00\xff", '"AP8="'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '"2026-01-02T03:04:05Z"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (Decimal("1.10"), '"1.10"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Colour.RED, '"red"'),
        ({1: "one"}, '{"1":"one"}'),
        (Value("long"), '{"label":"long"}'),
        (Data("long"), '{"label":"long"}'),
        (Model(label="long").model_dump(), '{"label":"long"}'),
    ],
)
async def test_a_result_is_stored_as_json(
    engine: CrawlEngine, result: Any, stored: str | None
) -> None:
    assert (await crawled(engine, result)).completed
    assert [bookmark.result async for bookmark in engine.bookmarks()] == [stored]


@pytest.mark.parametrize("result", [math.nan, {"score": math.inf}, [(-math.inf,)]])
async def test_a_number_that_json_does_not_know_skips_the_item(
    engine: CrawlEngine, result: Any
) -> None:
    report = await crawled(engine, result)

    assert (report.state, report.counters.skipped) == ("completed", 1)
    assert report.skipped_items[0].reason == Reason.REFUSED_BY_HANDLER


@pytest.mark.parametrize("result", [Model(label="x"), "\ud800", object(), {(1, 2): "x"}, 1 + 2j])
async def test_what_json_cannot_hold_ends_the_session(engine: CrawlEngine, result: Any) -> None:
    report = await crawled(engine, result)

    assert (report.state, report.counters.stored) == ("shut_down", 0)
    assert f"returned {type(result).__name__}, which JSON cannot hold" in report.message
    assert [bookmark async for bookmark in engine.bookmarks()] == []
