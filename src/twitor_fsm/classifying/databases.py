"""Database drivers, bare or inside SQLAlchemy: by SQLite's code, by SQLSTATE, else by class."""

import re
from collections.abc import Mapping
from typing import Any, Final

from ..core.taxonomy import Reason
from .case import DATABASE, FATAL, Case, Classified, Rule, always, type_name
from .system import DISK_FULL

__all__ = ["DATABASES"]

_SQLITE: Final[tuple[tuple[str, Reason], ...]] = (
    ("SQLITE_BUSY", Reason.STORE_BUSY),
    ("SQLITE_LOCKED", Reason.STORE_BUSY),
    ("SQLITE_PROTOCOL", Reason.STORE_BUSY),
    ("SQLITE_FULL", Reason.STORE_FULL),
    ("SQLITE_IOERR", Reason.STORE_IO),
    ("SQLITE_READONLY", Reason.STORE_READ_ONLY),
    ("SQLITE_PERM", Reason.STORE_READ_ONLY),
    ("SQLITE_AUTH", Reason.STORE_READ_ONLY),
    ("SQLITE_CANTOPEN", Reason.STORE_UNAVAILABLE),
    ("SQLITE_CORRUPT", Reason.STORE_CORRUPT),
    ("SQLITE_NOTADB", Reason.STORE_CORRUPT),
    ("SQLITE_CONSTRAINT", Reason.CONSTRAINT),
    ("SQLITE_MISMATCH", Reason.CONSTRAINT),
)
"""By the beginning of `sqlite_errorname`. Source: https://www.sqlite.org/rescode.html"""

_SQLSTATE: Final[tuple[tuple[str, Reason], ...]] = (
    ("22021", Reason.ENCODING),
    ("22P05", Reason.ENCODING),
    ("23", Reason.CONSTRAINT),
    ("40", Reason.STORE_BUSY),
    ("55P03", Reason.STORE_BUSY),
    ("57014", Reason.STORE_BUSY),
    ("53100", Reason.STORE_FULL),
    ("25006", Reason.STORE_READ_ONLY),
    ("42501", Reason.STORE_READ_ONLY),
    ("58", Reason.STORE_IO),
    ("XX", Reason.STORE_CORRUPT),
    ("08", Reason.STORE_UNAVAILABLE),
    ("28", Reason.STORE_UNAVAILABLE),
    ("3D000", Reason.STORE_UNAVAILABLE),
    ("53", Reason.STORE_UNAVAILABLE),
    ("57P", Reason.STORE_UNAVAILABLE),
)
"""By the beginning of the SQLSTATE. Source: PostgreSQL manual, appendix A."""

_BY_CLASS: Final[Mapping[str, Reason]] = {
    "IntegrityError": Reason.CONSTRAINT,
    "OperationalError": Reason.STORE_UNAVAILABLE,
    "InterfaceError": Reason.STORE_UNAVAILABLE,
    "InternalClientError": Reason.STORE_UNAVAILABLE,
}
"""Where the driver gives no code: the classes of PEP 249, and asyncpg's."""

_CONSTRAINT: Final = re.compile(r"[A-Z ]+ constraint failed(: [\w., ]+)?")
"""What SQLite itself says of a constraint: names of tables and columns. A trigger's text is the app's and may quote."""


def _root(error: Any) -> Any:
    """The driver's exception inside SQLAlchemy's, which it hides in `orig` and its emulated ones in `__cause__`."""
    while isinstance(orig := getattr(error, "orig", None), BaseException):
        error = orig
    if _state(error) is None and _errorname(error) is None:
        cause = error.__cause__
        if _state(cause) is not None or _errorname(cause) is not None:
            return cause
    return error


def _state(error: Any) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _errorname(error: Any) -> str | None:
    name = getattr(error, "sqlite_errorname", None)
    return name if isinstance(name, str) else None


def _database(case: Case) -> Classified:
    root = _root(case.error)
    name, state = _errorname(root), _state(root)
    if name is not None:
        said = _CONSTRAINT.fullmatch(str(root))
        what = f"{name}, {said[0]}" if said else name
        return case.found(DATABASE, _look_up(_SQLITE, name), what)
    if state is not None:
        named = getattr(root, "constraint_name", None)
        what = f"SQLSTATE {state}" + (f", constraint {named}" if named else "")
        return case.found(DATABASE, _look_up(_SQLSTATE, state), what)
    if isinstance(root, MemoryError):
        return case.found(FATAL, Reason.OUT_OF_MEMORY, "out of memory")
    if isinstance(root, OSError) and root.errno in DISK_FULL:
        return case.found(FATAL, Reason.DISK_FULL, "the disk is full")
    what = "" if root is case.error else type_name(root)
    return case.found(DATABASE, _by_class(case.error, root), what)


def _look_up(table: tuple[tuple[str, Reason], ...], code: str) -> Reason:
    return next(
        (reason for beginning, reason in table if code.startswith(beginning)),
        Reason.DATABASE_ERROR,
    )


def _by_class(error: Any, root: Any) -> Reason:
    is_lost = getattr(error, "connection_invalidated", False) is True
    if is_lost or isinstance(root, OSError):
        return Reason.STORE_UNAVAILABLE
    names = {cls.__qualname__.rpartition(".")[2] for cls in type(root).__mro__}
    if names & {"ValueError", "TypeError", "OverflowError"} or _is_binding(root):
        return Reason.ENCODING
    names |= {cls.__qualname__ for cls in type(error).__mro__}
    return next((why for name, why in _BY_CLASS.items() if name in names), Reason.DATABASE_ERROR)


def _is_binding(root: Any) -> bool:
    """sqlite3 refuses a value of an unknown type before SQLite sees it, as one of two classes."""
    return type(root).__module__ == "sqlite3" and str(root).startswith("Error binding parameter")


DATABASES: Final[Mapping[str, Rule]] = {
    "sqlalchemy.SQLAlchemyError": _database,
    "sqlalchemy.TimeoutError": always(
        DATABASE, Reason.STORE_BUSY, "no connection of the pool became free"
    ),
    "sqlalchemy.EmulatedDBAPIException": _database,
    "sqlite3.Error": _database,
    "asyncpg.PostgresError": _database,
    "asyncpg.InterfaceError": _database,
    "asyncpg.InternalClientError": _database,
    "psycopg.Error": _database,
    "psycopg2.Error": _database,
}
