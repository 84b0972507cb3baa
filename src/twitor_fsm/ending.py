"""What is reported of a run when it is over: why it ended, and what to do next.

Must not know: what led there, who reads it.
"""

from typing import Final

from .core.records import Claim
from .core.states import State
from .core.taxonomy import ErrorCategory, Reason
from .errors import LeaseLost
from .ledger import Ledger
from .report import CrawlReport
from .steps import Steps

__all__ = ["RUN_AGAIN", "report_of_run"]

RUN_AGAIN: Final = ", run again to go on"
"""How the message ends of a session that was stopped midway."""


def report_of_run(
    claim: Claim,
    ledger: Ledger,
    steps: Steps,
    *,
    price_usd: float | None,
    is_lost: bool,
    cleanup_errors: tuple[str, ...],
) -> CrawlReport:
    """How a run ended.

    Args:
        claim: What it began with.
        ledger: The state that it ended in.
        steps: What it brought.
        price_usd: Of an item, USD; None when unknown.
        is_lost: Whether another process took the session over.
        cleanup_errors: What else went wrong at the end.
    """
    value, session = ledger.value, claim.session
    category, reason = value.category, value.reason
    if steps.cause is not None and value.state != State.COMPLETED:
        category, reason = steps.cause
    if is_lost:
        category, reason = None, Reason.LEASE_LOST
    counters = steps.counters()
    cost_usd = None if price_usd is None else round(counters.items_fetched * price_usd, 6)
    return CrawlReport(
        session_id=session.session_id,
        user_id=session.crawl.user_id,
        source=session.crawl.source,
        state=str(value.state),
        category=category,
        reason=str(reason) if reason is not None else None,
        message=str(LeaseLost(session.session_id))
        if is_lost
        else _message(ledger, steps, category),
        counters=counters,
        skipped_items=tuple(steps.skipped),
        cost_usd_estimate=cost_usd,
        resume_at=value.resume_at,
        durable=not steps.store_is_out,
        lost=is_lost,
        resumed=claim.is_resumed,
        resumed_from=session.resumed_from,
        cleanup_errors=cleanup_errors,
    )


def _message(ledger: Ledger, steps: Steps, category: ErrorCategory | None) -> str:
    state = ledger.value.state
    if state == State.COMPLETED:
        return "complete: everything in the listing is stored or recorded as skipped"
    if state == State.PAUSED_RATE_LIMIT:
        return f"paused until the rate limit resets; a checkpoint is saved{RUN_AGAIN}"
    if category is not None:
        return ledger.message
    if steps.store_is_out:
        return f"stopped while the database was out; what was committed before stands{RUN_AGAIN}"
    return f"{ledger.message or 'stopped'}; a checkpoint is saved{RUN_AGAIN}"
