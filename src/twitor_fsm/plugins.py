"""What an embedder hands in for a crawl, checked before anything is started: source, user, handler, limits.

Each refusal is a `ConfigurationError` that names the part and what is wrong with it. What a source gives later, page by
page, is checked by `fetching`.
Must not know: sessions, databases.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Final

from .errors import ConfigurationError
from .sources.base import Source

__all__ = ["MAX_WORD", "check_options", "check_source"]

MAX_WORD: Final = 200
"""Characters of a user id, and of a source's name, service and endpoint."""

_PARTS: Final = (
    "name",
    "service",
    "endpoint",
    "page_sizes",
    "price_usd",
    "fetch",
    "decode",
    "aclose",
)
_NOTHING: Final = "Nothing was started"


def check_source(source: Source, user_id: str) -> None:
    """Refuse what is no source, and a user that none can be crawled for.

    Raises:
        ConfigurationError: Names what is missing or wrong.
    """
    missing = [name for name in _PARTS if not hasattr(source, name)]
    if missing:
        raise ConfigurationError(
            f"{type(source).__name__} is no source: it has no {', '.join(missing)}. {_NOTHING}"
        )
    _check_word("user_id", user_id)
    for name in ("name", "service", "endpoint"):
        _check_word(f"the source's {name}", getattr(source, name))
    sizes: object = source.page_sizes
    if not isinstance(sizes, (tuple, list)) or not all(_is_count(size) for size in sizes):
        raise ConfigurationError(
            f"the source's page_sizes are {sizes!r:.50}; they must be a tuple of whole numbers from 1. {_NOTHING}"
        )
    price: object = source.price_usd
    if price is not None and not _is_price(price):
        raise ConfigurationError(
            f"the source's price_usd is {price!r:.50}; it must be a number from 0, or None. {_NOTHING}"
        )


def check_options(options: Mapping[str, object]) -> None:
    """Refuse options of a crawl that cannot work.

    Raises:
        ConfigurationError: Names the option.
    """
    for name in ("max_items", "page_size"):
        number = options.get(name)
        if number is not None and not _is_count(number):
            raise ConfigurationError(
                f"{name} is {number!r:.50}; it must be a whole number, at least 1. {_NOTHING}"
            )
    handler = options.get("handler")
    if handler is not None and not _takes_two(handler):
        raise ConfigurationError(
            f"the handler ({type(handler).__name__}) cannot be called with an item and a fence; it must be "
            f"`async def handler(item, fence)`. {_NOTHING}"
        )


def _check_word(what: str, word: object) -> None:
    if not isinstance(word, str) or not word or len(word) > MAX_WORD:
        raise ConfigurationError(
            f"{what} is {word!r:.50}; it must be text of 1 to {MAX_WORD} characters. {_NOTHING}"
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_price(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value >= 0


def _takes_two(handler: object) -> bool:
    if not callable(handler):
        return False
    try:
        signature = inspect.signature(handler)
    except ValueError:  # built-in functions have none: they are found out when they are called
        return True
    try:
        signature.bind(None, 0)
    except TypeError:
        return False
    return True
