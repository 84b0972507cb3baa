"""Bookmarks from a local file: a listing like any other, so an import is a crawl.

The file is read in pieces, an element at a time, and never held as a whole. A cursor is the byte behind the last
element taken, with a fingerprint of the file: resuming costs nothing, and a file that changed is noticed.
Must not know: what the formats look like inside.
"""

import asyncio
import base64
import hashlib
import os
import re
from collections import deque
from pathlib import Path
from typing import IO, Final, NoReturn, Self

import attrs

from ..errors import ConfigurationError, CursorRefused, UnreadableFile
from .base import End, InvalidRaw, Item, Page, Usage
from .formats import FORMATS, Format
from .json_split import NotJson, Shape, Splitter, split_object
from .x_decode import decode_element, invalid

__all__ = ["FileBookmarks"]

PAGE_SIZE: Final = 200
"""Items of a page. More would make larger transactions without being faster."""

MAX_ELEMENT_BYTES: Final = 64 << 20
"""Of one element (a saved page, a record); it is held in memory, so a larger one is refused."""

_PIECE_BYTES: Final = 256 << 10
_LOOKED_AT: Final = 16
"""Elements at the head of a file among which an object must be, to tell the format."""
_ENDS_BYTES: Final = 4096
_CURSOR: Final = re.compile(
    r"1\.([0-9a-f]{16})\.(array|sequence)\.([a-z_]{1,40})\.(\d{1,18})\.(\d{1,9})"
)
_BOMS: Final = (
    (b"\xef\xbb\xbf", ""),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_KNOWN_HEADS: Final = (
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\x1f\x8b", "packed with gzip: unpack it first (gunzip)"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it first"),
    (b"BZh", "packed with bzip2: unpack it first"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"%PDF", "a PDF document"),
    (b"window.YTD.", "a file of X's data archive, which is not understood yet"),
    (b"<", "a web page or XML"),
)


@attrs.frozen
class _Position:
    """Where reading goes on: behind this byte, in the element there behind so many of its items."""

    shape: Shape
    format: Format
    at: int
    within: bool
    taken: int = 0


class FileBookmarks:
    """The bookmarks in a file, in its order: saved pages of the X API v2, or an export of twitter-web-exporter.

    The format is told by the content, never by the name.

    Args:
        path: The file; its ends are read at once, to name the crawl.
        page_size: Items of a page, from 1; a saved page of the API may be spread over several.

    Raises:
        ConfigurationError: The page size is below 1.
    """

    service: Final = "file"
    endpoint: Final = "bookmarks"
    page_sizes: Final[tuple[int, ...]] = ()
    price_usd: Final = 0.0

    def __init__(self, path: str | os.PathLike[str], *, page_size: int = PAGE_SIZE) -> None:
        if page_size < 1:
            raise ConfigurationError(f"page_size {page_size} is not above 0")
        self._path: Final = Path(path)
        self._page_size: Final = page_size
        self._name: Final = _name_of(self._path)
        self._reader: _Reader | None = None

    @property
    def name(self) -> str:
        """ "file:", the file's name, and eight digits that stand for its content.

        Another path to the same content is the same crawl. A file that was changed is another crawl: the listing of
        the old one says nothing about how far the new one is known, so it is walked whole (which costs nothing; what
        is stored already is not stored again).
        """
        return self._name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the file. Safe to call twice."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await asyncio.to_thread(reader.close)

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """Read the next items.

        Args:
            user_id: Whose bookmarks they are; not looked for in the file.
            cursor: Where an earlier page ended; None for the start.
            page_size: Items wanted; None for the size given to the source.

        Raises:
            CursorRefused: The file is not the one that the cursor is about.
            UnreadableFile: It cannot be opened, its format is not understood, or it is damaged here; what stands
                before the damage was given by the pages before.
        """
        size = self._page_size if page_size is None else max(1, page_size)
        reader, self._reader = self._reader, None  # a cancelled read must not be met by the next one
        page, self._reader = await asyncio.to_thread(_read_page, self._path, reader, cursor, size)
        return page

    def decode(self, raw: str) -> Item | InvalidRaw:
        """Decode one kept element again, whatever file it came from."""
        element = raw.encode("utf-8", "surrogateescape")
        try:
            members = split_object(element)
        except NotJson:
            return invalid(element, "it is no object")
        for form in FORMATS:
            if form.recognises(members):
                return form.decode_kept(raw)
        return decode_element(raw)


# -- reading, on a thread of its own --------------------------------------------------------------


def _read_page(
    path: Path, reader: "_Reader | None", cursor: str | None, size: int
) -> "tuple[Page, _Reader]":
    """One page, and the reader that stands behind it.

    Args:
        path: The file.
        reader: What an earlier page left; used if it stands where the cursor points and the file is the same.
        cursor: Where to begin.
        size: Items wanted.
    """
    try:
        if reader is not None and (reader.cursor() != cursor or reader.is_changed()):
            reader.close()
            reader = None
        if reader is None:
            reader = _Reader.open(path, cursor)
        try:
            return reader.page(size), reader
        except BaseException:
            reader.close()
            raise
    except OSError as exc:
        raise UnreadableFile(
            f"{_shown(path)} cannot be read: {exc.strerror or type(exc).__name__}; what was stored stays"
        ) from exc


@attrs.define
class _Reader:
    """An open file and a place in it."""

    path: Path
    file: IO[bytes]
    fingerprint: str
    stamp: tuple[int, int]
    splitter: Splitter
    format: Format
    behind: int
    """Byte behind the last element whose items were all given; 0 at the start."""
    taken: int = 0
    """Items given of the element that follows."""
    items: deque[Item | InvalidRaw] = attrs.field(factory=deque)
    """Those of that element not yet given."""
    is_whole: bool = False
    """Whether the last piece was read."""

    @classmethod
    def open(cls, path: Path, cursor: str | None) -> "_Reader":
        """Open a file at a cursor.

        Raises:
            OSError: It cannot be opened.
            CursorRefused, UnreadableFile: As `FileBookmarks.fetch` says.
        """
        file = path.open("rb")
        try:
            found = os.fstat(file.fileno())
            stamp = (found.st_size, found.st_mtime_ns)
            fingerprint = _fingerprint(file, found.st_size, found.st_mtime_ns)
            if cursor is None:
                start, shape = _start_of(path, file)
                splitter, form = _recognise(path, file, start, shape)
                file.seek(start)
                return cls(path, file, fingerprint, stamp, Splitter(shape, start), form, 0)
            parts = _CURSOR.fullmatch(cursor)
            forms = {form.word: form for form in FORMATS}
            if parts is None or parts[1] != fingerprint or parts[3] not in forms:
                raise CursorRefused(
                    f"{_shown(path)} is not, or no longer, the file that was being read; it is read from its start"
                )
            shape, behind, taken = Shape(parts[2]), int(parts[4]), int(parts[5])
            start = behind if behind else _start_of(path, file)[0]
            file.seek(start)
            splitter = Splitter(shape, start, within=behind > 0)
            reader = cls(path, file, fingerprint, stamp, splitter, forms[parts[3]], behind)
            reader.skip(taken)
        except BaseException:
            file.close()
            raise
        return reader

    def close(self) -> None:
        self.file.close()

    def is_changed(self) -> bool:
        """Whether the path leads to another file now, or to another state of it."""
        found = os.stat(self.path)
        return (found.st_size, found.st_mtime_ns) != self.stamp

    def cursor(self) -> str:
        """Where the next page begins."""
        return (
            f"1.{self.fingerprint}.{self.splitter.shape}.{self.format.word}.{self.behind}.{self.taken}"
        )

    def page(self, size: int) -> Page:
        """The next items, at most `size`; fewer at a damage, which the next page reports, and at the end."""
        items: list[Item | InvalidRaw] = []
        while len(items) < size:
            try:
                is_more = self._fill()
            except UnreadableFile:
                if items:
                    break
                raise
            if not is_more:
                break
            while self.items and len(items) < size:
                items.append(self.items.popleft())
                self.taken += 1
        is_end = not self.items and self.splitter.is_ended
        return Page(
            items=tuple(items),
            next_cursor=None if is_end else self.cursor(),
            end=End.VERIFIED if is_end else End.MORE,
            usage=Usage(requests=1, items=0),
        )

    def skip(self, taken: int) -> None:
        """Leave out items of the element here that an earlier page gave."""
        if taken and self._fill():
            for _ in range(min(taken, len(self.items))):
                self.items.popleft()
            self.taken = taken

    def _fill(self) -> bool:
        """Have items to give; False at the end of the file."""
        while not self.items:
            element = self._element()
            if element is None:
                return False
            if self.taken:  # the element before is used up
                self.taken = 0
            self.items.extend(self.format.decode(element))
        return True
