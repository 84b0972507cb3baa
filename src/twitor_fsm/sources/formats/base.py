"""What a file format is.

Must not know: files, cursors.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from ..base import InvalidRaw, Item
from ..x_items import MAX_ITEM_BYTES

__all__ = ["Format"]


class Format(Protocol):
    """One kind of element and how its bookmarks are read."""

    @property
    def word(self) -> str:
        """Names it in cursors: lower-case letters and underscores, never changed."""
        ...

    @property
    def title(self) -> str:
        """What to call it in messages."""
        ...

    @property
    def is_likes(self) -> bool:
        """Whether it holds likes: those are read only when they are asked for."""
        ...

    @property
    def if_empty(self) -> str | None:
        """What went wrong if a whole file holds not one bookmark; None if that is nothing strange."""
        ...

    def recognises(self, members: Mapping[str, bytes], /) -> bool:
        """Whether an object with these members (JSON texts by name) is an element of this format.

        It sees the first object of a file, and each kept element that is decoded again.
        """
        ...

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Iterable[Item | InvalidRaw]:
        """The bookmarks in one element, in listing order; what cannot be decoded is an `InvalidRaw`, never raised.

        So is a bookmark of more than `limit` bytes. An element of many bookmarks gives them one at a time.

        Raises:
            UnreadableFile: The element cannot be held in memory; before its first bookmark.
        """
        ...

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """Decode one kept element again: the `raw` of something that `decode` gave."""
        ...
