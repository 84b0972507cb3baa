"""What a health check says of a queue: the same keys whether there was an answer or not.

Must not know: who asks the server, and how.
"""

from typing import Literal, TypedDict

from ..errors import QueueError
from ..valkey.task_queue import Counts

__all__ = ["QueueHealth", "healthy", "unhealthy"]


class QueueHealth(TypedDict):
    """What `health_check` answers; all keys are always there, None when unknown."""

    status: Literal["healthy", "unhealthy"]
    queue_size: int | None
    dead_letter_size: int | None
    in_flight: int | None
    delayed: int | None
    oldest_s: float | None
    error: str | None


def healthy(counts: Counts) -> QueueHealth:
    """The queue answers with its counts."""
    return QueueHealth(
        status="healthy",
        queue_size=counts.waiting,
        dead_letter_size=counts.dead,
        in_flight=counts.in_flight,
        delayed=counts.delayed,
        oldest_s=counts.oldest_s,
        error=None,
    )


def unhealthy(error: Exception) -> QueueHealth:
    """It does not. Only an error of ours is quoted: the text of another may hold anything."""
    return QueueHealth(
        status="unhealthy",
        queue_size=None,
        dead_letter_size=None,
        in_flight=None,
        delayed=None,
        oldest_s=None,
        error=str(error) if isinstance(error, QueueError) else type(error).__name__,
    )
