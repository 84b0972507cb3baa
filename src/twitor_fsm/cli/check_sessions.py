"""`twitor doctor`'s look at the last sessions: how much had to be repeated, and what the database refused.

Pure. Must not know: databases, terminals.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .checkup import Check, ok, warn
from .words import count

__all__ = ["SESSIONS", "check_sessions"]

SESSIONS: Final = 20
"""The last sessions that are looked at."""

_HIGH: Final = 0.2
_FEW: Final = 3
"""So many retries say nothing about a rate."""


def check_sessions(counters: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """The rate of retries of these sessions, and database errors of the newest.

    Args:
        counters: As the store keeps them (`Counters`), the newest first.
    """
    if not counters:
        return
    retries = sum(each["retries"] for each in counters)
    requests = sum(each["requests"] for each in counters)
    share = f" ({retries / requests:.0%})" if retries and requests else ""
    who = "the last session" if len(counters) == 1 else f"the last {len(counters)} sessions"
    said = f"{who} repeated {retries:,} of {requests:,} requests{share}"
    if retries > _FEW and retries > requests * _HIGH:
        yield warn(
            "retries",
            said,
            "check the network's stability and the status of the X API; review the rate limits; consider a larger "
            "INITIAL_BACKOFF",
        )
    else:
        yield ok("retries", said)
    refused = counters[0]["errors"].get("DATABASE")
    if refused:
        yield warn(
            "database_errors",
            f"the last session met {count(refused, 'database error')}",
            "twitor sessions show and twitor skipped list name them",
        )
