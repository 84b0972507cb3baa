"""X's data archive: `data/bookmarks.js` and `data/like.js`, scripts that assign an array.

    window.YTD.like.part0 = [{"like": {"tweetId": "1", "fullText": "...", "expandedUrl": "..."}}]
    window.YTD.bookmarks.part0 = [{"bookmark": {"tweetId": "1"}}]

Ids, and of likes the text: no author, no date. Most archives hold no bookmarks at all; where they do, only the post's id is
certain, and its text is taken if there is one. Checked against readers of archives that people hold: karlicoss/HPI 407,
Dicklesworthstone/xf 8, and public parsers of `window.YTD.bookmarks.part0`, of which one knows records without the outer
`bookmark`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..base import InvalidRaw, Item
from ..loose_json import Unreadable, at, read_any, text_at
from ..richness import richness
from ..x_items import MAX_ITEM_BYTES, as_text, invalid, is_id, too_large

__all__ = ["ArchiveBookmarks", "ArchiveLikes"]

_BARE: Final = frozenset({"bookmarkId", "bookmarkCollectionId", "addedAt"})
"""One of these is beside the post's id in a bookmark without its outer name."""


class ArchiveBookmarks:
    """Bookmarks of an archive."""

    word = "archive_bookmarks"
    title = "bookmarks.js of X's data archive, or the archive's zip"
    is_likes = False
    if_empty = None

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """A bookmark stands under its name; in one variant it is bare, with an id of its own."""
        bare = "tweetId" in members and not _BARE.isdisjoint(members)
        return members.get("bookmark", b"").lstrip()[:1] == b"{" or bare

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The one bookmark."""
        return (_decode(element, "bookmark", limit),)

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept bookmark."""
        return _decode(raw.encode("utf-8", "surrogateescape"), "bookmark", limit)


class ArchiveLikes:
    """Likes of an archive."""

    word = "archive_likes"
    title = "like.js of X's data archive, or the archive's zip"
    is_likes = True
    if_empty = None

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """A like stands under its name."""
        return members.get("like", b"").lstrip()[:1] == b"{"

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The one like."""
        return (_decode(element, "like", limit),)

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept like."""
        return _decode(raw.encode("utf-8", "surrogateescape"), "like", limit)


def _decode(element: bytes, name: str, limit: int) -> Item | InvalidRaw:
    if len(element) > limit:
        return too_large(element, limit)
    try:
        value = read_any(element)
    except Unreadable as exc:
        return invalid(element, str(exc))
    is_bare = name == "bookmark" and not _BARE.isdisjoint(value if isinstance(value, dict) else ())
    record: Any = value if is_bare else at(value, name)
    key = at(record, "tweetId")
    if not isinstance(key, str) or not is_id(key):
        return invalid(element, "its tweetId is not 1 to 100 visible ASCII characters")
    text = text_at(record, "fullText")
    return Item(key=key, raw=as_text(element), text=text, richness=richness(text, ()))
