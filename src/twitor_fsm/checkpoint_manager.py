"""The checkpoint of one crawl, to look at, set or clear by hand.

A running session saves its own checkpoints, in the transaction of the items that they name; this is for everybody else.
Must not know: SQL, sessions, how a crawl uses a checkpoint.
"""

import asyncio
from typing import Final

from .clock import Clock, SystemClock
from .core.progress import Checkpoint
from .core.records import CrawlKey
from .errors import ConfigurationError
from .logs import log_checkpoint
from .ownership import is_gone
from .storage.base import Store

__all__ = ["CheckpointManager"]

MAX_COUNT: Final = 2**63 - 1  # of bookmarks: more than that no database keeps in a column
MAX_WORD: Final = 200  # characters of a user id, source or tweet id; X's ids have at most 19 digits


class CheckpointManager:
    """Reads, sets and clears the checkpoint of one user's crawl from one source."""

    def __init__(
        self, store: Store, *, user_id: str, source: str = "x", clock: Clock | None = None
    ) -> None:
        """Name the crawl.

        Args:
            store: Where it is kept; opened at the first use.
            user_id: Whose bookmarks.
            source: Name of their source.
            clock: Gives the time of a save; None is the system's.

        Raises:
            ConfigurationError: `user_id` or `source` is empty, too long or no text.
        """
        self._store = store
        self._crawl = CrawlKey(_checked("user_id", user_id), _checked("source", source))
        self._clock = clock if clock is not None else SystemClock()
        self._opening = asyncio.Lock()
        self._is_open = False

    async def get_checkpoint(self) -> Checkpoint | None:
        """The checkpoint, or None before the first and after `clear_checkpoint`; its times are aware, in UTC."""
        return await (await self._opened()).checkpoint(self._crawl)

    async def save_checkpoint(
        self, tweet_id: str, bookmarks_count: int | None = None
    ) -> Checkpoint:
        """Set the checkpoint.

        It has no cursor: the next crawl walks from the top, and stores nothing that is stored already once more.

        Args:
            tweet_id: The item processed last.
            bookmarks_count: Items processed; None keeps the stored number.

        Raises:
            ConfigurationError: `tweet_id` is empty, too long or no text, or the count is no number from 0.
            CrawlOwned: A session of the crawl runs now; nothing was changed.
            StoreUnavailable: The database gives no answer.
        """
        tweet_id = _checked("tweet_id", tweet_id)
        if bookmarks_count is not None:
            _check_count(bookmarks_count)
        store = await self._opened()
        saved = await store.save_checkpoint(
            self._crawl,
            tweet_id=tweet_id,
            bookmarks_count=bookmarks_count,
            now=self._clock.now(),
            is_gone=is_gone,
        )
        log_checkpoint(tweet_id, extra=self._extra("save_checkpoint"))
        return saved

    async def clear_checkpoint(self) -> None:
        """Forget the checkpoint: the next crawl walks everything, without early stop. Stored items stay.

        Raises:
            CrawlOwned: A session of the crawl runs now; nothing was changed.
            StoreUnavailable: The database gives no answer.
        """
        store = await self._opened()
        await store.clear_checkpoint(self._crawl, now=self._clock.now(), is_gone=is_gone)

    async def _opened(self) -> Store:
        async with self._opening:
            if not self._is_open:
                await self._store.open()
                self._is_open = True
        return self._store

    def _extra(self, operation: str) -> dict[str, str | None]:
        return {"session_id": None, "user_id": self._crawl.user_id, "operation": operation}


def _checked(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(
            f"{name} must be text, not {type(value).__name__}; nothing was changed"
        )
    if not value.strip():
        raise ConfigurationError(f"{name} must not be empty; nothing was changed")
    if len(value) > MAX_WORD:
        raise ConfigurationError(
            f"{name} has {len(value)} characters, {MAX_WORD} are allowed; nothing was changed"
        )
    return value


def _check_count(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise ConfigurationError(
            f"bookmarks_count must be a whole number from 0 to {MAX_COUNT}; nothing was changed"
        )
