"""Making async engines: what a URL of PostgreSQL may say, and how a driver that is missing or unknown is told.

Must not know: tables, transactions.
"""

import inspect
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # needs greenlet, which SQLite does without

__all__ = ["CONNECT_LIMIT_S", "create_engine", "known_driver", "postgres_engine"]

CONNECT_LIMIT_S: Final = 10.0
"""How long connecting to a server may take unless the URL says otherwise (`connect_timeout`), seconds; asyncpg's 60 are
longer than a lease."""

COMMAND_LIMIT_S: Final = 60.0
"""How long a command may take, seconds: a connection that went silent without a word would hold its session for ever."""

_OF_SQLALCHEMY: Final = frozenset(
    {"async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func"}
)
"""Options that SQLAlchemy's dialect takes out of a URL. Source: its documentation, "asyncpg"."""

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


def _as_asyncpg(url: sa.URL) -> tuple[sa.URL, dict[str, float]]:
    """The URL in asyncpg's words, and how long connecting and one command may take, seconds."""
    query = dict(url.query)
    if "sslmode" in query:
        query.setdefault("ssl", query["sslmode"])
    asked = {
        "timeout": query.get("connect_timeout", query.get("timeout", CONNECT_LIMIT_S)),
        "command_timeout": query.get("command_timeout", COMMAND_LIMIT_S),
    }
    try:
        limits = {name: float(str(limit)) for name, limit in asked.items()}
    except ValueError as exc:
        raise ConfigurationError(
            "connect_timeout or command_timeout in the database's URL is no number of seconds; nothing was opened"
        ) from exc
    left = url.set(query=query).difference_update_query(
        ["sslmode", "connect_timeout", "timeout", "command_timeout"]
    )
    return left, limits


def _check_options(url: sa.URL) -> None:
    """Refuse what the driver would stumble over at its first connection."""
    if url.get_driver_name() != "asyncpg":
        return
    import asyncpg

    known = _OF_SQLALCHEMY | inspect.signature(asyncpg.connect).parameters.keys()
    unknown = sorted(url.query.keys() - known)
    if unknown:
        raise ConfigurationError(
            f"the database's URL has an option that asyncpg does not know ({', '.join(unknown)}); nothing was opened. "
            "Leave it out"
        )
