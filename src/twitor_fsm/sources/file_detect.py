"""Tells by its content what a file of bookmarks is: where its elements begin, how they follow each other, which format.

Never by its name. Must not know: cursors, how elements become pages.
"""

import re
from pathlib import Path
from typing import Final

import attrs

from .csv_split import CsvSplitter, Table, table_of
from .file_elements import PIECE_BYTES, Elements, Pieces, Text
from .file_words import is_one_giant, named, seen_in_members, strange, unknown, unknown_head
from .formats import FORMATS, Format
from .formats.api_pages import ApiPages
from .formats.archive import ArchiveBookmarks, ArchiveLikes
from .formats.har import LISTING_NAME, Har
from .formats.web_exporter import WEB_EXPORTER, record_of, says_not_bookmarked
from .json_split import NotJson, Shape, Splitter, find_array, split_object

__all__ = ["Found", "recognised", "splitter_at", "start_of"]

_HEAD_BYTES: Final = 4096
_LEADING_SPACE_BYTES: Final = 1 << 20
_HAR_HEAD_BYTES: Final = 16 << 20
"""Within which the entries of a HAR begin: behind a list of the pages that were opened."""
_LONGEST_NAME: Final = 64
_LOOKED_AT: Final = 16
"""Elements at the head of a file among which an object must be, to tell the format."""

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_HAR: Final = re.compile(rb'\{\s*"log"\s*:\s*\{')
_SCRIPT: Final = re.compile(rb"window\.YTD\.(like|bookmarks?)\.part\d{1,5} ?= ?\[")


@attrs.frozen
class Found:
    """Where the elements of a text begin, and how they follow each other.

    Attributes:
        start: Byte at which the first one, or what opens them, begins.
        shape: How they follow.
        table: The head of a CSV.
        form: The format, where the beginning alone tells it.
    """

    start: int
    shape: Shape
    table: Table | None = None
    form: Format | None = None


def start_of(path: Path, text: Text) -> Found:
    """Look at the beginning of a text.

    Raises:
        UnreadableFile: It is nothing that holds bookmarks; says what it is.
    """
    text.seek(0)
    head = _read(text, _HEAD_BYTES)
    start = len(_BOM) if head.startswith(_BOM) else 0
    rest = head[start:]
    while rest and not rest.strip(_SPACE) and start < _LEADING_SPACE_BYTES:
        start += len(rest)
        rest = _read(text, _HEAD_BYTES)
    begin = rest.lstrip(_SPACE)
    start += len(rest) - len(begin)
    if not begin:
        raise unknown(path, "it is empty")
    if _HAR.match(begin):
        return _har(path, text, start)
    if begin[:1] in {b"[", b"{"} and begin[1:2] != b"\x00" and not is_one_giant(begin):
        return Found(start, Shape.ARRAY if begin[:1] == b"[" else Shape.SEQUENCE)
    script = _SCRIPT.match(begin)
    if script is not None:
        form = ArchiveLikes() if script[1] == b"like" else ArchiveBookmarks()
        return Found(start, Shape.SCRIPT, form=form)
    table = table_of(begin, start, record_of)
    if table is not None:
        return Found(start, Shape.ROWS, table=table)
    raise unknown_head(path, begin)


def _har(path: Path, text: Text, start: int) -> Found:
    """Where the entries of a HAR begin. All of it is searched for the listing's name: traffic alone is refused at once."""
    size = _HEAD_BYTES
    while True:
        text.seek(start)
        head = _read(text, size)
        try:
            found = find_array(head, "log", "entries")
        except NotJson as exc:
            raise unknown(path, f"it begins as a HAR capture and goes on as none ({exc})") from exc
        if found is not None:
            if not _holds(text, LISTING_NAME):
                raise unknown(path, Har.if_empty)
            return Found(start + found, Shape.INNER, form=Har())
        if len(head) < size or size > _HAR_HEAD_BYTES:
            raise unknown(
                path, "it begins as a HAR capture and has no entries; save it again, with content"
            )
        size *= 4


def _holds(text: Text, name: re.Pattern[bytes]) -> bool:
    """Whether a short name stands anywhere in a text."""
    text.seek(0)
    before = b""
    while piece := text.read(PIECE_BYTES):
        if name.search(before + piece):
            return True
        before = piece[-_LONGEST_NAME:]
    return False


def _read(text: Text, size: int) -> bytes:
    """So many bytes, unless the text ends before."""
    parts: list[bytes] = []
    while size > 0 and (piece := text.read(size)):
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def splitter_at(found: Found, behind: int) -> Pieces:
    """What cuts the text from here on.

    Args:
        found: How it begins.
        behind: Byte behind an element; 0 for the start.
    """
    if found.table is not None:
        return CsvSplitter(found.table, behind or found.table.begin)
    return Splitter(found.shape, behind or found.start, within=behind > 0)


def recognised(path: Path, text: Text, found: Found, *, likes: bool) -> Format:
    """The format, by the first objects of the text.

    Args:
        path: The file, for messages.
        text: Read from its beginning.
        found: How it begins.
        likes: Whether likes are wanted instead of bookmarks.

    Raises:
        UnreadableFile: None of ours, or not what is wanted.
    """
    form = found.form
    if form is None:
        objects = _first_objects(path, text, found)
        if not objects:
            return ApiPages() if found.table is None else WEB_EXPORTER  # nothing to read
        form = _form_of(path, objects[0])
        if form is WEB_EXPORTER and not likes and all(map(says_not_bookmarked, objects)):
            raise unknown(
                path,
                "it is an export of another of twitter-web-exporter's tables (likes, say): its posts are marked as "
                "not bookmarked; there choose the bookmarks table, or say --likes to store what it holds",
            )
    if form.is_likes and not likes:
        raise unknown(
            path, f"it holds likes, no bookmarks ({form.title}); to store those, say --likes"
        )
    if likes and not form.is_likes and form is not WEB_EXPORTER:
        raise unknown(path, f"it holds bookmarks, no likes ({form.title}); leave out --likes")
    return form


def _form_of(path: Path, members: dict[str, bytes]) -> Format:
    """The format of an object. Raises `UnreadableFile` if it is of none."""
    form = next((form for form in FORMATS if form.recognises(members)), None)
    if form is None or form.word == ApiPages.word:  # which takes anything with data
        seen = seen_in_members(members)
        if seen is not None:
            raise unknown(path, seen)
    if form is None:
        raise strange(path, named(members))
    return form


def _first_objects(path: Path, text: Text, found: Found) -> list[dict[str, bytes]]:
    """The objects among the first elements, taken apart; empty for a file without elements.

    Raises:
        UnreadableFile: There are elements, and none is an object.
    """
    splitter = splitter_at(found, 0)
    text.seek(splitter.position)
    elements = Elements(path, text, splitter)
    objects: list[dict[str, bytes]] = []
    for place in range(_LOOKED_AT):
        element = elements.next("Nothing was stored of it")
        if element is None and place == 0:
            return []
        if element is None:
            break
        try:
            objects.append(split_object(element))
        except NotJson:
            continue
        if objects[0].get("bookmarked") != b"false":
            break  # one object tells the format; more only tell whether any post is bookmarked
    if not objects:
        raise strange(path, "it holds JSON, but no objects")
    return objects
