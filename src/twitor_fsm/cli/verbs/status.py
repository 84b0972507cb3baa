"""`twitor status`: where every crawl stands, and what to do next."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..database import checkpoint_of, clear_name, database_of, opened
from ..options import common
from ..shapes import (
    checkpoint_error,
    checkpoint_shape,
    checkpoint_words,
    is_running,
    next_step,
    session_shape,
    state_line,
)
from ..terminal import emit, table, tell
from ..words import as_called, count, local_times, state_colour, what_happened, with_db

if TYPE_CHECKING:
    from ...core.progress import Checkpoint
    from ...core.records import CrawlKey, SessionRecord
    from ...engine import CrawlEngine
    from ...errors import RowUnreadable

SECTION = "Look"


@attrs.frozen
class Crawl:
    """One crawl as the database knows it."""

    key: "CrawlKey"
    bookmarks: int
    checkpoint: "Checkpoint | RowUnreadable | None"
    skipped: int
    due: int
    last: "SessionRecord | None"
    pause: str | None = None
    """Why the last session is paused; None if it is not."""

    @property
    def cleared(self) -> bool:
        """Whether bookmarks are stored and nothing says how far the listing was walked."""
        return self.checkpoint is None and self.bookmarks > 0


@click.command(short_help="Where every crawl stands, and what to do next.")
@common
def command(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Show every crawl: its last session, bookmarks, checkpoint, skipped items, and what to do next."""
    return asyncio.run(_status(db, as_json=as_json))


async def _status(db: str | None, *, as_json: bool) -> int:
    async with opened(db, look=True) as engine:
        name = clear_name(database_of(db, engine.settings))
        crawls = [await _look(engine, key) for key in await engine.store.crawls()]
        total = await engine.store.count_bookmarks()
        now = engine.clock.now()
    if as_json:
        emit(
            {
                "database": name,
                "bookmarks": total,
                "crawls": [_shape(c, db, now=now) for c in crawls],
            },
        )
        return 0
    tell(f"{name}: {count(total, 'bookmark')}, {count(len(crawls), 'crawl')}", bold=True)
    for crawl in crawls:
        _show(crawl, db, now=now)
    if not crawls:
        tell(f"  there is no crawl in it. Begin with: {with_db('twitor crawl', db)}")
    return 0


async def _look(engine: "CrawlEngine", key: "CrawlKey") -> Crawl:
    store = engine.store
    sessions = await store.sessions(crawl=key, limit=1)
    skipped, due = await store.count_skipped(key)
    checkpoint = await checkpoint_of(engine, key)
    return Crawl(
        key=key,
        bookmarks=checkpoint.bookmarks_count
        if checkpoint is not None and not isinstance(checkpoint, Exception)
        else await store.count_bookmarks(key.user_id),
        checkpoint=checkpoint,
        skipped=skipped,
        due=due,
        last=sessions[0] if sessions else None,
        pause=await _why_paused(engine, sessions[0]) if sessions else None,
    )


async def _why_paused(engine: "CrawlEngine", session: "SessionRecord") -> str | None:
    """What the step that began the pause says: how long it is may be an assumption."""
    from ...core.words import Trigger
    from ...errors import RowUnreadable

    if session.ended_at is not None or session.value.resume_at is None:
        return None
    with suppress(RowUnreadable):
        for row in reversed(await engine.store.journal(session.session_id)):
            if row.trigger == Trigger.RATE_LIMITED:
                return str(row.facts.get("message", "")) or None
    return None


def _shape(crawl: Crawl, db: str | None, *, now: float) -> dict[str, Any]:
    last = crawl.last
    waits = last is not None and last.ended_at is None
    return {
        "user_id": crawl.key.user_id,
        "source": crawl.key.source,
        "bookmarks": crawl.bookmarks,
        "skipped": crawl.skipped,
        "skipped_due": crawl.due,
        "checkpoint": checkpoint_shape(crawl.checkpoint),
        "checkpoint_error": checkpoint_error(crawl.checkpoint),
        "last_session": session_shape(last) if last else None,
        "state": str(last.value.state) if last else None,
        "reason": last.value.reason if last else None,
        "running": is_running(last) if last else False,
        "paused_until": last.value.resume_at if last and waits else None,
        "pause_message": crawl.pause,
        "next": _next(last, crawl, db, now=now) if last else None,
    }


def _show(crawl: Crawl, db: str | None, *, now: float) -> None:
    last = crawl.last
    tell("", f"user {crawl.key.user_id}, from {crawl.key.source}", bold=True)
    if last is not None:
        (state,) = table([("state", state_line(last, now=now))])
        tell(
            state.replace("state  ", "state       ", 1), colour=state_colour(str(last.value.state))
        )
    rows = [
        ("bookmarks", f"{crawl.bookmarks:,}" + (" stored of this user" if crawl.cleared else "")),
        ("checkpoint", as_called(checkpoint_words(crawl.checkpoint, now=now), db)),
    ]
    if crawl.skipped:
        due = f", {crawl.due:,} to be tried again by the next crawl" if crawl.due else ""
        rows.append(("skipped", f"{crawl.skipped:,}{due}   ({with_db('twitor skipped list', db)})"))
    if last is not None:
        message = last.message or crawl.pause
        if message:
            rows.append(("message", local_times(what_happened(message), now=now)))
        rows.append(("session", last.session_id))
        rows.append(("next", _next(last, crawl, db, now=now)))
    tell(*table(rows))


def _next(last: "SessionRecord", crawl: Crawl, db: str | None, *, now: float) -> str:
    if isinstance(crawl.checkpoint, Exception):
        return "repair or clear its checkpoint, then run your crawl command again"
    has_checkpoint = crawl.checkpoint is not None
    return next_step(
        last, db, now=now, has_checkpoint=has_checkpoint, cleared=crawl.cleared, due=crawl.due
    )
