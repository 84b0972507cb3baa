"""What must hold of a crawl whatever goes wrong: of each transaction, of each journal.

Each function yields what is wrong, as sentences; nothing means that all is well. They are written from the promises of
the documentation, not from the engine's code, so that a fault in the engine or in its table cannot hide in both.
Must not know: how a crawl is run.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from ..core.recovery import Policy
from ..core.states import JournalRow, State, Trigger
from ..core.taxonomy import Reason
from ..storage.base import Batch
from .listings import Listing

__all__ = ["Durable", "of_journal", "of_transaction"]

_SAVING: Final = frozenset(
    {Trigger.RATE_LIMITED, Trigger.FATAL_FAILED, Trigger.CANCEL, Trigger.FINISH}
)
_FINAL: Final = frozenset({State.COMPLETED, State.ABORTED, State.SHUT_DOWN})
_ENDS_WAIT: Final[Mapping[str, frozenset[str]]] = {
    State.PAUSED_RATE_LIMIT: frozenset({Trigger.RESUME}),
    State.RETRYING: frozenset({Trigger.NETWORK_FAILED, Trigger.RECOVERED, Trigger.ITEM_SKIPPED}),
}
"""What happens to a waiting session only once its time has come."""
_SLACK_S: Final = 1e-6  # floats of epoch seconds have about 2e-7 s to them


@attrs.define
class Durable:
    """What transactions have made durable so far; sets are replaced, never changed in place.

    Attributes:
        stored: Ids of stored items.
        skipped: Ids of items kept as skipped.
        ended: Sessions that wrote a final state.
        fences: Highest fence that each session was claimed with, or wrote with.
    """

    stored: set[str] = attrs.field(factory=set)
    skipped: set[str] = attrs.field(factory=set)
    ended: set[str] = attrs.field(factory=set)
    fences: dict[str, int] = attrs.field(factory=dict)

    def apply(self, batch: Batch) -> None:
        """The batch was written."""
        new = {new.item.key for new in batch.new}
        self.stored = self.stored | new
        self.skipped = (self.skipped - new) | {skip.skip.key for skip in batch.skips}
        self.raise_fence(batch.session_id, batch.fence)
        if batch.final:
            self.ended = self.ended | {batch.session_id}

    def raise_fence(self, session_id: str, fence: int) -> None:
        """The session was claimed, or written, with this fence: whoever has a lower one was replaced."""
        self.fences = {**self.fences, session_id: max(fence, self.fences.get(session_id, 0))}


def of_transaction(
    batch: Batch, before: Durable, listing: Listing, handled: Collection[str]
) -> Iterator[str]:
    """What is wrong with a transaction.

    Args:
        batch: What was written.
        before: What was durable before.
        listing: What the source holds.
        handled: Ids that went through the handler in this process.
    """
    after = attrs.evolve(before)
    after.apply(batch)
    triggers = {row.trigger for row in batch.journal if not row.absorbed}
    doubled = sorted({new.item.key for new in batch.new} & before.stored)
    if doubled:
        yield f"{_ids(doubled)} stored twice"
    if batch.session_id in before.ended:
        yield f"a session that has ended writes {batch.value.state} once more"
    if batch.fence < before.fences.get(batch.session_id, 0):
        yield f"a process that was replaced still writes (fence {batch.fence})"
    counts = batch.counters
    if counts.seen != counts.stored + counts.already_known + counts.skipped:
        yield f"{counts.seen} items seen, but {counts.stored} + {counts.already_known} + {counts.skipped} counted"
    yield from _of_checkpoint(batch, after, listing)
    if Trigger.AUTH_FAILED in triggers and _writes_progress(batch):
        yield "a failed authentication saves progress"
    if _must_save(batch) and batch.durable:
        if batch.mark is None:
            yield f"{batch.value.state} without a checkpoint"
        unsaved = sorted(set(handled) - after.stored - after.skipped)
        if unsaved:
            yield f"{batch.value.state} although {_ids(unsaved)} handled and not durable"
    if batch.value.state == State.COMPLETED:
        missing = [k for k in listing.keys if k not in after.stored and k not in after.skipped]
        if missing:
            yield f"completed although {_ids(missing)} neither stored nor recorded as skipped"


def _of_checkpoint(batch: Batch, after: Durable, listing: Listing) -> Iterator[str]:
    """A checkpoint names durable items only: all that stands above its page is stored or skipped."""
    if batch.mark is None or not batch.mark.under_way:
        return
    above = listing.above.get(batch.mark.cursor, frozenset())
    ahead = sorted(above - after.stored - after.skipped)
    if ahead:
        yield f"the checkpoint is ahead of the items: {_ids(ahead)} not durable"
    if batch.last_key is not None and batch.last_key not in after.stored:
        yield f"the checkpoint names {batch.last_key}, which is not stored"


def _writes_progress(batch: Batch) -> bool:
    return bool(
        batch.new or batch.known or batch.skips or batch.mark or batch.listed or batch.last_key
    )


def _must_save(batch: Batch) -> bool:
    """Whether the batch holds a step that saves a checkpoint: on pause, fatal error, cancel, end, given-up retries."""
    return any(
        not row.absorbed
        and (
            row.trigger in _SAVING
            or (row.trigger == Trigger.NETWORK_FAILED and row.target == State.ABORTING)
        )
        for row in batch.journal
    )


def of_journal(rows: Sequence[JournalRow], policy: Policy | None = None) -> Iterator[str]:
    """What is wrong with a session's journal, as far as times and tries are concerned.

    Args:
        rows: In order.
        policy: MAX_RETRIES and INITIAL_BACKOFF of the session; None if an app's own policy decides.
    """
    tries = 0
    for row in rows:
        where = f"journal row {row.seq}"
        if row.reason == Reason.BUG:
            yield f"{where}: a bug of the engine: {row.facts.get('message', '')}"
        if row.source in _FINAL:
            yield f"{where} leaves the final state {row.source}"
        ends_tries = row.trigger in {Trigger.RECOVERED, Trigger.ITEM_SKIPPED} and not row.absorbed
        if ends_tries and row.tries != 0:
            yield f"{where}: {row.trigger} leaves {row.tries} tries"
        if row.target == State.RETRYING and row.trigger == Trigger.NETWORK_FAILED:
            if row.tries != tries + 1 or row.tries > row.tries_allowed:
                yield f"{where}: try {row.tries} of {row.tries_allowed} after try {tries}"
            if policy is not None and row.delay_s != policy.backoff(row.tries - 1):
                yield f"{where}: a delay of {row.delay_s} s before try {row.tries}"
        tries = row.tries
    yield from _of_waits(rows)


def _of_waits(rows: Iterable[JournalRow]) -> Iterator[str]:
    """Nothing happens before its time, except what ends a wait."""
    due = 0.0
    for row in rows:
        if row.trigger in _ENDS_WAIT.get(row.source, frozenset()) and row.at < due - _SLACK_S:
            yield f"journal row {row.seq}: {row.trigger} came {due - row.at:.3f} s before its time"
        if row.target not in _ENDS_WAIT:
            due = 0.0
        elif row.delay_s > 0:
            due = row.at + row.delay_s


def _ids(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:5])
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return (
        f"{'item' if len(keys) == 1 else 'items'} {shown}{more} {'is' if len(keys) == 1 else 'are'}"
    )
