"""A transaction's connection as the hot statements see it: finished text and positional parameters, straight to the driver.

SQLite's is the driver's own connection; any other database's is reached through a connection of SQLAlchemy's.
Must not know: what is run, who begins and commits.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

import sqlalchemy as sa

__all__ = ["CoreDriver", "Driver", "Rows", "SqliteDriver"]


class Rows(Protocol):
    """What a statement answered."""

    def fetchone(self) -> Any:
        """The first row, or None."""
        ...

    def fetchall(self) -> Any:
        """All rows."""
        ...


class Driver(Protocol):
    """Runs statements inside a transaction that somebody else began."""

    @property
    def dialect(self) -> sa.Dialect:
        """Whose SQL it understands."""
        ...

    @property
    def execute(self) -> Callable[[str, Sequence[Any]], Rows]:
        """Runs a statement once."""
        ...

    @property
    def executemany(self) -> Callable[[str, Sequence[Sequence[Any]]], object]:
        """Runs a statement for each row of parameters."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """What is done inside is undone when it raises; the transaction stays."""
        ...


class SqliteDriver:
    """SQLite's driver itself: a statement costs some 5 us here, and 40 us through SQLAlchemy's connection."""

    __slots__ = ("dialect", "execute", "executemany")

    def __init__(self, connection: sqlite3.Connection, dialect: sa.Dialect) -> None:
        """Take a connection of `sqlite3`."""
        self.dialect = dialect
        self.execute = connection.execute
        self.executemany = connection.executemany

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """See `Driver.savepoint`."""
        self.execute("SAVEPOINT twitor")
        try:
            yield
        except BaseException:
            with suppress(
                sqlite3.Error
            ):  # the whole transaction may be gone; the first error tells why
                self.execute("ROLLBACK TO twitor")
                self.execute("RELEASE twitor")
            raise
        self.execute("RELEASE twitor")


class CoreDriver:
    """Any database through a connection of SQLAlchemy's, whatever its driver."""

    __slots__ = ("_connection", "dialect")

    def __init__(self, connection: sa.Connection) -> None:
        """Take a connection on which a transaction has begun."""
        self._connection = connection
        self.dialect = connection.dialect

    def execute(self, sql: str, parameters: Sequence[Any]) -> Rows:
        """See `Driver.execute`."""
        return self._connection.exec_driver_sql(sql, tuple(parameters))

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Driver.executemany`."""
        self._connection.exec_driver_sql(sql, [tuple(row) for row in rows])

    def savepoint(self) -> AbstractContextManager[Any]:
        """See `Driver.savepoint`."""
        return self._connection.begin_nested()
