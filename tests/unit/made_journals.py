"""Journals made by the machine itself, event by event, without an engine."""

from collections.abc import Iterable

import attrs

from twitor_fsm.core.states import (
    DEFAULT_SPEC,
    Facts,
    JournalRow,
    MachineSpec,
    SessionValue,
    Trigger,
)
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.machine import machine_for

__all__ = ["CANCELLED", "COMPLETED", "PAUSED", "START", "Happening", "journal_of", "network"]

START = 1_790_000_000.0


@attrs.frozen
class Happening:
    """One event: when (seconds after START), what, and what is known of it."""

    after_s: float
    trigger: str
    category: ErrorCategory | None = None
    reason: str | None = None
    delay_s: float = 0.0
    items: int | None = None
    message: str = ""


def journal_of(
    happenings: Iterable[Happening], spec: MachineSpec = DEFAULT_SPEC
) -> list[JournalRow]:
    """The rows that the machine writes."""
    value, rows = SessionValue(str(spec.initial)), []
    for one in happenings:
        facts = Facts(
            now=START + one.after_s,
            category=one.category,
            reason=one.reason,
            delay_s=one.delay_s,
            message=one.message,
            items=one.items,
        )
        step = machine_for(spec).step(value, one.trigger, facts)
        value = step.session
        if step.journal is not None:
            rows.append(step.journal)
    return rows


def network(after_s: float, delay_s: float) -> Happening:
    """A failed request."""
    return Happening(
        after_s, Trigger.NETWORK_FAILED, ErrorCategory.NETWORK, Reason.SERVER_ERROR, delay_s
    )


PAUSED = [
    network(2.0, 1.0),
    network(3.5, 2.0),
    Happening(6.0, Trigger.RECOVERED, items=180),
    Happening(
        8.0,
        Trigger.RATE_LIMITED,
        ErrorCategory.RATE_LIMIT,
        Reason.WINDOW_USED_UP,
        880.0,
        items=270,
        message="the window is used up. User action: None (automatic recovery)",
    ),
]
"""Two failures, recovered from, then a pause."""

COMPLETED = [
    *PAUSED,
    Happening(888.0, Trigger.RESUME, items=270),
    Happening(890.0, Trigger.FINISH, reason=Reason.END_VERIFIED, items=300),
]

CANCELLED = [
    network(2.0, 1.0),
    Happening(2.5, Trigger.CANCEL, reason=Reason.STOPPED_BY_USER),
    Happening(2.6, Trigger.CANCEL, reason=Reason.STOPPED_BY_USER),
    Happening(
        2.7, Trigger.FATAL_FAILED, ErrorCategory.FATAL, Reason.OUT_OF_MEMORY, message="no memory"
    ),
    Happening(3.0, Trigger.CLEANED_UP),
]
"""A cancel while retrying, and what comes too late to matter."""
