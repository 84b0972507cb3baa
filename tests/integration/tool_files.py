"""Bookmarks as the tools of others write them: the same posts in each format.

Shaped after the writers of prinsss/twitter-web-exporter (4cb8035, 9f0327a, f8e1d18), twillot-app/twillot (002b9cb, 0c74f2e) and
afar1/fieldtheory-cli (6fd91d3), Chrome's HAR, and X's data archive.
"""

import base64
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

from twitor_fsm.cli.verbs.export import line_of
from twitor_fsm.sources.base import Item
from twitor_fsm.sources.x_decode import decode_element
from twitor_fsm.storage.base import Bookmark

BOM = b"\xef\xbb\xbf"
WEB_DATE = "Wed May 01 04:34:56 +0000 2024"
UTC_DATE = "2024-05-01T04:34:56.000Z"
COOKIE = "auth_token=canary-0123456789abcdef"


def post_id(number: int) -> str:
    return str(1_780_000_000_000_000_000 + number)


def words(number: int) -> str:
    return f'post {number}: "quotes", a comma\nand a line \u2028 \U0001f600 =1+1'


def user(*, since_2025: bool = True) -> dict[str, Any]:
    """An author in both places where the website has put the names."""
    names = {"screen_name": "ada", "name": "Ada L", "created_at": WEB_DATE}
    legacy: dict[str, Any] = {
        "followers_count": 3,
        "description": "counts",
        **({} if since_2025 else names),
    }
    return {
        "__typename": "User",
        "id": "VXNlcjo3",
        "rest_id": "7",
        "legacy": legacy,
        **(
            {"core": names, "avatar": {"image_url": "https://pbs.twimg.com/x.jpg"}}
            if since_2025
            else {}
        ),
    }


def media(number: int) -> dict[str, Any]:
    return {
        "type": "photo",
        "id_str": f"9{number}",
        "media_key": f"3_9{number}",
        "url": "https://t.co/abc",
        "expanded_url": "https://x.com/ada/status/1/photo/1",
        "media_url_https": f"https://pbs.twimg.com/media/{number}.jpg",
        "ext_alt_text": "a picture",
        "original_info": {"width": 10, "height": 10},
    }


def tweet(
    number: int, *, long: str | None = None, since_2025: bool = True, pictures: int = 0
) -> dict[str, Any]:
    """A post as the website's GraphQL has it."""
    legacy: dict[str, Any] = {
        "bookmark_count": 2,
        "bookmarked": True,
        "created_at": WEB_DATE,
        "conversation_id_str": post_id(number),
        "entities": {"hashtags": [], "symbols": [], "urls": [], "user_mentions": []},
        "favorite_count": 5,
        "favorited": False,
        "full_text": words(number) if long is None else long[:270] + "…",
        "is_quote_status": False,
        "lang": "en",
        "possibly_sensitive": False,
        "quote_count": 0,
        "reply_count": 1,
        "retweet_count": 0,
        "retweeted": False,
        "user_id_str": "7",
        "id_str": post_id(number),
    }
    if pictures:
        legacy["extended_entities"] = {"media": [media(n) for n in range(pictures)]}
    found: dict[str, Any] = {
        "__typename": "Tweet",
        "rest_id": post_id(number),
        "core": {"user_results": {"result": user(since_2025=since_2025)}},
        "edit_control": {"edit_tweet_ids": [post_id(number)]},
        "views": {"count": "12", "state": "EnabledWithCount"},
        "source": '<a href="https://mobile.x.com">X</a>',
        "legacy": legacy,
    }
    if long is not None:
        note = {"id": "Tm90ZQ", "text": long, "entity_set": {}, "richtext": {"richtext_tags": []}}
        found["note_tweet"] = {"is_expandable": True, "note_tweet_results": {"result": note}}
    return found


# -- the website --------------------------------------------------------------------------------------


def entry(number: int, results: dict[str, Any]) -> dict[str, Any]:
    return {
        "entryId": f"tweet-{post_id(number)}",
        "sortIndex": str(1_800_000_000_000_000_000 - number),
        "content": {
            "entryType": "TimelineTimelineItem",
            "__typename": "TimelineTimelineItem",
            "itemContent": {
                "itemType": "TimelineTweet",
                "__typename": "TimelineTweet",
                "tweet_results": results,
                "tweetDisplayType": "Tweet",
            },
        },
    }


def limited(number: int) -> dict[str, Any]:
    return {
        "__typename": "TweetWithVisibilityResults",
        "tweet": {key: value for key, value in tweet(number).items() if key != "__typename"},
        "limitedActionResults": {"limited_actions": [{"action": "Reply"}]},
    }


TOMBSTONE = {
    "__typename": "TweetTombstone",
    "tombstone": {
        "__typename": "TextTombstone",
        "text": {"rtl": False, "text": "deleted", "entities": []},
    },
}
UNAVAILABLE = {"__typename": "TweetUnavailable", "reason": "Protected"}


def cursor(kind: str) -> dict[str, Any]:
    return {
        "entryId": f"cursor-{kind.lower()}-1",
        "sortIndex": "1",
        "content": {
            "entryType": "TimelineTimelineCursor",
            "__typename": "TimelineTimelineCursor",
            "value": "HBaA",
            "cursorType": kind,
        },
    }


def answer(entries: Sequence[dict[str, Any]], *, folder: bool = False) -> dict[str, Any]:
    listing = "bookmark_collection_timeline" if folder else "bookmark_timeline_v2"
    timeline = {
        "instructions": [
            {"type": "TimelineAddEntries", "entries": [*entries, cursor("Top"), cursor("Bottom")]}
        ],
        "responseObjects": {"feedbackActions": []},
    }
    return {"data": {listing: {"timeline": timeline}}}


def har_entry(
    body: bytes | None,
    *,
    url: str = "https://x.com/i/api/graphql/UyNF_BgJ5d5MbtuVukyl7A/Bookmarks?variables=%7B%7D",
    status: int = 200,
    method: str = "GET",
    in_base64: bool = False,
) -> dict[str, Any]:
    content: dict[str, Any] = {"size": 1, "mimeType": "application/json; charset=utf-8"}
    if body is not None and in_base64:
        content |= {"text": base64.b64encode(body).decode(), "encoding": "base64"}
    elif body is not None:
        content["text"] = body.decode()
    return {
        "_initiator": {"type": "script", "stack": {"callFrames": []}},
        "_priority": "High",
        "startedDateTime": "2026-05-01T04:34:56.000Z",
        "time": 12.5,
        "request": {
            "method": method,
            "url": url,
            "httpVersion": "http/2.0",
            "headers": [
                {"name": "cookie", "value": COOKIE},
                {"name": "authorization", "value": COOKIE},
            ],
            "cookies": [{"name": "auth_token", "value": COOKIE}],
        },
        "response": {"status": status, "statusText": "", "headers": [], "content": content},
        "cache": {},
        "timings": {"wait": 1},
    }


def har(entries: Sequence[dict[str, Any]]) -> bytes:
    pages = [{"startedDateTime": "x", "id": "page_1", "title": "https://x.com/i/bookmarks"}]
    creator = {"name": "WebInspector", "version": "537.36"}
    log = {"version": "1.2", "creator": creator, "pages": pages, "entries": list(entries)}
    return json.dumps({"log": log}, indent=2, ensure_ascii=False).encode()


# -- twitter-web-exporter -----------------------------------------------------------------------------


def exporter_record(number: int, *, metadata: bool = False, **more: Any) -> dict[str, Any]:
    found = {
        "id": post_id(number),
        "created_at": "2024-05-01 12:34:56 +08:00",
        "full_text": words(number),
        "media": [
            {
                "type": "photo",
                "url": "https://t.co/abc",
                "thumbnail": "https://pbs.twimg.com/media/1?format=jpg&name=thumb",
                "original": "https://pbs.twimg.com/media/1?format=jpg&name=orig",
                "ext_alt_text": 'a\n"picture"',
            }
        ],
        "screen_name": "ada",
        "name": 'Ada, "L"',
        "profile_image_url": "https://pbs.twimg.com/x.jpg",
        "user_id": "7",
        "in_reply_to": None,
        "retweeted_status": None,
        "quoted_status": None,
        "media_tags": [],
        "favorite_count": 5,
        "retweet_count": 0,
        "bookmark_count": 2,
        "quote_count": 0,
        "reply_count": 1,
        "views_count": None,
        "favorited": False,
        "retweeted": False,
        "bookmarked": True,
        "url": f"https://twitter.com/ada/status/{post_id(number)}",
        **more,
    }
    if metadata:
        found["metadata"] = {
            **tweet(number),
            "twe_private_fields": {"created_at": 1, "updated_at": 2},
        }
    return found


def exporter_csv(records: Sequence[dict[str, Any]]) -> bytes:
    """A quoted text with its line ends written out, objects and null as quoted JSON, all else bare."""

    def cell(value: Any) -> str:
        if isinstance(value, (str, dict, list, type(None))):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            text = text.replace('"', '""').replace("\n", "\\n").replace("\r", "\\r")
            return f'"{text}"'
        return json.dumps(value)

    names = list(records[0])
    lines = [
        ",".join(names),
        *(",".join(cell(record[name]) for name in names) for record in records),
    ]
    return BOM + "".join(line + "\n" for line in lines).encode()


# -- others -------------------------------------------------------------------------------------------


def twillot_record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "username": "Ada L",
        "screen_name": "ada",
        "avatar_url": "https://pbs.twimg.com/x.jpg",
        "user_id": "7",
        "tweet_id": post_id(number),
        "possibly_sensitive": False,
        "full_text": words(number),
        "media_items": [media(1)],
        "created_at": 1714538096,
        "lang": "en",
        "views_count": "12",
        "bookmark_count": 2,
        "favorite_count": 5,
        "bookmarked": True,
        "is_quote_status": False,
        "sort_index": str(1_800_000_000_000_000_000 - number),
        "has_image": True,
        "is_long_text": False,
        "is_thread": False,
        "conversations": [],
        "quoted_tweet": None,
        "owner_id": "99",
        "id": f"99_{post_id(number)}",
        "folder": "later",
        "url": f"https://x.com/ada/status/{post_id(number)}",
        **more,
    }


def fieldtheory_record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": post_id(number),
        "tweetId": post_id(number),
        "url": f"https://x.com/ada/status/{post_id(number)}",
        "text": words(number),
        "authorHandle": "ada",
        "authorName": "Ada L",
        "authorProfileImageUrl": "https://pbs.twimg.com/x.jpg",
        "author": {"id": "7", "handle": "ada", "name": "Ada L", "followerCount": 3},
        "postedAt": WEB_DATE,
        "bookmarkedAt": None,
        "syncedAt": "2026-04-08T10:00:00.000Z",
        "conversationId": post_id(number),
        "language": "en",
        "engagement": {"likeCount": 5, "repostCount": 0},
        "media": ["https://pbs.twimg.com/media/1.jpg"],
        "mediaObjects": [{"type": "photo", "url": "https://pbs.twimg.com/media/1.jpg"}],
        "links": [],
        "tags": [],
        "ingestedVia": "graphql",
        "sortIndex": str(1_800_000_000_000_000_000 - number),
        **more,
    }


def json_lines(records: Sequence[Any]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def json_array(records: Sequence[Any]) -> bytes:
    return json.dumps(list(records), indent=2, ensure_ascii=False).encode()


def exported(number: int) -> str:
    """A line as `twitor export` writes it of a bookmark from X."""
    post = {"id": post_id(number), "text": words(number), "author_id": "7", "created_at": UTC_DATE}
    includes = {"users": [{"id": "7", "username": "ada", "name": "Ada L"}]}
    item = decode_element(json.dumps({"data": post, "includes": includes}))
    assert isinstance(item, Item)
    return line_of(
        Bookmark(
            id=item.key,
            text=item.text,
            author_id=item.author_id,
            author_username=item.author_username,
            author_name=item.author_name,
            created_at=item.created_at,
            kind=item.kind,
            source="x",
            stored_at=1714566896.25,
            result='{"label": "short"}',
            raw=item.raw,
        )
    )


def like(number: int) -> dict[str, Any]:
    address = f"https://twitter.com/i/web/status/{post_id(number)}"
    return {"like": {"tweetId": post_id(number), "fullText": words(number), "expandedUrl": address}}


def bookmark(number: int) -> dict[str, Any]:
    return {"bookmark": {"tweetId": post_id(number)}}


def script(name: str, records: Sequence[Any], *, part: int = 0) -> bytes:
    """As the archive writes it: a space before each colon."""
    text = json.dumps(list(records), indent=2, ensure_ascii=False, separators=(",", " : "))
    return f"window.YTD.{name}.part{part} = {text}".encode()


def archive(members: dict[str, bytes], *, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A data archive's zip, with what else is in one."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", packing) as file:
        file.writestr("Your archive.html", "<!doctype html>")
        file.writestr("data/manifest.js", "window.__THAR_CONFIG = {}")
        file.writestr("data/tweets.js", script("tweets", [{"tweet": {"id_str": "1"}}]))
        file.writestr("data/tweets_media/1-abc.jpg", b"\xff\xd8\xff" * 1000)
        for name, content in members.items():
            file.writestr(name, content)
    return found.getvalue()
