"""The cache of fieldtheory-cli: JSON Lines, one bookmark a line (`bookmarks.jsonl`); its likes are built the same way.

Checked against afar1/fieldtheory-cli (types at 09b555b and 6fd91d3, its writer of records at 6fd91d3): `postedAt` is X's own date
or ISO 8601; `bookmarkedAt` is null or a guess of older versions, so it is not taken over; `sortIndex` is X's opaque order
key and stays in `raw`. Records of versions before 6fd91d3 have only the first 280 characters of a long post.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..base import InvalidRaw, Item
from ..loose_json import Unreadable, at, count_at, list_at, read_any, text_at
from ..richness import richness
from ..web_posts import web_date
from ..x_items import MAX_ITEM_BYTES, as_text, invalid, is_id, too_large

__all__ = ["FieldTheory", "FieldTheoryLikes"]


class FieldTheory:
    """Records of bookmarks."""

    word = "fieldtheory"
    title = (
        "bookmarks of fieldtheory-cli: JSON Lines of {tweetId, text, authorHandle, syncedAt, ...}"
    )
    is_likes = False
    if_empty = None

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """A record has its post's id under `tweetId`, and says when it was synced."""
        return "tweetId" in members and "syncedAt" in members and "likedAt" not in members

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The one bookmark of a record."""
        return (_decode(element, limit),)

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept record."""
        return _decode(raw.encode("utf-8", "surrogateescape"), limit)


class FieldTheoryLikes:
    """Records of likes."""

    word = "fieldtheory_likes"
    title = "likes of fieldtheory-cli: JSON Lines of {tweetId, text, likedAt, ...}"
    is_likes = True
    if_empty = None

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """A like says when it was liked."""
        return "tweetId" in members and "likedAt" in members

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The one post of a record."""
        return (_decode(element, limit),)

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept record."""
        return _decode(raw.encode("utf-8", "surrogateescape"), limit)


def _decode(element: bytes, limit: int) -> Item | InvalidRaw:
    if len(element) > limit:
        return too_large(element, limit)
    try:
        record = read_any(element)
    except Unreadable as exc:
        return invalid(element, str(exc))
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
    return Item(
        key=key,
        raw=as_text(element),
        text=text,
        author_id=columns[0],
        author_username=columns[1],
        author_name=columns[2],
        created_at=columns[3],
        richness=richness(text, columns, others=_others(record)),
    )


def _others(record: Any) -> int:
    media = list_at(record, "mediaObjects") or list_at(record, "media")
    return len(media) + sum(
        count_at(record, name) for name in ("author", "engagement", "links", "quotedTweet")
    )
