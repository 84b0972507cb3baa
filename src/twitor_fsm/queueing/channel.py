"""What is there between `connect` and `disconnect`: one connection, and the parts of this process that work on it.

Makes them for each other, and closes them in their order. Must not know: which server answers, what its callers want.
"""

import asyncio
import random
from typing import Final

from ..clock import Clock
from ..errors import QueueError
from ..log_facts import logger_of
from ..valkey.connection import Connection
from ..valkey.task_queue import TaskQueue
from .bell import Bell
from .claiming import Claimer
from .consumer import Consumer, Handler
from .desk import Desk, Owner
from .holding import Holding
from .options import QueueOptions
from .patience import Patience
from .takers import Takers

__all__ = ["Channel"]

_LOG: Final = logger_of("twitor_fsm.queue")


class Channel:
    """One connection's parts."""

    def __init__(
        self,
        connection: Connection,
        options: QueueOptions,
        patience: Patience,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            connection: To the server.
            options: Of the queue.
            patience: Repeats calls.
            clock: For waits.
            rng: Spreads backoffs.
        """
        self._options: Final = options
        self._patience: Final = patience
        self._clock: Final = clock
        self.connection: Final = connection
        self.queue: Final = TaskQueue(
            connection, options.queue_name, dead_cap=options.max_dead_letters
        )
        self.claimer: Final = self._claimer()
        self.holding: Final = self._holding()
        self.bell: Final = (
            Bell(self.queue, clock, give_back=self.queue.ring_again) if options.has_bell else None
        )
        self.desk: Final = Desk(
            self.queue,
            claimer=self.claimer,
            holding=self.holding,
            bell=self.bell,
            takers=Takers(options.queue_name, is_implicit=options.is_implicit),
            patience=patience,
            clock=clock,
            initial_backoff=options.settings.initial_backoff,
            rng=rng,
        )

    def _claimer(self) -> Claimer:
        return Claimer(self.queue, self._patience, self._clock, lease_s=self._options.lease_s)

    def _holding(self) -> Holding:
        return Holding(self.queue, self._clock, lease_s=self._options.lease_s)

    def consumer(
        self, handler: Handler, *, concurrency: int, stop: asyncio.Event | None
    ) -> Consumer:
        """A consumer with claims and leases of its own; it closes those itself when it ends."""
        return Consumer(
            handler,
            concurrency=concurrency,
            claimer=self._claimer(),
            holding=self._holding(),
            bell=self.bell,
            desk=self.desk,
            clock=self._clock,
            stop=stop,
        )

    async def probe(self) -> None:
        """See whether the server answers, and lets this user run the queue's scripts.

        Raises:
            QueueError: It does not; says why.
        """
        await self.connection.ping()
        await self.queue.counts()

    async def close(self, caller: Owner, passing: BaseException | None) -> None:
        """Settle what the caller took, then end everything.

        Args:
            caller: Who leaves.
            passing: The exception with which it leaves.
        """
        try:
            await self.desk.settle_all(caller, passing)
        except QueueError as error:
            _LOG.warning("the last tasks were not settled, they come again: %s", error)
        finally:
            await self.holding.close()
            if self.bell is not None:
                await self.bell.close()
            await self.claimer.close()
            await self.connection.close()
