"""Takes tasks and sends what is done along: one call does both.

A claim that is cancelled, or whose answer was lost, loses nothing: its tasks are given back, or asked for again.
"""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from uuid_utils import uuid4

from ..clock import Clock
from ..errors import QueueError, TaskLeaseLost
from ..log_facts import logger_of
from ..valkey.task_queue import Claim, Claimed, Completed, Lease, TaskQueue
from .patience import Patience, Until
from .records import DeadReason, QueueTask, log_facts_of

__all__ = ["Claimer"]

_LOG: Final = logger_of("twitor_fsm.queue")


class Claimer:
    """Claims of one manager or consumer."""

    def __init__(
        self, queue: TaskQueue, patience: Patience, clock: Clock, *, lease_s: float
    ) -> None:
        """Prepare; nothing is sent."""
        self._queue: Final = queue
        self._patience: Final = patience
        self._clock: Final = clock
        self._lease_ms: Final = round(lease_s * 1000)
        self._done: dict[Lease, QueueTask] = {}
        """What waits to be acknowledged."""
        self._maybe_done: Final[set[Lease]] = set()
        self._unanswered: Final[list[str]] = []
        self._given_back: Final[set[str]] = set()
        self._orphans: Final[set[asyncio.Task[None]]] = set()

    def acknowledge(self, task: QueueTask) -> None:
        """Send this acknowledgement with the next claim or `flush`."""
        self._done[Lease(task.task_id, task.lease_token)] = task

    @property
    def has_done(self) -> bool:
        """Whether acknowledgements wait to be sent."""
        return bool(self._done)

    async def claim(self, wanted: int, *, may_take_suspect: bool, until: Until) -> Claimed:
        """Acknowledge what is done and take tasks.

        Args:
            wanted: Tasks at most.
            may_take_suspect: Whether one that may have killed its worker may be among them.
            until: When to stop trying without an answer, monotonic seconds.

        Raises:
            QueueError: No answer came in time (nothing is lost), or the server refuses.
        """
        is_repeated = bool(self._unanswered)
        done, self._done = self._done, {}
        ask = Claim(
            nonce=self._unanswered.pop() if is_repeated else uuid4().hex[:12],
            wanted=wanted,
            lease_ms=self._lease_ms,
            may_take_suspect=may_take_suspect,
            done=tuple(done),
        )
        try:
            claimed = await self._patience.keep_trying(
                lambda tries: self._once(ask, is_repeated=is_repeated or tries > 0), until=until
            )
        except BaseException:
            self._send_again(done)
            if ask.nonce not in self._given_back:
                self._unanswered.append(ask.nonce)
            raise
        self._note_lost(done, claimed.acknowledged)
        for task_id, token in claimed.malformed:
            await self._bury(task_id, token)
        return claimed

    async def _once(self, ask: Claim, *, is_repeated: bool) -> Claimed:
        if is_repeated:
            self._maybe_done.update(ask.done)
        calling = asyncio.create_task(self._queue.claim(ask, is_repeated=is_repeated))
        try:
            return await asyncio.shield(calling)
        except asyncio.CancelledError:
            self._given_back.add(ask.nonce)
            orphan = asyncio.create_task(self._give_back(ask, calling))
            self._orphans.add(orphan)
            orphan.add_done_callback(self._orphans.discard)
            raise

    async def _give_back(self, ask: Claim, calling: "asyncio.Task[Claimed]") -> None:
        """Return what a claim has taken that nobody waits for any more."""
        try:
            claimed = await calling
            leases = [Lease(task.task_id, task.lease_token) for task in claimed.tasks]
            if leases:
                await self._queue.release(leases, counts=False)
        except QueueError as error:
            _LOG.debug("a cancelled claim was not given back, its lease will end: %s", error)
        finally:
            self._given_back.discard(ask.nonce)

    def _send_again(self, done: Mapping[Lease, QueueTask]) -> None:
        """Keep acknowledgements whose answer did not arrive; they may have been done."""
        self._done = {**done, **self._done}
        self._maybe_done.update(done)

    def _note_lost(self, done: Mapping[Lease, QueueTask], answers: Iterable[bool]) -> None:
        for (lease, task), was_ours in zip(done.items(), answers, strict=True):
            if not was_ours and lease not in self._maybe_done:
                _LOG.warning("%s", TaskLeaseLost(task.task_id), extra=log_facts_of(task))
        self._maybe_done.difference_update(done)

    async def _bury(self, task_id: bytes, token: int) -> None:
        _LOG.error("a task cannot be read and is among the dead letters: %r", task_id[:100])
        try:
            await self._queue.bury_raw(task_id, token, DeadReason.MALFORMED)
        except QueueError as error:
            _LOG.warning("it was not buried, its lease will end: %s", error)

    async def flush(self, *, until: float) -> None:
        """Send all acknowledgements that wait.

        Raises:
            QueueError: They were not sent; they still wait.
        """
        while self._done:
            done, self._done = self._done, {}
            try:
                answers = await self._patience.keep_trying(
                    partial(self._complete, tuple(done)), until=until
                )
            except BaseException:
                self._send_again(done)
                raise
            self._note_lost(done, answers)

    async def _complete(self, done: tuple[Lease, ...], tries: int) -> list[bool]:
        if tries:
            self._maybe_done.update(done)
        return [answer is Completed.DONE for answer in await self._queue.complete(done)]

    async def close(self) -> None:
        """Wait until cancelled claims are given back."""
        while self._orphans:
            await asyncio.gather(*self._orphans, return_exceptions=True)
