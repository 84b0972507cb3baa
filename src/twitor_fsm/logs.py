"""How errors and recoveries are logged: severities exactly as the design document lists them, in one place.

DEBUG retry attempts and backoff, INFO recovery actions and checkpoint saves, WARNING skipped items and rate limits,
ERROR failed operations and database errors, CRITICAL fatal errors and graceful shutdowns. Configures nothing.
"""

from collections.abc import Mapping
from typing import Final

from .core.recovery import RecoveryStrategy
from .core.taxonomy import ErrorAction, ErrorCategory
from .log_facts import logger_of

__all__ = [
    "log_checkpoint",
    "log_end_not_noted",
    "log_not_saved",
    "log_progress_saved",
    "log_shut_down",
    "log_shutdown",
    "log_store_failed",
    "log_strategy",
]

_RECOVERY: Final = logger_of("twitor_fsm.recovery")
_CHECKPOINT: Final = logger_of("twitor_fsm.checkpoint")


def log_strategy(
    strategy: RecoveryStrategy, *, tries: int, extra: Mapping[str, str | None]
) -> None:
    """Log one error and what is done about it.

    Args:
        strategy: The decision.
        tries: Failures of the operation before this one.
        extra: session_id, user_id and operation; None when unknown.
    """
    _log_error(strategy, extra)
    match strategy.action:
        case ErrorAction.RETRY:
            _RECOVERY.debug(
                "retry %d in %g s after %s: %s",
                tries + 1,
                strategy.delay,
                strategy.category.value,
                strategy.message,
                extra=extra,
            )
        case ErrorAction.SKIP:
            _RECOVERY.warning("item skipped: %s", strategy.message, extra=extra)
        case ErrorAction.PAUSE:
            _RECOVERY.warning(
                "rate limit: pausing for %g s: %s", strategy.delay, strategy.message, extra=extra
            )
        case ErrorAction.ABORT:
            pass
    _RECOVERY.info(
        "recovery of %s (%s): %s",
        strategy.category.value,
        strategy.reason,
        strategy.action.value,
        extra=extra,
    )


def _log_error(strategy: RecoveryStrategy, extra: Mapping[str, str | None]) -> None:
    if strategy.graceful_shutdown or strategy.category is ErrorCategory.FATAL:
        _RECOVERY.critical("fatal error: %s", strategy.message, extra=extra)
    elif strategy.category is ErrorCategory.DATABASE:
        _RECOVERY.error("database error: %s", strategy.message, extra=extra)
    elif strategy.action is ErrorAction.ABORT:
        _RECOVERY.error("operation failed: %s", strategy.message, extra=extra)


def log_store_failed(message: str, *, extra: Mapping[str, str | None]) -> None:
    """The session's own store is out; it ends without it."""
    _RECOVERY.error("%s", message, extra=extra)


def log_end_not_noted(problem: str, *, extra: Mapping[str, str | None]) -> None:
    """A session's end is not in the store, as its report says (`durable`)."""
    _RECOVERY.error("the end could not be noted: %s", problem, extra=extra)


def log_checkpoint(tweet_id: str | None, *, extra: Mapping[str, str | None]) -> None:
    """A checkpoint was saved."""
    _CHECKPOINT.info("checkpoint saved at %s", tweet_id or "the last durable item", extra=extra)


def log_shutdown(message: str, *, extra: Mapping[str, str | None]) -> None:
    """A graceful shutdown begins."""
    _RECOVERY.critical("graceful shutdown: %s", message, extra=extra)


def log_progress_saved(tweet_id: str, *, extra: Mapping[str, str | None]) -> None:
    """A recovery saved the checkpoint."""
    _RECOVERY.info("recovery saved the checkpoint at %s", tweet_id, extra=extra)


def log_not_saved(tweet_id: str, problem: str, *, extra: Mapping[str, str | None]) -> None:
    """A recovery wanted to save the checkpoint and could not."""
    _RECOVERY.error(
        "the checkpoint at %s was not saved: %s; the error that led here stands",
        tweet_id,
        problem,
        extra=extra,
    )


def log_shut_down(
    tasks: int, problems: tuple[str, ...], *, extra: Mapping[str, str | None]
) -> None:
    """A graceful shutdown is over."""
    _RECOVERY.critical(
        "graceful shutdown is over: %d cleanup tasks, %d failed%s",
        tasks,
        len(problems),
        f" ({'; '.join(problems)})" if problems else "",
        extra=extra,
    )
