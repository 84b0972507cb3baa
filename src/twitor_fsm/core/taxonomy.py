"""The words for what went wrong: six categories, four actions and the finer reasons.

Pure. Must not know: exceptions, services or how an error is recovered from.
"""

from enum import StrEnum

__all__ = ["USER_ACTIONS", "ErrorAction", "ErrorCategory", "Reason", "user_action"]


class ErrorCategory(StrEnum):
    """What kind of error happened; it alone selects the recovery strategy.

    Source: the design document, "Error Categories".
    """

    AUTH = "AUTH"
    RATE_LIMIT = "RATE_LIMIT"
    NETWORK = "NETWORK"
    VALIDATION = "VALIDATION"
    DATABASE = "DATABASE"
    FATAL = "FATAL"


class ErrorAction(StrEnum):
    """What to do next. `ABORT` covers the graceful shutdown of a fatal error too."""

    RETRY = "RETRY"
    SKIP = "SKIP"
    ABORT = "ABORT"
    PAUSE = "PAUSE"


class Reason(StrEnum):
    """Finer kinds of error and of ends: a stable list of words, safe to match on.

    Stored in journals and reports, printed by the CLI. New words may be added; none changes its meaning.
    """

    # AUTH
    TOKEN_MISSING = "token_missing"
    TOKEN_REFUSED = "token_refused"
    SCOPE_MISSING = "scope_missing"
    APP_ONLY_TOKEN = "app_only_token"
    # RATE_LIMIT
    RATE_LIMITED = "rate_limited"
    WINDOW_USED_UP = "window_used_up"
    CLOSED_UNTIL = "closed_until"
    # NETWORK
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    BAD_PAGE = "bad_page"
    # VALIDATION
    INVALID_ITEM = "invalid_item"
    REFUSED_BY_HANDLER = "refused_by_handler"
    # DATABASE
    CONSTRAINT = "constraint"
    ENCODING = "encoding"
    DATABASE_ERROR = "database_error"
    STORE_BUSY = "store_busy"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_FULL = "store_full"
    STORE_IO = "store_io"
    STORE_READ_ONLY = "store_read_only"
    STORE_CORRUPT = "store_corrupt"
    # FATAL
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    BILLING = "billing"
    REQUEST_REFUSED = "request_refused"
    CURSOR_REFUSED = "cursor_refused"
    ACCESS_REFUSED = "access_refused"
    SOURCE_LOOPS = "source_loops"
    SOURCE_UNREADABLE = "source_unreadable"
    TOO_MANY_SKIPS = "too_many_skips"
    CONFIGURATION = "configuration"
    UNKNOWN = "unknown"
    BUG = "bug"
    # ends and other steps that are no errors
    END_VERIFIED = "end_verified"
    CAUGHT_UP = "caught_up"
    STOPPED_BY_USER = "stopped_by_user"
    SIGNAL = "signal"
    TASK_CANCELLED = "task_cancelled"
    MAX_ITEMS = "max_items"
    DIED_IN_CLEANUP = "died_in_cleanup"
    ASKED_FOR = "asked_for"
    TAKEN_OVER = "taken_over"
    LEASE_LOST = "lease_lost"
    OWNED_ELSEWHERE = "owned_elsewhere"


USER_ACTIONS: dict[ErrorCategory, str] = {
    ErrorCategory.AUTH: "Update credentials and retry",
    ErrorCategory.RATE_LIMIT: "None (automatic recovery)",
    ErrorCategory.NETWORK: "None for temporary issues; check network if persistent",
    ErrorCategory.VALIDATION: "None (individual items skipped)",
    ErrorCategory.DATABASE: "Review logs; check database connectivity",
    ErrorCategory.FATAL: "Resolve underlying issue (free memory/disk) and resume",
}
"""The "User Action Required" of each category. Source: the design document, "Error Categories"."""

_NOT_OF_THIS_MACHINE: frozenset[Reason] = frozenset(
    {
        Reason.ACCESS_REFUSED,
        Reason.BILLING,
        Reason.BUG,
        Reason.CONFIGURATION,
        Reason.CURSOR_REFUSED,
        Reason.REQUEST_REFUSED,
        Reason.SOURCE_LOOPS,
        Reason.SOURCE_UNREADABLE,
        Reason.TOO_MANY_SKIPS,
        Reason.UNKNOWN,
    }
)


def user_action(category: ErrorCategory, reason: Reason) -> str:
    """What the user has to do; where memory and disk cannot be the issue, they are not mentioned."""
    if category is ErrorCategory.FATAL and reason in _NOT_OF_THIS_MACHINE:
        return "Resolve underlying issue and resume"
    return USER_ACTIONS[category]
