"""`twitor sessions`: every attempt at a crawl, its journal, and how to end one."""

import asyncio
from typing import TYPE_CHECKING

import click

from ..database import find_session, opened, refuse_unknown_user
from ..failures import Failure, close
from ..groups import NamingGroup
from ..journals import journal_of
from ..options import common, user_id
from ..shapes import session_shape, state_line
from ..terminal import emit, printable, table, tell
from ..words import (
    ago,
    as_called,
    clock_time,
    count,
    duration,
    local_times,
    parts,
    short_owner,
    state_colour,
    state_words,
    what_happened,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...core.records import SessionRecord
    from ...core.states import JournalRow

SECTION = "Look"


@click.group(cls=NamingGroup, short_help="The sessions: list, show with journal, cancel, resume.")
def command() -> None:
    """Look at sessions and end them. A session is one attempt at a crawl.

    An ID may be shortened to any unique beginning; `last` is the newest.
    """


@command.command("list")
@common
@user_id("Only this user's.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
def list_sessions(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    user_id: str | None,
    limit: int,
) -> int:
    """List sessions, newest first."""

    async def run() -> int:
        async with opened(db, look=True) as engine:
            if user_id is not None:
                await refuse_unknown_user(engine, user_id)
            records = await engine.store.sessions(user_id=user_id, limit=limit)
            now = engine.clock.now()
        if as_json:
            emit({"sessions": [session_shape(record) for record in records]})
        elif not records:
            tell(as_called("no sessions yet. Begin with: twitor crawl", db))
        for record in () if as_json else records:
            tell(*_brief(record, now=now))
        return 0

    return asyncio.run(run())


def _brief(record: "SessionRecord", *, now: float) -> list[str]:
    crawl, counters = record.crawl, record.counters
    return [
        f"{record.session_id}  {state_line(record, now=now)}",
        f"    user {crawl.user_id} from {crawl.source}, started {ago(record.started_at, now=now)}: "
        + (
            parts(
                [
                    (counters.stored, "stored"),
                    (counters.already_known, "known already"),
                    (counters.skipped, "skipped"),
                ]
            )
            or "no item"
        ),
    ]


@command.command("show", short_help="One session: its counts, and every step it took.")
@click.argument("session_id", metavar="[ID]", required=False)
@common
@click.option("--journal", "only_journal", is_flag=True, help="Print the journal as JSONL.")
def show_session(
    session_id: str | None,
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    only_journal: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Show one session (without an ID the newest): its counts, and every step it took.

    The journal as JSONL is what `twitor diagram --journal` draws and `twitor replay` takes again.
    """
    from ...journal import row_shape

    async def run() -> int:
        async with opened(db, look=True) as engine:
            record = await find_session(engine, session_id)
            now = engine.clock.now()
            journal, bad = await journal_of(engine, record)
        if only_journal:
            for row in journal:
                whose = {"session_id": record.session_id, "started_at": record.started_at}
                emit(row_shape(row) | whose)
        elif as_json:
            rows = [row_shape(row) for row in journal]
            emit({**session_shape(record), "journal": rows, "journal_error": bad and str(bad)})
        else:
            _show(record, journal, gap="is missing" if bad is None else "cannot be read", now=now)
        if bad is None:
            return 0
        failure = Failure(f"{bad}. All other steps are shown", 14)
        return close(failure, as_json=False, db=db)  # stdout holds one object, or steps alone

    return asyncio.run(run())


def _show(
    record: "SessionRecord", journal: "Sequence[JournalRow]", *, gap: str, now: float
) -> None:
    counters = record.counters
    tell(f"session {record.session_id}", bold=True)
    tell(f"  {state_line(record, now=now)}", colour=state_colour(str(record.value.state)))
    rows = [
        (
            "crawl",
            f"user {record.crawl.user_id} from {record.crawl.source}; this is its session {record.ordinal}",
        ),
        (
            "started",
            f"{clock_time(record.started_at, now=now)} ({ago(record.started_at, now=now)})",
        ),
        (
            "items",
            (
                f"{counters.seen:,} seen = {counters.stored:,} stored + {counters.already_known:,} known "
                f"already + {counters.skipped:,} skipped"
            ),
        ),
        (
            "requests",
            (
                f"{counters.requests:,}, {count(counters.items_fetched, 'item')} fetched, "
                f"retries {counters.retries}, pauses {counters.pauses}"
            ),
        ),
        ("errors", parts([(n, name) for name, n in sorted(counters.errors.items())]) or "none"),
    ]
    if record.message:
        rows.append(("message", local_times(what_happened(record.message), now=now)))
    if record.resumed_from is not None:
        rows.append(("continues", record.resumed_from))
    if record.cancel_wish is not None and record.ended_at is None:
        rows.append(("cancel", f"asked for ({record.cancel_wish})"))
    tell(*table(rows))
    is_empty = not journal and record.value.seq == 0
    tell("", "journal: no step yet" if is_empty else "journal", bold=True)
    tell(*(f"  {line}" for line in _steps(record, journal, gap=gap, now=now)))


def _steps(
    record: "SessionRecord", journal: "Sequence[JournalRow]", *, gap: str, now: float
) -> "Iterator[str]":
    """A line for each step, and one for all between two steps of which there is none."""
    told = 0
    for row in journal:
        yield from _gap(told, row.seq, gap)
        yield _step(row, now=now)
        told = max(told, row.seq)
    yield from _gap(told, record.value.seq + 1, gap)


def _gap(before: int, after: int, gap: str) -> "Iterator[str]":
    first, last = before + 1, after - 1
    if first == last:
        yield f"{first:>3}  {gap}"
    elif first < last:
        yield f"{first:>3}  to {last}: {gap}"


def _step(row: "JournalRow", *, now: float) -> str:
    change = row.target if row.source == row.target else f"{row.source} -> {row.target}"
    notes = [row.reason.replace("_", " ")] if row.reason else []
    if row.delay_s:
        notes.append(f"wait {duration(row.delay_s)}")
    if row.tries:
        notes.append(f"failure {row.tries} of {row.tries_allowed}")
    if row.absorbed:
        notes.append("changed nothing")
    if row.facts.get("item"):
        notes.append(f"item {row.facts['item']}")
    if row.facts.get("message"):
        notes.append(local_times(what_happened(str(row.facts["message"])), now=now))
    line = f"{row.seq:>3}  {clock_time(row.at, now=now)}  {row.trigger:<14} {change}"
    return printable(line + (f"  ({'; '.join(notes)})" if notes else ""))


@command.command("cancel", short_help="End a session gracefully, wherever it runs.")
@click.argument("session_id", metavar="ID")
@common
def cancel_session(
    session_id: str,
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """End a session gracefully, wherever it runs: it saves a checkpoint, so nothing is lost."""

    async def run() -> int:
        async with opened(db) as engine:
            found = await find_session(engine, session_id)
            was_over = found.ended_at is not None
            record = found if was_over else await engine.cancel(found.session_id)
            lease_s = engine.settings.lease_s
        if as_json:
            emit({**session_shape(record), "was_over": was_over})
        elif was_over:
            tell(
                f"session {record.session_id} is over already: {state_words(str(record.value.state))}"
            )
        elif record.ended_at is not None:
            kept = "nobody had begun it" if found.is_only_asked_for else "its checkpoint stands"
            tell(f"session {record.session_id} is ended; {kept}")
        else:
            tell(
                f"session {record.session_id} was asked to end ({short_owner(str(record.owner))} runs it); it does so "
                f"with its next commit or sign of life, within {duration(lease_s / 3)}"
            )
        return 0

    return asyncio.run(run())


@command.command("resume", short_help="Have a worker go on with a session's crawl.")
@click.argument("session_id", metavar="ID")
@common
def resume_session(
    session_id: str,
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Have a worker go on with the crawl of a session, from its last checkpoint."""

    async def run() -> int:
        from ...worker import enqueue_crawl
        from ..queueing import queue_of, tell_queue

        async with opened(db) as engine:
            crawl = (await find_session(engine, session_id)).crawl
            if crawl.source != "x":
                raise Failure(
                    f"session {session_id} is of {crawl.source}, and workers crawl X alone; nothing was added. Go on with "
                    "the command that began it",
                    2,
                )
            async with queue_of(db) as queue:
                tell_queue(queue, db)
                task_id = await enqueue_crawl(
                    queue, user_id=crawl.user_id, source=crawl.source, engine=engine
                )
        if as_json:
            emit({"task_id": task_id, "user_id": crawl.user_id, "source": crawl.source})
        else:
            tell(
                f"the crawl of user {crawl.user_id} from {crawl.source} is in the queue; a worker goes on with it"
            )
        return 0

    return asyncio.run(run())
