"""Adds tasks: writes them down, and waits for room in a full queue where an app wants that.

Must not know: who takes them.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from uuid_utils import uuid7

from ..clock import Clock
from ..errors import QueueFull
from ..valkey.task_queue import TaskQueue
from .bell import POLL_S
from .options import QueueOptions
from .patience import Patience
from .records import NewTask, body_of, new_task

__all__ = ["Producer"]

ROOM_FOR: Final = 100
"""Tasks that are added together where they wait for room, at most: so many places have to be free at once."""


class Producer:
    """The adding side of one manager."""

    def __init__(
        self,
        options: QueueOptions,
        queue: Callable[[], TaskQueue],
        patience: Patience,
        clock: Clock,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            options: Bounds, and the retries of a task that says nothing of them.
            queue: The scripts of the connection that is open now; raises `QueueError` when none is.
            patience: Repeats calls.
            clock: For the wait for room.
        """
        self._options: Final = options
        self._queue: Final = queue
        self._patience: Final = patience
        self._clock: Final = clock

    def write(
        self,
        task_type: str,
        payload: Mapping[str, Any],
        task_id: str | None,
        *,
        priority: int,
        delay: float,
        max_retries: int | None,
    ) -> NewTask:
        """A task as it can be added; see `QueueManager.enqueue` for the arguments.

        Raises:
            TaskRefused: It cannot be written as it is.
        """
        options = self._options
        return new_task(
            task_id=task_id if task_id is not None else uuid7().hex,
            body=body_of(task_type, payload, limit=options.max_payload_bytes),
            priority=priority,
            max_retries=max_retries if max_retries is not None else options.settings.max_retries,
            delay_s=delay,
        )

    async def add(self, tasks: list[NewTask]) -> int:
        """Add tasks in their order; returns how many were not known yet. Raises as `QueueManager.enqueue`."""
        added = 0
        for part in self._parts(tasks):
            added += await self._add(part)
        return added

    def _parts(self, tasks: list[NewTask]) -> Iterator[list[NewTask]]:
        """What is added all or nothing: whole where a full queue refuses, else in parts that find room in time."""
        bound = self._options.max_size
        size = min(bound, ROOM_FOR) if bound and self._options.is_blocking else len(tasks)
        for start in range(0, len(tasks), size or 1):
            yield tasks[start : start + size]

    async def _add(self, tasks: list[NewTask]) -> int:
        bound = self._options.max_size or 0
        while True:
            queue = self._queue()  # in each turn: it may have been disconnected meanwhile
            try:
                return await self._patience.briefly(partial(queue.enqueue, tasks, max_size=bound))
            except QueueFull:
                if not self._options.is_blocking:
                    raise
                await self._clock.sleep(POLL_S)
