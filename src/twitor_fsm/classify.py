"""temporary."""

from collections.abc import Mapping

import attrs

from . import errors as e
from .core.taxonomy import ErrorCategory as C
from .core.taxonomy import Reason as R

ErrorRules = Mapping[type[BaseException], C]


@attrs.frozen
class Classified:
    category: C
    reason: R
    reset_at: float | None
    message: str


def classify(error, *, operation=None, rules=None):
    def c(cat, r, reset=None):
        return Classified(cat, r, reset, str(error) or type(error).__name__)

    if isinstance(error, (e.AuthenticationFailed,)):
        return c(C.AUTH, error.reason)
    if isinstance(error, e.CredentialsMissing):
        return c(C.AUTH, R.TOKEN_MISSING)
    if isinstance(error, e.RateLimited):
        return c(C.RATE_LIMIT, error.reason, error.reset_at)
    if isinstance(error, e.SourceUnavailable):
        return c(C.NETWORK, error.reason)
    if isinstance(error, e.CursorRefused):
        return c(C.FATAL, R.CURSOR_REFUSED)
    if isinstance(error, e.InvalidItem):
        return c(C.VALIDATION, R.INVALID_ITEM)
    if isinstance(error, e.BillingRefused):
        return c(C.FATAL, R.BILLING)
    if isinstance(error, (ConnectionError, TimeoutError)):
        return c(C.NETWORK, R.CONNECTION)
    return c(C.FATAL, R.UNKNOWN)
