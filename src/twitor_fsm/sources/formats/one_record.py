"""What formats with one bookmark in each element share: the limit, text that is no JSON, a kept element again.

Must not know: how a record is read.
"""

from collections.abc import Callable, Mapping, Sequence

import attrs

from ..base import InvalidRaw, Item
from ..loose_json import Unreadable
from ..x_items import MAX_ITEM_BYTES, invalid, too_large

__all__ = ["OneRecord"]


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
