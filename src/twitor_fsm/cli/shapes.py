"""Sessions, crawls and checkpoints as plain values under stable keys, for `--json`; and in words, for people.

Must not know: terminals, databases.
"""

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from ..core.states import State
from .words import (
    ago,
    before_again,
    clock_time,
    count,
    duration,
    is_x_user,
    say_again,
    short_owner,
    state_words,
    with_db,
)

if TYPE_CHECKING:
    from ..core.progress import Checkpoint
    from ..core.records import SessionRecord
    from ..errors import RowUnreadable

__all__ = [
    "checkpoint_error",
    "checkpoint_shape",
    "checkpoint_words",
    "is_running",
    "next_step",
    "session_shape",
    "state_line",
]


DEMO_USER: Final = "2244994945"
"""Whom `twitor demo` crawls: the simulator's first user; nobody can crawl that one from X."""


def session_shape(record: "SessionRecord") -> dict[str, Any]:
    """A session; the keys of `crawl --json`, as far as the database knows them."""
    from ..core.states import DEFAULT_SPEC
    from ..report import report_of_record

    return {
        **report_of_record(record, DEFAULT_SPEC),
        "ordinal": record.ordinal,
        "running": is_running(record),
    }


def is_running(record: "SessionRecord") -> bool:
    """Whether somebody who is not certainly dead runs it."""
    from ..clock import SystemClock
    from ..ownership import is_gone

    if record.ended_at is not None or record.owner is None:
        return False
    return not is_gone(record.owner) and record.lease_until > SystemClock().now()


def checkpoint_shape(checkpoint: "Checkpoint | RowUnreadable | None") -> dict[str, Any] | None:
    """A checkpoint; None also for one that cannot be read, which `checkpoint_error` tells."""
    if checkpoint is None or isinstance(checkpoint, Exception):
        return None
    return {
        "last_tweet_id": checkpoint.last_tweet_id,
        "bookmarks_count": checkpoint.bookmarks_count,
        "last_crawled_at": checkpoint.last_crawled_at.timestamp(),
        "cursor": checkpoint.cursor,
        "page_size": checkpoint.page_size,
        "position": checkpoint.position,
        "generation": checkpoint.generation,
        "under_way": checkpoint.mark.under_way,
    }


def checkpoint_error(checkpoint: "Checkpoint | RowUnreadable | None") -> str | None:
    """Why a checkpoint cannot be read; None if it can, or if there is none."""
    return str(checkpoint) if isinstance(checkpoint, Exception) else None


def checkpoint_words(checkpoint: "Checkpoint | RowUnreadable | None", *, now: float) -> str:
    """A checkpoint in one line."""
    if checkpoint is None:
        return "none (the next crawl begins at the top)"
    if isinstance(checkpoint, Exception):
        return str(checkpoint)
    at = checkpoint.last_crawled_at.timestamp()
    mark = checkpoint.mark
    where = "in mid-listing" if mark.under_way else "at the end of the listing"
    if mark.under_way and mark.position == 0 and mark.cursor is None:
        where = "at the top of the listing"
    return (
        f"{ago(at, now=now)}, {where}, {count(checkpoint.bookmarks_count, 'bookmark')}, "
        f"last id {checkpoint.last_tweet_id or 'none'}"
    )


def state_line(record: "SessionRecord", *, now: float) -> str:
    """Where a session stands."""
    value = record.value
    words = state_words(str(value.state))
    if value.reason is not None:
        words += f" ({value.reason.replace('_', ' ')})"
    if value.resume_at is not None and record.ended_at is None:
        left = value.resume_at - now
        words += (
            f" until {clock_time(value.resume_at, now=now)} (in {duration(left)})"
            if left > 0
            else ", the pause is over"
        )
    if record.ended_at is not None:
        return f"{words}, {ago(record.ended_at, now=now)}"
    if is_running(record):
        return f"{words}; runs now in {short_owner(str(record.owner))}"
    if record.is_only_asked_for:
        return "asked for; nobody has begun it"
    if value.state == State.PAUSED_RATE_LIMIT:
        return f"{words}; nobody runs it now"
    return f"interrupted: it was {words}, and nobody runs it now"


def next_step(
    record: "SessionRecord",
    db: str | None,
    *,
    now: float,
    has_checkpoint: bool = True,
    cleared: bool = False,
    due: int = 0,
) -> str:
    """What a person does about it.

    Args:
        record: The crawl's last session.
        db: What `--db` was, or None.
        now: Epoch seconds.
        has_checkpoint: Whether the crawl has one.
        cleared: Bookmarks are stored, and there is no checkpoint any more.
        due: Skipped items that are to be tried again.
    """
    value = record.value
    if is_running(record):
        cancel = with_db(f"twitor sessions cancel {record.session_id}", db)
        return f"wait, or end it: {cancel}"
    again = _again(record, db)
    is_waiting = record.ended_at is None and record.is_only_asked_for
    if is_waiting and is_x_user(record.crawl.user_id):
        return f"wait for a worker ({with_db('twitor queue health', db)} looks at the queue), or {again}"
    if cleared:
        paid = ", and X bills it again" if record.crawl.source == "x" else ""
        return f"{again}   (walks the whole listing again{paid}; nothing is stored twice)"
    if record.ended_at is None:
        where = "goes on from the checkpoint" if has_checkpoint else "begins at the top"
        return f"{_by_itself(record, now=now)}{again}   ({where})"
    if str(value.state) == "completed":
        is_file = record.crawl.source.startswith("file:")
        if due:
            new = "" if is_file else ", then brings what is new"
            return f"{again}   (tries {count(due, 'skipped item')} again{new})"
        on = with_db("twitor export", db)
        return f"{on} > bookmarks.jsonl" if is_file else f"{again}   (brings what is new)"
    before = before_again(value.category, value.reason)
    return f"{before} {again}".strip()


def _by_itself(record: "SessionRecord", *, now: float) -> str:
    """When a worker takes up a session that nobody runs; whether there is one, the database does not know."""
    if record.crawl.source != "x" or not is_x_user(record.crawl.user_id):
        return ""  # workers crawl X, as their source and token allow
    from ..worker import SWEEP_S

    since = max(record.lease_until, record.value.resume_at or 0.0)
    if since <= now:
        when = f"within {duration(SWEEP_S)}"
    else:
        why = "its lease ends" if since == record.lease_until else "the pause is over"
        when = f"when {why} at {clock_time(since, now=now)}"
    return f"a worker on this database takes it up by itself {when}; without one, "


def _again(record: "SessionRecord", db: str | None) -> str:
    """The command that goes on, as far as it is known: the database does not hold the options, nor the address."""
    source, user_id = record.crawl.source, record.crawl.user_id
    if user_id == DEMO_USER and db is not None and PurePath(db).name == "demo.db":
        return with_db("twitor demo", None if db == "demo.db" else db)
    again = say_again(source, db, user_id)
    if source == "x" and is_x_user(user_id):
        return (
            f"your crawl command again, with the options you crawled with (--api-url, ...): {again}"
        )
    return f"your crawl command again: {again}" if source.startswith("file:") else again
