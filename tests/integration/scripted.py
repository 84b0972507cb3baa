"""Ids to crawl, and what of them is in a database."""


def ids(count: int, start: int = 1000) -> list[str]:
    """Ids of unequal length, the newest bookmark first, in no order of size."""
    return [str((start + n * 7919) % 100_003) for n in range(count)]


async def stored(engine: object, user_id: str = "me") -> list[str]:
    """Ids in the database, in the order in which they were stored."""
    bookmarks = engine.bookmarks(user_id)  # type: ignore[attr-defined]
    return [bookmark.id async for bookmark in bookmarks]
