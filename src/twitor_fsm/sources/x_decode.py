"""Pages of the X API v2, decoded: bytes in, items and the next page's token out.

A page is split first and each element decoded on its own (`x_items`), so that a bad element costs itself and not its
page. What is no page is never taken for an empty one.
Pure. Must not know: HTTP, how files are read, what was asked for.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NoReturn

import attrs
import msgspec
from msgspec import Raw

from ..core.taxonomy import Reason
from ..errors import SourceUnavailable, UnreadableFile
from .base import InvalidRaw, Item, ItemKind
from .json_split import NotJson, each_of_array, has_more, split_array, split_object
from .richness import NOTHING
from .x_items import (
    MAX_ITEM_BYTES,
    UNREADABLE,
    Included,
    as_text,
    decode_post,
    invalid,
    is_absent,
    is_id,
)

__all__ = ["PageBody", "decode_element", "decode_page", "decode_saved", "is_page_token"]

_EMPTY: Final = Raw()
_PAGE_TOKEN: Final = re.compile(r"[!-~]{1,1024}")
"""X's page tokens have 13 to 60 characters."""

_MOST: Final = 1_000
"""Elements of a page's data at most; X gives 100. A saved page has no such limit."""
_MOST_ERRORS: Final = 10_000
"""Errors of a page that are looked at; of each post, its author, media and more may have one."""
_MOST_INCLUDED: Final = 10_000
"""Included objects of a kind at most; a longer list is left out."""
_MOST_INCLUDED_SAVED: Final = 1_000_000
"""The same of a saved page; one with more is refused. All that X shows of an object takes more than 64 bytes, and a file's
element no more than 64 MiB."""

_NUMBERS: Final = 2**31
"""A larger count is none."""

_POST_NOUNS: Final = frozenset({"tweet", "post"})
_LISTED: Final = frozenset({"", "id", "ids", "tweet_id", "post_id"})
"""Parameters of an error about a post that the listing itself names. Those of posts that are only referred to have the
name of an expansion ("referenced_tweets.id"). Source: X API v2, "Partial errors"; answers seen in the wild."""


class _Body(msgspec.Struct):
    data: Raw = _EMPTY
    includes: Raw = _EMPTY
    errors: Raw = _EMPTY
    meta: Raw = _EMPTY


class _Meta(msgspec.Struct):
    result_count: int | None = None
    next_token: str | None = None


class _Error(msgspec.Struct):
    resource_type: str | None = None
    resource_id: str | None = None
    value: Any = None
    parameter: str | None = None
    section: str | None = None
    field: str | None = None


_body: Final = msgspec.json.Decoder(_Body)
_meta: Final = msgspec.json.Decoder(_Meta)
_raws: Final = msgspec.json.Decoder(list[Raw])
_error: Final = msgspec.json.Decoder(_Error)


@attrs.frozen(kw_only=True)
class PageBody:
    """A decoded page.

    Attributes:
        items: In listing order; posts that the listing names but does not show come last, as tombstones.
        next_token: The next page's token, or None.
        counted: Items that the service counted.
        has_data: Whether there was a `data` at all.
        errors: Errors beside the data that are no tombstones, among the first 10,000.
    """

    items: tuple[Item | InvalidRaw, ...]
    next_token: str | None
    counted: int
    has_data: bool
    errors: int


def decode_page(body: bytes, *, limit: int = MAX_ITEM_BYTES) -> PageBody:
    """Decode one answer.

    Errors are evidence for tombstones alone: of more than 10,000 the rest is not looked at.

    Args:
        body: JSON text in UTF-8.
        limit: A post of more bytes is invalid.

    Raises:
        SourceUnavailable: It is no page (reason `bad_page`): not JSON, or of a shape that a page never has. An
            unexpected shape is never an empty page. Errors alone are no page either, but the caller's to judge:
            no data and `errors` above 0.
    """
    answer = _split(body.removeprefix(b"\xef\xbb\xbf"))
    has_data = not is_absent(answer.data)
    if not has_data and is_absent(answer.meta) and not is_absent(answer.errors):
        count = len(_errors_of(answer))
        if count:
            return PageBody(items=(), next_token=None, counted=0, has_data=False, errors=count)
    meta = _read_meta(answer.meta)
    elements = _elements(answer.data) if has_data else []
    if not elements and meta.result_count:
        _bad("counts bookmarks that it does not hold")
    found = Included(answer.includes, _MOST_INCLUDED)
    items = [decode_post(element, found, limit) for element in elements]
    errors = _errors_of(answer)
    tombstones = list(_tombstones(errors, {item.key for item in items}, found.referenced))
    items += tombstones
    return PageBody(
        items=tuple(items),
        next_token=meta.next_token,
        counted=len(elements) if meta.result_count is None else meta.result_count,
        has_data=has_data,
        errors=len(errors) - len(tombstones),
    )


def decode_saved(body: bytes, *, limit: int = MAX_ITEM_BYTES) -> Iterator[Item | InvalidRaw]:
    """Decode an answer that somebody saved, who may have left out `meta` and joined any number of pages.

    Its items come one at a time and all of them: memory is bounded by that of the body and of what it includes.

    Args:
        body: JSON text in UTF-8.
        limit: A post of more bytes is invalid.

    Raises:
        SourceUnavailable: It is no page, or one of errors alone; before the first item.
        UnreadableFile: It includes more than 1,000,000 objects of a kind; before the first item.
    """
    answer = _split(body.removeprefix(b"\xef\xbb\xbf"))
    has_data = not is_absent(answer.data)
    count, elements = _stream(answer.data, "data")
    error_count, errors = _stream(answer.errors, "errors")
    if not has_data and error_count and is_absent(answer.meta):
        _bad("holds errors alone")
    meta = _read_meta(answer.meta, may_lack=has_data)
    if not count and meta.result_count:
        _bad("counts bookmarks that it does not hold")
    if not has_data:
        tombstones = list(_tombstones(errors, set(), set()))
        if len(tombstones) < error_count:
            _bad("holds errors alone")
        yield from tombstones
        return
    found = Included(answer.includes, _MOST_INCLUDED_SAVED)
    if found.is_cut:
        raise UnreadableFile(
            f"a saved page in the file includes more than {_MOST_INCLUDED_SAVED} objects of a kind, so it is not held in "
            "memory. What stands before it is stored and stays, nothing of it was; save it as several pages and run again"
        )
    shown: set[str] = set()
    for element in elements:
        item = decode_post(element, found, limit)
        if error_count and is_id(item.key) and not item.key.startswith("sha256:"):
            shown.add(item.key)
        yield item
    yield from _tombstones(errors, shown, found.referenced)


def decode_element(raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
    """Decode one kept element: what an `Item` or `InvalidRaw` of this module holds as `raw`."""
    element = raw.encode("utf-8", "surrogateescape")
    try:
        envelope = _body.decode(element)
    except msgspec.ValidationError:
        return decode_post(element, Included(_EMPTY), limit)
    except UNREADABLE:
        try:
            envelope = _split(element)
        except SourceUnavailable:
            return invalid(element, "it is no JSON text")
    if not is_absent(envelope.data):
        return decode_post(bytes(envelope.data), Included(envelope.includes), limit)
    if not is_absent(envelope.errors):
        try:
            errors = _errors_of(envelope)
        except SourceUnavailable:
            errors = []
        return next(
            _tombstones(errors, set(), set()),
            invalid(element, "it is an error that names no post"),
        )
    return decode_post(element, Included(_EMPTY), limit)


def is_page_token(text: str) -> bool:
    """Whether X could have given this as a page token: 1 to 1,024 visible ASCII characters."""
    return _PAGE_TOKEN.fullmatch(text) is not None


def _split(body: bytes) -> _Body:
    """The parts of an answer, undecoded.

    msgspec checks all of the text here; one lone surrogate or NaN in one element would spoil the whole page, so then
    the text is split by its brackets alone.
    """
    try:
        return _body.decode(body)
    except msgspec.ValidationError:
        _bad("is no object")
    except UNREADABLE:
        pass
    try:
        parts = split_object(body)
    except NotJson:
        _bad("is not JSON, or ends too early")
    return _Body(**{name: Raw(parts[name]) for name in _Body.__struct_fields__ if name in parts})


def _read_meta(raw: Raw, *, may_lack: bool = False) -> _Meta:
    if is_absent(raw):
        if may_lack:
            return _Meta()
        _bad("has no `meta`")
    try:
        meta = _meta.decode(raw)
    except UNREADABLE:
        _bad("has a `meta` of an unknown shape")
    if meta.result_count is not None and not 0 <= meta.result_count < _NUMBERS:
        _bad("counts its bookmarks in a number that cannot be")
    if meta.next_token == "":
        meta.next_token = None
    if meta.next_token is not None and not is_page_token(meta.next_token):
        _bad("names a next page by something that is no page token")
    return meta


def _elements(data: Raw) -> list[bytes]:
    if has_more(bytes(data), _MOST) or len(elements := _cut(data, "data")) > _MOST:
        _bad(f"has more than {_MOST} elements in its `data`")
    return [bytes(element) for element in elements]


def _errors_of(answer: _Body) -> list[bytes]:
    """The errors that are looked at."""
    if is_absent(answer.errors):
        return []
    text = bytes(answer.errors)
    if has_more(text, _MOST_ERRORS):
        return list(islice(each_of_array(text), _MOST_ERRORS))
    return [bytes(error) for error in _cut(answer.errors, "errors")[:_MOST_ERRORS]]


def _stream(raw: Raw, name: str) -> tuple[int, Iterator[bytes]]:
    """How many elements a list has, and each of them: no list is made of many."""
    if is_absent(raw):
        return 0, iter(())
    text = bytes(raw)
    if not has_more(text, _MOST):
        elements = _cut(raw, name)
        return len(elements), map(bytes, elements)
    try:
        count = sum(1 for _ in each_of_array(text))
    except NotJson:
        _bad(f"has a `{name}` that is no list")
    return count, each_of_array(text)


def _cut(raw: Raw, name: str) -> Sequence[Raw | bytes]:
    try:
        return _raws.decode(raw)
    except msgspec.ValidationError:
        _bad(f"has a `{name}` that is no list")
    except UNREADABLE:
        pass
    try:
        return split_array(bytes(raw))
    except NotJson:
        _bad(f"has a `{name}` that is no list")


def _bad(what: str) -> NoReturn:
    raise SourceUnavailable(
        f"the answer {what}, so it is no page of bookmarks; nothing was concluded from it",
        Reason.BAD_PAGE,
    )


def _tombstones(errors: Iterable[bytes], shown: set[str], referenced: set[str]) -> Iterator[Item]:
    """The errors that stand for a bookmark which is listed and not shown.

    Not those about authors, fields, or posts that are only referred to by a bookmark.
    """
    for raw in errors:
        try:
            error = _error.decode(raw)
        except UNREADABLE:
            continue
        post_id = error.resource_id or error.value
        parameter = error.parameter or ""
        is_listed = (
            (error.resource_type or "").lower() in _POST_NOUNS
            and parameter in _LISTED
            and error.section != "includes"
            and error.field is None
            and is_id(post_id)
            and post_id not in shown
            and (parameter != "" or post_id not in referenced)
        )
        if is_listed:
            shown.add(post_id)
            yield Item(
                key=post_id,
                raw=as_text(b'{"errors":[' + raw + b"]}"),
                kind=ItemKind.TOMBSTONE,
                richness=NOTHING,
            )
