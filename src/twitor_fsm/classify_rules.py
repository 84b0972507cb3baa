"""The exceptions that are known, by name: "httpx.ReadError" is the class `ReadError` of the package httpx.

By name, so that none of these libraries is imported here and `import twitor_fsm` stays light.

A failed certificate check is NETWORK like every other transport error: nothing was sent, captive portals and wrong clocks
cause it for minutes, and after the ladder the crawl ends with a checkpoint.

Messages hold names, codes and host names only. No text of a foreign exception is passed on: it may quote a token, a URL's
query, bound values or a bookmark. Must not know: which of several classes applies, what is done about an error.
"""

import errno
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import PurePath
from typing import Any, Final

import attrs

from .core.taxonomy import ErrorCategory, Reason

__all__ = ["ITEM_OPERATIONS", "RULES", "Case", "Classified", "type_name", "where"]

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


def _always(category: ErrorCategory, reason: Reason, what: str = "") -> Rule:
    return lambda case: case.found(category, reason, what)


# -- our own: their messages are safe by their contract -------------------------------------------


def _own(category: ErrorCategory, reason: Reason | None = None) -> Rule:
    """`reason` None: the exception carries its own."""

    def rule(case: Case) -> Classified:
        error: Any = case.error
        reset_at = error.reset_at if category is RATE_LIMIT else None
        chosen = error.reason if reason is None else reason
        return Classified(category, chosen, reset_at, str(error) or type_name(error))

    return rule


def _items_refused(case: Case) -> Classified:
    error: Any = case.error
    reasons = [reason for reason, _ in error.refused.values()]
    chosen = reasons[0] if reasons else Reason.DATABASE_ERROR
    return Classified(DATABASE, chosen, None, str(error))


_OWN: Final[Mapping[str, Rule]] = {
    "TwitorError": _own(FATAL, Reason.UNKNOWN),
    "ConfigurationError": _own(FATAL, Reason.CONFIGURATION),
    "SpecError": _own(FATAL, Reason.CONFIGURATION),
    "IllegalStep": _own(FATAL, Reason.BUG),
    "JournalRefused": _own(FATAL, Reason.SOURCE_UNREADABLE),
    "CredentialsMissing": _own(AUTH, Reason.TOKEN_MISSING),
    "AuthenticationFailed": _own(AUTH),
    "RateLimited": _own(RATE_LIMIT),
    "SourceUnavailable": _own(NETWORK),
    "CursorRefused": _own(FATAL, Reason.CURSOR_REFUSED),
    "RequestRefused": _own(FATAL),
    "BillingRefused": _own(FATAL, Reason.BILLING),
    "SourceLoops": _own(FATAL, Reason.SOURCE_LOOPS),
    "InvalidItem": _own(VALIDATION, Reason.INVALID_ITEM),
    "UnreadableFile": _own(FATAL, Reason.SOURCE_UNREADABLE),
    "StoreError": _own(DATABASE, Reason.DATABASE_ERROR),
    "StoreUnavailable": _own(DATABASE),
    "ItemsRefused": _items_refused,
    # Not DATABASE: whoever skipped an item over them would go on without owning or understanding the database.
    "LeaseLost": _own(FATAL, Reason.LEASE_LOST),
    "CrawlOwned": _own(FATAL, Reason.OWNED_ELSEWHERE),
    "SessionNotFound": _own(FATAL, Reason.CONFIGURATION),
    "SessionUnreadable": _own(FATAL, Reason.CONFIGURATION),
    "SchemaMismatch": _own(FATAL, Reason.CONFIGURATION),
    "QueueError": _own(FATAL, Reason.UNKNOWN),
    "QueueUnavailable": _own(NETWORK, Reason.CONNECTION),
    "QueueUnauthorized": _own(AUTH, Reason.TOKEN_REFUSED),
    "QueueMisconfigured": _own(FATAL, Reason.CONFIGURATION),
    "QueueFull": _own(NETWORK, Reason.SERVER_ERROR),  # full for now, as the server's own memory
    "QueueOutOfMemory": _own(NETWORK, Reason.SERVER_ERROR),
    "TaskRefused": _own(FATAL, Reason.REQUEST_REFUSED),
    "TaskLeaseLost": _own(FATAL, Reason.LEASE_LOST),
}


# -- the system -----------------------------------------------------------------------------------

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
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
    if error.errno in _DISK_FULL:
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


_CONNECTION = _always(NETWORK, Reason.CONNECTION)
_TIMEOUT = _always(NETWORK, Reason.TIMEOUT)

_SYSTEM: Final[Mapping[str, Rule]] = {
    "builtins.MemoryError": _always(FATAL, Reason.OUT_OF_MEMORY, "out of memory"),
    "builtins.TimeoutError": _TIMEOUT,
    "builtins.ConnectionError": _CONNECTION,
    "builtins.OSError": _os_error,
    "builtins.ValueError": _broken_data,
    "builtins.TypeError": _broken_data,
    "builtins.KeyError": _broken_data,
    "socket.gaierror": _always(NETWORK, Reason.CONNECTION, "the name cannot be resolved"),
    "socket.herror": _CONNECTION,
    "ssl.SSLError": _CONNECTION,
    "ssl.SSLCertVerificationError": _always(
        NETWORK, Reason.CONNECTION, "the server's certificate cannot be verified"
    ),
    "asyncio.IncompleteReadError": _CONNECTION,
    "http.HTTPException": _CONNECTION,
    "json.JSONDecodeError": _undecodable,
    "msgspec.DecodeError": _undecodable,
    "msgspec.ValidationError": _wrong_shape,
}


# -- HTTP -----------------------------------------------------------------------------------------

_NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,6})?")
_EPOCHS: Final = (1e9, 1e11)
"""What can be epoch seconds (2001 to the year 5138); larger numbers are milliseconds."""


def _by_status(case: Case, status: Any, headers: Any, host: str = "") -> Classified | None:
    """The verdict on an HTTP status. Source: RFC 9110, RFC 6585; 402 as the X API uses it."""
    if not isinstance(status, int):
        return None
    what = f"HTTP {status}{host}"
    match status:
        case 401 | 403:
            return case.found(AUTH, Reason.TOKEN_REFUSED, what)
        case 402:
            return case.found(FATAL, Reason.BILLING, f"{what}: payment is required")
        case 408:
            return case.found(NETWORK, Reason.TIMEOUT, what)
        case 429:
            reset_at = _reset_at(headers if headers is not None else {}, case.now)
            return case.found(RATE_LIMIT, Reason.RATE_LIMITED, what, reset_at)
        case _ if status >= 500:
            return case.found(NETWORK, Reason.SERVER_ERROR, what)
        case _:
            return case.found(FATAL, Reason.REQUEST_REFUSED, what)


def _reset_at(headers: Any, now: float) -> float | None:
    """When the service opens again, by our clock: `x-rate-limit-reset`, else `Retry-After` in either form."""
    server_now = _date(headers.get("date"))
    skew = 0.0 if server_now is None else now - server_now
    reset = _number(headers.get("x-rate-limit-reset"))
    if reset is not None:
        reset = reset / 1000 if reset > _EPOCHS[1] else reset
        if reset >= _EPOCHS[0]:
            return reset + skew
    retry_after = headers.get("retry-after")
    seconds = _number(retry_after)
    if seconds is not None:
        return now + seconds
    date = _date(retry_after)
    return None if date is None else date + skew


def _number(text: Any) -> float | None:
    is_number = isinstance(text, str) and _NUMBER.fullmatch(text.strip())
    return float(text) if is_number else None  # float() alone would take nan, inf and 1_0


def _date(text: Any) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _host(error: Any) -> str:
    """Of the request, if it is known; never its path or query."""
    try:
        host = error.request.url.host  # httpx raises RuntimeError where no request was set
    except (AttributeError, RuntimeError):
        return ""
    return f" from {host}" if isinstance(host, str) and host else ""


def _of_response(case: Case) -> Classified | None:
    """httpx, requests, tweepy: the exception carries the response."""
    response: Any = getattr(case.error, "response", None)
    status = getattr(response, "status_code", getattr(response, "status", None))
    return _by_status(case, status, getattr(response, "headers", None), _host(case.error))


def _of_attributes(case: Case) -> Classified | None:
    """In aiohttp and urllib the exception carries status and headers itself."""
    error: Any = case.error
    status = getattr(error, "status", None)
    return _by_status(case, status, getattr(error, "headers", None))


def _asking(reason: Reason) -> Rule:
    return lambda case: case.found(NETWORK, reason, _host(case.error).removeprefix(" "))


_HTTPX: Final[Mapping[str, Rule]] = {
    "HTTPStatusError": _of_response,
    "TransportError": _asking(Reason.CONNECTION),
    "TimeoutException": _asking(Reason.TIMEOUT),
    "DecodingError": _asking(Reason.BAD_PAGE),
    "TooManyRedirects": _always(FATAL, Reason.REQUEST_REFUSED, "redirected without end"),
    "UnsupportedProtocol": _always(FATAL, Reason.CONFIGURATION, "the URL is not http or https"),
    "InvalidURL": _always(FATAL, Reason.CONFIGURATION, "the URL is none"),
}

_OTHER_CLIENTS: Final[Mapping[str, Rule]] = {
    "httpcore.TimeoutException": _TIMEOUT,
    "httpcore.NetworkError": _CONNECTION,
    "httpcore.ProtocolError": _CONNECTION,
    "httpcore.ProxyError": _CONNECTION,
    "h11.ProtocolError": _CONNECTION,
    "anyio.BrokenResourceError": _CONNECTION,
    "anyio.EndOfStream": _CONNECTION,
    "aiohttp.ClientConnectionError": _CONNECTION,
    "aiohttp.ClientPayloadError": _CONNECTION,
    "aiohttp.ServerTimeoutError": _TIMEOUT,
    "aiohttp.ClientResponseError": _of_attributes,
    "requests.ConnectionError": _CONNECTION,
    "requests.Timeout": _TIMEOUT,
    "requests.ChunkedEncodingError": _CONNECTION,
    "requests.HTTPError": _of_response,
    "urllib.URLError": _CONNECTION,
    "urllib.HTTPError": _of_attributes,
    "tweepy.HTTPException": _of_response,
}


# -- Valkey and Redis -----------------------------------------------------------------------------

_BUSY = _always(NETWORK, Reason.SERVER_ERROR)
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


_REDIS: Final[Mapping[str, Rule]] = {
    "RedisError": lambda case: case.found(FATAL, Reason.UNKNOWN, where(case.error).strip()),
    "ConnectionError": _CONNECTION,
    "TimeoutError": _TIMEOUT,
    "InvalidResponse": _CONNECTION,
    "AuthenticationError": _always(AUTH, Reason.TOKEN_REFUSED, "the password is refused"),
    "AuthenticationWrongNumberOfArgsError": _always(AUTH, Reason.TOKEN_REFUSED),
    "ExternalAuthProviderError": _always(AUTH, Reason.TOKEN_REFUSED),
    "AuthorizationError": _always(FATAL, Reason.CONFIGURATION, "the user may not do this"),
    "NoPermissionError": _always(FATAL, Reason.CONFIGURATION, "the user may not do this"),
    "ClusterCrossSlotError": _always(FATAL, Reason.CONFIGURATION),
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


# -- databases ------------------------------------------------------------------------------------

_SQLITE: Final[tuple[tuple[str, Reason], ...]] = (
    ("SQLITE_BUSY", Reason.STORE_BUSY),
    ("SQLITE_LOCKED", Reason.STORE_BUSY),
    ("SQLITE_PROTOCOL", Reason.STORE_BUSY),
    ("SQLITE_FULL", Reason.STORE_FULL),
    ("SQLITE_IOERR", Reason.STORE_IO),
    ("SQLITE_READONLY", Reason.STORE_READ_ONLY),
    ("SQLITE_PERM", Reason.STORE_READ_ONLY),
    ("SQLITE_AUTH", Reason.STORE_READ_ONLY),
    ("SQLITE_CANTOPEN", Reason.STORE_UNAVAILABLE),
    ("SQLITE_CORRUPT", Reason.STORE_CORRUPT),
    ("SQLITE_NOTADB", Reason.STORE_CORRUPT),
    ("SQLITE_CONSTRAINT", Reason.CONSTRAINT),
    ("SQLITE_MISMATCH", Reason.CONSTRAINT),
)
"""By the beginning of `sqlite_errorname`. Source: https://www.sqlite.org/rescode.html"""

_SQLSTATE: Final[tuple[tuple[str, Reason], ...]] = (
    ("22021", Reason.ENCODING),
    ("22P05", Reason.ENCODING),
    ("23", Reason.CONSTRAINT),
    ("40", Reason.STORE_BUSY),
    ("55P03", Reason.STORE_BUSY),
    ("57014", Reason.STORE_BUSY),
    ("53100", Reason.STORE_FULL),
    ("25006", Reason.STORE_READ_ONLY),
    ("42501", Reason.STORE_READ_ONLY),
    ("58", Reason.STORE_IO),
    ("XX", Reason.STORE_CORRUPT),
    ("08", Reason.STORE_UNAVAILABLE),
    ("28", Reason.STORE_UNAVAILABLE),
    ("3D000", Reason.STORE_UNAVAILABLE),
    ("53", Reason.STORE_UNAVAILABLE),
    ("57P", Reason.STORE_UNAVAILABLE),
)
"""By the beginning of the SQLSTATE. Source: PostgreSQL manual, appendix A."""

_BY_CLASS: Final[Mapping[str, Reason]] = {
    "IntegrityError": Reason.CONSTRAINT,
    "OperationalError": Reason.STORE_UNAVAILABLE,
    "InterfaceError": Reason.STORE_UNAVAILABLE,
    "InternalClientError": Reason.STORE_UNAVAILABLE,
}
"""Where the driver gives no code: the classes of PEP 249, and asyncpg's."""

_CONSTRAINT: Final = re.compile(r"[A-Z ]+ constraint failed(: [\w., ]+)?")
"""What SQLite itself says of a constraint: names of tables and columns. A trigger's text is the app's and may quote."""


def _root(error: Any) -> Any:
    """The driver's exception inside SQLAlchemy's, which it hides in `orig` and its emulated ones in `__cause__`."""
    while isinstance(orig := getattr(error, "orig", None), BaseException):
        error = orig
    if _state(error) is None and _errorname(error) is None:
        cause = error.__cause__
        if _state(cause) is not None or _errorname(cause) is not None:
            return cause
    return error


def _state(error: Any) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _errorname(error: Any) -> str | None:
    name = getattr(error, "sqlite_errorname", None)
    return name if isinstance(name, str) else None


def _database(case: Case) -> Classified:
    root = _root(case.error)
    name, state = _errorname(root), _state(root)
    if name is not None:
        said = _CONSTRAINT.fullmatch(str(root))
        what = f"{name}, {said[0]}" if said else name
        return case.found(DATABASE, _look_up(_SQLITE, name), what)
    if state is not None:
        named = getattr(root, "constraint_name", None)
        what = f"SQLSTATE {state}" + (f", constraint {named}" if named else "")
        return case.found(DATABASE, _look_up(_SQLSTATE, state), what)
    if isinstance(root, MemoryError):
        return case.found(FATAL, Reason.OUT_OF_MEMORY, "out of memory")
    if isinstance(root, OSError) and root.errno in _DISK_FULL:
        return case.found(FATAL, Reason.DISK_FULL, "the disk is full")
    what = "" if root is case.error else type_name(root)
    return case.found(DATABASE, _by_class(case.error, root), what)


def _look_up(table: tuple[tuple[str, Reason], ...], code: str) -> Reason:
    return next(
        (reason for beginning, reason in table if code.startswith(beginning)),
        Reason.DATABASE_ERROR,
    )


def _by_class(error: Any, root: Any) -> Reason:
    is_lost = getattr(error, "connection_invalidated", False) is True
    if is_lost or isinstance(root, OSError):
        return Reason.STORE_UNAVAILABLE
    names = {cls.__qualname__.rpartition(".")[2] for cls in type(root).__mro__}
    if names & {"ValueError", "TypeError", "OverflowError"} or _is_binding(root):
        return Reason.ENCODING
    names |= {cls.__qualname__ for cls in type(error).__mro__}
    return next((why for name, why in _BY_CLASS.items() if name in names), Reason.DATABASE_ERROR)


def _is_binding(root: Any) -> bool:
    """sqlite3 refuses a value of an unknown type before SQLite sees it, as one of two classes."""
    return type(root).__module__ == "sqlite3" and str(root).startswith("Error binding parameter")


_DATABASES: Final[Mapping[str, Rule]] = {
    "sqlalchemy.SQLAlchemyError": _database,
    "sqlalchemy.TimeoutError": _always(
        DATABASE, Reason.STORE_BUSY, "no connection of the pool became free"
    ),
    "sqlalchemy.EmulatedDBAPIException": _database,
    "sqlite3.Error": _database,
    "asyncpg.PostgresError": _database,
    "asyncpg.InterfaceError": _database,
    "asyncpg.InternalClientError": _database,
    "psycopg.Error": _database,
    "psycopg2.Error": _database,
}


RULES: Final[Mapping[str, Rule]] = {
    **{f"twitor_fsm.{name}": rule for name, rule in _OWN.items()},
    **_SYSTEM,
    **{
        f"{package}.{name}": rule
        for package in ("httpx", "httpx2")
        for name, rule in _HTTPX.items()
    },
    **_OTHER_CLIENTS,
    **{
        f"{package}.{name}": rule
        for package in ("redis", "valkey")
        for name, rule in _REDIS.items()
    },
    **_DATABASES,
}
"""Class, as package and qualified name, to what it means."""
