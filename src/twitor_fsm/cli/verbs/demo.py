"""`twitor demo`: a crawl of a simulated account, with everything that usually goes wrong."""

import asyncio
from typing import TYPE_CHECKING, Final

import click

from ..database import opened, refuse_memory
from ..options import json_flag
from ..stopping import STOPPING, Stop, stoppable, stopped_early
from ..terminal import say, table
from ..words import with_db

if TYPE_CHECKING:
    from ...simulator import Simulator

SECTION = "Try out"

DB: Final = "demo.db"
BOOKMARKS: Final = 1000
WINDOW_S: Final = 4.0


@click.command(short_help="See it work, without an account: 1,000 simulated bookmarks.")
@click.option(
    "--db",
    metavar="PATH|URL",
    default=DB,
    show_default=True,
    help="The database to crawl into.",
)
@json_flag
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option(
    "-v", "--verbose", count=True, help="Show log records (-v INFO, -vv DEBUG) on stderr."
)
def command(
    db: str,
    as_json: bool,  # noqa: FBT001 - click passes by name
    quiet: bool,  # noqa: FBT001 - click passes by name
    verbose: int,
) -> int:
    """Crawl 1,000 bookmarks of a simulated X account into demo.db, and recover from what goes wrong.

    The simulator runs in this process and does what X does on a bad day: a server error, a broken
    connection, a rate limit (with a window of 4 seconds instead of 15 minutes), a bookmark without
    an id. Needs no account, key or network; takes some ten seconds. Interrupt it and run it again.
    """
    with Stop(STOPPING) as stop:
        from ..logging_setup import log_records

        with log_records(verbose=verbose, timed=not quiet):
            return asyncio.run(_demo(db, stop, as_json=as_json, quiet=quiet))


async def _demo(db: str, stop: Stop, *, as_json: bool, quiet: bool) -> int:
    stoppable(stop)
    from ...simulator import Simulator
    from ...sources.x_api import XBookmarks
    from ..crawling import deliver, run_session
    from ..outcome import Outcome
    from ..watching import watcher_for

    refuse_memory(db)
    simulator = Simulator(BOOKMARKS, faults="typical", window_s=WINDOW_S)
    try:
        async with simulator, opened(db, must_exist=False, begins=True) as engine:
            known = await engine.store.count_bookmarks(simulator.user_id)
            if not quiet:
                say(*_opening(simulator, db, known))
            report = await run_session(
                engine,
                XBookmarks(simulator.token, base_url=simulator.base_url),
                user_id=simulator.user_id,
                stop=stop,
                watcher=watcher_for(title="twitor demo", quiet=quiet),
            )
            outcome = Outcome(
                report=report,
                user_id_from="option",
                api_url=simulator.base_url,
                db=db,
                again=_again(db),
            )
            now = engine.clock.now()
    except asyncio.CancelledError:
        if stop.asked:
            raise stopped_early() from None
        raise
    return deliver(outcome, as_json=as_json, quiet=quiet, now=now, closing=_closing(db))


def _opening(simulator: "Simulator", db: str, known: int) -> list[str]:
    who = f"user {simulator.user_id}"
    if known:
        return [
            (
                f"The simulated X serves again at {simulator.base_url}, with the same {BOOKMARKS:,} "
                f"bookmarks of {who}."
            ),
            f"{db} holds {known:,} of them from an earlier run, and what became of that run.",
        ]
    return [
        f"A simulated X at {simulator.base_url} has {BOOKMARKS:,} bookmarks of {who}.",
        (
            f"They go into {db}. On the way: a server error, a broken connection, a rate limit, and a "
            "bookmark without an id."
        ),
    ]


def _again(db: str) -> str:
    return with_db("twitor demo", None if db == DB else db)


def _closing(db: str) -> list[str]:
    commands = [
        (with_db("twitor status", db), "where the crawl stands"),
        (with_db("twitor sessions show", db), "every step the state machine took"),
        (with_db("twitor skipped list", db), "what was left out, and why"),
        (with_db("twitor export", db) + " | head -3", "the bookmarks as JSON lines"),
        (_again(db), "again: finds nothing new, with one request"),
        (with_db("twitor simulate", None), "the simulated X alone, to crawl as you would X"),
    ]
    return ["Try next:", *table(commands)]
