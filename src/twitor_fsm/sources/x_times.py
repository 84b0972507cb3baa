"""When X opens again, by our clock, from the headers of an answer.

Pure. X names a time by its own clock; the `Date` header tells how far that is from ours.
Must not know: what was refused.
"""

import re
from collections.abc import Mapping
from typing import Final

from ..http_dates import http_date

__all__ = ["closes_until", "number", "reset_at"]

_NUMBER: Final = re.compile(r"\s*\d{1,16}(\.\d{0,9})?\s*", re.ASCII)
_LATEST_S: Final = 1e11
"""A reset time beyond the year 5138 is in milliseconds. Source: seen in the wild, facts about X."""
_LONG_AGO_S: Final = 10 * 365 * 86_400.0
"""A reset time so far before the server's own time is no time but something else (a number of seconds, say)."""


def closes_until(headers: Mapping[str, str], now: float) -> float | None:
    """When the next request is allowed, epoch seconds by our clock, if this answer used the window up."""
    remaining = number(headers.get("x-rate-limit-remaining"))
    return _window_ends(headers, now) if remaining == 0 else None


def reset_at(headers: Mapping[str, str], now: float) -> float | None:
    """When the service opens again, by our clock: the window's end, else Retry-After in either form."""
    ends = _window_ends(headers, now)
    if ends is not None:
        return ends
    said = headers.get("retry-after", "")
    seconds = number(said)
    if seconds is not None:
        return now + seconds
    date = http_date(said)
    return None if date is None else now + (date - _server_now(headers, now))


def _window_ends(headers: Mapping[str, str], now: float) -> float | None:
    """The window's end by our clock, whatever the server's clock says the time is; None when not said."""
    reset = number(headers.get("x-rate-limit-reset"))
    if reset is None:
        return None
    if reset > _LATEST_S:
        reset /= 1000
    server_now = _server_now(headers, now)
    if reset < server_now - _LONG_AGO_S:
        return None
    return now + (reset - server_now)


def _server_now(headers: Mapping[str, str], now: float) -> float:
    date = http_date(headers.get("date", ""))
    return now if date is None else date


def number(text: str | None) -> float | None:
    """A number without sign, as headers have it; None for anything else (float() would take nan, inf and 1_0)."""
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None
