"""What a health check asks of a queue, and says of it: the same keys whether there was an answer or not.

Must not know: connections, who asks.
"""

from typing import Literal, TypedDict

from ..errors import QueueError
from ..valkey.task_queue import Counts, TaskQueue

__all__ = ["QueueHealth", "health_of"]


class QueueHealth(TypedDict):
    """What `health_check` answers; all keys are always there, None when unknown."""

    status: Literal["healthy", "unhealthy"]
    queue_size: int | None
    dead_letter_size: int | None
    in_flight: int | None
    delayed: int | None
    oldest_s: float | None
    error: str | None


async def health_of(queue: TaskQueue) -> QueueHealth:
    """Count what is in a queue, and see whether it can be changed; never raises."""
    counts: Counts | None = None
    try:
        counts = await queue.counts()
        await queue.check_writing()
    except Exception as error:  # noqa: BLE001  it is the answer
        return _told(counts, error)
    return _told(counts, None)


def _told(counts: Counts | None, error: Exception | None) -> QueueHealth:
    """Only an error of ours is quoted: the text of another may hold anything."""
    problem: str | None = None
    if error is not None:
        problem = str(error) if isinstance(error, QueueError) else type(error).__name__
    if counts is None:
        return QueueHealth(
            status="unhealthy",
            queue_size=None,
            dead_letter_size=None,
            in_flight=None,
            delayed=None,
            oldest_s=None,
            error=problem,
        )
    return QueueHealth(
        status="healthy" if problem is None else "unhealthy",
        queue_size=counts.waiting,
        dead_letter_size=counts.dead,
        in_flight=counts.in_flight,
        delayed=counts.delayed,
        oldest_s=counts.oldest_s,
        error=None if problem is None else f"it can be read but not written to: {problem}",
    )
