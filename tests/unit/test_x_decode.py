"""Pages of the X API become items; nothing that is no page becomes one."""

import json
from typing import Any

import pytest

from twitor_fsm.core.taxonomy import Reason
from twitor_fsm.errors import SourceUnavailable
from twitor_fsm.sources.base import InvalidRaw, Item, ItemKind
from twitor_fsm.sources.x_decode import PageBody, decode_element, decode_page
from twitor_fsm.sources.x_items import MAX_ITEM_BYTES, utc


def page(*data: Any, **more: Any) -> PageBody:
    body = {"data": list(data), "meta": {"result_count": len(data)}, **more}
    return decode_page(json.dumps(body).encode())


def one(*data: Any, **more: Any) -> Any:
    (item,) = page(*data, **more).items
    return item


def post(key: Any = "1", **more: Any) -> dict[str, Any]:
    return {"id": key, "text": "t", **more}


USER = {"id": "7", "username": "ada", "name": "Ada L"}


def test_a_post_with_its_author() -> None:
    item = one(
        post("12", text="hello", author_id="7", created_at="2022-10-15T04:54:22.000Z"),
        includes={"users": [USER, {"id": "8", "username": "other"}]},
    )
    assert (item.key, item.text, item.kind) == ("12", "hello", ItemKind.POST)
    assert (item.author_id, item.author_username, item.author_name) == ("7", "ada", "Ada L")
    assert item.created_at == "2022-10-15T04:54:22.000Z"
    assert json.loads(item.raw)["includes"] == {"users": [USER]}


def test_a_missing_author_leaves_the_id_alone() -> None:
    item = one(post(author_id="7"))
    assert (item.author_id, item.author_username, item.author_name) == ("7", None, None)


@pytest.mark.parametrize(
    ("key", "noun"), [("note_tweet", "tweet"), ("note_post", "post")], ids=["old", "new"]
)
def test_the_long_text_wins(key: str, noun: str) -> None:
    assert one(post(text="cut…", **{key: {"text": "cut no more"}})).text == "cut no more"
    assert one(post(text="whole", **{key: {}})).text == "whole"
    assert noun in key


def test_both_vocabularies_give_equal_items() -> None:
    old = one(
        post(
            author_id="7",
            note_tweet={"text": "long"},
            referenced_tweets=[{"type": "quoted", "id": "5"}],
            edit_history_tweet_ids=["1"],
        ),
        includes={"users": [USER], "tweets": [post("5", author_id="7")]},
    )
    new = one(
        post(
            author_id="7",
            note_post={"text": "long"},
            referenced_posts=[{"type": "quoted", "id": "5"}],
            edit_history_post_ids=["1"],
        ),
        includes={"users": [USER], "posts": [post("5", author_id="7")]},
    )

    def facts(item: Item) -> tuple[Any, ...]:
        return (
            item.key,
            item.text,
            item.author_id,
            item.author_username,
            item.author_name,
            item.created_at,
            item.kind,
            item.richness,
        )

    assert facts(old) == facts(new)


def test_ids_are_text_of_any_length() -> None:
    keys = ["20", "9007199254740993", "1642530784446350567", "99999999999999999999999"]
    assert [item.key for item in page(*map(post, keys)).items] == keys


@pytest.mark.parametrize("key", [9007199254740993, 1, None, "", " 1", "1\n", "é", ["1"], "1" * 101])
def test_an_id_that_is_no_text_makes_the_element_invalid(key: Any) -> None:
    item = one({"id": key, "text": "t"})
    assert isinstance(item, InvalidRaw)
    assert item.key.startswith("sha256:")
    assert json.loads(item.raw)["id"] == key


@pytest.mark.parametrize("element", [None, 7, "text", [], {}, {"text": "t"}])
def test_an_element_that_is_no_post_costs_itself_and_not_its_page(element: Any) -> None:
    found = page(post("1"), element, post("2"))
    assert [isinstance(item, InvalidRaw) for item in found.items] == [False, True, False]
    assert found.items[1].raw == json.dumps(element)
    assert found.counted == 3


@pytest.mark.parametrize("text", [["t"], 7, None])
def test_a_post_without_text_is_invalid_under_its_own_id(text: Any) -> None:
    item = one({"id": "5", "text": text})
    assert isinstance(item, InvalidRaw)
    assert item.key == "5"
    assert isinstance(one({"id": "5"}), InvalidRaw)


def test_a_link_of_an_unknown_shape_costs_the_link_and_not_the_post() -> None:
    item = one(
        post(author_id="7", attachments="?", geo=5, entities=[1]), includes={"users": [USER]}
    )
    assert (item.key, item.text, item.author_username) == ("1", "t", "ada")
    assert one(post(), includes="?").key == "1"
    assert (
        one(post(author_id="7"), includes={"users": [USER, 5], "media": "?"}).author_name == "Ada L"
    )


def test_a_message_about_an_invalid_element_does_not_quote_it() -> None:
    item = one({"id": 5, "text": "private words"})
    assert "private" not in item.message


def test_raw_holds_what_belongs_to_the_item_and_nothing_else() -> None:
    sent = post(
        author_id="7",
        unknown_field={"kept": [1, 2.50]},
        attachments={"media_keys": ["3_1"], "poll_ids": ["p"]},
        referenced_tweets=[{"type": "replied_to", "id": "5"}],
        in_reply_to_user_id="8",
        geo={"place_id": "x"},
        entities={"mentions": [{"id": "10", "username": "m"}]},
    )
    users = [{"id": str(n), "username": f"u{n}"} for n in (7, 8, 9, 10, 11)]
    answered = post("5", author_id="9", attachments={"media_keys": ["3_2"]})
    includes = {
        "users": users,
        "tweets": [answered, post("6")],
        "media": [{"media_key": f"3_{n}", "type": "photo"} for n in (1, 2, 3)],
        "polls": [{"id": "p"}, {"id": "q"}],
        "places": [{"id": "x"}, {"id": "y"}],
    }
    kept = json.loads(one(sent, includes=includes).raw)
    assert kept["data"] == sent
    assert {user["id"] for user in kept["includes"]["users"]} == {"7", "8", "9", "10"}
    assert kept["includes"]["tweets"] == [answered]
    assert [media["media_key"] for media in kept["includes"]["media"]] == ["3_1", "3_2"]
    assert kept["includes"]["polls"] == [{"id": "p"}]
    assert kept["includes"]["places"] == [{"id": "x"}]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2022-10-15T04:54:22.000Z", "2022-10-15T04:54:22.000Z"),
        ("2022-10-15T04:54:22Z", "2022-10-15T04:54:22.000Z"),
        ("2022-10-15T04:54:22,000Z", "2022-10-15T04:54:22.000Z"),
        ("2022-W41-6T04:54:22.000Z", "2022-10-15T04:54:22.000Z"),
        ("2022-10-15T04:54:22.123456+02:00", "2022-10-15T02:54:22.123Z"),
        ("2022-10-15T04:54:22", None),
        ("2022-13-15T04:54:22.000Z", None),
        ("2022-10-15T25:54:22.000Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
        (5, None),
        (None, None),
    ],
)
def test_a_date_is_utc_or_unknown_and_never_a_guess(sent: Any, expected: str | None) -> None:
    assert utc(sent) == expected
    item = one(post(created_at=sent))
    assert item.created_at == expected
    assert json.loads(item.raw)["data"]["created_at"] == sent


@pytest.mark.parametrize(
    "text", ["a\u2028b\u2029", "\x00", "\U0001f469\u200d\U0001f4bb", '"\\', "\x1b[31m"]
)
def test_any_text_survives(text: str) -> None:
    item = one(post(text=text))
    assert item.text == text
    assert decode_element(item.raw) == item


def test_a_lone_surrogate_or_nan_costs_at_most_its_element() -> None:
    body = (
        b'{"data":[{"id":"1","text":"\\ud83d"},{"id":"2","text":"t","n":NaN},{"id":"3","text":"\xff"},'
        b'{"id":"4","text":"ok","n":' + b"9" * 6000 + b'}],"meta":{"result_count":4}}'
    )
    items = decode_page(body).items
    assert [item.text if isinstance(item, Item) else None for item in items] == [
        "\ud83d",
        None,
        None,
        "ok",
    ]
    assert items[2].raw.encode("utf-8", "surrogateescape") == b'{"id":"3","text":"\xff"}'
    assert [decode_element(item.raw) for item in items] == list(items)


def test_an_element_beyond_the_cap_is_invalid() -> None:
    item = one(post(text="x" * MAX_ITEM_BYTES))
    assert isinstance(item, InvalidRaw)
    assert "larger" in item.message


# -- richness ---------------------------------------------------------------------------------------


def test_a_record_that_says_more_is_richer() -> None:
    bare = one(post())
    more = one(post(author_id="7", created_at="2022-10-15T04:54:22.000Z"))
    most = one(
        post(
            author_id="7", created_at="2022-10-15T04:54:22.000Z", public_metrics={"like_count": 1}
        ),
        includes={"users": [USER]},
    )
    tombstone = page(post("2"), errors=[gone("1")]).items[1]
    assert isinstance(tombstone, Item)
    assert 0 == tombstone.richness < bare.richness < more.richness < most.richness


# -- partial errors ---------------------------------------------------------------------------------


def gone(
    key: str, parameter: str | None = "id", noun: str = "tweet", **more: Any
) -> dict[str, Any]:
    found = {
        "value": key,
        "detail": f"Could not find {noun} with {parameter}: [{key}].",
        "title": "Not Found Error",
        "resource_type": noun,
        "resource_id": key,
        "type": "https://api.twitter.com/2/problems/resource-not-found",
        **more,
    }
    return found if parameter is None else {**found, "parameter": parameter}


@pytest.mark.parametrize("noun", ["tweet", "post"])
@pytest.mark.parametrize("parameter", ["id", "ids", None])
def test_a_listed_post_that_is_not_shown_is_a_tombstone(noun: str, parameter: str | None) -> None:
    found = page(post("1"), errors=[gone("9", parameter, noun)])
    assert [item.key for item in found.items] == ["1", "9"]
    tombstone = found.items[1]
    assert isinstance(tombstone, Item)
    assert (tombstone.kind, tombstone.text) == (ItemKind.TOMBSTONE, None)
    assert decode_element(tombstone.raw) == tombstone
    assert found.counted == 1


@pytest.mark.parametrize(
    "error",
    [
        gone("5", "referenced_tweets.id"),
        gone("5", "referenced_posts", "post"),
        gone("5", None),
        gone("5", "id", section="includes"),
        gone("7", "author_id", "user"),
        gone("7", "id", "user"),
        gone("1", "id"),
        gone("5", "id", field="non_public_metrics"),
        gone("bad id", "id"),
        {"title": "no resource"},
        None,
        "text",
    ],
)
def test_errors_about_anything_else_are_no_bookmarks(error: Any) -> None:
    found = page(post("1", referenced_tweets=[{"id": "5"}]), errors=[error])
    assert [item.key for item in found.items] == ["1"]
    assert found.errors == 1


def test_a_deleted_bookmark_that_another_one_quotes_is_a_tombstone_once() -> None:
    quoting = post("1", referenced_tweets=[{"id": "5"}])
    found = page(quoting, errors=[gone("5", "referenced_tweets.id"), gone("5"), gone("5")])
    assert [item.key for item in found.items] == ["1", "5"]


def test_a_page_of_tombstones_alone_is_a_page() -> None:
    found = decode_page(json.dumps({"errors": [gone("1")], "meta": {"result_count": 0}}).encode())
    assert [item.key for item in found.items] == ["1"]
    assert (found.has_data, found.errors) == (False, 0)


@pytest.mark.parametrize("count", [1001, 10_001, 100_001])
def test_errors_without_number_cost_no_post(count: int) -> None:
    posts, errors = [post(str(number)) for number in range(100)], [gone("777")]
    body = json.dumps({"data": posts, "meta": {"result_count": 100}, "errors": errors}).encode()
    other = json.dumps(gone("9", "author_id", "user")).encode()
    found = decode_page(body.removesuffix(b"]}") + (b"," + other) * (count - 1) + b"]}")
    assert [item.key for item in found.items] == [*map(str, range(100)), "777"]
    assert found.errors == min(count, 10_000) - 1


def test_the_10_000th_error_is_the_last_one_that_is_looked_at() -> None:
    others = [gone("7", "author_id", "user")] * 9_999
    assert [item.key for item in page(errors=[*others, gone("1"), gone("2")]).items] == ["1"]


# -- what is no page --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html></html>",
        b'{"data":[{"id":"1","te',
        b"{}",
        b'{"data":[]}',
        b'{"data":{},"meta":{}}',
        b'{"data":"x","meta":{}}',
        b'{"data":[],"meta":[]}',
        b'{"data":[],"meta":{"result_count":"0"}}',
        b'{"data":[],"meta":{"result_count":3}}',
        b'{"data":[{"id":"1","text":"t"}],"meta":{"result_count":-1}}',
        b'{"data":[{"id":"1","text":"t"}],"meta":{"result_count":2147483648}}',
        b'{"meta":{"result_count":3}}',
        b'{"meta":{"result_count":0,"next_token":5}}',
        b'{"meta":{"result_count":0,"next_token":"a b"}}',
        b'{"meta":{"result_count":0,"next_token":"' + b"a" * 1025 + b'"}}',
        b'{"meta":{"result_count":0},"errors":{}}',
        b'{"meta":{"result_count":0}} trailing',
        b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b',"meta":5}',
    ],
)
def test_what_is_no_page_is_never_an_empty_page(body: bytes) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        decode_page(body)
    assert caught.value.reason is Reason.BAD_PAGE


def test_an_element_nested_without_end_costs_itself() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    body = b'{"data":[' + deep + b',{"id":"1","text":"t"}],"meta":{"result_count":2}}'
    items = decode_page(body).items
    assert [isinstance(item, InvalidRaw) for item in items] == [True, False]


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"meta":{"result_count":0}}', None),
        (b'\xef\xbb\xbf{"data":null,"meta":{"result_count":0,"next_token":null}}', None),
        (b'{"meta":{"result_count":0,"next_token":""}}', None),
        (b'{"data":[],"meta":{"next_token":"7140dibdnow9c7btw3w"}}', "7140dibdnow9c7btw3w"),
    ],
)
def test_an_empty_page_is_a_page(body: bytes, token: str | None) -> None:
    found = decode_page(body)
    assert (found.items, found.next_token, found.counted) == ((), token, 0)
