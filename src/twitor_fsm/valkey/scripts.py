"""Loads the Lua scripts: one file in `lua/` for each change of state, each one atomic.

The head comment of a script is its contract and is read here: the line `KEYS` names its keys, and they become its local
variables. `shared.lua` is put in front of each.
"""

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final

import attrs

__all__ = ["SCRIPTS", "Script", "load"]

SCRIPTS: Final = (
    "claim",
    "complete",
    "dead_purge",
    "dead_retry",
    "enqueue",
    "extend",
    "health",
    "pause",
    "peek",
    "postpone",
    "release",
    "retry",
)
"""Names of all scripts."""

_KEYS_LINE: Final = re.compile(r"^-- KEYS +(?P<names>[a-z_ ]+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^--.*\n|(?<=\S) +-- .*$", re.MULTILINE)


@attrs.frozen
class Script:
    """One script as the server gets it.

    Attributes:
        name: Of its file.
        keys: Names of its keys, see `keys.KEYS`.
        source: The whole text.
        sha: What EVALSHA calls it by.
    """

    name: str
    keys: tuple[str, ...]
    source: str
    sha: str


@cache
def load(name: str) -> Script:
    """A script by the name of its file."""
    head, _, body = _text(name).partition("\n")
    found = _KEYS_LINE.search(body)
    if not head.startswith("#!lua") or found is None:
        raise ValueError(f"{name}.lua has no `#!lua` line or no KEYS line")
    keys = tuple(found["names"].split())
    variables = ", ".join(keys)
    source = "\n".join(
        [head, f"local {variables} = unpack(KEYS)", _COMMENT.sub("", _text("shared")), body]
    )
    return Script(name, keys, source, hashlib.sha1(source.encode()).hexdigest())  # noqa: S324  Valkey's own naming


def _text(name: str) -> str:
    return files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")
