"""How events become true: every outcome of a step and of the commit that it needs.

As `steps` and `ledger` do it, with outcomes instead of I/O.
Pure. Must not know: operations, waits, deaths.
"""

from collections.abc import Iterator
from typing import Final, assert_never

from ..taxonomy import ErrorCategory, Reason
from ..words import Durability, Kind, Trigger
from .codes import ANSWERED, BEHIND, NO_STORE, NOBODY, OUT, WISH, Code, Edge
from .crawl import Crawl, Saved
from .deciding import STORE_FAILED, Decider, Event, Stepped
from .invariants import Invariant, Written

__all__ = ["Posting"]


class Posting:
    """Takes events through the machine and into the books."""

    def __init__(self, crawl: Crawl, decider: Decider, invariants: tuple[Invariant, ...]) -> None:
        """Nothing was posted yet."""
        self._crawl: Final = crawl
        self._decider: Final = decider
        self._invariants = [i for i in invariants if i.of_commit is not None]
        self._broken: dict[tuple[tuple[int, bool, bool, str | None], bool], str] = {}

    def gone(self, code: Code) -> Code:
        """The world without the process."""
        return (NOBODY, code[1], self._crawl.ended(code[2]), 0)

    def post_error(
        self, what: str, code: Code, settings: int, event: Event, index: int | None
    ) -> Iterator[Edge]:
        """An error (of the element at `index`, if of one) becomes an event: as `Steps._post_strategy`."""
        is_skip = event.trigger == Trigger.ITEM_SKIPPED and index is not None
        for label, after, when, broken in self.post(what, code, settings, event):
            value, row, work, flags = after
            if is_skip and index is not None and value >= 0:
                work = self._crawl.skipped(work, index)
            yield label, (value, row, work, flags), when, broken

    def post(self, what: str, code: Code, settings: int, event: Event) -> Iterator[Edge]:
        """An event, made true as its row says: as `Steps.post`."""
        value, row, work, flags = code
        stepped = self._decider.step(value, event)
        match stepped.durability:
            case Durability.RIDES:
                after = (stepped.value, row, work, flags)
                yield what or event.trigger, after, settings, stepped.broken
            case Durability.AT_ONCE if self._decider.kind(value) is Kind.ENDING or flags & OUT:
                yield from self._commit_value(what, code, settings, stepped)
            case Durability.AT_ONCE:
                yield from self.commit(what, code, settings, stepped)
            case Durability.ALONE:
                alone = self._decider.step(_known(code), event)
                yield from self._commit_value(what, code, settings, alone)
            case Durability.UNSAVED:
                unsaved = self._decider.step(_known(code), event)
                after = (unsaved.value, row, work, flags | OUT)
                yield what or event.trigger, after, settings, unsaved.broken
            case durability:
                assert_never(durability)

    def store_failed(self, what: str, code: Code, settings: int) -> Iterator[Edge]:
        """The store is out: the session ends without it."""
        return self.post(what, code, settings, STORE_FAILED)

    # -- commits ----------------------------------------------------------------------------------

    def commit(
        self, what: str, code: Code, settings: int, stepped: Stepped | None
    ) -> Iterator[Edge]:
        """A step (or none) with all that is pending, in one transaction: as `Steps._commit_all`."""
        value, _, work, flags = code
        trigger = stepped.trigger if stepped is not None else None
        if flags & BEHIND:  # the row's revision tells the store that we do not know what it holds
            yield _and(what, "lease lost"), self.gone(code), settings & ANSWERED, ""
            yield from self._given_up(what, code, settings & NO_STORE, trigger)
            return
        new = stepped.value if stepped is not None else value
        finishing = trigger == Trigger.FINISH
        is_flood = stepped is not None and stepped.reason == Reason.TOO_MANY_SKIPS
        saved = self._crawl.saved(work, finishing=finishing, marks_due=is_flood)
        broken = self._broken_by((work, finishing, is_flood, trigger), saved, stepped)
        yield what or "commit", (new, new, saved.known, flags), settings & ANSWERED, broken
        lost: Code = (value, new, saved.unknown, flags | BEHIND)
        is_cancel = _is_wish(stepped)
        yield from self._no_answer(what, code, lost, settings, trigger, is_cancel=is_cancel)
        for index in saved.refusable:
            yield from self._item_refused(what, code, index, is_cancel=is_cancel)
        yield _and(what, "lease lost"), self.gone(code), 0, ""

    def _no_answer(
        self,
        what: str,
        code: Code,
        lost: Code,
        settings: int,
        trigger: str | None,
        *,
        is_cancel: bool = False,
    ) -> Iterator[Edge]:
        """The store was tried again in vain, or a cancel ended that; it is unknown whether the commit took place."""
        took_place = _and(what, "answer lost (took place)")
        yield from self._given_up(what, code, settings & NO_STORE, trigger)
        if trigger != Trigger.STORE_FAILED:
            yield from self.store_failed(took_place, lost, 0)
        if not is_cancel:  # a cancel is tried once
            yield f"{_and(what, 'no answer')}, cancel", (*code[:3], code[3] | WISH), 0, ""
            yield f"{took_place}, cancel", (*lost[:3], lost[3] | WISH), 0, ""

    def _given_up(
        self, what: str, code: Code, settings: int, trigger: str | None
    ) -> Iterator[Edge]:
        """No answer, and the store counts as gone; a step that says so and needs the store itself breaks the session."""
        label = _and(what, "no answer")
        if trigger == Trigger.STORE_FAILED:
            yield f"{label}, the session breaks", self.gone(code), 0, ""
        else:
            yield from self.store_failed(label, code, settings)

    def _item_refused(
        self, what: str, code: Code, index: int, *, is_cancel: bool
    ) -> Iterator[Edge]:
        """The database refuses an item: as `Steps._refused`; then the interrupted step is decided afresh."""
        label = _and(what, f"item {self._crawl.item(code[2], index)} refused")
        reason = Reason.CONSTRAINT
        event = self._decider.error(code[0], ErrorCategory.DATABASE, reason, of_item=True)
        if is_cancel:
            code = (*code[:3], code[3] | WISH)
        yield from self.post_error(label, code, 0, event, index)

    def _commit_value(
        self, what: str, code: Code, settings: int, stepped: Stepped
    ) -> Iterator[Edge]:
        """State and journal alone: as `Steps._commit_value`."""
        value, row, work, flags = code
        noted = self._crawl.noted(work)
        new, is_final = stepped.value, self._decider.kind(stepped.value) is Kind.FINAL
        is_ended = row >= 0 and self._decider.kind(row) is Kind.FINAL
        is_replaced = is_ended or bool(flags & BEHIND and not flags & OUT)
        if is_replaced:
            yield _and(what, "lease lost"), self.gone(code), settings & ANSWERED, ""
        else:
            broken = self._broken_by((work, False, False, stepped.trigger), None, stepped)
            yield what or "commit", (new, new, noted, flags), settings & ANSWERED, broken
        lost: Code = (value, row if is_replaced else new, noted, flags | BEHIND)
        if not is_final:
            yield from self._no_answer(what, code, lost, settings, stepped.trigger)
            return
        yield _and(what, "no answer"), (new, row, work, flags), settings & NO_STORE, ""
        yield _and(what, "answer lost (took place)"), (new, *lost[1:3], flags), 0, ""

    def _broken_by(
        self, key: tuple[int, bool, bool, str | None], saved: Saved | None, stepped: Stepped | None
    ) -> str:
        """The invariant that a commit breaks, or the step that it makes durable."""
        if (key, saved is None) not in self._broken:
            effects = stepped.effects if stepped is not None else ()
            work = self._crawl.works[key[0]]
            save, progress, after = None, None, work.durable
            if saved is not None:
                save, progress, after = saved.save, work.progress, saved.after
            arrivals = self._crawl.scope.arrivals
            written = Written(key[3], effects, save, progress, work.durable, after, arrivals)
            names = (i.name for i in self._invariants if i.of_commit and not i.of_commit(written))
            self._broken[key, saved is None] = next(names, "")
        return self._broken[key, saved is None] or (stepped.broken if stepped is not None else "")


def _known(code: Code) -> int:
    """The last value that the session knows to be durable.

    Where that is not the row, it does not matter: see `_rows_matter`.
    """
    value, row, _, flags = code
    return value if row < 0 or flags & BEHIND else row


def _is_wish(stepped: Stepped | None) -> bool:
    """Whether it is a cancel that somebody asked for: tried once, and asked for again if an item is refused."""
    if stepped is None or stepped.trigger != Trigger.CANCEL:
        return False
    return stepped.reason != Reason.MAX_ITEMS


def _and(what: str, outcome: str) -> str:
    return f"{what}, commit: {outcome}" if what else f"commit: {outcome}"
