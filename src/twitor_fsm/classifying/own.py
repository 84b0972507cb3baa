"""Our own exceptions: their messages are safe by their contract."""

from collections.abc import Mapping
from typing import Any, Final

from ..core.taxonomy import ErrorCategory, Reason
from .case import (
    AUTH,
    DATABASE,
    FATAL,
    NETWORK,
    RATE_LIMIT,
    VALIDATION,
    Case,
    Classified,
    Rule,
    type_name,
)

__all__ = ["OWN"]


def _own(category: ErrorCategory, reason: Reason | None = None) -> Rule:
    """`reason` None: the exception carries its own."""

    def rule(case: Case) -> Classified:
        error: Any = case.error
        reset_at = error.reset_at if category is RATE_LIMIT else None
        chosen = error.reason if reason is None else reason
        return Classified(category, chosen, reset_at, str(error) or type_name(error))

    return rule


def _items_refused(case: Case) -> Classified:
    error: Any = case.error
    reasons = [reason for reason, _ in error.refused.values()]
    chosen = reasons[0] if reasons else Reason.DATABASE_ERROR
    return Classified(DATABASE, chosen, None, str(error))


OWN: Final[Mapping[str, Rule]] = {
    "TwitorError": _own(FATAL, Reason.UNKNOWN),
    "ConfigurationError": _own(FATAL, Reason.CONFIGURATION),
    "SpecError": _own(FATAL, Reason.CONFIGURATION),
    "IllegalStep": _own(FATAL, Reason.BUG),
    "JournalRefused": _own(FATAL, Reason.SOURCE_UNREADABLE),
    "CredentialsMissing": _own(AUTH, Reason.TOKEN_MISSING),
    "AuthenticationFailed": _own(AUTH),
    "RateLimited": _own(RATE_LIMIT),
    "SourceUnavailable": _own(NETWORK),
    "CursorRefused": _own(FATAL, Reason.CURSOR_REFUSED),
    "RequestRefused": _own(FATAL),
    "BillingRefused": _own(FATAL, Reason.BILLING),
    "SourceLoops": _own(FATAL, Reason.SOURCE_LOOPS),
    "InvalidItem": _own(VALIDATION, Reason.INVALID_ITEM),
    "UnreadableFile": _own(FATAL, Reason.SOURCE_UNREADABLE),
    "StoreError": _own(DATABASE, Reason.DATABASE_ERROR),
    "StoreUnavailable": _own(DATABASE),
    "ItemsRefused": _items_refused,
    # Not DATABASE: whoever skipped an item over them would go on without owning or understanding the database.
    "LeaseLost": _own(FATAL, Reason.LEASE_LOST),
    "CrawlOwned": _own(FATAL, Reason.OWNED_ELSEWHERE),
    "SessionNotFound": _own(FATAL, Reason.CONFIGURATION),
    "SessionUnreadable": _own(FATAL, Reason.CONFIGURATION),
    "RowUnreadable": _own(FATAL, Reason.CONFIGURATION),
    "SchemaMismatch": _own(FATAL, Reason.CONFIGURATION),
    "QueueError": _own(FATAL, Reason.UNKNOWN),
    "QueueUnavailable": _own(NETWORK, Reason.CONNECTION),
    "QueueUnauthorized": _own(AUTH, Reason.TOKEN_REFUSED),
    "QueueMisconfigured": _own(FATAL, Reason.CONFIGURATION),
    "QueueFull": _own(NETWORK, Reason.SERVER_ERROR),  # full for now, as the server's own memory
    "QueueOutOfMemory": _own(NETWORK, Reason.SERVER_ERROR),
    "TaskRefused": _own(FATAL, Reason.REQUEST_REFUSED),
    "TaskLeaseLost": _own(FATAL, Reason.LEASE_LOST),
}
"""By class name."""
