"""How a session's run ended, in one value: for embedders, the CLI and exit codes.

Must not know: how the session ran.
"""

from typing import Any, Final

import attrs

from .core.records import Counters, CrawlKey, SessionRecord
from .core.states import Kind, MachineSpec, State
from .core.taxonomy import ErrorCategory, Reason

__all__ = ["CrawlReport", "SkippedBrief", "code_of_category", "exit_code"]

SKIPPED_SHOWN: Final = 20
"""Skipped items named in a report; all of them are in the database."""


@attrs.frozen
class SkippedBrief:
    """One skipped item, named."""

    id: str
    category: str
    reason: str
    message: str


@attrs.frozen(kw_only=True)
class CrawlReport:
    """The outcome of one run of a session.

    Attributes:
        session_id: The session.
        user_id: Whose bookmarks.
        source: From where.
        state: State it is in; "completed" is only said when the end of the listing was verified.
        category: Category of the error that ended or paused it, or None.
        reason: Why it is in that state.
        message: What happened, what state the data is in, what to do next.
        counters: The session's counts; `seen == stored + already_known + skipped`.
        skipped_items: The first skipped items of the session.
        cost_usd_estimate: Items the service counted times their price, USD; None when the price is unknown.
        resume_at: When a pause ends, epoch seconds, or None.
        durable: Whether all that is reported is in the database; False when the store failed.
        lost: Whether another process took the session over meanwhile.
        resumed: Whether this run continued earlier progress.
        resumed_from: Session that the progress came from, or None.
        bookmarks_count: Stored items of the crawl, all sessions together; None when the store did not answer.
        cleanup_errors: What else went wrong at the end: failures of cleanup tasks.
    """

    session_id: str
    user_id: str
    source: str
    state: str
    category: ErrorCategory | None
    reason: str | None
    message: str
    counters: Counters
    skipped_items: tuple[SkippedBrief, ...] = ()
    cost_usd_estimate: float | None = None
    resume_at: float | None = None
    durable: bool = True
    lost: bool = False
    resumed: bool = False
    resumed_from: str | None = None
    bookmarks_count: int | None = None
    cleanup_errors: tuple[str, ...] = ()

    @property
    def completed(self) -> bool:
        """Whether everything that the listing holds is stored or recorded as skipped."""
        return self.state == State.COMPLETED

    def to_dict(self) -> dict[str, Any]:
        """Plain values under stable keys, as `twitor crawl --json` prints them."""
        counters = self.counters
        return {
            "session_id": self.session_id,
            "user_id": self.user_id,
            "source": self.source,
            "state": self.state,
            "category": self.category.value if self.category else None,
            "reason": self.reason,
            "message": self.message,
            "seen": counters.seen,
            "stored": counters.stored,
            "already_known": counters.already_known,
            "skipped": counters.skipped,
            "skipped_items": [attrs.asdict(item) for item in self.skipped_items],
            "errors": {str(name): count for name, count in sorted(counters.errors.items())},
            "requests": counters.requests,
            "items_fetched": counters.items_fetched,
            "cost_usd_estimate": self.cost_usd_estimate,
            "retries": counters.retries,
            "pauses": counters.pauses,
            "resume_at": self.resume_at,
            "durable": self.durable,
            "lost": self.lost,
            "resumed": self.resumed,
            "resumed_from": self.resumed_from,
            "bookmarks_count": self.bookmarks_count,
            "cleanup_errors": list(self.cleanup_errors),
        }


_BY_CATEGORY: Final = {
    ErrorCategory.AUTH: 10,
    ErrorCategory.RATE_LIMIT: 11,
    ErrorCategory.NETWORK: 12,
    ErrorCategory.VALIDATION: 13,
    ErrorCategory.DATABASE: 14,
    ErrorCategory.FATAL: 1,
}

INTERRUPTED: Final = 75
"""EX_TEMPFAIL of sysexits.h: a checkpoint stands, run the same command again."""


def code_of_category(category: ErrorCategory) -> int:
    """The documented exit code of a run that an error of this category ended."""
    return _BY_CATEGORY[category]


def exit_code(report: CrawlReport) -> int:
    """The documented exit code of a run.

    Returns:
        0 completed, 1 fatal, 10 auth, 11 paused by a rate limit, 12 network, 13 too many skips, 14 database, 75
        interrupted with a checkpoint (also: lease lost, `max_items` reached).
    """
    if report.completed:
        return 0
    if report.lost:
        return INTERRUPTED
    if report.reason == Reason.TOO_MANY_SKIPS:
        return _BY_CATEGORY[ErrorCategory.VALIDATION]
    if report.category is None:
        return INTERRUPTED
    return _BY_CATEGORY[report.category]


def report_of_record(record: SessionRecord, spec: MachineSpec) -> dict[str, Any]:
    """A session as the store knows it, under the same keys as a report."""
    value = record.value
    crawl: CrawlKey = record.crawl
    return {
        "session_id": record.session_id,
        "user_id": crawl.user_id,
        "source": crawl.source,
        "state": str(value.state),
        "final": spec.kinds.get(str(value.state)) is Kind.FINAL,
        "category": value.category.value if value.category else None,
        "reason": value.reason,
        "message": record.message,
        "seen": record.counters.seen,
        "stored": record.counters.stored,
        "already_known": record.counters.already_known,
        "skipped": record.counters.skipped,
        "errors": dict(record.counters.errors),
        "requests": record.counters.requests,
        "items_fetched": record.counters.items_fetched,
        "retries": record.counters.retries,
        "pauses": record.counters.pauses,
        "retry_at": value.retry_at,
        "resume_at": value.resume_at,
        "durable": record.durable,
        "resumed_from": record.resumed_from,
        "cancel_wish": record.cancel_wish,
        "owner": str(record.owner) if record.owner else None,
        "lease_until": record.lease_until,
        "started_at": record.started_at,
        "updated_at": record.updated_at,
        "ended_at": record.ended_at,
    }
