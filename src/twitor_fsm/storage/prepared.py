"""Statements compiled once per dialect and run by the driver: Core's portability without its cost per execution.

A statement run through Core costs some 30 us of looking up its compiled form and of wrapping parameters and rows;
`Connection.exec_driver_sql` with the finished text costs a third of it. Values are still spelled by the column types.
Must not know: what the statements are for.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.elements import ClauseElement

from .tables import AnyText
from .text import encode

__all__ = ["Prepared"]

_ROWS_AT_ONCE: Final = 100  # rows in one INSERT; SQLite takes 32766 parameters


class Prepared:
    """One statement of two or more parameters, ready for a dialect.

    Result columns come as the driver gives them: text still has to be decoded.
    """

    __slots__ = ("_around", "_defaults", "_names", "_pick", "_processors", "sql")

    def __init__(self, statement: ClauseElement, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        if not isinstance(compiled, sa.sql.compiler.SQLCompiler):
            raise TypeError(f"not a statement with parameters: {statement}")
        self.sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._around = _around_values(self.sql, len(self._names), dialect)
        self._pick = itemgetter(*self._names)
        given = compiled.params
        self._defaults = {name: given[name] for name in self._names if given[name] is not None}
        self._processors = tuple(
            (place, process)
            for place, name in enumerate(self._names)
            if (process := _processor(compiled.binds[name], dialect)) is not None
        )

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> sa.CursorResult[Any]:
        """Run it once."""
        return connection.exec_driver_sql(self.sql, self._parameters(values))

    def run_many(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it for each row, in one call of the driver; no rows, no call."""
        parameters = [self._parameters(row) for row in rows]
        if not parameters:
            return
        if self._around is None or len(parameters) == 1:
            connection.exec_driver_sql(self.sql, parameters)
            return
        before, group, after = self._around
        for start in range(0, len(parameters), _ROWS_AT_ONCE):
            portion = parameters[start : start + _ROWS_AT_ONCE]
            text = f"{before}{', '.join([group] * len(portion))}{after}"
            connection.exec_driver_sql(text, tuple(chain.from_iterable(portion)))

    def _parameters(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        if self._defaults:
            values = {**self._defaults, **values}
        parameters = list(self._pick(values))
        for place, process in self._processors:
            value = parameters[place]
            if value is not None:
                parameters[place] = process(value)
        return tuple(parameters)


def _around_values(sql: str, count: int, dialect: sa.Dialect) -> tuple[str, str, str] | None:
    """An INSERT of the form `... VALUES (?, ?) ...` as what stands before the group, the group, and what is behind.

    SQLite's driver lets go of the interpreter's lock for every step, and with `executemany` a row is a step: beside a
    busy thread each row then waits for the lock (up to 5 ms). All rows in one statement are one step.
    """
    if dialect.name != "sqlite":
        return None
    group = f"({', '.join(['?'] * count)})"
    before, values, after = sql.partition(f"VALUES {group}")
    if not values or "?" in before or "?" in after:
        return None
    return f"{before}VALUES ", group, after


def _processor(bind: sa.BindParameter[Any], dialect: sa.Dialect) -> Callable[[Any], Any] | None:
    if isinstance(bind.type, AnyText):
        return encode  # straight: the decorator's own way costs three calls more for each value
    return bind.type.dialect_impl(dialect).bind_processor(dialect)
