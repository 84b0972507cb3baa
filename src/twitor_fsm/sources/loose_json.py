"""JSON text of files, decoded without knowing its shape, and looked into without trusting it.

Must not know: what the text is about.
"""

import json
from typing import Any, Final, NoReturn

import msgspec

__all__ = ["Unreadable", "at", "count_at", "list_at", "read_any", "text_at"]

_any: Final = msgspec.json.Decoder()


class Unreadable(ValueError):
    """The text is no JSON that can be decoded."""


def read_any(text: bytes) -> Any:
    """Decode any JSON text; lone surrogates, which browsers write, are let through.

    Raises:
        Unreadable: It is none, is nested too deeply, or has a number of thousands of digits.
    """
    try:
        return _any.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(text.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Unreadable("it is no JSON text that can be read") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def at(value: Any, *path: str) -> Any:
    """What stands under these names, one inside the other; None if anything on the way is missing or no object."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text_at(value: Any, *path: str) -> str | None:
    """The text there; None if it is none, or empty."""
    found = at(value, *path)
    return found if isinstance(found, str) and found else None


def list_at(value: Any, *path: str) -> list[Any]:
    """The list there; empty if it is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def count_at(value: Any, *path: str) -> int:
    """1 if something is there that says anything, else 0."""
    return int(at(value, *path) not in (None, "", [], {}))
