"""Values to and from columns: JSON texts, session rows, checkpoints.

Our JSON is pure ASCII, so that every database keeps it whatever text it quotes.
Must not know: statements, connections.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from ..core.listing import Mark
from ..core.progress import Checkpoint
from ..core.records import Counters, CrawlKey, Owner, SessionRecord, Skip
from ..core.states import JournalRow, SessionValue
from ..core.taxonomy import ErrorCategory
from ..sources.base import Item
from .base import Bookmark, SkippedRow

__all__ = [
    "bookmark_from",
    "checkpoint_from",
    "counters_text",
    "item_columns",
    "journal_columns",
    "journal_row_from",
    "json_text",
    "mark_from",
    "mark_text",
    "owner_from",
    "owner_text",
    "session_from",
    "skip_from",
    "skipped_row_from",
    "value_columns",
]

_MARK = tuple(a.name for a in attrs.fields(Mark))
_MARK_DEFAULTS = {a.name: a.default for a in attrs.fields(Mark)}
_JOURNAL = tuple(a.name for a in attrs.fields(JournalRow))
_encode = json.JSONEncoder(
    separators=(",", ":")
).encode  # made once; json.dumps makes one each time
_COUNTERS = tuple(a.name for a in attrs.fields(Counters))
_NUMBERS = (
    "ordinal",
    "seq",
    "tries",
    "fence",
    "revision",
    "lease_until",
    "started_at",
    "updated_at",
)
_BOOKMARK_TEXTS = ("item_id", "kind", "source", "raw")
_BOOKMARK_TEXTS_OR_NONE = (
    "text",
    "author_id",
    "author_username",
    "author_name",
    "created_at",
    "result",
)
_TEXTS = ("session_id", "user_id", "source", "state", "message")
_NUMBERS_OR_NONE = ("retry_at", "resume_at", "ended_at")


def json_text(value: object) -> str:
    """Compact ASCII JSON."""
    return _encode(value)


def mark_text(mark: Mark) -> str:
    """A mark as JSON; what has its default is left out."""
    values = ((name, getattr(mark, name)) for name in _MARK)
    return json_text({name: v for name, v in values if v != _MARK_DEFAULTS[name]})


def mark_from(text: str) -> Mark:
    """The mark that `mark_text` wrote."""
    return Mark(**json.loads(text))


def counters_text(counters: Counters) -> str:
    """Counters as JSON."""
    values = {name: getattr(counters, name) for name in _COUNTERS}
    values["errors"] = dict(counters.errors)
    return json_text(values)


def _counters_from(text: str) -> Counters:
    found = Counters(**json.loads(text))
    _require_numbers(getattr(found, name) for name in _COUNTERS if name != "errors")
    _require_numbers(found.errors.values())
    return found


def _require_numbers(values: Iterable[object]) -> None:
    """SQLite keeps text in a column of numbers, too; whoever compares it with one would be surprised."""
    if not all(isinstance(value, (int, float)) for value in values):
        raise TypeError("a number was expected")


def _require_text(values: Iterable[object]) -> None:
    """SQLite keeps bytes in a column of text, too."""
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a text was expected")


def owner_text(owner: Owner) -> str:
    """An owner as JSON."""
    return json_text(attrs.asdict(owner))


def owner_from(text: str | None) -> Owner | None:
    """The owner that `owner_text` wrote."""
    return None if text is None else Owner(**json.loads(text))


def value_columns(value: SessionValue) -> dict[str, Any]:
    """Columns of `twitor_session` that hold the machine's value."""
    return {
        "state": value.state,
        "seq": value.seq,
        "tries": value.tries,
        "retry_at": value.retry_at,
        "resume_at": value.resume_at,
        "category": value.category,
        "reason": value.reason,
        "absorbed": json_text(value.absorbed),
    }


def session_from(row: Mapping[str, Any]) -> SessionRecord:
    """A row of `twitor_session` joined with its crawl's user and source.

    Raises:
        ValueError, TypeError, AttributeError: No version of ours wrote it.
    """
    _require_text(row[name] for name in _TEXTS)
    _require_numbers(row[name] for name in _NUMBERS)
    _require_numbers(row[name] for name in _NUMBERS_OR_NONE if row[name] is not None)
    category = row["category"]
    return SessionRecord(
        session_id=row["session_id"],
        crawl=CrawlKey(row["user_id"], row["source"]),
        ordinal=row["ordinal"],
        value=SessionValue(
            state=row["state"],
            seq=row["seq"],
            tries=row["tries"],
            retry_at=row["retry_at"],
            resume_at=row["resume_at"],
            category=None if category is None else ErrorCategory(category),
            reason=row["reason"],
            absorbed=tuple(json.loads(row["absorbed"])),
        ),
        counters=_counters_from(row["counters"]),
        fence=row["fence"],
        revision=row["revision"],
        owner=owner_from(row["owner"]),
        lease_until=row["lease_until"],
        cancel_wish=row["cancel_wish"],
        resumed_from=row["resumed_from"],
        message=row["message"],
        durable=bool(row["durable"]),
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        ended_at=row["ended_at"],
    )


def checkpoint_from(row: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint in a row of `twitor_crawl`; None if it has none.

    Raises:
        Exception: Of any class; no version of ours wrote it.
    """
    if not row["has_checkpoint"]:
        return None
    _require_numbers((row["bookmarks_count"], row["generation"]))
    return Checkpoint(
        last_tweet_id=row["last_tweet_id"],
        bookmarks_count=row["bookmarks_count"],
        last_crawled_at=datetime.fromtimestamp(row["last_crawled_at"], UTC),
        mark=mark_from(row["mark"]),
        generation=row["generation"],
    )


def journal_columns(session_id: str, row: JournalRow) -> dict[str, Any]:
    """A journal row as columns of `twitor_journal`."""
    columns = {name: getattr(row, name) for name in _JOURNAL}
    return {**columns, "session_id": session_id, "facts": json_text(dict(row.facts))}


def journal_row_from(row: Mapping[str, Any]) -> JournalRow:
    """The journal row that `journal_columns` made columns of.

    Raises:
        Exception: Of any class; no version of ours wrote it.
    """
    category = row["category"]
    facts = json.loads(row["facts"])
    _require_text(row[name] for name in ("trigger", "source", "target", "spec"))
    _require_numbers(row[name] for name in ("at", "delay_s", "tries", "tries_allowed"))
    if not isinstance(facts, dict):
        raise TypeError("an object was expected")
    return JournalRow(
        seq=row["seq"],
        at=row["at"],
        trigger=row["trigger"],
        source=row["source"],
        target=row["target"],
        category=None if category is None else ErrorCategory(category),
        reason=row["reason"],
        delay_s=row["delay_s"],
        tries=row["tries"],
        tries_allowed=row["tries_allowed"],
        facts=facts,
        spec=row["spec"],
        absorbed=bool(row["absorbed"]),
    )


def item_columns(item: Item) -> dict[str, Any]:
    """What `twitor_bookmark` keeps of an item."""
    return {
        "item_id": item.key,
        "text": item.text,
        "author_id": item.author_id,
        "author_username": item.author_username,
        "author_name": item.author_name,
        "created_at": item.created_at,
        "kind": item.kind,
        "richness": item.richness,
        "raw": item.raw,
    }


def bookmark_from(row: Mapping[str, Any]) -> Bookmark:
    """A row of `twitor_bookmark`.

    Raises:
        TypeError: No version of ours wrote it.
    """
    _require_text(row[name] for name in _BOOKMARK_TEXTS)
    _require_text(row[name] for name in _BOOKMARK_TEXTS_OR_NONE if row[name] is not None)
    _require_numbers((row["stored_at"],))
    return Bookmark(
        id=row["item_id"],
        text=row["text"],
        author_id=row["author_id"],
        author_username=row["author_username"],
        author_name=row["author_name"],
        created_at=row["created_at"],
        kind=row["kind"],
        source=row["source"],
        stored_at=row["stored_at"],
        result=row["result"],
        raw=row["raw"],
    )


def skip_from(row: Mapping[str, Any]) -> Skip:
    """The skip in a row of `twitor_skipped`.

    Raises:
        ValueError, TypeError: No version of ours wrote it.
    """
    _require_text(row[name] for name in ("item_key", "raw", "reason", "message"))
    _require_numbers((row["at"],))
    return Skip(
        key=row["item_key"],
        raw=row["raw"],
        category=ErrorCategory(row["category"]),
        reason=row["reason"],
        message=row["message"],
        at=row["at"],
    )


def skipped_row_from(row: Mapping[str, Any]) -> SkippedRow:
    """A row of `twitor_skipped` joined with its crawl's user and source."""
    return SkippedRow(
        crawl=CrawlKey(row["user_id"], row["source"]),
        skip=skip_from(row),
        tries=row["tries"],
        due=bool(row["due"]),
    )
