"""Giant items and pages: each costs itself or its page, and memory stays within what the limits allow."""

import asyncio
import json
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
import tool_files as tools
from raw_http import RawServer, answer, page, post, serving

from twitor_fsm.config import Settings
from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import SourceUnavailable
from twitor_fsm.sources.base import InvalidRaw, Item, Source
from twitor_fsm.sources.files import FileBookmarks
from twitor_fsm.sources.formats import FORMATS
from twitor_fsm.sources.x_api import XBookmarks
from twitor_fsm.sources.x_decode import decode_page
from twitor_fsm.testing import VirtualClock

MIB = 1 << 20
USER = "42"
LONG = "a long text " * 300
LISTING = [post(0), post(1, LONG), post(2)]


def x_source(server: RawServer, **options: Any) -> XBookmarks:
    return XBookmarks("token", base_url=server.url, **options)


async def stored(engine: CrawlEngine) -> list[str]:
    return sorted([bookmark.id async for bookmark in engine.bookmarks()])


# -- one item ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["x", "file"])
async def test_an_item_beyond_the_limit_is_skipped_and_comes_with_a_higher_one(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "pages.json"
    path.write_text(json.dumps(page(LISTING)))
    async with (
        serving(answer(200, page(LISTING))) as server,
        CrawlEngine(str(tmp_path / "b.db"), settings=Settings(), clock=VirtualClock()) as engine,
    ):

        def source(limit: int) -> Source:
            if kind == "x":
                return x_source(server, max_item_bytes=limit)
            return FileBookmarks(path, max_item_bytes=limit)

        report = await engine.crawl(source(2000), user_id=USER)
        assert report.completed
        assert await stored(engine) == ["1000", "1002"]
        (skip,) = await engine.skipped()
        assert (skip.skip.key, skip.skip.reason) == ("1001", Reason.INVALID_ITEM)
        assert "larger than 2000 bytes" in skip.skip.message
        assert LONG[:50] not in skip.skip.message

        assert await engine.retry_skipped() == 1
        assert (await engine.crawl(source(20_000), user_id=USER)).completed
        assert await stored(engine) == ["1000", "1001", "1002"]
        assert await engine.skipped() == []


RECORDS: dict[str, tuple[Any, str]] = {
    "twillot": (tools.twillot_record(1), "tweet_id"),
    "exporter": (tools.exporter_record(1), "id"),
    "fieldtheory": (tools.fieldtheory_record(1), "tweetId"),
    "archive": (tools.bookmark(1), "tweetId"),
    "likes": (tools.like(1), "tweetId"),
    "website": (tools.entry(1, {"result": tools.tweet(1)}), "entryId"),
}


@pytest.mark.parametrize(("record", "name"), RECORDS.values(), ids=list(RECORDS))
def test_every_format_knows_the_id_of_what_is_too_large(record: Any, name: str) -> None:
    element = json.dumps(record).encode()
    assert name in element.decode()
    form = next(
        form
        for form in FORMATS
        if form.recognises({k: json.dumps(v).encode() for k, v in record.items()})
    )
    (whole,) = form.decode(element)
    (cut,) = form.decode(element, len(element) - 1)

    assert isinstance(whole, Item)
    assert isinstance(cut, InvalidRaw)
    assert cut.key == whole.key
    assert form.decode_kept(cut.raw) == whole


# -- one page ---------------------------------------------------------------------------------------

MANY = b'{"meta":{},"%s":[' + b"1," * (2 * MIB) + b"1]}"


def test_a_page_of_two_million_elements_is_none_and_takes_little_memory() -> None:
    body = MANY % b"data"
    tracemalloc.start()
    try:
        with pytest.raises(SourceUnavailable, match="more than 1000 elements") as caught:
            decode_page(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason is Reason.BAD_PAGE
    assert peak < 2 * len(body)


def test_of_two_million_errors_few_are_looked_at() -> None:
    body = MANY % b"errors"
    tracemalloc.start()
    try:
        found = decode_page(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.items, found.has_data, found.errors) == ((), False, 10_000)
    assert peak < 2 * len(body)


def test_an_include_that_every_post_refers_to_is_not_copied_into_each() -> None:
    refers: dict[str, Any] = {"referenced_tweets": [{"type": "quoted", "id": "7"}]}
    huge = {"id": "7", "text": "x" * (4 * MIB)}
    body = json.dumps(
        page(
            [post(n, **refers) for n in range(90)], includes={"tweets": [huge]}
        )  # would be 90 times
    ).encode()
    tracemalloc.start()
    try:
        found = decode_page(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [item.key for item in found.items] == [str(1000 + n) for n in range(90)]
    assert all(isinstance(item, Item) and len(item.raw) < 1000 for item in found.items)
    assert peak < 4 * len(body)


def test_includes_without_number_are_left_out_and_the_posts_stay() -> None:
    body = b'{"data":[{"id":"1","text":"a"}],"meta":{},"includes":{"users":[%s1]}}' % (
        b"1," * (2 * MIB)
    )
    tracemalloc.start()
    try:
        (item,) = decode_page(body).items
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(item, Item)
    assert peak < 4 * len(body)


# -- a whole process ----------------------------------------------------------------------------------

CHILD = """
import asyncio, resource, sys
from twitor_fsm import CrawlEngine, Settings
from twitor_fsm.sources.x_api import XBookmarks

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def crawl(url, name):
    settings = Settings(initial_backoff=0.0, max_retries=1, max_page_bytes=int(sys.argv[2]))
    async with CrawlEngine(name, settings=settings) as engine:
        source = XBookmarks("token", base_url=url, max_page_bytes=settings.max_page_bytes)
        return await engine.crawl(source, user_id="42")

good = asyncio.run(crawl(sys.argv[1], sys.argv[3]))
before = peak()
bad = asyncio.run(crawl(sys.argv[1] + "/bad", sys.argv[4]))
print(good.counters.stored, bad.reason, bad.counters.requests, peak() - before)
"""
CAP = 8 * MIB


def packed(size: int) -> bytes:
    packing = zlib.compressobj(wbits=31)
    parts = [packing.compress(b" " * MIB) for _ in range(size // MIB)]
    return b"".join([*parts, packing.flush()])


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


BODIES: dict[str, Any] = {
    "a bomb of 100 MiB": answer(200, packed(100 * MIB), content_encoding="gzip"),
    "a body without end": endless,
    "four million elements": answer(
        200, b'{"meta":{"result_count":1},"data":[' + b"1," * (4 * MIB - 100) + b"1]}"
    ),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
async def test_no_answer_makes_a_process_grow_beyond_twice_the_limit(
    tmp_path: Path, body: Any
) -> None:
    """Resident memory as the system counts it, of a real crawl into SQLite."""
    async with serving(answer(200, page(LISTING)), body) as server:
        server.answers.insert(1, answer(200, page(LISTING)))  # its end is asked for twice
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CHILD, server.url, str(CAP)),
            *(str(tmp_path / "good.db"), str(tmp_path / "bad.db")),
            stdout=subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    stored_well, reason, requests, grown = out.decode().split()
    assert (stored_well, reason, requests) == ("3", "bad_page", "2")
    assert int(grown) < 2 * CAP
