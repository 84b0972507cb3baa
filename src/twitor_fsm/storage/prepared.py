"""Statements compiled once per dialect and run by the driver: Core's portability without its cost per execution.

A statement run through Core costs some 70 us of looking up its compiled form and of wrapping parameters and rows; the
finished text given to SQLite's driver costs 5. Values are still spelled by the column types.
Must not know: what the statements are for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.elements import ClauseElement

from .driver import Driver, Rows
from .tables import AnyText
from .text import encode

__all__ = ["Prepared", "PreparedRows"]

_ROWS_AT_ONCE: Final = 100  # rows in one INSERT; SQLite takes 32766 parameters


class Prepared:
    """One statement, ready for a dialect.

    Result columns come as the driver gives them: text still has to be decoded.
    """

    __slots__ = ("_defaults", "_names", "_processors", "sql")

    def __init__(self, statement: ClauseElement, dialect: sa.Dialect) -> None:
        compiled = _compiled(statement, dialect)
        self.sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        given = compiled.params
        self._defaults = {name: given[name] for name in self._names if given[name] is not None}
        self._processors = tuple(
            (place, process)
            for place, name in enumerate(self._names)
            if (process := _processor(compiled.binds[name], dialect)) is not None
        )

    def run(self, driver: Driver, values: Mapping[str, Any]) -> Rows:
        """Run it once."""
        return driver.execute(self.sql, self._parameters(values))

    def run_many(self, driver: Driver, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it for each row, in one call of the driver; no rows, no call."""
        parameters = [self._parameters(row) for row in rows]
        if parameters:
            driver.executemany(self.sql, parameters)

    def _parameters(self, values: Mapping[str, Any]) -> list[Any]:
        if self._defaults:
            values = {**self._defaults, **values}
        parameters = [values[name] for name in self._names]
        for place, process in self._processors:
            value = parameters[place]
            if value is not None:
                parameters[place] = process(value)
        return parameters


class PreparedRows:
    """One INSERT of many rows, ready for a dialect: a row is a tuple of parameters, in the order given.

    SQLite's driver lets go of the interpreter's lock for every step, and with `executemany` a row is a step: beside a
    busy thread each row then waits for the lock (up to 5 ms). There, all rows go into one statement, which is one step.
    """

    __slots__ = ("_around", "_places", "_texts", "sql")

    def __init__(
        self, statement: ClauseElement, dialect: sa.Dialect, *, row: str, shared: str = ""
    ) -> None:
        """Prepare it.

        Args:
            statement: An INSERT; for SQLite one that names each parameter once, those of a row in `VALUES (...)`.
            dialect: Whose SQL.
            row: Names of the parameters that each row has of its own, in the order of its tuples.
            shared: Names of those that all rows share, in the order of their tuple.
        """
        compiled = _compiled(statement, dialect)
        names, own, common = compiled.positiontup or [], row.split(), shared.split()
        self.sql = str(compiled)
        self._texts = tuple(
            place
            for place, name in enumerate(own)
            if isinstance(compiled.binds[name].type, AnyText)
        )
        every = (*common, *own)
        self._places = tuple(every.index(name) for name in names)
        self._around: tuple[str, str, str, tuple[int, ...], tuple[int, ...]] | None = None
        if dialect.name == "sqlite":
            group = f"({', '.join(['?'] * len(own))})"
            before, values, after = self.sql.partition(f"VALUES {group}")
            first = before.count("?")
            if not values or names[first : first + len(own)] != own:
                raise ValueError(f"the rows do not stand in one VALUES, as named: {self.sql}")
            head, tail = self._places[:first], self._places[first + len(own) :]
            self._around = (f"{before}VALUES ", group, after, head, tail)

    def run(
        self, driver: Driver, rows: Sequence[tuple[Any, ...]], shared: tuple[Any, ...] = ()
    ) -> None:
        """Insert the rows; none is no call. Shared texts are spelled by the caller."""
        if not rows:
            return
        spelled = [self._spelled(row) for row in rows]
        if self._around is None:
            driver.executemany(
                self.sql,
                [
                    [every[n] for n in self._places]
                    for row in spelled
                    for every in [(*shared, *row)]
                ],
            )
            return
        before, group, after, head, tail = self._around
        leading, trailing = [shared[n] for n in head], [shared[n] for n in tail]
        for start in range(0, len(spelled), _ROWS_AT_ONCE):
            portion = spelled[start : start + _ROWS_AT_ONCE]
            text = f"{before}{', '.join([group] * len(portion))}{after}"
            driver.execute(text, [*leading, *chain.from_iterable(portion), *trailing])

    def _spelled(self, row: tuple[Any, ...]) -> Sequence[Any]:
        values = list(row)
        for place in self._texts:
            value = values[place]
            # Nearly every text is its own spelling: that is seen here, without a call.
            if value is not None and not (
                type(value) is str and value.isascii() and "\x00" not in value
            ):
                values[place] = encode(value)
        return values


def _compiled(statement: ClauseElement, dialect: sa.Dialect) -> sa.sql.compiler.SQLCompiler:
    compiled = statement.compile(dialect=dialect)
    if not isinstance(compiled, sa.sql.compiler.SQLCompiler):
        raise TypeError(f"not a statement with parameters: {statement}")
    return compiled


def _processor(bind: sa.BindParameter[Any], dialect: sa.Dialect) -> Callable[[Any], Any] | None:
    if isinstance(bind.type, AnyText):
        return encode  # straight: the decorator's own way costs three calls more for each value
    return bind.type.dialect_impl(dialect).bind_processor(dialect)
