"""`twitor queue`: how the task queue is, its dead letters, pausing and resuming it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..failures import Failure
from ..groups import NamingGroup
from ..options import common
from ..queueing import queue_of, tell_queue
from ..terminal import emit, is_terminal, json_text, printable, say, table, tell
from ..words import ago, count, duration

if TYPE_CHECKING:
    from ...queue_manager import DeadTask, QueueHealth, QueueManager

SECTION = "Manage"

UNHEALTHY = 1

_PAUSED = "  Paused: workers get nothing until it is resumed (twitor queue resume); a refused bill pauses it too"


@click.group(cls=NamingGroup, short_help="The task queue: health, dead letters, pause, resume.")
def command() -> None:
    """Look at the task queue in Valkey and manage it.

    VALKEY_URL says where it is; without it the embedded Valkey beside the database is used.
    """


def _with_queue(db: str | None, use: "Callable[[QueueManager], Coroutine[Any, Any, int]]") -> int:
    async def run() -> int:
        async with queue_of(db) as queue:
            tell_queue(queue, db)
            return await use(queue)

    return asyncio.run(run())


@command.command("health")
@common
def health(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Say whether the queue can be used, and what is in it. Ends with 1 if it is unhealthy."""
    return _tell_health(db, as_json=as_json)


@command.command("stats", short_help="Count what waits, runs, is delayed and is dead.")
@common
def stats(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Count what waits, runs, is delayed and is dead; a queue out of reach is an error."""

    async def use(queue: "QueueManager") -> int:
        health, paused = await queue.health_check(), await queue.is_paused()
        if as_json:
            emit(
                {
                    **{key: value for key, value in health.items() if key != "error"},
                    "paused": paused,
                }
            )
        else:
            tell(*table(_stats(health, paused=paused)))
        return 0

    return _with_queue(db, use)


def _stats(health: "QueueHealth", *, paused: bool) -> list[tuple[str, str]]:
    oldest_s = health["oldest_s"]
    return [
        ("status", health["status"]),
        ("waiting", f"{health['queue_size'] or 0:,}"),
        ("in flight", f"{health['in_flight'] or 0:,}"),
        ("delayed", f"{health['delayed'] or 0:,}"),
        ("dead letters", f"{health['dead_letter_size'] or 0:,}"),
        ("oldest waits", "-" if oldest_s is None else duration(oldest_s)),
        ("paused", "yes (twitor queue resume)" if paused else "no"),
    ]


def _tell_health(db: str | None, *, as_json: bool) -> int:
    async def run() -> int:
        queue = queue_of(db)
        from ...errors import QueueError

        try:
            async with queue:
                tell_queue(queue, db)
                found = await queue.health_check()
                paused: bool | None = await queue.is_paused()
        except QueueError:
            found, paused = await queue.health_check(), None
        if as_json:
            emit({**found, "paused": paused})
        elif found["status"] == "healthy":
            tell(
                "✓ Queue is healthy",
                f"  Queue size: {found['queue_size']}",
                f"  Dead letter: {found['dead_letter_size']}",
                f"  In flight: {found['in_flight']}, delayed: {found['delayed']}, "
                f"oldest waits {duration(found['oldest_s'] or 0.0)}",
                *([_PAUSED] if paused else []),
            )
        else:
            tell(f"✗ Queue is unhealthy: {found['error']}")
        return 0 if found["status"] == "healthy" else UNHEALTHY

    return asyncio.run(run())


@command.command("pause")
@common
def pause(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Hand out nothing to any worker until `resume`; what runs goes on."""
    return _set_paused(db, is_paused=True, as_json=as_json)


@command.command("resume")
@common
def resume(db: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes by name
    """Hand out tasks again."""
    return _set_paused(db, is_paused=False, as_json=as_json)


def _set_paused(db: str | None, *, is_paused: bool, as_json: bool) -> int:
    async def use(queue: "QueueManager") -> int:
        changed = await (queue.pause() if is_paused else queue.resume())
        if as_json:
            emit({"paused": is_paused, "changed": changed})
        else:
            was = "" if changed else " already"
            tell(f"the queue {'is paused' if is_paused else 'hands out tasks'}{was}")
        return 0

    return _with_queue(db, use)


@command.group("dead", short_help="The dead letters: list, retry, purge.")
def dead() -> None:
    """Tasks that failed for good."""


def _filters(function: Callable[..., int]) -> Callable[..., int]:
    reasons = click.Choice(["failed", "lease_expired", "malformed", "rejected"])
    function = click.option("--reason", type=reasons, help="Only those that died of it.")(function)
    return click.option("--type", "task_type", metavar="TYPE", help="Only tasks of this type.")(
        function
    )


@dead.command("list")
@common
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
def list_dead(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    reason: str | None,
    task_type: str | None,
    limit: int,
) -> int:
    """List dead letters, newest first; removes nothing."""

    async def use(queue: "QueueManager") -> int:
        found = await queue.dead_letters.list(
            reason=_reason(reason), task_type=task_type, limit=limit
        )
        if as_json:
            emit({"dead": [attrs.asdict(task) for task in found]})
        elif not found:
            tell("no dead letters")
        for task in () if as_json else found:
            tell(_line(task))
        return 0

    return _with_queue(db, use)


def _line(task: "DeadTask") -> str:
    from ...clock import SystemClock

    when = ago(task.died_at, now=SystemClock().now())
    why = f"{task.reason}{f' ({task.last_error})' if task.last_error else ''}"
    payload = task.payload if isinstance(task.payload, str) else json_text(task.payload)
    return printable(
        f"{task.task_id}  {task.task_type or '?'}  {why} after {count(task.retry_count, 'retry')}, {when}: {payload}"
    )


@dead.command("retry")
@common
@_filters
@click.argument("task_id", metavar="[ID]", required=False)
def retry_dead(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    reason: str | None,
    task_type: str | None,
    task_id: str | None,
) -> int:
    """Give one dead task, or all that fit, their tries again."""

    async def use(queue: "QueueManager") -> int:
        letters = queue.dead_letters
        if task_id is not None:
            number = _one(
                task_id, int(await letters.retry(task_id)), " that could be read and tried"
            )
        else:
            number = await letters.retry_all(reason=_reason(reason), task_type=task_type)
        if as_json:
            emit({"retried": number})
        else:
            tell(f"{count(number, 'dead task')} {'waits' if number == 1 else 'wait'} again")
        return 0

    return _with_queue(db, use)


@dead.command("purge", short_help="Forget one dead task, or all that fit.")
@common
@_filters
@click.argument("task_id", metavar="[ID]", required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def purge_dead(
    db: str | None,
    as_json: bool,  # noqa: FBT001 - click passes by name
    reason: str | None,
    task_type: str | None,
    *,
    task_id: str | None,
    yes: bool,
) -> int:
    """Forget one dead task, or all that fit: their payloads are kept nowhere else."""
    if task_id is None and not yes:
        _confirm(
            "this forgets every dead letter that fits, and their payloads are kept nowhere else"
        )

    async def use(queue: "QueueManager") -> int:
        number = await queue.dead_letters.purge(
            task_id=task_id, reason=_reason(reason), task_type=task_type
        )
        if task_id is not None:
            _one(task_id, number)
        if as_json:
            emit({"purged": number})
        else:
            tell(f"{count(number, 'dead letter')} forgotten")
        return 0

    return _with_queue(db, use)


def _one(task_id: str, count: int, which: str = "") -> int:
    """The count, if there was such a task: a misspelt id is no success."""
    if not count:
        raise Failure(
            f"there is no dead letter {task_id!r:.200}{which}; nothing was changed. "
            "List them with: twitor queue dead list",
            2,
        )
    return count


def _confirm(what: str) -> None:
    if not is_terminal(sys.stdin):
        raise Failure(f"{what}; nothing was forgotten: nobody is there to ask. Say --yes", 2)
    say(what)
    if not click.confirm("forget them?", err=True):
        raise Failure("nothing was forgotten", 2, error="declined")


def _reason(word: str | None) -> Any:
    from ...queue_manager import DeadReason

    return DeadReason(word) if word is not None else None
