"""What formats with one bookmark in each element share: the limit, text that is no JSON, a kept element again, the columns.

Must not know: how a record is read.
"""

from collections.abc import Callable, Mapping, Sequence

import attrs

from ..base import InvalidRaw, Item
from ..loose_json import Unreadable
from ..x_items import MAX_ITEM_BYTES, as_text, invalid, too_large

__all__ = ["Columns", "OneRecord", "post_of"]

Columns = tuple[str | None, str | None, str | None, str | None]
"""Author's id, handle and name, and the date; None where unknown. The order is that of `richness`."""


@attrs.frozen(kw_only=True)
class OneRecord:
    """A `Format` whose elements are one bookmark each.

    Attributes:
        word, title, is_likes, if_empty, recognises: As `Format` has them.
        read: The bookmark in an element. May raise `Unreadable`.
    """

    word: str
    title: str
    is_likes: bool = False
    if_empty: str | None = None
    recognises: Callable[[Mapping[str, bytes]], bool]
    read: Callable[[bytes], Item | InvalidRaw]

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The one bookmark of a record."""
        return (self._read(element, limit),)

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept record."""
        return self._read(raw.encode("utf-8", "surrogateescape"), limit)

    def _read(self, element: bytes, limit: int) -> Item | InvalidRaw:
        if len(element) > limit:
            return too_large(element, limit)
        try:
            return self.read(element)
        except Unreadable as exc:
            return invalid(element, str(exc))


def post_of(element: bytes, key: str, text: str | None, columns: Columns, *, richness: int) -> Item:
    """A post, with the record that it was read from."""
    author_id, author_username, author_name, created_at = columns
    return Item(
        key=key,
        raw=as_text(element),
        text=text,
        author_id=author_id,
        author_username=author_username,
        author_name=author_name,
        created_at=created_at,
        richness=richness,
    )
