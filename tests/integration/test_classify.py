"""Every exception keeps its category: the zoo of the libraries that we meet, each really constructed."""

import asyncio
import errno
import http.client
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpcore
import httpx
import msgspec
import pytest
import redis
import redis.exceptions
import redis.sentinel
import requests
import sqlalchemy as sa
import sqlalchemy.exc as sa_exc
import tweepy

from twitor_fsm import errors as own
from twitor_fsm.classify import classify
from twitor_fsm.core.taxonomy import ErrorCategory, Reason

AUTH = ErrorCategory.AUTH
RATE_LIMIT = ErrorCategory.RATE_LIMIT
NETWORK = ErrorCategory.NETWORK
VALIDATION = ErrorCategory.VALIDATION
DATABASE = ErrorCategory.DATABASE
FATAL = ErrorCategory.FATAL

NOW = 1_800_000_000.0
SECRET = "canary-token-and-text"
URL = f"https://user:{SECRET}@api.example.com/2/users/1/bookmarks?token={SECRET}"

Expected = tuple[ErrorCategory, Reason]


def verdict(error: BaseException, operation: str | None = None) -> Expected:
    found = classify(error, operation=operation, now=NOW)
    assert found.message.strip()
    assert SECRET not in found.message
    return found.category, found.reason


def raised(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except Exception as exc:  # noqa: BLE001  the test wants whatever it is
        return exc
    raise AssertionError("nothing was raised")


def chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


# -- HTTP -----------------------------------------------------------------------------------------


def answer(status: int, headers: dict[str, str] | None = None) -> httpx.HTTPStatusError:
    response = httpx.Response(
        status, headers=headers, text=SECRET, request=httpx.Request("GET", URL)
    )
    error = raised(response.raise_for_status)
    assert isinstance(error, httpx.HTTPStatusError)
    return error


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, (FATAL, Reason.REQUEST_REFUSED)),
        (400, (FATAL, Reason.REQUEST_REFUSED)),
        (401, (AUTH, Reason.TOKEN_REFUSED)),
        (402, (FATAL, Reason.BILLING)),
        (403, (AUTH, Reason.TOKEN_REFUSED)),
        (404, (FATAL, Reason.REQUEST_REFUSED)),
        (408, (NETWORK, Reason.TIMEOUT)),
        (422, (FATAL, Reason.REQUEST_REFUSED)),
        (429, (RATE_LIMIT, Reason.RATE_LIMITED)),
        (500, (NETWORK, Reason.SERVER_ERROR)),
        (502, (NETWORK, Reason.SERVER_ERROR)),
        (503, (NETWORK, Reason.SERVER_ERROR)),
        (504, (NETWORK, Reason.SERVER_ERROR)),
        (529, (NETWORK, Reason.SERVER_ERROR)),
    ],
)
def test_an_http_status_keeps_its_category_in_every_client(status: int, expected: Expected) -> None:
    assert verdict(answer(status)) == expected

    of_requests = requests.Response()
    of_requests.status_code = status
    of_requests.reason = SECRET
    assert verdict(requests.HTTPError(SECRET, response=of_requests)) == expected
    assert verdict(tweepy.errors.HTTPException(of_requests)) == expected
    nothing: Any = {}
    with urllib.error.HTTPError(URL, status, SECRET, nothing, None) as of_urllib:
        assert verdict(of_urllib) == expected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError(SECRET), Reason.CONNECTION),
        (httpx.ReadError(SECRET), Reason.CONNECTION),
        (httpx.WriteError(SECRET), Reason.CONNECTION),
        (httpx.CloseError(SECRET), Reason.CONNECTION),
        (httpx.ProxyError(SECRET), Reason.CONNECTION),
        (httpx.RemoteProtocolError(SECRET), Reason.CONNECTION),
        (httpx.LocalProtocolError(SECRET), Reason.CONNECTION),
        (httpx.ConnectTimeout(SECRET), Reason.TIMEOUT),
        (httpx.ReadTimeout(SECRET), Reason.TIMEOUT),
        (httpx.WriteTimeout(SECRET), Reason.TIMEOUT),
        (httpx.PoolTimeout(SECRET), Reason.TIMEOUT),
        (httpx.DecodingError(SECRET), Reason.BAD_PAGE),
        (httpcore.ConnectError(SECRET), Reason.CONNECTION),
        (httpcore.ReadTimeout(SECRET), Reason.TIMEOUT),
        (httpcore.RemoteProtocolError(SECRET), Reason.CONNECTION),
        (requests.ConnectionError(SECRET), Reason.CONNECTION),
        (requests.ReadTimeout(SECRET), Reason.TIMEOUT),
        (requests.exceptions.ChunkedEncodingError(SECRET), Reason.CONNECTION),
        (urllib.error.URLError(SECRET), Reason.CONNECTION),
        (http.client.RemoteDisconnected(SECRET), Reason.CONNECTION),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_transport_error_is_a_network_error(error: BaseException, reason: Reason) -> None:
    assert verdict(error) == (NETWORK, reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.TooManyRedirects(SECRET), Reason.REQUEST_REFUSED),
        (httpx.UnsupportedProtocol(SECRET), Reason.CONFIGURATION),
        (httpx.InvalidURL(SECRET), Reason.CONFIGURATION),
        (httpx.StreamClosed(), Reason.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_request_that_can_never_succeed_is_fatal(error: BaseException, reason: Reason) -> None:
    assert verdict(error) == (FATAL, reason)


def test_the_message_names_the_host_and_never_the_url() -> None:
    error = httpx.ConnectError(URL, request=httpx.Request("GET", URL))
    assert classify(error).message == "httpx.ConnectError: from api.example.com"
    assert classify(answer(503)).message == "httpx.HTTPStatusError: HTTP 503 from api.example.com"


def renamed(name: str, package: str, *bases: type[Exception]) -> type[Exception]:
    """A class as a library that is not installed here would have it."""
    return type(name, bases or (Exception,), {"__module__": package})


def test_the_continuation_of_httpx_is_known_too() -> None:
    timeout = renamed("TimeoutException", "httpx2", renamed("TransportError", "httpx2._exceptions"))
    assert verdict(renamed("ReadTimeout", "httpx2", timeout)(SECRET)) == (NETWORK, Reason.TIMEOUT)


def test_aiohttp_carries_status_and_headers_in_the_exception() -> None:
    error: Any = renamed("ClientResponseError", "aiohttp.client_exceptions")(SECRET)
    error.status, error.headers = 429, {"retry-after": "30"}
    found = classify(error, now=NOW)
    assert (found.category, found.reset_at) == (RATE_LIMIT, NOW + 30)


HTTP_NOW = "Fri, 15 Jan 2027 08:00:00 GMT"  # NOW


@pytest.mark.parametrize(
    ("headers", "reset_at"),
    [
        ({}, None),
        ({"x-rate-limit-reset": "1800000600"}, NOW + 600),
        ({"x-rate-limit-reset": "1800000600000"}, NOW + 600),
        ({"x-rate-limit-reset": "1799999000"}, NOW - 1000),  # the policy clamps what lies behind
        ({"retry-after": "120"}, NOW + 120),
        ({"retry-after": "1.5"}, NOW + 1.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:02:00 GMT"}, NOW + 120),
        ({"x-rate-limit-reset": "1800000600", "retry-after": "5"}, NOW + 600),
        ({"x-rate-limit-reset": "soon", "retry-after": "5"}, NOW + 5),
        ({"x-rate-limit-reset": "900", "retry-after": "5"}, NOW + 5),
        ({"x-rate-limit-reset": "nan"}, None),
        ({"x-rate-limit-reset": "inf"}, None),
        ({"x-rate-limit-reset": "-1"}, None),
        ({"x-rate-limit-reset": "1_800_000_600"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Fri, 99 Jan 99999 99:99:99 GMT"}, None),
        # Our clock is an hour ahead of the service's: what counts is how long it is until then.
        (
            {"date": "Fri, 15 Jan 2027 07:00:00 GMT", "x-rate-limit-reset": "1799996500"},
            NOW + 100,
        ),
        (
            {
                "date": "Fri, 15 Jan 2027 07:00:00 GMT",
                "retry-after": "Fri, 15 Jan 2027 07:01:00 GMT",
            },
            NOW + 60,
        ),
        ({"date": HTTP_NOW, "x-rate-limit-reset": "1800000600"}, NOW + 600),
    ],
)
def test_the_reset_time_is_read_from_the_headers(
    headers: dict[str, str], reset_at: float | None
) -> None:
    assert classify(answer(429, headers), now=NOW).reset_at == reset_at


# -- Valkey and Redis -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (redis.ConnectionError(SECRET), (NETWORK, Reason.CONNECTION)),
        (redis.TimeoutError(SECRET), (NETWORK, Reason.TIMEOUT)),
        (redis.BusyLoadingError(SECRET), (NETWORK, Reason.CONNECTION)),
        (redis.exceptions.MaxConnectionsError(SECRET), (NETWORK, Reason.CONNECTION)),
        (redis.sentinel.MasterNotFoundError(SECRET), (NETWORK, Reason.CONNECTION)),
        (redis.InvalidResponse(SECRET), (NETWORK, Reason.CONNECTION)),
        (redis.ReadOnlyError(SECRET), (NETWORK, Reason.SERVER_ERROR)),
        (redis.OutOfMemoryError(SECRET), (NETWORK, Reason.SERVER_ERROR)),
        (redis.exceptions.NoScriptError(SECRET), (NETWORK, Reason.SERVER_ERROR)),
        (redis.exceptions.TryAgainError(SECRET), (NETWORK, Reason.SERVER_ERROR)),
        (redis.exceptions.ClusterDownError(SECRET), (NETWORK, Reason.SERVER_ERROR)),
        (redis.exceptions.MasterDownError(SECRET), (NETWORK, Reason.SERVER_ERROR)),
        (redis.exceptions.MovedError("1 127.0.0.1:1"), (NETWORK, Reason.SERVER_ERROR)),
        (redis.WatchError(SECRET), (NETWORK, Reason.SERVER_ERROR)),
        (redis.ResponseError(f"BUSY script {SECRET}"), (NETWORK, Reason.SERVER_ERROR)),
        (redis.ResponseError(f"MISCONF {SECRET}"), (NETWORK, Reason.SERVER_ERROR)),
        (redis.AuthenticationError(SECRET), (AUTH, Reason.TOKEN_REFUSED)),
        (
            redis.exceptions.AuthenticationWrongNumberOfArgsError(SECRET),
            (AUTH, Reason.TOKEN_REFUSED),
        ),
        (redis.ResponseError(f"WRONGPASS {SECRET}"), (AUTH, Reason.TOKEN_REFUSED)),
        (redis.ResponseError(f"NOAUTH {SECRET}"), (AUTH, Reason.TOKEN_REFUSED)),
        (redis.exceptions.NoPermissionError(SECRET), (FATAL, Reason.CONFIGURATION)),
        (redis.exceptions.AuthorizationError(SECRET), (FATAL, Reason.CONFIGURATION)),
        (redis.exceptions.ClusterCrossSlotError(SECRET), (FATAL, Reason.CONFIGURATION)),
        (redis.ResponseError(f"WRONGTYPE {SECRET}"), (FATAL, Reason.UNKNOWN)),
        (redis.DataError(SECRET), (FATAL, Reason.UNKNOWN)),
        (redis.exceptions.LockError(SECRET), (FATAL, Reason.UNKNOWN)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_redis_error_keeps_its_category(error: BaseException, expected: Expected) -> None:
    assert verdict(error) == expected


def test_a_refused_password_is_not_retried_as_a_lost_connection() -> None:
    assert isinstance(redis.AuthenticationError(), redis.ConnectionError)
    assert classify(redis.AuthenticationError()).category is AUTH


# -- databases ------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (a TEXT PRIMARY KEY NOT NULL)"))
        connection.execute(sa.text("INSERT INTO t VALUES (:a)"), {"a": SECRET})
    yield engine
    engine.dispose()


def executed(engine: sa.Engine, statement: str, **values: object) -> BaseException:
    def run() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    return raised(run)


def test_an_item_that_breaks_a_constraint_is_named_without_its_values(database: sa.Engine) -> None:
    error = executed(database, "INSERT INTO t VALUES (:a)", a=SECRET)
    assert SECRET in str(error), "the reason why messages are not passed on"
    assert verdict(error) == (DATABASE, Reason.CONSTRAINT)
    assert "UNIQUE constraint failed: t.a" in classify(error).message


def test_what_a_trigger_says_is_not_passed_on(database: sa.Engine) -> None:
    executed_well = [
        "CREATE TRIGGER no BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, '" + SECRET + "'); END"
    ]
    with database.begin() as connection:
        for statement in executed_well:
            connection.execute(sa.text(statement))
    error = executed(database, "INSERT INTO t VALUES ('x')")
    assert SECRET in str(error)
    assert verdict(error) == (DATABASE, Reason.CONSTRAINT)


def test_a_database_that_another_program_holds_is_busy(database: sa.Engine) -> None:
    path = database.url.database
    assert path is not None
    impatient = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        error = executed(impatient, "INSERT INTO t VALUES ('x')")
    finally:
        holder.close()
        impatient.dispose()
    assert verdict(error) == (DATABASE, Reason.STORE_BUSY)


def test_a_full_database_is_full(database: sa.Engine) -> None:
    def fill() -> None:
        with database.begin() as connection:
            connection.execute(sa.text("PRAGMA max_page_count = 3"))
            connection.execute(sa.text("INSERT INTO t VALUES (:a)"), {"a": "x" * 100_000})

    assert verdict(raised(fill)) == (DATABASE, Reason.STORE_FULL)


def test_a_read_only_database_is_read_only(database: sa.Engine) -> None:
    def write() -> None:
        with database.begin() as connection:
            connection.execute(sa.text("PRAGMA query_only = ON"))
            connection.execute(sa.text("INSERT INTO t VALUES ('x')"))

    assert verdict(raised(write)) == (DATABASE, Reason.STORE_READ_ONLY)


def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    file.write_text("Dear reader, " * 100, "utf-8")
    engine = sa.create_engine(f"sqlite:///{file}")
    error = executed(engine, "SELECT * FROM t")
    engine.dispose()
    assert verdict(error) == (DATABASE, Reason.STORE_CORRUPT)


def test_a_database_in_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'nowhere' / 'a.db'}")
    assert verdict(executed(engine, "SELECT 1")) == (DATABASE, Reason.STORE_UNAVAILABLE)
    engine.dispose()


def test_a_value_that_no_column_takes_is_an_encoding(database: sa.Engine) -> None:
    error = executed(database, "INSERT INTO t VALUES (:a)", a=object())
    assert verdict(error) == (DATABASE, Reason.ENCODING)


def test_a_table_that_is_not_there_is_a_database_error(database: sa.Engine) -> None:
    error = executed(database, "SELECT * FROM nowhere")
    assert verdict(error) == (DATABASE, Reason.DATABASE_ERROR)


SQLITE_NAMES = {
    "SQLITE_BUSY_SNAPSHOT": Reason.STORE_BUSY,
    "SQLITE_LOCKED_SHAREDCACHE": Reason.STORE_BUSY,
    "SQLITE_PROTOCOL": Reason.STORE_BUSY,
    "SQLITE_FULL": Reason.STORE_FULL,
    "SQLITE_IOERR_WRITE": Reason.STORE_IO,
    "SQLITE_READONLY_DBMOVED": Reason.STORE_READ_ONLY,
    "SQLITE_PERM": Reason.STORE_READ_ONLY,
    "SQLITE_CANTOPEN_ISDIR": Reason.STORE_UNAVAILABLE,
    "SQLITE_CORRUPT_VTAB": Reason.STORE_CORRUPT,
    "SQLITE_NOTADB": Reason.STORE_CORRUPT,
    "SQLITE_CONSTRAINT_CHECK": Reason.CONSTRAINT,
    "SQLITE_MISMATCH": Reason.CONSTRAINT,
    "SQLITE_TOOBIG": Reason.DATABASE_ERROR,
    "SQLITE_ERROR": Reason.DATABASE_ERROR,
}


@pytest.mark.parametrize(("name", "reason"), SQLITE_NAMES.items())
def test_sqlite_is_judged_by_the_name_of_its_error_wrapped_or_not(
    name: str, reason: Reason
) -> None:
    error = sqlite3.OperationalError(SECRET)
    error.sqlite_errorname = name
    assert verdict(error) == (DATABASE, reason)
    wrapped = sa_exc.OperationalError("INSERT", {"a": SECRET}, error)
    assert verdict(wrapped) == (DATABASE, reason)
    assert name in classify(wrapped).message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.UniqueViolationError(SECRET), Reason.CONSTRAINT),
        (asyncpg.NotNullViolationError(SECRET), Reason.CONSTRAINT),
        (asyncpg.CharacterNotInRepertoireError(SECRET), Reason.ENCODING),
        (asyncpg.UntranslatableCharacterError(SECRET), Reason.ENCODING),
        (asyncpg.DataError(SECRET), Reason.DATABASE_ERROR),
        (asyncpg.SerializationError(SECRET), Reason.STORE_BUSY),
        (asyncpg.DeadlockDetectedError(SECRET), Reason.STORE_BUSY),
        (asyncpg.LockNotAvailableError(SECRET), Reason.STORE_BUSY),
        (asyncpg.QueryCanceledError(SECRET), Reason.STORE_BUSY),
        (asyncpg.DiskFullError(SECRET), Reason.STORE_FULL),
        (asyncpg.TooManyConnectionsError(SECRET), Reason.STORE_UNAVAILABLE),
        (asyncpg.ReadOnlySQLTransactionError(SECRET), Reason.STORE_READ_ONLY),
        (asyncpg.InsufficientPrivilegeError(SECRET), Reason.STORE_READ_ONLY),
        (asyncpg.PostgresIOError(SECRET), Reason.STORE_IO),
        (asyncpg.DataCorruptedError(SECRET), Reason.STORE_CORRUPT),
        (asyncpg.InvalidPasswordError(SECRET), Reason.STORE_UNAVAILABLE),
        (asyncpg.InvalidCatalogNameError(SECRET), Reason.STORE_UNAVAILABLE),
        (asyncpg.AdminShutdownError(SECRET), Reason.STORE_UNAVAILABLE),
        (asyncpg.ConnectionDoesNotExistError(SECRET), Reason.STORE_UNAVAILABLE),
        (asyncpg.InterfaceError(SECRET), Reason.STORE_UNAVAILABLE),
        (asyncpg.InternalClientError(SECRET), Reason.STORE_UNAVAILABLE),
        (asyncpg.UndefinedTableError(SECRET), Reason.DATABASE_ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
def test_postgresql_is_judged_by_its_sqlstate_wrapped_or_not(
    error: Exception, reason: Reason
) -> None:
    assert verdict(error) == (DATABASE, reason)
    # As SQLAlchemy's asyncpg dialect has it: an emulated driver error between, the real one its cause.
    emulated: Any = renamed(
        "AsyncAdapt_asyncpg_dbapi.Error", "sqlalchemy.dialects.postgresql.asyncpg"
    )(SECRET)
    emulated.sqlstate = getattr(error, "sqlstate", None)
    wrapped = sa_exc.DBAPIError("INSERT", {"a": SECRET}, chained(emulated, error))
    if emulated.sqlstate is not None:
        assert verdict(wrapped) == (DATABASE, reason)


def test_the_name_of_a_postgresql_constraint_is_told() -> None:
    error: Any = asyncpg.UniqueViolationError(SECRET)
    error.constraint_name = "items_pkey"
    assert "23505, constraint items_pkey" in classify(error).message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (sa_exc.TimeoutError(SECRET), Reason.STORE_BUSY),
        (sa_exc.PendingRollbackError(SECRET), Reason.DATABASE_ERROR),
        (sa_exc.InvalidRequestError(SECRET), Reason.DATABASE_ERROR),
        (sa_exc.NoResultFound(SECRET), Reason.DATABASE_ERROR),
        (sa_exc.NoSuchColumnError(SECRET), Reason.DATABASE_ERROR),
        (sa_exc.StatementError(SECRET, "INSERT", {}, TypeError(SECRET)), Reason.ENCODING),
        (sa_exc.InterfaceError("INSERT", {}, Exception(SECRET)), Reason.STORE_UNAVAILABLE),
        (sa_exc.IntegrityError("INSERT", {}, Exception(SECRET)), Reason.CONSTRAINT),
        (
            sa_exc.DBAPIError("INSERT", {}, ConnectionResetError(SECRET)),
            Reason.STORE_UNAVAILABLE,
        ),
        (
            sa_exc.DBAPIError("INSERT", {}, Exception(SECRET), connection_invalidated=True),
            Reason.STORE_UNAVAILABLE,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sqlalchemys_own_errors_are_the_databases(error: BaseException, reason: Reason) -> None:
    assert verdict(error) == (DATABASE, reason)


def test_what_the_machine_lacks_is_fatal_through_sqlalchemy_too() -> None:
    no_memory = sa_exc.StatementError(SECRET, "INSERT", {}, MemoryError())
    no_space = sa_exc.StatementError(SECRET, "INSERT", {}, OSError(errno.ENOSPC, SECRET))
    assert verdict(no_memory) == (FATAL, Reason.OUT_OF_MEMORY)
    assert verdict(no_space) == (FATAL, Reason.DISK_FULL)


# -- the system -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), (FATAL, Reason.OUT_OF_MEMORY)),
        (OSError(errno.ENOMEM, SECRET), (FATAL, Reason.OUT_OF_MEMORY)),
        (OSError(errno.ENOSPC, SECRET), (FATAL, Reason.DISK_FULL)),
        (OSError(errno.EDQUOT, SECRET), (FATAL, Reason.DISK_FULL)),
        (TimeoutError(), (NETWORK, Reason.TIMEOUT)),
        (OSError(errno.ETIMEDOUT, SECRET), (NETWORK, Reason.TIMEOUT)),
        (ConnectionResetError(errno.ECONNRESET, SECRET), (NETWORK, Reason.CONNECTION)),
        (ConnectionRefusedError(SECRET), (NETWORK, Reason.CONNECTION)),
        (ConnectionAbortedError(SECRET), (NETWORK, Reason.CONNECTION)),
        (BrokenPipeError(SECRET), (NETWORK, Reason.CONNECTION)),
        (OSError(errno.ENETUNREACH, SECRET), (NETWORK, Reason.CONNECTION)),
        (OSError(errno.EHOSTUNREACH, SECRET), (NETWORK, Reason.CONNECTION)),
        (OSError(f"Multiple exceptions: {SECRET}"), (NETWORK, Reason.CONNECTION)),
        (socket.gaierror(socket.EAI_NONAME, SECRET), (NETWORK, Reason.CONNECTION)),
        (ssl.SSLError(1, SECRET), (NETWORK, Reason.CONNECTION)),
        (ssl.SSLEOFError(SECRET), (NETWORK, Reason.CONNECTION)),
        (ssl.SSLCertVerificationError(1, SECRET), (NETWORK, Reason.CONNECTION)),
        (asyncio.IncompleteReadError(b"", 1), (NETWORK, Reason.CONNECTION)),
        (PermissionError(errno.EACCES, SECRET), (FATAL, Reason.UNKNOWN)),
        (FileNotFoundError(errno.ENOENT, SECRET), (FATAL, Reason.UNKNOWN)),
        (OSError(errno.EMFILE, SECRET), (FATAL, Reason.UNKNOWN)),
        (OSError(SECRET), (FATAL, Reason.UNKNOWN)),
        (RecursionError(SECRET), (FATAL, Reason.UNKNOWN)),
        (RuntimeError(SECRET), (FATAL, Reason.UNKNOWN)),
        (Exception(SECRET), (FATAL, Reason.UNKNOWN)),
        (AssertionError(SECRET), (FATAL, Reason.UNKNOWN)),
        (asyncio.InvalidStateError(SECRET), (FATAL, Reason.UNKNOWN)),
        (KeyboardInterrupt(), (FATAL, Reason.UNKNOWN)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_the_system_keeps_its_category(
    error: BaseException, expected: Expected
) -> None:
    assert verdict(error) == expected
    assert verdict(error, "process_bookmark") == expected


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full here")
def test_a_disk_that_is_really_full_is_fatal() -> None:
    def write() -> None:
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123  unbuffered
            full.write(b"x")

    assert verdict(raised(write)) == (FATAL, Reason.DISK_FULL)


async def test_a_port_that_nobody_listens_on_is_a_network_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(OSError) as caught:  # noqa: PT011  one address or several: two kinds of it
        await asyncio.open_connection("localhost", port)
    assert classify(caught.value).category is NETWORK


# -- broken data ----------------------------------------------------------------------------------


def undecodable() -> list[BaseException]:
    return [
        raised(lambda: json.loads("{")),
        raised(lambda: msgspec.json.decode(b"{")),
    ]


def broken_data() -> list[BaseException]:
    return [
        ValueError(SECRET),
        TypeError(SECRET),
        KeyError(SECRET),
        raised(lambda: int(SECRET)),
        raised(lambda: b"\xff".decode()),
        raised(lambda: msgspec.json.decode(b'"a"', type=int)),
        *undecodable(),
    ]


@pytest.mark.parametrize("operation", ["decode_item", "process_bookmark"])
@pytest.mark.parametrize("error", broken_data(), ids=lambda value: type(value).__name__)
def test_broken_data_of_an_item_skips_that_item(error: BaseException, operation: str) -> None:
    assert verdict(error, operation) == (VALIDATION, Reason.INVALID_ITEM)


@pytest.mark.parametrize("operation", [None, "handle", "fetch", "risky_operation"])
@pytest.mark.parametrize("error", broken_data(), ids=lambda value: type(value).__name__)
def test_the_same_error_elsewhere_never_skips_an_item(
    error: BaseException, operation: str | None
) -> None:
    assert verdict(error, operation)[0] in (FATAL, NETWORK)


@pytest.mark.parametrize("operation", [None, "fetch", "handle"])
@pytest.mark.parametrize("error", undecodable(), ids=lambda value: type(value).__name__)
def test_an_answer_that_is_no_json_is_asked_for_again(
    error: BaseException, operation: str | None
) -> None:
    assert verdict(error, operation) == (NETWORK, Reason.BAD_PAGE)


@pytest.mark.parametrize("error", [IndexError(SECRET), AttributeError(SECRET), NameError(SECRET)])
def test_broken_code_does_not_skip_even_inside_an_item(error: BaseException) -> None:
    assert verdict(error, "process_bookmark") == (FATAL, Reason.UNKNOWN)


def test_the_message_says_where_without_folders() -> None:
    found = classify(raised(lambda: int(SECRET)), operation="process_bookmark")
    assert "at test_classify.py, line " in found.message
    assert "/" not in found.message


# -- our own --------------------------------------------------------------------------------------

OWN: list[tuple[own.TwitorError, Expected]] = [
    (own.TwitorError("x"), (FATAL, Reason.UNKNOWN)),
    (own.ConfigurationError("x"), (FATAL, Reason.CONFIGURATION)),
    (own.SpecError("x"), (FATAL, Reason.CONFIGURATION)),
    (own.IllegalStep("running", "resume"), (FATAL, Reason.BUG)),
    (own.JournalRefused(3, 3, "x"), (FATAL, Reason.SOURCE_UNREADABLE)),
    (own.SourceError("x"), (FATAL, Reason.UNKNOWN)),
    (own.CredentialsMissing("x"), (AUTH, Reason.TOKEN_MISSING)),
    (own.AuthenticationFailed("x"), (AUTH, Reason.TOKEN_REFUSED)),
    (own.AuthenticationFailed("x", Reason.SCOPE_MISSING), (AUTH, Reason.SCOPE_MISSING)),
    (own.RateLimited(), (RATE_LIMIT, Reason.RATE_LIMITED)),
    (own.RateLimited(NOW, Reason.CLOSED_UNTIL), (RATE_LIMIT, Reason.CLOSED_UNTIL)),
    (own.SourceUnavailable("x"), (NETWORK, Reason.CONNECTION)),
    (own.SourceUnavailable("x", Reason.BAD_PAGE), (NETWORK, Reason.BAD_PAGE)),
    (own.CursorRefused("x"), (FATAL, Reason.CURSOR_REFUSED)),
    (own.RequestRefused("x"), (FATAL, Reason.REQUEST_REFUSED)),
    (own.RequestRefused("x", Reason.ACCESS_REFUSED), (FATAL, Reason.ACCESS_REFUSED)),
    (own.BillingRefused("x"), (FATAL, Reason.BILLING)),
    (own.SourceLoops("x"), (FATAL, Reason.SOURCE_LOOPS)),
    (own.InvalidItem("x"), (VALIDATION, Reason.INVALID_ITEM)),
    (own.UnreadableFile("x"), (FATAL, Reason.SOURCE_UNREADABLE)),
    (own.StoreError("x"), (DATABASE, Reason.DATABASE_ERROR)),
    (own.StoreUnavailable("x"), (DATABASE, Reason.STORE_UNAVAILABLE)),
    (own.StoreUnavailable("x", Reason.STORE_FULL, False), (DATABASE, Reason.STORE_FULL)),
    (own.ItemsRefused({"1": (Reason.ENCODING, "x")}), (DATABASE, Reason.ENCODING)),
    (own.ItemsRefused({}), (DATABASE, Reason.DATABASE_ERROR)),
    (own.LeaseLost("s"), (FATAL, Reason.LEASE_LOST)),
    (own.CrawlOwned("s", "o", NOW), (FATAL, Reason.OWNED_ELSEWHERE)),
    (own.SessionNotFound("s"), (FATAL, Reason.CONFIGURATION)),
    (own.SessionUnreadable("s", "ValueError"), (FATAL, Reason.CONFIGURATION)),
    (own.RowUnreadable("t", "step 1", "ValueError"), (FATAL, Reason.CONFIGURATION)),
    (own.SchemaMismatch("x"), (FATAL, Reason.CONFIGURATION)),
    (own.OtherSchemaVersion("x"), (FATAL, Reason.CONFIGURATION)),
    (own.QueueError("x"), (FATAL, Reason.UNKNOWN)),
    (own.QueueUnavailable("x"), (NETWORK, Reason.CONNECTION)),
    (own.QueueUnauthorized("x"), (AUTH, Reason.TOKEN_REFUSED)),
    (own.QueueMisconfigured("x"), (FATAL, Reason.CONFIGURATION)),
    (own.QueueFull("q", 3), (NETWORK, Reason.SERVER_ERROR)),
    (own.QueueOutOfMemory("q"), (NETWORK, Reason.SERVER_ERROR)),
    (own.TaskRefused("x"), (FATAL, Reason.REQUEST_REFUSED)),
    (own.TaskLeaseLost("t"), (FATAL, Reason.LEASE_LOST)),
]


@pytest.mark.parametrize(("error", "expected"), OWN, ids=lambda value: type(value).__name__)
def test_our_own_exceptions_keep_category_and_reason(
    error: own.TwitorError, expected: Expected
) -> None:
    assert verdict(error) == expected
    assert classify(error).message == str(error)


def test_no_exception_of_ours_is_missing_here() -> None:
    def below(cls: type[own.TwitorError]) -> Iterator[type[own.TwitorError]]:
        yield cls
        for child in cls.__subclasses__():
            yield from below(child)

    ours = {cls for cls in below(own.TwitorError) if getattr(own, cls.__name__, None) is cls}
    assert ours == {type(error) for error, _ in OWN}


def test_our_rate_limit_hands_its_reset_time_over() -> None:
    assert classify(own.RateLimited(NOW + 5)).reset_at == NOW + 5


# -- rules, groups, causes, cancellation ----------------------------------------------------------


class Flaky(Exception):
    reset_at: object = None


class VeryFlaky(Flaky):
    pass


@pytest.mark.parametrize("category", list(ErrorCategory))
def test_an_embedders_rule_decides_about_its_type_and_the_types_below(
    category: ErrorCategory,
) -> None:
    rules = {Flaky: category}
    assert classify(Flaky(SECRET), rules=rules).category is category
    assert classify(VeryFlaky(SECRET), rules=rules).category is category
    assert SECRET not in classify(Flaky(SECRET), rules=rules).message


def test_the_nearest_rule_wins() -> None:
    rules = {Exception: FATAL, Flaky: NETWORK, VeryFlaky: AUTH}
    assert classify(VeryFlaky(), rules=rules).category is AUTH
    assert classify(Flaky(), rules=rules).category is NETWORK


def test_an_embedders_rule_beats_ours_for_the_same_class_only() -> None:
    rules = {httpx.ReadError: RATE_LIMIT, OSError: NETWORK}
    assert classify(httpx.ReadError("x"), rules=rules).category is RATE_LIMIT
    assert classify(httpx.ConnectError("x"), rules=rules).category is NETWORK
    assert classify(PermissionError(errno.EACCES, "x"), rules=rules).category is NETWORK
    assert classify(redis.AuthenticationError(), rules={Exception: NETWORK}).category is AUTH


@pytest.mark.parametrize(
    ("said", "expected"), [(NOW, NOW), (5, 5), (True, None), ("soon", None), (None, None)]
)
def test_a_rate_limit_by_rule_may_name_its_reset_time(said: object, expected: object) -> None:
    error = Flaky()
    error.reset_at = said
    assert classify(error, rules={Flaky: RATE_LIMIT}).reset_at == expected


def test_a_group_is_as_bad_as_its_worst_member() -> None:
    bad, worse = httpx.ReadError("x"), redis.AuthenticationError()
    group = ExceptionGroup("x", [bad, ExceptionGroup("y", [worse, TimeoutError()])])
    assert verdict(group) == (AUTH, Reason.TOKEN_REFUSED)
    assert verdict(ExceptionGroup("x", [bad, RuntimeError()])) == (FATAL, Reason.UNKNOWN)
    assert verdict(ExceptionGroup("x", [bad])) == (NETWORK, Reason.CONNECTION)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (httpx.ReadTimeout("x"), (NETWORK, Reason.TIMEOUT)),
        (own.RateLimited(NOW), (RATE_LIMIT, Reason.RATE_LIMITED)),
        (own.AuthenticationFailed("x"), (AUTH, Reason.TOKEN_REFUSED)),
        (OSError(errno.ENOSPC, "x"), (FATAL, Reason.DISK_FULL)),
        (own.InvalidItem("x"), (FATAL, Reason.UNKNOWN)),
        (sqlite3.IntegrityError("x"), (FATAL, Reason.UNKNOWN)),
        (RuntimeError(SECRET), (FATAL, Reason.UNKNOWN)),
        (asyncio.CancelledError(), (FATAL, Reason.UNKNOWN)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_unknown_wrapper_is_its_cause_unless_that_would_skip(
    cause: BaseException, expected: Expected
) -> None:
    assert verdict(chained(RuntimeError(SECRET), cause)) == expected
    assert verdict(chained(Flaky(), chained(Flaky(), cause))) == expected


def test_the_message_of_a_wrapper_names_both() -> None:
    found = classify(chained(RuntimeError(SECRET), httpx.ReadTimeout(SECRET)))
    assert found.message == "RuntimeError, caused by httpx.ReadTimeout"


def test_what_happened_meanwhile_is_no_cause() -> None:
    error = RuntimeError()
    error.__context__ = httpx.ReadTimeout("x")
    assert classify(error).category is FATAL


def test_a_ring_of_causes_ends() -> None:
    one, two = RuntimeError(), Flaky()
    chained(one, chained(two, one))
    assert verdict(one) == (FATAL, Reason.UNKNOWN)


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        BaseExceptionGroup("x", [asyncio.CancelledError(), ValueError()]),
    ],
)
def test_a_cancellation_is_never_classified(error: BaseException) -> None:
    with pytest.raises(TypeError, match="raise it on"):
        classify(error)


def test_classifying_imports_none_of_the_libraries() -> None:
    code = (
        "import sys; had = set(sys.modules);"  # a tool that measures coverage has sqlite3
        "from twitor_fsm.classify import classify; classify(OSError(28, 'x'));"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - had}"
        " & {'httpx', 'redis', 'sqlalchemy', 'sqlite3', 'asyncpg', 'msgspec'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_limits_in_a_group_end_with_the_last_of_them() -> None:
    group = ExceptionGroup("", [own.RateLimited(5.0), own.RateLimited(9.0), own.RateLimited()])
    assert classify(group).reset_at == 9.0


def test_a_group_or_chain_of_any_depth_is_classified() -> None:
    deep: Exception = TimeoutError()
    for _ in range(3000):
        deep = ExceptionGroup("", [deep])
    assert classify(deep).category is NETWORK
    chain: BaseException = TimeoutError()
    for _ in range(3000):
        outer = RuntimeError()
        outer.__cause__ = chain
        chain = outer
    assert classify(chain).category is FATAL


def test_a_rule_for_everything_does_not_hide_a_cancellation() -> None:
    group = BaseExceptionGroup("", [ValueError(), asyncio.CancelledError()])
    with pytest.raises(TypeError):
        classify(group, rules={BaseException: NETWORK})


def test_a_reset_time_that_cannot_be_read_is_none() -> None:
    class Broken(Exception):
        @property
        def reset_at(self) -> float:
            raise RuntimeError

    found = classify(Broken(), rules={Broken: RATE_LIMIT})
    assert (found.category, found.reset_at) == (RATE_LIMIT, None)
