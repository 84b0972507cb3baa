"""The page in hand: what is known of its elements, and what it means for the walk.

Pure. Content never comes here: items are known by key and by what became of them.
Must not know: where pages come from, what was committed.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from .listing import End, Known, Mark, Place, Sighting, Verdict, conclude
from .rules import Rules

__all__ = [
    "Entry",
    "PageInHand",
    "Status",
    "Tally",
    "count",
    "entries_of",
    "is_fresh",
    "judge",
    "limit_of",
    "redo_entries",
]


class Status(StrEnum):
    """What became of one element of a page."""

    NEW = "new"
    """To be handled (if there is a handler) and stored."""
    INVALID = "invalid"
    """To be skipped: it could not be decoded."""
    KNOWN = "known"
    """Stored before."""
    SKIPPED = "skipped"
    """Skipped now."""
    SKIPPED_BEFORE = "skipped_before"
    """Skipped by an earlier session; tried again only on request."""
    REPEATED = "repeated"
    """The same id stands on this page twice, or this walk has met it and nothing is left to do."""


@attrs.frozen
class Entry:
    """One element of the page in hand.

    Attributes:
        key: Its id.
        status: What became of it.
        position: Its place in this walk if the walk meets it here for the first time, else None.
        counts: Whether this session meets it here for the first time.
    """

    key: str
    status: Status
    position: int | None
    counts: bool


@attrs.frozen
class Tally:
    """Distinct items of a session: `seen == stored + already_known + skipped` at every commit.

    `fresh` counts those that the session itself stored or skipped; it is what `max_items` limits.
    """

    seen: int = 0
    stored: int = 0
    already_known: int = 0
    skipped: int = 0
    fresh: int = 0


@attrs.frozen
class PageInHand:
    """The page being worked on.

    Attributes:
        keys: Ids of its elements in listing order.
        invalid: Indices of elements that could not be decoded.
        next_cursor: Where the next page begins.
        end: What a missing cursor means.
        redo: Whether these are skipped items to be tried again instead of a page of the listing.
        entries: What is known of the elements; empty until the page was looked up.
        sighting: Where the walk may have caught up; needs one more look into the store.
        verdict: What the page means for the walk; None until it was judged.
        limit: Elements that may be worked on before `max_items` is reached.
    """

    keys: tuple[str, ...]
    invalid: frozenset[int]
    next_cursor: str | None
    end: End
    redo: bool = False
    entries: tuple[Entry, ...] = ()
    sighting: Sighting | None = None
    verdict: Verdict | None = None
    limit: int = 0


_UNKNOWN: Final = Known()


def entries_of(
    page: PageInHand, known: Mapping[str, Known], mark: Mark, ordinal: int
) -> tuple[Entry, ...]:
    """What is known of each element of a page of the listing."""
    entries: list[Entry] = []
    met: set[str] = set()
    position = mark.position
    for index, key in enumerate(page.keys):
        fact = known.get(key, _UNKNOWN)
        if key in met:
            entries.append(Entry(key, Status.REPEATED, None, counts=False))
            continue
        met.add(key)
        unseen = fact.walk != mark.walk
        entries.append(
            Entry(
                key,
                _status(fact, invalid=index in page.invalid),
                position if unseen else None,
                fact.session != ordinal,
            )
        )
        position += unseen
    return tuple(entries)


def _status(fact: Known, *, invalid: bool) -> Status:
    if fact.stored:
        return Status.KNOWN
    if fact.skipped and (invalid or not fact.undecoded):
        return Status.SKIPPED_BEFORE
    return Status.INVALID if invalid else Status.NEW


def redo_entries(page: PageInHand, known: Mapping[str, Known], ordinal: int) -> tuple[Entry, ...]:
    """Skipped items are tried as if they were new; they have no place in the walk."""
    return tuple(
        Entry(
            key,
            Status.INVALID if index in page.invalid else Status.NEW,
            None,
            known.get(key, _UNKNOWN).session != ordinal,
        )
        for index, key in enumerate(page.keys)
    )


def judge(page: PageInHand, mark: Mark, rules: Rules, caught_up_at: Place | None) -> Verdict:
    """What the page means for its walk; `caught_up_at` is where it recognised the last completed listing."""
    return conclude(
        mark,
        items=len(page.keys),
        unseen=sum(1 for e in page.entries if e.position is not None),
        new=sum(1 for e in page.entries if e.status is Status.NEW),
        next_cursor=page.next_cursor,
        end=page.end,
        sizes=rules.page_sizes,
        caught_up_at=caught_up_at,
    )


def is_fresh(entry: Entry) -> bool:
    """Whether it is one of those that `max_items` limits: stored or skipped by this session, now or soon."""
    return entry.status in {Status.NEW, Status.INVALID, Status.SKIPPED}


def limit_of(entries: tuple[Entry, ...], max_items: int | None, fresh: int) -> int:
    """Elements that may be worked on before `max_items` are stored or skipped."""
    if max_items is None:
        return len(entries)
    left = max_items - fresh
    for index, entry in enumerate(entries):
        if is_fresh(entry):
            if left <= 0:
                return index
            left -= 1
    return len(entries)


def count(tally: Tally, entries: tuple[Entry, ...]) -> Tally:
    """The counts with these elements added: each counts once a session, in one of three ways."""
    stored = known = skipped = fresh = 0
    for entry in entries:
        fresh += is_fresh(entry)
        if not entry.counts:
            continue
        if entry.status is Status.NEW:
            stored += 1
        elif entry.status is Status.KNOWN:
            known += 1
        else:
            skipped += 1
    return Tally(
        tally.seen + stored + known + skipped,
        tally.stored + stored,
        tally.already_known + known,
        tally.skipped + skipped,
        tally.fresh + fresh,
    )
