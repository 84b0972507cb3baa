"""Which asyncio task takes from a manager, and whether what it took is acknowledged for it.

Implicit acknowledgement is right for one loop that takes a task, works on it and takes the next. It is off for good as
soon as anything shows that work is handed to others: a second asyncio task takes, two takes overlap, or a task is settled
by another asyncio task than the one that took it.
Must not know: Valkey.
"""

import asyncio
import weakref
from typing import Any, Final

from ..log_facts import logger_of

__all__ = ["Takers", "current_task", "is_received_by"]

_LOG: Final = logger_of("twitor_fsm.queue")


def current_task() -> "asyncio.Task[Any] | None":
    """The running asyncio task; None outside of a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_received_by(caller: "asyncio.Task[Any] | None") -> bool:
    """Whether what the running asyncio task returns certainly reaches the caller.

    It does if they are the same, and if the caller is in `wait_for`, which on Python 3.11 runs what it waits for in an
    asyncio task of its own. The result of any other asyncio task may be dropped unseen.
    """
    running = current_task()
    if running is caller:
        return True
    step: Any = caller.get_coro() if caller is not None else None
    while step is not None:
        if getattr(step, "cr_code", None) is asyncio.wait_for.__code__:
            return bool(step.cr_frame.f_locals.get("fut") is running)
        step = getattr(step, "cr_await", None)
    return False


class Takers:
    """Watches who takes."""

    def __init__(self, queue_name: str, *, is_implicit: bool) -> None:
        """Start with nobody.

        Args:
            queue_name: For the warning.
            is_implicit: Whether tasks are acknowledged by taking the next (`ack="auto"`).
        """
        self._queue_name: Final = queue_name
        self._is_implicit = is_implicit
        self._taker: weakref.ref[asyncio.Task[Any]] | None = None
        self._pending = 0

    @property
    def is_implicit(self) -> bool:
        """Whether acknowledging is done for the taker."""
        return self._is_implicit

    def begin(self, caller: "asyncio.Task[Any] | None") -> None:
        """A take begins. Balance it with `end`."""
        if self._taker is None and caller is not None:
            self._taker = weakref.ref(caller)
        elif self._pending:
            self.hand_over("takes overlap")
        elif not self.is_taker(caller):
            self.hand_over("a second asyncio task takes")
        self._pending += 1

    def end(self) -> None:
        """The take is over."""
        self._pending -= 1

    def is_taker(self, caller: "asyncio.Task[Any] | None") -> bool:
        """Whether this is the asyncio task that took first."""
        return caller is not None and self._taker is not None and self._taker() is caller

    def hand_over(self, why: str) -> None:
        """Work is done elsewhere than where it is taken: acknowledge nothing implicitly from now on."""
        if self._is_implicit:
            self._is_implicit = False
            _LOG.warning(
                "queue %s: %s, so taking the next task acknowledges nothing any more: call complete(task) when a task "
                'is done, or use consume(); QueueManager(ack="manual") says so from the start',
                self._queue_name,
                why,
            )
