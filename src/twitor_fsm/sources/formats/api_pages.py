"""Pages of the X API v2 that somebody saved: {data, includes, meta}, with the listing order of the file.

Both vocabularies; one object, an array of them, or one a line.
"""

from collections.abc import Iterator, Mapping

from ...errors import SourceUnavailable
from ..base import InvalidRaw, Item
from ..x_decode import decode_element, decode_saved
from ..x_items import MAX_ITEM_BYTES, invalid

__all__ = ["ApiPages"]


class ApiPages:
    """Saved answers of `GET /2/users/{id}/bookmarks`."""

    word = "api_pages"
    title = (
        "saved pages of the X API v2: {data, includes, meta}, one, an array of them, or one a line"
    )
    is_likes = False
    if_empty = None

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """A page has data (a list; a kept item has one object), or none and a meta."""
        data = members.get("data", b"").lstrip()
        return data[:1] in (b"[", b"{") or "meta" in members

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Iterator[Item | InvalidRaw]:
        """The bookmarks of one page; a page that is none (a saved refusal, say) is invalid as a whole.

        Raises:
            UnreadableFile: It includes too much to be held in memory.
        """
        try:
            yield from decode_saved(element, limit=limit)
        except SourceUnavailable as exc:
            yield invalid(element, f"it is no page: {exc}")

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept item or element."""
        return decode_element(raw, limit)
