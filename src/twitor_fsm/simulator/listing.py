"""One user's bookmarks in listing order, newest bookmark first, while they change.

Pure. A bookmark has a rank that grows with the time of bookmarking; a page is "so many below this
rank". So what is added on top never shifts the pages below. What was there from the start costs no
memory; changes cost some each.
Must not know: ids, texts, cursors, HTTP.
"""

from collections.abc import Iterator

__all__ = ["Listing"]


class Listing:
    """The order of bookmarks, each known by its index.

    Index 0 is the newest of the first `size`, `size` the next one added.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._later: list[int] = []  # index of the bookmark at rank size + 1 + place
        self._gone: set[int] = set()  # ranks that no longer hold a bookmark
        self._moved: dict[
            int, int | None
        ] = {}  # index -> rank, None when removed; absent: where it was at first
        self._next_index = size

    def __len__(self) -> int:
        return self._size + len(self._later) - len(self._gone)

    def __iter__(self) -> Iterator[int]:
        """Indexes in listing order."""
        return (self.index_at(rank) for rank in self._ranks_below(self.top + 1))

    def index_at(self, rank: int) -> int:
        """The bookmark at a rank that holds one."""
        return self._size - rank if rank <= self._size else self._later[rank - self._size - 1]

    def below(self, rank: int, count: int) -> list[int]:
        """Up to `count` ranks below this one, highest first."""
        found: list[int] = []
        for candidate in self._ranks_below(rank):
            if len(found) == count:
                break
            found.append(candidate)
        return found

    def above(self, rank: int, count: int) -> list[int]:
        """Up to `count` ranks next above this one, highest first."""
        found: list[int] = []
        candidate = rank + 1
        while candidate <= self.top and len(found) < count:
            if candidate not in self._gone:
                found.append(candidate)
            candidate += 1
        return found[::-1]

    def add(self) -> int:
        """Bookmark a new post; answers with its index."""
        index = self._next_index
        self._next_index += 1
        self._put_on_top(index)
        return index

    def remove(self, index: int) -> bool:
        """Take a bookmark away; False when there is none."""
        rank = self._rank_of(index)
        if rank is None:
            return False
        self._gone.add(rank)
        self._moved[index] = None
        return True

    def rebookmark(self, index: int) -> bool:
        """Bookmark a known post again: it moves to the top. False for an unknown index."""
        if not 0 <= index < self._next_index:
            return False
        self.remove(index)
        self._put_on_top(index)
        return True

    @property
    def top(self) -> int:
        """The highest rank given so far; 0 when there never was a bookmark."""
        return self._size + len(self._later)

    def _put_on_top(self, index: int) -> None:
        self._later.append(index)
        self._moved[index] = self.top

    def _rank_of(self, index: int) -> int | None:
        if index in self._moved:
            return self._moved[index]
        return self._size - index if 0 <= index < self._size else None

    def _ranks_below(self, rank: int) -> Iterator[int]:
        return (candidate for candidate in range(rank - 1, 0, -1) if candidate not in self._gone)
