"""Administration of a queue's dead letters: list by reason, retry, purge, cap.

Nothing here touches a task that is alive. Filters are applied on this side: dead letters are few.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from ..valkey.task_queue import TaskQueue
from .arguments import NOTHING_CHANGED, check_id, check_moment, check_whole
from .patience import Patience
from .records import DeadReason, DeadTask

__all__ = ["DeadLetters"]

PAGE: Final = 200

MOST: Final = 10**9
"""Dead letters that a manager may be told to keep at most; more cannot be asked for."""


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(self, queue: TaskQueue, patience: Patience) -> None:
        """Prepare; nothing is sent."""
        self._queue: Final = queue
        self._patience: Final = patience

    async def list(
        self,
        *,
        reason: DeadReason | None = None,
        task_type: str | None = None,
        limit: int = 100,
    ) -> list[DeadTask]:
        """The newest dead letters that fit, the newest first; removes nothing.

        Args:
            reason: Only those that died of it.
            task_type: Only those of this type.
            limit: So many at most.
        """
        check_whole("limit", limit, 0, MOST, undone=NOTHING_CHANGED)
        found: list[DeadTask] = []
        async for task in self._fitting(reason, task_type):
            if len(found) >= limit:
                break
            found.append(task)
        return found

    async def retry(self, task_id: str) -> bool:
        """Give one dead task all its tries again; False if there is none, or its record cannot be read."""
        check_id(task_id)
        return await self._patience.briefly(lambda: self._queue.dead_retry([task_id])) == 1

    async def retry_all(
        self, *, reason: DeadReason | None = None, task_type: str | None = None
    ) -> int:
        """Give all that fit their tries again, the oldest first; returns how many wait again.

        What cannot be read stays: purge it.
        """
        ids = [task.task_id async for task in self._fitting(reason, task_type)]
        return await self._patience.briefly(lambda: self._queue.dead_retry(ids[::-1])) if ids else 0

    async def purge(
        self,
        *,
        task_id: str | None = None,
        reason: DeadReason | None = None,
        task_type: str | None = None,
        died_before: float | None = None,
    ) -> int:
        """Forget all that fit; returns how many there were.

        Args:
            task_id: Only this one.
            reason: Only those that died of it.
            task_type: Only those of this type.
            died_before: Only those that died before, epoch seconds.
        """
        if task_id is not None:
            check_id(task_id)
        check_moment("died_before", died_before)
        ids = [
            task.task_id
            async for task in self._fitting(reason, task_type)
            if (task_id is None or task.task_id == task_id)
            and (died_before is None or task.died_at < died_before)
        ]
        return await self._patience.briefly(lambda: self._queue.dead_purge(ids)) if ids else 0

    async def cap(self, keep: int) -> int:
        """Keep the newest so many; returns how many were forgotten."""
        check_whole("keep", keep, 0, MOST, undone=NOTHING_CHANGED)
        ids = [task.task_id async for task in self._fitting(None, None)][keep:]
        return await self._patience.briefly(lambda: self._queue.dead_purge(ids)) if ids else 0

    async def _fitting(
        self, reason: DeadReason | None, task_type: str | None
    ) -> AsyncIterator[DeadTask]:
        start = 0
        while True:
            page = await self._patience.briefly(partial(self._queue.dead, start, PAGE))
            for task in page:
                if reason in (None, task.reason) and task_type in (None, task.task_type):
                    yield task
            if len(page) < PAGE:
                return
            start += PAGE
