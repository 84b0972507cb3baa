"""Making async engines: what a URL of PostgreSQL may say, and how a driver that is missing or unknown is told.

Must not know: tables, transactions.
"""

import importlib.util
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from ..errors import ConfigurationError
from .postgres_options import as_asyncpg

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # needs greenlet, which SQLite does without

__all__ = ["create_engine", "known_driver", "postgres_engine"]

_EXAMPLES: Final = "Examples: sqlite:///bookmarks.db, postgresql+asyncpg://user@host/name"


def postgres_engine(url: sa.URL) -> "AsyncEngine":
    """An engine on a PostgreSQL server; nothing is connected yet.

    `sslmode` and `connect_timeout` of libpq's URLs are understood, as are asyncpg's own options.

    Raises:
        ConfigurationError: It is another database's URL, a package is missing, or an option is not known or cannot be so.
    """
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"the store knows SQLite and PostgreSQL, not {url.get_backend_name()}; nothing was opened. {_EXAMPLES}"
        )
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+asyncpg")
    if url.drivername != "postgresql+asyncpg":
        return known_driver(create_engine(url, pool_pre_ping=True))
    if importlib.util.find_spec("asyncpg") is None:
        return create_engine(url)  # refuses, and says what to install
    url, beside = as_asyncpg(url)
    return create_engine(url, pool_pre_ping=True, connect_args=beside)


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
