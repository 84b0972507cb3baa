"""States, reasons and times in words that a newcomer understands.

Pure but for the local time zone. Must not know: terminals, databases.
"""

import os
import re
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..core.taxonomy import ErrorCategory, Reason

__all__ = [
    "ago",
    "as_called",
    "before_again",
    "clock_time",
    "count",
    "duration",
    "is_x_user",
    "local_times",
    "parts",
    "program",
    "say_again",
    "short_owner",
    "state_colour",
    "state_words",
    "tells_how",
    "what_happened",
    "with_db",
    "without_advice",
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

# What the message says may be to leave an option out, so that the command that follows is no longer the right one.
_AS_TOLD: Final = "do what the message says; if it still fits, then"
_TOKENS: Final = "X_BEARER_TOKEN, or the user's file in TWITOR_TOKEN_DIR"
_NEXT: Final = {
    ErrorCategory.AUTH: f"get a new token, put it where the old one is ({_TOKENS}), then",
    ErrorCategory.RATE_LIMIT: "when the pause is over",
    ErrorCategory.NETWORK: "when the network is back (twitor doctor, with the same options, looks at it)",
    ErrorCategory.VALIDATION: "look at the skipped items (twitor skipped list), then",
    ErrorCategory.DATABASE: "see to the database (twitor doctor, with the same --db, looks at it), then",
    ErrorCategory.FATAL: "resolve what the message says, then",
}
_NEXT_OF_REASON: Final = {
    Reason.TOKEN_MISSING: f"put a user's token where one is looked for ({_TOKENS}), then",
    Reason.SCOPE_MISSING: _AS_TOLD,
    Reason.APP_ONLY_TOKEN: _AS_TOLD,
    Reason.ACCESS_REFUSED: _AS_TOLD,
    Reason.TOO_MANY_SKIPS: _NEXT[ErrorCategory.VALIDATION],
}
"""Where the advice of the category would mislead."""


def state_words(state: str) -> str:
    """A state in words; a state of an extended machine is its own word."""
    return _STATES.get(state, state)


def state_colour(state: str) -> str:
    """The colour of a state."""
    return _COLOURS.get(state, "cyan")


_HOW_TO: Final = re.compile(r"\. To get a user token: .*", re.DOTALL)
_UTC: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
# Of a message that ends "...: twitor verb ID": not one that `with_db` has completed already.
_COMMAND: Final = re.compile(r"(?<=: )twitor((?: (?:[a-z]+|[0-9a-f]{8}-[0-9a-f-]{27}))++)(?! --)")
_X_USER: Final = re.compile(r"[0-9]{1,20}")
_NAMESPACE: Final = re.compile(r" pid:\[\d+\]")


def tells_how(message: str) -> bool:
    """Whether a message holds the paragraph on how to get a token."""
    return _HOW_TO.search(message) is not None


def what_happened(message: str) -> str:
    """The first part of a message: what happened, without any advice."""
    return _HOW_TO.sub("", without_advice(message))


def without_advice(message: str) -> str:
    """A strategy's message without the general advice of its category; the summary says what to do."""
    return message.partition(". User action: ")[0]


def local_times(text: str, *, now: float) -> str:
    """A message with its times of UTC in the local zone, as all others are told."""

    def local(found: re.Match[str]) -> str:
        at = datetime.strptime(found[0], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        return clock_time(at.timestamp(), now=now)

    return _UTC.sub(local, text)


def short_owner(text: str) -> str:
    """An owner, or a message that names one, without the process's namespace."""
    return _NAMESPACE.sub("", text)


def program() -> str:
    """How to call this program again: as it was called, or `twitor` where that finds it."""
    called = sys.argv[0]
    name = os.path.basename(called)  # noqa: PTH119 - of a text, such as "__main__.py"
    if os.path.realpath(called) == str(Path(__file__).resolve().with_name("__main__.py")):
        return f"{shlex.quote(sys.orig_argv[0])} -m twitor_fsm.cli"
    if name != "twitor":
        return "twitor"
    found = shutil.which(name)
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(called)
    return name if is_found else shlex.quote(called)


def with_db(command: str, db: str | None) -> str:
    """A command to run, on the same database; called as this program was, and without a password."""
    from ..config import without_password

    name, _, rest = command.partition(" ")
    command = f"{program()} {rest}" if name == "twitor" else command
    if db is None:
        return command
    return f"{command} --db {shlex.quote(without_password(db) if '://' in db else db)}"


def as_called(message: str, db: str | None) -> str:
    """A message whose suggested commands ("...: twitor status") are written so that they can be run."""
    return _COMMAND.sub(lambda found: with_db(found[0], db), message)


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


def is_x_user(user_id: str) -> bool:
    """Whether X could have such a user id; an app that embeds the engine may use names of its own ("me")."""
    return _X_USER.fullmatch(user_id) is not None


def say_again(source: str, db: str | None, user_id: str) -> str:
    """The command that goes on with a crawl, as far as the database knows it: not its address, say.

    Args:
        source: Name of the crawl's source ("x", "file:NAME@DIGEST").
        db: What `--db` was, or None.
        user_id: Whose bookmarks.
    """
    from ..config import without_password

    kind, _, name = source.partition(":")
    words = ["crawl"]
    if kind == "file":
        words.append(name.rpartition("@")[0] or name or "FILE")
    elif source != "x":
        return f"run the app that crawls {source} again"
    elif not is_x_user(user_id):
        return (
            f"the app that began it goes on with it (engine.crawl, user_id={user_id!r}); "
            "twitor crawl takes X's own ids, which are digits"
        )
    if kind != "file" or user_id != "local":
        words += ["--user-id", user_id]
    if db is not None:
        words += ["--db", without_password(db) if "://" in db else db]
    return f"{program()} {shlex.join(words)}"


def before_again(category: ErrorCategory | None, reason: str | None) -> str:
    """What a person does before the same command is run again; empty if nothing."""
    if reason in _NEXT_OF_REASON:
        return _NEXT_OF_REASON[Reason(reason)]
    return _NEXT[category] if category is not None else ""
