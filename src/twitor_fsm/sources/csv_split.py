"""Cuts CSV into rows and gives each as the JSON text of a record, so that a CSV is read like any other file.

Works on text of any size in pieces; positions are bytes, so a text can be entered behind any row. Taking a row apart is
the csv module's; finding its end in a stream is ours, since that module wants whole lines and gives no positions.
Must not know: what the columns mean (that is a format's), files.
"""

import csv
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from .json_split import NotJson, Shape

__all__ = ["CsvSplitter", "Table", "table_of"]

_DELIMITERS: Final = (",", ";", "\t")
"""As exported; a spreadsheet program writes the others, by its language."""


@attrs.frozen(kw_only=True)
class Table:
    """The head of a CSV.

    Attributes:
        columns: Their names.
        delimiter: What stands between fields.
        begin: Byte at which the first row begins.
        record_of: Turns a row's texts, by column, into a record.
    """

    columns: tuple[str, ...]
    delimiter: str
    begin: int
    record_of: Callable[[Mapping[str, str]], Mapping[str, Any]]


def table_of(
    head: bytes, start: int, record_of: Callable[[Mapping[str, str]], Mapping[str, Any]]
) -> Table | None:
    """Read the head of a CSV.

    Args:
        head: The beginning of the text, from `start`.
        start: Byte at which it begins.
        record_of: See `Table`.

    Returns:
        The table; None if the text does not begin with the line of an `id` and a `full_text` column.
    """
    line, newline, _ = head.partition(b"\n")
    if not newline:
        return None
    for delimiter in _DELIMITERS:
        names = tuple(name.strip() for name in _fields(line, delimiter) or ())
        if {"id", "full_text"} <= set(names) and len(set(names)) == len(names):
            begin = start + len(line) + 1
            return Table(columns=names, delimiter=delimiter, begin=begin, record_of=record_of)
    return None


@attrs.define
class CsvSplitter:
    """Takes text in pieces, gives records; used as `Splitter` is.

    Args:
        table: The head of the file.
        at: Byte of the text at which the first piece begins: behind the head, or behind a row.
    """

    table: Table
    at: int
    shape: Shape = Shape.ROWS
    is_ended: bool = attrs.field(default=False, init=False)
    _text: bytes = attrs.field(default=b"", init=False)
    _is_last: bool = attrs.field(default=False, init=False)
    _next: int = attrs.field(default=0, init=False)
    _scanned: int = attrs.field(default=0, init=False)
    _quotes: int = attrs.field(default=0, init=False)

    @property
    def position(self) -> int:
        """Byte of the text behind the last row taken."""
        return self.at + self._next

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were fed and not yet taken."""
        return len(self._text) - self._next

    def feed(self, piece: bytes, *, is_last: bool = False) -> None:
        """Give the next piece of the text."""
        rest = self._text[self._next :]
        self._text = rest + piece if rest else piece
        self.at += self._next
        self._scanned -= self._next
        self._next = 0
        self._is_last = is_last

    def take(self) -> bytes | None:
        """The next row's record; None when another piece is needed, or at the end.

        Raises:
            NotJson: The text ends within quotes.
        """
        while not self.is_ended:
            end = self._end_of_row()
            if end is None:
                return None
            row = self._text[self._next : end].rstrip(b"\r\n")
            self._next = self._scanned = end
            self._quotes = 0
            self.is_ended = self._is_last and end == len(self._text)
            fields = _fields(row, self.table.delimiter)
            if fields is None or any(fields):
                return self._record(row, fields)
        return None

    def _end_of_row(self) -> int | None:
        """Index behind the next row: a line's end with an even number of quotes before it."""
        while True:
            found = self._text.find(b"\n", self._scanned)
            stop = len(self._text) if found < 0 else found + 1
            self._quotes += self._text.count(b'"', self._scanned, stop)
            self._scanned = stop
            if found >= 0 and self._quotes % 2 == 0:
                return stop
            if found >= 0:
                continue
            if not self._is_last:
                return None
            if self._quotes % 2:
                raise NotJson(self.at + stop, "the text ends in the middle of a quoted field")
            return stop

    def _record(self, row: bytes, fields: list[str] | None) -> bytes:
        """A row as the JSON text of its record; of one with too few or too many fields, the list of them."""
        columns = self.table.columns
        if fields is None:
            value: Any = [row.decode("utf-8", "surrogateescape")]
        elif len(fields) == len(columns):
            value = self.table.record_of(dict(zip(columns, fields, strict=True)))
        else:
            value = fields
        text = json.dumps(value, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace")  # half a character becomes JSON's escape


def _fields(row: bytes, delimiter: str) -> list[str] | None:
    """The fields of one row; None if it is no UTF-8, or a field has more than 131,072 characters."""
    try:
        rows = list(csv.reader([row.decode()], delimiter=delimiter))
    except (csv.Error, UnicodeDecodeError):
        return None
    return [field for fields in rows for field in fields]
