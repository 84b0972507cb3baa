"""JSON exports of twitter-web-exporter, a userscript: an array of flat records, newest bookmark first.

Source: prinsss/twitter-web-exporter at 53fce06. Its dates are in the user's own format, so only those with a zone are
understood; with "include all metadata" a record has X's web object too, which says the date in a fixed form.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ..base import InvalidRaw, Item
from ..x_items import MAX_ITEM_BYTES, as_text, invalid, is_id, utc

__all__ = ["WebExporter"]

_ZONED: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(Z|[+-]\d\d:?\d\d)", re.ASCII
)
"""Its default, "2024-05-01 12:34:56 +08:00", and ISO 8601."""
_WEB_DATE: Final = "%a %b %d %H:%M:%S %z %Y"


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


class WebExporter:
    """Records of the exporter's JSON form."""

    word = "web_exporter"
    title = "JSON exports of twitter-web-exporter: an array of {id, full_text, screen_name, ...}"

    def recognises(self, members: Mapping[str, bytes]) -> bool:
        """A record has its text under `full_text`."""
        return "full_text" in members and "id" in members

    def decode(self, element: bytes) -> Sequence[Item | InvalidRaw]:
        """The one bookmark of a record."""
        return (_decode(element),)

    def decode_kept(self, raw: str) -> Item | InvalidRaw:
        """One kept record."""
        return _decode(raw.encode("utf-8", "surrogateescape"))


def _decode(element: bytes) -> Item | InvalidRaw:
    if len(element) > MAX_ITEM_BYTES:
        return invalid(element, f"it is larger than {MAX_ITEM_BYTES} bytes")
    try:
        record = _record.decode(element)
    except msgspec.ValidationError as exc:
        return invalid(element, f"it is no record of the exporter: {exc}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return invalid(element, "it is no JSON text that can be read")
    if not is_id(record.id):
        return invalid(element, "its id is not 1 to 100 visible ASCII characters")
    created_at = _created_at(record)
    known = (
        record.user_id,
        record.screen_name,
        record.name,
        created_at,
        record.media or None,
        record.quoted_status or None,
        record.favorite_count,
    )
    return Item(
        key=record.id,
        raw=as_text(element),
        text=record.full_text,
        author_id=record.user_id,
        author_username=record.screen_name,
        author_name=record.name,
        created_at=created_at,
        richness=1 + sum(fact is not None for fact in known),
    )


def _created_at(record: _Record) -> str | None:
    """When it was posted, as far as that is certain: X's own date, else the exporter's if it names a zone."""
    legacy = record.metadata.get("legacy") if isinstance(record.metadata, dict) else None
    said = legacy.get("created_at") if isinstance(legacy, dict) else None
    if isinstance(said, str):
        try:
            return utc(datetime.strptime(said, _WEB_DATE).astimezone(UTC).isoformat())
        except ValueError:
            pass
    if not isinstance(record.created_at, str):
        return None
    found = _ZONED.fullmatch(record.created_at.strip())
    return utc(f"{found[1]}T{found[2]}{found[3]}") if found is not None else utc(record.created_at)
