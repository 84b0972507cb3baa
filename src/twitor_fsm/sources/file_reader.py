"""Reads a file of bookmarks in pieces, an element at a time, from its start or from a cursor.

Blocking: for a thread. Must not know: what an element holds (that is the format's), who asks.
"""

import hashlib
import os
import re
import stat
from collections import deque
from pathlib import Path
from typing import IO, Final, Self

import attrs

from ..errors import CursorRefused, UnreadableFile
from .base import End, InvalidRaw, Item, Page, Usage
from .formats import FORMATS, Format
from .json_split import NotJson, Shape, Splitter, split_object

__all__ = ["MAX_ELEMENT_BYTES", "FileReader", "ends_of", "shown"]

MAX_ELEMENT_BYTES: Final = 64 << 20
"""Of one element (a saved page, a record): it is held in memory, so a larger one is refused."""

_PIECE_BYTES: Final = 256 << 10
_ENDS_BYTES: Final = 4096
_LEADING_SPACE_BYTES: Final = 1 << 20
_LOOKED_AT: Final = 16
"""Elements at the head of a file among which an object must be, to tell the format."""
_NAMES_SHOWN: Final = 8

_CURSOR: Final = re.compile(
    r"1\.([0-9a-f]{16})\.(array|sequence)\.([a-z_]{1,40})\.(\d{1,18})\.(\d{1,9})", re.ASCII
)
_DEXIE: Final = re.compile(rb'\{\s*"formatName"\s*:\s*"dexie"')
_CSV: Final = re.compile(rb'"?id"?\s*[,;]')
_HEADS: Final = (
    (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    (b"\x1f\x8b", "it is packed with gzip; unpack it first (gunzip)"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd; unpack it first"),
    (b"BZh", "it is packed with bzip2; unpack it first"),
    (b"\xfd7zXZ\x00", "it is packed with xz; unpack it first"),
    (b"SQLite format 3\x00", "it is an SQLite database"),
    (b"%PDF", "it is a PDF document"),
    (b"\xff\xfe", "it is UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16 text; save it as UTF-8"),
    (b"window.YTD.", "it is a file of X's data archive, which is not understood yet"),
    (b"<", "it is a web page or XML"),
)
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"


@attrs.define
class FileReader:
    """An open file and a place in it; made by `open`."""

    path: Path
    file: IO[bytes]
    fingerprint: str
    stamp: tuple[int, int, int]
    splitter: Splitter
    format: Format
    behind: int
    """Byte behind the last element whose items were all given; 0 at the start."""
    taken: int = 0
    """Items given of the element behind that."""
    items: deque[Item | InvalidRaw] = attrs.field(factory=deque)
    """Those of it that were not yet given."""
    damage: UnreadableFile | None = None
    """What the page after the last good item raises."""

    @classmethod
    def open(cls, path: Path, cursor: str | None) -> Self:
        """Open a file at a cursor, or at its start.

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
            return cls._at(path, file, cursor)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _at(cls, path: Path, file: IO[bytes], cursor: str | None) -> Self:
        found = os.fstat(file.fileno())
        print_ = _fingerprint(file, found)
        if cursor is None:
            start, shape = _start_of(path, file)
            form = _recognise(path, file, start, shape)
            file.seek(start)
            return cls(path, file, print_, _stamp(found), Splitter(shape, start), form, 0)
        parts = _CURSOR.fullmatch(cursor)
        form_by_word = {form.word: form for form in FORMATS}
        if parts is None or parts[1] != print_ or parts[3] not in form_by_word:
            raise CursorRefused(
                f"{shown(path)} is not, or no longer, the file that was being read; it is read from its start"
            )
        behind = int(parts[4])
        start = behind or _start_of(path, file)[0]
        file.seek(start)
        splitter = Splitter(Shape(parts[2]), start, within=behind > 0)
        reader = cls(path, file, print_, _stamp(found), splitter, form_by_word[parts[3]], behind)
        reader._skip(int(parts[5]))
        return reader

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def fits(self, cursor: str | None) -> bool:
        """Whether this reader stands where the cursor points, in a file that is still the same."""
        return self.cursor == cursor and _stamp(self.path.stat()) == self.stamp

    @property
    def cursor(self) -> str:
        """Where the next page begins."""
        shape, word = self.splitter.shape, self.format.word
        return f"1.{self.fingerprint}.{shape}.{word}.{self.behind}.{self.taken}"

    def page(self, size: int) -> Page:
        """The next items, at most `size`; fewer at the end, and before a damage, which the next page raises.

        Raises:
            OSError: It cannot be read.
            UnreadableFile: It is damaged here.
        """
        items: list[Item | InvalidRaw] = []
        while len(items) < size and self._has_items(may_raise=not items):
            items.append(self.items.popleft())
            self.taken += 1
        is_end = not self.items and self.splitter.is_ended
        return Page(
            items=tuple(items),
            next_cursor=None if is_end else self.cursor,
            end=End.VERIFIED if is_end else End.MORE,
            usage=Usage(requests=1, items=len(items)),
        )

    def _skip(self, taken: int) -> None:
        """Leave out items of the element here that an earlier page gave."""
        if taken and self._has_items(may_raise=True):
            for _ in range(min(taken, len(self.items))):
                self.items.popleft()
            self.taken = taken

    def _has_items(self, *, may_raise: bool) -> bool:
        """Whether there are items to give; False at the end, and before a damage that may not be raised now."""
        try:
            if self.damage is not None:
                raise self.damage
            while not self.items:
                if self.taken:
                    self.behind, self.taken = self.splitter.position, 0
                element = self.next_element()
                if element is None:
                    return False
                self.items.extend(self.format.decode(element))
                if not self.items:
                    self.behind = self.splitter.position
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

    def next_element(self) -> bytes | None:
        """The next element; None at the end.

        Raises:
            UnreadableFile: The file is damaged here, or the element too large.
        """
        splitter = self.splitter
        while True:
            try:
                element = splitter.take()
            except NotJson as exc:
                raise UnreadableFile(
                    f"{shown(self.path)} is damaged: {exc}. {self._kept}; get a whole file and run again"
                ) from exc
            if element is not None or splitter.is_ended:
                return element
            if splitter.waiting_bytes > MAX_ELEMENT_BYTES:
                raise UnreadableFile(
                    f"{shown(self.path)} has an element of more than {MAX_ELEMENT_BYTES} bytes at byte "
                    f"{splitter.position}, which is no page and no record. {self._kept}"
                )
            piece = self.file.read(max(_PIECE_BYTES, splitter.waiting_bytes))
            splitter.feed(piece, is_last=not piece)


def shown(path: Path) -> str:
    """A path for a message: printable, in quotes."""
    return "'" + "".join(c if c.isprintable() else "?" for c in str(path)) + "'"


def ends_of(file: IO[bytes], size: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of an open file."""
    file.seek(0)
    head = file.read(_ENDS_BYTES)
    file.seek(max(0, size - _ENDS_BYTES))
    return head, file.read(_ENDS_BYTES)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _fingerprint(file: IO[bytes], found: os.stat_result) -> str:
    """Sixteen digits that change when the file does: of its size, its time and its ends."""
    head, tail = ends_of(file, found.st_size)
    text = b"%d\0%d\0%b\0%b" % (found.st_size, found.st_mtime_ns, head, tail)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _start_of(path: Path, file: IO[bytes]) -> tuple[int, Shape]:
    """Byte at which the JSON text begins, and how its elements follow each other.

    Raises:
        UnreadableFile: It is no JSON text of objects.
    """
    file.seek(0)
    head = file.read(_ENDS_BYTES)
    start = len(_BOM) if head.startswith(_BOM) else 0
    rest = head[start:]
    while rest and not rest.strip(_SPACE) and start < _LEADING_SPACE_BYTES:
        start += len(rest)
        rest = file.read(_ENDS_BYTES)
    text = rest.lstrip(_SPACE)
    start += len(rest) - len(text)
    if not text:
        raise _unknown(path, "it is empty")
    if _DEXIE.match(text):
        raise _unknown(
            path,
            "it is the database export of twitter-web-exporter, which only that reads; there choose the bookmarks "
            "table and Export Data as JSON instead",
        )
    if text[:1] == b"[":
        return start, Shape.ARRAY
    if text[:1] == b"{":
        return start, Shape.SEQUENCE
    for known, what in _HEADS:
        if text.startswith(known):
            raise _unknown(path, what)
    if _CSV.match(text):
        raise _unknown(path, "it looks like CSV; export it as JSON instead")
    raise _unknown(path, f"it begins with {_described(text)}, which is no JSON array or object")


def _recognise(path: Path, file: IO[bytes], start: int, shape: Shape) -> Format:
    """The format by the first object of the file; any for a file without elements."""
    file.seek(start)
    probe = FileReader(path, file, "", (0, 0, 0), Splitter(shape, start), FORMATS[0], 0)
    for place in range(_LOOKED_AT):
        element = probe.next_element()
        if element is None and place == 0:
            return FORMATS[0]
        if element is None:
            break
        try:
            members = split_object(element)
        except NotJson:
            continue
        for form in FORMATS:
            if form.recognises(members):
                return form
        names = ", ".join(_printable(name) for name in list(members)[:_NAMES_SHOWN])
        more = ", ..." if len(members) > _NAMES_SHOWN else ""
        raise _unknown(
            path, f"its first object has {names}{more}" if names else "its first object is empty"
        )
    raise _unknown(path, "it holds JSON, but no objects")


def _unknown(path: Path, seen: str) -> UnreadableFile:
    understood = "; ".join(form.title for form in FORMATS)
    return UnreadableFile(
        f"{shown(path)} is not understood: {seen}. Nothing was stored of it. Understood are: {understood}"
    )


def _described(text: bytes) -> str:
    """The first bytes for a message: words of ASCII as they are, anything else by its codes."""
    head = text[:16]
    if all(32 <= byte < 127 for byte in head):
        return f'"{head.decode("ascii")}"'
    return "the bytes " + head[:8].hex(" ")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:40])
