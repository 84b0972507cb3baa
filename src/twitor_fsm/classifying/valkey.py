"""Valkey's and Redis' client and replies."""

from collections.abc import Mapping
from typing import Final

from ..core.taxonomy import ErrorCategory, Reason
from .case import AUTH, FATAL, NETWORK, Case, Classified, Rule, always, where
from .system import CONNECTION, TIMEOUT

__all__ = ["REDIS"]

_BUSY = always(NETWORK, Reason.SERVER_ERROR)
_REPLIES: Final[tuple[tuple[str, ErrorCategory, Reason], ...]] = (
    ("NOAUTH", AUTH, Reason.TOKEN_REFUSED),
    ("WRONGPASS", AUTH, Reason.TOKEN_REFUSED),
    ("invalid password", AUTH, Reason.TOKEN_REFUSED),
    ("NOPERM", FATAL, Reason.CONFIGURATION),
    ("BUSY ", NETWORK, Reason.SERVER_ERROR),
    ("LOADING", NETWORK, Reason.SERVER_ERROR),
    ("MISCONF", NETWORK, Reason.SERVER_ERROR),
    ("OOM", NETWORK, Reason.SERVER_ERROR),
    ("READONLY", NETWORK, Reason.SERVER_ERROR),
    ("NOREPLICAS", NETWORK, Reason.SERVER_ERROR),
    ("NOSCRIPT", NETWORK, Reason.SERVER_ERROR),
)
"""How error replies begin that redis-py has no class for, or has one in some versions only."""


def _reply(case: Case) -> Classified:
    text = str(case.error)
    for beginning, category, reason in _REPLIES:
        if text.startswith(beginning):
            return case.found(category, reason, beginning.strip())
    return case.found(FATAL, Reason.UNKNOWN, f"an error reply{where(case.error)}")


REDIS: Final[Mapping[str, Rule]] = {
    "RedisError": lambda case: case.found(FATAL, Reason.UNKNOWN, where(case.error).strip()),
    "ConnectionError": CONNECTION,
    "TimeoutError": TIMEOUT,
    "InvalidResponse": CONNECTION,
    "AuthenticationError": always(AUTH, Reason.TOKEN_REFUSED, "the password is refused"),
    "AuthenticationWrongNumberOfArgsError": always(AUTH, Reason.TOKEN_REFUSED),
    "ExternalAuthProviderError": always(AUTH, Reason.TOKEN_REFUSED),
    "AuthorizationError": always(FATAL, Reason.CONFIGURATION, "the user may not do this"),
    "NoPermissionError": always(FATAL, Reason.CONFIGURATION, "the user may not do this"),
    "ClusterCrossSlotError": always(FATAL, Reason.CONFIGURATION),
    "ReadOnlyError": _BUSY,  # a replica: its primary is found by connecting again
    "OutOfMemoryError": _BUSY,  # maxmemory is reached: full for now
    "NoScriptError": _BUSY,  # restarted: the script is sent again
    "TryAgainError": _BUSY,
    "AskError": _BUSY,
    "ClusterError": _BUSY,
    "ClusterDownError": _BUSY,
    "WatchError": _BUSY,
    "ResponseError": _reply,
}
