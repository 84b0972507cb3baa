"""A session's journal as text: one JSON object a line, as `twitor sessions show ID --journal` prints it.

Must not know: databases, what a row means (`replay` judges that).
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from .core.states import JournalRow
from .core.taxonomy import ErrorCategory
from .errors import JournalRefused

__all__ = ["read_journal", "row_shape", "write_journal"]


class _Line(msgspec.Struct, kw_only=True):
    """A line of the file; unknown keys are ignored, so that later versions may add some."""

    seq: int
    at: float
    trigger: str
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    category: ErrorCategory | None = None
    reason: str | None = None
    delay_s: float = 0.0
    tries: int = 0
    tries_allowed: int = 5
    facts: dict[str, Any] = {}
    spec: str
    absorbed: bool = False


_DECODER: Final = msgspec.json.Decoder(_Line)


def row_shape(row: JournalRow) -> dict[str, Any]:
    """One step as plain values under stable keys."""
    return {
        "seq": row.seq,
        "at": row.at,
        "trigger": row.trigger,
        "from": row.source,
        "to": row.target,
        "category": row.category.value if row.category else None,
        "reason": row.reason,
        "delay_s": row.delay_s,
        "tries": row.tries,
        "tries_allowed": row.tries_allowed,
        "facts": dict(row.facts),
        "absorbed": row.absorbed,
        "spec": row.spec,
    }


def write_journal(journal: Iterable[JournalRow]) -> str:
    """The journal as JSON lines."""
    return "".join(f"{msgspec.json.encode(row_shape(row)).decode()}\n" for row in journal)


def read_journal(text: str | bytes) -> tuple[JournalRow, ...]:
    """Read JSON lines; blank ones are passed over.

    Raises:
        JournalRefused: A line is not a row of a journal; names the first such line.
    """
    lines = (text.encode() if isinstance(text, str) else text).splitlines()
    filled = [line for line in lines if line.strip()]
    return tuple(_row(position, line) for position, line in enumerate(filled, 1))


def _row(position: int, line: bytes) -> JournalRow:
    try:
        read = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise JournalRefused(position, None, f"it is no step of a session ({exc})") from exc
    return JournalRow(
        read.seq,
        read.at,
        read.trigger,
        read.source,
        read.target,
        read.category,
        read.reason,
        read.delay_s,
        read.tries,
        read.tries_allowed,
        read.facts,
        read.spec,
        read.absorbed,
    )
