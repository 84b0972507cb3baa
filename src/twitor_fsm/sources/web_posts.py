"""Posts as X's own website gets them (GraphQL): the object, and what becomes of it as an item.

Checked against the types and readers of prinsss/twitter-web-exporter (f8e1d18) and afar1/fieldtheory-cli (6fd91d3), whose
authors read the live site: the text is `legacy.full_text`, a long post's is in `note_tweet`; the author's names stand
under `core` since 2025 and under `legacy` before, and both are met.
Pure. Must not know: where the object came from.
"""

import re
from typing import Any, Final

import attrs

from .base import InvalidRaw, Item, ItemKind
from .loose_json import at, count_at, list_at, text_at
from .richness import NOTHING, richness
from .x_items import as_text, invalid, is_id, utc

__all__ = ["item_of", "shown_post", "web_date"]

_WEB_DATE: Final = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d\d:\d\d:\d\d) ([+-]\d{4}) (\d{4})", re.ASCII
)
_NAMES: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_MONTHS: Final = {name: f"{number:02}" for number, name in enumerate(_NAMES, 1)}
"""In English whatever the locale, which `strptime` would go by."""
_ABSENT: Final = frozenset({"TweetTombstone", "TweetUnavailable", "TweetPreviewDisplay"})
"""Kinds of a result that shows no post: deleted, protected, withheld, for subscribers only."""


def web_date(text: object) -> str | None:
    """A date as the website writes it ("Wed May 01 04:34:56 +0000 2024"), or in ISO 8601 with a zone; else None."""
    if not isinstance(text, str):
        return None
    found = _WEB_DATE.fullmatch(text)
    month = _MONTHS.get(found[1]) if found is not None else None
    if found is None or month is None:
        return utc(text)
    return utc(f"{found[5]}-{month}-{found[2]}T{found[3]}{found[4]}")


def shown_post(result: Any) -> Any:
    """The post within a result: itself, or within the wrapper of one with limited visibility."""
    inner = at(result, "tweet")
    return inner if isinstance(inner, dict) else result


@attrs.frozen(kw_only=True)
class _Author:
    id: str | None
    username: str | None
    name: str | None


def _author(post: Any) -> _Author:
    user = at(post, "core", "user_results", "result")
    return _Author(
        id=text_at(user, "rest_id") or text_at(post, "legacy", "user_id_str"),
        username=text_at(user, "core", "screen_name") or text_at(user, "legacy", "screen_name"),
        name=text_at(user, "core", "name") or text_at(user, "legacy", "name"),
    )


def item_of(result: Any, element: bytes, *, listed_as: str | None) -> Item | InvalidRaw:
    """A result of a listing as an item.

    Args:
        result: The result's object; None where the website had none to show.
        element: The text that is kept of it.
        listed_as: The id under which the listing names it, if it does.
    """
    post = shown_post(result)
    key = text_at(post, "rest_id") or text_at(post, "legacy", "id_str") or listed_as
    if not is_id(key) or key is None:
        return invalid(element, "it names no post")
    if result is None or text_at(result, "__typename") in _ABSENT:
        return Item(key=key, raw=as_text(element), kind=ItemKind.TOMBSTONE, richness=NOTHING)
    long = text_at(post, "note_tweet", "note_tweet_results", "result", "text")
    text = long or at(post, "legacy", "full_text")
    if not isinstance(text, str):
        return invalid(element, "it has no text", key=key)
    author, created_at = _author(post), web_date(at(post, "legacy", "created_at"))
    columns = (author.id, author.username, author.name, created_at)
    return Item(
        key=key,
        raw=as_text(element),
        text=text,
        author_id=author.id,
        author_username=author.username,
        author_name=author.name,
        created_at=created_at,
        richness=richness(text, columns, others=_others(post), is_whole=long is not None),
    )


def _others(post: Any) -> int:
    """Counts, links and author count one each; so does each medium and the quoted post."""
    media = list_at(post, "legacy", "extended_entities", "media")
    return (
        count_at(post, "legacy", "favorite_count")
        + count_at(post, "legacy", "entities")
        + count_at(post, "core", "user_results", "result")
        + count_at(post, "quoted_status_result", "result")
        + count_at(post, "views", "count")
        + len(media or list_at(post, "legacy", "entities", "media"))
    )
