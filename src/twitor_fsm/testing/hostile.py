"""Every reader of bytes from outside, and what it may do with any bytes: answer, or raise an error of its own.

`READERS` names them; each takes bytes and raises only if its reader broke its word. The property tests and the fuzzing
recipe (`make fuzz`) feed the same ones.
Must not know: who makes up the bytes.
"""

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..errors import ConfigurationError, JournalRefused, SourceUnavailable, UnreadableFile
from ..journal import read_journal, write_journal
from ..queueing.records import MalformedRecord, dead_task, queue_task, record_of
from ..simulator.plan_files import parse_plan
from ..sources.base import InvalidRaw, Item
from ..sources.file_reader import FileReader
from ..sources.files import FileBookmarks
from ..sources.formats import FORMATS
from ..sources.json_split import NotJson, split_object
from ..sources.x_decode import decode_element, decode_page, decode_saved

__all__ = ["READERS"]

_PAGE_SIZE: Final = 3
_PAGES: Final = 100
_LONGEST_KEY: Final = 100
_CSV_HEAD: Final = b"id,created_at,full_text,media,screen_name,favorite_count,bookmarked,url\n"
_HAR_HEAD: Final = b'{"log":{"version":"1.2","entries":['
_LISTING: Final = b'{"data":{"bookmark_timeline_v2":{"timeline":{"instructions":[{"entries":['
_LISTING_END: Final = b"]}]}}}}"

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - only the parent of a folder of our own
_FOLDER: Final = tempfile.TemporaryDirectory(
    prefix="hostile-", dir=_MEMORY if _MEMORY.is_dir() else None
)
"""One for the process, gone with it; in memory where there is such a place, since opening files on a disk takes most of the time."""


class BrokenWord(AssertionError):
    """A reader did what it says it never does."""


def _check(*, kept: bool, what: str) -> None:
    if not kept:
        raise BrokenWord(what)


def _check_item(item: Item | InvalidRaw) -> None:
    is_hash = item.key.startswith("sha256:") and isinstance(item, InvalidRaw)
    _check(kept=0 < len(item.key) <= _LONGEST_KEY or is_hash, what="a key is empty or too long")
    _check(kept=isinstance(item.raw, str), what="raw is no text")


def _walk(content: bytes, *, likes: bool) -> None:
    """Read a file to its end, each page by a new reader, and decode each kept element again."""
    path = Path(_FOLDER.name) / "file"
    path.write_bytes(content)
    source = FileBookmarks(path, likes=likes)
    place: str | None = None
    for _ in range(_PAGES):
        with suppress(UnreadableFile):
            reader = FileReader.open(path, place, likes=likes)
            try:
                page = reader.page(_PAGE_SIZE)
            finally:
                reader.close()
            _check(kept=page.next_cursor is None or page.next_cursor != place, what="no progress")
            for item in page.items:
                _check_item(item)
                again = source.decode(item.raw)
                _check_item(again)
                same = again == item or isinstance(item, InvalidRaw) or _is_ambiguous(item.raw)
                _check(kept=same, what="a kept bookmark is another one when it is decoded again")
            place = page.next_cursor
            if place is not None:
                continue
        return


def _is_ambiguous(raw: str) -> bool:
    """Whether an element has the members of several formats: no tool writes such a one."""
    try:
        members = split_object(raw.encode("utf-8", "surrogateescape"))
    except NotJson:
        return False
    return sum(form.recognises(members) for form in FORMATS) > 1


def read_file(content: bytes) -> None:
    """A file of any bytes."""
    _walk(content, likes=False)
    _walk(content, likes=True)


def read_csv(content: bytes) -> None:
    """Any bytes behind the head of an exporter's CSV."""
    _walk(_CSV_HEAD + content, likes=False)


def read_har(content: bytes) -> None:
    """Any bytes within the entries of a capture."""
    _walk(_HAR_HEAD + content, likes=False)


def read_listing(content: bytes) -> None:
    """Any bytes within the entries of a captured answer."""
    _walk(_LISTING + content + _LISTING_END, likes=False)


def read_script(content: bytes) -> None:
    """Any bytes within a script of the archive."""
    _walk(b"window.YTD.like.part0 = [" + content, likes=True)


def read_zip(content: bytes) -> None:
    """A zip of any bytes; and a good zip with any bytes as its script."""
    _walk(b"PK\x03\x04" + content, likes=False)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/bookmarks.js", content)
    whole = packed.getvalue()
    _walk(whole, likes=False)
    place = content[0] % len(whole) if content else 0
    _walk(whole[:place] + content[1:3] + whole[place + len(content[1:3]) :], likes=False)


def read_elements(content: bytes) -> None:
    """Any bytes as an element of each format."""
    for form in FORMATS:
        for item in form.decode(content):
            _check_item(item)
        _check_item(form.decode_kept(content.decode("utf-8", "surrogateescape")))


def read_page(content: bytes) -> None:
    """A page of the X API."""
    with suppress(SourceUnavailable):
        for item in decode_page(content).items:
            _check_item(item)
    with suppress(SourceUnavailable):
        for item in decode_saved(content):
            _check_item(item)
    _check_item(decode_element(content.decode("utf-8", "surrogateescape")))


def read_journal_file(content: bytes) -> None:
    """A session's journal; one that is accepted reads the same when it is written again."""
    with suppress(JournalRefused):
        found = read_journal(content)
        text = write_journal(found.rows, session_id=found.session_id, started_at=found.started_at)
        kept = not found.rows or read_journal(text) == found
        _check(kept=kept, what="a journal changed when it was written")


def read_plan_file(content: bytes) -> None:
    """A fault plan."""
    with suppress(ConfigurationError):
        parse_plan(content.decode("utf-8", "replace"), "plan")


def read_queue(content: bytes) -> None:
    """A record of the queue, alive and among the dead letters."""
    with suppress(MalformedRecord):
        task = queue_task(b"1", content, tries=1, token=1)
        again = queue_task(b"1", record_of(task), tries=1, token=1)
        _check(kept=again == task, what="a record changed when written")
    dead_task(content[:20], content, content, died_ms=0.0)


READERS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {
        "file": read_file,
        "csv": read_csv,
        "har": read_har,
        "listing": read_listing,
        "script": read_script,
        "zip": read_zip,
        "elements": read_elements,
        "page": read_page,
        "journal": read_journal_file,
        "plan": read_plan_file,
        "queue": read_queue,
    }
)
"""By the name that `make fuzz TARGET=` takes."""
