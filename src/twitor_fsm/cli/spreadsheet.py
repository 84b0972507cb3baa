"""Bookmarks as CSV, for spreadsheet programs: a row each, and no cell that a program would run.

A text that begins with = + - @, a tab or a carriage return is a formula to a spreadsheet program, and a formula can call
programs: it gets a ' in front, which those programs take as "this is text". Source: OWASP, "CSV Injection". What a
terminal would obey (control characters) and what UTF-8 cannot hold (lone surrogates) becomes U+FFFD; all other text
is written as it is (RFC 4180). What a cell cannot hold, the raw object, is in the JSON exports alone.
Pure. Must not know: where it is written.
"""

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..storage.base import Bookmark

__all__ = ["COLUMNS", "head_row", "row_of"]

COLUMNS: Final = (
    "id", "url", "text", "author_id", "author_username", "author_name", "created_at", "kind",
    "source", "stored_at", "result",
)  # fmt: skip
"""The address is there because spreadsheet programs round long ids."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_UNFIT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def head_row() -> str:
    """The names of the columns, as a line."""
    return _line(COLUMNS)


def row_of(bookmark: "Bookmark") -> str:
    """One bookmark as a line; of several lines where its text has some."""
    stored = datetime.fromtimestamp(bookmark.stored_at, UTC).replace(tzinfo=None)
    return _line(
        _harmless(cell)
        for cell in (
            bookmark.id,
            f"https://x.com/i/status/{bookmark.id}" if bookmark.id.isdecimal() else "",
            bookmark.text,
            bookmark.author_id,
            bookmark.author_username,
            bookmark.author_name,
            bookmark.created_at,
            bookmark.kind,
            bookmark.source,
            stored.isoformat(timespec="milliseconds") + "Z",
            bookmark.result,
        )
    )


def _harmless(text: str | None) -> str:
    """A cell's text; empty for what is unknown."""
    if text is None:
        return ""
    fit = _UNFIT.sub("\ufffd", text)
    return f"'{fit}" if fit.startswith(_FORMULA) else fit


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
