"""What a session has done and what of it is durable: pages, items, checkpoints.

Pure. Content never comes here: items are known by key and by what became of them.
Must not know: how items are fetched, handled or stored.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import attrs

from .listing import (
    MISSING_ALLOWED,
    End,
    Known,
    Mark,
    Place,
    Run,
    Sighting,
    Verdict,
    conclude,
    recognise,
)
from .taxonomy import Reason

__all__ = [
    "Checkpoint",
    "Entry",
    "Listed",
    "PageInHand",
    "Progress",
    "Rules",
    "Save",
    "Status",
    "Tally",
    "begin",
]


@attrs.frozen(kw_only=True)
class Checkpoint:
    """Where a crawl can be resumed; it names durable items only.

    Attributes:
        last_tweet_id: Id of the item that was made durable last; None before the first.
        bookmarks_count: Items of the crawl that are stored.
        last_crawled_at: When it was saved, UTC.
        mark: Where the walk through the listing stands.
        generation: Rises when the checkpoint is cleared: everything is walked again.
    """

    last_tweet_id: str | None
    bookmarks_count: int
    last_crawled_at: datetime
    mark: Mark = Mark()
    generation: int = 0

    @property
    def cursor(self) -> str | None:
        """The page to fetch next; None is the top of the listing."""
        return self.mark.cursor

    @property
    def page_size(self) -> int | None:
        """The page size in use; it falls while an end is doubted."""
        return self.mark.page_size

    @property
    def position(self) -> int:
        """Items walked so far in this listing; informational."""
        return self.mark.position


@attrs.frozen(kw_only=True)
class Rules:
    """How a session crawls.

    Attributes:
        checkpoint_every: Handled items after which a checkpoint is due. Source: "Every 10 bookmarks processed".
        max_skips_in_a_row: A run of skips this long is a bug or an outage, not bad data.
        max_items: Items stored or skipped after which the session stops; those that were known before do not count,
            so that the same limit again goes on. None for no limit.
        page_size: Page size of a new walk; None leaves it to the source.
        page_sizes: Sizes to doubt an end with, falling; empty if the source has none.
        has_handler: Whether every new item goes through a handler first.
        prefetch: Whether the next page is fetched while this one is handled and stored.
    """

    checkpoint_every: int = 10
    max_skips_in_a_row: int = 50
    max_items: int | None = None
    page_size: int | None = None
    page_sizes: tuple[int, ...] = ()
    has_handler: bool = False
    prefetch: bool = True


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


@attrs.frozen
class Listed:
    """A walk reached its end: it is the last completed listing now.

    Attributes:
        walk: Its number.
        caught_up_at: Ids of older walks above this place, not met again, are no longer in the listing; None: none of
            those that were not met again is.
    """

    walk: int
    caught_up_at: Place | None


@attrs.frozen
class Save:
    """What the next commit makes durable.

    Attributes:
        first: Index of the first entry of the page to write.
        upto: Index behind the last one.
        mark: Where the crawl stands then.
        listed: The walk that reached its end with it, if one did.
        tally: The session's counts then.
        last_key: Id of the last item made durable by it, or None if it has none.
    """

    first: int
    upto: int
    mark: Mark
    listed: Listed | None
    tally: Tally
    last_key: str | None


@attrs.frozen(kw_only=True)
class Progress:
    """A session's progress; every method returns the next value.

    Attributes:
        rules: How the session crawls.
        mark: Where the crawl stands, as of the last commit.
        ordinal: The session's number within the crawl.
        tally: Counts as of the last commit.
        page: The page in hand, or None.
        done: Elements of the page that are handled, skipped or need nothing.
        saved: Elements of the page that are durable.
        redo: Whether skipped items are to be tried again before the listing.
        run: How far the last completed listing was recognised.
        skip_run: Ids of the run of skips that the last skip stands in.
        earlier_skips: The part of a run that earlier pages brought.
        closed_until: The source's limit is used up until then, epoch seconds; None when it is open.
        gave_up_walk: Whether a walk was given up and its places are not yet void in the store: until they are, they
            would look like a completed listing.
    """

    rules: Rules
    mark: Mark
    ordinal: int
    tally: Tally = Tally()
    page: PageInHand | None = None
    done: int = 0
    saved: int = 0
    redo: bool = False
    run: Run = Run()
    skip_run: tuple[str, ...] = ()
    earlier_skips: tuple[str, ...] = ()
    closed_until: float | None = None
    gave_up_walk: bool = False

    # -- pages ------------------------------------------------------------------------------------

    def fetched(
        self,
        keys: tuple[str, ...],
        *,
        invalid: frozenset[int] = frozenset(),
        next_cursor: str | None,
        end: End,
        closed_until: float | None = None,
    ) -> "Progress":
        """A page of the listing arrived."""
        page = PageInHand(keys, invalid, next_cursor, end)
        return attrs.evolve(self, page=page, done=0, saved=0, closed_until=closed_until)

    def fetched_skipped(
        self, keys: tuple[str, ...], *, invalid: frozenset[int] = frozenset()
    ) -> "Progress":
        """Skipped items arrived that are to be tried again; none means that this is over."""
        if not keys:
            return attrs.evolve(self, page=None, redo=False)
        page = PageInHand(keys, invalid, None, End.MORE, redo=True)
        return attrs.evolve(self, page=page, done=0, saved=0)

    def closed(self, until: float | None) -> "Progress":
        """The source's limit is used up until then, epoch seconds; None opens it."""
        return attrs.evolve(self, closed_until=until)

    def cursor_refused(self) -> "Progress | None":
        """The source no longer knows our cursor: walk from the top, with the places of this walk void.

        Returns:
            None when the cursor was refused before without a new item since, or was the top already.
        """
        if self.mark.refused or self.mark.cursor is None:
            return None
        again = self.mark.next_walk(self.rules.page_size, refused=True)
        return attrs.evolve(
            self, mark=again, page=None, done=0, saved=0, run=Run(), gave_up_walk=True
        )

    def looked_up(self, known: Mapping[str, Known]) -> "Progress":
        """The store said what it knows of the page's ids: judge the page."""
        page = _require(self.page)
        if page.redo:
            entries = _redo_entries(page, known, self.ordinal)
            verdict: Verdict | None = Verdict(self.mark)
            return self._judged(attrs.evolve(page, entries=entries, verdict=verdict), self.run)
        entries = _entries(page, known, self.mark, self.ordinal)
        listed = tuple(e.key for e in entries if e.status is not Status.REPEATED)
        run, sighting = recognise(listed, known, self.mark.walk, self.run)
        page = attrs.evolve(page, entries=entries, sighting=sighting)
        if sighting is None:
            page = attrs.evolve(page, verdict=_conclude(page, self.mark, self.rules, None))
        return self._judged(page, run)

    def sighted(self, missing: int) -> "Progress":
        """The store counted the ids of the last listing above the sighting that this walk has not met.

        Args:
            missing: That number, the elements of this page not counted as met.
        """
        page = _require(self.page)
        sighting = page.sighting
        if sighting is None:
            return self
        caught_up = missing - sighting.above_on_page < MISSING_ALLOWED
        verdict = _conclude(page, self.mark, self.rules, sighting.place if caught_up else None)
        return self._judged(attrs.evolve(page, sighting=None, verdict=verdict), self.run)

    def _judged(self, page: PageInHand, run: Run) -> "Progress":
        limit = _limit(page.entries, self.rules.max_items, self.tally.fresh)
        judged = attrs.evolve(self, page=attrs.evolve(page, limit=limit), run=run)
        return judged.settled() if page.verdict is not None else judged

    # -- items ------------------------------------------------------------------------------------

    def handled(self) -> "Progress":
        """The item at `done` went through the handler."""
        return attrs.evolve(self, done=self.done + 1).settled()

    def skipped(self, index: int) -> "Progress":
        """The element at this index of the page is left out and recorded as skipped."""
        page = _require(self.page)
        entries = (
            *page.entries[:index],
            attrs.evolve(page.entries[index], status=Status.SKIPPED),
            *page.entries[index + 1 :],
        )
        skipped = attrs.evolve(
            self, page=attrs.evolve(page, entries=entries), done=max(self.done, index + 1)
        )
        return attrs.evolve(skipped, skip_run=skipped.run_of_skips()).settled()

    def run_of_skips(self) -> tuple[str, ...]:
        """Ids of the skips since the last success; items that are tried again on request do not count."""
        page = self.page
        if page is None or page.redo:
            return self.earlier_skips
        run: list[str] = []
        for entry in reversed(page.entries[: self.done]):
            if entry.status is Status.NEW:
                return tuple(reversed(run))
            if entry.status is Status.SKIPPED:
                run.append(entry.key)
        return (*self.earlier_skips, *reversed(run))

    def settled(self) -> "Progress":
        """Step over elements that need nothing, up to the next that does."""
        page = _require(self.page)
        done = self.done
        while done < page.limit:
            status = page.entries[done].status
            if status is Status.INVALID or (status is Status.NEW and self.rules.has_handler):
                break
            done += 1
        return self if done == self.done else attrs.evolve(self, done=done)

    # -- commits ----------------------------------------------------------------------------------

    @property
    def is_page_done(self) -> bool:
        """Whether every element of the page in hand has been dealt with."""
        page = self.page
        return page is not None and page.verdict is not None and self.done == len(page.entries)

    @property
    def is_limit_reached(self) -> bool:
        """Whether `max_items` items have been stored or skipped."""
        most = self.rules.max_items
        return most is not None and self.pending_tally().fresh >= most

    @property
    def unsaved(self) -> int:
        """Elements that are dealt with and not durable."""
        return self.done - self.saved

    @property
    def finished(self) -> Reason | None:
        """Why the crawl is complete once what is pending is saved; None while it is not."""
        page = self.page
        if page is None or page.verdict is None or not self.is_page_done or self.mark.resumed:
            return None
        return page.verdict.ended

    @property
    def fault(self) -> Reason | None:
        """Why the crawl has to be given up once what is pending is saved, if it has to."""
        if len(self.skip_run) >= self.rules.max_skips_in_a_row:
            return Reason.TOO_MANY_SKIPS
        page = self.page
        if page is not None and page.verdict is not None and self.is_page_done:
            return page.verdict.fault
        return None

    def pending_tally(self) -> Tally:
        """The session's counts with all that is dealt with, durable or not."""
        if self.page is None or self.done == self.saved:
            return self.tally
        return _count(self.tally, self.page.entries[self.saved : self.done])

    def save(self, *, finishing: bool = False) -> Save:
        """What a commit now makes durable.

        Args:
            finishing: Whether this commit completes the crawl; else an ended walk is not over yet.
        """
        page = self.page
        if page is None or page.verdict is None:
            return Save(0, 0, self.mark, None, self.tally, None)
        entries = page.entries[self.saved : self.done]
        keys = [e.key for e in entries if e.status in {Status.NEW, Status.KNOWN}]
        mark, listed = self._mark_after(page, finishing=finishing)
        return Save(
            self.saved, self.done, mark, listed, self.pending_tally(), keys[-1] if keys else None
        )

    def _mark_after(self, page: PageInHand, *, finishing: bool) -> tuple[Mark, Listed | None]:
        verdict = page.verdict
        if verdict is not None and self.is_page_done:
            if verdict.ended is None:
                return verdict.mark, None
            listed = Listed(verdict.mark.walk, verdict.caught_up_at)
            if self.mark.resumed:  # bookmarks may have come on top between the runs
                return verdict.mark.next_walk(self.rules.page_size), listed
            if finishing:
                return attrs.evolve(verdict.mark, under_way=False, cursor=None, tail=None), listed
        entries = page.entries[self.saved : self.done]
        placed = sum(1 for e in entries if e.position is not None)
        return attrs.evolve(self.mark, position=self.mark.position + placed), None

    def committed(self, save: Save) -> "Progress":
        """That is durable now."""
        page = self.page
        over = self.is_page_done
        same_walk = save.mark.walk == self.mark.walk
        run = self.run_of_skips() if over else self.skip_run
        return attrs.evolve(
            self,
            mark=save.mark,
            tally=save.tally,
            page=None if over else page,
            done=0 if over else self.done,
            saved=0 if over else save.upto,
            run=self.run if same_walk else Run(),
            skip_run=run,
            earlier_skips=run if over else self.earlier_skips,
            gave_up_walk=False,
        )


def begin(
    checkpoint: Checkpoint | None,
    *,
    rules: Rules,
    ordinal: int,
    tally: Tally = Tally(),
    due_skips: int = 0,
    closed_until: float | None = None,
) -> Progress:
    """Progress of a session that starts from a checkpoint.

    Args:
        checkpoint: Where the crawl stands; None for the very first walk.
        rules: How to crawl.
        ordinal: The session's number within the crawl.
        tally: What the session counted before its process died; zeros for a new session.
        due_skips: Skipped items to be tried again first.
        closed_until: The source's limit is used up until then, epoch seconds; None when it is open.
    """
    mark = checkpoint.mark if checkpoint is not None else Mark()
    if mark.has_begun:
        size = mark.page_size
        if size is not None and rules.page_size is not None:
            size = min(size, rules.page_size)
        mark = attrs.evolve(mark, resumed=True, barren=0, refused=False, page_size=size)
    elif mark.under_way:
        mark = attrs.evolve(mark, page_size=rules.page_size)
    else:
        mark = mark.next_walk(rules.page_size)
    return Progress(
        rules=rules,
        mark=mark,
        ordinal=ordinal,
        tally=tally,
        redo=due_skips > 0,
        closed_until=closed_until,
    )


_UNKNOWN: Final = Known()


def _entries(
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


def _redo_entries(page: PageInHand, known: Mapping[str, Known], ordinal: int) -> tuple[Entry, ...]:
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


def _conclude(page: PageInHand, mark: Mark, rules: Rules, caught_up_at: Place | None) -> Verdict:
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


def _is_fresh(entry: Entry) -> bool:
    return entry.status in {Status.NEW, Status.INVALID, Status.SKIPPED}


def _limit(entries: tuple[Entry, ...], max_items: int | None, fresh: int) -> int:
    """Elements that may be worked on before `max_items` are stored or skipped."""
    if max_items is None:
        return len(entries)
    left = max_items - fresh
    for index, entry in enumerate(entries):
        if _is_fresh(entry):
            if left <= 0:
                return index
            left -= 1
    return len(entries)


def _count(tally: Tally, entries: tuple[Entry, ...]) -> Tally:
    stored = known = skipped = fresh = 0
    for entry in entries:
        fresh += _is_fresh(entry)
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


def _require(page: PageInHand | None) -> PageInHand:
    if page is None:
        raise AssertionError("no page in hand: the plan never asks for this")
    return page
