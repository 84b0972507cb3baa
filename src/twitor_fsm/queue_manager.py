"""The task queue, as an app uses it: the design document's QueueManager.

Tasks live in Valkey alone, as durable as its append-only file. A task that was taken is leased: if its worker dies it
comes again; at least once, never lost. How tasks are acknowledged is said at `dequeue`, loudly in docs/queue.md.
This is the contract alone; `queueing/` keeps it. Must not know: Lua, keys, how leases are kept and calls repeated.
"""

import asyncio
import random
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

import attrs

from .clock import Clock, SystemClock
from .config import Settings, get_settings
from .errors import QueueError
from .queueing.arguments import (
    NOTHING_CHANGED,
    check_handler,
    check_moment,
    check_reason,
    check_task,
    check_whole,
    pairs_of,
)
from .queueing.channel import Channel
from .queueing.consumer import LEASE_LOST, Handler, Postpone, Reject
from .queueing.dead_letters import DeadLetters
from .queueing.desk import Owner
from .queueing.health import QueueHealth, health_of
from .queueing.options import QueueOptions
from .queueing.patience import Patience
from .queueing.producing import Producer
from .queueing.records import MAX_PAYLOAD_BYTES, DeadReason, DeadTask, QueueTask
from .queueing.takers import current_task
from .valkey.server import Server
from .valkey.server_facts import ServerFacts, facts_of

__all__ = [
    "LEASE_LOST",
    "DeadReason",
    "DeadTask",
    "Postpone",
    "QueueHealth",
    "QueueManager",
    "QueueTask",
    "Reject",
]


class QueueManager:
    """Producer and consumer of one queue.

    Not for several threads; any number of processes and machines may use the same queue.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        queue_name: str = "twitor:tasks",
        *,
        lease_s: float = 30.0,
        max_size: int | None = None,
        when_full: Literal["refuse", "block"] = "refuse",
        ack: Literal["auto", "manual"] = "auto",
        max_retries: int | None = None,
        initial_backoff: float | None = None,
        max_connections: int | None = None,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        max_dead_letters: int = 10_000,
        settings: Settings | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            redis_url: Where Valkey is; None takes VALKEY_URL, `embedded` starts a server of our own.
            queue_name: Its name: each has its own keys.
            lease_s: How long a task belongs to a process that gives no sign of life, seconds (0.05 to a day).
            max_size: Waiting and delayed tasks at most; None for no bound.
            when_full: `refuse` raises QueueFull, `block` waits for room.
            ack: `auto` acknowledges as `dequeue` says, `manual` leaves it to `complete`.
            max_retries: Of a task, unless its enqueue says otherwise; None takes MAX_RETRIES.
            initial_backoff: Wait before the first retry, seconds, it doubles with each; None takes INITIAL_BACKOFF.
            max_connections: Open connections at most; None takes VALKEY_MAX_CONNECTIONS. With 1 nothing can wait for
                a ring, so `dequeue` looks every 50 ms.
            max_payload_bytes: Size of a payload as JSON at most, bytes.
            max_dead_letters: Dead letters kept at most, the oldest go first (0: all are kept).
            settings: In place of the environment.
            clock: Times the waits of this process; leases go by the server's clock.
            rng: Spreads backoffs.

        Raises:
            ConfigurationError: An argument or a variable is out of its range.
        """
        settings = settings if settings is not None else get_settings()
        given: dict[str, Any] = {
            "valkey_url": redis_url,
            "max_retries": max_retries,
            "initial_backoff": initial_backoff,
            "valkey_max_connections": max_connections,
        }
        settings = attrs.evolve(
            settings, **{name: value for name, value in given.items() if value is not None}
        )
        self.queue_name: Final = queue_name
        self._options: Final = QueueOptions(
            settings=settings,
            queue_name=queue_name,
            lease_s=lease_s,
            max_size=max_size,
            max_payload_bytes=max_payload_bytes,
            max_dead_letters=max_dead_letters,
            when_full=when_full,
            ack=ack,
        )
        self._clock: Final = clock if clock is not None else SystemClock()
        self._rng: Final = rng if rng is not None else random.Random()
        self._server: Final = Server(settings, self._clock)
        self._patience: Final = Patience(self._clock, revive=self._server.revive)
        self._producer: Final = Producer(
            self._options, lambda: self._now_open.queue, self._patience, self._clock
        )
        self._open: Channel | None = None

    # -- opening and closing -----------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect and see that this user may use the queue. Connecting twice does nothing.

        Raises:
            QueueUnavailable: Nothing answers.
            QueueUnauthorized: The password or the user is refused.
            QueueMisconfigured: The user lacks a permission, or what answers is no Valkey.
        """
        if self._open is not None:
            return
        await self._server.acquire()
        channel = self._channel()
        try:
            await channel.probe()
        except BaseException:
            await channel.connection.close()
            self._server.release()
            raise
        self._open = channel

    def _channel(self) -> Channel:
        connection = self._server.connection()
        return Channel(connection, self._options, self._patience, self._clock, self._rng)

    def disconnect(self) -> Coroutine[Any, Any, None]:
        """Close everything; may be called twice.

        With `ack="auto"`, what the calling asyncio task took is acknowledged, unless an exception is passing through:
        then it is given back at once, and after an exception (not after a cancellation) the try counts. What a dequeue
        in an asyncio task of its own (`create_task`) took last is given back, too: it may never have been seen.
        """
        return self._disconnect(current_task(), sys.exc_info()[1])

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._disconnect(current_task(), error)

    async def _disconnect(self, caller: Owner, passing: BaseException | None) -> None:
        channel, self._open = self._open, None
        if channel is not None:
            try:
                await channel.close(caller, passing)
            finally:
                self._server.release()

    @property
    def _now_open(self) -> Channel:
        if self._open is None:
            raise QueueError(
                f"queue {self.queue_name!r} is not connected; nothing was done. Call: await queue_manager.connect()"
            )
        return self._open

    # -- producing ---------------------------------------------------------------------------------

    async def enqueue(
        self,
        task_type: str,
        payload: Mapping[str, Any],
        *,
        priority: int = 0,
        delay: float = 0.0,
        task_id: str | None = None,
        max_retries: int | None = None,
    ) -> str:
        """Add a task.

        Args:
            task_type: What its handler is found by.
            payload: A JSON object.
            priority: Higher is processed first; equal ones in their order.
            delay: Not before so many seconds from now.
            task_id: Its id; while a task with this id is not done, nothing is added. None makes one.
            max_retries: Tries after the first one; None takes the manager's.

        Returns:
            The task's id.

        Raises:
            TaskRefused: The task cannot be written as it is.
            QueueFull: `max_size` is reached (`when_full="refuse"`).
            QueueOutOfMemory: The server is full.
            QueueUnavailable: No answer for 2 s. Whether it was added may be unknown: repeat it with the same task_id.
        """
        task = self._producer.write(
            task_type, payload, task_id, priority=priority, delay=delay, max_retries=max_retries
        )
        await self._producer.add([task])
        return task.task_id

    async def offer(
        self,
        task_type: str,
        payload: Mapping[str, Any],
        *,
        task_id: str,
        priority: int = 0,
        delay: float = 0.0,
        max_retries: int | None = None,
    ) -> bool:
        """As `enqueue` with an id of one's own; whether the task was added.

        False: one with this id is not done yet, so nothing changed. (Also when the answer to a first try was lost that
        had added it.)
        """
        task = self._producer.write(
            task_type, payload, task_id, priority=priority, delay=delay, max_retries=max_retries
        )
        return await self._producer.add([task]) == 1

    def check(
        self,
        task_type: str,
        payload: Mapping[str, Any],
        *,
        priority: int = 0,
        delay: float = 0.0,
        task_id: str | None = None,
        max_retries: int | None = None,
    ) -> None:
        """See whether `enqueue` would take a task, without the server: for what is to be done before it, elsewhere.

        Raises:
            TaskRefused: The task cannot be written as it is.
        """
        self._producer.write(
            task_type, payload, task_id, priority=priority, delay=delay, max_retries=max_retries
        )

    async def enqueue_many(
        self,
        tasks: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        priority: int = 0,
        delay: float = 0.0,
        max_retries: int | None = None,
        task_ids: Sequence[str] | None = None,
        delays: Sequence[float] | None = None,
    ) -> list[str]:
        """Add many tasks, in their order; returns their ids. Arguments and errors as `enqueue`.

        With `max_size` and `when_full="refuse"` all are added or none; else they are added in parts.

        Args:
            tasks: Type and payload of each.
            priority: Of all.
            delay: Of all.
            max_retries: Of all.
            task_ids: An id for each; None makes them.
            delays: A delay for each, in place of `delay`.

        Raises:
            TaskRefused: Not each of them is a type and a payload; nothing was added.
            ValueError: There are not as many ids or delays as tasks; nothing was added.
        """
        given = pairs_of(tasks)
        new = [
            self._producer.write(
                task_type,
                payload,
                task_id,
                priority=priority,
                delay=each_delay,
                max_retries=max_retries,
            )
            for (task_type, payload), task_id, each_delay in zip(
                given,
                task_ids if task_ids is not None else [None] * len(given),
                delays if delays is not None else [delay] * len(given),
                strict=True,
            )
        ]
        await self._producer.add(new)
        return [task.task_id for task in new]

    # -- taking and settling -----------------------------------------------------------------------

    def dequeue(self, timeout: float | None = None) -> Coroutine[Any, Any, QueueTask | None]:
        """Take the next task.

        With `ack="auto"` this also acknowledges what the calling asyncio task took before, if it was neither completed
        nor retried: one loop that takes, works and takes again needs nothing else. It is wrong where the work is handed
        to another asyncio task, and where a dequeue runs in an asyncio task of its own (`create_task`) whose result may
        be dropped: use `ack="manual"` and `complete`, or `consume`.

        A task is leased: while the calling asyncio task lives its lease is renewed, for 15 minutes at most. If the
        process dies, the task is handed out again when the lease ends.

        Args:
            timeout: How long to wait for a task, seconds; None for ever, 0 not at all.

        Returns:
            The task; None if none came in time, or Valkey did not answer in time (which is logged).

        Raises:
            ConfigurationError: `timeout` is no number.
            QueueError: The server refuses this user; not connected.
        """
        check_moment("timeout", timeout)
        return self._now_open.desk.dequeue(timeout, current_task())

    def complete(self, task: QueueTask) -> Coroutine[Any, Any, bool]:
        """Acknowledge a task: it is done and nothing of it is kept.

        Returns:
            False if it was settled before, if its lease was lost (another try decides), or if it could not be settled
            while it lived; each is logged.
        """
        check_task(task)
        return self._now_open.desk.complete(task, current_task())

    def retry_task(self, task: QueueTask) -> Coroutine[Any, Any, bool]:
        """A try has failed: the task comes again after a backoff, or goes to the dead letters.

        The class of the exception that is being handled is kept with it.

        Returns:
            False if it went to the dead letters, or the queue does not know it any more (which is logged): another
            worker has done it since, or the server lost its data. True if it will be tried again, by whomever: if its
            lease was lost (which is logged) another worker has it already.
        """
        check_task(task)
        return self._now_open.desk.retry(task, current_task(), sys.exc_info()[1], None)

    def reject(
        self, task: QueueTask, reason: DeadReason = DeadReason.REJECTED
    ) -> Coroutine[Any, Any, bool]:
        """Trying again is of no use: the task goes to the dead letters at once. False as `retry_task`."""
        check_task(task)
        check_reason(reason)
        return self._now_open.desk.retry(task, current_task(), sys.exc_info()[1], reason)

    async def consume(
        self, handler: Handler, concurrency: int = 10, *, stop: asyncio.Event | None = None
    ) -> None:
        """Run the handler for every task, `concurrency` at once: takes, renews, acknowledges and retries by itself.

        Args:
            handler: A coroutine function of one QueueTask. Returning completes the task, raising retries it; raising
                `Postpone(delay_s)` puts it off without using up a try, `Reject` sends it to the dead letters.
            concurrency: Handlers at once (1 to 10,000).
            stop: Ends it gracefully: nothing more is taken, what runs is finished. Cancelling ends it at once: handlers
                are cancelled and their tasks given back.

        Raises:
            ConfigurationError: `concurrency` is out of its range.
            QueueError: The server refuses this user. A lost connection ends nothing.
        """
        check_whole("concurrency", concurrency, 1, 10_000)
        check_handler(handler)
        await self._now_open.consumer(handler, concurrency=concurrency, stop=stop).run()

    # -- looking -----------------------------------------------------------------------------------

    async def size(self) -> int:
        """Tasks that wait to be taken now; those in flight, delayed and dead are not among them."""
        return (await self._patience.briefly(self._now_open.queue.counts)).waiting

    async def peek(self, limit: int = 10) -> list[QueueTask]:
        """The tasks that are next, in their order, without taking them; their lease token is 0."""
        check_whole("limit", limit, 1, 10_000, undone=NOTHING_CHANGED)
        queue = self._now_open.queue
        return await self._patience.briefly(lambda: queue.peek(limit))

    async def get_dead_letter_tasks(self, limit: int = 100) -> list[DeadTask]:
        """Dead letters, the newest first; removes nothing."""
        return await self.dead_letters.list(limit=limit)

    @property
    def dead_letters(self) -> DeadLetters:
        """Their administration: list, retry, purge, cap."""
        return DeadLetters(self._now_open.queue, self._patience)

    async def pause(self) -> bool:
        """Hand out nothing, to all consumers, until `resume`; whether that changed something."""
        queue = self._now_open.queue
        return await self._patience.briefly(lambda: queue.pause(is_paused=True))

    async def resume(self) -> bool:
        """Hand out tasks again; whether that changed something."""
        queue = self._now_open.queue
        return await self._patience.briefly(lambda: queue.pause(is_paused=False))

    async def is_paused(self) -> bool:
        """Whether nothing is handed out to anybody until `resume`."""
        return (await self._patience.briefly(self._now_open.queue.counts)).is_paused

    async def server_facts(self) -> ServerFacts:
        """What the server says of itself: version, persistence, memory.

        Raises:
            QueueMisconfigured: This user may not ask (INFO).
            QueueError: No answer.
        """
        connection = self._now_open.connection
        return facts_of(await self._patience.briefly(lambda: connection.command("INFO")))

    async def health_check(self) -> QueueHealth:
        """Status and counts; never raises, connected or not. A replica has counts, and is unhealthy."""
        channel = self._open if self._open is not None else self._channel()
        try:
            return await health_of(channel.queue)
        finally:
            if channel is not self._open:
                await channel.connection.close()
