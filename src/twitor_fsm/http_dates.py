"""Reads the times that HTTP headers name (`Date`, `Retry-After`). Source: RFC 9110, 5.6.7.

Pure. Must not know: which header it was, whose clock is right.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["http_date"]


def http_date(text: object) -> float | None:
    """Epoch seconds, by the clock of whoever wrote it; None when it is no date. One without a zone is UTC."""
    if not isinstance(text, str):
        return None
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
