"""The cache of fieldtheory-cli: JSON Lines, one bookmark a line (`bookmarks.jsonl`); its likes are built the same way.

Checked against afar1/fieldtheory-cli (types at 09b555b and 6fd91d3, its writer of records at 6fd91d3): `postedAt` is X's own date
or ISO 8601; `bookmarkedAt` is null or a guess of older versions, so it is not taken over; `sortIndex` is X's opaque order
key and stays in `raw`. Records of versions before 6fd91d3 have only the first 280 characters of a long post.
"""

from collections.abc import Mapping
from typing import Any, Final

from ..base import InvalidRaw, Item
from ..loose_json import at, count_at, list_at, read_any, text_at
from ..richness import richness
from ..web_posts import web_date
from ..x_items import invalid, is_id
from .one_record import OneRecord, post_of

__all__ = ["FIELD_THEORY", "FIELD_THEORY_LIKES"]


def _read(element: bytes) -> Item | InvalidRaw:
    record = read_any(element)
    key, text = at(record, "tweetId"), at(record, "text")
    if not isinstance(key, str) or not is_id(key):
        return invalid(element, "its tweetId is not 1 to 100 visible ASCII characters")
    if not isinstance(text, str):
        return invalid(element, "it has no text", key=key)
    columns = (
        text_at(record, "author", "id"),
        text_at(record, "authorHandle") or text_at(record, "author", "handle"),
        text_at(record, "authorName") or text_at(record, "author", "name"),
        web_date(at(record, "postedAt")),
    )
    told = richness(text, columns, others=_others(record))
    return post_of(element, key, text, columns, richness=told)


def _others(record: Any) -> int:
    media = list_at(record, "mediaObjects") or list_at(record, "media")
    return len(media) + sum(
        count_at(record, name) for name in ("author", "engagement", "links", "quotedTweet")
    )


def _is_bookmark(members: Mapping[str, bytes]) -> bool:
    """A record has its post's id under `tweetId`, and says when it was synced."""
    return "tweetId" in members and "syncedAt" in members and "likedAt" not in members


def _is_like(members: Mapping[str, bytes]) -> bool:
    """A like says when it was liked."""
    return "tweetId" in members and "likedAt" in members


FIELD_THEORY: Final = OneRecord(
    word="fieldtheory",
    title="bookmarks of fieldtheory-cli: JSON Lines of {tweetId, text, authorHandle, syncedAt, ...}",
    recognises=_is_bookmark,
    read=_read,
)
FIELD_THEORY_LIKES: Final = OneRecord(
    word="fieldtheory_likes",
    title="likes of fieldtheory-cli: JSON Lines of {tweetId, text, likedAt, ...}",
    is_likes=True,
    recognises=_is_like,
    read=_read,
)
