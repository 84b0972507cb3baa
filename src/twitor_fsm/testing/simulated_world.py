"""What a simulation is made of: listings that change, processes that die, freeze and come back, chance that decides.

Everything random is drawn from one `random.Random`, in the order in which things happen.
Must not know: what is to hold.
"""

import random
from collections.abc import Callable
from typing import Any, Final

import attrs
import msgspec

from ..config import Settings
from ..core.states import JournalRow
from ..engine import CrawlEngine, CrawlHandle
from ..sources.base import End, InvalidRaw, Item, Page, Usage
from ..storage.base import Store
from .faults import Faults
from .mishaps import Mishap
from .simulated_time import LoopClock
from .sources import invalid_item, item_of
from .stores import FaultyStore

__all__ = ["Chance", "LivingListing", "Process", "told"]

_OF_ATTEMPTS: Final = {
    Mishap.NETWORK: 60,
    Mishap.RATE_LIMIT: 20,
    Mishap.AUTH: 8,
    Mishap.VALIDATION: 12,
    Mishap.DATABASE: 12,
    Mishap.FATAL: 8,
    Mishap.BUG: 4,
    Mishap.SLOW: 20,
    Mishap.CANCEL: 10,
    Mishap.DEATH: 10,
}
_OF_COMMITS: Final = {
    Mishap.BUSY: 40,
    Mishap.LOST_ANSWER: 40,
    Mishap.STORE_OUT: 8,
    Mishap.SLOW: 20,
    Mishap.CANCEL: 10,
    Mishap.DEATH: 15,
    Mishap.DEATH_AFTER: 15,
}
_OF_LOOKUPS: Final = {Mishap.BUSY: 30, Mishap.SLOW: 10, Mishap.DEATH: 5}
"""How often each mishap happens, per thousand attempts at the usual intensity of 1."""

FREEZES: Final = 3
"""How often a process stands still, per thousand attempts."""

_WEIGHTS: Final = {
    "page": _OF_ATTEMPTS,
    "item": _OF_ATTEMPTS,
    "commit": _OF_COMMITS,
    "lookup": _OF_LOOKUPS,
    "heartbeat": {Mishap.SLOW: 5},
}


class Chance(Faults):
    """Faults that are drawn as they happen instead of being planned."""

    def __init__(
        self, rng: random.Random, clock: LoopClock, intensity: float, tell: Callable[[str], None]
    ) -> None:
        """Draw from this generator; every mishap is told."""
        super().__init__(clock=clock)
        self.step = self._take_time
        self.on_freeze: Callable[[], None] = lambda: None
        self.frozen_until = 0.0
        """The process stands still until then, virtual seconds: its machine is suspended, its heartbeat too."""
        self._rng = rng
        self._time = clock
        self._intensity = intensity
        self._tell = tell

    def next_at(self, *places: str) -> Mishap:
        """Draw what the next attempt meets."""
        if not self.on:
            return Mishap.OK
        weights = _WEIGHTS[places[0].partition(" ")[0]]
        draw = self._rng.random() * 1000.0 / max(self._intensity, 1e-9)
        for mishap, weight in weights.items():
            draw -= weight
            if draw < 0:
                self._tell(f"{places[0]}: {mishap}")
                return mishap
        return Mishap.OK

    def spoils(self, place: str, what: Mishap) -> bool:
        """Nothing is spoilt but what the listing itself holds."""
        return False

    def _freeze(self) -> None:
        """The process stands still for longer than a lease, in the middle of what it does."""
        seconds = self._rng.uniform(50.0, 150.0)
        self._tell(f"a standstill of {seconds:.3f} s")
        self.frozen_until = self._time.monotonic() + seconds
        self.on_freeze()

    async def _take_time(self, place: str) -> None:
        """Every attempt takes some time, so that those of several sessions meet in every order."""
        await self._time.sleep(self._rng.choice((0.0, 0.001, 0.01, 0.1, 1.0)))
        if self.on and self._rng.random() * 1000.0 < FREEZES * self._intensity:
            self._freeze()
        while (left := self.frozen_until - self._time.monotonic()) > 0:
            late = self._rng.choice((0.0, 5.0)) if place.startswith("heartbeat") else 0.0
            await self._time.sleep(left + late)  # whoever wakes first finds out what happened


@attrs.define
class LivingListing:
    """A source whose listing changes while it is walked; a cursor names a place, as X's do.

    Attributes:
        name: The source's name.
        places: Place of each id; a higher one is newer.
        bad: Ids that cannot be decoded.
        above: For each cursor that was given out, the ids served on the way to it.
        drops_above: See `ListSource`.
        ever: Every id that was ever listed.
    """

    name: str
    places: dict[str, int]
    bad: set[str]
    size: int
    drops_above: int | None
    service: str = "x"
    endpoint: str = "bookmarks"
    page_sizes: tuple[int, ...] = (8, 4, 2)
    price_usd: float | None = 0.0
    above: dict[str | None, frozenset[str]] = attrs.field(factory=lambda: {None: frozenset()})
    ever: set[str] = attrs.field(init=False)
    closed_until: Callable[[], float | None] = lambda: None

    def __attrs_post_init__(self) -> None:
        self.ever = set(self.places)

    def bookmark(self, keys: list[str]) -> None:
        """Put ids on top, the first one topmost."""
        top = max(self.places.values(), default=0)
        for number, key in enumerate(reversed(keys), start=1):
            self.places[key] = top + number
        self.ever |= set(keys)

    def remove(self, key: str) -> None:
        """The user takes a bookmark away."""
        del self.places[key]

    @property
    def keys(self) -> list[str]:
        """The listing now, newest first."""
        return sorted(self.places, key=lambda key: -self.places[key])

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """The page below this place."""
        size = page_size or self.size
        below = [key for key in self.keys if cursor is None or self.places[key] < int(cursor)]
        keys = below[:size]
        served = len(self.places) - len(below) + size
        dropped = self.drops_above is not None and size > self.drops_above and served >= 2 * size
        following = str(self.places[keys[-1]]) if len(below) > size and not dropped else None
        if following is not None:
            self.above[following] = self.above.get(cursor, frozenset()) | frozenset(keys)
        return Page(
            items=tuple(self._element(key) for key in keys),
            next_cursor=following,
            end=End.MORE if following is not None else End.UNVERIFIED,
            usage=Usage(requests=1, items=len(keys), closed_until=self.closed_until()),
        )

    def _element(self, key: str) -> Item | InvalidRaw:
        return invalid_item(key) if key in self.bad else item_of(key)

    def decode(self, raw: str) -> Item | InvalidRaw:
        """The element as it would be listed now."""
        return self._element(str(msgspec.json.decode(raw)["id"]))

    async def aclose(self) -> None:
        """Nothing is held."""


class Process:
    """One process of a simulation: an engine over the shared store, and its own luck."""

    def __init__(
        self,
        number: int,
        store: Store,
        chance: Chance,
        *,
        settings: Settings,
        clock: LoopClock,
        rng: random.Random,
    ) -> None:
        """Start it."""
        self.number: Final = number
        self.chance: Final = chance
        self.store: Final = FaultyStore(store, chance)
        self.engine: Final = CrawlEngine(self.store, settings=settings, clock=clock, rng=rng)
        self.handles: dict[str, CrawlHandle] = {}
        """Sessions that run here, by the name of their crawl."""

    def __str__(self) -> str:
        return f"process {self.number}"


def told(row: JournalRow) -> str:
    """A journal row in a few words."""
    parts = [f"{row.trigger}: {row.source} -> {row.target}"]
    if row.category is not None:
        parts.append(str(row.category))
    if row.reason is not None:
        parts.append(str(row.reason))
    if row.delay_s:
        parts.append(f"wait {row.delay_s:.3f} s")
    if row.tries:
        parts.append(f"try {row.tries}")
    if row.absorbed:
        parts.append("absorbed")
    return ", ".join(parts)


def summary(counts: Any) -> str:
    """Counters in a few words."""
    return (
        f"{counts.seen} seen = {counts.stored} stored + {counts.already_known} known "
        f"+ {counts.skipped} skipped"
    )
