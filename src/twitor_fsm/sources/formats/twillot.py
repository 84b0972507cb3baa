"""JSON exports of Twillot, a browser extension: an array of records, newest bookmark first.

Checked against twillot-app/twillot: the record at 002b9cb (`toRecord`), the export at 4ad8da0 and 0c74f2e. `created_at` is in
epoch seconds; `username` is the display name, `screen_name` the handle; links in the text are written out, and the
posts of an unrolled thread stand in the text of its first one. `media_items` are X's own objects. Folder and the listing's
order key (`sort_index`) stay in `raw`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ..base import InvalidRaw, Item
from ..loose_json import at, count_at, list_at, read_any, text_at
from ..richness import richness
from ..x_items import invalid, is_id, utc
from .one_record import OneRecord, post_of

__all__ = ["TWILLOT"]

_MILLISECONDS_FROM: Final = 10**11
"""Seconds of this size lie in the year 5138: such a number counts milliseconds."""


def _read(element: bytes) -> Item | InvalidRaw:
    record = read_any(element)
    key, text = at(record, "tweet_id"), at(record, "full_text")
    if not isinstance(key, str) or not is_id(key):
        return invalid(element, "its tweet_id is not 1 to 100 visible ASCII characters")
    if not isinstance(text, str):
        return invalid(element, "it has no text", key=key)
    columns = (
        text_at(record, "user_id"),
        text_at(record, "screen_name"),
        text_at(record, "username"),
        _date(at(record, "created_at")),
    )
    others = len(list_at(record, "media_items")) + sum(
        count_at(record, name) for name in ("quoted_tweet", "favorite_count", "avatar_url")
    )
    is_whole = at(record, "is_long_text") is True
    told = richness(text, columns, others=others, is_whole=is_whole)
    return post_of(element, key, text, columns, richness=told)


def _date(said: Any) -> str | None:
    if not isinstance(said, int) or isinstance(said, bool) or said <= 0:
        return None
    seconds = said / 1000 if said >= _MILLISECONDS_FROM else said
    try:
        return utc(datetime.fromtimestamp(seconds, UTC).isoformat())
    except (ValueError, OverflowError, OSError):
        return None


def _is_record(members: Mapping[str, bytes]) -> bool:
    """A record has its post's id under `tweet_id` beside the text."""
    return "tweet_id" in members and "full_text" in members


TWILLOT: Final = OneRecord(
    word="twillot",
    title="JSON exports of Twillot: an array of {tweet_id, full_text, sort_index, ...}",
    recognises=_is_record,
    read=_read,
)
"""Records of Twillot's "Raw JSON"."""
