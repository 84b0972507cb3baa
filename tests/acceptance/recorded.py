"""Sessions worth seeing, each from a real run: the engine, a SQLite file, the simulated X over sockets, one clock.

Nothing in them depends on the hour, the machine or chance, so that a journal recorded again is the same byte for byte.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import attrs
from virtual import Watched, World, death, world

from twitor_fsm.config import Settings
from twitor_fsm.core.states import JournalRow
from twitor_fsm.simulator import Fault, FaultKind, ItemFault, ItemKind

__all__ = ["SESSIONS", "Recorded", "record"]

REQUEST_S: Final = 1.4
"""How long each request takes on the clock, from 0.9 to 1.1 of it."""


@attrs.frozen
class Recorded:
    """One session as it went."""

    title: str
    rows: tuple[JournalRow, ...]
    started_at: float
    now: float
    alive: bool | None


def _source(w: World) -> Watched:
    """The simulated X, each request of which takes some time."""

    def take_time(number: int) -> None:
        w.clock.time += round(REQUEST_S * (0.9 + 0.2 * (number * 7919 % 101) / 100), 3)

    return Watched(w.source(), take_time)


async def _read(w: World, session_id: str, title: str, *, alive: bool | None = None) -> Recorded:
    async with w.engine() as engine:
        record = await engine.status(session_id)
        rows = await engine.journal(session_id)
    return Recorded(title, tuple(rows), record.started_at, w.clock.time, alive)


async def _one(
    folder: Path, title: str, bookmarks: int, *faults: Fault, **options: object
) -> Recorded:
    items = (ItemFault(kind=ItemKind.MISSING_ID, at=(333,)),)
    wait = bool(options.pop("wait", True))
    later = float(str(options.pop("later", 0.0)))
    settings = Settings(prefetch=0)
    async with world(folder, bookmarks, *faults, items=items, settings=settings) as w:
        report = await w.crawl(_source(w), wait=wait)
        w.clock.time += later
        return await _read(w, report.session_id, title, alive=False if later else None)


async def _killed(folder: Path, title: str) -> Recorded:
    faults = (
        Fault(kind=FaultKind.SERVER_ERROR, at=(3,)),
        Fault(kind=FaultKind.TRUNCATED, at=(9,)),
    )
    async with world(folder, 700, *faults, settings=Settings(prefetch=0)) as w:
        async with death(w, die_at=6, after=False, source=_source(w)):
            w.clock.time += 21.0
            report = await w.crawl(_source(w))
        return await _read(w, report.session_id, title)


def _many(kind: FaultKind, *at: int, **options: object) -> Fault:
    return Fault(kind=kind, at=at, **options)  # type: ignore[arg-type]


SESSIONS: Final[dict[str, Callable[[Path], Awaitable[Recorded]]]] = {
    "typical": lambda folder: _one(
        folder,
        "A typical session: two failed requests, a used-up window, a broken item",
        1000,
        _many(FaultKind.SERVER_ERROR, 3),
        _many(FaultKind.TRUNCATED, 6),
        _many(FaultKind.RATE_LIMITED, 9),
    ),
    "network-down": lambda folder: _one(
        folder,
        "The network goes down and stays down: five tries, then an end with a checkpoint",
        1000,
        _many(FaultKind.SERVER_ERROR, *range(5, 60)),
    ),
    "rate-limit": lambda folder: _one(
        folder,
        "A session paused by the rate limit",
        1000,
        _many(FaultKind.SERVER_ERROR, 4),
        _many(FaultKind.RATE_LIMITED, 6),
        wait=False,
        later=39.6,
    ),
    "auth": lambda folder: _one(
        folder,
        "The token is refused in mid-crawl: an end without a checkpoint of its own",
        1000,
        _many(FaultKind.SERVER_ERROR, 4),
        _many(FaultKind.UNAUTHORIZED, 7),
    ),
    "fatal": lambda folder: _one(
        folder,
        "The account's credits run out: a checkpoint, a clean end, nothing to wait for",
        1000,
        _many(FaultKind.TRUNCATED, 3),
        _many(FaultKind.CREDITS_DEPLETED, 8),
    ),
    "killed": lambda folder: _killed(
        folder, "Killed in mid-crawl; another process goes on with the same session"
    ),
}
"""How each is recorded, by name."""


def record(name: str) -> Recorded:
    """Run a session and read it; takes about a second."""
    folder = Path(tempfile.mkdtemp(prefix="recorded-"))
    try:
        return asyncio.run(_run(SESSIONS[name], folder))
    finally:
        shutil.rmtree(folder)


async def _run(recipe: Callable[[Path], Awaitable[Recorded]], folder: Path) -> Recorded:
    return await recipe(folder)
