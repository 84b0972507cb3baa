"""Loggers whose records all carry session_id, user_id and operation.

A session, and whoever works on a task of the queue, says who it is and what it does just then; tasks that it starts
inherit that, so that a source, say, need not know whose session it serves. Configures nothing. Must not know: what is logged.
"""

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

__all__ = ["FACTS", "doing", "logger_of", "speak_for", "work_on"]

FACTS: Final = ("session_id", "user_id", "operation")
"""What each record carries; None when unknown."""

_UNKNOWN: Final[Mapping[str, str | None]] = dict.fromkeys(FACTS)
_DOING: Final[ContextVar[Mapping[str, str | None]]] = ContextVar(
    "twitor_fsm_doing", default=_UNKNOWN
)


def speak_for(session_id: str, user_id: str) -> None:
    """The calling task, and those that it starts, work for this session from now on."""
    _DOING.set({"session_id": session_id, "user_id": user_id, "operation": None})


def work_on(facts: Mapping[str, str]) -> None:
    """The calling task, and those that it starts, work on what has these of the `FACTS`; the others are unknown."""
    _DOING.set({**_UNKNOWN, **facts})


def doing(operation: str) -> None:
    """The calling task, and those that it starts, do this from now on."""
    _DOING.set({**_DOING.get(), "operation": operation})


class _Facts(logging.Filter):
    """Adds what the record's own `extra` left open; lets all through."""

    def filter(self, record: logging.LogRecord) -> bool:
        facts = _DOING.get()
        for name in FACTS:
            if not hasattr(record, name):
                setattr(record, name, facts[name])
        return True


_FILTER: Final = _Facts()


def logger_of(name: str) -> logging.Logger:
    """The logger of this name; also for one that others have configured. Calling it again changes nothing."""
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)
    return logger
