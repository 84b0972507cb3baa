"""Whether an SQLite file is another program's: it has tables, and none of ours. Looks without leaving a trace.

Must not know: what follows from it.
"""

import contextlib
import sqlite3
from pathlib import Path

from . import tables as t
from .sqlite import quietly

__all__ = ["tables_of_others"]


def tables_of_others(path: Path) -> tuple[str, ...]:
    """The tables and views of a file that has none of ours, by name; empty for one that has, or cannot be read."""
    if not path.exists():
        return ()
    try:
        uri = f"{path.absolute().as_uri()}?{quietly(path)}"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as look:
            found = look.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
            ).fetchall()
    except (sqlite3.Error, OSError):
        return ()  # what opens it says why
    names = tuple(name for (name,) in found if not name.startswith("sqlite_"))
    ours = {*t.metadata.tables, t.VERSION_TABLE}
    return () if ours.intersection(names) else names
