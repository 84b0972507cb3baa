"""Values at the edge of the simulated API: what was asked, what is answered, what the ledger keeps.

Pure data. Must not know: who decides, how bytes are sent.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

__all__ = ["Answer", "Asked", "LedgerEntry", "Wire", "json_answer"]


@attrs.frozen(kw_only=True)
class Asked:
    """A request, decoded."""

    method: str
    path: str
    query: str
    """The query string as sent."""
    pairs: tuple[tuple[str, str], ...]
    """Its names and values, decoded, in order."""
    authorization: str
    """The header's value, "" when absent."""
    accepts_gzip: bool


@attrs.frozen
class Wire:
    """How an answer is sent when it does not simply arrive."""

    kind: str
    """"reset" (the connection breaks), "cut" (it ends as if all were sent) or "slow"."""
    part: float = 1.0
    """Share of the body that is sent, 0 to 1; a reset with 0 sends no status line either."""
    seconds: float = 0.0
    """How long the body takes."""


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    fault: str | None = None
    """Kinds of the faults applied, joined by "+"."""
    items: int = 0
    """Bookmarks in the data."""
    wire: Wire | None = None


@attrs.frozen(kw_only=True)
class LedgerEntry:
    """One request that the simulated API answered."""

    at: float
    """Epoch seconds by the simulator's clock, without the plan's skew."""
    user_id: str | None
    """Whose token it was; None for none or an unknown one."""
    ordinal: int
    """Which request of that user to that endpoint, from 1; 0 when it was not counted."""
    method: str
    path: str
    query: str
    status: int
    fault: str | None
    items: int
    """Bookmarks in the data of the answer, sent whole or not."""


def json_answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """An answer with a JSON body; problems get their own content type, as X does it."""
    kind = "application/json" if status == 200 else "application/problem+json"
    items = len(body.get("data") or ()) if isinstance(body.get("data"), list) else 0
    return Answer(
        status=status,
        body=msgspec.json.encode(body),
        headers={"content-type": f"{kind}; charset=utf-8", **headers},
        items=items,
    )
