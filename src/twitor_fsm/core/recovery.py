"""What to do after an error, and when.

Pure: `now` and a jitter draw come in, a `RecoveryStrategy` goes out.
Must not know: how errors are raised, who sleeps, where progress is kept.
"""

import math
from typing import Final, Protocol, assert_never

import attrs

from .taxonomy import ErrorAction, ErrorCategory, Reason, user_action

__all__ = [
    "MAX_BACKOFF_S",
    "PAUSE_SLACK_S",
    "WINDOW_S",
    "ErrorFacts",
    "Policy",
    "RecoveryPolicy",
    "RecoveryStrategy",
    "believable",
    "decide",
    "is_believable",
]

WINDOW_S: Final = 900.0
"""A rate-limit window, seconds. Source: X API v2, 15 minutes; the document's "typically 15 minutes"."""

PAUSE_SLACK_S: Final = 60.0
"""How far beyond one window a reset time named by the service is believed, seconds (skew, rounding)."""

MIN_PAUSE_S: Final = 1.0
"""A shorter pause would be a hot loop against a service that names a reset in the past."""

MAX_JITTER_S: Final = 5.0
"""Sessions whose windows reset in the same second come back spread over this many seconds."""

MAX_BACKOFF_S: Final = 86_400.0
"""The ladder is cut off at a day, so that a large `max_retries` cannot overflow."""


@attrs.frozen
class Policy:
    """How patient recovery is.

    Attributes:
        max_retries: Network failures of one operation before it is given up, from 0. Source: MAX_RETRIES.
        initial_backoff: First backoff, seconds; doubles with every try. Source: INITIAL_BACKOFF.
        fallback_pause_s: Pause when the service names no usable reset time, seconds.
    """

    max_retries: int = 5
    initial_backoff: float = 1.0
    fallback_pause_s: float = WINDOW_S

    def backoff(self, tries: int) -> float:
        """Delay before repeating an operation that failed `tries` times before this failure, seconds."""
        if tries >= 64:  # 2**64 s exceeds any cap; a float of it may still overflow
            return MAX_BACKOFF_S if self.initial_backoff > 0 else 0.0
        return min(self.initial_backoff * float(2**tries), max(MAX_BACKOFF_S, self.initial_backoff))


@attrs.frozen
class ErrorFacts:
    """One classified error.

    Attributes:
        category: Selects the strategy.
        reason: Finer kind, for messages and reports.
        tries: Failures of this operation before this one, from 0.
        reset_at: When the service said it opens again, epoch seconds; None when it did not say.
        message: What happened, without secrets or content.
    """

    category: ErrorCategory
    reason: Reason = Reason.UNKNOWN
    tries: int = 0
    reset_at: float | None = None
    message: str = ""


@attrs.frozen
class RecoveryStrategy:
    """What to do about one error.

    Attributes:
        action: RETRY, SKIP, ABORT or PAUSE.
        delay: Wait before going on, seconds, never negative; 0 unless the action is RETRY or PAUSE.
        message: What happened and what the user can do; holds no secret.
        save_checkpoint: Whether progress is saved before acting.
        category: The error's category.
        reason: The error's finer kind.
        graceful_shutdown: Whether an ABORT runs cleanup tasks and shuts the service down (FATAL).
    """

    action: ErrorAction
    delay: float
    message: str
    save_checkpoint: bool
    category: ErrorCategory
    reason: Reason = Reason.UNKNOWN
    graceful_shutdown: bool = False


class RecoveryPolicy(Protocol):
    """What stands in the place of `decide`, which is one: arguments and promise are the same.

    `action` and `category` of what it returns choose the trigger, and with it the row of the table. A `delay` below 0
    is taken as none, one above `MAX_BACKOFF_S` (a day) as that: what is waited for is tried again then. One that is no
    number ends the session as a bug.
    """

    def __call__(
        self, error: ErrorFacts, policy: Policy, /, *, now: float, jitter: float
    ) -> RecoveryStrategy:
        """Choose the recovery for one classified error; see `decide`."""
        ...


def decide(
    error: ErrorFacts, policy: Policy, *, now: float, jitter: float = 0.0
) -> RecoveryStrategy:
    """Choose the recovery for one classified error.

    Args:
        error: Category, tries so far (from 0) and, if the service named one, its reset time.
        policy: Number of retries and backoff.
        now: Epoch seconds, UTC.
        jitter: A draw from [0, 1) that spreads reset times named by a service; ladder and fallback stay exact.

    Returns:
        The action and its delay in seconds, never negative.

    Source:
        The design document, "Error Categories"; reset time: `x-rate-limit-reset`, X API v2; without one, the document's
        "typically 15 minutes", which the message calls assumed.
    """
    match error.category:
        case ErrorCategory.AUTH:
            return _strategy(error, ErrorAction.ABORT, save=False)
        case ErrorCategory.RATE_LIMIT:
            reset_at = _named(error.reset_at)
            delay = _pause(reset_at, policy, now=now, jitter=jitter)
            note = _instead(reset_at, delay, now=now)
            return _strategy(error, ErrorAction.PAUSE, delay=delay, save=True, note=note)
        case ErrorCategory.NETWORK if error.tries < policy.max_retries:
            return _strategy(error, ErrorAction.RETRY, delay=policy.backoff(error.tries))
        case ErrorCategory.NETWORK:
            return _strategy(error, ErrorAction.ABORT, save=True)
        case ErrorCategory.VALIDATION | ErrorCategory.DATABASE:
            return _strategy(error, ErrorAction.SKIP)
        case ErrorCategory.FATAL:
            return _strategy(error, ErrorAction.ABORT, save=True, shutdown=True)
        case _:
            assert_never(error.category)


def believable(reset_at: float, *, now: float) -> float:
    """A reset time that a service named, kept within one window and its slack from now, epoch seconds."""
    return min(max(reset_at, now), now + WINDOW_S + PAUSE_SLACK_S)


def is_believable(closed_until: float, *, now: float) -> bool:
    """Whether a limit that was noted as used up until then still is: in the future, and by a clock like ours."""
    return now < closed_until <= now + WINDOW_S + PAUSE_SLACK_S


def _named(reset_at: float | None) -> float | None:
    """A reset time that the service named; one that is no number counts as not said."""
    is_said = reset_at is not None and not math.isnan(reset_at)  # float() takes NaN from a header
    return reset_at if is_said else None


def _pause(reset_at: float | None, policy: Policy, *, now: float, jitter: float) -> float:
    """Seconds to wait for a rate limit; without a reset time, one window."""
    if reset_at is None:
        return policy.fallback_pause_s
    longest = WINDOW_S + PAUSE_SLACK_S
    wait = min(max(reset_at - now, MIN_PAUSE_S), longest)
    return min(wait + jitter * min(MAX_JITTER_S, wait), longest)


def _instead(reset_at: float | None, delay: float, *, now: float) -> str:
    """What is done where waiting until the named time is not; empty where it is."""
    if reset_at is None:
        return f"a window of {delay:g} s is assumed"
    if reset_at <= now:
        return "that time is over already, so the next request follows in a moment"
    if reset_at - now > WINDOW_S + PAUSE_SLACK_S:
        return f"no window is that long, so the next request follows after {delay:g} s"
    return ""


def _strategy(
    error: ErrorFacts,
    action: ErrorAction,
    *,
    delay: float = 0.0,
    save: bool = False,
    shutdown: bool = False,
    note: str = "",
) -> RecoveryStrategy:
    what = error.message or f"{error.category.value} error"
    what = f"{what}; {note}" if note else what
    return RecoveryStrategy(
        action=action,
        delay=delay,
        message=f"{what}. User action: {user_action(error.category, error.reason)}",
        save_checkpoint=save,
        category=error.category,
        reason=error.reason,
        graceful_shutdown=shutdown,
    )
