"""Runs cleanup tasks: each with a time limit, all of them whatever the others do.

Must not know: what ended the session. A cleanup's failure is reported, never raised.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from .log_facts import logger_of

__all__ = ["CleanupTask", "discard_cleanup", "run_cleanup"]

CleanupTask = Awaitable[Any] | Callable[[], Awaitable[Any] | Any]
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
        problem = await _run_one(task, timeout_s)
        if problem is not None:
            _LOG.error("%s; the other cleanup tasks run all the same", problem, extra=extra)
            problems.append(problem)
    return tuple(problems)


async def _run_one(task: CleanupTask, timeout_s: float) -> str | None:
    name = getattr(task, "__qualname__", type(task).__name__)
    running = asyncio.ensure_future(_await(task))
    try:
        done, _ = await asyncio.wait({running}, timeout=timeout_s)
        if not done:
            running.cancel()
            await asyncio.wait({running}, timeout=min(timeout_s, 1.0))
            problem = f"cleanup {name} did not end within {timeout_s:g} s and was left"
        elif running.cancelled():
            problem = f"cleanup {name} was cancelled"
        elif (error := running.exception()) is not None:
            problem = f"cleanup {name} failed: {type(error).__name__}"
        else:
            return None
    except asyncio.CancelledError:
        running.cancel()
        raise
    return problem


async def _await(task: CleanupTask) -> None:
    try:
        if not callable(task) and not inspect.isawaitable(task):
            raise TypeError("neither awaitable nor callable")  # a client instead of its `aclose()`
        outcome = task() if callable(task) else task
        if inspect.isawaitable(outcome):
            await outcome
    except (KeyboardInterrupt, SystemExit) as exc:  # would tear the loop down from inside a task
        raise RuntimeError(f"the cleanup raised {type(exc).__name__}") from exc


def discard_cleanup(tasks: Iterable[CleanupTask]) -> None:
    """Close coroutines that will not run, so that nobody is told they were never awaited."""
    for task in tasks:
        if inspect.iscoroutine(task):
            task.close()
