"""Exceptions into categories: those of httpx, redis, SQLAlchemy, SQLite, asyncpg, the system, and our own.

The nearest known class wins: a class is looked up by its name, then its parents in method resolution order. Thus redis'
`AuthenticationError` is AUTH although it is a `ConnectionError`, and an embedder's rule beats ours for the same class.

An exception that nobody knows is FATAL: a bug must not skip a user's items. Two readings make it something else:

- Inside an item (operation `decode_item` or `process_bookmark`) a ValueError, a TypeError or a KeyError (a missing field)
  is VALIDATION: that is what broken data raises. An IndexError or AttributeError is not: that is what broken code raises.
- An unknown exception that was raised `from` a known one is taken for its cause, but only where that pauses, retries or
  aborts. A cause never makes an unknown exception skip an item. `__context__` is not looked at: it may be chance.

Must not know: what is done about an error. The known classes: `classifying/`.
"""

from asyncio import CancelledError
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs

from .classifying.case import ITEM_OPERATIONS, Case, Classified, type_name, where
from .classifying.rules import RULES
from .clock import SystemClock
from .core.taxonomy import ErrorCategory, Reason

__all__ = ["ITEM_OPERATIONS", "Classified", "ErrorRules", "classify"]

ErrorRules: TypeAlias = Mapping[type[Any], ErrorCategory]
"""Categories of an embedder's own exception types; subclasses are meant too. (`type[Any]`: a mapping's keys are invariant.)"""

_SKIPPING: Final = (ErrorCategory.VALIDATION, ErrorCategory.DATABASE)

_WORST_FIRST: Final = (
    ErrorCategory.FATAL,
    ErrorCategory.AUTH,
    ErrorCategory.RATE_LIMIT,  # its pause outlasts the network's ladder, and the operation is repeated after it
    ErrorCategory.NETWORK,
    ErrorCategory.DATABASE,
    ErrorCategory.VALIDATION,
)

_LOOKED_AT: Final = 100
"""Exceptions of a chain of causes at most: a loop that raises each failure from the one before makes long ones."""

_EMBEDDERS_REASON: Final = {
    ErrorCategory.AUTH: Reason.TOKEN_REFUSED,
    ErrorCategory.RATE_LIMIT: Reason.RATE_LIMITED,
    ErrorCategory.NETWORK: Reason.CONNECTION,
    ErrorCategory.VALIDATION: Reason.INVALID_ITEM,
    ErrorCategory.DATABASE: Reason.DATABASE_ERROR,
    ErrorCategory.FATAL: Reason.UNKNOWN,
}


def classify(
    error: BaseException,
    *,
    operation: str | None = None,
    rules: ErrorRules | None = None,
    now: float | None = None,
) -> Classified:
    """Say what an exception is.

    Args:
        error: Any exception but a cancellation. Of a group, the worst member counts.
        operation: What was being done; `decode_item` and `process_bookmark` make broken data VALIDATION.
        rules: Categories of the embedder's own exception types. A number in the exception's attribute `reset_at` (epoch
            seconds) is the end of a RATE_LIMIT.
        now: Epoch seconds, for a `Retry-After` in seconds; the system's clock if not given.

    Raises:
        TypeError: A cancellation, alone or in a group, is no error: it has to be raised on.
    """
    if is_cancellation(error):
        raise TypeError("a cancellation is no error to recover from: raise it on") from error
    moment = SystemClock().now() if now is None else now
    return _Search(operation, rules if rules is not None else MappingProxyType({}), moment).of(
        error
    )


@attrs.define
class _Search:
    """One classification: through groups and causes, each exception once (a chain may be a ring)."""

    operation: str | None
    rules: ErrorRules
    now: float
    seen: set[int] = attrs.field(factory=set, init=False)

    def of(self, error: BaseException) -> Classified:
        self.seen.add(id(error))
        found = self._known(error) or self._of_group(error) or self._of_cause(error)
        if found is not None:
            return found
        said = f"unexpected {type_name(error)}{where(error)}"
        return Classified(ErrorCategory.FATAL, Reason.UNKNOWN, None, said)

    def _known(self, error: BaseException) -> Classified | None:
        """The verdict of the nearest known class."""
        for cls in type(error).__mro__:
            if cls in self.rules:
                return _by_embedder(error, self.rules[cls])
            rule = RULES.get(f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}")
            found = rule(Case(error, self.operation, self.now)) if rule is not None else None
            if found is not None:
                return found
        return None

    def _of_group(self, error: BaseException) -> Classified | None:
        if not isinstance(error, BaseExceptionGroup):
            return None
        found = [self.of(member) for member in _members(error) if id(member) not in self.seen]
        if not found:
            return None
        worst = min(found, key=lambda member: _WORST_FIRST.index(member.category))
        if worst.category is ErrorCategory.RATE_LIMIT:
            ends = [one.reset_at for one in found if one.reset_at is not None]
            worst = attrs.evolve(worst, reset_at=max(ends, default=None))
        others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return attrs.evolve(worst, message=f"{worst.message}{others}")

    def _of_cause(self, error: BaseException) -> Classified | None:
        cause = error.__cause__
        if cause is None or id(cause) in self.seen or len(self.seen) > _LOOKED_AT:
            return None
        if is_cancellation(cause):
            return None
        found = self.of(cause)
        if found.category in _SKIPPING or found.reason is Reason.UNKNOWN:
            return None
        return attrs.evolve(found, message=f"{type_name(error)}, caused by {found.message}")


def is_cancellation(error: BaseException) -> bool:
    """Whether it is a cancellation or holds one: nothing to classify."""
    return any(isinstance(one, CancelledError) for one in _members(error))


def _members(error: BaseException) -> list[BaseException]:
    """Those of a group, of the groups in it too; of anything else itself."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(one.exceptions))
        else:
            found.append(one)
    return found


def _by_embedder(error: BaseException, category: ErrorCategory) -> Classified:
    try:
        reset_at = getattr(error, "reset_at", None)
    except Exception:  # noqa: BLE001 - a property that fails names no time
        reset_at = None
    is_time = isinstance(reset_at, (int, float)) and not isinstance(reset_at, bool)
    return Classified(
        category,
        _EMBEDDERS_REASON[category],
        reset_at if is_time else None,
        f"{type_name(error)}{where(error)}",
    )
