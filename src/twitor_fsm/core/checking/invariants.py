"""What must hold in every world, at every step and at every commit.

Pure. Must not know: how worlds are found.
"""

from collections.abc import Callable
from typing import Final

import attrs

from .. import plan as ops
from ..listing import Mark
from ..page import Status
from ..progress import Progress, Save
from ..taxonomy import ErrorCategory
from ..values import SessionValue
from ..words import Effect, Kind, State, Trigger
from .world import Durable, World

__all__ = ["INVARIANTS", "Invariant", "StepTaken", "Written"]


@attrs.frozen
class StepTaken:
    """One event that went through the machine.

    Attributes:
        trigger: The event.
        category: Of the error that it was, if it was one.
        before: The session before, times in seconds from now.
        after: The session after; the same when the table refused the event.
        effects: What the table asks for.
        kind_before: Kind of the state before.
        kind_after: Kind of the state after.
        is_refused: Whether the table has no row for it.
        max_retries: MAX_RETRIES.
    """

    trigger: str
    category: ErrorCategory | None
    before: SessionValue
    after: SessionValue
    effects: tuple[str, ...]
    kind_before: Kind
    kind_after: Kind
    is_refused: bool
    max_retries: int


@attrs.frozen
class Written:
    """One commit that takes place.

    Attributes:
        trigger: The event whose step it makes durable; None for none.
        effects: What that step asks for.
        save: What it says of items and checkpoint; None for a commit of state and journal alone.
        progress: Progress before it; None with `save`.
        before: What was durable before.
        after: What is durable then.
        arrivals: Items at the top that may be bookmarked after a walk has passed them.
    """

    trigger: str | None
    effects: tuple[str, ...]
    save: Save | None
    progress: Progress | None
    before: Durable
    after: Durable
    arrivals: int


@attrs.frozen(kw_only=True)
class Invariant:
    """A sentence that must hold, and how to tell.

    Attributes:
        name: A few words, joined by underscores.
        sentence: What it says.
        of_world: Whether it holds in a world.
        of_step: Whether a step keeps it.
        of_commit: Whether a commit keeps it.
    """

    name: str
    sentence: str
    of_world: Callable[[World], bool] | None = None
    of_step: Callable[[StepTaken], bool] | None = None
    of_commit: Callable[[Written], bool] | None = None


def _auth_writes_nothing(written: Written) -> bool:
    return written.trigger != Trigger.AUTH_FAILED or written.before == written.after


def _paused_is_durable(world: World) -> bool:
    session, progress, row = world.session, world.progress, world.row
    if session is None or progress is None or session.state != State.PAUSED_RATE_LIMIT:
        return True
    is_noted = row is not None and row.state == State.PAUSED_RATE_LIMIT
    nothing_pending = progress.done == progress.saved
    mark = world.durable.mark
    if world.scope.changed_by_hand:  # people may have set or cleared the checkpoint meanwhile
        return is_noted and nothing_pending
    return is_noted and nothing_pending and mark is not None and _same_place(mark, progress.mark)


def _same_place(one: Mark, other: Mark) -> bool:
    """Whether two marks stand at the same place of the same walk, whatever else is known of it."""
    return (one.walk, one.cursor, one.position, one.tail) == (
        other.walk,
        other.cursor,
        other.position,
        other.tail,
    )


def _tries_are_bounded(world: World) -> bool:
    return all(
        value is None or 0 <= value.tries <= world.scope.max_retries
        for value in (world.session, world.row)
    )


def _checkpoint_names_durable_items(written: Written) -> bool:
    save, items = written.save, written.after.items
    if save is None:
        return True
    passed = int(save.mark.cursor) if save.mark.cursor is not None else 0
    if save.listed is not None:
        passed = len(items)
    is_durable = all(items[n].is_settled for n in range(written.arrivals, passed))
    return is_durable and (save.last_key is None or items[int(save.last_key)].stored)


def _nothing_is_stored_twice(written: Written) -> bool:
    page = written.progress.page if written.progress is not None else None
    if written.save is None or page is None:
        return True
    entries = page.entries[written.save.first : written.save.upto]
    new = [int(entry.key) for entry in entries if entry.status is Status.NEW]
    return len(new) == len(set(new)) and not any(written.before.items[n].stored for n in new)


def _nothing_is_forgotten(written: Written) -> bool:
    return all(
        after.is_settled and after.stored >= before.stored
        for before, after in zip(written.before.items, written.after.items, strict=True)
        if before.is_settled
    )


def _completed_is_complete(world: World) -> bool:
    if world.session is None or world.session.state != State.COMPLETED:
        return True
    items = world.durable.items
    return all(kept.is_settled for kept in items[world.hidden_at_start :])


def _final_is_final(step: StepTaken) -> bool:
    return step.kind_before is not Kind.FINAL or step.before.state == step.after.state


def _cancel_is_honoured(step: StepTaken) -> bool:
    if step.trigger != Trigger.CANCEL or step.kind_before in {Kind.ENDING, Kind.FINAL}:
        return True
    return step.kind_after in {Kind.ENDING, Kind.FINAL}


def _no_event_is_refused(step: StepTaken) -> bool:
    return not step.is_refused


def _counts_add_up(written: Written) -> bool:
    if written.save is None or written.progress is None:
        return True
    now, then = written.progress.tally, written.save.tally
    met = sum(
        1
        for before, after in zip(written.before.items, written.after.items, strict=True)
        if after.met and not before.met
    )
    adds_up = then.seen == then.stored + then.already_known + then.skipped
    return adds_up and then.seen - now.seen == met


def _little_is_at_risk(world: World) -> bool:
    progress = world.progress
    if progress is None or progress.page is None or not world.scope.has_handler:
        return True
    if progress.unsaved <= world.scope.checkpoint_every:
        return True
    pending = progress.page.entries[progress.saved : progress.done]
    return sum(1 for e in pending if e.status is Status.NEW) <= world.scope.checkpoint_every


def _pause_is_waited_out(step: StepTaken) -> bool:
    due = step.before.resume_at
    is_waiting = due is not None and due > 0.0 and step.kind_before is Kind.WAITING
    return not is_waiting or step.kind_after is not Kind.WORK


def _tries_belong_to_an_operation(step: StepTaken) -> bool:
    if step.trigger in {Trigger.RESUME, Trigger.RESTARTED} and step.after.tries < step.before.tries:
        return False
    if step.trigger in {Trigger.RECOVERED, Trigger.ITEM_SKIPPED}:
        return step.after.tries == 0 or step.kind_after is not Kind.WORK
    if step.trigger == Trigger.NETWORK_FAILED and step.kind_after is Kind.ENDING:
        return step.kind_before is Kind.ENDING or step.before.tries >= step.max_retries
    return True


def _backoff_is_waited_out(world: World) -> bool:
    session = world.session
    if session is None or session.state != State.RETRYING or not session.retry_at:
        return True
    return isinstance(world.operation, ops.Wait)


def _closed_source_is_not_asked(world: World) -> bool:
    closed = world.progress.closed_until if world.progress is not None else None
    return closed is None or not isinstance(world.operation, ops.Fetch)


def _asked_for_checkpoint_is_written(written: Written) -> bool:
    return Effect.SAVE_CHECKPOINT not in written.effects or written.save is not None


INVARIANTS: Final[tuple[Invariant, ...]] = (
    Invariant(
        name="completed_is_complete",
        sentence="completed: every item that was in the listing when the run began is stored or recorded as skipped",
        of_world=_completed_is_complete,
    ),
    Invariant(
        name="checkpoint_names_durable_items",
        sentence="the checkpoint has passed no item that is neither stored nor recorded as skipped",
        of_commit=_checkpoint_names_durable_items,
    ),
    Invariant(
        name="nothing_is_stored_twice",
        sentence="no commit stores an item that is stored",
        of_commit=_nothing_is_stored_twice,
    ),
    Invariant(
        name="nothing_is_forgotten",
        sentence="no commit loses an item that is stored or recorded as skipped",
        of_commit=_nothing_is_forgotten,
    ),
    Invariant(
        name="auth_writes_nothing",
        sentence="an AUTH error writes no checkpoint and no items",
        of_commit=_auth_writes_nothing,
    ),
    Invariant(
        name="paused_is_durable",
        sentence="paused: the pause is durable, its checkpoint stands where the session stands, nothing is pending",
        of_world=_paused_is_durable,
    ),
    Invariant(
        name="checkpoints_are_written",
        sentence="a step that asks for a checkpoint is committed with one",
        of_commit=_asked_for_checkpoint_is_written,
    ),
    Invariant(
        name="tries_are_bounded",
        sentence="tries never exceed MAX_RETRIES",
        of_world=_tries_are_bounded,
    ),
    Invariant(
        name="every_operation_has_its_tries",
        sentence="an operation is given up after MAX_RETRIES failures of its own, not earlier, whatever pauses and restarts "
        "come between",
        of_step=_tries_belong_to_an_operation,
    ),
    Invariant(
        name="waits_are_waited_out",
        sentence="no pause ends early, no operation is repeated before its backoff is over, no closed source is asked",
        of_world=lambda world: _backoff_is_waited_out(world) and _closed_source_is_not_asked(world),
        of_step=_pause_is_waited_out,
    ),
    Invariant(
        name="cancel_is_honoured",
        sentence="a cancel ends the session from every active state, waits included",
        of_step=_cancel_is_honoured,
    ),
    Invariant(
        name="final_is_final",
        sentence="no event leads out of a final state",
        of_step=_final_is_final,
    ),
    Invariant(
        name="no_event_is_refused",
        sentence="the table has a row for everything that can happen",
        of_step=_no_event_is_refused,
    ),
    Invariant(
        name="counts_add_up",
        sentence="seen == stored + already_known + skipped at every commit, each item counted once a session",
        of_commit=_counts_add_up,
    ),
    Invariant(
        name="little_is_at_risk",
        sentence="never more than checkpoint_every handled items are not durable",
        of_world=_little_is_at_risk,
    ),
)
"""Those of a crawl; `explore` adds that an end can be reached from everywhere."""
