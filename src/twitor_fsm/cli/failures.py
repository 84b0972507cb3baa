"""What goes wrong at the command line: one line for people, one object for programs, one exit code.

The words of `error` and the codes are documented in `docs/exit-codes.md` and never change their meaning.
Must not know: what a verb does.
"""

from typing import Final

from .terminal import drop_stdout, emit, say
from .words import as_called, short_owner

__all__ = ["ERROR_WORDS", "Failure", "close", "failure_of"]

ERROR_WORDS: Final = {
    1: "fatal",
    2: "usage",
    10: "auth",
    11: "rate_limit",
    12: "network",
    13: "too_many_skips",
    14: "database",
    75: "interrupted",
    130: "interrupted",
}
"""The word that stands for an exit code in `--json` output."""

EXTRA_MODULES: Final = ("click", "rich", "structlog", "starlette", "uvicorn")


class Failure(Exception):
    """A verb cannot do what was asked.

    Args:
        message: What happened, what state the data is in, what to do next; one line.
        exit_code: One of `ERROR_WORDS`.
        error: The word for programs; None takes the exit code's.
        is_unexpected: Whether it may be a bug, so that the place where it happened is worth seeing.
    """

    def __init__(
        self,
        message: str,
        exit_code: int,
        *,
        error: str | None = None,
        is_unexpected: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_unexpected: Final = is_unexpected
        self.message: Final = message
        self.exit_code: Final = exit_code
        self.error: Final = error if error is not None else ERROR_WORDS[exit_code]


def failure_of(error: BaseException) -> Failure:
    """What to say about any exception that reached the command line."""
    from .. import errors as e

    match error:
        case Failure():
            return error
        case e.CrawlOwned() | e.LeaseLost():
            return Failure(short_owner(str(error)), 75)
        case e.SessionNotFound() | e.ConfigurationError() | e.SpecError():
            return Failure(str(error), 2)
        case e.QueueUnauthorized():
            return Failure(str(error), 10)
        case e.QueueUnavailable() | e.QueueMisconfigured() | e.TaskRefused():
            return Failure(str(error), 2)
        case e.JournalRefused() | e.QueueError():
            return Failure(str(error), 1)
        case e.StoreError():
            return Failure(str(error), 14)
        case e.SourceError():
            return _of_source(error)
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in EXTRA_MODULES:
            return Failure(
                f"{error.name} is not installed; nothing was done. "
                'Run: pip install "twitor-fsm[cli]"',
                2,
            )
        case KeyboardInterrupt():
            return Failure("interrupted; what was committed before stands", 130)
        case _:
            return Failure(
                f"unexpected {type(error).__name__}: {error}; what was committed before stands. "
                "Run the command again with --debug to see where it happened",
                1,
                is_unexpected=True,
            )


def _of_source(error: Exception) -> Failure:
    from ..classify import classify
    from ..report import code_of_category

    found = classify(error)
    return Failure(found.message, code_of_category(found.category))


def close(failure: Failure, *, as_json: bool, said: bool = False, db: str | None = None) -> int:
    """Tell of a failure.

    Args:
        failure: What went wrong.
        as_json: Print an object for programs too.
        said: People know already.
        db: What `--db` was: a command that is suggested has it too.

    Returns:
        The exit code.
    """
    if not said:
        say(f"twitor: {as_called(failure.message, db)}", colour="red")
    if as_json:
        try:
            emit(
                {
                    "error": failure.error,
                    "message": failure.message,
                    "exit_code": failure.exit_code,
                }
            )
        except BrokenPipeError:
            drop_stdout()
    return failure.exit_code
