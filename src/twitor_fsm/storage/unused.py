"""Removing an SQLite file that was made for nothing, so that a crawl that never began leaves no trace.

Whoever has a file in WAL mode open holds a lock on it, and its mode cannot be changed then: such a file is left alone.
Whoever opens it in the very moment in which it goes is told so by the next transaction (`SqliteFile`).
Must not know: who made the file.
"""

import contextlib
import sqlite3
from collections.abc import Collection
from pathlib import Path

__all__ = ["remove_unused"]


def remove_unused(path: Path, *, empty: Collection[str], beside: Collection[str]) -> bool:
    """Remove a database file if there is no row in it and nobody else has it open.

    Args:
        path: The file; no connection of this process may be open.
        empty: Tables that may be in it, without a row.
        beside: Tables that may be in it with rows.

    Returns:
        Whether it was removed.
    """

    def is_unused(connection: sqlite3.Connection) -> bool:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        names = {name for (name,) in found if not name.startswith("sqlite_")}
        looks = [f"SELECT 1 FROM {name} LIMIT 1" for name in empty if name in names]  # noqa: S608 - our tables' names
        return names <= {*empty, *beside} and all(
            connection.execute(look).fetchone() is None for look in looks
        )

    uri = f"{path.absolute().as_uri()}?mode=rw"
    try:
        with contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
        ) as alone:
            if not is_unused(alone):
                return False
            alone.execute("PRAGMA journal_mode=DELETE").fetchall()  # takes the log away, too
            alone.execute("BEGIN EXCLUSIVE")
            if not is_unused(alone):
                return False
            path.unlink()
    except (sqlite3.Error, OSError):
        return False  # somebody has it, or it may not be removed
    return True
