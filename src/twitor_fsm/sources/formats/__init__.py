"""File formats that bookmarks come in, one small module each.

To add one: write a module with a `OneRecord`, or with a class like those here (see `base.Format`), and name it in `FORMATS`. It gets elements
one at a time (members of the file's outermost array, or its successive objects); finding the elements, streaming,
resuming and damaged files are not its business.
"""

from typing import Final

from .api_pages import ApiPages
from .archive import ArchiveBookmarks, ArchiveLikes
from .base import Format
from .fieldtheory import FIELD_THEORY, FIELD_THEORY_LIKES
from .har import Har
from .own_export import OwnExport
from .twillot import TWILLOT
from .web_capture import WebCapture
from .web_exporter import WEB_EXPORTER

__all__ = ["FORMATS", "Format"]

_OF_OTHERS: Final[tuple[Format, ...]] = (
    Har(),
    WebCapture(),
    ApiPages(),
    TWILLOT,
    WEB_EXPORTER,
    FIELD_THEORY,
    FIELD_THEORY_LIKES,
    ArchiveBookmarks(),
    ArchiveLikes(),
)

FORMATS: Final[tuple[Format, ...]] = (*_OF_OTHERS, OwnExport(_OF_OTHERS))
"""The first one that recognises a file reads it."""
