"""Hands out tasks and settles them: what `dequeue`, `complete`, `retry_task` and leaving mean for one connection.

Calls of others end with an answer, whatever Valkey does: what could not be settled comes again when its lease ends.
Must not know: how to connect, how tasks are added.
"""

import asyncio
import math
import random
from typing import Any, Final, assert_never

from ..clock import Clock
from ..errors import QueueUnavailable, TaskLeaseLost
from ..log_facts import logger_of
from ..valkey.task_queue import Completed, Lease, Retried, TaskQueue
from .bell import Bell, quiet_s
from .claiming import Claimer
from .holding import RENEW_AT_MOST_S, Holding
from .patience import PATIENCE_S, Patience, Until
from .records import DeadReason, QueueTask, log_facts_of
from .takers import Takers, current_task, is_received_by

__all__ = ["Desk", "Owner"]

LONGEST_BACKOFF_S: Final = 3600.0
"""Wait before another try of a failed task at most, seconds."""

JITTER: Final = 0.25
"""How far a backoff is spread around its value, so that tasks that failed together do not come back together."""

RESTORABLE: Final = 1000
"""Implicitly acknowledged tasks that a late `retry_task` can still put back, at most; and settled ones that are known."""

_GONE: Final = (
    "task %s is in the queue no more and is not tried again: another worker has done it since this one's lease ended, "
    "or the server lost its data (enqueue it again if it is not done)"
)

_LOG: Final = logger_of("twitor_fsm.queue")

Owner = asyncio.Task[Any] | None


class Desk:
    """Tasks that one manager hands out."""

    def __init__(
        self,
        queue: TaskQueue,
        *,
        claimer: Claimer,
        holding: Holding,
        bell: Bell | None,
        takers: Takers,
        patience: Patience,
        clock: Clock,
        initial_backoff: float,
        rng: random.Random,
    ) -> None:
        """Prepare; nothing is taken.

        Args:
            queue: The scripts.
            claimer: Takes and acknowledges.
            holding: Renews leases.
            bell: Tells of new tasks; None where no connection can wait for it.
            takers: Who takes.
            patience: Repeats calls.
            clock: For waits.
            initial_backoff: Wait before the first retry of a task, seconds.
            rng: Spreads backoffs.
        """
        self._queue: Final = queue
        self._claimer: Final = claimer
        self._holding: Final = holding
        self._bell: Final = bell
        self._takers: Final = takers
        self._patience: Final = patience
        self._clock: Final = clock
        self._initial_backoff: Final = initial_backoff
        self._rng: Final = rng
        self._restorable: Final[dict[Lease, None]] = {}
        self._settled_here: Final[dict[Lease, str]] = {}
        """How this process has settled a try, by `complete`, `retry` or `reject`; the last ones."""

    async def settle_all(self, caller: Owner, passing: BaseException | None) -> None:
        """The caller leaves: acknowledge what it took, or give it back if an exception is passing through.

        What it perhaps never got is given back, too: better done twice than never.
        """
        mine = self._holding.of(caller) if self._takers.is_implicit else []
        until = self._clock.monotonic() + PATIENCE_S
        back: list[Lease] = []
        for held in mine:
            self._holding.drop(held.task)
            if passing is None and held.is_received:
                self._acknowledge(held.task)
                continue
            back.append(held.lease)
            if passing is None:
                _LOG.warning(
                    "task %s is given back: an asyncio task of its own took it, so whether it was seen, and done, is "
                    "not known; call complete(task) when it is done",
                    held.task.task_id,
                    extra=log_facts_of(held.task),
                )
        await self._claimer.flush(until=until)
        if back:
            counts = isinstance(passing, Exception)
            await self._patience.keep_trying(
                lambda _: self._queue.release(back, counts=counts), until=until
            )

    async def dequeue(self, timeout: float | None, caller: Owner) -> QueueTask | None:
        """As `QueueManager.dequeue`, for this caller."""
        caller = caller if caller is not None else current_task()
        until = math.inf if timeout is None else self._clock.monotonic() + max(0.0, timeout)
        self._takers.begin(caller)
        try:
            if self._takers.is_implicit:
                self._acknowledge_all_of(caller)
            return await self._next_task(caller, until)
        finally:
            self._takers.end()

    async def _next_task(self, caller: Owner, until: float) -> QueueTask | None:
        while True:
            try:
                claimed = await self._claimer.claim(
                    1, may_take_suspect=not self._holding.has_suspect, until=until
                )
            except QueueUnavailable:
                return None  # logged; the caller's loop goes on
            for task in claimed.tasks:
                self._holding.add(
                    task,
                    owner=caller,
                    is_suspect=task.task_id in claimed.suspects,
                    limit_s=RENEW_AT_MOST_S,
                    is_received=is_received_by(caller),
                )
                return task
            left = until - self._clock.monotonic()
            if left <= 0:
                return None
            rest_s = min(left, quiet_s(self._bell, claimed.due_in_s))
            if self._bell is None:
                await self._clock.sleep(rest_s)
            else:
                await self._bell.wait(rest_s)

    def _acknowledge_all_of(self, caller: Owner) -> None:
        for held in self._holding.of(caller):
            self._holding.drop(held.task)
            self._acknowledge(held.task)

    def _acknowledge(self, task: QueueTask) -> None:
        self._claimer.acknowledge(task)
        self._restorable[Lease(task.task_id, task.lease_token)] = None
        if len(self._restorable) > RESTORABLE:
            del self._restorable[next(iter(self._restorable))]

    async def complete(self, task: QueueTask, caller: Owner) -> bool:
        """As `QueueManager.complete`, for this caller."""
        until = self._settled(task, caller)
        lease = Lease(task.task_id, task.lease_token)
        is_unknown = False

        async def once(_: int) -> list[Completed]:
            nonlocal is_unknown
            try:
                return await self._queue.complete([lease])
            except QueueUnavailable as error:
                is_unknown |= error.is_outcome_unknown
                raise

        try:
            (answer,) = await self._patience.keep_trying(once, until=until)
        except QueueUnavailable as error:
            _LOG.warning(
                "task %s is done but not acknowledged, it comes again: %s",
                task.task_id,
                error,
                extra=log_facts_of(task),
            )
            return False
        was_lost = answer is Completed.GONE and is_unknown  # done by the try whose answer was lost
        if answer is Completed.DONE or lease in self._restorable or was_lost:
            self._note(lease, "completed")
            return True
        self._tell_not_ours(task, str(TaskLeaseLost(task.task_id)))
        return False

    async def retry(
        self,
        task: QueueTask,
        caller: Owner,
        error: BaseException | None,
        final: DeadReason | None,
    ) -> bool:
        """As `QueueManager.retry_task` (`final` None) or `reject`, for this caller."""
        until = self._settled(task, caller)
        try:
            return await self.fail(task, error, final=final, until=until)
        except QueueUnavailable as problem:
            _LOG.warning(
                "task %s comes again when its lease ends: %s",
                task.task_id,
                problem,
                extra=log_facts_of(task),
            )
            return True

    async def fail(
        self,
        task: QueueTask,
        error: BaseException | None,
        *,
        until: Until,
        final: DeadReason | None = None,
    ) -> bool:
        """A try has failed: retry or bury the task; False if it is dead, or gone.

        Raises:
            QueueUnavailable: Time is up; the task comes again when its lease ends.
        """
        lease = Lease(task.task_id, task.lease_token)
        was_acknowledged = self._restorable.pop(lease, 0) is None
        delay_s = self._backoff_s(task.retry_count)
        is_unknown = False

        async def once(_: int) -> Retried:
            nonlocal is_unknown
            try:
                return await self._queue.retry(
                    lease,
                    delay_s=delay_s,
                    error=_word(error),
                    final=final,
                    restore=task if was_acknowledged else None,
                )
            except QueueUnavailable as problem:
                is_unknown |= problem.is_outcome_unknown
                raise

        answer = await self._patience.keep_trying(once, until=until)
        match answer:
            case Retried.SCHEDULED:
                self._note(lease, "given another try")
            case Retried.DEAD:
                self._note(lease, "put into the dead letters")
            case Retried.NOT_OURS:
                self._tell_not_ours(task, str(TaskLeaseLost(task.task_id)))
            case Retried.GONE:
                if (
                    is_unknown
                ):  # scheduled by the try whose answer was lost, and done by another since
                    return True
                self._tell_not_ours(task, _GONE % task.task_id)
            case _:
                assert_never(answer)
        return answer not in (Retried.DEAD, Retried.GONE)

    def has_settled(self, task: QueueTask) -> bool:
        """Whether this try was settled here, as far as the last ones are remembered."""
        return Lease(task.task_id, task.lease_token) in self._settled_here

    def _note(self, lease: Lease, how: str) -> None:
        self._settled_here[lease] = how
        if len(self._settled_here) > RESTORABLE:
            del self._settled_here[next(iter(self._settled_here))]

    def _tell_not_ours(self, task: QueueTask, otherwise: str) -> None:
        """Warn of what was not settled: because it had been, by this process, or for another reason."""
        how = self._settled_here.get(Lease(task.task_id, task.lease_token))
        said = otherwise
        if how is not None:
            said = f"task {task.task_id!r} was {how} by this process before; nothing was changed. Settle each task once"
        _LOG.warning("%s", said, extra=log_facts_of(task))

    async def postpone(self, task: QueueTask, delay_s: float, *, until: Until) -> None:
        """Put a task off, with all its tries. Raises `QueueUnavailable` as `fail`."""
        lease = Lease(task.task_id, task.lease_token)
        is_ours = await self._patience.keep_trying(
            lambda _: self._queue.postpone(lease, delay_s=delay_s), until=until
        )
        if not is_ours:
            _LOG.warning("%s", TaskLeaseLost(task.task_id), extra=log_facts_of(task))

    async def give_back(self, task: QueueTask) -> None:
        """Return a task with all its tries: one call, not repeated. Raises `QueueUnavailable` as `fail`."""
        await self._queue.release([Lease(task.task_id, task.lease_token)], counts=False)

    def _settled(self, task: QueueTask, caller: Owner) -> float:
        """Hold a task no longer; returns until when settling it makes sense, monotonic seconds."""
        held = self._holding.drop(task)
        lease = Lease(task.task_id, task.lease_token)
        if (held is not None and held.owner is not caller) or (
            held is None and lease in self._restorable
        ):
            self._takers.hand_over("a task is settled by another asyncio task than took it")
        now = self._clock.monotonic()
        return max(held.expires, now + PATIENCE_S) if held is not None else now + PATIENCE_S

    def _backoff_s(self, retry_count: int) -> float:
        full = min(self._initial_backoff * 2.0 ** min(retry_count, 60), LONGEST_BACKOFF_S)
        return full * self._rng.uniform(1 - JITTER, 1 + JITTER)


def _word(error: BaseException | None) -> str:
    """The class of an error: never its text, which may hold a bookmark's."""
    if error is None:
        return ""
    name = type(error).__name__
    return name if name.isascii() and name.isidentifier() else "Exception"
