"""`twitor export`: every stored bookmark as JSON or CSV, streamed."""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..database import database_of, file_of, opened, refuse_unknown_user
from ..failures import Failure
from ..options import common, user_id
from ..targets import refuse_target
from ..terminal import emit, json_text, safe_json, say, write_json
from ..words import count

if TYPE_CHECKING:
    from ...errors import RowUnreadable
    from ...storage.base import Bookmark

SECTION = "Look"

Write = Callable[[str], object]

_PORTION: Final = 200
"""Bookmarks written at a time."""


@click.command(short_help="Every stored bookmark as JSONL, JSON or CSV.")
@common
@click.option(
    "--format",
    "shape",
    type=click.Choice(["jsonl", "json", "csv"]),
    help="One object a line, one array, or rows for a spreadsheet.  [default: as FILE is called; else jsonl]",
)
@user_id("Only this user's bookmarks.")
@click.option("-o", "--output", metavar="FILE", help="Write a file instead of stdout; - is stdout.")
def command(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    shape: str | None,
    user_id: str | None,
    output: str | None,
) -> int:
    """Write every stored bookmark, in the order in which they were stored.

    An object has id, text, author_id, author_username, author_name, created_at, kind, source,
    stored_at, result, raw (the source's own object); `twitor crawl FILE` reads it back. Only the raw
    object holds everything; CSV leaves it out, and has an address of the post instead. There, a text
    that a spreadsheet program would run as a formula has a ' in front.

    A FILE is replaced whole at the end, and readable for you alone. With --json, a FILE and the
    number of bookmarks are told on stdout as one JSON object.
    """
    to_file = output is not None and output != "-"
    suffix = Path(str(output)).suffix.lower() if to_file else ""
    shape = shape or {".csv": "csv", ".json": "json"}.get(suffix, "jsonl")
    if as_json and not to_file:
        if shape == "csv":
            raise Failure(
                "--json writes JSON, not CSV, to stdout; nothing was exported. Leave it out, or name -o FILE",
                2,
            )
        shape, as_json = "json", False
    number, bad = asyncio.run(_export(db, user_id, shape, Path(str(output)) if to_file else None))
    if bad is not None:
        raise Failure(f"{bad}. {count(number, 'other bookmark')} exported", 14) from bad
    if as_json:
        emit({"output": output, "format": shape, "bookmarks": number})
    else:
        say(
            f"exported {count(number, 'bookmark')}" + (f" to {output} ({shape})" if to_file else "")
        )
    return 0


async def _export(
    db: str | None, user_id: str | None, shape: str, file: Path | None
) -> "tuple[int, RowUnreadable | None]":
    """Export all; how many there were, and what is wrong with one that could not be read."""
    if file is not None:
        from ...config import get_settings

        own = file_of(database_of(db, get_settings()))
        refuse_target(file, own, undone="nothing was exported", pipe="twitor export |")
    async with opened(db, look=True) as engine:
        if user_id is not None:
            await refuse_unknown_user(engine, user_id)
        with _writer(file) as write:
            return await _write_all(engine.bookmarks(user_id), shape, write)


async def _write_all(
    bookmarks: Any, shape: str, write: Write
) -> "tuple[int, RowUnreadable | None]":
    """Write all in portions. Returns how many there were, and the error at the end, if one cannot be read."""
    from ...errors import RowUnreadable

    begin, between, end, text_of = _written_as(shape)
    number, waiting, bad = 0, [begin], None
    try:
        async for bookmark in bookmarks:
            waiting.append((between if number else "") + text_of(bookmark))
            number += 1
            if len(waiting) >= _PORTION:
                write("".join(waiting))
                waiting.clear()
    except RowUnreadable as error:  # after all others
        bad = error
    write("".join([*waiting, end]))
    return number, bad


def _written_as(shape: str) -> tuple[str, str, str, Callable[["Bookmark"], str]]:
    """What stands before, between and behind the bookmarks, and what writes one."""
    if shape == "json":
        return "[\n", ",\n", "\n]\n", line_of
    if shape == "jsonl":
        return "", "", "", lambda bookmark: line_of(bookmark) + "\n"
    from ..spreadsheet import head_row, row_of

    return head_row(), "", "", row_of


def line_of(bookmark: "Bookmark") -> str:
    """One bookmark as one line of JSON.

    What the source gave is passed on letter by letter, so that no number is rounded and no key lost.
    """
    head = json_text(
        {
            "id": bookmark.id,
            "text": bookmark.text,
            "author_id": bookmark.author_id,
            "author_username": bookmark.author_username,
            "author_name": bookmark.author_name,
            "created_at": bookmark.created_at,
            "kind": bookmark.kind,
            "source": bookmark.source,
            "stored_at": bookmark.stored_at,
        }
    )
    result, raw = _verbatim(bookmark.result), _verbatim(bookmark.raw)
    return f'{head[:-1]}, "result": {result}, "raw": {raw}}}'


def _verbatim(text: str | None) -> str:
    """JSON text as it is, on one line; as a string if it is none."""
    if text is None:
        return "null"
    try:
        json.loads(text, parse_float=str, parse_int=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return json_text(text)
    return safe_json(text.replace("\r", " ").replace("\n", " "))


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


@contextmanager
def _writer(file: Path | None) -> Iterator[Write]:
    """Where to write; a file appears under its name when it is whole."""
    if file is None:
        yield write_json
        return
    try:  # a name of its own: nobody's file is written over
        descriptor, name = tempfile.mkstemp(".part", f".{file.name[:100]}.", file.parent)
    except OSError as exc:
        raise Failure(
            f"{file} cannot be written ({exc.strerror}); nothing was exported. "
            "Name another file with -o",
            2,
        ) from exc
    part = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 - a descriptor
            yield stream.write
            stream.flush()
            os.fsync(descriptor)
        part.replace(file)
    except OSError as exc:
        raise Failure(
            f"{file} could not be written ({exc.strerror}); it was left as it was before", 1
        ) from exc
    finally:
        part.unlink(missing_ok=True)
