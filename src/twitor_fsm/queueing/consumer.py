"""Runs a handler for each task, many at once: claims and acknowledgements go together, as many as have gathered.

A handler that returns has done its task; one that raises has failed it; one that is cancelled with the consumer gives it
back. A lost lease cancels the handler. Nothing that Valkey does ends a consumer, except refusing its user, or keeps one from
its end.
Must not know: what a handler does.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..clock import Clock
from ..errors import QueueError, QueueUnavailable
from ..log_facts import logger_of, work_on
from .bell import LOOK_S, Bell, quiet_s
from .claiming import Claimer
from .desk import Desk
from .holding import Holding
from .records import DeadReason, QueueTask, log_facts_of

__all__ = ["LEASE_LOST", "Consumer", "Handler", "Postpone", "Reject"]

GRACE_S: Final = 10.0
"""How long cancelled handlers may take to end, seconds."""

FLUSH_S: Final = 5.0
"""How long a consumer that ends tries to send its last acknowledgements, seconds."""

GIVE_BACK_S: Final = 5.0
"""How long a call of a consumer that was told to stop tries to reach Valkey, seconds. A worker's end takes three of them
at most: half the time that one has by default. What was not given back comes again when its lease ends."""

LEASE_LOST: Final = "lease lost"
"""Message of the cancellation of a handler whose task is another's now."""

Handler = Callable[[QueueTask], Awaitable[object]]

_LOG: Final = logger_of("twitor_fsm.queue")


class Postpone(Exception):
    """Raised by a handler: the task has done what it could, and comes again later with all its tries."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(delay_s)
        self.delay_s: Final = delay_s


class Reject(Exception):
    """Raised by a handler: trying again is of no use, the task goes to the dead letters.

    Its text is logged, and the name of its class is kept with the task: derive a class to tell one cause from another.
    """


class Consumer:
    """One `consume` call."""

    def __init__(
        self,
        handler: Handler,
        *,
        concurrency: int,
        claimer: Claimer,
        holding: Holding,
        bell: Bell | None,
        desk: Desk,
        clock: Clock,
        stop: asyncio.Event | None,
    ) -> None:
        """Prepare; nothing is taken.

        Args:
            handler: Gets each task.
            concurrency: Handlers at once.
            claimer: Takes and acknowledges.
            holding: Renews leases.
            bell: Tells of new tasks; None where no connection can wait for it.
            desk: Settles what is not done.
            clock: For limits.
            stop: Ends it gracefully.
        """
        self._handler: Final = handler
        self._concurrency: Final = concurrency
        self._claimer: Final = claimer
        self._holding: Final = holding
        self._bell: Final = bell
        self._desk: Final = desk
        self._clock: Final = clock
        self._stop: Final = stop
        self._running: Final[dict[asyncio.Task[None], QueueTask]] = {}
        self._is_news: Final = asyncio.Event()
        self._is_ending = False
        self._stopped_at: float | None = None

    async def run(self) -> None:
        """Consume until cancelled, or until `stop` is set and what runs is done.

        Raises:
            QueueError: The server refuses this user.
        """
        watching = asyncio.create_task(self._watch(self._stop)) if self._stop else None
        try:
            while not (self._is_stopping and not self._running):
                await self._rest(await self._turn())
        finally:
            if watching is not None:
                watching.cancel()
            await self._end()

    @property
    def _is_stopping(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopped_at = self._clock.monotonic()
        self._is_news.set()

    def _until(self) -> Callable[[], float]:
        """When a call that begins now gives up: never before `stop`, soon after it."""
        began = self._clock.monotonic()

        def until() -> float:
            if self._stopped_at is None:
                return math.inf
            return max(began, self._stopped_at) + GIVE_BACK_S

        return until

    async def _turn(self) -> float:
        """One claim; returns how long nothing will happen by itself, seconds."""
        free = 0 if self._is_stopping else self._concurrency - len(self._running)
        try:
            claimed = await self._claimer.claim(
                free, may_take_suspect=not self._holding.has_suspect, until=self._until()
            )
        except QueueUnavailable:  # after `stop` only; what runs is finished all the same
            return LOOK_S
        for task in claimed.tasks:
            self._start(task, is_suspect=task.task_id in claimed.suspects)
        wants_more = len(claimed.tasks) < free
        return quiet_s(self._bell, claimed.due_in_s if wants_more else None)

    async def _rest(self, limit_s: float) -> None:
        """Wait until a handler ends, the bell rings, or it is time to look again."""
        has_room = len(self._running) < self._concurrency and not self._is_stopping
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(limit_s, self._is_news.set)
        ring = (
            self._bell.listen() if self._bell and has_room and not self._is_news.is_set() else None
        )
        if ring is not None:
            ring.add_done_callback(lambda _: self._is_news.set())
        try:
            await self._is_news.wait()
            await asyncio.sleep(0)  # others may end in the same turn of the loop
        finally:
            alarm.cancel()
            if self._bell and ring is not None:
                self._bell.forget(ring, is_heard=not self._is_stopping)
            self._is_news.clear()

    def _start(self, task: QueueTask, *, is_suspect: bool) -> None:
        running = asyncio.create_task(self._run(task))
        self._running[running] = task
        running.add_done_callback(self._ended)
        self._holding.add(
            task, owner=running, is_suspect=is_suspect, on_lost=lambda: running.cancel(LEASE_LOST)
        )

    def _ended(self, running: "asyncio.Task[None]") -> None:
        del self._running[running]
        self._is_news.set()
        if not running.cancelled():
            running.exception()  # seen

    async def _run(self, task: QueueTask) -> None:
        work_on(log_facts_of(task))
        try:
            await self._handler(task)
        except asyncio.CancelledError as error:
            await self._cancelled(task, error)
            raise
        except Postpone as wish:
            if self._holding.drop(task) is not None:
                await self._settle(self._desk.postpone(task, wish.delay_s, until=self._until()))
        except Reject as error:
            if self._holding.drop(task) is not None:
                why = f": {error}" if str(error) else ""
                _LOG.error("task %s (%s) is rejected%s", task.task_id, task.task_type, why)
                await self._settle(
                    self._desk.fail(task, error, until=self._until(), final=DeadReason.REJECTED)
                )
        except Exception as error:  # noqa: BLE001  whatever a handler raises
            if self._holding.drop(task) is not None:
                await self._fail(task, error)
        else:
            if self._holding.drop(task) is not None and not self._desk.has_settled(task):
                self._claimer.acknowledge(task)

    async def _cancelled(self, task: QueueTask, error: BaseException) -> None:
        """Give the task back if the consumer ends; else its handler was cancelled by someone, which is a failure."""
        if self._holding.drop(task) is None:
            return  # the lease is lost: it is another's
        if self._is_ending:
            await self._desk.give_back(task)
        else:
            await self._fail(task, error)

    async def _fail(self, task: QueueTask, error: BaseException) -> None:
        _LOG.error("task %s (%s) failed: %s", task.task_id, task.task_type, type(error).__name__)
        await self._settle(self._desk.fail(task, error, until=self._until()))

    async def _settle(self, settling: Awaitable[object]) -> None:
        try:
            await settling
        except QueueError as problem:
            _LOG.error("a task was not settled, its lease will end: %s", problem)

    async def _end(self) -> None:
        self._is_ending = True
        running: list[asyncio.Task[Any]] = list(self._running)
        for one in running:
            one.cancel()
        if running:
            _, left = await asyncio.wait(running, timeout=GRACE_S)
            if left:
                _LOG.error("%d handlers ignore their cancellation", len(left))
        try:
            await self._claimer.flush(until=self._clock.monotonic() + FLUSH_S)
        except QueueError as error:
            _LOG.warning("last acknowledgements were not sent, those tasks come again: %s", error)
        await self._claimer.close()
        await self._holding.close()
