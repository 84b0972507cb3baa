"""`twitor checkpoint`: where a crawl would go on, and how to make it begin anew."""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..database import checkpoint_of, one_crawl, opened, refuse_unknown_user
from ..failures import Failure
from ..groups import NamingGroup
from ..options import common, user_id
from ..shapes import checkpoint_error, checkpoint_shape, checkpoint_words
from ..terminal import emit, is_terminal, say, table, tell
from ..words import as_called, count

if TYPE_CHECKING:
    from ...core.progress import Checkpoint
    from ...core.records import CrawlKey
    from ...errors import RowUnreadable

SECTION = "Manage"

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group(cls=NamingGroup, short_help="Where a crawl would go on: show, clear.")
def command() -> None:
    """Look at checkpoints, and clear one so that a crawl begins anew."""


def _which(function: _F) -> _F:
    source = click.option(
        "--source", metavar="NAME", help="Only the crawl of this source (x, ...)."
    )
    return user_id("Only this user's crawl.")(source(function))


@command.command("show")
@common
@_which
def show_checkpoint(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    user_id: str | None,
    source: str | None,
) -> int:
    """Show the checkpoint of every crawl."""

    async def run() -> int:
        async with opened(db, look=True) as engine:
            if user_id is not None:
                await refuse_unknown_user(engine, user_id)
            found = [
                (key, await checkpoint_of(engine, key))
                for key in await engine.store.crawls()
                if user_id in (None, key.user_id) and source in (None, key.source)
            ]
            now = engine.clock.now()
        if as_json:
            emit({"checkpoints": [_shape(key, checkpoint) for key, checkpoint in found]})
            return 0
        if not found:
            tell(as_called("no crawl yet, so no checkpoint. Begin with: twitor crawl", db))
        for key, checkpoint in found:
            tell(f"user {key.user_id}, from {key.source}", bold=True)
            rows = [("checkpoint", as_called(checkpoint_words(checkpoint, now=now), db))]
            if checkpoint is not None and not isinstance(checkpoint, Exception):
                rows.append(("next page", checkpoint.cursor or "the top of the listing"))
            tell(*table(rows))
        return 0

    return asyncio.run(run())


def _shape(key: "CrawlKey", checkpoint: "Checkpoint | RowUnreadable | None") -> dict[str, Any]:
    return {
        "user_id": key.user_id,
        "source": key.source,
        "checkpoint": checkpoint_shape(checkpoint),
        "checkpoint_error": checkpoint_error(checkpoint),
    }


@command.command("clear", short_help="Forget where a crawl stands: the next walks it all.")
@common
@_which
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear_checkpoint(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    user_id: str | None,
    source: str | None,
    yes: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """Forget where a crawl stands: the next one walks the whole listing, and pays for it, again.

    Stored bookmarks stay, and none is stored twice.
    """

    async def run() -> int:
        async with opened(db) as engine:
            key = await one_crawl(engine, user_id, source)
            stored = await checkpoint_of(engine, key)
            if isinstance(stored, Exception):
                walked = await engine.store.count_bookmarks(key.user_id)
            else:
                walked = stored.bookmarks_count if stored is not None else 0
            if not yes:
                _confirm(key, walked)
            await engine.checkpoints(key.user_id, key.source).clear_checkpoint()
        if as_json:
            emit({"user_id": key.user_id, "source": key.source, "cleared": stored is not None})
        else:
            tell(
                "the checkpoint is cleared; every bookmark stays. Your crawl command begins at the "
                "top when it is run again"
            )
        return 0

    return asyncio.run(run())


def _confirm(key: "CrawlKey", walked: int) -> None:
    say(f"clearing the checkpoint of user {key.user_id} from {key.source}:")
    say(
        f"  the next crawl walks the whole listing again ({count(walked, 'bookmark')} known so far);"
    )
    if key.source == "x":
        say(
            f"  X bills what is fetched: about {walked * 0.001:.2f} USD for the owner of the "
            f"developer app, {walked * 0.005:.2f} USD otherwise"
        )
    say("  stored bookmarks stay, and none is stored twice")
    if not is_terminal(sys.stdin):
        raise Failure("nothing was cleared: nobody is there to ask. Say --yes", 2)
    if not click.confirm("clear it?", err=True):
        raise Failure("nothing was cleared", 2, error="declined")
