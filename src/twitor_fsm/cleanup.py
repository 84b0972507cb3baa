"""Runs an app's tasks, each with a time limit: cleanup tasks all, whatever the others do.

Must not know: what ended the session. A cleanup's failure is reported, never raised.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from .log_facts import logger_of

__all__ = ["CleanupTask", "Problem", "discard_cleanup", "run_cleanup", "run_within"]

CleanupTask: TypeAlias = Awaitable[Any] | Callable[[], Awaitable[Any] | Any]
"""An awaitable, or a callable without arguments that may return one."""

_LOG: Final = logger_of("twitor_fsm.cleanup")


async def run_cleanup(
    tasks: Iterable[CleanupTask], *, timeout_s: float, extra: Mapping[str, str | None]
) -> tuple[str, ...]:
    """Run every task, one after the other.

    Args:
        tasks: What is to be freed, in order.
        extra: session_id, user_id and operation, for log records.
        timeout_s: Limit of each task, seconds; one that overruns it is cancelled, and left behind if it does not end.

    Returns:
        One line for each task that raised or overran its time.
    """
    problems: list[str] = []
    for task in tasks:
        name = getattr(task, "__qualname__", type(task).__name__)
        problem = await run_within(task, f"cleanup {name}", timeout_s)
        if problem is not None:
            _LOG.error("%s; the other cleanup tasks run all the same", problem, extra=extra)
            problems.append(str(problem))
    return tuple(problems)


@attrs.frozen
class Problem:
    """What went wrong with a task; as text, a line.

    Attributes:
        what: The line.
        error: What it raised, if it did.
    """

    what: str
    error: BaseException | None = None

    def __str__(self) -> str:
        return self.what


async def run_within(task: CleanupTask, name: str, timeout_s: float) -> Problem | None:
    """Run one; what went wrong, or None. One that does not heed its cancellation is left behind."""
    running = asyncio.ensure_future(_await(task))
    try:
        done, _ = await asyncio.wait({running}, timeout=timeout_s)
        if not done:
            running.cancel()
            await asyncio.wait({running}, timeout=min(timeout_s, 1.0))
            return Problem(f"{name} did not end within {timeout_s:g} s and was left")
    except asyncio.CancelledError:
        running.cancel()
        raise
    if running.cancelled():
        return Problem(f"{name} was cancelled")
    if (error := running.exception()) is not None:
        return Problem(f"{name} failed: {type(error).__name__}", error)
    return None


async def _await(task: CleanupTask) -> None:
    try:
        if not callable(task) and not inspect.isawaitable(task):
            raise TypeError("neither awaitable nor callable")  # a client instead of its `aclose()`
        outcome = task() if callable(task) else task
        if inspect.isawaitable(outcome):
            await outcome
    except (KeyboardInterrupt, SystemExit) as exc:  # would tear the loop down from inside a task
        raise RuntimeError(f"it raised {type(exc).__name__}") from exc


def discard_cleanup(tasks: Iterable[CleanupTask]) -> None:
    """Close coroutines that will not run, so that nobody is told they were never awaited."""
    for task in tasks:
        if inspect.iscoroutine(task):
            task.close()
