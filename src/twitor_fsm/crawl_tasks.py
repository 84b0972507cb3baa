"""What a crawl's task is: its type, payload and id, how it is asked for, and what the end of a session makes of it.

Must not know: who takes tasks, how a session runs.
"""

import enum
import hashlib
import re
from typing import Final, TypedDict, Unpack

import attrs

from .core.records import CrawlKey
from .core.states import State
from .core.taxonomy import ErrorCategory, Reason
from .engine import CrawlEngine
from .queue_manager import QueueManager, QueueTask
from .report import CrawlReport

__all__ = [
    "CRAWL",
    "DRAINING",
    "AskedCrawl",
    "Settling",
    "ask_for_crawl",
    "enqueue_crawl",
    "is_done",
    "needs_session",
    "payload_of",
    "settling",
    "task_id_of",
]

CRAWL: Final = "crawl"
"""Task type of a crawl; its payload names user and source, never a token."""

DRAINING: Final = frozenset({Reason.OUT_OF_MEMORY, Reason.DISK_FULL, Reason.STORE_FULL})
"""What the other sessions of this process would meet next."""

_DONE: Final = frozenset({Reason.STOPPED_BY_USER, Reason.MAX_ITEMS})
"""Ends that somebody wanted."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What stands in a task's id as it is: no colon, and short enough (two of them and "crawl" fit the 200 characters)."""

_DIGEST: Final = "sha256"


@attrs.frozen
class AskedCrawl:
    """A crawl that was asked for: its task's id, and whether the task is new (False: it was in the queue already)."""

    task_id: str
    is_new: bool


class CrawlWish(TypedDict, total=False):
    """What `enqueue_crawl` and `ask_for_crawl` take besides user and source."""

    engine: CrawlEngine | None
    resume_only: bool
    delay: float
    priority: int


async def enqueue_crawl(
    queue: QueueManager, *, user_id: str, source: str = "x", **wish: Unpack[CrawlWish]
) -> str:
    """Ask for a crawl as `ask_for_crawl` does; returns the task's id alone."""
    return (await ask_for_crawl(queue, user_id=user_id, source=source, **wish)).task_id


async def ask_for_crawl(
    queue: QueueManager,
    *,
    user_id: str,
    source: str = "x",
    engine: CrawlEngine | None = None,
    resume_only: bool = False,
    delay: float = 0.0,
    priority: int = 0,
) -> AskedCrawl:
    """Ask for a crawl; while one of this user and source is asked for or runs, nothing is added.

    Args:
        queue: Connected.
        user_id: Whose.
        source: Name of the source.
        engine: Makes the wish durable: the session is made in the database first, so that a sweep asks for it again
            whatever the queue loses. None leaves it to the queue alone.
        resume_only: Only to bring an unfinished session to its end: if the crawl's last one is done by then, nothing is.
        delay: Not before so many seconds.
        priority: Higher is crawled first.

    Returns:
        The task's id (`crawl:x:42`, or `crawl:sha256:` and a digest where a name is unusual), and whether it is new.

    Raises:
        ConfigurationError: No crawl could be started with this user id or source (with `engine` only); nothing was
            changed.
        TaskRefused: JSON cannot hold the user's id (a lone surrogate), or a number is out of its range; neither the
            database nor the queue was changed.
    """
    payload = payload_of(
        CrawlKey(user_id, source), resume_only=resume_only, is_reserved=engine is not None
    )
    task_id = task_id_of(CrawlKey(user_id, source))
    if engine is not None:
        queue.check(CRAWL, payload, task_id=task_id, delay=delay, priority=priority)
        await engine.reserve(user_id, source)
    is_new = await queue.offer(CRAWL, payload, task_id=task_id, delay=delay, priority=priority)
    return AskedCrawl(task_id, is_new)


def payload_of(
    crawl: CrawlKey, *, resume_only: bool, is_reserved: bool = False
) -> dict[str, str | bool]:
    """Small: a session that pauses is this and nothing else (at most 300 bytes of the server, measured).

    With either mark it is void when the database knows no session of the crawl any more.
    """
    payload: dict[str, str | bool] = {"user_id": crawl.user_id, "source": crawl.source}
    if resume_only:
        payload["resume"] = True
    elif is_reserved:
        payload["reserved"] = True
    return payload


def task_id_of(crawl: CrawlKey) -> str:
    """Readable where user and source are plain, else a digest: always a valid id, and each crawl's own."""
    user_id, source = crawl.user_id, crawl.source
    if _PLAIN.fullmatch(source) and _PLAIN.fullmatch(user_id) and source != _DIGEST:
        return f"{CRAWL}:{source}:{user_id}"
    # The length tells where the source ends; surrogates have an encoding of their own.
    text = f"{len(source)}:{source}{user_id}".encode("utf-8", "surrogatepass")
    return f"{CRAWL}:{_DIGEST}:{hashlib.sha256(text).hexdigest()}"


# -- how it is settled ----


class Settling(enum.Enum):
    """What the end of a session makes of its crawl's task."""

    LEFT = enum.auto()
    """Nothing: the session is another process's now."""
    DONE = enum.auto()
    """Done: no other session would come further, or somebody wanted this end."""
    PAUSED = enum.auto()
    """It comes again when the pause is over, with the same session."""
    DRAINS = enum.auto()
    """It goes back, and this worker drains: what it lacks its other sessions would lack next."""
    BILLED = enum.auto()
    """It goes back, and the queue is paused."""
    FAILED = enum.auto()
    """A try has failed: it comes again with a backoff, if one is left."""
    FATAL = enum.auto()
    """A dead letter."""
    STOPPED = enum.auto()
    """It goes back: it was stopped midway, because this worker ends."""


def is_done(state: str, category: ErrorCategory | None, reason: str | None) -> bool:
    """Whether a session that ended so ends its crawl's task too: no other session would come further."""
    return state == State.COMPLETED or reason in _DONE or category is ErrorCategory.AUTH


def settling(report: CrawlReport) -> Settling:
    """How a session ended decides its task."""
    if report.lost:
        return Settling.LEFT
    if is_done(report.state, report.category, report.reason):
        return Settling.DONE
    if report.resume_at is not None:
        return Settling.PAUSED
    if report.reason in DRAINING:
        return Settling.DRAINS
    if report.reason == Reason.BILLING:
        return Settling.BILLED
    match report.category:
        case ErrorCategory.NETWORK | ErrorCategory.DATABASE:
            return Settling.FAILED
        case ErrorCategory.FATAL:
            return Settling.FATAL
        case _:
            return Settling.STOPPED


def needs_session(task: QueueTask, report: CrawlReport) -> bool:
    """Whether a crawl whose session ended so goes on with another session."""
    match settling(report):
        case Settling.DRAINS | Settling.BILLED | Settling.STOPPED:
            return True
        case Settling.FAILED:
            return task.retry_count < task.max_retries
        case _:
            return False
