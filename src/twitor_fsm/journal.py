"""A session's journal as text: one JSON object a line, as `twitor sessions show ID --journal` prints it.

Must not know: databases, what a row means (`replay` judges that).
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import attrs
import msgspec

from .core.states import JournalRow
from .core.taxonomy import ErrorCategory
from .errors import JournalRefused

__all__ = ["Journal", "read_journal", "row_shape", "write_journal"]


@attrs.frozen
class Journal:
    """A journal read from a file; iterating gives its rows.

    Attributes:
        rows: Its steps, in the order of the file.
        session_id: Whose they are, if the file says so.
        started_at: When the session started, epoch seconds, if the file says so.
    """

    rows: tuple[JournalRow, ...]
    session_id: str | None = None
    started_at: float | None = None

    def __iter__(self) -> Iterator[JournalRow]:
        return iter(self.rows)


_Time = Annotated[float, msgspec.Meta(ge=0.0, lt=253_402_300_800.0)]  # the years 1970 to 9999
_Delay = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]


class _Line(msgspec.Struct, kw_only=True):
    """A line of the file; unknown keys are ignored, so that later versions may add some."""

    seq: int
    at: _Time
    trigger: str
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    category: ErrorCategory | None = None
    reason: str | None = None
    delay_s: _Delay = 0.0
    tries: int = 0
    tries_allowed: int = 5
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    spec: str
    absorbed: bool = False
    session_id: str | None = None
    started_at: float | None = None


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


def write_journal(
    journal: Iterable[JournalRow],
    *,
    session_id: str | None = None,
    started_at: float | None = None,
) -> str:
    """The journal as JSON lines; each says whose it is, where that is given.

    Args:
        journal: The rows, in order.
        session_id: The session's id.
        started_at: When it started, epoch seconds: a journal begins with the first step, which may be much later.
    """
    whose: dict[str, Any] = {"session_id": session_id, "started_at": started_at}
    known = {key: value for key, value in whose.items() if value is not None}
    return "".join(f"{msgspec.json.encode(row_shape(row) | known).decode()}\n" for row in journal)


def read_journal(text: str | bytes) -> Journal:
    """Read JSON lines; blank ones are passed over.

    Raises:
        JournalRefused: A line is not a row of a journal; names the first such line.
    """
    lines = (text.encode() if isinstance(text, str) else text).splitlines()
    filled = [line for line in lines if line.strip()]
    read = [_read(position, line) for position, line in enumerate(filled, 1)]
    for position, row in enumerate(read, 1):
        _check(position, row, read[0].session_id)
    return Journal(
        tuple(_row(line) for line in read),
        read[0].session_id if read else None,
        read[0].started_at if read else None,
    )


def _read(position: int, line: bytes) -> _Line:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise JournalRefused(position, None, f"it is no step of a session ({exc})") from exc


def _check(position: int, row: _Line, session_id: str | None) -> None:
    if row.session_id != session_id:
        raise JournalRefused(position, row.seq, "it is of another session than the first row")
    items = row.facts.get("items")
    if items is not None and (type(items) is not int or not 0 <= items < 2**53):
        raise JournalRefused(position, row.seq, "its count of items is no number that can be")


def _row(line: _Line) -> JournalRow:
    return JournalRow(
        line.seq,
        line.at,
        line.trigger,
        line.source,
        line.target,
        line.category,
        line.reason,
        line.delay_s,
        line.tries,
        line.tries_allowed,
        line.facts,
        line.spec,
        line.absorbed,
    )
