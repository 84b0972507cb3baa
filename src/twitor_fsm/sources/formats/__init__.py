"""File formats that bookmarks come in, one small module each.

To add one: write a module with a class like those here (see `base.Format`), and name it in `FORMATS`. It gets elements
one at a time (members of the file's outermost array, or its successive objects); finding the elements, streaming,
resuming and damaged files are not its business.
"""

from typing import Final

from .api_pages import ApiPages
from .archive import ArchiveBookmarks, ArchiveLikes
from .base import Format
from .fieldtheory import FieldTheory, FieldTheoryLikes
from .har import Har
from .twillot import Twillot
from .web_capture import WebCapture
from .web_exporter import WebExporter

__all__ = ["FORMATS", "Format"]

FORMATS: Final[tuple[Format, ...]] = (
    Har(),
    WebCapture(),
    ApiPages(),
    Twillot(),
    WebExporter(),
    FieldTheory(),
    FieldTheoryLikes(),
    ArchiveBookmarks(),
    ArchiveLikes(),
)
"""The first one that recognises a file reads it."""
