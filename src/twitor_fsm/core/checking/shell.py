"""What can happen in a world: every outcome of the next operation, a cancel, a death.

Does what the plan says as the shell does (`session`, `steps`, `ledger`), with outcomes instead of I/O.
Pure. Must not know: which worlds were visited.
"""

from collections.abc import Iterator
from typing import Final, assert_never

from .. import plan as ops
from ..plan import LONGEST_WAIT_S, Operation
from ..spec import MachineSpec
from ..taxonomy import ErrorCategory, Reason
from ..values import SessionValue
from ..words import Durability, Kind, State, Trigger
from .codes import (
    ALWAYS,
    ANSWERED,
    BEHIND,
    CALM,
    NO_NETWORK,
    NO_STORE,
    NOBODY,
    OUT,
    SAME,
    WISH,
    Code,
    Edge,
)
from .crawl import Crawl
from .deciding import CLEANED_UP, DIED, RECOVERED, RESTARTED, WISHED, Decider, Decisions, Event
from .invariants import Invariant
from .posting import Posting
from .scope import Scope
from .world import World

__all__ = ["Shell"]


class Shell:
    """The worlds of one scope, and what leads from one to the next."""

    def __init__(
        self,
        scope: Scope,
        spec: MachineSpec,
        decisions: Decisions,
        invariants: tuple[Invariant, ...],
    ) -> None:
        """Nothing happened yet."""
        self.scope: Final = scope
        self.crawl: Final = Crawl(scope, decisions.begin)
        self.decider: Final = Decider(scope, spec, decisions, invariants)
        self.first: Final[Code] = (NOBODY, NOBODY, self.crawl.first(), 0)
        """Before everything."""
        self._fresh = self.decider.number(SessionValue(spec.initial))
        self._triggers = spec.triggers
        self._own = _own_events(spec)
        self._rows_matter = _rows_matter(spec)
        self._operations: dict[tuple[int, int], Operation] = {}
        self._moves: dict[tuple[int, int, int], list[Edge]] = {}
        self._posting = Posting(self.crawl, self.decider, invariants)

    # -- worlds -----------------------------------------------------------------------------------

    def world(self, code: Code) -> World:
        """The world that a code names."""
        value, row, number, flags = code
        work, values = self.crawl.works[number], self.decider.values
        return World(
            self.scope,
            values[value] if value >= 0 else None,
            values[row] if row >= 0 else None,
            work.progress,
            work.durable,
            self._operation(value, number) if value >= 0 else None,
            bool(flags & WISH),
            bool(flags & OUT),
            bool(flags & BEHIND),
            work.hidden_at_start,
        )

    def is_over(self, code: Code) -> bool:
        """Whether the session has ended."""
        return code[0] >= 0 and self.decider.kind(code[0]) is Kind.FINAL

    def is_gone(self, code: Code) -> bool:
        """Whether no process is at it."""
        return code[0] < 0

    def _operation(self, value: int, work: int) -> Operation:
        key = (value, work)
        found = self._operations.get(key)
        if found is None:
            found = self.decider.operation(value, self.crawl.works[work].progress)
            self._operations[key] = found
        return found

    # -- edges ------------------------------------------------------------------------------------

    def edges(self, code: Code) -> list[Edge]:
        """Everything that can happen next: what leads to the same world in the same settings counts once."""
        value, row, work, flags = code
        if self._depends_on_row(value, work, flags):
            return self._distinct(code)
        key = (value, work, flags)
        moves = self._moves.get(key)
        if moves is None:
            moves = self._moves[key] = self._distinct((value, SAME, work, flags))
        return [
            (what, (then, row if held == SAME else held, number, flagged), settings, broken)
            for what, (then, held, number, flagged), settings, broken in moves
        ]

    def _distinct(self, code: Code) -> list[Edge]:
        found: dict[tuple[Code, str], Edge] = {}
        for what, after, settings, broken in self._happening(code):
            normal = self._normal(after)
            first = found.get((normal, broken))
            if first is None:
                found[normal, broken] = (what, normal, settings, broken)
            elif settings & ~first[2]:
                found[normal, broken] = (first[0], normal, first[2] | settings, broken)
        return list(found.values())

    def _depends_on_row(self, value: int, work: int, flags: int) -> bool:
        """Whether what happens next depends on what the store holds of the session; else it is found out once."""
        if value < 0 or flags & (OUT | BEHIND) or self._rows_matter:
            return True
        if self.decider.kind(value) in {Kind.ENDING, Kind.FINAL}:
            return True
        return not flags and isinstance(self._operation(value, work), ops.Wait)

    def _normal(self, code: Code) -> Code:
        """A session that is ending writes neither items nor checkpoint, whatever it has in memory.

        Nor does one that is behind its row: its next commit, that of the cancel which interrupted it, is refused.
        """
        value, row, work, flags = code
        if value < 0:
            return code
        kind = self.decider.kind(value)
        if kind is Kind.FINAL:
            return (value, row, self.crawl.idle(work), 0)
        if kind is Kind.ENDING:
            return (value, row, self.crawl.idle(work), flags)
        if flags & BEHIND:
            return (self._fresh, row, self.crawl.idle(work), flags)
        return code

    def _happening(self, code: Code) -> Iterator[Edge]:
        value, row, work, flags = code
        if value < 0:
            yield from self._without_process(code)
            return
        gone = self._posting.gone(code)
        if self.decider.kind(value) is Kind.FINAL:
            yield "the run ends", gone, ALWAYS, self.decider.left(value, self._triggers)
            return
        yield "death", gone, 0, ""
        if flags & WISH:
            heard = (value, row, work, flags & ~WISH)
            yield from self._posting.post("", heard, ALWAYS, WISHED)
            return
        yield "cancel", (value, row, work, flags | WISH), 0, ""
        for trigger in self._own.get(str(self.decider.values[value].state), ()):
            yield from self._posting.post(trigger, code, ALWAYS, Event(trigger))
        yield from self._performed(code)

    def _without_process(self, code: Code) -> Iterator[Edge]:
        _, row, number, _ = code
        work, decider = self.crawl.works[number], self.decider
        session = decider.values[row] if row >= 0 else None
        timers = [session.retry_at, session.resume_at] if session is not None else []
        if any((*timers, work.durable.closed)):
            yield "time passes", self._later(code, LONGEST_WAIT_S), 0, ""
        if self.scope.changed_by_hand:
            for what, changed in self.crawl.changed_by_hand(number):
                yield what, (NOBODY, row, changed, 0), 0, ""
        if work.hidden:
            yield "a bookmark is added", (NOBODY, row, self.crawl.arrived(number), 0), 0, ""
        kind = decider.kind(row) if row >= 0 else Kind.FINAL
        if kind is Kind.FINAL:
            fresh = self._fresh
            began = self.crawl.began(number, is_new=True)
            yield "start", (fresh, fresh, began, 0), ANSWERED, ""
        elif kind is Kind.ENDING:
            buried = decider.step(row, DIED)
            yield "bury", (NOBODY, buried.value, number, 0), ANSWERED, buried.broken
        else:
            began = self.crawl.began(number, is_new=False)
            yield from self._posting.post("restart", (row, row, began, 0), ANSWERED, RESTARTED)

    def _performed(self, code: Code) -> Iterator[Edge]:
        value, _, work, _ = code
        match self._operation(value, work):
            case ops.Fetch() as wanted:
                yield from self._fetch(code, wanted)
            case ops.FetchSkipped():
                after = self.crawl.fetched_skipped(work)
                yield from self._asked("fetch skipped items", code, after)
            case ops.Lookup(keys):
                yield from self._asked("look up", code, self.crawl.looked_up(work, keys))
            case ops.Count(above, walk):
                yield from self._asked("count", code, self.crawl.counted(work, above, walk))
            case ops.Handle(index):
                yield from self._handle(code, index)
            case ops.Commit():
                yield from self._posting.commit("", code, ALWAYS, None)
            case ops.Wait(until):
                if until is not None:
                    yield f"wait {until:g} s", self._later(code, until), ALWAYS, ""
            case ops.Post() as decided:
                yield from self._decided(code, decided)
            case ops.Cleanup():
                yield from self._posting.post("clean up", code, ALWAYS, CLEANED_UP)
            case ops.End():
                yield "nothing, though it has not ended", code, 0, ""
            case operation:
                assert_never(operation)

    def _later(self, code: Code, seconds: float) -> Code:
        value, row, work, flags = code
        later = self.decider.later
        return (
            later(value, seconds) if value >= 0 else value,
            later(row, seconds) if row >= 0 else row,
            self.crawl.later(work, seconds),
            flags,
        )

    # -- operations -------------------------------------------------------------------------------

    def _fetch(self, code: Code, wanted: ops.Fetch) -> Iterator[Edge]:
        value, row, work, flags = code
        start = int(wanted.cursor) if wanted.cursor is not None else 0
        what = f"fetch from item {start + 1}" if start else "fetch page 1"
        recovered, broken = self._recovered(value)
        for odd, after in self.crawl.fetched(work, wanted):
            settings = 0 if odd else CALM | NO_STORE
            label = f"{what} ({odd})" if odd else what
            yield label, (recovered, row, after, flags), settings, broken
        for category, event in self.decider.errors(value, of_item=False):
            settings = NO_NETWORK if category is ErrorCategory.NETWORK else 0
            yield from self._failed(f"{what}: {category}", code, settings, event)
        if self.scope.refuses_cursors and wanted.cursor is not None:
            yield from self._cursor_refused(f"{what}: cursor refused", code)
        if self.crawl.works[work].hidden:
            yield "a bookmark is added", (value, row, self.crawl.arrived(work), flags), 0, ""

    def _cursor_refused(self, what: str, code: Code) -> Iterator[Edge]:
        value, row, work, flags = code
        again = self.crawl.cursor_refused(work)
        if again is not None:
            yield what, (value, row, again, flags), 0, ""
            return
        reason = Reason.CURSOR_REFUSED
        event = self.decider.error(value, ErrorCategory.FATAL, reason, of_item=False)
        yield from self._failed(what, code, 0, event)

    def _handle(self, code: Code, index: int) -> Iterator[Edge]:
        value, row, work, flags = code
        what = f"handle item {self.crawl.item(work, index)}"
        recovered, broken = self._recovered(value)
        yield what, (recovered, row, self.crawl.handled(work), flags), ALWAYS, broken
        for category, event in self.decider.errors(value, of_item=True):
            yield from self._posting.post_error(f"{what}: {category}", code, 0, event, index)

    def _asked(self, what: str, code: Code, after: int) -> Iterator[Edge]:
        """A question to the store."""
        value, row, _, flags = code
        yield what, (value, row, after, flags), ANSWERED, ""
        yield from self._posting.store_failed(f"{what}: store out", code, NO_STORE)

    def _recovered(self, value: int) -> tuple[int, str]:
        """An operation succeeded: as `Steps.recovered`."""
        session = self.decider.values[value]
        if session.tries == 0 and session.state != State.RETRYING:
            return value, ""
        stepped = self.decider.step(value, RECOVERED)
        return stepped.value, stepped.broken

    def _failed(self, what: str, code: Code, settings: int, event: Event) -> Iterator[Edge]:
        """A request raised: as `Steps.failed`."""
        if event.trigger == Trigger.RATE_LIMITED:
            code = (*code[:2], self.crawl.closed(code[2], event.delay_s), code[3])
        yield from self._posting.post(what, code, settings, event)

    def _decided(self, code: Code, decided: ops.Post) -> Iterator[Edge]:
        """The plan found that something is an event: as `Steps.decided`."""
        value, _, work, _ = code
        if decided.category is None:
            event = Event(decided.trigger, reason=decided.reason)
            yield from self._posting.post(str(decided.trigger), code, ALWAYS, event)
            return
        reason = decided.reason if decided.reason is not None else Reason.UNKNOWN
        of_item = decided.index is not None
        closed = None if of_item else self.crawl.closed_until(work)
        event = self.decider.error(
            value, decided.category, reason, of_item=of_item, reset_at=closed
        )
        yield from self._posting.post_error(str(reason), code, ALWAYS, event, decided.index)


def _own_events(spec: MachineSpec) -> dict[str, tuple[str, ...]]:
    """Events that only an extended machine knows, by the states that they may come in: at any time."""
    ours = {str(trigger) for trigger in Trigger}
    own: dict[str, tuple[str, ...]] = {}
    for row in spec.rows:
        if str(row.trigger) not in ours:
            for source in row.sources:
                own[str(source)] = (*own.get(str(source), ()), str(row.trigger))
    return {state: tuple(dict.fromkeys(triggers)) for state, triggers in own.items()}


def _rows_matter(spec: MachineSpec) -> bool:
    """Whether it matters which durable value a step that drops pending work is taken from.

    It does not in a table like ours, where such a step leads to the same ending state from wherever it is allowed.
    """
    targets: dict[str, set[str | None]] = {}
    for row in spec.rows:
        if row.durability in {Durability.ALONE, Durability.UNSAVED}:
            targets.setdefault(str(row.trigger), set()).add(row.target)
    kinds = spec.kinds
    return any(
        len(reached) > 1 or None in reached or kinds[str(next(iter(reached)))] is not Kind.ENDING
        for reached in targets.values()
    )
