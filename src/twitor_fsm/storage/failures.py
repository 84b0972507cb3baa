"""Errors of databases and drivers, translated at the edge: what happened, what state the data is in, what to do next.

No message holds a bound value: drivers quote them in theirs, so only error names and constraint names are passed on.
Must not know: statements, what was being written.
"""

import errno
import socket
import sqlite3
from typing import Final

import attrs
import sqlalchemy.exc as sa_exc

from ..core.taxonomy import Reason
from ..errors import StoreError, StoreUnavailable

__all__ = [
    "Refusal",
    "is_broken",
    "is_no_text",
    "no_file",
    "read_only_file",
    "refusal",
    "root_of",
    "translate",
]

_KEPT: Final = "what was committed before stands, nothing of this transaction was written"
_UNSURE: Final = "what was committed before stands; ask the session's revision whether this transaction was written"

_NO_TEXT: Final = "Could not decode to UTF-8"
"""How Python's driver, without a code of SQLite's, tells of a text that is none. Source: CPython, Modules/_sqlite/cursor.c."""

_POOLER: Final = (
    "Behind a pooler of transactions, add to the database's URL: statement_cache_size=0"
)

_BAD_OPTION: Final = (
    "an option in the database's URL (sslmode, say) has a value that it cannot have, or names files that are not there; "
    "nothing of this transaction was written. Correct it"
)

_UNREACHABLE: Final = (
    "the database server does not answer; nothing of this transaction was written. "
    "Check the host and port (or socket) of its URL, and that it runs"
)

_SQLITE: Final[tuple[tuple[str, Reason, bool, str], ...]] = (
    ("SQLITE_BUSY", Reason.STORE_BUSY, True,
     "another program holds the database's lock; {kept}. Try again"),
    ("SQLITE_LOCKED", Reason.STORE_BUSY, True,
     "another connection holds the table's lock; {kept}. Try again"),
    ("SQLITE_PROTOCOL", Reason.STORE_BUSY, True,
     "too many programs opened the database at once; {kept}. Try again"),
    ("SQLITE_FULL", Reason.STORE_FULL, False,
     "the disk, or the size that the database may have, is full; {kept}. Free space and run again"),
    ("SQLITE_IOERR", Reason.STORE_IO, False,
     "reading or writing the database's file failed; {kept}. Check the disk and run again"),
    ("SQLITE_READONLY", Reason.STORE_READ_ONLY, False,
     "the database is read-only; {kept}. Allow writing to the file and its folder and run again"),
    ("SQLITE_PERM", Reason.STORE_READ_ONLY, False,
     "the database's file may not be accessed; {kept}. Correct its permissions and run again"),
    ("SQLITE_AUTH", Reason.STORE_READ_ONLY, False,
     "access to the database is not authorized; {kept}. Allow it and run again"),
    ("SQLITE_CANTOPEN", Reason.STORE_UNAVAILABLE, True,
     "the database's file cannot be opened; {kept}. Check that it and its folder are there and may be written"),
    ("SQLITE_CORRUPT", Reason.STORE_CORRUPT, False,
     "the database's file is damaged; it was left as it is. Keep a copy, then try: sqlite3 FILE .recover"),
    ("SQLITE_NOTADB", Reason.STORE_CORRUPT, False,
     "the file is not an SQLite database, or its header is damaged; it was left as it is. Name another file"),
)  # fmt: skip
"""By the beginning of `sqlite_errorname`. Source: https://www.sqlite.org/rescode.html"""

_POSTGRES: Final[tuple[tuple[str, Reason, bool, str], ...]] = (
    ("40", Reason.STORE_BUSY, True, "the transaction collided with another; {kept}. Try again"),
    ("55P03", Reason.STORE_BUSY, True, "a lock was not to be had in time; {kept}. Try again"),
    ("57014", Reason.STORE_BUSY, True, "the statement took too long; {kept}. Try again"),
    ("53100", Reason.STORE_FULL, False, "the database's disk is full; {kept}. Free space and run again"),
    ("53", Reason.STORE_UNAVAILABLE, True, "the database server lacks resources; {kept}. Try again"),
    ("25006", Reason.STORE_READ_ONLY, False, "the database is read-only; {kept}. Connect to its primary"),
    ("25P03", Reason.STORE_UNAVAILABLE, True, "the transaction stood still for too long; {kept}. Try again"),
    ("0A000", Reason.STORE_BUSY, True, "the database cannot do this now, perhaps since its schema was changed; {kept}. Try again"),
    ("26000", Reason.STORE_UNAVAILABLE, False, "the connection changed hands; {kept}. {pooler}"),
    ("42P05", Reason.STORE_UNAVAILABLE, False, "the connection changed hands; {kept}. {pooler}"),
    ("3F", Reason.STORE_UNAVAILABLE, False, "the role's search_path names no schema that is there; {kept}. Create it or set another"),
    ("42P01", Reason.STORE_UNAVAILABLE, False, "a table is missing; {kept}. See what the schema is with: twitor db current"),
    ("42703", Reason.STORE_UNAVAILABLE, False, "a column is missing; {kept}. See what the schema is with: twitor db current"),
    ("42501", Reason.STORE_READ_ONLY, False, "the role may not do this; {kept}. Grant it the rights and run again"),
    ("58", Reason.STORE_IO, False, "the database server met a system error; {kept}. See its log"),
    ("XX", Reason.STORE_CORRUPT, False, "the database server met an internal error; {kept}. See its log"),
    ("28", Reason.STORE_UNAVAILABLE, False, "the database refuses the login; {kept}. Correct the URL's user and password"),
    ("3D000", Reason.STORE_UNAVAILABLE, False, "there is no database of this name; {kept}. Create it or correct the URL"),
    ("57P", Reason.STORE_UNAVAILABLE, True, "the database server is going down or starting; {unsure}. Try again"),
    ("08", Reason.STORE_UNAVAILABLE, True, "the connection to the database was lost; {unsure}. Try again"),
)  # fmt: skip
"""By the beginning of the SQLSTATE. Source: PostgreSQL manual, appendix A."""

_REFUSING_STATES: Final = ("22", "23", "54")  # data exception, constraint violation, limit exceeded
_ENCODING_STATES: Final = ("22021", "22P05")


@attrs.frozen
class Refusal:
    """Why a database refuses a row: a finer kind, and words without the row's content."""

    reason: Reason
    message: str


def root_of(error: BaseException) -> BaseException:
    """The driver's own exception behind SQLAlchemy's wrappers."""
    while isinstance(error, sa_exc.StatementError) and error.orig is not None:
        error = error.orig
    cause = error.__cause__
    if _state(error) is None and cause is not None and _state(cause) is not None:
        return cause
    return error


def translate(error: BaseException, *, remote: bool = False) -> StoreError | None:
    """Our exception for one that came out of a transaction.

    Args:
        error: What was raised.
        remote: Whether the database is reached through a network, so that an OSError is its failure.

    Returns:
        None for what is no database's error: our own exceptions, cancellation, bugs.
    """
    if isinstance(error, StoreError):
        return None
    root = root_of(error)
    if isinstance(root, sqlite3.Error):
        return _of_sqlite(root)
    state = _state(root)
    if state is not None:
        return _look_up(_POSTGRES, state) or _other(f"SQLSTATE {state}")
    if type(root.__cause__).__name__ == "ClientConfigurationError":  # of asyncpg
        return StoreUnavailable(_BAD_OPTION, retryable=False)
    if remote and _is_unreachable(error):
        return StoreUnavailable(_UNREACHABLE)
    if isinstance(error, sa_exc.TimeoutError) or (remote and isinstance(error, OSError)):
        return _lost()
    if isinstance(error, sa_exc.DBAPIError):
        is_lost = error.connection_invalidated or isinstance(
            error, (sa_exc.InterfaceError, sa_exc.OperationalError)
        )
        return _lost() if is_lost else _other(type(root).__name__)
    if isinstance(error, sa_exc.StatementError):
        return _other(type(root).__name__)
    return None


def is_no_text(error: BaseException) -> bool:
    """Whether SQLite's driver met a text that is no UTF-8, so that it gave none of the rows."""
    return str(root_of(error)).startswith(_NO_TEXT)


def is_broken(error: BaseException) -> bool:
    """Whether the connection that raised it had better be opened anew."""
    found = translate(error)
    return isinstance(found, StoreUnavailable) and found.reason is not Reason.STORE_BUSY


def refusal(error: BaseException) -> Refusal | None:
    """Why a row was refused; None if the error says nothing about the row."""
    root = root_of(error)
    if isinstance(root, sqlite3.IntegrityError):
        return Refusal(Reason.CONSTRAINT, _sqlite_constraint(root))
    if isinstance(root, sqlite3.DataError):
        return Refusal(Reason.DATABASE_ERROR, f"the database refuses the item: {_name(root)}")
    if isinstance(root, (sqlite3.InterfaceError, sqlite3.ProgrammingError)):
        return Refusal(Reason.ENCODING, "the database cannot keep a value of this type")
    state = _state(root)
    if state is not None and state.startswith(_REFUSING_STATES):
        constraint = getattr(root, "constraint_name", None)
        named = f" (constraint {constraint})" if constraint else ""
        return Refusal(_reason(state), f"the database refuses the item: SQLSTATE {state}{named}")
    if isinstance(root, (UnicodeError, OverflowError, TypeError, ValueError)):
        return Refusal(
            Reason.ENCODING, f"the database cannot keep a value of the item: {type(root).__name__}"
        )
    return None


def _reason(state: str) -> Reason:
    if state.startswith("23"):
        return Reason.CONSTRAINT
    return Reason.ENCODING if state in _ENCODING_STATES else Reason.DATABASE_ERROR


def _sqlite_constraint(error: sqlite3.IntegrityError) -> str:
    """SQLite names the constraint or column; a trigger's text is the app's own and may quote the item."""
    name = _name(error)
    told = "" if name == "SQLITE_CONSTRAINT_TRIGGER" else f" ({error})"
    return f"the database refuses the item: {name}{told}"


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def _state(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def no_file(error: OSError, path: object) -> StoreUnavailable:
    """The database's file could not be made."""
    if isinstance(error, PermissionError):
        reason, code = Reason.STORE_READ_ONLY, "SQLITE_PERM"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
        reason, code = Reason.STORE_FULL, "SQLITE_FULL"
    else:
        reason, code = Reason.STORE_UNAVAILABLE, "SQLITE_CANTOPEN"
    return StoreUnavailable(
        f"the file {path} cannot be made: {error.strerror}; nothing was changed. "
        f"Allow it, or name another place for the database ({code})",
        reason,
        retryable=False,
    )


def read_only_file(path: object) -> StoreUnavailable:
    """The database's file, or the folder around it, may not be written."""
    return StoreUnavailable(
        f"the database {path} is read-only; nothing was changed. Allow writing to the file and its folder, or copy it",
        Reason.STORE_READ_ONLY,
        retryable=False,
    )


def _is_unreachable(error: BaseException) -> bool:
    """Whether no connection came about, so that nothing can have been written.

    asyncio raises an OSError without a number when several addresses of a host failed.
    """
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError, socket.gaierror)):
        return True  # no file: there is no socket of that name
    return isinstance(error, OSError) and (
        error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}
        or (error.errno is None and str(error).startswith("Multiple exceptions"))
    )


def _of_sqlite(error: sqlite3.Error) -> StoreError:
    name = _name(error)
    if str(error).startswith(_NO_TEXT):
        name = "SQLITE_CORRUPT"
    return _look_up(_SQLITE, name) or _other(name)


def _look_up(table: tuple[tuple[str, Reason, bool, str], ...], code: str) -> StoreError | None:
    for beginning, reason, retryable, message in table:
        if code.startswith(beginning):
            said = message.format(kept=_KEPT, unsure=_UNSURE, pooler=_POOLER)
            return StoreUnavailable(f"{said} ({code})", reason, retryable)
    return None


def _lost() -> StoreUnavailable:
    return StoreUnavailable(f"the database cannot be reached; {_UNSURE}. Try again")


def _other(what: str) -> StoreError:
    if what == "SQLITE_ERROR":  # a missing table, say: nothing that waiting would heal
        message = f"the database does not understand us ({what}); {_KEPT}. Was its schema changed by hand?"
        return StoreUnavailable(message, Reason.STORE_UNAVAILABLE, retryable=False)
    return StoreError(
        f"the database refused a row that holds no item ({what}); {_KEPT}. This is a bug, please report it"
    )
