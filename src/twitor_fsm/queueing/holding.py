"""The tasks that this process has, and the renewal of their leases: one call for all, every third of a lease.

A lease is renewed while whoever has the task is alive, and for dequeue's tasks 15 minutes at most.
Must not know: how a task is settled.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import attrs

from ..clock import Clock
from ..errors import QueueError, TaskLeaseLost
from ..log_facts import logger_of
from ..valkey.task_queue import Lease
from .records import QueueTask, log_facts_of

__all__ = ["RENEW_AT_MOST_S", "Holding"]

RENEW_AT_MOST_S: Final = 900.0
"""How long a task taken by `dequeue` may be worked on, seconds; then another worker gets it."""

_LOG: Final = logger_of("twitor_fsm.queue")


class Extends(Protocol):
    """What renewing needs of the queue."""

    def extend(self, leases: Sequence[Lease], *, lease_ms: int) -> Awaitable[list[bool]]:
        """Renew; for each whether it is still ours."""
        ...


@attrs.define
class Held:
    """One task that this process has.

    Attributes:
        task: The task.
        owner: The asyncio task that took it.
        until: No renewal after it, monotonic seconds.
        is_suspect: Whether it may have killed its worker.
        on_lost: Called when the lease turns out to be lost.
        expires: When the lease ends if nothing renews it, monotonic seconds as this process knows.
        is_received: Whether the owner is known to have got it.
    """

    task: QueueTask
    owner: "asyncio.Task[object] | None"
    until: float
    is_suspect: bool
    on_lost: Callable[[], object] | None
    expires: float
    is_received: bool

    @property
    def lease(self) -> Lease:
        """What settles it."""
        return Lease(self.task.task_id, self.task.lease_token)

    def is_renewed(self, now: float) -> bool:
        """Whether its lease is still to be renewed."""
        return now < self.until and (self.owner is None or not self.owner.done())


class Holding:
    """All tasks that one manager or consumer has."""

    def __init__(self, queue: Extends, clock: Clock, *, lease_s: float) -> None:
        """Prepare; renewing starts with the first task."""
        self._queue: Final = queue
        self._clock: Final = clock
        self._lease_s: Final = lease_s
        self._held: Final[dict[str, Held]] = {}
        self._renewing: asyncio.Task[None] | None = None

    def add(
        self,
        task: QueueTask,
        *,
        owner: "asyncio.Task[object] | None",
        is_suspect: bool,
        limit_s: float = math.inf,
        on_lost: Callable[[], object] | None = None,
        is_received: bool = True,
    ) -> None:
        """Hold a task that was just taken, perhaps from ourselves: then the earlier hold is lost."""
        now = self._clock.monotonic()
        earlier = self._held.pop(task.task_id, None)
        if earlier is not None:
            _tell_lost(earlier)
        self._held[task.task_id] = Held(
            task, owner, now + limit_s, is_suspect, on_lost, now + self._lease_s, is_received
        )
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    def drop(self, task: QueueTask) -> Held | None:
        """Hold it no longer; None if it was not held under this lease."""
        held = self._held.get(task.task_id)
        if held is None or held.task.lease_token != task.lease_token:
            return None
        return self._held.pop(task.task_id)

    def of(self, owner: "asyncio.Task[object] | None") -> list[Held]:
        """What this asyncio task took."""
        return [held for held in self._held.values() if held.owner is owner]

    @property
    def has_suspect(self) -> bool:
        """Whether one of them may have killed its worker."""
        return any(held.is_suspect for held in self._held.values())

    async def close(self) -> None:
        """Renew nothing any more."""
        renewing, self._renewing = self._renewing, None
        self._held.clear()
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self) -> None:
        while self._held:
            await self._clock.sleep(self._lease_s / 3)
            try:
                await self._renew_once()
            except QueueError as error:
                _LOG.debug("leases were not renewed: %s", error)

    async def _renew_once(self) -> None:
        now = self._clock.monotonic()
        for task_id, held in list(self._held.items()):
            if not held.is_renewed(now):
                del self._held[task_id]
                _LOG.warning(
                    "task %s was neither completed nor retried by who took it; another try begins when its lease ends",
                    task_id,
                    extra=log_facts_of(held.task),
                )
        asked = list(self._held.values())
        if not asked:
            return
        answers = await self._queue.extend(
            [held.lease for held in asked], lease_ms=round(self._lease_s * 1000)
        )
        for held, is_ours in zip(asked, answers, strict=True):
            if is_ours:
                held.expires = now + self._lease_s
            elif self.drop(held.task) is not None:
                _tell_lost(held)


def _tell_lost(held: Held) -> None:
    _LOG.warning("%s", TaskLeaseLost(held.task.task_id), extra=log_facts_of(held.task))
    if held.on_lost is not None:
        held.on_lost()
