"""A source that serves a list of ids and fails as a script says, and a clock that does not wait."""

import asyncio
from collections.abc import Callable

import attrs
import msgspec

from twitor_fsm.core.listing import End
from twitor_fsm.sources.base import InvalidRaw, Item, Page, Usage


class VirtualClock:
    """Time that passes only by sleeping, and then at once; every sleep is noted."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.time = start
        self.sleeps: list[float] = []
        self.gate: asyncio.Event | None = None
        """When set, sleeps wait for it."""

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        if self.gate is not None:
            await self.gate.wait()
        self.time += seconds
        await asyncio.sleep(0)


def item(key: str) -> Item:
    """A bookmark with this id."""
    raw = msgspec.json.encode({"id": key, "text": f"text of {key}"}).decode()
    return Item(key=key, raw=raw, text=f"text of {key}", author_id="7")


def invalid(key: str) -> InvalidRaw:
    """An element that cannot be decoded."""
    return InvalidRaw(key=key, raw=msgspec.json.encode({"id": key}).decode(), message="no text")


@attrs.define
class ScriptedSource:
    """Pages of a list.

    Attributes:
        ids: The listing, newest first.
        script: Errors by request number (from 1): raised instead of a page.
        bad: Ids that cannot be decoded.
        end: What the last page says of the end.
        on_request: Called with the number of each request.
    """

    ids: list[str]
    script: dict[int, BaseException] = attrs.field(factory=dict)
    bad: set[str] = attrs.field(factory=set)
    end: End = End.VERIFIED
    name: str = "x"
    service: str = "x"
    endpoint: str = "bookmarks"
    page_sizes: tuple[int, ...] = ()
    price_usd: float | None = 0.001
    requests: int = 0
    fetched: list[str | None] = attrs.field(factory=list)
    on_request: Callable[[int], None] = lambda _: None
    closed_until: Callable[[int], float | None] = lambda _: None
    closed: bool = False
    size: int = 20

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        self.requests += 1
        self.fetched.append(cursor)
        self.on_request(self.requests)
        await asyncio.sleep(0)
        error = self.script.get(self.requests)
        if error is not None:
            raise error
        start = 0 if cursor is None else int(cursor)
        size = page_size or self.size
        keys = self.ids[start : start + size]
        more = start + size < len(self.ids)
        return Page(
            items=tuple(invalid(k) if k in self.bad else item(k) for k in keys),
            next_cursor=str(start + size) if more else None,
            end=End.MORE if more else self.end,
            usage=Usage(requests=1, items=len(keys), closed_until=self.closed_until(self.requests)),
        )

    def decode(self, raw: str) -> Item | InvalidRaw:
        key = msgspec.json.decode(raw)["id"]
        return invalid(key) if key in self.bad else item(key)

    async def aclose(self) -> None:
        self.closed = True


def ids(count: int, start: int = 1000) -> list[str]:
    """Ids of unequal length, the newest bookmark first, in no order of size."""
    return [str((start + n * 7919) % 100_003) for n in range(count)]


async def stored(engine: object, user_id: str = "me") -> list[str]:
    """Ids in the database, in the order in which they were stored."""
    bookmarks = engine.bookmarks(user_id)  # type: ignore[attr-defined]
    return [bookmark.id async for bookmark in bookmarks]
