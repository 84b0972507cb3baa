"""What the work of a session does to its crawl: the real `Progress` on one side, the books on the other.

Every value is kept once and known by its number; every change is computed once and then looked up.
Pure. Must not know: the machine's state, events.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import attrs

from ..listing import Place
from ..page import Status, Tally
from ..plan import Fetch
from ..progress import Checkpoint, Progress, Save
from .books import asked_again, cleared, due_keys, known, missing, set_by_hand, written
from .normal import Normal
from .scope import Scope
from .service import Answer, answers
from .world import Durable, Kept, Work

__all__ = ["Crawl", "Saved"]

Begin = Callable[..., Progress]

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@attrs.frozen
class Saved:
    """What a commit would do.

    Attributes:
        save: What it writes.
        after: What is durable then.
        known: The work if it took place and we know.
        unknown: The work if it took place and we do not.
        refusable: Elements of the page that the database may refuse.
    """

    save: Save
    after: Durable
    known: int
    unknown: int
    refusable: tuple[int, ...]


class Crawl:
    """Every state of one crawl that was met, and what leads from one to the next."""

    def __init__(self, scope: Scope, begin: Begin) -> None:
        """Nothing is known yet; `begin` makes a session's progress from a checkpoint."""
        self.scope: Final = scope
        self.works: Final[list[Work]] = []
        self._numbers: dict[Work, int] = {}
        self._begin = begin
        self._normal = Normal(scope)
        self._rules = scope.rules
        self._done: dict[tuple[object, ...], int] = {}
        self._idle: dict[int, int] = {}
        self._answers: dict[tuple[int, Fetch], list[tuple[str, int]]] = {}
        self._saves: dict[tuple[int, bool, bool], Saved] = {}

    def number(self, work: Work) -> int:
        """The number of a work; a new one if it was never met."""
        work = self._normal(work)
        found = self._numbers.get(work)
        if found is None:
            found = self._numbers[work] = len(self.works)
            self.works.append(work)
        return found

    def item(self, number: int, index: int) -> int:
        """The item at an index of the page, as people count."""
        page = _at_work(self.works[number]).page
        return int(page.keys[index]) + 1 if page is not None else 0

    def closed_until(self, number: int) -> float | None:
        """Seconds until the source's limit opens; None when it is open."""
        return _at_work(self.works[number]).closed_until

    def first(self) -> int:
        """Before everything."""
        nothing = Durable((Kept(),) * self.scope.items)
        return self.number(Work(None, nothing, hidden=self.scope.arrivals))

    # -- a process begins, ends, waits ------------------------------------------------------------

    def began(self, number: int, *, is_new: bool) -> int:
        """A process takes the crawl up, with a new session or the one it finds."""
        key = ("began", number, is_new)
        if key not in self._done:
            self._done[key] = self.number(self._started(self.works[number], is_new=is_new))
        return self._done[key]

    def _started(self, work: Work, *, is_new: bool) -> Work:
        durable = work.durable
        if is_new:
            items = tuple(attrs.evolve(kept, met=False) for kept in durable.items)
            durable = Durable(items, durable.mark, durable.closed)
        checkpoint = None
        if durable.mark is not None:
            stored = sum(1 for kept in durable.items if kept.stored)
            checkpoint = Checkpoint(
                last_tweet_id=None,
                bookmarks_count=stored,
                last_crawled_at=_EPOCH,
                mark=durable.mark,
            )
        progress = self._begin(
            checkpoint,
            rules=self._rules,
            ordinal=1,
            tally=_tally_of(durable.tally),
            due_skips=len(due_keys(durable)),
        ).closed(durable.closed)
        return Work(progress, durable, None, work.hidden, work.hidden)

    def ended(self, number: int) -> int:
        """The process is gone: what it had in memory with it."""
        key = ("ended", number)
        if key not in self._done:
            work = self.works[number]
            self._done[key] = self.number(Work(None, work.durable, None, work.hidden))
        return self._done[key]

    def idle(self, number: int) -> int:
        """What a session has in memory is of no use any more: it is ending."""
        found = self._idle.get(number)
        if found is None:
            work = self.works[number]
            found = self._idle[number] = self.number(
                Work(None, work.durable, None, work.hidden, work.hidden_at_start)
            )
        return found

    def later(self, number: int, seconds: float) -> int:
        """Time passed."""
        key = ("later", number, seconds)
        if key not in self._done:
            work = self.works[number]
            self._done[key] = self.number(
                attrs.evolve(
                    work,
                    progress=_later(work.progress, seconds),
                    durable=attrs.evolve(work.durable, closed=_less(work.durable.closed, seconds)),
                    closing=_less(work.closing, seconds),
                )
            )
        return self._done[key]

    def arrived(self, number: int) -> int:
        """An item was bookmarked."""
        key = ("arrived", number)
        if key not in self._done:
            work = self.works[number]
            self._done[key] = self.number(attrs.evolve(work, hidden=work.hidden - 1))
        return self._done[key]

    def noted(self, number: int) -> int:
        """A commit without items: it notes whether the source's limit is used up."""
        key = ("noted", number)
        if key not in self._done:
            work = self.works[number]
            durable = work.durable
            if work.closing is not None:
                durable = attrs.evolve(durable, closed=work.closing)
            self._done[key] = self.number(attrs.evolve(work, durable=durable, closing=None))
        return self._done[key]

    def changed_by_hand(self, number: int) -> list[tuple[str, int]]:
        """What people may do between runs: have skipped items tried again, set the checkpoint, clear it."""
        work = self.works[number]
        changes = [
            ("skipped items are to be tried again", asked_again(work.durable)),
            ("the checkpoint is set by hand", set_by_hand(work.durable)),
            ("the checkpoint is cleared", cleared(work.durable)),
        ]
        return [
            (what, self.number(work.holding(durable)))
            for what, durable in changes
            if durable != work.durable
        ]

    # -- operations -------------------------------------------------------------------------------

    def fetched(self, number: int, wanted: Fetch) -> list[tuple[str, int]]:
        """Every page that may come, the plain one first: what is odd about it, and the work then."""
        key = (number, wanted)
        found = self._answers.get(key)
        if found is None:
            work = self.works[number]
            found = self._answers[key] = [
                (answer.what, self._having(work, answer))
                for answer in answers(self.scope, work.hidden, wanted.cursor, wanted.page_size)
            ]
        return found

    def _having(self, work: Work, answer: Answer) -> int:
        progress = _at_work(work).fetched(
            answer.keys,
            invalid=answer.invalid,
            next_cursor=answer.next_cursor,
            end=answer.end,
        )
        closing = work.closing if answer.closed_until is None else answer.closed_until
        progress = progress.closed(answer.closed_until)
        return self.number(Work(progress, work.durable, closing, work.hidden, work.hidden_at_start))

    def cursor_refused(self, number: int) -> int | None:
        """The service forgot the cursor; None if there is nothing left to do about it."""
        work = self.works[number]
        again = _at_work(work).cursor_refused()
        return None if again is None else self.number(work.having(again))

    def closed(self, number: int, until: float) -> int:
        """The source's limit is used up."""
        work = self.works[number]
        progress = _at_work(work).closed(until)
        return self.number(attrs.evolve(work, progress=progress, closing=until))

    def fetched_skipped(self, number: int) -> int:
        """Items that are due came from the store."""
        keys = due_keys(self.works[number].durable)
        broken = frozenset(i for i, key in enumerate(keys) if int(key) in self.scope.broken)
        return self._advance(
            ("skips", number), lambda p, _: p.fetched_skipped(keys, invalid=broken)
        )

    def looked_up(self, number: int, keys: tuple[str, ...]) -> int:
        """The store said what it knows."""
        return self._advance(("lookup", number), lambda p, d: p.looked_up(known(d, keys)))

    def counted(self, number: int, above: Place, walk: int) -> int:
        """The store counted what is missing."""
        return self._advance(("count", number), lambda p, d: p.sighted(missing(d, above, walk)))

    def handled(self, number: int) -> int:
        """The handler took an item."""
        return self._advance(("handled", number), lambda p, _: p.handled())

    def skipped(self, number: int, index: int) -> int:
        """An element is left out."""
        return self._advance(("skipped", number, index), lambda p, _: p.skipped(index))

    def _advance(
        self, key: tuple[object, ...], change: Callable[[Progress, Durable], Progress]
    ) -> int:
        if key not in self._done:
            work = self.works[key[1]]  # type: ignore[call-overload]
            progress = change(_at_work(work), work.durable)
            self._done[key] = self.number(work.having(progress))
        return self._done[key]

    def saved(self, number: int, *, finishing: bool, marks_due: bool) -> Saved:
        """What a commit does."""
        key = (number, finishing, marks_due)
        found = self._saves.get(key)
        if found is None:
            found = self._saves[key] = self._save(self.works[number], finishing, marks_due)
        return found

    def _save(self, work: Work, finishing: bool, marks_due: bool) -> Saved:  # noqa: FBT001
        progress = _at_work(work)
        save = progress.save(finishing=finishing)
        due = progress.skip_run if marks_due else ()
        after = written(work.durable, progress, save, due=due, closing=work.closing)
        entries = progress.page.entries if progress.page is not None else ()
        refusable = tuple(
            i for i in range(save.first, save.upto) if entries[i].status is Status.NEW
        )
        committed = progress.committed(save)
        known_then = Work(committed, after, None, work.hidden, work.hidden_at_start)
        return Saved(
            save,
            after,
            self.number(known_then),
            self.number(work.holding(after)),
            refusable,
        )


def _at_work(work: Work) -> Progress:
    if work.progress is None:
        raise AssertionError("no process is at it")
    return work.progress


def _tally_of(counters: Tally) -> Tally:
    """What a session's row remembers of its counts: as `steps.tally_of`."""
    return attrs.evolve(counters, fresh=counters.stored + counters.skipped)


def _less(seconds: float | None, passed: float) -> float | None:
    return None if seconds is None else seconds - passed


def _later(progress: Progress | None, passed: float) -> Progress | None:
    if progress is None or progress.closed_until is None:
        return progress
    return progress.closed(progress.closed_until - passed)
