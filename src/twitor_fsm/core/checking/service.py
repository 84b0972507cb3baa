"""What the service may answer: every page that its contract allows.

Pure. Must not know: who asks.
"""

from collections.abc import Iterator

import attrs

from ..listing import End
from .scope import Scope

__all__ = ["SAID_CLOSED_S", "Answer", "answers"]

SAID_CLOSED_S = 60.0
"""For how long a page says that the limit is used up; any time ahead is as good."""


@attrs.frozen
class Answer:
    """A page.

    Attributes:
        keys: Ids in listing order.
        invalid: Indices of elements that cannot be decoded.
        next_cursor: Where the next page begins.
        end: What a missing cursor means.
        closed_until: The limit is used up for so many seconds.
        what: What is odd about it; empty when nothing is.
    """

    keys: tuple[str, ...]
    invalid: frozenset[int]
    next_cursor: str | None
    end: End
    closed_until: float | None = None
    what: str = ""


def answers(scope: Scope, hidden: int, cursor: str | None, size: int | None) -> Iterator[Answer]:
    """Every answer to a request, the plain one first.

    Args:
        scope: What the service may do.
        hidden: Items at the top that are not bookmarked yet.
        cursor: Number of the page's first item; None is the top.
        size: Page size.
    """
    plain = _plain(scope, hidden, cursor, size if size is not None else scope.items)
    yield plain
    if scope.says_closed:
        yield attrs.evolve(plain, closed_until=SAID_CLOSED_S, what="limit used up")
    if scope.drops_tokens and plain.end is End.MORE and size != scope.page_sizes[-1]:
        yield attrs.evolve(plain, next_cursor=None, end=End.UNVERIFIED, what="token left out")
    broken = frozenset(i for i, key in enumerate(plain.keys) if int(key) in scope.broken)
    if broken:
        which = ", ".join(str(int(plain.keys[i]) + 1) for i in sorted(broken))
        yield attrs.evolve(plain, invalid=broken, what=f"item {which} undecodable")


def _plain(scope: Scope, hidden: int, cursor: str | None, size: int) -> Answer:
    start = hidden if cursor is None else int(cursor)
    stop = min(start + size, scope.items)
    keys = tuple(str(number) for number in range(start, stop))
    if stop < scope.items:
        return Answer(keys, frozenset(), str(stop), End.MORE)
    if scope.is_endless:
        return Answer(keys, frozenset(), str(hidden), End.MORE)
    return Answer(keys, frozenset(), None, End.UNVERIFIED)
