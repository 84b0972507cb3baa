"""An SQLite file: how it is made, opened, and how its transactions begin.

WAL and synchronous=FULL: a commit survives a power loss (NORMAL loses up to 197 of these transactions, measured).
BEGIN IMMEDIATE: a plain BEGIN fails with SQLITE_BUSY_SNAPSHOT when another process writes between read and write,
whatever the busy timeout.
secure_delete: else what was moved, replaced or deleted stays readable in free places, also of a user who is forgotten long
after (Debian's SQLite has it on, others have not; what it costs a crawl is lost in the noise).
Must not know: our tables, threads.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ..core.taxonomy import Reason
from ..errors import ConfigurationError, StoreUnavailable
from .driver import Driver, SqliteDriver
from .failures import no_file

__all__ = ["SqliteFile", "is_writable", "quietly"]

_MODE: Final = 0o600  # bookmarks are private; -wal and -shm take the mode of the main file
_PAUSE_S: Final = 0.01
_WAL_PAGES: Final = 4000
"""Pages of 4 KiB in the log before they are copied into the file: at SQLite's default of 1000, a page of the index that
every other commit touches is copied several times as often (a third of a crawl's time, measured)."""


class SqliteFile:
    """A database file, or a database in memory."""

    def __init__(self, url: sa.URL, *, busy_timeout_s: float, read_only: bool = False) -> None:
        """Remember where it is; nothing is opened.

        Args:
            url: Of any SQLite driver.
            busy_timeout_s: How long to wait for another program's lock, seconds.
            read_only: Open it for looking only: nothing is made, changed or locked for long.
        """
        self._read_only = read_only
        database = url.database or ":memory:"
        self.is_memory = database == ":memory:"
        self.path = None if self.is_memory else Path(database).absolute()
        self._busy_timeout_s = busy_timeout_s
        self._url = url.set(
            drivername="sqlite+pysqlite", database=None if self.path is None else str(self.path)
        )
        self._begin = "BEGIN IMMEDIATE"
        self._opened: tuple[int, int] | None = None
        self._made: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Make the file, readable for its owner only, if it is not there.

        Raises:
            ConfigurationError: Its folder does not exist, the path is a folder, or the file has several names.
            StoreUnavailable: The system does not let us.
        """
        if self.path is None:
            return
        if self.path.is_dir():
            raise ConfigurationError(
                f"{self.path} is a folder; nothing was changed. Name a file for the database"
            )
        if not self.path.parent.is_dir():
            raise ConfigurationError(
                f"the folder {self.path.parent} does not exist; nothing was changed. "
                "Create it, or name another place for the database"
            )
        try:
            if not self.path.exists():
                self._made = self._place() if _make(self.path) else None
            names = self.path.stat().st_nlink
        except OSError as exc:
            raise no_file(exc, self.path) from exc
        if names > 1:
            raise _several_names(self.path, names)

    @property
    def is_made_here(self) -> bool:
        """Whether the file under this name is the one that `prepare` has made."""
        return self._made is not None and self._place() == self._made

    def holds_tables(self, names: Iterable[str]) -> bool:
        """Whether the file has one of these tables; the file, and the folder around it, stay as they are.

        Raises:
            sqlite3.Error: It cannot be read, or is no SQLite database.
        """
        if self.path is None:
            return False
        wanted = set(names)
        with contextlib.closing(
            sqlite3.connect(_uri(self.path, quietly(self.path)), uri=True)
        ) as look:
            found = look.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return any(name in wanted for (name,) in found)

    def _looking(self) -> str:
        """How to look: as a guest who may tidy the log away, where that is allowed; else without touching anything."""
        if self.path is None or is_writable(self.path):
            return "mode=rw"
        return quietly(self.path)

    def connect(self) -> sa.Connection:
        """Open it; the journal mode is left as it is."""
        connect_args: dict[str, Any] = {
            "timeout": self._busy_timeout_s,
            "check_same_thread": False,
        }
        url = self._url
        if self._read_only and self.path is not None:
            url = url.set(database=_uri(self.path, self._looking()), query={"uri": "true"})
        try:
            engine = sa.create_engine(
                url,
                connect_args=connect_args,
                poolclass=sa.StaticPool if self.is_memory else sa.NullPool,
                hide_parameters=True,
            )
        except (sa.exc.ArgumentError, ValueError):
            raise ConfigurationError(
                "an option in the database's URL has a value that it cannot have; nothing was opened. Leave it out"
            ) from None  # the cause quotes the value
        sa.event.listen(engine, "connect", _set_up_to_look if self._read_only else _set_up)
        sa.event.listen(engine, "begin", self._on_begin)
        connection = engine.connect()
        self._opened = self._place()
        return connection

    def _place(self) -> tuple[int, int] | None:
        """Which file the path names now; None if none does."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def disconnect(self, connection: sa.Connection) -> None:
        """Close it; an open transaction is rolled back by that."""
        with contextlib.suppress(Exception):
            connection.close()
        connection.engine.dispose()

    @contextlib.contextmanager
    def writing(self, connection: sa.Connection) -> Iterator[sa.Connection]:
        """A transaction that has the write lock from its begin; committed, or rolled back when anything raises."""
        self._begin = "BEGIN IMMEDIATE"
        with connection.begin():
            yield connection
            self._check_place()

    @contextlib.contextmanager
    def reading(self, connection: sa.Connection) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database and waits for no writer."""
        self._begin = "BEGIN"
        with connection.begin():
            yield connection

    @contextlib.contextmanager
    def driving(self, connection: sa.Connection) -> Iterator[Driver]:
        """As `writing`, with the driver's own connection."""
        with _transaction(connection, "BEGIN IMMEDIATE") as driver:
            yield driver
            self._check_place()

    @contextlib.contextmanager
    def looking(self, connection: sa.Connection) -> Iterator[Driver]:
        """As `reading`, with the driver's own connection."""
        with _transaction(connection, "BEGIN") as driver:
            yield driver

    def has_begun(self, connection: sa.Connection) -> bool:
        """Whether a transaction is still open."""
        return connection.in_transaction() or _driver(connection).in_transaction

    def _check_place(self) -> None:
        """An open file outlives its name: SQLite would go on writing into one that nobody can find any more."""
        if self.path is not None and (self._opened is None or self._place() != self._opened):
            raise StoreUnavailable(
                f"the database file {self.path} was deleted or replaced while it was in use; nothing of this "
                "transaction was written. Put it back, or start anew: what it held will be crawled again",
                Reason.STORE_IO,
                retryable=False,
            )

    def use_wal(self, connection: sa.Connection) -> None:
        """Switch to write-ahead logging; the file remembers it.

        SQLite answers a collision of two such switches at once, without waiting, so that the waiting is ours.
        """
        driver = _driver(connection)
        for left in range(int(self._busy_timeout_s / _PAUSE_S), -1, -1):
            try:
                driver.execute("PRAGMA journal_mode=WAL").fetchall()
            except sqlite3.OperationalError as exc:
                if not _is_busy(exc) or left == 0:
                    raise
                threading.Event().wait(_PAUSE_S)
            else:
                return

    def empty_log(self, connection: sa.Connection) -> bool:
        """Move all of the log into the file, and cut it to nothing; False if others read or write all the while."""
        found = _driver(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return bool(found[0] == 0)

    def _on_begin(self, connection: sa.Connection) -> None:
        _driver(connection).execute(self._begin)


def _make(path: Path) -> bool:
    """Make the file; False if it was there by then: another process made it, or a link to it was there before it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE))
    except FileExistsError:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _MODE))
        return False
    return True


def _several_names(path: Path, names: int) -> ConfigurationError:
    """SQLite's log lies beside the name: writers of two names do not see each other, and spoil the file.

    Source: https://sqlite.org/howtocorrupt.html, 2.5; two crawls at once damaged an index and lost a user.
    """
    return ConfigurationError(
        f"the database file {path} has {names} names (hard links), and writers that use different ones damage it; "
        "nothing was changed. Copy it to a file of its own, or remove the other names"
    )


def is_writable(path: Path) -> bool:
    """Whether the file and its folder may be written: SQLite keeps its log beside the file."""
    file = path.resolve()
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def quietly(path: Path) -> str:
    """How a file's URI asks for a look that leaves no trace.

    A look through SQLite's own log makes `-wal` and `-shm` beside the file, so it is taken only where there is a log to
    be read: `immutable` makes nothing, but sees only the file itself.
    """
    file = path.resolve()  # of a link SQLite keeps the log where the file is
    log = file.with_name(file.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    return "mode=ro" if has_log else "mode=ro&immutable=1"


def _uri(path: Path, how: str) -> str:
    return f"{path.as_uri()}?{how}"


def _is_busy(error: sqlite3.Error) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


@contextlib.contextmanager
def _transaction(connection: sa.Connection, begin: str) -> Iterator[SqliteDriver]:
    raw = _driver(connection)
    raw.execute(begin)
    try:
        yield SqliteDriver(raw, connection.dialect)
        raw.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the first error tells why
            raw.rollback()
        raise


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"not a connection of sqlite3: {type(driver).__name__}")
    return driver


def _set_up_to_look(driver: Any, _record: object) -> None:
    driver.isolation_level = None
    driver.execute("PRAGMA query_only=ON")


def _set_up(driver: Any, _record: object) -> None:
    driver.isolation_level = None  # the driver begins nothing by itself
    driver.execute("PRAGMA synchronous=FULL")
    driver.execute("PRAGMA secure_delete=ON")
    driver.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
