"""The elements of a text, one at a time and in pieces: the loop between a file and a splitter.

Must not know: what an element holds, where the text comes from.
"""

from pathlib import Path
from typing import Final, Protocol

import attrs

from ..errors import UnreadableFile
from .file_words import shown
from .json_split import NotJson, Shape

__all__ = ["MAX_ELEMENT_BYTES", "PIECE_BYTES", "Elements", "Pieces", "Text"]

MAX_ELEMENT_BYTES: Final = 64 << 20
"""Of one element (a saved page, a record): it is held in memory, so a larger one is refused."""

PIECE_BYTES: Final = 256 << 10


class Text(Protocol):
    """What is read: a file, or the scripts in a zip."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; none at the end."""
        ...

    def seek(self, offset: int, /) -> int:
        """Go to a byte."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Pieces(Protocol):
    """What cuts a text: `Splitter` or `CsvSplitter`."""

    @property
    def shape(self) -> Shape:
        """How its elements follow each other."""
        ...

    @property
    def position(self) -> int:
        """Byte of the text behind the last element taken."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were fed and not yet taken."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether nothing comes any more."""
        ...

    def feed(self, piece: bytes, *, is_last: bool = False) -> None:
        """Give the next piece of the text."""
        ...

    def take(self) -> bytes | None:
        """The next element; None when another piece is needed, or at the end."""
        ...


@attrs.define
class Elements:
    """A text and what cuts it; the text stands where the splitter begins."""

    path: Path
    text: Text
    splitter: Pieces

    def next(self, kept: str) -> bytes | None:
        """The next element; None at the end.

        Args:
            kept: What becomes of what stands before, for messages.

        Raises:
            OSError: The file cannot be read.
            UnreadableFile: It is damaged here, or the element too large.
        """
        splitter = self.splitter
        while True:
            try:
                element = splitter.take()
            except NotJson as exc:
                raise UnreadableFile(
                    f"{shown(self.path)} is damaged: {exc}. {kept}. Get a whole file and run again"
                ) from exc
            if element is not None or splitter.is_ended:
                return element
            if splitter.waiting_bytes > MAX_ELEMENT_BYTES:
                raise UnreadableFile(
                    f"{shown(self.path)} has an element of more than {MAX_ELEMENT_BYTES} bytes at byte "
                    f"{splitter.position}, which is no page and no record. {kept}"
                )
            piece = self.text.read(max(PIECE_BYTES, splitter.waiting_bytes))
            splitter.feed(piece, is_last=not piece)
