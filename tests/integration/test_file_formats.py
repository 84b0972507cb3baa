"""Files as the tools of others write them: each format read, resumed, and its damage told."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tool_files as tools

from twitor_fsm import CrawlEngine
from twitor_fsm.errors import UnreadableFile
from twitor_fsm.sources import archive_zip, file_elements
from twitor_fsm.sources.base import InvalidRaw, Item, ItemKind
from twitor_fsm.sources.files import FileBookmarks
from twitor_fsm.sources.x_decode import decode_element
from twitor_fsm.sources.x_items import MAX_ITEM_BYTES
from twitor_fsm.testing.hostile import READERS

NUMBERS = range(5)
KEYS = [tools.post_id(n) for n in NUMBERS]


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file.bin"  # a name that says nothing
    path.write_bytes(content)
    return path


async def items(path: Path, **options: Any) -> list[Item | InvalidRaw]:
    """Everything in a file, each page by a new source, as after a kill."""
    found: list[Item | InvalidRaw] = []
    place: str | None = None
    while True:
        async with FileBookmarks(path, **options) as source:
            page = await source.fetch("1", place, None)
        found += page.items
        place = page.next_cursor
        if place is None:
            return found


async def good(path: Path, **options: Any) -> list[Item]:
    found = await items(path, **options)
    assert [item for item in found if isinstance(item, InvalidRaw)] == []
    return [item for item in found if isinstance(item, Item)]


async def until_it_breaks(path: Path, **options: Any) -> tuple[list[str], UnreadableFile]:
    """The ids given before a damage, and what is said of it."""
    got: list[str] = []
    place: str | None = None
    async with FileBookmarks(path, **options) as source:
        while True:
            try:
                page = await source.fetch("1", place, None)
            except UnreadableFile as exc:
                return got, exc
            got += [item.key for item in page.items]
            place = page.next_cursor
            assert place is not None


def answers() -> list[dict[str, Any]]:
    entries = [tools.entry(n, {"result": tools.tweet(n)}) for n in NUMBERS]
    return [tools.answer(entries[:3]), tools.answer(entries[3:]), tools.answer([])]


BODIES = [json.dumps(each).encode() for each in answers()]
OTHER = tools.har_entry(b'{"Bookmarks": 1}', url="https://x.com/i/api/graphql/x/HomeTimeline")
WAYS: dict[str, tuple[bytes, bool]] = {
    "exporter JSON": (tools.json_array([tools.exporter_record(n) for n in NUMBERS]), False),
    "exporter JSON, all metadata": (
        tools.json_array([tools.exporter_record(n, metadata=True) for n in NUMBERS]),
        False,
    ),
    "exporter CSV": (tools.exporter_csv([tools.exporter_record(n) for n in NUMBERS]), False),
    "exporter CSV, all metadata": (
        tools.exporter_csv([tools.exporter_record(n, metadata=True) for n in NUMBERS]),
        False,
    ),
    "our own, one a line": ("\n".join(map(tools.exported, NUMBERS)).encode(), False),
    "our own, an array": (
        ("[\n" + ",\n".join(map(tools.exported, NUMBERS)) + "\n]\n").encode(),
        False,
    ),
    "Twillot": (tools.json_array([tools.twillot_record(n) for n in NUMBERS]), False),
    "fieldtheory": (tools.json_lines([tools.fieldtheory_record(n) for n in NUMBERS]), False),
    "fieldtheory likes": (
        tools.json_lines([tools.fieldtheory_record(n, likedAt=None) for n in NUMBERS]),
        True,
    ),
    "one answer": (
        json.dumps(
            tools.answer([tools.entry(n, {"result": tools.tweet(n)}) for n in NUMBERS])
        ).encode(),
        False,
    ),
    "answers, an array": (tools.json_array(answers()), False),
    "answers, one a line": (tools.json_lines(answers()), False),
    "HAR": (tools.har([OTHER, *map(tools.har_entry, BODIES), OTHER]), False),
    "HAR in base64": (tools.har([tools.har_entry(body, in_base64=True) for body in BODIES]), False),
    "like.js": (tools.script("like", [tools.like(n) for n in NUMBERS]), True),
    "bookmarks.js": (tools.script("bookmarks", [tools.bookmark(n) for n in NUMBERS]), False),
    "bookmark.js with a semicolon": (
        tools.script("bookmark", [tools.bookmark(n) for n in NUMBERS]) + b";\n",
        False,
    ),
    "bookmarks.js, bare": (
        tools.script("bookmarks", [{"bookmarkId": "b", "tweetId": key} for key in KEYS]),
        False,
    ),
    "two scripts, one behind the other": (
        tools.script("like", [tools.like(n) for n in range(2)])
        + b"\n"
        + tools.script("like", [tools.like(n) for n in range(2, 5)], part=1),
        True,
    ),
    "zip of the archive": (
        tools.archive(
            {
                "data/like.js": tools.script("like", [tools.like(99)]),
                "data/bookmarks.js": tools.script(
                    "bookmarks", [tools.bookmark(n) for n in range(2)]
                ),
                "data/bookmarks-part1.js": tools.script(
                    "bookmarks", [tools.bookmark(n) for n in range(2, 5)], part=1
                ),
            }
        ),
        False,
    ),
    "zip of the archive, likes, stored, in a folder": (
        tools.archive(
            {"twitter-2026/data/like.js": tools.script("like", [tools.like(n) for n in NUMBERS])},
            packing=zipfile.ZIP_STORED,
        ),
        True,
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("page_size", [1, 3, 100])
async def test_each_format_is_read_whole_and_resumed_anywhere(
    tmp_path: Path, way: str, page_size: int
) -> None:
    content, likes = WAYS[way]
    path = write(tmp_path, content)
    found = await good(path, page_size=page_size, likes=likes)
    assert [item.key for item in found] == KEYS
    assert {item.kind for item in found} == {ItemKind.POST}
    if "bookmark" not in way and way != "zip of the archive":
        assert [item.text for item in found] == [tools.words(n) for n in NUMBERS]
    source = FileBookmarks(path)
    assert [source.decode(item.raw) for item in found] == found


@pytest.mark.parametrize("way", WAYS)
async def test_each_format_is_read_in_small_pieces(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, likes = WAYS[way]
    monkeypatch.setattr(file_elements, "PIECE_BYTES", 7)
    found = await good(write(tmp_path, content), likes=likes)
    assert [item.key for item in found] == KEYS


@pytest.mark.parametrize(
    "way", [way for way in WAYS if "js" not in way and "zip" not in way and "scripts" not in way]
)
async def test_author_and_date_come_from_each_format_that_has_them(
    tmp_path: Path, way: str
) -> None:
    content, likes = WAYS[way]
    item = (await good(write(tmp_path, content), likes=likes))[0]
    assert (item.author_id, item.author_username, item.created_at) == ("7", "ada", tools.UTC_DATE)
    assert item.author_name in {"Ada L", 'Ada, "L"'}


@pytest.mark.parametrize("way", [way for way in WAYS if "zip" not in way])
async def test_a_cut_file_gives_what_stands_before_the_cut(tmp_path: Path, way: str) -> None:
    content, likes = WAYS[way]
    cut = content[: len(content) * 7 // 10]
    got, error = await until_it_breaks(write(tmp_path, cut), page_size=1, likes=likes)
    assert "is damaged: at byte" in str(error)
    assert got == KEYS[: len(got)]
    assert len(got) < len(KEYS)
    assert got or way == "one answer"


# -- our own export ---------------------------------------------------------------------------------


def changed(line: str, **members: Any) -> bytes:
    return json.dumps({**json.loads(line), **members}).encode() + b"\n"


async def test_an_export_is_as_rich_as_what_its_source_gave(tmp_path: Path) -> None:
    (item,) = await good(write(tmp_path, tools.exported(1).encode()))
    assert item == decode_element(json.dumps(json.loads(tools.exported(1))["raw"]))
    assert item.richness == 402, "a text, an author's id, handle and name, a date; one user more"


@pytest.mark.parametrize(
    "raw",
    ["<post/>", {"of": "an app's own source"}, json.loads(tools.exported(2))["raw"], None],
    ids=["no JSON", "another's", "of another post", "nothing"],
)
async def test_a_line_whose_object_says_something_else_is_kept_itself(
    tmp_path: Path, raw: object
) -> None:
    line = changed(tools.exported(1), raw=raw)
    path = write(tmp_path, line)
    (item,) = await good(path)
    assert (item.key, item.raw, item.richness) == (KEYS[1], line.decode().strip(), 401)
    assert FileBookmarks(path).decode(item.raw) == item

    again = write(tmp_path, changed(tools.exported(1), raw=json.loads(item.raw)))
    assert (await good(again)) == [item], "exported once more, it does not grow"


async def test_lines_in_lines_in_lines_are_read_once(tmp_path: Path) -> None:
    line = tools.exported(1)
    for _ in range(7):
        line = changed(line, raw=json.loads(line)).decode()
    (item,) = await good(write(tmp_path, line.encode()))
    assert (item.key, item.richness) == (KEYS[1], 402)
    deep = write(tmp_path, changed(line, raw=json.loads(line)))
    (refused,) = await items(deep)
    assert isinstance(refused, InvalidRaw)
    assert FileBookmarks(deep).decode(refused.raw) == refused


async def test_of_lines_in_a_line_the_last_that_says_the_same_is_kept(tmp_path: Path) -> None:
    other, wrong = json.loads(tools.exported(2)), json.loads(tools.exported(1))
    for raw in (other, {**other, "id": 7}):  # of another post, and of none
        path = write(tmp_path, changed(tools.exported(1), raw={**wrong, "raw": raw}))
        (item,) = await good(path)
        assert json.loads(item.raw) == {**wrong, "raw": raw}
        assert FileBookmarks(path).decode(item.raw) == item


async def test_an_export_of_a_tombstone_says_nothing(tmp_path: Path) -> None:
    line = changed(tools.exported(1), kind="tombstone", text=None)
    (item,) = await good(write(tmp_path, line))
    assert (item.kind, item.text, item.richness) == (ItemKind.TOMBSTONE, None, 0)


async def test_a_line_of_an_export_that_is_no_bookmark_costs_itself(tmp_path: Path) -> None:
    line = tools.exported(1)
    lines = [
        changed(line, id=12),
        changed(line, kind="video"),
        changed(line, text=["no text"]),
        changed(line, result="x" * 2000),
        changed(line, raw={"x": "y" * 2000}),
        changed(tools.exported(2)),
    ]
    found = await items(write(tmp_path, b"".join(lines)), max_item_bytes=1500)
    assert [type(item) for item in found] == [InvalidRaw] * 5 + [Item]
    assert [item.key for item in found[1:]] == [KEYS[1]] * 4 + [KEYS[2]]
    assert [FileBookmarks(tmp_path).decode(item.raw) for item in found[:3]] == found[:3]


# -- the four shapes of a post ----------------------------------------------------------------------


async def test_each_shape_of_a_result_is_a_bookmark(tmp_path: Path) -> None:
    results: list[dict[str, Any]] = [
        {"result": tools.tweet(0)},
        {"result": tools.tweet(1, since_2025=False)},
        {"result": tools.limited(2)},
        {"result": tools.TOMBSTONE},
        {"result": tools.UNAVAILABLE},
        {},
        {"result": tools.tweet(6, long="long " * 200)},
    ]
    entries = [tools.entry(n, result) for n, result in enumerate(results)]
    found = await good(write(tmp_path, json.dumps(tools.answer(entries)).encode()))
    assert [item.key for item in found] == [tools.post_id(n) for n in range(7)]
    kinds = [item.kind for item in found]
    assert kinds == [ItemKind.POST] * 3 + [ItemKind.TOMBSTONE] * 3 + [ItemKind.POST]
    assert [item.author_username for item in found] == ["ada"] * 3 + [None] * 3 + ["ada"]
    assert found[6].text == "long " * 200
    assert found[6].richness > found[0].richness + 900
    assert json.loads(found[0].raw)["sortIndex"] == str(1_800_000_000_000_000_000)


async def test_what_is_no_bookmark_in_an_answer_is_passed_over(tmp_path: Path) -> None:
    promoted = tools.entry(8, {"result": tools.tweet(8)})
    promoted["content"]["itemContent"]["promotedMetadata"] = {"advertiser_results": {}}
    named = {**tools.entry(9, {"result": tools.tweet(9)}), "entryId": "promoted-tweet-9"}
    prompt = {
        "entryId": "messageprompt-1",
        "content": {"itemContent": {"itemType": "TimelinePrompt"}},
    }
    entries = [promoted, tools.entry(0, {"result": tools.tweet(0)}), named, prompt]
    found = await good(write(tmp_path, json.dumps(tools.answer(entries)).encode()))
    assert [item.key for item in found] == KEYS[:1]


async def test_a_folders_answer_is_read(tmp_path: Path) -> None:
    entries = [tools.entry(n, {"result": tools.tweet(n)}) for n in NUMBERS]
    found = await good(write(tmp_path, json.dumps(tools.answer(entries, folder=True)).encode()))
    assert [item.key for item in found] == KEYS


async def test_an_entry_that_cannot_be_decoded_costs_itself(tmp_path: Path) -> None:
    no_text = tools.tweet(1)
    del no_text["legacy"]["full_text"]
    odd = tools.entry(2, {"result": tools.tweet(2)})
    odd["content"]["itemContent"] = {"itemType": "TimelineOther"}
    entries = [tools.entry(0, {"result": tools.tweet(0)}), tools.entry(1, {"result": no_text}), odd]
    path = write(tmp_path, json.dumps(tools.answer(entries)).encode())
    found = await items(path)
    assert [item.key for item in found] == KEYS[:3]
    assert [type(item) for item in found] == [Item, InvalidRaw, InvalidRaw]
    assert [FileBookmarks(path).decode(item.raw) for item in found] == found


async def test_a_lone_surrogate_of_the_website_spoils_nothing(tmp_path: Path) -> None:
    broken = tools.tweet(1)
    broken["legacy"]["full_text"] = "half \ud83d"
    entries = [tools.entry(0, {"result": tools.tweet(0)}), tools.entry(1, {"result": broken})]
    found = await good(write(tmp_path, json.dumps(tools.answer(entries)).encode()))
    assert [item.text for item in found] == [tools.words(0), "half \ud83d"]


# -- HAR --------------------------------------------------------------------------------------------


async def test_no_cookie_of_a_capture_is_kept(tmp_path: Path) -> None:
    entries = [
        tools.har_entry(BODIES[0]),
        tools.har_entry(None),
        tools.har_entry(b'{"errors": [{"message": "x"}], "data": {}}'),
        tools.har_entry(b"not JSON"),
    ]
    path = write(tmp_path, tools.har(entries))
    found = await items(path)
    assert [type(item) for item in found] == [Item] * 3 + [InvalidRaw] * 3
    assert all("canary" not in item.raw and "cookie" not in item.raw for item in found)
    messages = [item.message for item in found if isinstance(item, InvalidRaw)]
    assert "with content" in messages[0]
    again = [FileBookmarks(path).decode(item.raw) for item in found]
    assert [type(item) for item in again] == [type(item) for item in found]
    assert [item.key for item in again] == [item.key for item in found]


async def test_refusals_and_other_traffic_of_a_capture_are_passed_over(tmp_path: Path) -> None:
    entries = [
        tools.har_entry(b"", method="OPTIONS"),
        tools.har_entry(b'{"errors": []}', status=429),
        tools.har_entry(b"{}", url="https://x.com/i/api/graphql/x/CreateBookmark"),
        tools.har_entry(b"{}", url="https://x.com/i/api/graphql/x/BookmarkFoldersSlice"),
        OTHER,
        tools.har_entry(BODIES[0]),
    ]
    assert [item.key for item in await good(write(tmp_path, tools.har(entries)))] == KEYS[:3]


async def test_a_capture_without_bookmarks_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="without an answer of the bookmarks listing"):
        await items(write(tmp_path, tools.har([OTHER, OTHER])))
    with pytest.raises(UnreadableFile, match="without an answer of the bookmarks listing"):
        await items(write(tmp_path, tools.har([])))


# -- CSV --------------------------------------------------------------------------------------------


async def test_a_row_says_what_the_json_export_says(tmp_path: Path) -> None:
    records = [
        tools.exporter_record(0, metadata=True),
        tools.exporter_record(1, metadata=True, views_count=12, in_reply_to=tools.post_id(9)),
        tools.exporter_record(2, metadata=True, full_text="null", name="0012", screen_name="_1e5"),
        tools.exporter_record(3, metadata=True, user_id=None, name=None),
    ]
    as_json = await good(write(tmp_path, tools.json_array(records)))
    as_csv = await good(write(tmp_path, tools.exporter_csv(records)))
    assert [json.loads(item.raw) for item in as_csv] == [json.loads(item.raw) for item in as_json]
    assert [item.richness for item in as_csv] == [item.richness for item in as_json]


@pytest.mark.parametrize("delimiter", [";", "\t"])
async def test_a_csv_that_a_spreadsheet_saved_is_read(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["id", "full_text", "screen_name", "bookmarked", "url"],
        [
            "1.78E+18",
            '"two\r\nlines, ""quoted"""',
            "ada",
            "TRUE",
            f"https://x.com/ada/status/{KEYS[0]}",
        ],
        ["", "", "", "", ""],
        [KEYS[1], "plain", "ada", "WAHR", ""],
    ]
    content = "\r\n".join(delimiter.join(row) for row in rows).encode()
    found = await items(write(tmp_path, content), page_size=1)
    assert [item.text for item in found if isinstance(item, Item)] == [
        'two\r\nlines, "quoted"',
        "plain",
    ]
    assert [item.key for item in found if isinstance(item, Item)] == KEYS[:2]


async def test_an_id_that_was_rounded_is_not_taken_for_one(tmp_path: Path) -> None:
    (found,) = await items(write(tmp_path, b"id,full_text\n1.78E+18,hello\n"))
    assert isinstance(found, InvalidRaw)
    assert "rounds ids" in found.message


async def test_half_a_character_in_a_rows_metadata_is_kept(tmp_path: Path) -> None:
    record = tools.exporter_record(0, metadata=True)
    record["metadata"]["legacy"]["lang"] = "half \ud83d"
    content = tools.exporter_csv([{**record, "metadata": "METADATA"}])
    metadata = json.dumps(record["metadata"]).replace('"', '""').encode()
    path = write(tmp_path, content.replace(b"METADATA", metadata))
    (item,) = await good(path)
    assert json.loads(item.raw) == record
    assert FileBookmarks(path).decode(item.raw) == item


async def test_a_record_without_its_text_is_known_by_its_id(tmp_path: Path) -> None:
    """So that a better export of it takes its place, and it is found by the id that people see."""
    records = [tools.exporter_record(n) for n in range(2)]
    del records[1]["full_text"]
    (_, bad) = await items(write(tmp_path, tools.json_array(records)))

    assert isinstance(bad, InvalidRaw)
    assert (bad.key, "missing required field `full_text`" in bad.message) == (
        records[1]["id"],
        True,
    )


async def test_a_bad_row_costs_itself(tmp_path: Path) -> None:
    rows = [
        b"id,full_text",
        b"1,one",
        b"2,two,three",
        b"3",
        b"4,\xff\xfe",
        b"5,a" + b"a" * 200_000,
        b'6,"six"',
    ]
    found = await items(write(tmp_path, b"\n".join(rows)))
    assert [item.key for item in found if isinstance(item, Item)] == ["1", "6"]
    assert len(found) == 6


# -- likes, and what else is no bookmark ------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_likes_are_read_only_when_asked_for(tmp_path: Path, way: str) -> None:
    content, likes = WAYS[way]
    path = write(tmp_path, content)
    if "exporter" in way:  # its tables are alike
        assert await good(path, likes=True)
        return
    if way == "zip of the archive":  # holds both
        assert [item.key for item in await good(path, likes=True)] == [tools.post_id(99)]
        return
    with pytest.raises(UnreadableFile, match="leave out --likes" if not likes else "say --likes"):
        await items(path, likes=not likes)


async def test_likes_and_bookmarks_of_one_file_are_two_crawls(tmp_path: Path) -> None:
    path = write(tmp_path, WAYS["zip of the archive"][0])
    bookmarks, likes = FileBookmarks(path, page_size=1), FileBookmarks(path, likes=True)
    assert bookmarks.name != likes.name
    place = (await bookmarks.fetch("1", None, None)).next_cursor
    await bookmarks.aclose()
    with pytest.raises(Exception, match="is not, or no longer, the file"):
        await likes.fetch("1", place, None)
    await likes.aclose()


async def test_a_table_of_posts_that_are_not_bookmarked_is_refused_in_csv_too(
    tmp_path: Path,
) -> None:
    records = [tools.exporter_record(n, bookmarked=False, favorited=True) for n in NUMBERS]
    path = write(tmp_path, tools.exporter_csv(records))
    with pytest.raises(UnreadableFile, match="another of twitter-web-exporter's tables"):
        await items(path)
    assert [item.key for item in await good(path, likes=True)] == KEYS
    mixed = [records[0], tools.exporter_record(7)]
    assert len(await good(write(tmp_path, tools.exporter_csv(mixed)))) == 2


# -- zips -------------------------------------------------------------------------------------------

BAD_ZIPS: dict[str, tuple[bytes, str]] = {
    "nothing but its mark": (b"PK\x03\x04rest", "damaged zip"),
    "cut": (tools.archive({"data/bookmarks.js": b"x" * 1000})[:-40], "damaged zip"),
    "empty": (b"PK\x05\x06" + b"\x00" * 18, "without the bookmarks"),
    "of something else": (tools.archive({}), "without the bookmarks"),
    "likes only": (
        tools.archive({"data/like.js": tools.script("like", [tools.like(0)])}),
        "--likes",
    ),
    "packed by LZMA": (
        tools.archive({"data/bookmarks.js": b"x"}, packing=zipfile.ZIP_LZMA),
        "packed in a way",
    ),
}


@pytest.mark.parametrize("kind", BAD_ZIPS)
async def test_a_zip_that_is_no_archive_is_told(tmp_path: Path, kind: str) -> None:
    content, seen = BAD_ZIPS[kind]
    with pytest.raises(UnreadableFile, match=seen):
        await items(write(tmp_path, content))


async def test_a_damaged_member_gives_what_stands_before(tmp_path: Path) -> None:
    content = bytearray(
        tools.archive(
            {
                "data/bookmarks.js": tools.script(
                    "bookmarks", [tools.bookmark(n) for n in range(1000)]
                )
            },
            packing=zipfile.ZIP_STORED,
        )
    )
    at = content.index(tools.post_id(900).encode())
    content[at] ^= 1  # the checksum no longer fits: seen when the member's end is read
    got, error = await until_it_breaks(write(tmp_path, bytes(content)), page_size=100)
    assert "damaged zip" in str(error)
    assert got == [tools.post_id(n) for n in range(len(got))]


async def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, tools.archive({"data/bookmarks.js": b" " * 3_000_000}))
    monkeypatch.setattr(archive_zip, "MAX_TEXT_BYTES", 2_000_000)
    with pytest.raises(UnreadableFile, match="unpack to more than 2000000 bytes"):
        await items(path)
    monkeypatch.setattr(archive_zip, "MAX_DIRECTORY_BYTES", 300)
    with pytest.raises(UnreadableFile, match="directory of more than 300 bytes"):
        await items(path)


async def test_an_element_of_a_bomb_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_elements, "MAX_ELEMENT_BYTES", 1 << 20)
    bomb = b'window.YTD.bookmarks.part0 = [ {"bookmark": {"tweetId": "' + b"1" * 8_000_000
    path = write(tmp_path, tools.archive({"data/bookmarks.js": bomb}))
    assert path.stat().st_size < 20_000
    with pytest.raises(UnreadableFile, match="more than 1048576 bytes"):
        await items(path)


# -- the same bookmarks in several formats ----------------------------------------------------------

LONG = "long " * 100
SAME: dict[str, tuple[bytes, bool]] = {
    "ids alone": (tools.script("bookmarks", [tools.bookmark(n) for n in range(3)]), False),
    "likes": (tools.script("like", [tools.like(n) for n in range(3)]), True),
    "cut text": (
        tools.json_lines(
            [
                tools.fieldtheory_record(0, text=LONG[:270] + "…"),
                *map(tools.fieldtheory_record, (1, 2)),
            ]
        ),
        False,
    ),
    "rows": (tools.exporter_csv([tools.exporter_record(n) for n in range(3)]), False),
    "records": (tools.json_array([tools.twillot_record(n) for n in range(3)]), False),
    "answers": (
        json.dumps(
            tools.answer(
                [
                    tools.entry(0, {"result": tools.tweet(0, long=LONG)}),
                    tools.entry(1, {"result": tools.tweet(1, pictures=4)}),
                    tools.entry(2, {"result": tools.TOMBSTONE}),
                ]
            )
        ).encode(),
        False,
    ),
}


@pytest.mark.parametrize("turn", range(len(SAME)))
@pytest.mark.parametrize("step", [1, -1])
async def test_bookmarks_in_several_formats_are_one_row_each_the_richest(
    tmp_path: Path, turn: int, step: int
) -> None:
    names = [*SAME][turn:] + [*SAME][:turn]
    best: dict[str, Item] = {}
    async with CrawlEngine("sqlite+aiosqlite:///:memory:") as engine:
        for name in names[::step]:
            content, likes = SAME[name]
            path = tmp_path / name
            path.write_bytes(content)
            for item in await good(path, likes=likes):
                if item.key not in best or item.richness > best[item.key].richness:
                    best[item.key] = item
            report = await engine.crawl(FileBookmarks(path, likes=likes), user_id="me")
            assert report.completed
        rows = [row async for row in engine.bookmarks("me")]
    assert [(row.id, row.raw) for row in rows] == [(key, best[key].raw) for key in KEYS[:3]]
    assert rows[0].text == LONG
    assert len(json.loads(rows[1].raw)["content"]) == 3  # the answer's entry: of four pictures
    assert rows[2].text == tools.words(2)
    assert all(row.author_id == "7" and row.created_at == tools.UTC_DATE for row in rows)


async def test_neither_an_id_alone_nor_a_tombstone_replaces_anything(tmp_path: Path) -> None:
    gone = json.dumps(tools.answer([tools.entry(0, {})])).encode()
    kinds: list[tuple[str, str | None]] = []
    async with CrawlEngine("sqlite+aiosqlite:///:memory:") as engine:
        for content in (
            tools.script("bookmarks", [tools.bookmark(0)]),
            gone,
            SAME["rows"][0],
            gone,
        ):
            path = write(tmp_path, content)
            await engine.crawl(FileBookmarks(path), user_id="me")
            (row, *_) = [row async for row in engine.bookmarks("me")]
            kinds.append((row.kind, row.text))
    text = tools.words(0)
    assert kinds == [("post", None), ("post", None), ("post", text), ("post", text)]


# -- the documentation ------------------------------------------------------------------------------


def test_the_page_about_files_names_every_target_and_limit() -> None:
    page = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    assert [
        name for name in READERS if f"`{name}`" not in page and f"TARGET={name}" not in page
    ] == []
    mib = {
        "an element": file_elements.MAX_ELEMENT_BYTES,
        "a\nbookmark": MAX_ITEM_BYTES,
        "a zip's directory": archive_zip.MAX_DIRECTORY_BYTES,
    }
    assert [what for what, size in mib.items() if f"{what} {size >> 20} MiB" not in page] == []
    assert f"a CSV field {csv.field_size_limit():,} characters" in page
    assert f"more than {archive_zip.MAX_TEXT_BYTES >> 30} GiB of scripts" in page
