"""How much a record of a bookmark says: the one scale by which records of different sources are compared.

Of two records of one bookmark the higher one is kept, whole (`storage`), so the scale puts first what a reader would miss
most; a lower digit never outweighs a higher one:

| digit | what | why |
| --- | --- | --- |
| 1000 | the whole text of a long post | others have its first 280 characters |
| 100 each | author's id, handle, name; date | our columns: a record without one would empty it |
| 1 each, at most 99 | whatever else is known: counts, links, media, quoted posts, users, polls, places | kept in `raw` |

A post with its text has 1 beside that. Nothing is said by a tombstone, nor by a post of which only the id is known: both have
0. Of equal records the first one stays.
Pure. Must not know: formats.
"""

from collections.abc import Sequence
from typing import Final

__all__ = ["LONG_CHARS", "NOTHING", "richness"]

NOTHING: Final = 0
"""Of a tombstone, and of an id alone."""
LONG_CHARS: Final = 280
"""A longer text is the whole text of a long post. Source: X, "Counting characters"; a long post's short form is cut there."""

_WHOLE: Final = 1000
_COLUMN: Final = 100
_MOST: Final = 99


def richness(
    text: str | None, columns: Sequence[str | None], *, others: int = 0, is_whole: bool = False
) -> int:
    """Place a record on the scale.

    Args:
        text: The post's text; None if it is not known.
        columns: Author's id, handle and name, and the date; None where unknown.
        others: How many other facts and attached objects it holds.
        is_whole: Whether the source says that the text is the long form.
    """
    known = _COLUMN * (len(columns) - columns.count(None)) + min(others, _MOST - 1)
    if text is None:
        return known
    return 1 + known + (_WHOLE if is_whole or len(text) > LONG_CHARS else 0)
