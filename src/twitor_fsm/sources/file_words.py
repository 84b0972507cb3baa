"""Words for a file that is not understood: what was seen in it, what is understood, what to do.

Nothing of its content is shown but names and the first bytes.
Must not know: how a file is read.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import UnreadableFile
from .formats import FORMATS
from .json_split import NotJson, split_object

__all__ = [
    "is_one_giant",
    "named",
    "printable",
    "seen_in_members",
    "shown",
    "strange",
    "unknown",
    "unknown_head",
]

_DEXIE: Final = re.compile(rb'\{\s*"formatName"\s*:\s*"dexie"')
_OWN_CSV: Final = re.compile(rb"(?:\xef\xbb\xbf)?id,url,text,author_id,")
"""As `cli/spreadsheet.py` writes it."""
_CSV: Final = re.compile(rb"[^\n\r]{0,400}[,;\t][^\n\r]{0,4000}[\r\n]")
_EXPORTER_PAGE: Final = re.compile(rb"<html>\s*<head>\s*<meta[^>]*>\s*<title>Exported Data")
_HEADS: Final = (
    (b"\x1f\x8b", "it is packed with gzip; unpack it first (gunzip)"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd; unpack it first"),
    (b"BZh", "it is packed with bzip2; unpack it first"),
    (b"\xfd7zXZ\x00", "it is packed with xz; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "it is packed with 7-Zip; unpack it first"),
    (b"\xd0\xcf\x11\xe0", "it is an old Office document; export the bookmarks again as JSON"),
    (b"\xff\xfe", "it is UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16 text; save it as UTF-8"),
    (b"[\x00", "it is UTF-16 text; save it as UTF-8"),
    (b"{\x00", "it is UTF-16 text; save it as UTF-8"),
    (b"\x00[", "it is UTF-16 text; save it as UTF-8"),
    (b"\x00{", "it is UTF-16 text; save it as UTF-8"),
    (
        b"window.__THAR_CONFIG",
        "it is the table of contents of X's data archive; give data/bookmarks.js or the archive's zip",
    ),
    (b"<", "it is a web page or XML; export the bookmarks as JSON instead"),
)
_WITHOUT_REMEDY: Final = (
    (b"SQLite format 3\x00", "it is an SQLite database"),
    (b"%PDF", "it is a PDF document"),
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f]")
"""Characters that no text of people holds, in any encoding that ASCII is part of."""
_SCRIPT: Final = re.compile(rb"window\.YTD\.(\w{1,60})", re.ASCII)
_NAMES_SHOWN: Final = 8


def unknown(path: Path, seen: str) -> UnreadableFile:
    """The error for a file that is known, and is none to be read.

    Args:
        path: The file.
        seen: What it is, and what to do instead.
    """
    return UnreadableFile(f"{shown(path)} is not understood: {seen}. Nothing was stored of it")


def strange(path: Path, seen: str) -> UnreadableFile:
    """The error for a file of which nothing is known but what was seen: behind that, what would be understood."""
    understood = "; ".join(form.title.partition(":")[0] for form in FORMATS)
    return UnreadableFile(f"{unknown(path, seen)}. Understood are: {understood}")


def is_one_giant(text: bytes) -> bool:
    """Whether a text begins as the one object, of any size, of something that we do not read."""
    return _DEXIE.match(text) is not None


def unknown_head(path: Path, text: bytes) -> UnreadableFile:
    """The error for a file that begins neither as JSON of bookmarks, nor as a CSV or script that we read."""
    known = _known_head(text)
    return strange(path, _seen_in_head(text)) if known is None else unknown(path, known)


def _known_head(text: bytes) -> str | None:
    """What a file is whose beginning tells what to do instead; None for any other."""
    if _DEXIE.match(text):
        return (
            "it is the database export of twitter-web-exporter, which only that reads; there choose the bookmarks "
            "table and Export Data as JSON instead"
        )
    if _EXPORTER_PAGE.match(text):
        return "it is the HTML export of twitter-web-exporter; there choose JSON instead"
    script = _SCRIPT.match(text)
    if script is not None:
        return (
            f"it is '{script[1].decode()}' of X's data archive, which holds no bookmarks; give data/bookmarks.js "
            "or the archive's zip"
        )
    for known, what in _HEADS:
        if text.startswith(known):
            return what
    if _OWN_CSV.match(text):
        return "it is a CSV that `twitor export` wrote, which leaves things out; read back one with --format jsonl"
    return None


def _seen_in_head(text: bytes) -> str:
    """What there is to say of any other beginning."""
    for known, what in _WITHOUT_REMEDY:
        if text.startswith(known):
            return what
    if _CONTROL.search(text):
        return f"it is no text: it begins with {_described(text)}"
    if _CSV.match(text) and not text.lstrip().startswith(b"//"):
        names = ", ".join(printable(name) for name in _columns(text))
        return f"it looks like CSV with the columns {names}, not those of twitter-web-exporter (id, full_text)"
    return f"it begins with {_described(text)}, which is no JSON array or object"


def _columns(text: bytes) -> list[str]:
    line = text.splitlines()[0].decode("ascii", "replace")
    names = [name.strip(' "') for name in re.split("[,;\t]", line)]
    return [*names[:_NAMES_SHOWN], *(["..."] if len(names) > _NAMES_SHOWN else [])]


def seen_in_members(members: Mapping[str, bytes]) -> str | None:
    """What a file is whose first object has these members; None if that is nothing known."""
    if "tweet" in members:
        return "it holds posts of X's data archive (tweets.js), no bookmarks; give bookmarks.js or the archive's zip"
    if _is_other_listing(members.get("data", b"")):
        return "it is an answer of X's website that is no page of the bookmarks listing; capture x.com/i/bookmarks"
    return None


def _is_other_listing(data: bytes) -> bool:
    """Whether an answer's `data` is an object without an id: a listing or a user, no post."""
    try:
        names = split_object(data)
    except NotJson:
        return False
    return bool(names) and "id" not in names


def named(members: Mapping[str, bytes]) -> str:
    """The names of an object's members."""
    names = ", ".join(printable(name) for name in list(members)[:_NAMES_SHOWN])
    more = ", ..." if len(members) > _NAMES_SHOWN else ""
    return f"its first object has {names}{more}" if names else "its first object is empty"


def shown(path: Path) -> str:
    """A path for a message: printable, in quotes."""
    return "'" + "".join(c if c.isprintable() else "?" for c in str(path)) + "'"


def printable(name: str) -> str:
    """A name for a message: at most 40 printable characters."""
    return "".join(c if c.isprintable() else "?" for c in name[:40])


def _described(text: bytes) -> str:
    """The first bytes for a message: words of ASCII as they are, anything else by its codes."""
    head = text[:16]
    if all(32 <= byte < 127 for byte in head):
        return f'"{head.decode("ascii")}"'
    return "the bytes " + head[:8].hex(" ")
