"""Files that a verb may write: never a database.

Must not know: what is written.
"""

from pathlib import Path
from typing import Final

from .failures import Failure

__all__ = ["refuse_target"]

_BESIDE: Final = ("", "-wal", "-shm", "-journal")
"""SQLite's own files: the database and what stands beside it."""

_SQLITE_HEAD: Final = b"SQLite format 3\0"


def refuse_target(file: Path, database: Path | None, *, undone: str, pipe: str) -> None:
    """Refuse to replace a database, or what is no file. Raises `Failure`.

    Args:
        file: The file that is to be written.
        database: Our own one, if it is a file.
        undone: What was not done, in words.
        pipe: How a pipe is used instead.
    """
    another = f"{undone}. Name another file with -o"
    if file.is_dir():
        raise Failure(f"{file} is a folder; {another}", 2)
    if database is not None:
        own = {database.absolute().with_name(database.name + suffix) for suffix in _BESIDE}
        own |= {found.resolve() for found in own}
        if {file.absolute(), file.resolve()} & own or any(_is_same(file, one) for one in own):
            raise Failure(f"{file} is the database itself, or a part of it; {another}", 2)
    if not file.exists():
        return
    if not file.is_file():
        raise Failure(f"{file} is no regular file; {another}, or use a pipe ({pipe})", 2)
    try:
        with file.open("rb") as target:
            head = target.read(len(_SQLITE_HEAD))
    except OSError:  # it may be replaced without being readable
        return
    if head == _SQLITE_HEAD:
        raise Failure(f"{file} is an SQLite database; {another}", 2)


def _is_same(file: Path, other: Path) -> bool:
    try:
        return file.samefile(other)
    except OSError:
        return False
