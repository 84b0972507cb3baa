"""Reads a file of bookmarks in pieces, an element at a time, from its start or from a cursor.

Blocking: for a thread. Must not know: what an element holds (that is the format's), who asks.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Self

import attrs

from ..errors import CursorRefused, UnreadableFile
from .archive_zip import ArchiveText, is_zip
from .base import End, InvalidRaw, Item, Page, Usage
from .file_detect import recognised, splitter_at, start_of
from .file_elements import Elements, Text
from .file_words import shown, unknown
from .formats import FORMATS, Format
from .x_items import MAX_ITEM_BYTES

__all__ = ["FileReader"]

_ENDS_BYTES: Final = 4096

_CURSOR: Final = re.compile(
    r"1\.([0-9a-f]{16})\.([a-z]{1,20})\.([a-z_]{1,40})\.(\d{1,18})\.(\d{1,9})", re.ASCII
)


@attrs.define
class FileReader:
    """An open file and a place in it; made by `open`."""

    elements: Elements
    fingerprint: str
    stamp: tuple[int, int, int]
    format: Format
    behind: int
    """Byte behind the last element whose items were all given; 0 at the start."""
    taken: int = 0
    """Items given of the element behind that."""
    items: Iterator[Item | InvalidRaw] = iter(())
    """Those of it behind `waiting`, decoded when their turn comes: an element may hold a million."""
    waiting: Item | InvalidRaw | None = None
    """The next one to give; None when the element has no more."""
    has_given: bool = False
    """Whether there was an item at all."""
    limit: int = MAX_ITEM_BYTES
    """Bytes of a bookmark at most."""
    is_resumed: bool = False
    damage: UnreadableFile | None = None
    """What the page after the last good item raises."""

    @classmethod
    def open(
        cls,
        path: Path,
        cursor: str | None,
        *,
        likes: bool = False,
        limit: int = MAX_ITEM_BYTES,
    ) -> Self:
        """Open a file at a cursor, or at its start.

        Args:
            path: The file.
            cursor: What an earlier page named as next.
            likes: Whether it is to hold likes instead of bookmarks.
            limit: A bookmark of more bytes is invalid.

        Raises:
            OSError: It cannot be opened or read.
            CursorRefused: The cursor is about another file, or another state of it.
            UnreadableFile: It is no file, or its format is not understood.
        """
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise UnreadableFile(f"{shown(path)} is no regular file, so it cannot be resumed")
        file = path.open("rb")
        try:
            return cls._at(path, file, cursor, likes=likes, limit=limit)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _at(
        cls, path: Path, file: IO[bytes], cursor: str | None, *, likes: bool, limit: int
    ) -> Self:
        status = os.fstat(file.fileno())
        print_ = _fingerprint(file, status, likes=likes)
        word, behind, taken = _place_of(path, cursor, print_)
        text = _text_of(path, file, likes=likes)
        found = start_of(path, text)
        form = recognised(path, text, found, likes=likes) if word is None else word
        splitter = splitter_at(found, behind)
        text.seek(splitter.position)
        reader = cls(
            Elements(path, text, splitter), print_, _stamp(status), form, behind, limit=limit
        )
        reader.is_resumed = cursor is not None
        reader._skip(taken)
        return reader

    def close(self) -> None:
        """Close the file."""
        self.elements.text.close()

    def fits(self, cursor: str | None) -> bool:
        """Whether this reader stands where the cursor points, in a file that is still the same."""
        return self.cursor == cursor and _stamp(self.elements.path.stat()) == self.stamp

    @property
    def cursor(self) -> str:
        """Where the next page begins."""
        shape, word = self.elements.splitter.shape, self.format.word
        return f"1.{self.fingerprint}.{shape}.{word}.{self.behind}.{self.taken}"

    def page(self, size: int) -> Page:
        """The next items, at most `size`; fewer at the end, and before a damage, which the next page raises.

        Raises:
            OSError: It cannot be read.
            UnreadableFile: It is damaged here.
        """
        items: list[Item | InvalidRaw] = []
        while len(items) < size and self._has_items(may_raise=not items):
            items += self._take()
            self.has_given = True
        is_end = self.waiting is None and self.elements.splitter.is_ended
        return Page(
            items=tuple(items),
            next_cursor=None if is_end else self.cursor,
            end=End.VERIFIED if is_end else End.MORE,
            usage=Usage(requests=1, items=len(items)),
        )

    def _skip(self, taken: int) -> None:
        """Leave out items of the element here that an earlier page gave.

        Raises:
            CursorRefused: There are not so many.
        """
        if taken and not self._has_items(may_raise=True):
            raise _another(self.elements.path)
        for _ in range(taken):
            if not self._take():
                raise _another(self.elements.path)

    def _take(self) -> tuple[Item | InvalidRaw, ...]:
        """The waiting item, if there is one; the next one waits then."""
        taken = () if self.waiting is None else (self.waiting,)
        self.taken += len(taken)
        self.waiting = next(self.items, None)
        return taken

    def _has_items(self, *, may_raise: bool) -> bool:
        """Whether there are items to give; False at the end, and before a damage that may not be raised now."""
        try:
            if self.damage is not None:
                raise self.damage
            while self.waiting is None:
                if self.taken:
                    self.behind, self.taken = self.elements.splitter.position, 0
                element = self.elements.next(self._kept)
                if element is None:
                    self._end()
                    return False
                self.items = iter(self.format.decode(element, self.limit))
                self.waiting = next(self.items, None)
                if self.waiting is None:
                    self.behind = self.elements.splitter.position
        except UnreadableFile as exc:
            self.damage = exc
            if may_raise:
                raise
            return False
        return True

    @property
    def _kept(self) -> str:
        """What a damage leaves."""
        given = self.behind > 0 or self.taken > 0
        return "What stands before is stored and stays" if given else "Nothing was stored of it"

    def _end(self) -> None:
        """Look back at the end of the file: whether it may be that nothing was found.

        Raises:
            UnreadableFile: It may not.
        """
        is_empty = not self.is_resumed and not self.has_given
        if is_empty and self.format.if_empty is not None:
            raise unknown(self.elements.path, self.format.if_empty)


def _place_of(path: Path, cursor: str | None, print_: str) -> tuple[Format | None, int, int]:
    """What a cursor says: format, byte behind the last element, items given of the next one.

    Raises:
        CursorRefused: It is about another file, or another state of it.
    """
    if cursor is None:
        return None, 0, 0
    parts = _CURSOR.fullmatch(cursor)
    form = next((form for form in FORMATS if parts is not None and form.word == parts[3]), None)
    if parts is None or parts[1] != print_ or form is None:
        raise _another(path)
    return form, int(parts[4]), int(parts[5])


def _another(path: Path) -> CursorRefused:
    return CursorRefused(
        f"{shown(path)} is not, or no longer, the file that was being read (or it is being written)"
    )


def _text_of(path: Path, file: IO[bytes], *, likes: bool) -> Text:
    """The text of a file: itself, or what a zip holds."""
    file.seek(0)
    return ArchiveText.open(path, file, likes=likes) if is_zip(file.read(4)) else file


def _ends_of(file: IO[bytes], size: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of an open file."""
    file.seek(0)
    head = file.read(_ENDS_BYTES)
    file.seek(max(0, size - _ENDS_BYTES))
    return head, file.read(_ENDS_BYTES)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _fingerprint(file: IO[bytes], found: os.stat_result, *, likes: bool) -> str:
    """Sixteen digits that change when the file does: of its size, its time and its ends; and with what is read of it."""
    head, tail = _ends_of(file, found.st_size)
    text = b"%d\0%d\0%b\0%b" % (found.st_size, found.st_mtime_ns, head, tail)
    return hashlib.blake2b(text, digest_size=8, person=b"likes" if likes else b"").hexdigest()
