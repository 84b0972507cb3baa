"""Every reader of bytes from outside, and what it may do with any bytes: answer, or raise an error of its own.

`READERS` names them; each takes bytes and raises only if its reader broke its word. The property tests and the fuzzing
recipe (`make fuzz`) feed the same ones. Those of file formats put their bytes behind a beginning that a tool writes, so that
any bytes come to the format instead of being refused at the file's head; what is read of them is what production reads.
Must not know: who makes up the bytes.
"""

import io
import math
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..config import settings_from
from ..errors import (
    ConfigurationError,
    CredentialsMissing,
    CursorRefused,
    JournalRefused,
    SourceError,
    SourceUnavailable,
    UnreadableFile,
)
from ..journal import read_journal, write_journal
from ..queueing.records import MalformedRecord, dead_task, queue_task, record_of
from ..simulator.plan_files import parse_plan
from ..sources.base import InvalidRaw, Item, Page
from ..sources.credentials import TokenFiles
from ..sources.file_reader import FileReader
from ..sources.files import FileBookmarks
from ..sources.formats import FORMATS
from ..sources.json_split import NotJson, split_object
from ..sources.x_decode import decode_element, decode_page
from ..sources.x_problems import errors_only, refusal
from ..sources.x_times import closes_until, reset_at

__all__ = ["QUICK", "READERS"]

_PAGE_SIZE: Final = 2
_PAGES: Final = 100
_LONGEST_KEY: Final = 100
_NOW: Final = 1.7e9
_USER: Final = "7"

_BEGINNINGS: Final = MappingProxyType(
    {
        "exporter": b'[{"id":"1","full_text":"t"},',
        "csv": b"id,created_at,full_text,media,screen_name,favorite_count,bookmarked,url,metadata\n",
        "twillot": b'[{"tweet_id":"1","full_text":"t"},',
        "fieldtheory": b'{"tweetId":"1","syncedAt":"","text":"t"}\n',
        "fieldtheory_likes": b'{"tweetId":"1","likedAt":"","text":"t"}\n',
        "own_export": (
            b'{"id":"1","text":"t","author_id":null,"kind":"post","source":"x","stored_at":"","raw":{}}\n'
        ),
        "pages": b'{"data":[]}\n',
        "answers": b'[{"data":{"bookmark_timeline_v2":{}}},',
        "listing": b'{"data":{"bookmark_timeline_v2":{"timeline":{"instructions":[{"entries":[',
        "har": b'{"log":{"version":"1.2","entries":[',
        "script": b"window.YTD.",
    }
)
"""What a file of each format begins with; the fuzzed bytes come behind."""

_ENDINGS: Final = MappingProxyType({"listing": b"]}]}}}}"})

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - only the parent of a folder of our own
_FOLDER: Final = tempfile.TemporaryDirectory(
    prefix="hostile-", dir=_MEMORY if _MEMORY.is_dir() else None
)
"""One for the process, gone with it; in memory where there is such a place, since opening files on a disk takes most of the time."""
_FILE: Final = Path(_FOLDER.name) / "file"
_SOURCE: Final = FileBookmarks(_FILE)


class BrokenWord(AssertionError):
    """A reader did what it says it never does."""


def _check(*, kept: bool, what: str) -> None:
    if not kept:
        raise BrokenWord(what)


def _check_item(item: Item | InvalidRaw) -> None:
    is_hash = item.key.startswith("sha256:") and isinstance(item, InvalidRaw)
    _check(kept=0 < len(item.key) <= _LONGEST_KEY or is_hash, what="a key is empty or too long")
    _check(kept=isinstance(item.raw, str), what="raw is no text")


def _walk(
    content: bytes, *, wanted: tuple[bool, ...] = (False, True), closely: bool = True
) -> None:
    """Read a file to its end, as bookmarks and, if it is refused as such, as likes."""
    _FILE.write_bytes(content)
    for likes in wanted:
        with suppress(UnreadableFile):
            with closing(FileReader.open(_FILE, None, likes=likes)) as reader:
                pages = _pages(reader)
            if closely:
                _look_again(pages, reader.format.word, likes=likes)
            return


def _pages(reader: FileReader) -> list[Page]:
    """Each page up to the end, or a damage.

    Raises:
        UnreadableFile: Before the first page.
    """
    pages = [reader.page(_PAGE_SIZE)]
    with suppress(UnreadableFile):
        while pages[-1].next_cursor is not None and len(pages) < _PAGES:
            pages.append(reader.page(_PAGE_SIZE))
            _check(kept=pages[-2].next_cursor != pages[-1].next_cursor, what="no progress")
    for page in pages:
        for item in page.items:
            _check_item(item)
    return pages


def _look_again(pages: list[Page], word: str, *, likes: bool) -> None:
    """Decode each kept element again, and read a page in the middle by a reader that resumes there."""
    for page in pages:
        for item in page.items:
            again = _SOURCE.decode(item.raw)
            _check_item(again)
            same = again == item or isinstance(item, InvalidRaw) or _is_strange(item.raw, word)
            _check(kept=same, what="a kept bookmark is another one when it is decoded again")
    if len(pages) > 1:
        middle = len(pages) // 2
        with closing(FileReader.open(_FILE, pages[middle - 1].next_cursor, likes=likes)) as reader:
            same = reader.page(_PAGE_SIZE) == pages[middle]
            _check(kept=same, what="a reader that resumes gives another page")


def _is_strange(raw: str, word: str) -> bool:
    """Whether an element is not of its file's format alone: no tool writes such a one."""
    try:
        members = split_object(raw.encode("utf-8", "surrogateescape"))
    except NotJson:
        return False
    own = "web_capture" if word == "har" else word
    return [form.word for form in FORMATS if form.recognises(members)] != [own]


def read_format(name: str, content: bytes, *, closely: bool = True) -> None:
    """Any bytes behind the beginning of a file of a format."""
    wanted = (False, True) if name == "script" else ("likes" in name,)
    whole = _BEGINNINGS[name] + content + _ENDINGS.get(name, b"")
    _walk(whole, wanted=wanted, closely=closely)


def read_zip(content: bytes) -> None:
    """A zip of any bytes."""
    _walk(b"PK\x03\x04" + content)


def read_packed(content: bytes) -> None:
    """A good zip with any bytes as its scripts, whole and with two bytes changed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/bookmarks.js", content)
        archive.writestr("data/bookmarks-part1.js", content[::-1])
    whole = packed.getvalue()
    _walk(whole)
    place = int.from_bytes(content[:2]) % len(whole)
    _walk(whole[:place] + content[2:4] + whole[place + len(content[2:4]) :])


def read_kept(content: bytes) -> None:
    """A kept element, decoded again as the database gives it, and as each format that takes it for its own."""
    _check_item(_SOURCE.decode(content.decode("utf-8", "surrogateescape")))
    with suppress(NotJson):
        members = split_object(content)
        for form in FORMATS:
            if form.recognises(members):
                for item in form.decode(content):
                    _check_item(item)


def read_cursor(content: bytes) -> None:
    """A cursor of a file, forged: any text, and one that names the very file."""
    _FILE.write_bytes(_THREE_PAGES)
    with closing(FileReader.open(_FILE, None)) as reader:
        print_ = reader.fingerprint
    text = content.decode("utf-8", "surrogateescape")
    for cursor in (text, f"1.{print_}.{text}"):
        with suppress(CursorRefused, UnreadableFile, OSError):  # there is no place 10**18 in a file
            reader = FileReader.open(_FILE, cursor)
            with closing(reader):
                for item in reader.page(_PAGE_SIZE).items:
                    _check_item(item)


_THREE_PAGES: Final = b"".join(
    b'{"data":[{"id":"%d1","text":"t"},{"id":"%d2","text":"t"},{"id":"%d3","text":"t"}]}\n'
    % (n, n, n)
    for n in range(1, 4)
)


def read_page(content: bytes) -> None:
    """A page of the X API."""
    with suppress(SourceUnavailable):
        for item in decode_page(content).items:
            _check_item(item)
    _check_item(decode_element(content.decode("utf-8", "surrogateescape")))


def read_refusal(content: bytes) -> None:
    """An answer that is no page: a line of the status, lines of headers, an empty line, a body."""
    head, _, body = content.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    status = int(first) if first.isascii() and first.isdecimal() and len(first) == 3 else 429
    for found in (
        refusal(status, headers, body, now=_NOW),
        refusal(status, headers, body, now=_NOW, cursor_sent=True),
        errors_only(body, now=_NOW, headers=headers),
    ):
        _check(kept=isinstance(found, SourceError), what="a refusal is no error of the source")
        _check(kept=len(str(found)) < 5000, what="a refusal quotes without end")
    for at in (reset_at(headers, _NOW), closes_until(headers, _NOW)):
        _check(kept=at is None or math.isfinite(at), what="a time is none")


def read_token(content: bytes) -> None:
    """A token's file; what is said of a bad one is the same whatever it holds, so that no token is quoted."""
    try:
        found = _token_in(content)
    except CredentialsMissing as exc:
        _check(kept=str(exc) in _refusals(), what="a message depends on the token")
    else:
        _check(kept=found.isascii() and found.isprintable() and " " not in found, what="no token")


def _token_in(content: bytes) -> str:
    path = Path(_FOLDER.name) / _USER
    path.touch(mode=0o600)
    path.write_bytes(content)
    return TokenFiles(_FOLDER.name).read(_USER).reveal()


@cache
def _refusals() -> frozenset[str]:
    """What is said of a file that is empty, has a space, is no text."""

    def said(content: bytes) -> str:
        try:
            return _token_in(content)
        except CredentialsMissing as exc:
            return str(exc)

    return frozenset(map(said, (b"", b"a b", b"\xff")))


def read_settings(content: bytes) -> None:
    """Settings from the environment: lines of NAME=value."""
    pairs = (line.partition("=") for line in content.decode("utf-8", "surrogateescape").split("\n"))
    with suppress(ConfigurationError):
        settings_from({name: value for name, _, value in pairs})


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
        "page": read_page,
        "journal": read_journal_file,
        "queue": read_queue,
        "plan": read_plan_file,
        "refusal": read_refusal,
        "token": read_token,
        "settings": read_settings,
        "cursor": read_cursor,
        "kept": read_kept,
        "file": _walk,
        **{name: partial(read_format, name) for name in _BEGINNINGS},
        "zip": read_zip,
        "packed": read_packed,
    }
)
"""By the name that `make fuzz TARGET=` takes."""

QUICK: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {
        **READERS,
        "file": partial(_walk, closely=False),
        **{name: partial(read_format, name, closely=False) for name in _BEGINNINGS},
    }
)
"""The same, twice as fast: what is read of a file is not read a second time to compare."""
