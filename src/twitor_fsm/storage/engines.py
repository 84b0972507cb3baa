"""Making async engines: what a URL of PostgreSQL may say, and how a driver that is missing or unknown is told.

Must not know: tables, transactions.
"""

import inspect
import math
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from uuid_utils import uuid4

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # needs greenlet, which SQLite does without

__all__ = ["CONNECT_LIMIT_S", "create_engine", "known_driver", "postgres_engine"]

CONNECT_LIMIT_S: Final = 10.0
"""How long connecting to a server may take unless the URL says otherwise (`connect_timeout`), seconds; asyncpg's 60 are
longer than a lease."""

COMMAND_LIMIT_S: Final = 60.0
"""How long a command may take, seconds: a connection that went silent without a word would hold its session for ever."""

_OF_SQLALCHEMY: Final = frozenset({"prepared_statement_cache_size"})
"""What SQLAlchemy's dialect takes out of a URL as well. Source: its documentation, "asyncpg"."""

_NO_TEXTS: Final = frozenset({"connection_class", "dsn", "loop", "record_class", "server_settings"})
"""Arguments of `asyncpg.connect` that no URL can give: objects, and another URL."""

_COUNTS: Final = (
    "statement_cache_size",
    "max_cached_statement_lifetime",
    "max_cacheable_statement_size",
)
"""Options of asyncpg that are whole numbers: of a URL they are text, over which it stumbles."""

_COUNT_DIGITS: Final = 9

_EXAMPLES: Final = "Examples: sqlite:///bookmarks.db, postgresql+asyncpg://user@host/name"


def postgres_engine(url: sa.URL) -> "AsyncEngine":
    """An engine on a PostgreSQL server; nothing is connected yet.

    `sslmode` and `connect_timeout` of libpq's URLs are understood, as are asyncpg's own options.

    Raises:
        ConfigurationError: It is another database's URL, a package is missing, or an option is not known.
    """
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"the store knows SQLite and PostgreSQL, not {url.get_backend_name()}; nothing was opened. {_EXAMPLES}"
        )
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+asyncpg")
    url, limits = _as_asyncpg(url)
    engine = create_engine(url, pool_pre_ping=True, connect_args=limits)
    known_driver(engine)
    _check_options(url)
    return engine


def create_engine(url: sa.URL, **options: Any) -> "AsyncEngine":
    """An async engine whose errors quote no values. Raises `ConfigurationError` if its driver is missing."""
    try:
        from sqlalchemy.ext.asyncio import create_async_engine  # needs greenlet

        return create_async_engine(url, hide_parameters=True, **options)
    except sa.exc.NoSuchModuleError as exc:
        raise ConfigurationError(
            f"no driver {url.drivername} is known; nothing was opened. {_EXAMPLES}"
        ) from exc
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"an option in the database's URL has a value that it cannot have; nothing was opened. {_EXAMPLES}"
        ) from None  # the cause quotes the value
    except ImportError as exc:
        raise ConfigurationError(
            f"an async engine for {url.drivername} needs a package that is missing ({exc.name}); nothing was opened. "
            + (
                'Run: pip install "twitor-fsm[postgres]"'
                if exc.name in {"asyncpg", "greenlet"} or "greenlet" in str(exc)
                else "Install it, or name the driver that comes along: postgresql+asyncpg://"
            )
        ) from exc


def known_driver(engine: "AsyncEngine") -> "AsyncEngine":
    """The engine, if its driver takes parameters by their place, as the hot statements are prepared."""
    if not engine.dialect.positional:
        raise ConfigurationError(
            f"the store does not work with the driver {engine.dialect.driver}; nothing was opened. Use asyncpg for "
            "PostgreSQL (postgresql+asyncpg://user@host/name) or aiosqlite for SQLite"
        )
    return engine


def _as_asyncpg(url: sa.URL) -> tuple[sa.URL, dict[str, Any]]:
    """The URL in asyncpg's words, and its options that are numbers: how long connecting and one command may take, seconds."""
    query = dict(url.query)
    if "sslmode" in query:
        query.setdefault("ssl", query["sslmode"])
    asked = {
        "timeout": query.get("connect_timeout", query.get("timeout", CONNECT_LIMIT_S)),
        "command_timeout": query.get("command_timeout", COMMAND_LIMIT_S),
    }
    options: dict[str, Any] = {name: _seconds(asked[name]) for name in asked}
    options |= {name: _count(name, query[name]) for name in _COUNTS if name in query}
    left = url.set(query=query).difference_update_query(
        ["sslmode", "connect_timeout", "timeout", "command_timeout", *_COUNTS]
    )
    if options.get("statement_cache_size") == 0:
        left = left.update_query_dict({"prepared_statement_cache_size": "0"})
    if left.query.get("prepared_statement_cache_size") == "0":
        # Behind a pooler whose connections change hands a name may be taken, or not known. Source: SQLAlchemy, "asyncpg".
        options |= {"statement_cache_size": 0, "prepared_statement_name_func": _unique_name}
    return left, options


def _unique_name() -> str:
    return f"twitor_{uuid4().hex}"


def _seconds(given: object) -> float:
    try:
        limit = float(str(given))
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise ConfigurationError(
            "connect_timeout or command_timeout in the database's URL is no number of seconds above 0; nothing was opened"
        )
    return limit


def _count(name: str, given: object) -> int:
    text = str(given)
    if not (text.isdecimal() and text.isascii() and len(text) <= _COUNT_DIGITS):
        raise ConfigurationError(
            f"{name} in the database's URL is no whole number from 0; nothing was opened"
        )
    return int(text)


def _check_options(url: sa.URL) -> None:
    """Refuse what the driver would stumble over at its first connection."""
    if url.get_driver_name() != "asyncpg":
        return
    import asyncpg

    known = _OF_SQLALCHEMY | inspect.signature(asyncpg.connect).parameters.keys()
    no_texts = sorted(url.query.keys() & _NO_TEXTS)
    if no_texts:
        raise ConfigurationError(
            f"the database's URL has an option that no URL can give ({', '.join(no_texts)}); nothing was opened. Leave it "
            "out; settings such as search_path can be set in the database: ALTER ROLE name SET search_path = schema"
        )
    unknown = sorted(url.query.keys() - known)
    if unknown:
        raise ConfigurationError(
            f"the database's URL has an option that asyncpg does not know ({', '.join(unknown)}); nothing was opened. "
            "Leave it out"
        )
