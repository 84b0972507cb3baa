"""Walking a listing: where a walk stands, when it has really ended, when it has caught up with what is known.

Pure. Ids are compared for equality only: neither size nor order of ids says anything about bookmarks.
Must not know: what an item holds, how pages are fetched, what was committed.

A **walk** goes from the top of the listing towards its end, a page at a time. Every id met gets a *place*
(walk, position). Ids of a walk that reached its end keep their places: newest walk first, they are the last completed
listing, and the next walk may stop where it recognises it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from .taxonomy import Reason

__all__ = [
    "BARREN_PAGES",
    "CAUGHT_UP_RUN",
    "MISSING_ALLOWED",
    "End",
    "Known",
    "Mark",
    "Place",
    "Run",
    "Sighting",
    "Verdict",
    "conclude",
    "recognise",
    "smaller_size",
]

CAUGHT_UP_RUN: Final = 20
"""Successive ids that must stand in the order of the last completed listing before a walk may stop early."""

MISSING_ALLOWED: Final = 20
"""A walk stops early only if fewer than this many ids of the last listing are missing above that point."""

BARREN_PAGES: Final = 3
"""Pages in a row without an id unseen in this walk that prove a loop. Source: loops are to be detected in 3 pages."""

Place = tuple[int, int]
"""(walk, position): where an id stood when it was last met. A higher walk stands in front of a lower one."""


class End(StrEnum):
    """What a page says about the end of the listing."""

    MORE = "more"
    """There is a next page."""
    VERIFIED = "verified"
    """The source knows that this is the end (a file's last page)."""
    UNVERIFIED = "unverified"
    """No next page was named, which may be the end or a service that drops its tokens: to be verified."""


@attrs.frozen
class Known:
    """What is already known of one id.

    Attributes:
        stored: Whether the user's bookmarks hold it.
        skipped: Whether this crawl keeps it as skipped.
        walk: The walk that met it last; 0 for none, or one that never reached its end.
        position: Its position in that walk.
        session: Ordinal of the session that met it last; 0 for none.
        undecoded: Whether it was skipped because it could not be decoded, so that a whole element is worth a try.
    """

    stored: bool = False
    skipped: bool = False
    walk: int = 0
    position: int = 0
    session: int = 0
    undecoded: bool = False


@attrs.frozen
class Mark:
    """Where a crawl stands in the listing; the durable heart of a checkpoint.

    Attributes:
        walk: Number of the latest walk, from 1; 0 before the first.
        under_way: Whether that walk still has pages to come.
        cursor: The page to fetch next; None is the top.
        page_size: Size to ask for; None leaves it to the source.
        position: Ids that have a place in this walk so far.
        tail: While an end is being verified: items of the doubted page not yet met again; None otherwise.
        resumed: Whether a later run continued this walk, so that new bookmarks may have been missed at the top.
        barren: Pages in a row without an unseen id.
        refused: Whether a cursor was refused since the last new item.
    """

    walk: int = 0
    under_way: bool = False
    cursor: str | None = None
    page_size: int | None = None
    position: int = 0
    tail: int | None = None
    resumed: bool = False
    barren: int = 0
    refused: bool = False

    def next_walk(self, page_size: int | None, *, refused: bool = False) -> "Mark":
        """The mark of a new walk from the top."""
        return Mark(walk=self.walk + 1, under_way=True, page_size=page_size, refused=refused)

    @property
    def has_begun(self) -> bool:
        """Whether the walk under way has anything to continue."""
        return self.under_way and (
            self.position > 0 or self.cursor is not None or self.tail is not None
        )


@attrs.frozen
class Run:
    """Successive ids of the last completed listing met in its order: how many, and the last one's place."""

    length: int = 0
    last: Place | None = None


@attrs.frozen
class Sighting:
    """The point of a page at which the walk may have caught up with the last completed listing.

    Attributes:
        place: Place of the id there.
        above_on_page: Ids of this page, up to there, that stood above that place in the last listing.
    """

    place: Place
    above_on_page: int


@attrs.frozen
class Verdict:
    """What a page means for its walk.

    Attributes:
        mark: Where the walk stands when the page is durable.
        ended: Why the walk is over (END_VERIFIED, CAUGHT_UP); None when it goes on.
        fault: Why the listing cannot be walked any further (SOURCE_LOOPS); None when it can.
        caught_up_at: Place at which the walk met the last listing; None unless it ended so.
    """

    mark: Mark
    ended: Reason | None = None
    fault: Reason | None = None
    caught_up_at: Place | None = None


def stands_above(one: Place, other: Place) -> bool:
    """Whether `one` is nearer to the top of the last completed listing than `other`."""
    return (-one[0], one[1]) < (-other[0], other[1])


def smaller_size(size: int | None, sizes: tuple[int, ...]) -> int | None:
    """The next page size to doubt an end with; the same again when there is none smaller.

    Args:
        size: The size at which the end was met.
        sizes: What the source offers, falling.
    """
    if size is None:
        return None
    return next((offered for offered in sizes if offered < size), size)


def recognise(
    keys: tuple[str, ...], known: Mapping[str, Known], walk: int, run: Run
) -> tuple[Run, Sighting | None]:
    """Follow a page's ids through the last completed listing.

    Args:
        keys: Ids of the page in listing order, each once.
        known: What is known of them; a missing id is unknown.
        walk: Number of the walk under way: ids already met in it say nothing.
        run: The run so far.

    Returns:
        The run after the page, and where it first reached `CAUGHT_UP_RUN` on this page, if it did and goes on to the
        page's end: a block of old bookmarks that were bookmarked again is followed by what was bookmarked before.
    """
    length, last = run.length, run.last
    sighting: Sighting | None = None
    places: list[Place] = []
    for key in keys:
        fact = known.get(key)
        if fact is not None and fact.walk == walk:
            continue
        if fact is None or fact.walk == 0:
            length, last, sighting = 0, None, None
            continue
        place = (fact.walk, fact.position)
        if last is None or not stands_above(last, place):
            length, sighting = 0, None
        length += 1
        last = place
        if length == CAUGHT_UP_RUN:
            above = sum(1 for earlier in places if stands_above(earlier, place))
            sighting = Sighting(place, above)
        places.append(place)
    return Run(length, last), sighting


def conclude(
    mark: Mark,
    *,
    items: int,
    unseen: int,
    new: int,
    next_cursor: str | None,
    end: End,
    sizes: tuple[int, ...],
    caught_up_at: Place | None = None,
) -> Verdict:
    """Decide what a page means for the walk.

    Args:
        mark: Where the walk stood when the page was asked for.
        items: Elements of the page.
        unseen: Ids of it that this walk meets for the first time.
        new: Ids of it that were never stored or skipped before.
        next_cursor: Where the next page begins.
        end: What a missing cursor means.
        sizes: Page sizes that the source offers, falling.
        caught_up_at: Place at which the walk recognised the last completed listing, if it did.

    Returns:
        The mark after the page, and whether the walk ended or loops.
    """
    reached = attrs.evolve(mark, position=mark.position + unseen, refused=mark.refused and new == 0)
    if caught_up_at is not None:
        return Verdict(reached, ended=Reason.CAUGHT_UP, caught_up_at=caught_up_at)
    if end is End.VERIFIED:
        return Verdict(reached, ended=Reason.END_VERIFIED)
    if end is End.UNVERIFIED:
        size = smaller_size(mark.page_size, sizes)
        met_again = mark.tail is not None and unseen == 0 and items >= mark.tail
        # A full page without a cursor is as suspicious as the one before, if there is a smaller size to ask with.
        is_full = size != mark.page_size and items >= (mark.page_size or 0)
        if met_again and not is_full:
            return Verdict(reached, ended=Reason.END_VERIFIED)
        # Met for the first time, or met again before the whole doubted page was: the service drops tokens here too.
        doubted = items
        if mark.tail is not None and unseen == 0 and size != mark.page_size:
            doubted = max(items, mark.tail)
        return Verdict(attrs.evolve(reached, page_size=size, tail=doubted, barren=0))
    if next_cursor is None or next_cursor == mark.cursor:
        return Verdict(reached, fault=Reason.SOURCE_LOOPS)
    return _onwards(reached, mark, items=items, unseen=unseen, next_cursor=next_cursor)


def _onwards(reached: Mark, mark: Mark, *, items: int, unseen: int, next_cursor: str) -> Verdict:
    """The walk goes on: to the next page, with or without still being in a tail walked again."""
    tail = None if mark.tail is None or unseen else max(0, mark.tail - items)
    walked_again = mark.tail is not None and mark.tail > 0 and items > 0
    barren = 0 if unseen else mark.barren if walked_again else mark.barren + 1
    onwards = attrs.evolve(reached, cursor=next_cursor, tail=tail, barren=barren)
    if barren >= BARREN_PAGES:
        return Verdict(onwards, fault=Reason.SOURCE_LOOPS)
    return Verdict(onwards)
