"""One exception being looked at, and the verdict on it.

Messages hold names, codes and host names only. No text of a foreign exception is passed on: it may quote a token, a URL's
query, bound values or a bookmark. Must not know: which classes there are, what is done about an error.
"""

from collections.abc import Callable
from pathlib import PurePath
from typing import Final

import attrs

from ..core.taxonomy import ErrorCategory, Reason

__all__ = [
    "AUTH",
    "DATABASE",
    "FATAL",
    "ITEM_OPERATIONS",
    "NETWORK",
    "RATE_LIMIT",
    "VALIDATION",
    "Case",
    "Classified",
    "Rule",
    "always",
    "type_name",
    "where",
]

AUTH = ErrorCategory.AUTH
RATE_LIMIT = ErrorCategory.RATE_LIMIT
NETWORK = ErrorCategory.NETWORK
VALIDATION = ErrorCategory.VALIDATION
DATABASE = ErrorCategory.DATABASE
FATAL = ErrorCategory.FATAL

ITEM_OPERATIONS: Final = frozenset({"decode_item", "process_bookmark"})
"""Operations that meet an item's own data. `process_bookmark` is the design document's example."""


@attrs.frozen
class Classified:
    """What an exception is.

    Attributes:
        category: Selects the recovery.
        reason: Finer kind.
        reset_at: When the service opens again, epoch seconds by our clock; None when it did not say.
        message: What happened, without secrets or content.
    """

    category: ErrorCategory
    reason: Reason
    reset_at: float | None
    message: str


@attrs.frozen
class Case:
    """One exception being looked at."""

    error: BaseException
    operation: str | None
    now: float

    @property
    def is_item(self) -> bool:
        """Whether it was raised amid an item's own data."""
        return self.operation in ITEM_OPERATIONS

    def found(
        self, category: ErrorCategory, reason: Reason, what: str = "", reset_at: float | None = None
    ) -> Classified:
        """A verdict; `what` is said of it beside its name."""
        name = type_name(self.error)
        return Classified(category, reason, reset_at, f"{name}: {what}" if what else name)


Rule = Callable[[Case], Classified | None]
"""None: this class alone does not say; its parents may."""


def type_name(error: BaseException) -> str:
    """The class's name with its package, as "httpx.ReadError"; built-in ones without."""
    cls = type(error)
    package = cls.__module__.partition(".")[0]
    return cls.__qualname__ if package == "builtins" else f"{package}.{cls.__qualname__}"


def where(error: BaseException) -> str:
    """File and line that raised it, without folders: helps to find a bug and holds no content."""
    traceback = error.__traceback__
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    file = PurePath(traceback.tb_frame.f_code.co_filename).name
    return f" at {file}, line {traceback.tb_lineno}"


def always(category: ErrorCategory, reason: Reason, what: str = "") -> Rule:
    """A rule that asks nothing further."""
    return lambda case: case.found(category, reason, what)
