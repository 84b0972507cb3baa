"""Bookmarks from a local file: a listing like any other, so an import is a crawl.

Must not know: how a file is cut into elements, what the formats look like inside.
"""

import asyncio
import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import Final, Self

import attrs

from ..errors import ConfigurationError, CursorRefused, UnreadableFile
from .base import End, InvalidRaw, Item, Page
from .file_reader import FileReader
from .file_words import shown
from .formats import FORMATS
from .json_split import NotJson, split_object
from .x_decode import decode_element
from .x_items import MAX_ITEM_BYTES, invalid

__all__ = ["FileBookmarks"]

PAGE_SIZE: Final = 200
"""Items of a page. More would make larger transactions without being faster."""

_MAX_PAGE_SIZE: Final = 10_000
_NAME_CHARS: Final = 150
_BLOCK_BYTES: Final = 1 << 20


class FileBookmarks:
    """The bookmarks in a file, in its order; the formats: `docs/files.md`.

    The format is told by the content, never by the name. The file is read in pieces on a thread, and never held as a
    whole. A cursor is a place in the file with a fingerprint of it, so resuming costs nothing and a file that changed
    is noticed.

    Args:
        path: The file; all of it is read when the crawl's name is asked for, and again when it has changed since.
        page_size: Items of a page, 1 to 10,000; a saved page of the API may be spread over several.
        likes: Store the likes of a file that holds some; without it, such a file is refused.
        max_item_bytes: A larger bookmark is invalid: it is skipped and kept.

    Raises:
        ConfigurationError: The page size or the limit is out of range.
    """

    service: Final = "file"
    endpoint: Final = "bookmarks"
    page_sizes: Final[tuple[int, ...]] = ()
    price_usd: Final[float | None] = 0.0

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        page_size: int = PAGE_SIZE,
        likes: bool = False,
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        if not 1 <= page_size <= _MAX_PAGE_SIZE:
            raise ConfigurationError(f"page_size {page_size} is not between 1 and {_MAX_PAGE_SIZE}")
        if max_item_bytes < 1:
            raise ConfigurationError(f"max_item_bytes {max_item_bytes} is not above 0")
        self._path: Final = Path(path)
        self._max_item_bytes: Final = max_item_bytes
        self._page_size: Final = page_size
        self._likes: Final = likes
        self._asked: _Content | None = None
        """What the name stood for when it was asked for last."""
        self._walks: Final[dict[str, _Walk]] = {}
        """By user; touched as the reader is."""
        self._lock: Final = threading.Lock()
        self._reader: FileReader | None = None  # touched on threads only, under the lock

    @property
    def name(self) -> str:
        """The word "file:", the file's name, and eight digits that stand for what it holds now.

        Another path to the same content is the same crawl. A file that was changed is another crawl: how far the
        listing of the old one was known says nothing about the new one, so it is walked whole. That costs nothing, and
        what is stored already is not stored again.
        """
        self._asked = found = _Content.of(self._path, self._asked)
        digits = "" if found is None else f"@{found.digits}"
        return f"{_name_of(self._path)}{digits}{'+likes' if self._likes else ''}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the file. Safe to call twice."""
        await asyncio.to_thread(self._close)

    def check(self) -> str:
        """Look at the head of the file: whether it is there, may be read and is understood.

        Returns:
            What it is, in words.

        Raises:
            UnreadableFile: It is not, as `fetch` would say.
        """
        try:
            reader = FileReader.open(self._path, None, likes=self._likes)
            reader.close()
            return reader.format.title
        except OSError as exc:
            raise UnreadableFile(
                f"{shown(self._path)} cannot be read: {exc.strerror or type(exc).__name__}"
            ) from exc

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
        wanted = self._page_size if page_size is None else page_size
        size = min(max(wanted, 1), _MAX_PAGE_SIZE)
        return await asyncio.to_thread(self._read, user_id, cursor, size)

    def decode(self, raw: str) -> Item | InvalidRaw:
        """Decode one kept element again, whatever file it came from."""
        element = raw.encode("utf-8", "surrogateescape")
        try:
            members = split_object(element)
        except NotJson:
            return invalid(element, "it is no object")
        for form in FORMATS:
            if form.recognises(members):
                return form.decode_kept(raw, self._max_item_bytes)
        return decode_element(raw, self._max_item_bytes)

    def _read(self, user_id: str, cursor: str | None, size: int) -> Page:
        """One page, by the reader of the page before if it stands where the cursor points."""
        with self._lock:
            walk = self._walk(user_id, cursor)
            try:
                page = self._page(walk, cursor, size)
            except OSError as exc:
                self._shut()
                raise UnreadableFile(
                    f"{shown(self._path)} cannot be read: {exc.strerror or type(exc).__name__}; what was stored stays"
                ) from exc
            except BaseException as exc:
                self._shut()
                walk.is_refused = isinstance(exc, CursorRefused)  # from the top, for the same crawl
                raise
            walk.stands_at = page.next_cursor
            return page

    def _walk(self, user_id: str, cursor: str | None) -> "_Walk":
        """The walk that asks: whoever asks for the name in the middle of it changes nothing about it."""
        walk = self._walks.get(user_id)
        if walk is None or not walk.goes_on(cursor):
            walk = self._walks[user_id] = _Walk(self._asked, cursor)
        walk.is_refused = False
        return walk

    def _page(self, walk: "_Walk", cursor: str | None, size: int) -> Page:
        if self._reader is not None and not self._reader.fits(cursor):
            self._shut()
        if self._reader is None:
            self._reader = FileReader.open(
                self._path, cursor, likes=self._likes, limit=self._max_item_bytes
            )
        page = self._reader.page(size)
        if page.end is not End.VERIFIED or walk.named is None or walk.named.begins(self._path):
            return page
        return self._without_end(walk, page, self._reader)

    def _without_end(self, walk: "_Walk", page: Page, reader: FileReader) -> Page:
        """The last page; that it is the last is not said of a file that was cut or replaced since the crawl was named.

        The end of what is there now would count as that of the listing that the name stands for.

        Raises:
            UnreadableFile: There is nothing left but to say so.
        """
        if not page.items:
            walk.stands_at = None  # it is over: who asks next does so for the name as it is then
            raise UnreadableFile(
                f"{shown(self._path)} was cut or replaced while it was read; what was read is stored and stays. Run again "
                "when it is whole"
            )
        return attrs.evolve(page, next_cursor=reader.cursor, end=End.MORE)

    def _close(self) -> None:
        with self._lock:
            self._shut()
            self._walks.clear()

    def _shut(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


@attrs.define
class _Walk:
    """One user's way through the file, which is for the name that it began with.

    Attributes:
        named: What the name stood for then; None if nobody had asked for it, or there was no file.
        stands_at: The cursor of the page to come; None when it is over.
        is_refused: Whether the last request was refused because of its cursor: the same walk begins at the top again.
    """

    named: "_Content | None"
    stands_at: str | None
    is_refused: bool = False

    def goes_on(self, cursor: str | None) -> bool:
        """Whether a request at this cursor is one of this walk, and not the first of another."""
        return self.is_refused if cursor is None else cursor == self.stands_at


@attrs.frozen
class _Content:
    """What a file's name in the books stands for: every byte, so that ids written over others make another crawl.

    Attributes:
        stamp: Size, times and inode: while they are the same, nothing is read again.
        digest: Of all bytes.
    """

    stamp: tuple[int, int, int, int]
    digest: bytes

    @classmethod
    def of(cls, path: Path, known: "_Content | None") -> "_Content | None":
        """Of a file as it is now, `known` if that is the same; None if there is none to be read."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                return None
            if known is not None and known.stamp == _stamp(found):
                return known
            return cls(_stamp(found), _digest(path, found.st_size))
        except (OSError, ValueError):
            return None

    @property
    def digits(self) -> str:
        """Eight digits."""
        return self.digest[:4].hex()

    def begins(self, path: Path) -> bool:
        """Whether the file is this one now, perhaps with something written behind it."""
        size = self.stamp[0]
        try:
            found = path.stat()
            if self.stamp == _stamp(found):
                return True
            return found.st_size >= size and _digest(path, size) == self.digest
        except (OSError, ValueError):
            return False


def _stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _digest(path: Path, upto: int) -> bytes:
    """SHA-256 of a file's first bytes; about 1 s for a gigabyte."""
    digest, left = hashlib.sha256(), upto
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
    return digest.digest()


def _name_of(path: Path) -> str:
    """The crawl's name, without digits for the content."""
    safe = "".join(c if c.isprintable() and not c.isspace() else "_" for c in path.name)
    return f"file:{safe[:_NAME_CHARS]}"
