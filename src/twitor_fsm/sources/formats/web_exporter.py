"""Exports of twitter-web-exporter, a userscript: flat records, newest bookmark first, as a JSON array or as CSV.

Checked against prinsss/twitter-web-exporter: the columns at 9f0327a, the writers at 4cb8035. Its dates are in the user's
own format, so only those with a zone are understood; with "include all metadata" a record has X's web object too, which
says the date in a fixed form. Its CSV writes nothing as "null", objects as JSON and a line's end as a backslash and an n: a
row is turned back into the record that its JSON export would hold, and a text that had those two characters itself gets a
line's end instead. A row whose id a spreadsheet program has rounded gets it back from its address.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..base import InvalidRaw, Item
from ..loose_json import Unreadable, at, read_any
from ..richness import richness
from ..web_posts import item_of, shown_post, web_date
from ..x_items import UNREADABLE, invalid, usable_id, utc
from .one_record import OneRecord, post_of

__all__ = ["WEB_EXPORTER", "record_of", "says_not_bookmarked"]

_ZONED: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(Z|[+-]\d\d:?\d\d)", re.ASCII
)
"""Its default, "2024-05-01 12:34:56 +08:00", and ISO 8601."""
_ID: Final = re.compile(r"\d{1,20}", re.ASCII)
_ADDRESS: Final = re.compile(r"https?://[^/]{1,50}/[^/]{1,50}/status/(\d{1,20})", re.ASCII)
_TEXTS: Final = frozenset(
    {"id", "created_at", "full_text", "screen_name", "name", "user_id", "url"}
)
"""Columns of which the CSV's text is the value."""
_ESCAPED: Final = {"\\n": "\n", "\\r": "\r"}


class _Record(msgspec.Struct):
    id: str
    full_text: str
    created_at: Any = None
    screen_name: str | None = None
    name: str | None = None
    user_id: str | None = None
    media: Any = None
    quoted_status: Any = None
    favorite_count: Any = None
    metadata: Any = None


_record: Final = msgspec.json.Decoder(_Record)


def _read(element: bytes) -> Item | InvalidRaw:
    try:
        record = _take_apart(element)
    except msgspec.ValidationError as exc:
        found = usable_id(element)
        key = found if found is not None and _ID.fullmatch(found) else None
        return invalid(element, f"it is no record of the exporter: {exc}", key=key)
    if _ID.fullmatch(record.id) is None:
        return invalid(
            element, "its id is not 1 to 20 digits (a spreadsheet program rounds ids: export again)"
        )
    web = _web_item(record, element)
    dated = web_date(at(shown_post(record.metadata), "legacy", "created_at"))
    created_at = dated or _created_at(record.created_at)
    columns = (record.user_id, record.screen_name, record.name, created_at)
    others = (
        (len(record.media) if isinstance(record.media, list) else 0)
        + bool(record.quoted_status)
        + (record.favorite_count is not None)
    )
    told = richness(record.full_text, columns, others=others)
    best = max(told, web.richness) if web is not None else told
    return post_of(element, record.id, record.full_text, columns, richness=best)


def _take_apart(element: bytes) -> _Record:
    try:
        return _record.decode(element)
    except msgspec.ValidationError:
        raise
    except UNREADABLE:
        pass
    try:
        return msgspec.convert(read_any(element), _Record)
    except UnicodeEncodeError:  # a name with a lone surrogate, which msgspec does not look up
        raise Unreadable("it is no JSON text that can be read") from None


def _web_item(record: _Record, element: bytes) -> Item | None:
    """What the web object of a record says, if it has one, of the same post."""
    if not isinstance(record.metadata, dict):
        return None
    found = item_of(shown_post(record.metadata), element, listed_as=record.id)
    return found if isinstance(found, Item) and found.key == record.id else None


def _created_at(said: object) -> str | None:
    """When it was posted, as far as that is certain: a date without a zone is not."""
    if not isinstance(said, str):
        return None
    found = _ZONED.fullmatch(said.strip())
    return utc(f"{found[1]}T{found[2]}{found[3]}") if found is not None else web_date(said)


def _is_record(members: Mapping[str, bytes]) -> bool:
    """A record has its text under `full_text`."""
    return "full_text" in members and "id" in members and "tweet_id" not in members


WEB_EXPORTER: Final = OneRecord(
    word="web_exporter",
    title="exports of twitter-web-exporter as JSON or CSV: {id, full_text, screen_name, ...}",
    recognises=_is_record,
    read=_read,
)
"""Records of the exporter's JSON form."""


def says_not_bookmarked(members: Mapping[str, bytes]) -> bool:
    """Whether a record says that its post is not bookmarked: it comes from another of the exporter's tables."""
    return members.get("bookmarked") == b"false"


def record_of(row: Mapping[str, str]) -> dict[str, Any]:
    """The record that a row of the CSV was written from."""
    record = {name: _value(name, text) for name, text in row.items()}
    address = _ADDRESS.match(row.get("url", ""))
    if address is not None:
        record["id"] = address[1]
    return record


def _value(name: str, text: str) -> Any:
    if name == "full_text":
        return re.sub(r"\\[nr]", lambda found: _ESCAPED[found[0]], text)
    if text in ("", "null"):
        return None
    if name in _TEXTS:
        return text
    try:
        value = read_any(text.encode("utf-8", "surrogateescape"))
    except Unreadable:
        lowered = text.lower()
        return {"true": True, "false": False}.get(lowered, text)  # TRUE: a spreadsheet's own
    return (
        value
        if isinstance(value, (list, dict, bool)) or _ID.fullmatch(text) is None
        else _number(name, text)
    )


def _number(name: str, text: str) -> int | str:
    """Counts are numbers; everything else of digits is an id, which stays text."""
    return int(text) if name.endswith("_count") else text
