"""`twitor enqueue`: asks for crawls; workers run them."""

import asyncio
from typing import TYPE_CHECKING, Final

import click

from ..database import file_of, opened
from ..failures import Failure
from ..groups import NamingGroup
from ..options import common
from ..queueing import queue_of, queue_settings, tell_queue
from ..sourcing import Wanted, source_of
from ..terminal import emit, say, tell
from ..words import count, is_x_user

if TYPE_CHECKING:
    from pathlib import Path

    from ...config import Settings

SECTION = "Crawl"

_SHOWN: Final = 20  # users whom a line names


@click.group(cls=NamingGroup, short_help="Ask for crawls that workers run.")
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

        settings = queue_settings(db)
        for user_id in users:
            source_of(Wanted(user_id=user_id, user_option="--user"), settings)
        # First, since what is refused leaves nothing behind; a server's database has nothing made in it by looking.
        file = file_of(settings.database_url)
        crawled = await _crawled_users(db, settings, file) if all_users or file else set()
        odd = sorted(user_id for user_id in crawled if all_users and not is_x_user(user_id))
        wanted = _all_users(crawled - {*odd}, settings) if all_users else sorted(set(users))
        async with (
            queue_of(db, must_exist=False) as queue,
            opened(db, settings=settings, must_exist=False) as engine,
        ):
            tell_queue(queue, db)
            if odd:
                say(
                    f"left out, since X has no such ids and the app that crawls them goes on with them: {_shown(odd)}"
                )
            asked = [
                await ask_for_crawl(queue, user_id=user_id, engine=engine) for user_id in wanted
            ]
        new = sum(crawl.is_new for crawl in asked)
        if as_json:
            tasks = [crawl.task_id for crawl in asked]
            left_out = {"left_out": odd} if all_users else {}
            emit({"tasks": tasks, "asked_for": new, "already_queued": len(asked) - new, **left_out})
        else:
            tell(f"{count(new, 'crawl')} asked for, {len(asked) - new:,} already in the queue")
        return 0

    return asyncio.run(run())


def _shown(users: list[str]) -> str:
    more = f" and {len(users) - _SHOWN:,} more" if len(users) > _SHOWN else ""
    return ", ".join(map(repr, users[:_SHOWN])) + more


async def _crawled_users(db: str | None, settings: "Settings", file: "Path | None") -> set[str]:
    """Whose crawls of X the database knows; nothing is made, and a file that is not ours is refused."""
    if file is not None and not file.exists():
        return set()
    async with opened(db, settings=settings, must_exist=False, look=file is not None) as engine:
        return {crawl.user_id for crawl in await engine.store.crawls() if crawl.source == "x"}


def _all_users(crawled: set[str], settings: "Settings") -> list[str]:
    found = set(crawled)
    if settings.token_dir is not None and settings.token_dir.is_dir():
        found |= {file.name for file in settings.token_dir.iterdir() if file.name.isdecimal()}
    if not found:
        raise Failure(
            "no user is known: the database has no crawl of X, and TWITOR_TOKEN_DIR no token; nothing was added. "
            "Name users with --user",
            2,
        )
    return sorted(found)
