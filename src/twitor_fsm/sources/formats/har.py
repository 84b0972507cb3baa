"""HTTP archives (HAR) that a browser's developer tools saved while x.com/i/bookmarks was scrolled through.

    {"log": {"entries": [{"request": {"url": ...}, "response": {"content": {"text": ...}}}]}}

Only the answers of the bookmarks listing are looked at. A HAR holds the user's cookies and tokens: nothing of it is kept
but what those answers say. Checked against the HAR 1.2 specification and how Chrome and Firefox fill it: `text` is the
body, in base64 if `encoding` says so, and missing where the browser had dropped it.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..base import InvalidRaw, Item
from ..loose_json import Unreadable, at, read_any, text_at
from ..x_items import MAX_ITEM_BYTES, invalid
from .web_capture import page_items

__all__ = ["LISTING_NAME", "Har"]

_NAMES: Final = "Bookmark(?:s|FolderTimeline|SearchTimeline)"
_LISTING: Final = re.compile(rf"/graphql/[^/?#]{{1,100}}/{_NAMES}(?:[?#]|$)")
_MENTIONED: Final = b"Bookmark"
LISTING_NAME: Final = re.compile(_NAMES.encode())
"""Stands somewhere in each capture that holds an answer of the listing."""
_OK: Final = 200


class Har:
    """Captures of the website's traffic."""

    word = "har"
    title = "HAR captures of x.com/i/bookmarks"
    is_likes = False
    if_empty = (
        "it is a HAR capture without an answer of the bookmarks listing; open the developer tools, then "
        "x.com/i/bookmarks, scroll to its end, and save it again with content"
    )

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """An entry has a request and a response; a kept one says so."""
        return "har_entry" in members or ("request" in members and "response" in members)

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The bookmarks of one answer; none for any other traffic, and for refusals."""
        if _MENTIONED not in element:
            return ()
        try:
            entry = read_any(element)
        except Unreadable:
            return (_lost(None, "it is no JSON text that can be read"),)
        url = text_at(entry, "request", "url") or ""
        is_read = text_at(entry, "request", "method") in (None, "GET")
        if _LISTING.search(url) is None or not is_read or _status(entry) != _OK:
            return ()
        body = _body(entry)
        if body is None:
            return (_lost(entry, "the capture holds no text of this answer; save it with content"),)
        found = page_items(body, limit)
        return (_lost(entry, "it is no page of the bookmarks listing"),) if found is None else found

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """What is kept of an answer without bookmarks cannot be decoded any better."""
        element = raw.encode("utf-8", "surrogateescape")
        return invalid(
            element,
            "nothing is kept of this answer but that it was there; save the capture again, with content",
        )


def _status(entry: Any) -> object:
    return at(entry, "response", "status")


def _body(entry: Any) -> bytes | None:
    """The answer's body; None if it is not there."""
    text = text_at(entry, "response", "content", "text")
    if text is None:
        return None
    if at(entry, "response", "content", "encoding") != "base64":
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return None


def _lost(entry: Any, message: str) -> InvalidRaw:
    """An answer that cannot be read: when it was given is kept of it, and neither cookies nor tokens."""
    kept = {"started": text_at(entry, "startedDateTime"), "status": _status(entry)}
    return invalid(json.dumps({"har_entry": kept}).encode(), message)
