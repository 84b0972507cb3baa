"""Our own `twitor export`, as JSON or JSON Lines: what one database holds, for another.

The source's own object becomes the bookmark's again where it is of a format that we read and says what the line says; so
what was read and exported once more is the same, and is as rich as it was. Else (a source of an app's own) the line is kept.
When and from where it was stored, and what a handler returned for it, belong to the database that it left: not taken over.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from ..base import InvalidRaw, Item, ItemKind
from ..json_split import NotJson, split_object
from ..loose_json import Unreadable, at, read_any, text_at
from ..richness import NOTHING, richness
from ..x_decode import decode_element
from ..x_items import MAX_ITEM_BYTES, as_text, invalid, is_id, too_large, utc
from .base import Format
from .one_record import post_of

__all__ = ["OwnExport"]

_NAMES: Final = frozenset({"id", "text", "author_id", "kind", "source", "stored_at", "raw"})

_DEEPEST: Final = 8
"""Lines in lines that are looked into: we write two at most, and each costs a look at all that it holds."""


class OwnExport:
    """Lines of `twitor export`."""

    word = "own_export"
    title = "an export of twitor as JSON or JSON Lines: {id, text, kind, stored_at, raw, ...}"
    is_likes = False
    if_empty = None

    def __init__(self, others: Sequence[Format]) -> None:
        """Know the formats that a source's own object may have."""
        self._others: Final = others

    def recognises(self, members: Mapping[str, bytes], /) -> bool:
        """A line says when it was stored, and holds the source's own object."""
        return members.keys() >= _NAMES

    def decode(self, element: bytes, limit: int = MAX_ITEM_BYTES) -> Sequence[Item | InvalidRaw]:
        """The one bookmark of a line."""
        return (self._read(element, limit),)

    def decode_kept(self, raw: str, limit: int = MAX_ITEM_BYTES) -> Item | InvalidRaw:
        """One kept line."""
        return self._read(raw.encode("utf-8", "surrogateescape"), limit)

    def _read(self, element: bytes, limit: int) -> Item | InvalidRaw:
        """A line; its object is a line itself where the database that it left had kept one."""
        lines: list[Item] = []
        form: Format | None = self
        inner = element
        found: Item | InvalidRaw
        while form is self:
            if len(lines) == _DEEPEST:
                return invalid(element, f"it holds more than {_DEEPEST} lines, one in the other")
            found, inner = _told(inner, limit)
            if isinstance(found, InvalidRaw):
                break
            lines.append(found)
            form = self._form_of(inner)
        else:
            raw = as_text(inner)
            found = decode_element(raw, limit) if form is None else form.decode_kept(raw, limit)
        for line in reversed(lines):
            if not isinstance(found, Item) or not _says_the_same(found, line):
                found = line
        return found

    def _form_of(self, text: bytes) -> Format | None:
        """Whose an object is, as `FORMATS` tells it; None if it is nobody's."""
        try:
            members = split_object(text)
        except NotJson:
            return None
        found = next((form for form in self._others if form.recognises(members)), None)
        return self if found is None and self.recognises(members) else found


def _told(element: bytes, limit: int) -> tuple[Item | InvalidRaw, bytes]:
    """What a line says, and the source's object in it. The limit holds for that, and for all that stands around it."""
    try:
        inner = split_object(element)["raw"]
        if max(len(inner), len(element) - len(inner)) > limit:
            return too_large(element, limit), b""
        return _item(read_any(element), element), inner
    except NotJson:
        return invalid(element, "it is no object"), b""
    except KeyError:
        return invalid(element, "it does not hold the source's own object (raw)"), b""
    except Unreadable as exc:
        return invalid(element, str(exc)), b""


def _item(record: Any, element: bytes) -> Item | InvalidRaw:
    key, kind, text = at(record, "id"), at(record, "kind"), at(record, "text")
    if not isinstance(key, str) or not is_id(key):
        return invalid(element, "its id is not 1 to 100 visible ASCII characters")
    if kind not in _KINDS or not isinstance(text, str | None):
        return invalid(
            element, "it is neither a post nor a tombstone, or its text is none", key=key
        )
    columns = (
        text_at(record, "author_id"),
        text_at(record, "author_username"),
        text_at(record, "author_name"),
        utc(at(record, "created_at")),
    )
    told = NOTHING if kind == ItemKind.TOMBSTONE else richness(text, columns)
    return attrs.evolve(post_of(element, key, text, columns, richness=told), kind=ItemKind(kind))


_KINDS: Final = tuple(kind.value for kind in ItemKind)


def _says_the_same(one: Item, other: Item) -> bool:
    def columns(item: Item) -> tuple[str | None, ...]:
        named = (item.author_id, item.author_username, item.author_name, item.created_at)
        return (item.key, item.kind, item.text, *named)

    return columns(one) == columns(other)
