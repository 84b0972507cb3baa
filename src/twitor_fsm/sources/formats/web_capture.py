"""Answers of X's own website, saved from the browser: pages of the bookmarks listing (GraphQL).

    {"data": {"bookmark_timeline_v2": {"timeline": {"instructions": [{"entries": [...]}]}}}}

One answer, an array of them, or one a line; of a bookmark folder (`bookmark_collection_timeline`) as well. An entry's
result is a `Tweet`, a `TweetWithVisibilityResults`, a `TweetTombstone`, `TweetUnavailable`, or missing: the last three are
tombstones. Checked against prinsss/twitter-web-exporter (0dd2238, f8e1d18) and afar1/fieldtheory-cli (6fd91d3).
An entry's text is kept as it is, with the listing's own order key (`sortIndex`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..base import InvalidRaw, Item
from ..json_split import NotJson, each_of_array, split_array, split_object
from ..loose_json import Unreadable, at, list_at, read_any, text_at
from ..web_posts import item_of
from ..x_items import MAX_ITEM_BYTES, invalid, too_large

__all__ = ["WebCapture", "is_listing", "page_items"]

_LISTED: Final = re.compile(r"(?:.{0,200}-)?tweet-(\d{1,20})", re.ASCII)
_TIMELINE: Final = re.compile(r"bookmark\w*timeline\w*", re.ASCII)
_PROMOTED: Final = "promoted"


class WebCapture:
    """Saved pages of the website's bookmarks listing."""

    word = "web_capture"
    title = "captured answers of X's website: {data: {bookmark_timeline_v2}}, one, an array of them, or one a line"
    is_likes = False
    if_empty = None

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """An answer names its listing in `data`; a kept entry has its id and content."""
        if "entryId" in members and ("content" in members or "item" in members):
            return True
        return is_listing(members.get("data", b""))

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The bookmarks of one answer; one that is no page of the listing (a saved refusal) is invalid as a whole."""
        try:
            if "entryId" in split_object(element):
                return (self.decode_kept(element.decode("utf-8", "surrogateescape"), limit),)
        except NotJson:
            pass
        found = page_items(element, limit)
        return (
            (invalid(element, "it is no page of the bookmarks listing"),)
            if found is None
            else found
        )

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept entry."""
        element = raw.encode("utf-8", "surrogateescape")
        return next(_decode(element, limit), None) or invalid(element, "it is no entry with a post")


def page_items(answer: bytes, limit: int) -> tuple[Item | InvalidRaw, ...] | None:
    """The bookmarks of an answer, in its order; None if it is no page of the listing. One of more than `limit` bytes is invalid."""
    try:
        data = split_object(answer).get("data", b"")
        if not is_listing(data):
            return None
        return tuple(item for entry in _entries(data) for item in _decode(entry, limit))
    except NotJson:
        return None


def is_listing(data: bytes) -> bool:
    """Whether an answer's `data` is a page of bookmarks."""
    try:
        return any(_TIMELINE.fullmatch(name) for name in split_object(data))
    except NotJson:
        return False


def _entries(data: bytes) -> Iterator[bytes]:
    """The texts of a page's entries, in its order; of a folder's and a search's page too.

    Raises:
        NotJson: It is not built as a page.
    """
    listing = next(text for name, text in split_object(data).items() if _TIMELINE.fullmatch(name))
    timeline = split_object(listing).get("timeline", b"")
    for instruction in split_array(split_object(timeline).get("instructions", b"")):
        members = split_object(instruction)
        for name in ("entries", "moduleItems"):
            if name in members:
                yield from each_of_array(members[name])


def _decode(entry: bytes, limit: int) -> Iterator[Item | InvalidRaw]:
    """The post of an entry; none for a cursor, an advertisement and the like."""
    if len(entry) > limit:
        yield too_large(entry, limit)
        return
    try:
        value = read_any(entry)
    except Unreadable as exc:
        yield invalid(entry, str(exc))
        return
    entry_id = text_at(value, "entryId") or ""
    if entry_id.startswith(_PROMOTED):
        return
    listed = _LISTED.fullmatch(entry_id)
    for content in _contents(value):
        if at(content, "promotedMetadata") is not None:
            continue
        key = listed[1] if listed is not None else None
        if isinstance(at(content, "tweet_results"), dict):
            yield item_of(at(content, "tweet_results", "result"), entry, listed_as=key)
        elif key is not None:
            yield invalid(entry, "it has a shape that is not known", key=key)


def _contents(entry: Any) -> list[Any]:
    """What an entry shows: one thing, or the things of a group."""
    inner = [at(item, "item", "itemContent") for item in list_at(entry, "content", "items")]
    return inner or [at(entry, "content", "itemContent") or at(entry, "item", "itemContent")]
