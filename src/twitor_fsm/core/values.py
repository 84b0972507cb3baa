"""What goes through the machine and what comes out: an event's facts, a session's value, a step and its journal row.

Pure. Must not know: the table.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from .taxonomy import ErrorCategory
from .words import Durability, State

__all__ = ["Facts", "JournalRow", "SessionValue", "Step"]


@attrs.frozen(kw_only=True)
class Facts:
    """What is known about one event; everything that a step depends on besides the session's value.

    Attributes:
        now: Epoch seconds, UTC.
        category: The error's category; None for events that are no errors.
        reason: Finer kind.
        delay_s: Wait that the recovery strategy decided, seconds; for schedule_retry and schedule_resume.
        tries_allowed: MAX_RETRIES of the session.
        message: What happened, for people; holds no secret and no content.
        item: Key of the item concerned, if one is.
        operation: What was being done ("fetch", "handle", "commit", "decode_item", ...).
        items: Distinct items that the session has dealt with by then; None if that is not known.
    """

    now: float
    category: ErrorCategory | None = None
    reason: str | None = None
    delay_s: float = 0.0
    tries_allowed: int = 5
    message: str = ""
    item: str | None = None
    operation: str | None = None
    items: int | None = None


@attrs.frozen
class SessionValue:
    """A session's whole state as far as the machine is concerned.

    Attributes:
        state: Name of the state.
        seq: Number of steps taken; the last journal row's sequence number.
        tries: Failures of the current operation so far, from 0.
        retry_at: When the operation is due again, epoch seconds; set while retrying.
        resume_at: When the pause ends, epoch seconds; set while paused.
        category: Category of the error that led to the present state; None if none did.
        reason: Reason for being in the present state; None at work.
        absorbed: Triggers absorbed so far while ending; each is journalled once.
    """

    state: str = State.RUNNING
    seq: int = 0
    tries: int = 0
    retry_at: float | None = None
    resume_at: float | None = None
    category: ErrorCategory | None = None
    reason: str | None = None
    absorbed: tuple[str, ...] = ()


@attrs.frozen
class JournalRow:
    """One step as it is kept for ever.

    Attributes:
        seq: 1, 2, 3, ... within the session.
        at: Epoch seconds, UTC.
        trigger: The event.
        source: State before.
        target: State after.
        category: Error category, or None.
        reason: Finer kind, or None.
        delay_s: Wait that was decided, seconds.
        tries: Failures of the operation after this step.
        tries_allowed: MAX_RETRIES when it happened.
        facts: Further facts, values of JSON: message, item, operation, items.
        spec: Fingerprint of the table that allowed the step.
        absorbed: Whether the event changed nothing.
    """

    seq: int
    at: float
    trigger: str
    source: str
    target: str
    category: ErrorCategory | None
    reason: str | None
    delay_s: float
    tries: int
    tries_allowed: int
    facts: Mapping[str, Any]
    spec: str
    absorbed: bool = False

    def to_facts(self) -> Facts:
        """The facts of the event, as `step` needs them to take it again."""
        return Facts(
            now=self.at,
            category=self.category,
            reason=self.reason,
            delay_s=self.delay_s,
            tries_allowed=self.tries_allowed,
            message=str(self.facts.get("message", "")),
            item=self.facts.get("item"),
            operation=self.facts.get("operation"),
            items=self.facts.get("items"),
        )


@attrs.frozen
class Step:
    """The outcome of one event.

    Attributes:
        session: The value after it.
        effects: What the shell has to do, in order.
        journal: The row to keep; None for an event absorbed before.
        durability: When the step becomes true.
    """

    session: SessionValue
    effects: tuple[str, ...]
    journal: JournalRow | None
    durability: Durability
