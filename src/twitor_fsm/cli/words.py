"""States, reasons and times in words that a newcomer understands.

Pure but for the local time zone. Must not know: terminals, databases.
"""

import shlex
from datetime import UTC, datetime
from typing import Final

from ..core.taxonomy import ErrorCategory, Reason

__all__ = [
    "ago",
    "clock_time",
    "count",
    "duration",
    "parts",
    "say_again",
    "state_colour",
    "state_words",
    "what_happened",
]

_STATES: Final = {
    "running": "running",
    "paused_rate_limit": "paused by the rate limit",
    "retrying": "waiting to try again",
    "aborting": "ending after an error",
    "shutting_down": "shutting down",
    "completed": "completed",
    "aborted": "ended by an error",
    "shut_down": "stopped",
}

_COLOURS: Final = {
    "running": "cyan",
    "paused_rate_limit": "yellow",
    "retrying": "yellow",
    "aborting": "red",
    "shutting_down": "yellow",
    "completed": "green",
    "aborted": "red",
    "shut_down": "yellow",
}

_NEXT: Final = {
    ErrorCategory.AUTH: "get a new token, put it into X_BEARER_TOKEN, then",
    ErrorCategory.RATE_LIMIT: "when the pause is over",
    ErrorCategory.NETWORK: "when the network is back (twitor doctor looks at it)",
    ErrorCategory.VALIDATION: "look at the skipped items (twitor skipped list), then",
    ErrorCategory.DATABASE: "see to the database (twitor doctor looks at it), then",
    ErrorCategory.FATAL: "resolve what the message says, then",
}


def state_words(state: str) -> str:
    """A state in words; a state of an extended machine is its own word."""
    return _STATES.get(state, state)


def state_colour(state: str) -> str:
    """The colour of a state."""
    return _COLOURS.get(state, "cyan")


def what_happened(message: str) -> str:
    """The first part of a strategy's message: what happened, without the general advice."""
    return message.partition(". User action: ")[0]


def parts(numbers: "list[tuple[int, str]]") -> str:
    """Counts in a row, without those that are zero: "3 NETWORK, 1 VALIDATION"."""
    return ", ".join(f"{number:,} {word}" for number, word in numbers if number)


def count(number: int, word: str) -> str:
    """A number and its noun: "1 page", "2 pages", "2 tries"."""
    if number != 1:
        word = f"{word[:-1]}ies" if word.endswith("ry") else f"{word}s"
    return f"{number:,} {word}"


def duration(seconds: float) -> str:
    """A length of time, rounded up: "0.05 s", "4 s", "14 min 3 s", "2 h 5 min"."""
    if 0 < seconds < 1:
        return f"{seconds:.2g} s"
    whole = max(0, -int(-seconds // 1))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days"


def clock_time(at: float, *, now: float) -> str:
    """A time of day in the local zone; with its date when that is not today."""
    try:
        then = datetime.fromtimestamp(at, UTC).astimezone()
    except (OverflowError, OSError, ValueError):
        return "a time that no calendar has"
    today = datetime.fromtimestamp(now, UTC).astimezone().date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M:%S")


def ago(at: float | None, *, now: float) -> str:
    """How long ago: "3 min 5 s ago"."""
    if at is None:
        return "never"
    return "just now" if now - at < 1 else f"{duration(now - at)} ago"


def say_again(source: str, db: str | None) -> str:
    """The command that goes on with a crawl.

    Args:
        source: Name of the crawl's source ("x", "file:NAME@DIGEST").
        db: What `--db` was, or None.
    """
    kind, _, name = source.partition(":")
    words = ["twitor", "crawl"]
    if kind == "file":
        words.append(shlex.quote(name.rpartition("@")[0] or name or "FILE"))
    elif source != "x":
        return f"run the app that crawls {source} again"
    if db is not None:
        words += ["--db", shlex.quote(db)]
    return " ".join(words)


def before_again(category: ErrorCategory | None, reason: str | None) -> str:
    """What a person does before the same command is run again; empty if nothing."""
    if reason == Reason.TOO_MANY_SKIPS:
        return _NEXT[ErrorCategory.VALIDATION]
    return _NEXT[category] if category is not None else ""
