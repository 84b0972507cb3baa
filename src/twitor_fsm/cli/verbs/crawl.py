"""`twitor crawl`: starts or resumes, and ends in a known state."""

import asyncio
import shlex
from typing import TYPE_CHECKING

import attrs
import click

from ..database import checkpoint_of, clear_name, database_of, opened, refuse_memory
from ..failures import close, failure_of
from ..options import common, user_id
from ..sourcing import Wanted, address_of, source_of, user_of
from ..stopping import STOPPING, Stop, stoppable, stopped_early
from ..terminal import say
from ..words import with_db

if TYPE_CHECKING:
    from ...core.records import CrawlKey
    from ...engine import CrawlEngine

SECTION = "Crawl"


@attrs.frozen(kw_only=True)
class Options:
    """How to crawl and what to show."""

    db: str | None
    page_size: int | None
    max_items: int | None
    quiet: bool
    as_json: bool
    verbose: int
    log_json: bool


def _refuse_more(
    ctx: click.Context, _param: click.Parameter, more: tuple[str, ...]
) -> tuple[str, ...]:
    """Two names are two crawls, whose ends and options would be mixed up in one command."""
    if more:
        one_by_one = ", then ".join(
            f"twitor {shlex.join(('crawl', name))}" for name in (ctx.params["source"], more[0])
        )
        raise click.UsageError(
            f"one command crawls one file, and {1 + len(more)} were given; nothing was started. "
            f"They go one after the other: {one_by_one}{', ...' if more[1:] else ''}",
            ctx,
        )
    return more


@click.command(short_help="Bring bookmarks into the database: starts, or resumes.")
@click.argument("source", default="x", metavar="[x|FILE]")
@click.argument("more", nargs=-1, metavar="", expose_value=False, callback=_refuse_more)
@common
@click.option("--api-url", metavar="URL", help="Another address of the API, such as a simulator's.")
@user_id("Whose bookmarks.  [default: the database's only user, else whom the token belongs to]")
@click.option("--page-size", type=click.IntRange(1, 100), help="Items to ask for per request.")
@click.option(
    "--expand",
    metavar="WHAT",
    help="What to fetch beside the posts: all, none, or some of author,media,referenced,long_text.",
)
@click.option(
    "--max-items",
    type=click.IntRange(min=1),
    help="Stop when so many are stored, resumably; pages are fetched (and billed) whole.",
)
@click.option(
    "--no-wait", is_flag=True, help="End at a rate-limit pause instead of waiting it out."
)
@click.option("--likes", is_flag=True, help="Store the likes that a FILE holds.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option(
    "-v", "--verbose", count=True, help="Show log records (-v INFO, -vv DEBUG) on stderr."
)
@click.option("--log-json", is_flag=True, help="Log records as JSON; stderr holds nothing else.")
def command(
    source: str,
    api_url: str | None,
    user_id: str | None,
    expand: str | None,
    *,
    no_wait: bool,
    likes: bool,
    **options: object,
) -> int:
    """Bring the bookmarks of X, or of a FILE saved earlier, into the database.

    Starts or resumes: the same command twice is always right. After an interruption it goes on where
    the last checkpoint stands; after a completed crawl it brings what is new.

    The token is never given here but in the environment: X_BEARER_TOKEN (or TWITOR_TOKEN_DIR, a
    folder with a file for each user).

    A FILE holds saved API v2 pages, an export of twitor, twitter-web-exporter, Twillot or fieldtheory-cli,
    captured answers of x.com (JSON or HAR), or X's data archive; it is told by its content. A file
    named x is ./x.

    Ends with 0 completed, 1 fatal, 2 usage, 10 token, 11 paused (--no-wait), 12 network, 13 too
    many skips, 14 database, 75 interrupted: run it again.
    """
    wanted = Wanted(
        source=source,
        api_url=api_url,
        user_id=user_id,
        expand=expand,
        wait=not no_wait,
        likes=likes,
    )
    chosen = Options(**options)  # type: ignore[arg-type]  # click checked them
    with Stop(STOPPING) as stop:
        from ..logging_setup import log_records

        with log_records(verbose=chosen.verbose, as_json=chosen.log_json, timed=not chosen.quiet):
            try:
                return asyncio.run(_crawl(wanted, chosen, stop))
            except Exception as exc:
                if not chosen.log_json:
                    raise
                # A record as well.
                return close(failure_of(exc), as_json=chosen.as_json, db=chosen.db)


async def _begun(engine: "CrawlEngine") -> "list[CrawlKey]":
    """The crawls that came to something: a user that was refused at once says nothing about whose token it is."""
    crawls = await engine.store.crawls()
    return [crawl for crawl in crawls if await checkpoint_of(engine, crawl) is not None]


async def _crawl(wanted: Wanted, options: Options, stop: Stop) -> int:
    stoppable(stop)
    from ...config import get_settings
    from ..crawling import deliver, other_address, run_session
    from ..outcome import Outcome
    from ..watching import watcher_for

    settings = get_settings()
    silent = options.quiet or options.log_json
    source = source_of(wanted, settings, quiet=silent)
    database = database_of(options.db, settings)
    refuse_memory(database)
    try:
        async with opened(options.db, settings=settings, must_exist=False, begins=True) as engine:
            user_id, known_from = await user_of(
                wanted,
                source,
                await _begun(engine),
                settings=settings,
                clock=engine.clock,
                quiet=silent,
            )
            if not silent:
                say(f"crawling {source.name} into {clear_name(database)}")
            report = await run_session(
                engine,
                source,
                user_id=user_id,
                stop=stop,
                watcher=watcher_for(title=f"twitor crawl {wanted.source}", quiet=silent),
                wait=wanted.wait,
                max_items=options.max_items,
                page_size=options.page_size,
            )
            outcome = Outcome(
                report=report,
                user_id_from=known_from,
                api_url=other_address(address_of(wanted, settings)),
                db=options.db,
                again=_same_command(wanted, options),
                is_no_wait=not wanted.wait,
            )
            return deliver(
                outcome, as_json=options.as_json, quiet=options.quiet, now=engine.clock.now()
            )
    except asyncio.CancelledError:
        if stop.asked:
            raise stopped_early() from None
        raise
    finally:
        await source.aclose()


def _same_command(wanted: Wanted, options: Options) -> str:
    """The command as it was given, with every option that decides what is crawled, and how far."""
    from ...config import without_password

    words = ["crawl"] if wanted.is_x else ["crawl", wanted.source]
    if wanted.source.startswith("-"):
        words[1] = f"./{wanted.source}"
    api_url = wanted.api_url
    if api_url is not None and "@" in api_url:
        api_url = without_password(api_url)
    given = (
        ("--api-url", api_url),
        ("--user-id", wanted.user_id),
        ("--page-size", options.page_size),
        ("--expand", wanted.expand),
        ("--max-items", options.max_items),
    )
    for name, value in given:
        if value is not None:
            words += [name, str(value)]
    if wanted.likes:
        words.append("--likes")
    if not wanted.wait:
        words.append("--no-wait")
    return with_db(f"twitor {shlex.join(words)}", options.db)
