"""Reads rows one by one, whoever has written them: each gives its value, or an error that names it.

Whatever is wrong with a row, it hides no other one.
Must not know: how rows are found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ..errors import RowUnreadable, SessionUnreadable
from . import tables as t
from .failures import is_no_text
from .rows import (
    bookmark_from,
    checkpoint_from,
    journal_row_from,
    session_from,
    skip_from,
    skipped_row_from,
)

__all__ = [
    "Unreadable",
    "all_rows",
    "read_all",
    "read_bookmark",
    "read_checkpoint",
    "read_session",
    "read_skip",
    "read_skipped",
    "read_step",
]

T = TypeVar("T")

Unreadable = SessionUnreadable | RowUnreadable

Accuse = Callable[[sa.RowMapping, str], Unreadable]
"""Makes the error for a row, given the class of the error that its content met."""


def _reader(
    value_from: Callable[[Mapping[str, Any]], T], accuse: Accuse
) -> Callable[[sa.RowMapping], T]:
    """Reads one kind of row. What it makes raises `SessionUnreadable` or `RowUnreadable`, whatever is wrong with a row."""

    def read(row: sa.RowMapping) -> T:
        try:
            return value_from(dict(row))
        except Exception as error:  # whatever is in the row
            raise accuse(row, type(error).__name__) from error

    return read


def _row_of(table: sa.Table, name: str, *remedy: str) -> Accuse:
    """Accuses a row by its name, in which {columns} stand for their values."""
    return lambda row, why: RowUnreadable(table.name, name.format_map(row), why, *remedy)


read_session: Final = _reader(
    session_from, lambda row, why: SessionUnreadable(str(row["session_id"]), why)
)
read_checkpoint: Final = _reader(
    checkpoint_from,
    _row_of(
        t.crawl,
        "the checkpoint of user {user_id} from {source}",
        "Repair that row, or begin at the top with: twitor checkpoint clear",
    ),
)
read_step: Final = _reader(
    journal_row_from,
    _row_of(
        t.journal,
        "step {seq} of the journal of session {session_id}",
        "Repair that row; crawls go on without it",
    ),
)
read_bookmark: Final = _reader(
    bookmark_from, _row_of(t.bookmark, "bookmark {item_id} of user {user_id} (row {id})")
)

_accuse_skip: Final = _row_of(t.skipped, "the skipped item {item_key} of crawl {crawl_id}")
read_skip: Final = _reader(skip_from, _accuse_skip)
read_skipped: Final = _reader(skipped_row_from, _accuse_skip)


def all_rows(connection: sa.Connection, found: sa.Select[Any]) -> Sequence[sa.RowMapping]:
    """All rows. A text that is no UTF-8 any more comes as bytes: SQLite's driver would give no row for its sake."""
    try:
        return connection.execute(found).mappings().all()
    except sa.exc.OperationalError as error:
        if not is_no_text(error):
            raise
    driver: Any = connection.connection.driver_connection
    before, driver.text_factory = driver.text_factory, _text_or_bytes
    try:
        return connection.execute(found).mappings().all()
    finally:
        driver.text_factory = before


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def read_all(
    rows: Iterable[sa.RowMapping], read: Callable[[sa.RowMapping], T]
) -> tuple[list[T], list[Unreadable]]:
    """All that can be read, and the others apart."""
    found: list[T] = []
    unreadable: list[Unreadable] = []
    for row in rows:
        try:
            found.append(read(row))
        except (SessionUnreadable, RowUnreadable) as error:
            unreadable.append(error)
    return found, unreadable
