"""Whether an SQLite file of ours is sound, and what it holds: read from the rows, past the store that wrote them.

The file is looked at in a copy, with its logs, so that the look leaves it as a crash left it.
Must not know: the engine, the store.
"""

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from ..core.states import DEFAULT_SPEC, JournalRow, MachineSpec
from ..storage.rows import journal_row_from
from .conformance import assert_conforms

__all__ = ["Holdings", "assert_sound", "databases_in"]

_SQLITE: Final = b"SQLite format 3\x00"
_LOGS: Final = ("", "-wal", "-journal")  # -shm is made anew from -wal


@attrs.frozen
class Holdings:
    """What a database holds.

    Attributes:
        stored: (user, item id) of every bookmark, sorted; one that is there twice is here twice.
        skipped: (user, source, item key) of every skipped item, sorted.
        unfinished: Crawls (user, source) whose last session has not ended in `completed`.
    """

    stored: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str, str], ...] = ()
    unfinished: tuple[tuple[str, str], ...] = ()


def databases_in(folder: Path) -> list[Path]:
    """SQLite files in a folder."""
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_sqlite(path))


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def assert_sound(database: Path, *, spec: MachineSpec = DEFAULT_SPEC) -> Holdings:
    """Assert what holds in every file, at every moment, whatever was killed.

    Its pages and indexes are whole; nothing is stored twice; a checkpoint is never ahead of the rows: the item that it
    names is stored, and it counts no more items than there are; each journal, taken through the machine again, leads
    to the state of its session; `seen == stored + already_known + skipped`.

    Args:
        database: The file; it and its logs are left as they are.
        spec: The machine whose journals these are.

    Returns:
        What the file holds; nothing if our tables are not there yet.

    Raises:
        AssertionError: What is wrong.
    """
    with _looked_at(database) as rows:
        if rows is None:
            return Holdings()
        [(integrity,)] = rows("PRAGMA integrity_check")
        _require(integrity == "ok", f"{database} is damaged: {integrity}")
        held = _holdings(rows)
        twice = sorted(key for key, count in Counter(held.stored).items() if count > 1)
        _require(not twice, f"stored twice: {twice}")
        for crawl in rows(_CRAWLS):
            _check_checkpoint(rows, crawl)
        for session in rows(_SESSIONS):
            _check_session(rows, spec, session)
        return held


_CRAWLS: Final = "SELECT id, user_id, last_tweet_id, bookmarks_count, mark FROM twitor_crawl"
_SESSIONS: Final = "SELECT session_id, state, seq, tries, counters FROM twitor_session"


def _holdings(rows: Any) -> Holdings:
    return Holdings(
        tuple(rows("SELECT user_id, item_id FROM twitor_bookmark ORDER BY 1, 2")),
        tuple(
            rows(
                "SELECT user_id, c.source, item_key FROM twitor_skipped s JOIN twitor_crawl c ON c.id = s.crawl_id "
                "ORDER BY 1, 2, 3"
            )
        ),
        tuple(
            rows(
                "SELECT user_id, c.source FROM twitor_crawl c LEFT JOIN twitor_session s "
                "ON s.session_id = c.last_session_id WHERE s.state IS NOT 'completed' ORDER BY 1, 2"
            )
        ),
    )


def _check_checkpoint(rows: Any, row: tuple[Any, ...]) -> None:
    crawl, user, last, count, mark = row
    if last is not None:
        found = rows("SELECT 1 FROM twitor_bookmark WHERE user_id = ? AND item_id = ?", user, last)
        _require(bool(found), f"the checkpoint names {last}, which is not stored")
    [(listed,)] = rows("SELECT count(*) FROM twitor_listing WHERE crawl_id = ?", crawl)
    [(skipped,)] = rows("SELECT count(*) FROM twitor_skipped WHERE crawl_id = ?", crawl)
    _require(count <= listed, f"the checkpoint counts {count} items, {listed} are stored")
    position = json.loads(mark).get("position", 0)
    _require(
        position <= listed + skipped,
        f"the checkpoint stands at {position}, {listed} are stored and {skipped} skipped",
    )


def _check_session(rows: Any, spec: MachineSpec, row: tuple[Any, ...]) -> None:
    session, state, seq, tries, counters = row
    counts = json.loads(counters)
    _require(
        counts["seen"] == counts["stored"] + counts["already_known"] + counts["skipped"],
        f"session {session} does not add up: {counters}",
    )
    journal = [dict(zip(_JOURNAL, step, strict=True)) for step in rows(_STEPS, session)]
    value = assert_conforms(map(journal_row_from, journal), spec)
    _require(
        (value.state, value.seq, value.tries) == (state, seq, tries),
        f"session {session} is {state} (step {seq}, {tries} tries), its journal leads to {value}",
    )


_JOURNAL: Final = tuple(field.name for field in attrs.fields(JournalRow))
_COLUMNS: Final = ", ".join(f'"{name}"' for name in _JOURNAL)
_STEPS: Final = f"SELECT {_COLUMNS} FROM twitor_journal WHERE session_id = ? ORDER BY seq"  # noqa: S608 - our own names


def _require(holds: bool, message: str) -> None:  # noqa: FBT001 - an assertion that -O leaves in
    if not holds:
        raise AssertionError(message)


@contextmanager
def _looked_at(database: Path) -> Iterator[Any]:
    """A function that asks a copy of the file; None if our tables are not there."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in _LOGS:
            part = database.with_name(database.name + suffix)
            if part.exists():
                shutil.copyfile(part, Path(folder, part.name))
        with closing(sqlite3.connect(Path(folder, database.name))) as connection:
            connection.execute("PRAGMA synchronous=OFF")  # the copy need not outlive us

            def rows(statement: str, *values: object) -> list[tuple[Any, ...]]:
                return connection.execute(statement, values).fetchall()

            has_ours = rows("SELECT 1 FROM sqlite_master WHERE name = 'twitor_crawl'")
            yield rows if has_ours else None
