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
    from collections.abc import Iterator, Sequence

    from ..core.records import SessionRecord
    from ..core.states import JournalRow
    from ..engine import CrawlEngine
    from ..errors import RowUnreadable

__all__ = ["Taken", "from_database", "from_file", "is_file_name", "journal_of"]

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
        bad: A step that cannot be read; `rows` are then those before it, since none can be taken without it.
    """

    name: str
    rows: "tuple[JournalRow, ...]"
    record: "SessionRecord | None" = None
    started_at: float | None = None
    now: float | None = None
    alive: bool | None = None
    bad: "RowUnreadable | None" = None

    def damage(self, done: str) -> Failure | None:
        """What to say, once the rest is told, of a step that cannot be read; None if there is none.

        Args:
            done: What was done with the steps before it.
        """
        if self.bad is None:
            return None
        before = (
            f"up to step {self.rows[-1].seq}, the last one before it"
            if self.rows
            else "with no step"
        )
        return Failure(f"{self.bad}. The session is {done} {before}", 14)


async def journal_of(
    engine: "CrawlEngine", record: "SessionRecord"
) -> "tuple[Sequence[JournalRow], RowUnreadable | None]":
    """A session's journal, all of it that can be read, and a step that cannot."""
    from ..errors import RowUnreadable

    try:
        return await engine.store.journal(record.session_id), None
    except RowUnreadable as error:
        return error.others, error


def from_database(db: str | None, session_id: str | None) -> Taken:
    """The journal of a session; None is the newest. Raises `Failure`."""

    async def run() -> Taken:
        async with opened(db, look=True) as engine:
            record = await find_session(engine, session_id)
            rows, bad = await journal_of(engine, record)
            now = engine.clock.now()
        is_over = record.ended_at is not None
        return Taken(
            f"session {record.session_id}",
            tuple(rows if bad is None else _without_gap(rows)),
            record,
            record.started_at,
            _until(record, now) if bad is None else None,
            None if is_over or bad is not None else is_running(record),
            bad,
        )

    return asyncio.run(run())


def _without_gap(rows: "Sequence[JournalRow]") -> "Iterator[JournalRow]":
    return (row for n, row in enumerate(rows, 1) if row.seq == n)


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
