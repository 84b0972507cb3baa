"""Plans of the test kit: what they read, what they print, what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twitor_fsm.classify import classify
from twitor_fsm.core.taxonomy import ErrorCategory
from twitor_fsm.testing.mishaps import CATEGORIES, ERRORS, Mishap, Plan

PLACES = st.one_of(
    st.sampled_from(["fetches", "handles"]),
    st.builds(
        "{} {}".format,
        st.sampled_from(["item", "page", "commit", "lookup"]),
        st.integers(1, 99),
    ),
)
MEETS = st.dictionaries(PLACES, st.lists(st.sampled_from(Mishap), min_size=1, max_size=4))


@given(MEETS)
def test_a_plan_that_is_printed_can_be_read_again(meets: dict[str, list[Mishap]]) -> None:
    plan = Plan.of(meets)

    assert Plan(str(plan)) == plan
    assert eval(repr(plan)) == plan
    assert hash(Plan(str(plan))) == hash(plan)
    assert {place: list(met) for place, met in plan.meets.items()} == meets


def test_a_plan_reads_as_a_sentence() -> None:
    plan = Plan.of({"item 1": [Mishap.NETWORK, Mishap.RATE_LIMIT]})

    assert repr(plan) == "Plan('item 1: NETWORK, RATE_LIMIT')"
    assert len(plan) == 2
    assert len(Plan("handles: OK, OK, AUTH")) == 1
    assert str(Plan()) == ""
    assert Plan("item 1: AUTH") != "item 1: AUTH"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("item 0: AUTH", "'item 0' is no place"),
        ("item: AUTH", "'item' is no place"),
        ("handler 1: AUTH", "is no place"),
        ("item 1: AUTHENTICATION", "(at item 1); known are OK, NETWORK"),
        ("item 1", "at item 1"),
    ],
)
def test_what_is_no_plan_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Plan(text)
    assert told in str(refused.value)


@pytest.mark.parametrize("mishap", CATEGORIES)
def test_each_category_is_raised_as_what_is_classified_so(mishap: Mishap) -> None:
    found = classify(ERRORS[mishap](), operation="handle", now=0.0)

    assert found.category == ErrorCategory(mishap.value)


def test_a_bug_is_fatal() -> None:
    assert classify(ERRORS[Mishap.BUG](), operation="handle", now=0.0).category == "FATAL"
