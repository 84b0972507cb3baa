"""The normal form of a crawl: what no decision can tell apart becomes the same value, so that worlds are finite.

Exact, in every scope:

- Walks are numbered anew in their order (0 stays): decisions compare walks and add one, nothing else. Where a listing
  is too short for an early stop (under `CAUGHT_UP_RUN` items), places of walks that are over say nothing.
- A time that has passed is none.
- A run of skips below its limit is kept by what it is computed from: the page's elements and `earlier_skips`.
- Without a limit on items, counts are added to and never read.

Only in reduced scopes:

- Among durable elements, and among those handled before the page's last success, stored and skipped are one.
  The plan steps over both, and what a run of skips is computed from is kept. A skipped element that counts as handled
  could still be refused by the database, which skips it: no world is lost by that. The tests compare the worlds of
  exact and reduced exploration: they are the same.

Pure. Must not know: how worlds are explored.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from ..listing import CAUGHT_UP_RUN, Mark, Place, Run
from ..page import Entry, PageInHand, Status, Tally
from ..progress import Progress
from .scope import Scope
from .world import Durable, Kept, Work

__all__ = ["Normal"]

_NO_COUNTS: Final = Tally()


class Normal:
    """Finds the value that stands for all that cannot be told from it."""

    def __init__(self, scope: Scope) -> None:
        """In this setting."""
        self._scope = scope
        self._durables: dict[tuple[int, frozenset[int]], tuple[Durable, Durable]] = {}

    def __call__(self, work: Work) -> Work:
        """The value that stands for this one."""
        scope, progress, durable = self._scope, work.progress, work.durable
        current = _walks_under_way(progress, durable)
        normal_durable = self._normal_durable(durable, current)
        closing = _ahead(work.closing) if work.closing != durable.closed else None
        if progress is not None:
            progress = _normal_progress(progress, scope)
        renamed = _renamed(progress, normal_durable, current)
        return Work(*renamed, closing, work.hidden, work.hidden_at_start)

    def _normal_durable(self, durable: Durable, current: frozenset[int]) -> Durable:
        """Of the same object, the same answer: most changes leave alone what is durable."""
        key = (id(durable), current)
        found = self._durables.get(key)
        if found is None:
            scope = self._scope
            normal = Durable(
                tuple(_normal_item(kept, scope, current) for kept in durable.items),
                durable.mark,
                _ahead(durable.closed),
                durable.tally if scope.keeps_counts else _NO_COUNTS,
            )
            found = self._durables[key] = (durable, normal)  # alive: its id is not used again
            self._durables[id(normal), current] = (normal, normal)
        return found[1]


def _normal_item(kept: Kept, scope: Scope, current: frozenset[int]) -> Kept:
    is_settled = kept.skipped and not (kept.due or kept.undecoded)
    as_stored = scope.reduced and is_settled
    has_place = scope.items >= CAUGHT_UP_RUN or kept.walk in current
    return Kept(
        stored=kept.stored or as_stored,
        skipped=kept.skipped and not as_stored,
        undecoded=kept.undecoded,
        due=kept.due,
        walk=kept.walk if has_place else 0,
        position=kept.position if has_place else 0,
        met=kept.met and scope.keeps_counts,
    )


def _ahead(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds > 0.0 else None


# -- walks ----------------------------------------------------------------------------------------


def _walks_under_way(progress: Progress | None, durable: Durable) -> frozenset[int]:
    walks: set[int] = set()
    if durable.mark is not None and durable.mark.under_way:
        walks.add(durable.mark.walk)
    if progress is not None:
        walks.add(progress.mark.walk)
    return frozenset(walks)


def _renamed(
    progress: Progress | None, durable: Durable, current: frozenset[int]
) -> tuple[Progress | None, Durable]:
    used = {kept.walk for kept in durable.items}
    used |= current
    used.add(0)
    if durable.mark is not None:
        used.add(durable.mark.walk)
    if progress is not None:
        used |= _walks_met(progress)
    top = max(used)
    if top == len(used) - 1:  # all from 0 up: each is its own rank
        return progress, durable
    ranks = {walk: rank for rank, walk in enumerate(sorted(used))}

    def rank(walk: int) -> int:
        return ranks[walk] if walk <= top else ranks[top] + walk - top

    items = tuple(
        attrs.evolve(kept, walk=rank(kept.walk)) if kept.walk else kept for kept in durable.items
    )
    durable = attrs.evolve(
        durable, items=items, mark=None if durable.mark is None else _mark(durable.mark, rank)
    )
    return (None if progress is None else _with_walks(progress, rank)), durable


def _walks_met(progress: Progress) -> set[int]:
    page = progress.page
    places = [progress.run.last]
    if page is not None and page.sighting is not None:
        places.append(page.sighting.place)
    if page is not None and page.verdict is not None:
        places.append(page.verdict.caught_up_at)
    return {place[0] for place in places if place is not None}


def _mark(mark: Mark, rank: Callable[[int], int]) -> Mark:
    return attrs.evolve(mark, walk=rank(mark.walk))


def _place(place: Place, rank: Callable[[int], int]) -> Place:
    return (rank(place[0]), place[1])


def _with_walks(progress: Progress, rank: Callable[[int], int]) -> Progress:
    page = progress.page
    if page is not None:
        changes: dict[str, Any] = {}
        if page.sighting is not None:
            changes["sighting"] = attrs.evolve(
                page.sighting, place=_place(page.sighting.place, rank)
            )
        if page.verdict is not None:
            at = page.verdict.caught_up_at
            changes["verdict"] = attrs.evolve(
                page.verdict,
                mark=_mark(page.verdict.mark, rank),
                caught_up_at=None if at is None else _place(at, rank),
            )
        page = attrs.evolve(page, **changes)
    last = progress.run.last
    run = progress.run if last is None else Run(progress.run.length, _place(last, rank))
    return attrs.evolve(progress, mark=_mark(progress.mark, rank), page=page, run=run)


# -- progress -------------------------------------------------------------------------------------


def _normal_progress(progress: Progress, scope: Scope) -> Progress:
    changes: dict[str, Any] = {}
    if not scope.keeps_counts and progress.tally != _NO_COUNTS:
        changes["tally"] = _NO_COUNTS
    if progress.closed_until is not None and progress.closed_until <= 0.0:
        changes["closed_until"] = None
    if progress.skip_run and len(progress.skip_run) < progress.rules.max_skips_in_a_row:
        changes["skip_run"] = ()
    page = progress.page
    if page is not None and page.entries:
        if progress.earlier_skips and _has_success(page.entries[: progress.saved]):
            changes["earlier_skips"] = ()
        entries = _normal_entries(progress, page, scope)
        if entries != page.entries:
            changes["page"] = attrs.evolve(page, entries=entries)
    return attrs.evolve(progress, **changes) if changes else progress


def _has_success(entries: Iterable[Entry]) -> bool:
    return any(entry.status is Status.NEW for entry in entries)


def _normal_entries(progress: Progress, page: PageInHand, scope: Scope) -> tuple[Entry, ...]:
    """Durable elements keep only what a run of skips is computed from."""
    entries = list(page.entries)
    if scope.reduced:
        entries = [_as_known(entry) for entry in entries]
    for index in range(progress.saved):
        entry = entries[index]
        if entry.position is not None or entry.counts:
            entries[index] = Entry(entry.key, entry.status, None, counts=False)
    last = max((i for i in range(progress.done) if entries[i].status is Status.NEW), default=-1)
    for index in range(last):
        entry = entries[index]
        if index < progress.saved and entry.status is not Status.KNOWN:
            entries[index] = Entry(entry.key, Status.KNOWN, None, counts=False)
        elif index >= progress.saved and scope.reduced and entry.status is Status.SKIPPED:
            entries[index] = attrs.evolve(entry, status=Status.NEW)
    return tuple(entries)


def _as_known(entry: Entry) -> Entry:
    """Stored or skipped before is one."""
    if entry.status is Status.SKIPPED_BEFORE:
        return Entry(entry.key, Status.KNOWN, entry.position, counts=entry.counts)
    return entry
