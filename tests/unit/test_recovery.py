"""What recovery decides, for every error and every number: never negative, never endless, and exactly the document's."""

import math

import attrs
import pytest

from twitor_fsm.core.recovery import (
    MIN_PAUSE_S,
    PAUSE_SLACK_S,
    WINDOW_S,
    ErrorFacts,
    Policy,
    decide,
)
from twitor_fsm.core.taxonomy import ErrorAction, ErrorCategory, Reason

NOW = 1_800_000_000.0
LONGEST_PAUSE_S = WINDOW_S + PAUSE_SLACK_S


# -- the ladder -----------------------------------------------------------------------------------


def ladder(policy: Policy) -> list[float]:
    """Delays of one operation that always fails, up to the one that gives up."""
    delays: list[float] = []
    while True:
        error = ErrorFacts(ErrorCategory.NETWORK, tries=len(delays))
        strategy = decide(error, policy, now=NOW, jitter=0.7)
        if strategy.action is ErrorAction.ABORT:
            return delays
        delays.append(strategy.delay)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), [1.0, 2.0, 4.0, 8.0, 16.0]),
        (Policy(max_retries=0), []),
        (Policy(max_retries=3, initial_backoff=0.5), [0.5, 1.0, 2.0]),
        (Policy(max_retries=2, initial_backoff=0.0), [0.0, 0.0]),
    ],
)
def test_the_ladder_is_exact(policy: Policy, expected: list[float]) -> None:
    assert ladder(policy) == expected


# -- pauses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing_said", [None, math.nan])
def test_a_pause_that_nobody_named_says_that_its_length_is_assumed(
    nothing_said: float | None,
) -> None:
    error = ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=nothing_said, message="used up")
    whole, short = Policy(), Policy(fallback_pause_s=7.5)
    assert decide(error, whole, now=NOW).message.startswith("used up; a window of 900 s is assumed")
    assert "a window of 7.5 s is assumed" in decide(error, short, now=NOW).message
    assert "assumed" not in decide(attrs.evolve(error, reset_at=NOW + 9), whole, now=NOW).message


@pytest.mark.parametrize(
    ("reset_at", "told"),
    [
        (
            NOW - 1000,
            "used up; that time is over already, so the next request follows in a moment. ",
        ),
        (NOW, "used up; that time is over already, so the next request follows in a moment. "),
        (NOW + 0.5, "used up. "),
        (NOW + 960, "used up. "),
        (NOW + 960.5, "used up; no window is that long, so the next request follows after 960 s. "),
    ],
)
def test_a_named_time_that_is_not_waited_for_says_what_is_done_instead(
    reset_at: float, told: str
) -> None:
    error = ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=reset_at, message="used up")
    assert decide(error, Policy(), now=NOW).message.startswith(told)


def pause(reset_at: float | None, jitter: float = 0.0, policy: Policy | None = None) -> float:
    error = ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=reset_at)
    return decide(error, policy or Policy(), now=NOW, jitter=jitter).delay


@pytest.mark.parametrize(
    ("reset_at", "expected"),
    [
        (NOW + 100, 100.0),
        (NOW + 900, 900.0),
        (NOW, MIN_PAUSE_S),
        (NOW - 10, MIN_PAUSE_S),
        (0.0, MIN_PAUSE_S),
        (-math.inf, MIN_PAUSE_S),
        (NOW + LONGEST_PAUSE_S + 1, LONGEST_PAUSE_S),
        (NOW + 10 * 365 * 86_400, LONGEST_PAUSE_S),
        (math.inf, LONGEST_PAUSE_S),
        (1.7e308, LONGEST_PAUSE_S),
    ],
)
def test_a_reset_time_is_believed_within_one_window(reset_at: float, expected: float) -> None:
    assert pause(reset_at) == expected


def test_who_names_no_jitter_gets_none() -> None:
    error = ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=NOW + 100)

    assert decide(error, Policy(), now=NOW).delay == 100.0


@pytest.mark.parametrize("tries", [0, 1, 63, 64, 65, 10_000])
def test_without_a_backoff_nothing_is_waited_for_however_often_it_failed(tries: int) -> None:
    assert Policy(initial_backoff=0.0).backoff(tries) == 0.0


@pytest.mark.parametrize(
    ("tries", "delay"), [(16, 65_536.0), (17, 86_400.0), (63, 86_400.0), (64, 86_400.0)]
)
def test_the_ladder_is_cut_off_at_a_day(tries: int, delay: float) -> None:
    assert Policy(initial_backoff=1.0).backoff(tries) == delay


# -- what the user is told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "reason", "action"),
    [
        (ErrorCategory.FATAL, Reason.DISK_FULL, "Resolve underlying issue (free memory/disk) and"),
        (ErrorCategory.FATAL, Reason.ACCESS_REFUSED, "Resolve underlying issue and resume"),
        (ErrorCategory.FATAL, Reason.BUG, "Resolve underlying issue and resume"),
        (ErrorCategory.AUTH, Reason.CONFIGURATION, "Update credentials and retry"),
        (ErrorCategory.NETWORK, Reason.UNKNOWN, "None for temporary issues; check network"),
        (ErrorCategory.DATABASE, Reason.UNKNOWN, "Review logs; check database connectivity"),
    ],
)
def test_memory_and_disk_are_named_where_they_can_be_the_issue(
    category: ErrorCategory, reason: Reason, action: str
) -> None:
    strategy = decide(ErrorFacts(category, reason=reason), Policy(), now=NOW)

    assert f"User action: {action}" in strategy.message
