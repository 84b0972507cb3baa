"""What a session has done and what of it is durable: pages, items, checkpoints.

Pure. Content never comes here: items are known by key and by what became of them.
Must not know: how items are fetched, handled or stored.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from .checkpoint import Checkpoint, Listed, Save
from .listing import MISSING_ALLOWED, End, Known, Mark, Run, Verdict, recognise
from .page import (
    Entry,
    PageInHand,
    Status,
    Tally,
    count,
    entries_of,
    is_fresh,
    judge,
    limit_of,
    redo_entries,
)
from .rules import Rules
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
            entries = redo_entries(page, known, self.ordinal)
            verdict: Verdict | None = Verdict(self.mark)
            return self._judged(attrs.evolve(page, entries=entries, verdict=verdict), self.run)
        entries = entries_of(page, known, self.mark, self.ordinal)
        listed = tuple(e.key for e in entries if e.status is not Status.REPEATED)
        run, sighting = recognise(listed, known, self.mark.walk, self.run)
        page = attrs.evolve(page, entries=entries, sighting=sighting)
        if sighting is None:
            page = attrs.evolve(page, verdict=judge(page, self.mark, self.rules, None))
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
        verdict = judge(page, self.mark, self.rules, sighting.place if caught_up else None)
        return self._judged(attrs.evolve(page, sighting=None, verdict=verdict), self.run)

    def _judged(self, page: PageInHand, run: Run) -> "Progress":
        limit = limit_of(page.entries, self.rules.max_items, self.tally.fresh)
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
    def fresh_with_page(self) -> int:
        """How many items will have been stored or skipped when the page in hand is done, whatever `max_items` allows."""
        entries = _require(self.page).entries[self.saved :]
        return self.tally.fresh + sum(map(is_fresh, entries))

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
        return count(self.tally, self.page.entries[self.saved : self.done])

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


_NONE: Final = Tally()


def begin(
    checkpoint: Checkpoint | None,
    *,
    rules: Rules,
    ordinal: int,
    tally: Tally = _NONE,
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


def _require(page: PageInHand | None) -> PageInHand:
    if page is None:
        raise AssertionError("no page in hand: the plan never asks for this")
    return page
