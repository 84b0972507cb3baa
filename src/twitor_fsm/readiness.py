"""Waiting for the database's schema: a worker that is older or newer than it stays, and goes on by itself.

On PostgreSQL nobody migrates but `twitor db upgrade`; whoever rolls out a new version may start its workers before it.
Must not know: what a worker does, how a schema is brought up.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from .clock import Clock
from .engine import CrawlEngine
from .errors import OtherSchemaVersion, StoreUnavailable
from .log_facts import logger_of

__all__ = ["LOOK_S", "REPEAT_S", "open_when_ready"]

LOOK_S: Final = 5.0
"""How often the schema is looked at meanwhile, seconds."""

REPEAT_S: Final = 600.0
"""How often it is said again what is waited for, seconds."""

_LOG: Final = logger_of("twitor_fsm.worker")


async def open_when_ready(
    engine: CrawlEngine,
    *,
    stop: asyncio.Event,
    look_s: float = LOOK_S,
    repeat_s: float = REPEAT_S,
    on_wait: Callable[[str], object] = lambda _: None,
) -> bool:
    """Open the engine, as soon as its database has this version's schema.

    What is waited for is logged as a warning: at once, when it changes, and every `repeat_s`. Once it waits, a database
    that does not answer (it is being upgraded, perhaps) is waited for too.

    Args:
        engine: Not open yet.
        stop: Ends the waiting.
        look_s: Between two looks, seconds.
        repeat_s: Between two words, seconds.
        on_wait: Told at each look what is waited for.

    Returns:
        Whether it is open; False if `stop` came first.

    Raises:
        StoreUnavailable: The database could not be used to begin with.
        SchemaMismatch: Its schema is none of any version.
    """
    told, told_at = "", 0.0
    while not stop.is_set():
        try:
            await engine.open()
        except (OtherSchemaVersion, StoreUnavailable) as error:
            if isinstance(error, StoreUnavailable) and not (told and error.retryable):
                raise
            on_wait(str(error))
            now = engine.clock.monotonic()
            if str(error) != told or now - told_at >= repeat_s:
                _LOG.warning("waiting for the database, nothing is taken: %s", error)
                told, told_at = str(error), now
            await _sleep(engine.clock, look_s, stop)
        else:
            return True
    return False


async def _sleep(clock: Clock, seconds: float, stop: asyncio.Event) -> None:
    """Until the time is over or `stop` is set."""
    waits = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
