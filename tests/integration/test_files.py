"""Files of bookmarks: every format, in pieces, resumed anywhere, damaged, changed, unknown."""

import asyncio
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import ConfigurationError, CursorRefused, UnreadableFile
from twitor_fsm.simulator import Simulator
from twitor_fsm.sources import file_elements
from twitor_fsm.sources.base import End, InvalidRaw, Item, ItemKind, Page, Source
from twitor_fsm.sources.files import FileBookmarks
from twitor_fsm.sources.json_split import NotJson, Shape, Splitter, split_array, split_object
from twitor_fsm.sources.x_api import XBookmarks

BOM = b"\xef\xbb\xbf"


def record(number: int, **more: Any) -> dict[str, Any]:
    """One record as twitter-web-exporter writes it."""
    return {
        "id": str(10**18 + number),
        "created_at": "2024-05-01 12:34:56 +08:00",
        "full_text": f'text {number} \u2028 [{{"\\',
        "media": [],
        "screen_name": "ada",
        "name": "Ada L",
        "profile_image_url": "https://pbs.twimg.com/x.jpg",
        "user_id": "7",
        "in_reply_to": None,
        "retweeted_status": None,
        "quoted_status": None,
        "favorite_count": 5,
        "bookmarked": True,
        "url": "https://twitter.com/ada/status/1",
        **more,
    }


def api_page(first: int, count: int, **more: Any) -> dict[str, Any]:
    return {
        "data": [
            {"id": str(first + n), "text": f"t{first + n}", "author_id": "7"} for n in range(count)
        ],
        "includes": {"users": [{"id": "7", "username": "ada", "name": "Ada L"}]},
        "meta": {"result_count": count, "next_token": "x"},
        **more,
    }


def text(value: Any, **options: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, **options).encode()


async def pages(path: Path, **options: Any) -> list[Page]:
    found: list[Page] = []
    async with FileBookmarks(path, **options) as source:
        cursor: str | None = None
        while True:
            found.append(await source.fetch("1", cursor, None))
            cursor = found[-1].next_cursor
            if cursor is None:
                return found


async def items(path: Path, **options: Any) -> list[Item | InvalidRaw]:
    return [item for page in await pages(path, **options) for item in page.items]


def write(tmp_path: Path, content: bytes, name: str = "bookmarks.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


# -- formats ------------------------------------------------------------------------------------

PAGES = [api_page(1, 3), api_page(4, 0), api_page(4, 2)]
RECORDS = [record(n) for n in range(5)]
WAYS: dict[str, tuple[bytes, int]] = {
    "one page": (text(PAGES[0]), 3),
    "one page, indented, BOM": (BOM + b"\n  " + text(PAGES[0], indent=2) + b"\n", 3),
    "array of pages": (text(PAGES), 5),
    "array of pages, indented": (text(PAGES, indent=4), 5),
    "JSON Lines of pages": (b"\n".join(map(text, PAGES)) + b"\n", 5),
    "JSON Lines with CR LF, BOM, empty lines": (BOM + b"\r\n\r\n".join(map(text, PAGES)), 5),
    "pages one behind the other": (b"".join(map(text, PAGES)), 5),
    "page without meta": (text([{"data": PAGES[0]["data"]}]), 3),
    "page without bookmarks": (text({"meta": {"result_count": 0}}), 0),
    "records": (text(RECORDS), 5),
    "records, indented, BOM, spaces": (BOM + b" \t\r\n" + text(RECORDS, indent=2) + b"  ", 5),
    "record a line": (b"\n".join(map(text, RECORDS)), 5),
    "empty array": (b"[]", 0),
    "empty array, BOM": (BOM + b" [ ] \n", 0),
    "much space in front": (b" " * 10_000 + text(RECORDS), 5),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("page_size", [1, 2, 1000])
async def test_each_way_to_write_bookmarks_is_read(
    tmp_path: Path, way: str, page_size: int
) -> None:
    content, count = WAYS[way]
    found = await pages(write(tmp_path, content), page_size=page_size)
    keys = [item.key for page in found for item in page.items]
    expected = [r["id"] for r in RECORDS] if "record" in way or "space in" in way else list("12345")
    assert keys == expected[:count]
    assert all(len(page.items) <= page_size for page in found)
    assert [page.end for page in found] == [End.MORE] * (len(found) - 1) + [End.VERIFIED]
    assert all(
        isinstance(item, Item) and item.author_username == "ada"
        for page in found
        for item in page.items
    ) or (way == "page without meta")


async def test_a_file_is_a_source(tmp_path: Path) -> None:
    source = FileBookmarks(write(tmp_path, b"[]", "my file\n.json"))
    assert isinstance(source, Source)
    assert source.name.startswith("file:my_file_.json@")
    assert (source.service, source.endpoint, source.page_sizes, source.price_usd) == (
        "file",
        "bookmarks",
        (),
        0.0,
    )
    await source.aclose()
    await source.aclose()


async def test_a_record_of_the_exporter_is_decoded(tmp_path: Path) -> None:
    (item,) = await items(write(tmp_path, text([record(1)])))
    assert isinstance(item, Item)
    assert item.text == 'text 1 \u2028 [{"\\'
    assert (item.author_id, item.author_username, item.author_name) == ("7", "ada", "Ada L")
    assert item.created_at == "2024-05-01T04:34:56.000Z"
    assert json.loads(item.raw) == record(1)


@pytest.mark.parametrize(
    ("said", "metadata", "expected"),
    [
        ("2024-05-01T12:34:56Z", None, "2024-05-01T12:34:56.000Z"),
        ("2024-05-01 12:34:56 +0800", None, "2024-05-01T04:34:56.000Z"),
        ("2024-05-01 12:34:56", None, None),
        ("1.5.2024", None, None),
        (5, None, None),
        (
            "1.5.2024",
            {"legacy": {"created_at": "Wed May 01 04:34:56 +0000 2024"}},
            "2024-05-01T04:34:56.000Z",
        ),
        ("x", {"legacy": {"created_at": "Wed"}}, None),
        ("x", {"legacy": 5}, None),
    ],
)
async def test_the_exporters_date_is_certain_or_unknown(
    tmp_path: Path, said: Any, metadata: Any, expected: str | None
) -> None:
    (item,) = await items(write(tmp_path, text([record(1, created_at=said, metadata=metadata)])))
    assert isinstance(item, Item)
    assert item.created_at == expected


async def test_a_bad_element_costs_itself(tmp_path: Path) -> None:
    records = [record(0), None, record(1, id=5), record(2, full_text=None), 7, "x", record(3)]
    found = await items(write(tmp_path, text(records)))
    assert [isinstance(item, Item) for item in found] == [True, *[False] * 5, True]
    mixed = [
        api_page(1, 1),
        {"title": "Unauthorized", "status": 401},
        {"errors": [{}]},
        api_page(2, 1),
    ]
    found = await items(write(tmp_path, text(mixed)))
    assert [isinstance(item, Item) for item in found] == [True, False, False, True]


async def test_partial_errors_of_a_saved_page_are_tombstones(tmp_path: Path) -> None:
    error = {"resource_type": "tweet", "resource_id": "9", "parameter": "id"}
    found = await items(write(tmp_path, text(api_page(1, 1, errors=[error]))))
    assert [(item.key, item.kind) for item in found if isinstance(item, Item)] == [
        ("1", ItemKind.POST),
        ("9", ItemKind.TOMBSTONE),
    ]


async def test_every_element_is_found_again_by_its_raw(tmp_path: Path) -> None:
    contents = [RECORDS, PAGES, [record(0), None, record(1, id=5)], [api_page(1, 2), {"x": 1}]]
    for content in contents:
        path = write(tmp_path, text(content))
        source = FileBookmarks(path)
        for item in await items(path):
            again = source.decode(item.raw)
            assert type(again) is type(item)
            assert again.key == item.key
            if isinstance(item, Item):
                assert again == item


async def test_what_the_api_gave_reads_the_same_from_a_file(tmp_path: Path) -> None:
    saved: list[bytes] = []
    told: list[Item | InvalidRaw] = []
    async with (
        Simulator(bookmarks=120, seed=4) as sim,
        XBookmarks(sim.token, base_url=sim.base_url) as x,
    ):
        cursor = None
        while True:
            answer, _ = await x._ask(
                sim.user_id,
                f"/2/users/{sim.user_id}/bookmarks",
                x._query + (f"&pagination_token={cursor}" if cursor else ""),
                cursor_sent=bool(cursor),
            )
            saved.append(answer.body)
            page = x._page(answer, 1)
            told += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    assert await items(write(tmp_path, b"\n".join(saved))) == told
    assert await items(write(tmp_path, b"[" + b",".join(saved) + b"]")) == told


# -- resuming -------------------------------------------------------------------------------------


async def resumed_everywhere(path: Path, page_size: int) -> None:
    whole = await items(path)
    got: list[Item | InvalidRaw] = []
    cursor: str | None = None
    while True:
        async with FileBookmarks(path, page_size=page_size) as fresh:
            page = await fresh.fetch("1", cursor, None)
            assert await fresh.fetch("1", cursor, None) == page
        got += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert got == whole


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("page_size", [1, 2])
async def test_a_new_process_goes_on_where_the_old_one_ended(
    tmp_path: Path, way: str, page_size: int
) -> None:
    await resumed_everywhere(write(tmp_path, WAYS[way][0]), page_size)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    page_size=st.integers(1, 7),
    indent=st.none() | st.integers(0, 3),
    lines=st.booleans(),
    piece=st.sampled_from([1, 7, 64, 262_144]),
)
def test_any_file_resumes_anywhere(
    tmp_path: Path,
    sizes: list[int],
    page_size: int,
    indent: int | None,
    lines: bool,
    piece: int,
) -> None:
    values = [api_page(10 * place + 1, size) for place, size in enumerate(sizes)]
    parts = [text(value, indent=indent) for value in values]
    path = write(tmp_path, b"\n".join(parts) if lines else b"[" + b" ,\n".join(parts) + b"]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_elements, "PIECE_BYTES", piece)
        asyncio.run(resumed_everywhere(path, page_size))


async def test_resuming_does_not_read_what_stands_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_elements, "PIECE_BYTES", 4096)
    path = write(tmp_path, text([record(n) for n in range(2000)]))
    async with FileBookmarks(path, page_size=1900) as source:
        cursor = (await source.fetch("1", None, None)).next_cursor
    given: list[int] = []
    feed = Splitter.feed

    def counting(self: Splitter, piece: bytes, *, is_last: bool = False) -> None:
        given.append(len(piece))
        feed(self, piece, is_last=is_last)

    monkeypatch.setattr(Splitter, "feed", counting)
    async with FileBookmarks(path, page_size=10) as source:
        await source.fetch("1", cursor, None)
    assert sum(given) <= 3 * 4096


async def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, text(RECORDS))
    async with FileBookmarks(path, page_size=2) as source:
        cursor = (await source.fetch("1", None, None)).next_cursor
        path.write_bytes(text([record(9), *RECORDS]))
        with pytest.raises(CursorRefused):
            await source.fetch("1", cursor, None)
        assert len((await source.fetch("1", None, 100)).items) == 6
    async with FileBookmarks(path) as fresh:
        with pytest.raises(CursorRefused):
            await fresh.fetch("1", cursor, None)


async def test_a_replaced_file_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, text(RECORDS))
    async with FileBookmarks(path, page_size=2) as source:
        cursor = (await source.fetch("1", None, None)).next_cursor
        was = path.stat()
        other = write(tmp_path, text(RECORDS[::-1]), "other")
        os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
        other.replace(path)
        with pytest.raises(CursorRefused):
            await source.fetch("1", cursor, None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "1.0.array.web_exporter.5.0", "1." + "0" * 16 + ".array.none.5.0"]
)
async def test_a_foreign_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    async with FileBookmarks(write(tmp_path, text(RECORDS))) as source:
        with pytest.raises(CursorRefused):
            await source.fetch("1", cursor, None)


def saved_pages(first: int, upto: int) -> bytes:
    pages = (api_page(number, 100) for number in range(first, upto, 100))
    return b"".join(text(page) + b"\n" for page in pages)


async def test_what_was_written_behind_a_crawled_file_is_found_by_the_same_source(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, saved_pages(1000, 1500))
    async with CrawlEngine(str(tmp_path / "a.db")) as engine, FileBookmarks(path) as source:
        await engine.crawl(source, user_id="me")
        path.write_bytes(saved_pages(1000, 1500) + saved_pages(9000, 9100))

        again = await engine.crawl(source, user_id="me")

    assert (again.completed, again.counters.stored) == (True, 100)


@pytest.mark.parametrize("pages", [10, 100])
async def test_an_id_written_over_another_in_the_middle_is_found(
    tmp_path: Path, pages: int
) -> None:
    """The file begins and ends as the one that was crawled, and is as long."""
    upto = 100_000 + 100 * pages
    before = saved_pages(100_000, upto)
    path = write(tmp_path, before)
    async with CrawlEngine(str(tmp_path / "a.db")) as engine:
        await engine.crawl(FileBookmarks(path), user_id="me")
        after = before.replace(b'"100617"', b'"900617"')
        assert len(after) == len(before)
        assert after != before
        path.write_bytes(after)

        again = await engine.crawl(FileBookmarks(path), user_id="me")

    assert (again.completed, again.counters.stored) == (True, 1)


@pytest.mark.parametrize("is_asked_again", [False, True])
async def test_a_file_that_is_cut_while_it_is_read_is_not_taken_for_the_whole(
    tmp_path: Path, is_asked_again: bool
) -> None:
    """It is being written anew, say: the end of what is there is not the end of what the crawl is named for.

    Nor is it if somebody asks for the name meanwhile, as a worker does.
    """
    path = write(tmp_path, whole := saved_pages(1000, 2000))
    source = FileBookmarks(path, page_size=100)

    async def cut(item: Item, _fence: int) -> None:
        if item.key == "1150":
            path.write_bytes(saved_pages(1000, 1500))
            assert not is_asked_again or source.name

    async with CrawlEngine(str(tmp_path / "a.db")) as engine:
        first = await engine.crawl(source, user_id="me", handler=cut)
        path.write_bytes(whole)
        second = await engine.crawl(FileBookmarks(path), user_id="me")

    assert (first.completed, first.counters.stored) == (False, 500)
    assert "was cut or replaced while it was read" in first.message
    assert (second.completed, second.counters.stored) == (True, 500)


async def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, saved_pages(1000, 1300))

    async def grow(item: Item, _fence: int) -> None:
        if item.key == "1150":
            path.write_bytes(saved_pages(1000, 1500))

    async with CrawlEngine(str(tmp_path / "a.db")) as engine:
        first = await engine.crawl(FileBookmarks(path, page_size=100), user_id="me", handler=grow)

    assert (first.completed, first.counters.stored) == (True, 500)


async def test_the_end_of_a_replaced_file_is_not_said_for_the_one_that_a_crawl_began_with(
    tmp_path: Path,
) -> None:
    """The same object serves two users; the file is another when the second one begins, and then the first one again."""
    shared, own = saved_pages(1000, 1500), saved_pages(9000, 9100)
    path = write(tmp_path, shared + own)
    source = FileBookmarks(path, page_size=100)

    async with CrawlEngine(str(tmp_path / "a.db")) as engine:

        async def replace(item: Item, _fence: int) -> None:
            if item.key == "1050":
                path.write_bytes(shared)
                assert (await engine.crawl(source, user_id="second")).completed

        first = await engine.crawl(source, user_id="first", handler=replace)
        path.write_bytes(shared + own)
        again = await engine.crawl(source, user_id="first")
        stored = {bookmark.id async for bookmark in engine.bookmarks("first")}

    assert (first.completed, again.completed) == (False, True)
    assert len(stored) == 600


async def test_a_file_that_is_back_is_read_to_its_end_by_the_same_source(tmp_path: Path) -> None:
    path = write(tmp_path, before := saved_pages(1000, 1300))
    os.utime(path, (1e9, 1e9))
    source = FileBookmarks(path, page_size=100)
    async with CrawlEngine(str(tmp_path / "a.db")) as engine:
        await engine.crawl(source, user_id="me", max_items=100)
        path.write_bytes(saved_pages(5000, 5300))
        assert (await engine.crawl(source, user_id="me")).completed
        path.write_bytes(before)
        os.utime(path, (1e9, 1e9))

        again = await engine.crawl(source, user_id="me")

    assert (again.completed, again.counters.stored) == (True, 200)


def test_the_name_stands_for_the_content(tmp_path: Path) -> None:
    first = write(tmp_path, text(RECORDS), "b.json")
    (tmp_path / "copy").mkdir()
    copy = write(tmp_path / "copy", text(RECORDS), "b.json")
    assert FileBookmarks(first).name == FileBookmarks(copy).name
    assert (
        FileBookmarks(write(tmp_path, text(RECORDS[1:]), "b.json")).name != FileBookmarks(copy).name
    )
    assert FileBookmarks(tmp_path / "missing.json").name == "file:missing.json"
    assert len(FileBookmarks(tmp_path / ("ü" * 120)).name) <= 200


async def test_a_cancelled_fetch_leaves_the_source_usable(tmp_path: Path) -> None:
    path = write(tmp_path, text([record(n) for n in range(500)]))
    async with FileBookmarks(path, page_size=100) as source:
        first = await source.fetch("1", None, None)
        task = asyncio.create_task(source.fetch("1", first.next_cursor, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        second = await source.fetch("1", first.next_cursor, None)
    assert [item.key for item in second.items] == [record(n)["id"] for n in range(100, 200)]


# -- damage, and what is no file of bookmarks ------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 30, 600, 900])
@pytest.mark.parametrize("as_pages", [True, False])
async def test_what_stands_before_a_break_is_delivered(
    tmp_path: Path, cut: int, as_pages: bool
) -> None:
    content = text([api_page(n, 1) for n in range(1, 9)] if as_pages else RECORDS)[:-cut]
    path = write(tmp_path, content)
    got: list[str] = []
    async with FileBookmarks(path, page_size=3) as source:
        cursor: str | None = None

        async def read_on() -> None:
            nonlocal cursor
            while True:
                page = await source.fetch("1", cursor, None)
                assert page.end is End.MORE
                got.extend(item.key for item in page.items)
                cursor = page.next_cursor

        with pytest.raises(UnreadableFile) as caught:
            await read_on()
        with pytest.raises(UnreadableFile):
            await source.fetch("1", cursor, None)
    whole = [str(n) for n in range(1, 9)] if as_pages else [r["id"] for r in RECORDS]
    assert 0 < len(got) <= len(whole)
    assert got == whole[: len(got)]
    assert f"at byte {len(content)}" in str(caught.value)
    assert "stays" in str(caught.value)
    async with FileBookmarks(path) as fresh:
        with pytest.raises(UnreadableFile):
            await fresh.fetch("1", cursor, None)


async def test_damage_in_the_middle_names_its_byte(tmp_path: Path) -> None:
    good = text(record(1))
    content = b"[" + good + b",\n" + good[:-1] + b"],\n" + good + b"]"
    path = write(tmp_path, content)
    async with FileBookmarks(path) as source:
        page = await source.fetch("1", None, None)
        assert len(page.items) == 1
        for _ in range(2):
            with pytest.raises(UnreadableFile, match=f"at byte {len(good) * 2 + 2}"):
                await source.fetch("1", page.next_cursor, None)


DEXIE = {
    "formatName": "dexie",
    "formatVersion": 1,
    "data": {"databaseName": "twitter-web-exporter"},
}
UNKNOWN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "only space": (b" \n\t" * 5000, "it is empty"),
    "database export": (text(DEXIE), "database export"),
    "gzip": (b"\x1f\x8b\x08rest", "gzip"),
    "sqlite": (b"SQLite format 3\x00", "SQLite"),
    "web page": (b"<!DOCTYPE html>", "web page"),
    "another CSV": (b"URL,Post ID,Content\n1,2,3\n", "CSV with the columns URL, Post ID, Content,"),
    "the exporter's HTML": (
        b'\n    <html>\n      <head>\n        <meta charset="utf-8">\n        <title>Exported Data 2024',
        "HTML export of twitter-web-exporter",
    ),
    "archive's posts": (
        b'window.YTD.tweets.part0 = [ {\n  "tweet" : {',
        "'tweets' of X's data archive",
    ),
    "archive's posts, bare": (text([{"tweet": {"id_str": "1"}}]), "posts of X's data archive"),
    "archive's contents": (b"window.__THAR_CONFIG = {", "table of contents"),
    "likes of an archive": (b"window.YTD.like.part0 = [ ]", "it holds likes, no bookmarks"),
    "another listing": (
        text({"data": {"user": {"result": {}}}}),
        "no page of the bookmarks listing",
    ),
    "another table": (
        text([record(1, bookmarked=False), record(2, bookmarked=False)]),
        "marked as not bookmarked",
    ),
    "HAR without entries": (b'{"log": {"version": "1.2"}}', "HAR capture"),
    "UTF-16": ("\ufeff[]".encode("utf-16-le"), "UTF-16"),
    "UTF-16 without a mark": ("[{}]".encode("utf-16-be"), "UTF-16"),
    "prose": (b"hello world, this is it", '"hello world, thi"'),
    "binary": (b"\x00\x01\x02\xff", "the bytes 00 01 02 ff"),
    "binary with commas": (
        b"_z\x9c,\xfe;\xab\xc3\n\x01\x1f,",
        "it is no text: it begins with the bytes 5f 7a 9c",
    ),
    "numbers": (b"[1,2,3]", "no objects"),
    "nested arrays": (b"[[{}]]", "no objects"),
    "other objects": (text([{"foo": 1, "b\x1bar": 2}]), "foo, b?ar"),
    "empty object": (b"{}", "its first object is empty"),
    "bare posts": (text([{"id": "1", "text": "private words"}]), "id, text"),
}


NO_REMEDY = {
    "sqlite", "another CSV", "prose", "binary", "binary with commas", "numbers", "nested arrays",
    "other objects", "empty object", "bare posts",
}  # fmt: skip


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_an_unknown_file_is_told_what_was_seen_and_what_to_do_or_else_what_is_understood(
    tmp_path: Path, kind: str
) -> None:
    content, seen = UNKNOWN[kind]
    with pytest.raises(UnreadableFile) as caught:
        await items(write(tmp_path, content))
    message = str(caught.value)
    seen_in, _, understood = message.partition(". Nothing was stored of it")
    assert seen in seen_in
    assert understood.startswith(". Understood are: ") is (kind in NO_REMEDY)
    assert ("X API v2" in understood) is (kind in NO_REMEDY)
    assert ("CSV" in seen_in) is (kind == "another CSV")
    assert "private" not in message
    assert message.isprintable()


async def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        await items(tmp_path / "missing")
    with pytest.raises(UnreadableFile, match="Is a directory"):
        await items(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFile, match="no regular file"):
        await items(tmp_path / "pipe")


async def test_a_file_that_vanishes_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, text(RECORDS))
    async with FileBookmarks(path, page_size=2) as source:
        cursor = (await source.fetch("1", None, None)).next_cursor
        path.unlink()
        with pytest.raises(UnreadableFile, match="No such file"):
            await source.fetch("1", cursor, None)


async def test_an_element_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_elements, "MAX_ELEMENT_BYTES", 1 << 20)
    path = write(tmp_path, b"[" + text(record(0)) + b',{"id":"' + b"x" * (3 << 20))
    async with FileBookmarks(path) as source:
        page = await source.fetch("1", None, None)
        assert len(page.items) == 1
        with pytest.raises(UnreadableFile, match="more than 1048576 bytes"):
            await source.fetch("1", page.next_cursor, None)


@pytest.mark.parametrize("page_size", [0, -1, 10_001])
def test_a_page_size_that_cannot_work_is_refused(tmp_path: Path, page_size: int) -> None:
    with pytest.raises(ConfigurationError):
        FileBookmarks(tmp_path, page_size=page_size)


# -- size ---------------------------------------------------------------------------------------------


async def test_200_000_records_on_one_line_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    line = text(record(0)).decode()
    with path.open("w") as file:
        for number in range(200_000):
            file.write(
                ("," if number else "[") + line.replace("1000000000000000000", str(number + 1))
            )
        file.write("]")
    count = 0
    async with FileBookmarks(path) as source:
        cursor: str | None = None
        page = await source.fetch("1", cursor, None)
        tracemalloc.start()
        try:
            for _ in range(100):  # tracing makes it slow: a part of the way says it
                page = await source.fetch("1", page.next_cursor, None)
                count += len(page.items)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        while page.next_cursor is not None:
            page = await source.fetch("1", page.next_cursor, None)
            count += len(page.items)
    assert count == 200_000 - 200
    assert path.stat().st_size > 70_000_000
    assert peak < 4_000_000


async def test_a_saved_page_of_any_number_of_posts_is_read_whole(tmp_path: Path) -> None:
    count = 100_001
    error = {"resource_type": "tweet", "resource_id": "9", "parameter": "id"}
    others = [{"resource_type": "user", "resource_id": str(n)} for n in range(count)]
    whole = api_page(10, 1, errors=[*others, error])
    whole["data"] = [{"id": str(10 + n), "text": "t", "author_id": "7"} for n in range(count)]
    whole["includes"] = {"users": [{"id": "7", "username": "ada", "name": "Ada"}]}
    whole["meta"] = {"result_count": count}
    found = await items(write(tmp_path, text(whole)), page_size=10_000)

    assert [item.key for item in found] == [*(str(10 + n) for n in range(count)), "9"]
    assert all(isinstance(item, Item) for item in found)
    last = found[-2]
    assert isinstance(last, Item)
    assert last.author_username == "ada"


async def test_a_saved_page_is_not_held_as_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"data":[' + b"1," * 200_000 + b"1]}")
    async with FileBookmarks(path) as source:
        tracemalloc.start()
        try:
            page = await source.fetch("1", None, None)
            page = await source.fetch("1", page.next_cursor, None)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(page.items) == 200
    assert peak < 6 * path.stat().st_size  # a list of so many takes twenty times


async def test_a_saved_page_that_includes_too_much_ends_the_crawl(tmp_path: Path) -> None:
    whole = b'{"data":[{"id":"1","text":"a"}],"meta":{},"includes":{"users":['
    path = write(tmp_path, text(api_page(5, 1)) + b"\n" + whole + b"1," * 1_000_000 + b"1]}}")
    async with FileBookmarks(path) as source:
        page = await source.fetch("1", None, None)
        assert [item.key for item in page.items] == ["5"]
        assert page.end is End.MORE
        with pytest.raises(UnreadableFile, match="includes more than 1000000 objects"):
            await source.fetch("1", page.next_cursor, None)


# -- cutting JSON -------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(['"', "\\", "[{", "}]"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=15,
)


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@given(
    elements=st.lists(values, max_size=6),
    size=st.integers(1, 40),
    indent=st.none() | st.integers(0, 2),
    is_array=st.booleans(),
)
def test_values_are_cut_as_a_decoder_would(
    elements: list[Any], size: int, indent: int | None, is_array: bool
) -> None:
    texts = [json.dumps(element, indent=indent).encode() for element in elements]
    content = b"[" + b",".join(texts) + b"]" if is_array else b"\n".join(texts)
    splitter = Splitter(Shape.ARRAY if is_array else Shape.SEQUENCE)
    found: list[bytes] = []
    ends: list[int] = []
    for piece in [*pieces(content, size), b""]:
        splitter.feed(piece, is_last=not piece)
        while (value := splitter.take()) is not None:
            found.append(value)
            ends.append(splitter.position)
    assert splitter.is_ended
    assert [json.loads(value) for value in found] == elements
    for count, end in enumerate(ends, 1):
        rest = Splitter(splitter.shape, end, within=True)
        rest.feed(content[end:], is_last=True)
        assert list(iter(rest.take, None)) == found[count:]
    if is_array:
        assert split_array(content) == found


@given(members=st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_members_are_cut_as_a_decoder_would(members: dict[str, Any]) -> None:
    found = split_object(json.dumps(members, indent=1).encode())
    assert {name: json.loads(value) for name, value in found.items()} == members


TAIL = b',"\xff":NaN}'
"""A member that a decoder refuses, and brackets alone do not."""


@given(members=st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_members_are_cut_the_same_by_a_decoder_and_by_brackets(members: dict[str, Any]) -> None:
    content = json.dumps({**members, "z": 0}, indent=1).encode()
    spoiled = content[:-1].rstrip() + TAIL
    found = split_object(spoiled)
    assert found.pop("\udcff") == b"NaN"
    assert found == split_object(content)


@given(elements=st.lists(values, min_size=1, max_size=5))
def test_elements_are_cut_the_same_by_a_decoder_and_by_brackets(elements: list[Any]) -> None:
    content = json.dumps(elements, indent=1).encode()
    spoiled = content[:-1].rstrip() + b",NaN]"
    assert split_array(spoiled) == [*split_array(content), b"NaN"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1]]",
        b"[1] 2",
        b'["a]',
        b"[{]}]",
        b"{}",
        b"1",
        b"[:]",
    ],
)
def test_what_is_no_array_is_not_cut(content: bytes) -> None:
    with pytest.raises(NotJson):
        split_array(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1,}',
        b"{a:1}",
        b'{"a":1}x',
        b'{"\\x":1}',
        b"[]",
        b'{"a":}',
        b'{"a" 1}',
    ],
)
def test_what_is_no_object_is_not_cut(content: bytes) -> None:
    with pytest.raises(NotJson):
        split_object(content)
