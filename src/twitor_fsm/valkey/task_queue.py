"""One queue in Valkey: each method is one script, one try, one atomic change.

Turns arguments into those of the scripts and replies into values. Every method may be repeated after QueueUnavailable.
Must not know: how long to go on trying, who holds which task in this process.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final

import attrs

from ..errors import QueueFull, QueueOutOfMemory
from ..queueing.records import (
    DeadReason,
    DeadTask,
    MalformedRecord,
    NewTask,
    QueueTask,
    dead_task,
    queue_task,
    record_of,
)
from .connection import Argument, Connection, ServerOutOfMemory
from .keys import QueueKeys
from .scripts import Script, load

__all__ = ["Claim", "Claimed", "Counts", "Lease", "Retried", "TaskQueue"]

CLAIM_LIMIT: Final = 500
"""Tasks that one claim takes at most: about 5 ms of the server."""

ENQUEUE_LIMIT: Final = 500
ENQUEUE_BYTES: Final = 4 * 1024 * 1024
"""Tasks and bytes that one enqueue adds at most, where they need not be added together."""

LIST_LIMIT: Final = 500


@attrs.frozen
class Lease:
    """What entitles to settle a task."""

    task_id: str
    token: int


@attrs.frozen(kw_only=True)
class Claim:
    """What a consumer asks for in one turn.

    Attributes:
        nonce: Names this claim, so that a lost answer can be asked for again.
        wanted: Tasks at most.
        lease_ms: How long they are leased.
        may_take_suspect: Whether one that may have killed its worker may be among them.
        done: What it acknowledges.
    """

    nonce: str
    wanted: int
    lease_ms: int
    may_take_suspect: bool = True
    done: tuple[Lease, ...] = ()


@attrs.frozen(kw_only=True)
class Claimed:
    """The answer to a claim.

    Attributes:
        tasks: What was taken.
        suspects: Ids of those that may have killed their worker.
        malformed: What was taken and cannot be read: raw id and token.
        acknowledged: For each of `done`, whether it was still ours.
        due_in_s: When something becomes due or a lease ends; None: nothing will.
        is_paused: Whether the queue hands out nothing.
    """

    tasks: tuple[QueueTask, ...]
    suspects: frozenset[str]
    malformed: tuple[tuple[bytes, int], ...]
    acknowledged: tuple[bool, ...]
    due_in_s: float | None
    is_paused: bool


class Completed(Enum):
    """What an acknowledgement met: its task, no such task (any more), or one that is another try's."""

    DONE = 1
    GONE = 0
    NOT_OURS = -1


class Retried(Enum):
    """What became of a task whose try failed: the last two say that it is another try's, or nowhere any more."""

    SCHEDULED = 1
    DEAD = 0
    NOT_OURS = -1
    GONE = -2


@attrs.frozen
class Counts:
    """One instant of the queue. `oldest_s`: age of the oldest waiting task, seconds."""

    waiting: int
    in_flight: int
    delayed: int
    dead: int
    oldest_s: float
    is_paused: bool


class TaskQueue:
    """The scripts of one queue."""

    def __init__(self, connection: Connection, queue_name: str, *, dead_cap: int) -> None:
        """Prepare; nothing is sent.

        Args:
            connection: To the server.
            queue_name: Its name.
            dead_cap: Dead letters kept at most (0: all); the oldest go first.
        """
        self._connection: Final = connection
        self._name: Final = queue_name
        self._dead_cap: Final = dead_cap
        self._keys: Final = QueueKeys(queue_name)
        self._prepared: Final[dict[str, tuple[Script, list[str]]]] = {}

    async def _run(self, name: str, *arguments: Argument) -> Any:
        prepared = self._prepared.get(name)
        if prepared is None:
            script = load(name)
            prepared = self._prepared[name] = script, self._keys.named(*script.keys)
        return await self._connection.call(*prepared, *arguments)

    async def enqueue(self, tasks: Sequence[NewTask], *, max_size: int) -> int:
        """Add tasks; returns how many were not known yet.

        Args:
            tasks: What to add.
            max_size: Bound of waiting and delayed tasks, 0 for none; with one, all are added or none.

        Raises:
            QueueFull: They do not fit; nothing was added.
            QueueOutOfMemory: The server has no room. With a bound nothing was added, without one perhaps a part.
            QueueError: As of `Connection.call`.
        """
        added = 0
        for part in [tasks] if max_size else _parts(tasks):
            arguments: list[Argument] = [max_size]
            for task in part:
                arguments += (
                    task.task_id,
                    task.priority,
                    task.max_retries,
                    task.delay_ms,
                    task.body,
                )
            try:
                new: int = await self._run("enqueue", *arguments)
            except ServerOutOfMemory as error:
                raise QueueOutOfMemory(self._name) from error
            if new < 0:
                raise QueueFull(self._name, max_size)
            added += new
        return added

    async def claim(self, ask: Claim, *, is_repeated: bool) -> Claimed:
        """Acknowledge, reclaim, promote and take in one call.

        Args:
            ask: What is wanted.
            is_repeated: The same claim was sent before and its answer did not arrive.
        """
        arguments: list[Argument] = [
            ask.nonce,
            min(ask.wanted, CLAIM_LIMIT),
            ask.lease_ms,
            int(ask.may_take_suspect),
            int(is_repeated),
            self._dead_cap,
            len(ask.done),
            *_flat(ask.done),
        ]
        return _claimed(await self._run("claim", *arguments))

    async def ring_again(self) -> None:
        """Ring the bell if there is something to take: a claim of nothing, which repeats nobody's."""
        nothing = Claim(nonce="-", wanted=0, lease_ms=0, may_take_suspect=False)
        await self.claim(nothing, is_repeated=False)

    async def check_writing(self) -> None:
        """See whether the queue can be changed, without changing it: a replica answers what is asked, and no more.

        Raises:
            QueueError: It cannot.
        """
        await self.release([], counts=False)

    async def complete(self, leases: Sequence[Lease]) -> list[Completed]:
        """Acknowledge; for each what became of it."""
        return [Completed(answer) for answer in await self._run("complete", *_flat(leases))]

    async def retry(
        self,
        lease: Lease,
        *,
        delay_s: float,
        error: str,
        final: DeadReason | None = None,
        restore: QueueTask | None = None,
    ) -> Retried:
        """End a failed try.

        Args:
            lease: Of the task.
            delay_s: Until the next try, seconds.
            error: Class of the error, one word.
            final: Bury it with this reason whatever tries are left; None: only when none are.
            restore: The task itself, if it may have been acknowledged too early and has to be put back.
        """
        record: bytes | str = record_of(restore) if restore else ""
        claim = (
            f"{restore.retry_count + 1} {lease.token} {restore.priority} {restore.max_retries} - - -"
            if restore
            else ""
        )
        answer: int = await self._run(
            "retry",
            lease.task_id,
            lease.token,
            round(delay_s * 1000),
            error or "-",
            self._dead_cap,
            int(final is not None),
            final or DeadReason.FAILED,
            record,
            claim,
        )
        return Retried(answer)

    async def bury_raw(self, task_id: bytes, token: int, reason: DeadReason) -> None:
        """Bury what was taken and cannot be read."""
        await self._run("retry", task_id, token, 0, "-", self._dead_cap, 1, reason, "", "")

    async def postpone(self, lease: Lease, *, delay_s: float) -> bool:
        """Put a task off with all its tries; whether it was ours."""
        answer: int = await self._run("postpone", lease.task_id, lease.token, round(delay_s * 1000))
        return answer == 1

    async def release(self, leases: Sequence[Lease], *, counts: bool) -> int:
        """Give tasks back, in front; returns how many were ours. `counts`: whether their try counts."""
        returned: int = await self._run("release", int(counts), *_flat(leases))
        return returned

    async def extend(self, leases: Sequence[Lease], *, lease_ms: int) -> list[bool]:
        """Renew leases; for each whether it is still ours."""
        return [answer == 1 for answer in await self._run("extend", lease_ms, *_flat(leases))]

    async def wait_for_bell(self, block_s: float) -> bool:
        """Wait until there may be something to take; takes the ring from all others."""
        (bell,) = self._keys.named("bell")
        return await self._connection.pop(bell, block_s)

    async def counts(self) -> Counts:
        """Count everything at one instant."""
        waiting, in_flight, delayed, dead, oldest, now, is_paused = await self._run("health")
        oldest_s = max(0.0, (now - oldest) / 1000) if oldest else 0.0
        return Counts(waiting, in_flight, delayed, dead, oldest_s, is_paused == 1)

    async def peek(self, limit: int) -> list[QueueTask]:
        """The next tasks, without taking them; those that cannot be read are left out."""
        reply = await self._run("peek", limit)
        found = []
        for i in range(0, len(reply), 3):
            try:
                found.append(
                    queue_task(reply[i], reply[i + 1], tries=int(reply[i + 2]) + 1, token=0)
                )
            except MalformedRecord:
                continue
        return found

    async def pause(self, *, is_paused: bool) -> bool:
        """Stop or start the handing out; whether that changed something."""
        changed: int = await self._run("pause", int(is_paused))
        return changed == 1

    # -- dead letters ------------------------------------------------------------------------------

    async def dead(self, start: int, limit: int) -> list[DeadTask]:
        """Dead letters from the newest on, `limit` at most."""
        dead, records, notes = self._keys.named("dead", "dead_records", "dead_notes")
        ids = await self._connection.command(
            "ZRANGE", dead, start, start + limit - 1, "REV", "WITHSCORES"
        )
        if not ids:
            return []
        names = ids[::2]
        raw = await self._connection.command("HMGET", records, *names)
        said = await self._connection.command("HMGET", notes, *names)
        return [
            dead_task(name, record, note or b"", died_ms=float(at))
            for name, at, record, note in zip(names, ids[1::2], raw, said, strict=True)
            if record is not None
        ]

    async def dead_retry(self, ids: Sequence[str]) -> int:
        """Give dead tasks all their tries again; returns how many wait again."""
        return await self._in_parts("dead_retry", ids)

    async def dead_purge(self, ids: Sequence[str]) -> int:
        """Forget dead tasks; returns how many there were."""
        return await self._in_parts("dead_purge", ids)

    async def _in_parts(self, script: str, ids: Sequence[str]) -> int:
        done = 0
        for start in range(0, len(ids), LIST_LIMIT):
            done += await self._run(script, *ids[start : start + LIST_LIMIT])
        return done


def _flat(leases: Iterable[Lease]) -> list[Argument]:
    return [value for lease in leases for value in (lease.task_id, lease.token)]


def _parts(tasks: Sequence[NewTask]) -> Iterable[Sequence[NewTask]]:
    """So many tasks at a time as one call may add."""
    part: list[NewTask] = []
    size = 0
    for task in tasks:
        if part and (len(part) >= ENQUEUE_LIMIT or size + len(task.body) > ENQUEUE_BYTES):
            yield part
            part, size = [], 0
        part.append(task)
        size += len(task.body)
    if part:
        yield part


def _claimed(reply: list[Any]) -> Claimed:
    answers, due_ms, is_paused, *taken = reply
    tasks: list[QueueTask] = []
    suspects: set[str] = set()
    malformed: list[tuple[bytes, int]] = []
    for i in range(0, len(taken), 5):
        task_id, record, tries, token, is_suspect = taken[i : i + 5]
        try:
            task = queue_task(task_id, record, tries=int(tries), token=int(token))
        except MalformedRecord:
            malformed.append((task_id, int(token)))
            continue
        tasks.append(task)
        if is_suspect:
            suspects.add(task.task_id)
    return Claimed(
        tasks=tuple(tasks),
        suspects=frozenset(suspects),
        malformed=tuple(malformed),
        acknowledged=tuple(answer == 1 for answer in answers),
        due_in_s=None if due_ms < 0 else due_ms / 1000,
        is_paused=is_paused == 1,
    )
