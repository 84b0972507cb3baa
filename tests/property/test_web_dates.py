"""Dates as X's website writes them."""

import calendar
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twitor_fsm.sources.web_posts import web_date


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
)
def test_a_date_of_the_website_is_told_in_utc(at: datetime, minutes: int) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    local = at + timedelta(minutes=minutes)
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    names = calendar.day_abbr[local.weekday()], calendar.month_abbr[local.month]
    text = f"{names[0]} {names[1]} {local:%d %H:%M:%S} {zone} {local.year:04}"
    assert web_date(text) == f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Wed Foo 01 04:34:56 +0000 2024",
        "Wed Feb 30 04:34:56 +0000 2024",
        "Wed May 01 24:34:56 +0000 2024",
        "Wed May 01 04:34:56 2024",
        "Wed May 01 04:34:56 +0000 0000",
        "Fri Jan 01 00:00:00 +0100 0001",
        "Wed May \u0660\u0661 04:34:56 +0000 2024",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert web_date(text) is None
