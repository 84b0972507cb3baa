"""The engine's log records on stderr, formatted by structlog: the only module that imports it.

Must not know: what is logged.
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from .terminal import printable, saying_through, use_colour
from .words import clock_time

__all__ = ["log_records"]

_TOLD_ANYWAY: Final = (
    "twitor_fsm.recovery",
    "twitor_fsm.checkpoint",
    "twitor_fsm.worker.crawls",
)
"""What the panel or the lines say too."""


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at that moment: a live panel puts itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a log record never stops anything
            self.handleError(record)


@contextmanager
def log_records(*, verbose: int, as_json: bool = False, timed: bool = False) -> Iterator[None]:
    """Show the package's log records meanwhile.

    Args:
        verbose: 0 shows warnings that nothing else tells, 1 INFO, 2 DEBUG.
        as_json: One JSON object a line; at least INFO. What is said to people becomes records too.
        timed: Warnings begin with their time, as the lines of something that runs for days do.
    """
    logger = logging.getLogger("twitor_fsm")
    if as_json:
        verbose = max(verbose, 1)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = _Stderr(level)
    if verbose == 0:
        handler.addFilter(lambda record: record.name not in _TOLD_ANYWAY)
        handler.setFormatter(_Timed() if timed else _Plain())
    else:
        handler.setFormatter(_structlog_formatter(as_json=as_json))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        with saying_through(_log_line) if as_json else nullcontext():
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _log_line(line: str) -> None:
    logging.getLogger("twitor_fsm.cli").info("%s", line)


class _Plain(logging.Formatter):
    """One printable line, without traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(f"twitor: {record.getMessage()}")


class _Timed(logging.Formatter):
    """The same, behind the time instead of the program's name."""

    def format(self, record: logging.LogRecord) -> str:
        at = clock_time(record.created, now=record.created)
        return printable(f"{at}  {record.getMessage()}")


def _structlog_formatter(*, as_json: bool) -> logging.Formatter:
    import structlog

    before: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _facts,
    ]
    if as_json:
        last: list[Any] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        last = [
            structlog.processors.format_exc_info,
            _neutralise,
            structlog.dev.ConsoleRenderer(
                colors=use_colour(sys.stderr),
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _facts(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The facts that every record of ours carries."""
    record = event["_record"]
    for name in ("session_id", "user_id", "operation"):
        value = getattr(record, name, None)
        if value is not None:
            event[name] = value
    return event


def _neutralise(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Nothing that a terminal would obey."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _indented(value) if name == "exception" else printable(value)
    return event


def _indented(traceback: str) -> str:
    """A traceback, which may quote anything: no line of it looks like a record."""
    return "\n".join(f"  {printable(line)}" for line in traceback.split("\n"))
