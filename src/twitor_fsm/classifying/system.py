"""What Python and its standard library raise, and what says that data is broken."""

import errno
from collections.abc import Mapping
from typing import Any, Final

from ..core.taxonomy import Reason
from .case import FATAL, NETWORK, VALIDATION, Case, Classified, Rule, always, where

__all__ = ["CONNECTION", "DISK_FULL", "SYSTEM", "TIMEOUT"]

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNREACHABLE: Final = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
    }
)
_ASYNCIO_CONNECTING: Final = ("Multiple exceptions: ", "getaddrinfo() returned empty list")
"""How asyncio's `create_connection` begins an OSError without number when no address answered."""


def _os_error(case: Case) -> Classified | None:
    error: Any = case.error
    if error.errno is None:
        is_connecting = str(error).startswith(_ASYNCIO_CONNECTING)
        return case.found(NETWORK, Reason.CONNECTION) if is_connecting else None
    code = errno.errorcode.get(error.errno, str(error.errno))
    if error.errno in DISK_FULL:
        return case.found(FATAL, Reason.DISK_FULL, f"the disk is full ({code})")
    if error.errno == errno.ENOMEM:
        return case.found(FATAL, Reason.OUT_OF_MEMORY, f"out of memory ({code})")
    if error.errno in _UNREACHABLE:
        return case.found(NETWORK, Reason.CONNECTION, code)
    return case.found(FATAL, Reason.UNKNOWN, f"{code}{where(error)}")


def _broken_data(case: Case) -> Classified | None:
    if not case.is_item:
        return None
    return case.found(VALIDATION, Reason.INVALID_ITEM, f"{case.operation}{where(case.error)}")


def _undecodable(case: Case) -> Classified:
    """What is no JSON: inside an item its own fault, else an answer that was cut off or replaced on its way."""
    return _broken_data(case) or case.found(NETWORK, Reason.BAD_PAGE, "the answer is no JSON")


def _wrong_shape(case: Case) -> Classified:
    """JSON of another shape than declared: inside an item its own fault, else a declaration that is wrong."""
    return _broken_data(case) or case.found(
        FATAL, Reason.UNKNOWN, f"wrong shape{where(case.error)}"
    )


CONNECTION = always(NETWORK, Reason.CONNECTION)
TIMEOUT = always(NETWORK, Reason.TIMEOUT)

SYSTEM: Final[Mapping[str, Rule]] = {
    "builtins.MemoryError": always(FATAL, Reason.OUT_OF_MEMORY, "out of memory"),
    "builtins.TimeoutError": TIMEOUT,
    "builtins.ConnectionError": CONNECTION,
    "builtins.OSError": _os_error,
    "builtins.ValueError": _broken_data,
    "builtins.TypeError": _broken_data,
    "builtins.KeyError": _broken_data,
    "socket.gaierror": always(NETWORK, Reason.CONNECTION, "the name cannot be resolved"),
    "socket.herror": CONNECTION,
    "ssl.SSLError": CONNECTION,
    "ssl.SSLCertVerificationError": always(
        NETWORK, Reason.CONNECTION, "the server's certificate cannot be verified"
    ),
    "asyncio.IncompleteReadError": CONNECTION,
    "http.HTTPException": CONNECTION,
    "json.JSONDecodeError": _undecodable,
    "msgspec.DecodeError": _undecodable,
    "msgspec.ValidationError": _wrong_shape,
}
