"""What an embedder hands in for a crawl, checked before anything is started: source, user, handler, limits, options.

Each refusal is a `ConfigurationError` that names the part and what is wrong with it; an option that there is not is a
`TypeError`, as Python's own. Numbers of any kind are taken and
made plain ones. What a source gives later, page by page, is checked by `fetching`.
Must not know: sessions, databases.
"""

import dataclasses
import inspect
import math
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, SupportsFloat, SupportsIndex

import attrs

from .errors import ConfigurationError
from .sources.base import Source

__all__ = [
    "MAX_WORD",
    "check_options",
    "check_source",
    "count_of",
    "is_finite",
    "is_word",
    "page_sizes_of",
    "price_of",
    "takes",
    "whole_number",
]

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
    page_sizes_of(source)
    price_of(source)


def page_sizes_of(source: Source) -> tuple[int, ...]:
    """A source's page sizes, whatever sequence of whole numbers it holds them in.

    Raises:
        ConfigurationError: They are none.
    """
    given: object = source.page_sizes
    is_sequence = isinstance(given, Sequence) and not isinstance(given, (str, bytes, bytearray))
    sizes = tuple(map(count_of, source.page_sizes)) if is_sequence else (None,)
    if None in sizes:
        raise ConfigurationError(
            f"the source's page_sizes are {given!r:.50}; they must be a tuple of whole numbers from 1. {_NOTHING}"
        )
    return tuple(size for size in sizes if size is not None)


def price_of(source: Source) -> float | None:
    """A source's price of one item, USD, whatever kind of number it is; None when it is unknown.

    Raises:
        ConfigurationError: It is no number, or below 0.
    """
    given: object = source.price_usd
    if given is None:
        return None
    price = _price(given)
    if price is None:
        raise ConfigurationError(
            f"the source's price_usd is {given!r:.50}; it must be a number from 0, or None. {_NOTHING}"
        )
    return price


def count_of(value: object) -> int | None:
    """A whole number from 1, of any kind but a truth value; None for everything else."""
    number = None if isinstance(value, bool) else whole_number(value)
    return number if number is not None and number >= 1 else None


def whole_number(value: object) -> int | None:
    """A whole number of any kind (an enum's member, numpy's) as a plain one; None for everything else."""
    if type(value) is int:  # asking a protocol costs 20 us, and every item of every page is asked
        return value
    try:
        return operator.index(value) if isinstance(value, SupportsIndex) else None
    except TypeError:  # an array of several has the method too
        return None


def is_finite(value: object, depth: int = 100) -> bool:
    """Whether JSON can hold every number in a value; msgspec would write null for those it cannot.

    It looks into what msgspec writes: containers, attrs classes, dataclasses, Structs, members of enums; no deeper than
    `depth`. What holds itself may take for ever: ask for what msgspec has written.
    """
    if isinstance(value, float):
        return math.isfinite(value)
    return depth == 0 or all(is_finite(one, depth - 1) for one in _held(value))


def _held(value: object) -> Iterable[object]:
    """The values in a value that msgspec writes."""
    if value is None or isinstance(value, str | int | bytes):
        return ()
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, Enum):
        return (value.value,)
    return [getattr(value, name, None) for name in _written(value)]


def _written(value: object) -> Iterable[str]:
    """The attributes that msgspec writes."""
    kind: Any = type(value)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if hasattr(value, "__struct_fields__"):
        return tuple(value.__struct_fields__)
    if attrs.has(kind):
        named = {field.name for field in attrs.fields(kind)} | set(getattr(value, "__dict__", ()))
        return [name for name in named if not name.startswith("_")]
    return ()


def check_options(options: Mapping[str, object], known: Collection[str]) -> None:
    """Refuse options of a crawl that cannot work.

    Raises:
        ConfigurationError: Names the option.
        TypeError: There is no such option: a misspelt handler would be left out, and its items stored without it.
    """
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}."
            )
            raise TypeError(f"a crawl has no option {name!r}: {meant} {_NOTHING}")
    for name in ("max_items", "page_size"):
        number = options.get(name)
        if number is not None and count_of(number) is None:
            raise ConfigurationError(
                f"{name} is {number!r:.50}; it must be a whole number, at least 1. {_NOTHING}"
            )
    handler = options.get("handler")
    if handler is not None and not takes(handler, 2):
        raise ConfigurationError(
            f"the handler ({type(handler).__name__}) cannot be called with an item and a fence; it must be "
            f"`async def handler(item, fence)`. {_NOTHING}"
        )


def is_word(value: object) -> bool:
    """Whether this can name a user or a source: printable text with more than blanks, as it stands in one line."""
    if not isinstance(value, str) or len(value) > MAX_WORD:
        return False
    return bool(value.strip()) and value.isprintable()


def _check_word(what: str, word: object) -> None:
    if not is_word(word):
        raise ConfigurationError(
            f"{what} is {word!r:.50}; it must be text of 1 to {MAX_WORD} characters, none of them a control character. "
            f"{_NOTHING}"
        )


def _price(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return None
    try:
        price = float(value)
    except (ValueError, OverflowError):  # a signalling NaN; more than a float holds
        return None
    return price if math.isfinite(price) and price >= 0 else None


def takes(function: object, arguments: int) -> bool:
    """Whether so many arguments, by position, are what a function can be called with."""
    if not callable(function):
        return False
    try:
        signature = inspect.signature(function)
    except (
        TypeError,
        ValueError,
    ):  # built-in functions have none: they are found out when they are called
        return True
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        return False
    return True
