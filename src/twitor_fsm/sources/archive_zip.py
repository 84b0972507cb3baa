"""The zip of X's data archive as one text: its bookmarks' scripts, or its likes', one behind the other.

Unpacked while it is read, never to disk. Bounded whatever the zip says: its directory by `MAX_DIRECTORY_BYTES`, its text by
`MAX_TEXT_BYTES`, a piece by what is asked for; a member that unpacks to more than it declares is cut there by `zipfile`.
Must not know: what the scripts hold.
"""

import errno
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Self

import attrs

from ..errors import UnreadableFile
from .file_words import shown, unknown

__all__ = ["MAX_DIRECTORY_BYTES", "MAX_TEXT_BYTES", "ArchiveText", "is_zip"]

MAX_DIRECTORY_BYTES: Final = 16 << 20
"""Of the zip's directory, which is held in memory: that of an archive with 100,000 media files has some 12 MiB."""

MAX_TEXT_BYTES: Final = 4 << 30
"""Of the scripts, unpacked: more likes than anybody has; a bomb stops here."""

_MARKS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_SCRIPT: Final = re.compile(
    r"(?:[^/]{1,200}/)?data/(bookmarks?|like)(?:-part(\d{1,4}))?\.js", re.ASCII
)
_PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
_PIECE_BYTES: Final = 256 << 10
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    IndexError,
    OverflowError,
    struct.error,
)
"""What zipfile raises for a zip that is damaged, or made to be."""

_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_BYTES: Final = 20
_TOLD_THERE: Final = 0xFFFFFFFF


def is_zip(head: bytes) -> bool:
    """Whether a file that begins so is a zip."""
    return head.startswith(_MARKS)


@attrs.define
class ArchiveText:
    """The scripts of an open zip; read like a file."""

    path: Path
    file: IO[bytes]
    archive: zipfile.ZipFile
    members: tuple[zipfile.ZipInfo, ...]
    _place: int = attrs.field(default=0, init=False)
    _open: IO[bytes] | None = attrs.field(default=None, init=False)

    @classmethod
    def open(cls, path: Path, file: IO[bytes], *, likes: bool) -> Self:
        """Find the scripts.

        Raises:
            UnreadableFile: It holds none, or cannot be read; `file` is left open.
        """
        with _damage(path):
            if _directory_bytes(file) > MAX_DIRECTORY_BYTES:
                raise unknown(
                    path, f"it is a zip with a directory of more than {MAX_DIRECTORY_BYTES} bytes"
                )
            archive = zipfile.ZipFile(file)
        found = [
            (match, info)
            for info in archive.infolist()
            if (match := _SCRIPT.fullmatch(info.filename))
        ]
        chosen = [(match, info) for match, info in found if (match[1] == "like") is likes]
        if not chosen:
            raise unknown(path, _without(likes=likes, has_other=bool(found)))
        chosen.sort(key=lambda pair: (pair[0][1], int(pair[0][2] or 0)))
        members = tuple(info for _, info in chosen)
        _check(path, members)
        return cls(path, file, archive, members)

    def seek(self, offset: int) -> int:
        """Go to a byte of the text; what stands before it is unpacked and dropped."""
        self._shut()
        self._place, rest = 0, offset
        while self._place < len(self.members) and rest > self.members[self._place].file_size:
            rest -= self.members[self._place].file_size + 1
            self._place += 1
        while rest > 0 and (dropped := self._piece(min(rest, _PIECE_BYTES))):
            rest -= len(dropped)
        return offset

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size` of them; none at the end. Scripts are parted by a line's end.

        Raises:
            UnreadableFile: The zip is damaged here.
        """
        while self._place < len(self.members):
            piece = self._piece(size)
            if piece:
                return piece
            self._shut()
            self._place += 1
            return b"\n"
        return b""

    def close(self) -> None:
        """Close the zip and its file."""
        self._shut()
        self.archive.close()
        self.file.close()

    def _piece(self, size: int) -> bytes:
        with _damage(self.path):
            if self._open is None:
                self._open = self.archive.open(self.members[self._place])
            return self._open.read(size)

    def _shut(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (*_BROKEN, OSError) as exc:
        if (
            isinstance(exc, OSError) and exc.errno != errno.EINVAL
        ):  # a place before the file's beginning
            raise
        raise UnreadableFile(
            f"{shown(path)} is a damaged zip ({type(exc).__name__}); get it again, or unpack it and give data/bookmarks.js. "
            "What was stored of it stays"
        ) from exc


def _check(path: Path, members: tuple[zipfile.ZipInfo, ...]) -> None:
    for info in members:
        if info.compress_type not in _PACKINGS:
            raise unknown(path, "it is a zip packed in a way that X does not use; unpack it first")
        if info.flag_bits & _ENCRYPTED:
            raise unknown(path, "it is a zip with a password; unpack it first")
    if sum(info.file_size for info in members) > MAX_TEXT_BYTES:
        raise unknown(path, f"it is a zip whose scripts unpack to more than {MAX_TEXT_BYTES} bytes")


def _without(*, likes: bool, has_other: bool) -> str:
    wanted, other = ("likes", "bookmarks") if likes else ("bookmarks", "likes")
    if not has_other:
        return (
            f"it is a zip without the {wanted} of X's data archive (data/{'like' if likes else 'bookmarks'}.js); "
            "of anything else, unpack it and give the file"
        )
    remedy = "leave out --likes to read those" if likes else "to store those, say --likes"
    return f"it is a zip of X's data archive that holds {other} and no {wanted}; {remedy}"


def _directory_bytes(file: IO[bytes]) -> int:
    """The size of a zip's directory by its own word, before `zipfile` reads it whole.

    Source: the zip specification (APPNOTE 6.3.10), 4.3.16 and 4.3.14: the end record, and the larger one before it.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - (1 << 16) - 200))
    tail = file.read()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise zipfile.BadZipFile
    told = _END.unpack_from(tail, found)[5]
    larger = found - _LOCATOR_BYTES - _END_64.size
    if larger >= 0 and tail.startswith(b"PK\x06\x06", larger):
        told = max(told if told != _TOLD_THERE else 0, _END_64.unpack_from(tail, larger)[8])
    return int(told)
