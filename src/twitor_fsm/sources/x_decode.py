"""Pages of the X API v2, decoded: bytes in, items and the next page's token out.

A page is split first and each element decoded on its own (`x_items`), so that a bad element costs itself and not its
page. What is no page is never taken for an empty one.
Pure. Must not know: HTTP, files, what was asked for.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

import attrs
import msgspec
from msgspec import Raw

from ..core.taxonomy import Reason
from ..errors import SourceUnavailable
from .base import InvalidRaw, Item, ItemKind
from .json_split import NotJson, has_more, split_array, split_object
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

__all__ = ["PageBody", "decode_element", "decode_page", "is_page_token"]

_EMPTY: Final = Raw()
_PAGE_TOKEN: Final = re.compile(r"[!-~]{1,1024}")
"""X's page tokens have 13 to 60 characters."""

_MOST: Final = 1_000
"""Elements of a page at most; X gives 100."""
_MOST_SAVED: Final = 100_000
"""The same of a saved page, which somebody may have joined from many."""
_INCLUDED: Final = 10
"""Included objects of a kind for each element at most."""

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
        errors: Errors beside the data that are no tombstones.
    """

    items: tuple[Item | InvalidRaw, ...]
    next_token: str | None
    counted: int
    has_data: bool
    errors: int


def decode_page(body: bytes, *, saved: bool = False, limit: int = MAX_ITEM_BYTES) -> PageBody:
    """Decode one answer.

    Args:
        body: JSON text in UTF-8.
        saved: Whether it was saved by somebody, who may have left out `meta` and joined pages.
        limit: A post of more bytes is invalid.

    Raises:
        SourceUnavailable: It is no page (reason `bad_page`): not JSON, or of a shape that a page never has. An
            unexpected shape is never an empty page. Errors alone are no page either, but the caller's to judge:
            no data and `errors` above 0.
    """
    most = _MOST_SAVED if saved else _MOST
    answer = _split(body.removeprefix(b"\xef\xbb\xbf"))
    has_data = not is_absent(answer.data)
    if not has_data and is_absent(answer.meta) and not is_absent(answer.errors):
        count = len(_elements(answer.errors, "errors", most))
        if count:
            return PageBody(items=(), next_token=None, counted=0, has_data=False, errors=count)
    meta = _read_meta(answer.meta, may_lack=saved and has_data)
    elements = _elements(answer.data, "data", most) if has_data else []
    if not elements and meta.result_count:
        _bad("counts bookmarks that it does not hold")
    found = Included(answer.includes, _INCLUDED * most)
    items = [decode_post(element, found, limit) for element in elements]
    errors = [] if is_absent(answer.errors) else _elements(answer.errors, "errors", most)
    tombstones = list(_tombstones(errors, {item.key for item in items}, found.referenced))
    items += tombstones
    return PageBody(
        items=tuple(items),
        next_token=meta.next_token,
        counted=len(elements) if meta.result_count is None else meta.result_count,
        has_data=has_data,
        errors=len(errors) - len(tombstones),
    )


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
            errors = _elements(envelope.errors, "errors", _MOST)
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


def _read_meta(raw: Raw, *, may_lack: bool) -> _Meta:
    if is_absent(raw):
        if may_lack:
            return _Meta()
        _bad("has no `meta`")
    try:
        meta = _meta.decode(raw)
    except UNREADABLE:
        _bad("has a `meta` of an unknown shape")
    if meta.next_token == "":
        meta.next_token = None
    if meta.next_token is not None and not is_page_token(meta.next_token):
        _bad("names a next page by something that is no page token")
    return meta


def _elements(raw: Raw, name: str, most: int) -> list[bytes]:
    if has_more(bytes(raw), most):
        _bad(f"has more than {most} elements in its `{name}`")
    elements = _cut(raw, name)
    if len(elements) > most:
        _bad(f"has more than {most} elements in its `{name}`")
    return [bytes(element) for element in elements]


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
