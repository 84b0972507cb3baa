"""What can go wrong in a test, where, and in which order: a plan that reads as a sentence and prints as itself.

    item 1: NETWORK, RATE_LIMIT; commit 2: LOST_ANSWER

Must not know: engines, sources, stores; how a plan is drawn is `strategies`, who meets it is `faults`.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ..errors import (
    AuthenticationFailed,
    InvalidItem,
    RateLimited,
    SourceUnavailable,
)

__all__ = ["CATEGORIES", "COMMIT_MISHAPS", "ERRORS", "Mishap", "Plan"]


class Mishap(StrEnum):
    """One thing that goes wrong (or does not) with one attempt."""

    OK = "OK"
    NETWORK = "NETWORK"
    RATE_LIMIT = "RATE_LIMIT"
    AUTH = "AUTH"
    VALIDATION = "VALIDATION"
    DATABASE = "DATABASE"
    FATAL = "FATAL"
    BUG = "BUG"
    """An exception that nobody knows."""
    SLOW = "SLOW"
    """It takes a minute, and succeeds."""
    CANCEL = "CANCEL"
    """Somebody cancels the session meanwhile; the attempt itself succeeds."""
    DEATH = "DEATH"
    """The process dies there, before anything came of the attempt."""
    DEATH_AFTER = "DEATH_AFTER"
    """A commit takes place, and the process dies before it hears of it."""
    BUSY = "BUSY"
    """The database gives no answer and wrote nothing; asking again may help."""
    LOST_ANSWER = "LOST_ANSWER"
    """A commit takes place and its answer is lost."""
    STORE_OUT = "STORE_OUT"
    """The database is gone until the next session: nothing was written, and asking again does not help."""


CATEGORIES: Final = (
    Mishap.NETWORK,
    Mishap.RATE_LIMIT,
    Mishap.AUTH,
    Mishap.VALIDATION,
    Mishap.DATABASE,
    Mishap.FATAL,
)
"""The six categories of the design document."""

COMMIT_MISHAPS: Final = (
    Mishap.BUSY,
    Mishap.LOST_ANSWER,
    Mishap.STORE_OUT,
    Mishap.SLOW,
    Mishap.CANCEL,
    Mishap.DEATH,
    Mishap.DEATH_AFTER,
)

ERRORS: Final[Mapping[Mishap, Callable[[], BaseException]]] = MappingProxyType(
    {
        Mishap.NETWORK: lambda: SourceUnavailable("no answer"),
        Mishap.RATE_LIMIT: RateLimited,
        Mishap.AUTH: lambda: AuthenticationFailed("the token was refused"),
        Mishap.VALIDATION: lambda: InvalidItem("it has no text"),
        Mishap.DATABASE: lambda: sqlite3.IntegrityError("UNIQUE constraint failed"),
        Mishap.FATAL: lambda: MemoryError("no memory left"),
        Mishap.BUG: lambda: KeyError("nobody knows this one"),
    }
)
"""What a fetch or a handler raises; each is classified as the category of its name (BUG: as FATAL)."""

_NUMBERED: Final = ("page", "item", "commit", "lookup")
_RUNNING: Final = ("fetches", "handles")
_PLACE: Final = re.compile(rf"({'|'.join(_NUMBERED)}) [1-9][0-9]*|{'|'.join(_RUNNING)}")


class Plan:
    """What goes wrong in a crawl: places, each with what its attempts meet, one after another; then all goes well.

    Places, counted from 1:

    - `item N`: the N-th item of the listing. With a handler, its attempts; without one, VALIDATION makes it an item that
      cannot be decoded, and DATABASE one that the database refuses.
    - `page N`: requests for the N-th page that is ever asked for.
    - `commit N`, `lookup N`: the N-th attempt at a transaction, or at a read, by the session.
    - `fetches`, `handles`: all requests, or all calls of the handler, whatever they are about.
    """

    def __init__(self, text: str = "") -> None:
        """Read a plan as it prints: `Plan("item 1: NETWORK, RATE_LIMIT; commit 2: LOST_ANSWER")`.

        Raises:
            ValueError: No such place or mishap; names it.
        """
        self._meets: dict[str, tuple[Mishap, ...]] = {}
        for part in filter(None, (part.strip() for part in text.split(";"))):
            place, _, mishaps = part.partition(":")
            self._put(place.strip(), (word.strip() for word in mishaps.split(",")))

    @classmethod
    def of(cls, meets: Mapping[str, Iterable[Mishap]]) -> "Plan":
        """A plan from values: `Plan.of({"item 1": [Mishap.NETWORK]})`. Raises as the constructor."""
        plan = cls()
        for place in sorted(meets, key=_order):
            plan._put(place, meets[place])
        return plan

    def _put(self, place: str, mishaps: Iterable[str]) -> None:
        if _PLACE.fullmatch(place) is None:
            raise ValueError(
                f"{place!r} is no place of a plan; write e.g. 'item 1', 'page 2', 'commit 3' or 'fetches'"
            )
        try:
            met = tuple(Mishap(word) for word in mishaps)
        except ValueError as exc:
            known = ", ".join(Mishap)
            raise ValueError(f"{exc} (at {place}); known are {known}") from None
        if met:
            self._meets[place] = met

    @property
    def meets(self) -> Mapping[str, tuple[Mishap, ...]]:
        """What the attempts at each place meet."""
        return MappingProxyType(self._meets)

    def __len__(self) -> int:
        """Number of mishaps, OK not counted."""
        return sum(m is not Mishap.OK for met in self._meets.values() for m in met)

    def __eq__(self, other: object) -> bool:
        return self._meets == other._meets if isinstance(other, Plan) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return "; ".join(f"{place}: {', '.join(met)}" for place, met in self._meets.items())

    def __repr__(self) -> str:
        return f"Plan({str(self)!r})"


def _order(place: str) -> tuple[str, int]:
    word, _, number = place.partition(" ")
    return word, int(number) if number.isdigit() else 0
