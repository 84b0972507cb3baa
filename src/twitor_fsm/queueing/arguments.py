"""Sees that arguments of the queue's public methods are what they have to be, before anything is touched.

Pure. Must not know: what the arguments are for.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import ConfigurationError, TaskRefused
from .records import DeadReason, DeadTask, QueueTask, is_number

__all__ = [
    "NOTHING_CHANGED",
    "check_handler",
    "check_id",
    "check_moment",
    "check_number",
    "check_reason",
    "check_task",
    "check_whole",
    "check_word",
    "pairs_of",
]

NOTHING_CHANGED: Final = "Nothing was changed"
NOTHING_STARTED: Final = "Nothing was started"


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Refuse what is no number of this range. Raises `ConfigurationError`, as all of these do."""
    if not is_number(value) or not low <= value <= high:
        raise ConfigurationError(
            f"{name} is {value!r:.100}, allowed is {low:g} to {high:g}. {NOTHING_STARTED}"
        )


def check_whole(
    name: str, value: object, low: int, high: int, *, undone: str = NOTHING_STARTED
) -> None:
    """Refuse what is no whole number of this range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(
            f"{name} is {value!r:.100}, allowed is a whole number from {low:,} to {high:,}. {undone}"
        )


def check_word(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse what is none of these words."""
    if value not in allowed:
        raise ConfigurationError(
            f"{name} is {value!r:.100}, allowed is {' or '.join(allowed)}. {NOTHING_STARTED}"
        )


def check_moment(name: str, value: object) -> None:
    """Refuse what is neither None nor a number (infinity is one, NaN is none)."""
    if value is not None and not is_number(value):
        raise ConfigurationError(
            f"{name} is {value!r:.100}, allowed is a number of seconds or None. {NOTHING_CHANGED}"
        )


def check_task(value: object) -> None:
    """Refuse what is no task that was taken."""
    if isinstance(value, QueueTask):
        return
    hint = (
        "; a dead letter is tried again with dead_letters.retry(task.task_id)"
        if isinstance(value, DeadTask)
        else ""
    )
    raise ConfigurationError(
        f"task is a {type(value).__name__}, allowed is a QueueTask, as it was taken{hint}. {NOTHING_CHANGED}"
    )


def check_handler(value: object) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise ConfigurationError(
            f"handler is {value!r:.100}, allowed is a coroutine function of one QueueTask. {NOTHING_STARTED}"
        )


def check_id(value: object) -> None:
    """Refuse what is no text."""
    if not isinstance(value, str):
        raise ConfigurationError(f"task_id is {value!r:.100}, allowed is a text. {NOTHING_CHANGED}")


def check_reason(value: object) -> None:
    """Refuse what is no reason of a dead letter."""
    if value not in tuple(DeadReason):
        raise ConfigurationError(
            f"reason is {value!r:.100}, allowed is {', '.join(DeadReason)}. {NOTHING_CHANGED}"
        )


def pairs_of(tasks: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Tasks to add, each a type and a payload.

    Raises:
        TaskRefused: They are not.
    """
    given: list[Any] = list(tasks) if isinstance(tasks, Iterable) else [tasks]
    for n, task in enumerate(given, 1):
        if not isinstance(task, tuple | list) or len(task) != 2:
            raise TaskRefused(
                f"task {n} of {len(given)} is a {type(task).__name__}, not a pair of type and payload; nothing was added"
            )
    return [(task_type, payload) for task_type, payload in given]
