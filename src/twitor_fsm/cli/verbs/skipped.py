"""`twitor skipped`: items that were left out, and how to have them tried again."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from ..database import opened, refuse_unknown_user
from ..failures import Failure
from ..groups import NamingGroup
from ..options import common, user_id
from ..terminal import emit, say, tell
from ..words import ago, count, what_happened, with_db

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engine import CrawlEngine
    from ...storage.base import SkippedRow

SECTION = "Look"

_DIGEST: Final = "sha256:"
"""Begins the key of an item without an id."""

_WHOLE: Final = len(_DIGEST) + 64
"""Characters of such a key."""

_SHOWN: Final = 3
"""Keys that are named when a beginning fits several."""

_MANY: Final = 1_000_000
"""Skipped items that a beginning is looked for among: all of them."""


@click.group(cls=NamingGroup, short_help="Items that were left out: list, try again.")
def command() -> None:
    """Look at items that were left out, and have them tried again. They are kept with what they hold."""


@command.command("list")
@common
@user_id("Only this user's.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--raw", is_flag=True, help="What the source gave, too.")
def list_skipped(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    user_id: str | None,
    limit: int,
    raw: bool,  # noqa: FBT001 - click passes by name
) -> int:
    """List skipped items, oldest first."""

    async def run() -> int:
        async with opened(db, look=True) as engine:
            if user_id is not None:
                await refuse_unknown_user(engine, user_id)
            rows = await engine.store.skipped(user_id=user_id, limit=limit)
            now = engine.clock.now()
        if as_json:
            emit({"skipped": [_shape(row, raw=raw) for row in rows]})
            return 0
        if not rows:
            tell("nothing is skipped")
        for row in rows:
            due = ", to be tried again" if row.due else ""
            tell(
                f"{row.skip.key}",
                f"    {row.skip.category.value} ({row.skip.reason}): {what_happened(row.skip.message)}",
                f"    user {row.crawl.user_id} from {row.crawl.source}, {ago(row.skip.at, now=now)}, "
                f"{count(row.tries, 'failed attempt')}{due}",
                *([f"    {row.skip.raw}"] if raw else []),
            )
        if rows:
            if len(rows) == limit:
                say(f"these are the first {limit:,}; --limit shows more")
            say(f"try them again: {with_db('twitor skipped retry', db)}, then crawl")
        return 0

    return asyncio.run(run())


def _shape(row: "SkippedRow", *, raw: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": row.skip.key,
        "user_id": row.crawl.user_id,
        "source": row.crawl.source,
        "category": row.skip.category.value,
        "reason": row.skip.reason,
        "message": row.skip.message,
        "at": row.skip.at,
        "tries": row.tries,
        "due": row.due,
    }
    return {**shape, "raw": row.skip.raw} if raw else shape


@command.command("retry")
@click.argument("keys", nargs=-1, metavar="[KEYS]...")
@common
@user_id("Only this user's.")
def retry_skipped(
    keys: tuple[str, ...],
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    user_id: str | None,
) -> int:
    """Have skipped items (all, or those named by their KEYS) tried again.

    A key that begins with sha256: may be shortened to any unique beginning, also to the one that a crawl shows.

    This marks them; the next crawl of the same source tries them first, from what was kept, without a request. A file
    that was changed since is another source.
    """

    async def run() -> int:
        async with opened(db) as engine:
            if user_id is not None:
                await refuse_unknown_user(engine, user_id)
            wanted = await _whole(engine, user_id, keys) if keys else None
            marked = await engine.retry_skipped(user_id, keys=wanted)
        if keys and not marked:
            raise Failure(
                "none of these is a skipped item; nothing was changed. "
                "The keys are in: twitor skipped list",
                2,
            )
        if as_json:
            emit({"marked": marked})
        elif marked:
            tell(
                f"{count(marked, 'skipped item')} marked; the next crawl of the same source (an X "
                f"account, or a file as it was) tries {'it' if marked == 1 else 'them'} first: run your crawl command again, with the "
                f"options you crawled with{'' if db is None else with_db(' and', db)}"
            )
        else:
            tell("nothing is skipped, so there is nothing to try again")
        return 0

    return asyncio.run(run())


async def _whole(
    engine: "CrawlEngine", user_id: str | None, keys: "Sequence[str]"
) -> tuple[str, ...]:
    """The keys, those of digests that were shortened made whole; an id of the service is never guessed at.

    Raises `Failure` for a beginning that several skipped items share.
    """
    if all(map(_is_plain, keys)):
        return tuple(keys)
    rows = await engine.store.skipped(user_id=user_id, limit=_MANY)
    known = {row.skip.key for row in rows}
    return tuple(key if key in known or _is_plain(key) else _only_one(key, known) for key in keys)


def _is_plain(key: str) -> bool:
    return not key.startswith(_DIGEST) or len(key) >= _WHOLE


def _only_one(key: str, known: set[str]) -> str:
    """The key with this beginning; itself if there is none."""
    beginning = key.removesuffix("…")  # as a crawl shows it
    found = sorted(other for other in known if other.startswith(beginning))
    if len(found) <= 1:
        return found[0] if found else key
    more = ", ..." if len(found) > _SHOWN else ""
    raise Failure(
        f"{len(found)} skipped items begin with {key!r}; nothing was changed. "
        f"Give more of the key: {', '.join(found[:_SHOWN])}{more}",
        2,
    )
