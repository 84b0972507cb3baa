"""`twitor enqueue`: asks for crawls; workers run them."""

import asyncio
from typing import TYPE_CHECKING

import click

from ..database import opened
from ..failures import Failure
from ..options import common
from ..queueing import queue_of, queue_settings
from ..sourcing import Wanted, source_of
from ..terminal import emit, tell
from ..words import count

if TYPE_CHECKING:
    from ...config import Settings
    from ...engine import CrawlEngine

SECTION = "Crawl"


@click.group(short_help="Ask for crawls that workers run.")
def command() -> None:
    """Put tasks into the queue; `twitor worker` runs them."""


@command.command("crawl")
@common
@click.option("--user", "users", metavar="ID", multiple=True, help="Whose bookmarks; repeatable.")
@click.option(
    "--all-users",
    is_flag=True,
    help="All users that the database has crawled, and all with a file in TWITOR_TOKEN_DIR.",
)
def crawl(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    users: tuple[str, ...],
    all_users: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Ask for crawls of X bookmarks.

    Meant for cron: while a user's crawl is asked for or runs, nothing is added.
    """
    if bool(users) == all_users:
        raise click.UsageError("say either --user ID or --all-users")

    async def run() -> int:
        from ...worker import ask_for_crawl

        settings = queue_settings(db, quiet=True)
        for user_id in users:
            source_of(Wanted(user_id=user_id, user_option="--user"), settings)
        async with (
            queue_of(db, must_exist=False) as queue,
            opened(db, settings=settings, must_exist=False) as engine,
        ):
            wanted = await _all_users(engine, settings) if all_users else sorted(set(users))
            asked = [
                await ask_for_crawl(queue, user_id=user_id, engine=engine) for user_id in wanted
            ]
        new = sum(crawl.is_new for crawl in asked)
        if as_json:
            tasks = [crawl.task_id for crawl in asked]
            emit({"tasks": tasks, "asked_for": new, "already_queued": len(asked) - new})
        else:
            tell(f"{count(new, 'crawl')} asked for, {len(asked) - new:,} already in the queue")
        return 0

    return asyncio.run(run())


async def _all_users(engine: "CrawlEngine", settings: "Settings") -> list[str]:
    found = {crawl.user_id for crawl in await engine.store.crawls() if crawl.source == "x"}
    if settings.token_dir is not None and settings.token_dir.is_dir():
        found |= {file.name for file in settings.token_dir.iterdir() if file.name.isdecimal()}
    if not found:
        raise Failure(
            "no user is known: the database has no crawl of X, and TWITOR_TOKEN_DIR no token; nothing was added. "
            "Name users with --user",
            2,
        )
    return sorted(found)
