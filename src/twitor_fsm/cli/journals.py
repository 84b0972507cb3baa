"""A session's journal, from the database or from a file.

Must not know: what is done with it.
"""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from .database import find_session, opened
from .failures import Failure
from .shapes import is_running

if TYPE_CHECKING:
    from ..core.records import SessionRecord
    from ..core.states import JournalRow

__all__ = ["Taken", "from_database", "from_file", "is_file_name"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""Size of a journal file at most; a journal has some hundred bytes a step."""


@attrs.frozen
class Taken:
    """A journal and what is known of its session.

    Attributes:
        name: The session, or the file.
        rows: Its steps.
        record: Its row in the database; None for a file.
        started_at: Epoch seconds, if that is known.
        now: Until when it is known what state it is in, epoch seconds; None: until its last step.
        alive: Whether somebody runs it; None if that is not known.
    """

    name: str
    rows: "tuple[JournalRow, ...]"
    record: "SessionRecord | None" = None
    started_at: float | None = None
    now: float | None = None
    alive: bool | None = None


def from_database(db: str | None, session_id: str | None) -> Taken:
    """The journal of a session; None is the newest. Raises `Failure`."""

    async def run() -> Taken:
        async with opened(db, look=True) as engine:
            record = await find_session(engine, session_id)
            rows = await engine.store.journal(record.session_id)
            now = engine.clock.now()
        is_over = record.ended_at is not None
        return Taken(
            f"session {record.session_id}",
            tuple(rows),
            record,
            record.started_at,
            _until(record, now),
            None if is_over else is_running(record),
        )

    return asyncio.run(run())


def _until(record: "SessionRecord", now: float) -> float:
    """A pause lasts without anybody; all else that nobody runs is known up to its last commit."""
    if record.ended_at is not None:
        return record.ended_at
    return now if is_running(record) or record.value.resume_at is not None else record.updated_at


def from_file(name: str) -> Taken:
    """The journal of a file; "-" is stdin. Raises `Failure` or `JournalRefused`."""
    from ..journal import read_journal

    try:
        if name == "-":
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(MOST_BYTES + 1)
    except OSError as exc:
        raise Failure(f"{name} cannot be read ({exc.strerror}); nothing was done", 2) from exc
    if len(content) > MOST_BYTES:
        raise Failure(f"{name} is too large for a journal; nothing was done", 2)
    journal = read_journal(content)
    if not journal.rows:
        raise Failure(
            f"{name} holds no step; make one with: twitor sessions show ID --journal > run.jsonl",
            2,
        )
    whose = f"session {journal.session_id}" if journal.session_id else Path(name).name
    return Taken(whose, journal.rows, None, journal.started_at)


def is_file_name(word: str) -> bool:
    """Whether a word means a file rather than a session's id."""
    return word == "-" or any(char in word for char in "./\\") or Path(word).is_file()
