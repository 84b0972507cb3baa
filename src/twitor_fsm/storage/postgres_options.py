"""What the URL of a PostgreSQL server may say behind its `?`, and how asyncpg is told.

The driver looks at most options only when it connects, and what it says then reads like a server that is away. No message
holds a value: a password may have got into a wrong place.
Must not know: engines, connections.
"""

import inspect
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from uuid_utils import uuid4

from ..errors import ConfigurationError

__all__ = ["CONNECT_LIMIT_S", "as_asyncpg"]

CONNECT_LIMIT_S: Final = 10.0
"""How long connecting to a server may take unless the URL says otherwise (`connect_timeout`), seconds; asyncpg's 60 are
longer than a lease."""

COMMAND_LIMIT_S: Final = 60.0
"""How long a command may take, seconds: a connection that went silent without a word would hold its session for ever."""

_LISTS: Final = ("host", "port")
"""What may stand there more than once."""

_SSL: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_WORDS: Final = {
    "ssl": _SSL,
    "sslmode": _SSL,
    "target_session_attrs": (
        "any", "primary", "standby", "read-write", "read-only", "prefer-standby",
    ),
    "gsslib": ("gssapi", "sspi"),
    "direct_tls": ("true", "false"),
}  # fmt: skip
"""Source: asyncpg 0.32, `connect`; `sslmode` is libpq's name of `ssl`."""

_SECONDS: Final = ("connect_timeout", "timeout", "command_timeout")
_COUNTS: Final = (
    "statement_cache_size",
    "max_cached_statement_lifetime",
    "max_cacheable_statement_size",
)
"""Options of asyncpg that are whole numbers: of a URL they are text, over which it stumbles."""

_OF_SQLALCHEMY: Final = "prepared_statement_cache_size"
"""A whole number, too; SQLAlchemy's dialect takes it out of the URL. Source: its documentation, "asyncpg"."""

_COUNT_DIGITS: Final = 9

_NO_TEXTS: Final = frozenset({"connection_class", "dsn", "loop", "record_class", "server_settings"})
"""Arguments of `asyncpg.connect` that no URL can give: objects, and another URL."""


def as_asyncpg(url: sa.URL) -> tuple[sa.URL, dict[str, Any]]:
    """The URL in asyncpg's words, and what it is given beside it.

    Raises:
        ConfigurationError: Names an option that there is not, or that has a value which it cannot have.
    """
    _check_names(url)
    said = {name: _checked(name, value) for name, value in url.query.items() if name not in _LISTS}
    options: dict[str, Any] = {
        "timeout": said.get("connect_timeout", said.get("timeout", CONNECT_LIMIT_S)),
        "command_timeout": said.get("command_timeout", COMMAND_LIMIT_S),
    }
    options |= {name: said[name] for name in (*_COUNTS, "direct_tls") if name in said}
    query = dict(url.query)
    if "sslmode" in query:
        query.setdefault("ssl", query["sslmode"])
    if said.get("statement_cache_size") == 0:
        query[_OF_SQLALCHEMY] = "0"
    if query.get(_OF_SQLALCHEMY) == "0":
        # Behind a pooler whose connections change hands a name may be taken, or not known. Source: SQLAlchemy, "asyncpg".
        options |= {"statement_cache_size": 0, "prepared_statement_name_func": _unique_name}
    apart = {"sslmode", "direct_tls", *_SECONDS, *_COUNTS}
    return url.set(query={name: query[name] for name in query if name not in apart}), options


def _unique_name() -> str:
    return f"twitor_{uuid4().hex}"


def _check_names(url: sa.URL) -> None:
    import asyncpg

    no_texts = sorted(url.query.keys() & _NO_TEXTS)
    if no_texts:
        raise ConfigurationError(
            f"the database's URL has an option that no URL can give ({', '.join(no_texts)}); nothing was opened. Leave it "
            "out; settings such as search_path can be set in the database: ALTER ROLE name SET search_path = schema"
        )
    takes = inspect.signature(asyncpg.connect).parameters.keys()
    unknown = sorted(url.query.keys() - takes - {"sslmode", "connect_timeout", _OF_SQLALCHEMY})
    if unknown:
        # With an "@" behind the "?" all of that may be a password that was not escaped.
        is_secret = any("@" in said for said in _flat(url.query.items()))
        named = "" if is_secret else f" ({', '.join(unknown)})"
        raise ConfigurationError(
            f"the database's URL has an option that asyncpg does not know{named}; nothing was opened. Leave it out"
            + (", or write %3F for a ? and %40 for an @ of the password" if is_secret else "")
        )


def _flat(query: Iterable[tuple[str, str | tuple[str, ...]]]) -> Iterator[str]:
    """Every word of a query."""
    for name, value in query:
        yield name
        yield from (value,) if isinstance(value, str) else value


def _checked(name: str, value: str | tuple[str, ...]) -> str | float | bool:
    """The value as the driver needs it."""
    if not isinstance(value, str):
        raise _wrong(name, "there more than once")
    if name in _WORDS and value not in _WORDS[name]:
        raise _wrong(name, f"none of {', '.join(_WORDS[name])}")
    if name in _SECONDS:
        return _seconds(name, value)
    if name in _COUNTS or name == _OF_SQLALCHEMY:
        return _count(name, value)
    return value == "true" if name == "direct_tls" else value


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise _wrong(name, "no number of seconds above 0")
    return seconds


def _count(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= _COUNT_DIGITS):
        raise _wrong(name, "no whole number from 0")
    return int(value)


def _wrong(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the option {name} in the database's URL is {what}; nothing was opened. Correct it, or leave it out"
    )
