"""`twitor forget`: deletes everything about a user, one who leaves or one who was mistyped."""

import asyncio
import sys
from typing import TYPE_CHECKING

import attrs
import click

from ..database import clear_name, database_of, opened, refuse_unknown_user
from ..failures import Failure
from ..options import common
from ..terminal import emit, is_terminal, say, tell
from ..words import count

if TYPE_CHECKING:
    from ...engine import CrawlEngine

SECTION = "Manage"


@click.command(short_help="Delete everything about a user.")
@common
@click.option("--user-id", metavar="ID", required=True, help="Whom.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    *,
    user_id: str,
    yes: bool,
) -> int:
    """Delete a user's bookmarks, skipped items, checkpoints, sessions and journals, from all sources.

    All or nothing, in one transaction; refused while a session of the user runs. Tokens, exported
    files, backups and dead letters of the queue are not touched. It cannot be undone.
    """

    async def run() -> int:
        async with opened(db) as engine:
            name = clear_name(database_of(db, engine.settings))
            await refuse_unknown_user(engine, user_id)
            if not yes:
                await _confirm(engine, user_id)
            gone = await engine.forget(user_id)
            tokens = engine.settings.token_dir
        if as_json:
            emit(attrs.asdict(gone))
            return 0
        kinds = (
            (gone.bookmarks, "bookmark"),
            (gone.skipped, "skipped item"),
            (gone.sessions, "session"),
        )
        what = ", ".join(count(number, word) for number, word in kinds if number)
        tell(
            f"user {user_id} is forgotten: {what or 'a crawl that brought nothing'}; {name} holds nothing of them"
        )
        if tokens is not None and user_id.isdecimal() and (tokens / user_id).exists():
            say(
                f"the user's token is still there, and `twitor enqueue crawl --all-users` asks for it: {tokens / user_id}"
            )
        return 0

    return asyncio.run(run())


async def _confirm(engine: "CrawlEngine", user_id: str) -> None:
    bookmarks = await engine.store.count_bookmarks(user_id)
    say(
        f"forgetting user {user_id}: {count(bookmarks, 'bookmark')}, and all sessions, checkpoints and skipped items, "
        "from every source; this cannot be undone"
    )
    if not is_terminal(sys.stdin):
        raise Failure("nothing was deleted: nobody is there to ask. Say --yes", 2)
    if not click.confirm("delete it all?", err=True):
        raise Failure("nothing was deleted", 2, error="declined")
