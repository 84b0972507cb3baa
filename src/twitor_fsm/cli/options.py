"""Options that verbs share, so that they are spelled and explained once."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["common", "db", "json_flag", "user_id"]

_F = TypeVar("_F", bound=Callable[..., Any])


def json_flag(function: _F) -> _F:
    """`--json` (parameter `as_json`) and `--debug`."""
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, help="Show where an unexpected error happened."
    )
    json = click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."
    )
    return json(debug(function))


def db(function: _F) -> _F:
    """`--db`, the database."""
    return click.option(
        "--db",
        metavar="PATH|URL",
        help="The database: a file, or a URL.  [default: DATABASE_URL, or bookmarks.db]",
    )(function)


def common(function: _F) -> _F:
    """`--db`, `--json`, `--debug`."""
    return db(json_flag(function))


def user_id(help_text: str) -> Callable[[_F], _F]:
    """`--user-id`."""
    return click.option("--user-id", metavar="ID", help=help_text)
