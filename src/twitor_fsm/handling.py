"""Runs an app's handler for one item, within its time, and takes what it returns as JSON.

What a handler may not do (be no coroutine function, cancel itself, return what JSON cannot hold) is told by an error.
Must not know: what an error means, what becomes of the item.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec

from .classify import is_cancellation
from .errors import ConfigurationError, InvalidItem
from .plugins import is_finite
from .sources.base import Item

__all__ = ["Handler", "Handling"]

Handler: TypeAlias = Callable[[Item, int], Awaitable[Any]]
"""An app's own work on one item before it is stored: given the item and the session's fence, may return JSON."""


class Handling:
    """The handler of one session."""

    def __init__(self, handler: Handler, *, fence: int, timeout_s: float) -> None:
        """Prepare; `timeout_s` is the limit of each item, seconds."""
        self._handler: Final = handler
        self._fence: Final = fence
        self._timeout_s: Final = timeout_s
        self._limit: asyncio.Timeout | None = None
        """Of the item that is being handled."""

    async def run(self, item: Item) -> str | None:
        """Handle one item; returns its result as JSON.

        Raises:
            TimeoutError: Its time, or the shorter one that `hurry` left it, is over.
            ConfigurationError: The handler cannot be one.
            InvalidItem: Its result holds a number that JSON does not know.
            Exception: Whatever the handler raises.
        """
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(self._timeout_s) as self._limit:
                outcome = self._handler(item, self._fence)
                if not inspect.isawaitable(outcome):
                    raise ConfigurationError(
                        f"the handler gave a {type(outcome).__name__}, so it is no coroutine function (`async def`); "
                        "its item was not stored"
                    )
                result = await _ungrouped(outcome)
        except asyncio.CancelledError as exc:
            if task is not None and task.cancelling() == before:
                raise ConfigurationError(
                    f"the handler raised {type(exc).__name__} although nobody had cancelled it; its item was not stored"
                ) from exc
            raise
        finally:
            self._limit = None
        return None if result is None else _as_json(result)

    def hurry(self, seconds: float) -> None:
        """What runs now gets at most so much longer."""
        if self._limit is not None and not self._limit.expired():
            when = asyncio.get_running_loop().time() + seconds
            before = self._limit.when()
            self._limit.reschedule(when if before is None else min(when, before))


async def _ungrouped(outcome: Awaitable[Any]) -> Any:
    """What a handler gives; a cancellation that it put into a group is one again, for `timeout` knows it bare only."""
    try:
        return await outcome
    except BaseExceptionGroup as exc:
        if is_cancellation(exc):
            raise asyncio.CancelledError from exc
        raise


def _as_json(result: Any) -> str:
    try:
        encoded = msgspec.json.encode(result).decode()
    except (TypeError, ValueError, RecursionError, OverflowError) as exc:
        raise ConfigurationError(
            f"the handler returned {type(result).__name__}, which JSON cannot hold; its item was not stored. "
            "Return plain values or None"
        ) from exc
    if not is_finite(result):  # only now: what could be written holds itself nowhere
        raise InvalidItem("the handler returned a number that JSON does not know (NaN or infinite)")
    return encoded
