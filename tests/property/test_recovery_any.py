"""What recovery decides, for any error and any numbers."""

import math

import pytest
import tenacity
from hypothesis import example, given
from hypothesis import strategies as st

from twitor_fsm.core.recovery import (
    MAX_BACKOFF_S,
    MAX_JITTER_S,
    MIN_PAUSE_S,
    PAUSE_SLACK_S,
    WINDOW_S,
    ErrorFacts,
    Policy,
    believable,
    decide,
)
from twitor_fsm.core.taxonomy import ErrorAction, ErrorCategory, Reason, user_action

NOW = 1_800_000_000.0
LONGEST_PAUSE_S = WINDOW_S + PAUSE_SLACK_S


def pause(reset_at: float | None, jitter: float = 0.0, policy: Policy | None = None) -> float:
    error = ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=reset_at)
    return decide(error, policy or Policy(), now=NOW, jitter=jitter).delay


categories = st.sampled_from(ErrorCategory)
tries = st.integers(0, 10**6)
any_float = st.floats(allow_nan=True, allow_infinity=True)
reset_times = st.none() | any_float | st.floats(NOW - 1e5, NOW + 1e5)
jitters = st.floats(0, 1, exclude_max=True)
policies = st.builds(Policy, max_retries=st.integers(0, 1000), initial_backoff=st.floats(0, 86_400))
facts = st.builds(
    ErrorFacts,
    category=categories,
    reason=st.sampled_from(Reason),
    tries=tries,
    reset_at=reset_times,
    message=st.text(max_size=20),
)


@given(error=facts, policy=policies, jitter=jitters)
@example(ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=math.nan), Policy(), 0.5)
@example(ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=-math.inf), Policy(), 0.0)
@example(ErrorFacts(ErrorCategory.RATE_LIMIT, reset_at=math.inf), Policy(), 0.999)
@example(ErrorFacts(ErrorCategory.NETWORK, tries=10**6), Policy(2 * 10**6, 86_400.0), 0.0)
def test_a_delay_is_finite_and_never_negative(
    error: ErrorFacts, policy: Policy, jitter: float
) -> None:
    strategy = decide(error, policy, now=NOW, jitter=jitter)
    assert math.isfinite(strategy.delay)
    assert strategy.delay >= 0.0
    if strategy.action in (ErrorAction.SKIP, ErrorAction.ABORT):
        assert strategy.delay == 0.0


@given(error=facts, policy=policies, jitter=jitters)
def test_the_category_alone_selects_the_strategy(
    error: ErrorFacts, policy: Policy, jitter: float
) -> None:
    strategy = decide(error, policy, now=NOW, jitter=jitter)
    gives_up = error.tries >= policy.max_retries
    expected = {  # action, checkpoint saved, graceful shutdown
        ErrorCategory.AUTH: (ErrorAction.ABORT, False, False),
        ErrorCategory.RATE_LIMIT: (ErrorAction.PAUSE, True, False),
        ErrorCategory.NETWORK: (
            ErrorAction.ABORT if gives_up else ErrorAction.RETRY,
            gives_up,
            False,
        ),
        ErrorCategory.VALIDATION: (ErrorAction.SKIP, False, False),
        ErrorCategory.DATABASE: (ErrorAction.SKIP, False, False),
        ErrorCategory.FATAL: (ErrorAction.ABORT, True, True),
    }[error.category]
    assert (strategy.action, strategy.save_checkpoint, strategy.graceful_shutdown) == expected
    assert (strategy.category, strategy.reason) == (error.category, error.reason)


@given(error=facts, policy=policies)
def test_the_message_says_what_happened_and_what_to_do(error: ErrorFacts, policy: Policy) -> None:
    message = decide(error, policy, now=NOW).message
    assert message.startswith(error.message or f"{error.category.value} error")
    assert message.endswith(f"User action: {user_action(error.category, error.reason)}")


@given(
    initial=st.floats(0.001, 86_400), retry=st.integers(0, 100) | st.sampled_from([63, 64, 1023])
)
def test_the_ladder_is_tenacitys(initial: float, retry: int) -> None:
    oracle = tenacity.wait_exponential(multiplier=initial, max=max(MAX_BACKOFF_S, initial))
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = retry + 1
    assert Policy(2000, initial).backoff(retry) == pytest.approx(oracle(state))


@given(policy=policies, tried=tries)
def test_a_backoff_never_shrinks_and_never_exceeds_a_day(policy: Policy, tried: int) -> None:
    assert policy.backoff(tried) <= policy.backoff(tried + 1) <= MAX_BACKOFF_S


@given(jitter=jitters, nothing_said=st.sampled_from([None, math.nan]))
def test_without_a_reset_time_the_pause_is_exactly_a_window(
    jitter: float, nothing_said: float | None
) -> None:
    assert pause(nothing_said, jitter) == 900.0
    assert pause(nothing_said, jitter, Policy(fallback_pause_s=7.0)) == 7.0


@given(reset_at=any_float, jitter=jitters)
def test_a_pause_is_a_second_at_least_and_a_window_with_slack_at_most(
    reset_at: float, jitter: float
) -> None:
    assert MIN_PAUSE_S <= pause(reset_at, jitter) <= LONGEST_PAUSE_S


@given(wait=st.floats(1, 900), jitter=jitters)
def test_jitter_only_ever_waits_longer_and_for_seconds(wait: float, jitter: float) -> None:
    plain, spread = pause(NOW + wait), pause(NOW + wait, jitter)
    assert plain <= spread <= plain + MAX_JITTER_S


@given(reset_at=st.floats(allow_nan=False))
def test_what_is_believable_lies_between_now_and_a_window_with_slack(reset_at: float) -> None:
    assert NOW <= believable(reset_at, now=NOW) <= NOW + LONGEST_PAUSE_S
