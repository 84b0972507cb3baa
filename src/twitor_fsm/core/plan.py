"""What a session does next: one operation, and at most one page fetched ahead beside it.

Pure: the session's value, its progress and the time come in, a `Plan` goes out. The shell does what it says, and turns
what happens into events and progress.
Must not know: how any operation is done.
"""

from collections.abc import Mapping
from typing import Final, assert_never

import attrs

from .listing import Place
from .progress import PageInHand, Progress, Status
from .recovery import MAX_BACKOFF_S, RecoveryStrategy, is_believable
from .states import Kind, SessionValue, State, Trigger
from .taxonomy import ErrorAction, ErrorCategory, Reason

__all__ = [
    "Cleanup",
    "Commit",
    "Count",
    "End",
    "Fetch",
    "FetchSkipped",
    "Handle",
    "Lookup",
    "Operation",
    "Plan",
    "Post",
    "Wait",
    "plan",
    "trigger_for",
]


@attrs.frozen
class Fetch:
    """Ask the source for a page."""

    cursor: str | None
    page_size: int | None


@attrs.frozen
class FetchSkipped:
    """Ask the store for skipped items that are to be tried again."""


@attrs.frozen
class Lookup:
    """Ask the store what is known of the ids of the page in hand."""

    keys: tuple[str, ...]


@attrs.frozen
class Count:
    """Ask the store how many ids of the last completed listing above this place the walk has not met."""

    above: Place
    walk: int


@attrs.frozen
class Handle:
    """Run the app's handler on the element at this index of the page."""

    index: int


@attrs.frozen
class Commit:
    """Make what is pending durable."""


@attrs.frozen
class Wait:
    """Nothing to do before this time (epoch seconds), or before an event if None."""

    until: float | None


@attrs.frozen
class Post:
    """Something was decided that is an event of the machine."""

    trigger: Trigger
    category: ErrorCategory | None = None
    reason: Reason | None = None
    index: int | None = None
    """The element of the page concerned, if one is."""


@attrs.frozen
class Cleanup:
    """Run the cleanup tasks; then the session ends."""


@attrs.frozen
class End:
    """The session is in a final state."""


Operation = Fetch | FetchSkipped | Lookup | Count | Handle | Commit | Wait | Post | Cleanup | End


@attrs.frozen
class Plan:
    """The next operation, and a page that may be fetched meanwhile."""

    operation: Operation
    prefetch: Fetch | None = None


LONGEST_WAIT_S: Final = 2 * MAX_BACKOFF_S
"""No wait that was decided is longer."""

_END: Final = Plan(End())
_CLEANUP: Final = Plan(Cleanup())


def trigger_for(strategy: RecoveryStrategy, *, of_item: bool) -> Trigger:
    """The event that an error is, given the recovery that was decided for it.

    Args:
        strategy: The decision.
        of_item: Whether the error concerns one item; only an item can be skipped, so anything else that would be
            skipped is fatal.
    """
    match strategy.action:
        case ErrorAction.RETRY:
            return Trigger.NETWORK_FAILED
        case ErrorAction.PAUSE:
            return Trigger.RATE_LIMITED
        case ErrorAction.SKIP:
            return Trigger.ITEM_SKIPPED if of_item else Trigger.FATAL_FAILED
        case ErrorAction.ABORT if strategy.category is ErrorCategory.AUTH:
            return Trigger.AUTH_FAILED
        case ErrorAction.ABORT if strategy.category is ErrorCategory.NETWORK:
            return Trigger.NETWORK_FAILED
        case ErrorAction.ABORT:
            return Trigger.FATAL_FAILED
        case _:
            assert_never(strategy.action)


def plan(
    session: SessionValue, progress: Progress, *, now: float, kinds: Mapping[str, Kind]
) -> Plan:
    """Decide what to do next.

    Args:
        session: State and timers.
        progress: What is done and what of it is durable.
        now: Epoch seconds.
        kinds: Kind of each state of the machine.
    """
    match kinds[session.state]:
        case Kind.FINAL:
            return _END
        case Kind.ENDING:
            return _CLEANUP
        case Kind.WAITING:
            return _waiting(session, progress, now)
        case Kind.WORK:
            return _working(progress, now)
        case kind:
            assert_never(kind)


def _waiting(session: SessionValue, progress: Progress, now: float) -> Plan:
    if session.state == State.RETRYING:
        if session.retry_at is not None and _is_ahead(session.retry_at, now):
            return Plan(Wait(session.retry_at))
        return _working(progress, now)
    if session.resume_at is not None and not _is_ahead(session.resume_at, now):
        return Plan(Post(Trigger.RESUME))
    return Plan(Wait(session.resume_at))


def _is_ahead(when: float, now: float) -> bool:
    """Whether to wait for it; a time that no decision can have named was written by a clock that was wrong."""
    return now < when <= now + LONGEST_WAIT_S


def _working(progress: Progress, now: float) -> Plan:
    page = progress.page
    if progress.fault is not None:
        return Plan(Post(Trigger.FATAL_FAILED, ErrorCategory.FATAL, progress.fault))
    if page is None:
        return Plan(_next_page(progress, now))
    if page.sighting is not None:
        return Plan(Count(page.sighting.place, progress.mark.walk))
    if page.verdict is None:
        return Plan(Lookup(page.keys))
    return Plan(_within_page(progress, page), _ahead(progress, now))


def _next_page(progress: Progress, now: float) -> Operation:
    if progress.gave_up_walk:
        return Commit()
    if progress.is_limit_reached:
        return Post(Trigger.CANCEL, reason=Reason.MAX_ITEMS)
    if progress.redo:
        return FetchSkipped()
    if _is_closed(progress, now):
        return Post(Trigger.RATE_LIMITED, ErrorCategory.RATE_LIMIT, Reason.CLOSED_UNTIL)
    return Fetch(progress.mark.cursor, progress.mark.page_size)


def _is_closed(progress: Progress, now: float) -> bool:
    """Whether the source's limit is used up; not by a time that was noted before the clock was set back."""
    return progress.closed_until is not None and is_believable(progress.closed_until, now=now)


def _within_page(progress: Progress, page: PageInHand) -> Operation:
    if progress.is_page_done:
        if progress.finished is not None:
            return Post(Trigger.FINISH, reason=progress.finished)
        return Commit()
    if progress.rules.has_handler and progress.unsaved >= progress.rules.checkpoint_every:
        return Commit()
    if progress.done >= page.limit:
        return Post(Trigger.CANCEL, reason=Reason.MAX_ITEMS)
    if page.entries[progress.done].status is Status.INVALID:
        return Post(
            Trigger.ITEM_SKIPPED,
            ErrorCategory.VALIDATION,
            Reason.INVALID_ITEM,
            index=progress.done,
        )
    return Handle(progress.done)


def _ahead(progress: Progress, now: float) -> Fetch | None:
    """The page after this one, if it is certain that it will be asked for and allowed to ask now."""
    page = progress.page
    if page is None or page.verdict is None or page.redo:
        return None
    verdict = page.verdict
    if verdict.ended is not None or verdict.fault is not None or page.limit < len(page.entries):
        return None
    most = progress.rules.max_items
    if most is not None and progress.fresh_with_page >= most:
        return None
    if _is_closed(progress, now) or not progress.rules.prefetch:
        return None
    return Fetch(verdict.mark.cursor, verdict.mark.page_size)
