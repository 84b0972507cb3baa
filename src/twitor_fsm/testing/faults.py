"""Lets a plan happen: hands each attempt what it meets, and knows whether the process still lives.

Must not know: what is attempted. `FaultySource`, `FaultyStore` and a faulty handler ask here first.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from ..clock import Clock
from ..errors import LeaseLost
from ..sources.base import Item
from .mishaps import ERRORS, Mishap, Plan

__all__ = ["SLOW_S", "Faults", "faulty_handler"]

SLOW_S: Final = 60.0
"""How long a SLOW attempt takes, virtual seconds: twice a lease, a quarter of nothing in real time."""


class Faults:
    """One plan as it happens, over as many sessions as it takes.

    A process that died does nothing any more: everything it still attempts raises `LeaseLost` and comes to nothing.

    Attributes:
        met: Every mishap that was met, as `item 1: NETWORK`, in order.
        on: Whether anything goes wrong; set it to False and all attempts succeed.
        on_cancel: Called by a CANCEL.
        on_attempt: Called with the place of every attempt that a living process begins.
        step: Called then; may wait (so that a test can let a session take one step at a time).
    """

    def __init__(self, plan: Plan | None = None, clock: Clock | None = None) -> None:
        """Begin a plan (None: nothing goes wrong). The clock is for SLOW; None gives way once instead."""
        plan = plan if plan is not None else Plan()
        self.met: list[str] = []
        self.on = True
        self.on_cancel: Callable[[], None] = lambda: None
        self.on_attempt: Callable[[str], None] = lambda _: None
        self.step: Callable[[str], Awaitable[None]] | None = None
        self._left = {place: deque(met) for place, met in plan.meets.items()}
        self._numbers: Counter[str] = Counter()
        self._pages: dict[str | None, int] = {}
        self._clock = clock
        self._dead = False
        self._store_out = False

    # -- the process ------------------------------------------------------------------------------

    @property
    def is_dead(self) -> bool:
        """Whether the process has died and no other has taken its place yet."""
        return self._dead

    def die(self) -> None:
        """The process dies now."""
        self._dead = True

    def revive(self) -> None:
        """A new process takes its place, and a store that was out is back."""
        self._dead = self._store_out = False

    @property
    def store_is_out(self) -> bool:
        """Whether the store gives no answer until `revive`."""
        return self._store_out

    def check_alive(self) -> None:
        """Raises `LeaseLost` when the process is dead: nothing may come of what it still attempts."""
        if self._dead:
            raise LeaseLost("(its process is dead)")

    # -- attempts ---------------------------------------------------------------------------------

    def number(self, word: str) -> str:
        """The place of the next attempt of a kind that is counted: `commit 1`, `commit 2`, ..."""
        self._numbers[word] += 1
        return f"{word} {self._numbers[word]}"

    def page(self, cursor: str | None) -> str:
        """The place of a page: pages are numbered as they are asked for first."""
        return f"page {self._pages.setdefault(cursor, len(self._pages) + 1)}"

    def add(self, place: str, mishaps: Iterable[Mishap]) -> None:
        """From now on the attempts at this place meet these too, after what they were to meet already."""
        self._left.setdefault(place, deque()).extend(mishaps)

    def add_next(self, word: str, mishap: Mishap) -> None:
        """The next attempt of a kind that is counted (`commit`, `lookup`) meets this."""
        self.add(f"{word} {self._numbers[word] + 1}", [mishap])

    def next_at(self, *places: str) -> Mishap:
        """What the next attempt at one of these places meets; of two places that have something the first counts."""
        if not self.on:
            return Mishap.OK
        for place in places:
            left = self._left.get(place)
            if left:
                mishap = left.popleft()
                if mishap is not Mishap.OK:
                    self.met.append(f"{place}: {mishap}")
                    return mishap
        return Mishap.OK

    def spoils(self, place: str, what: Mishap) -> bool:
        """Whether the next thing the plan says of this place is that; if so, it has happened now."""
        left = self._left.get(place)
        if not (self.on and left and left[0] is what):
            return False
        left.popleft()
        self.met.append(f"{place}: {what}")
        return True

    async def attempt(self, *places: str) -> Mishap:
        """Begin an attempt: waits, cancels, dies or raises as the plan says.

        Returns:
            What it met, for mishaps that only the caller can bring about.

        Raises:
            LeaseLost: The process is dead.
            BaseException: An error of one of the six categories; see `ERRORS`.
        """
        self.check_alive()
        self.on_attempt(places[0])
        if self.step is not None:
            await self.step(places[0])
            self.check_alive()
        mishap = self.next_at(*places)
        match mishap:
            case Mishap.SLOW:
                await self._be_slow()
            case Mishap.CANCEL:
                self.on_cancel()
            case Mishap.DEATH:
                self.die()
            case Mishap.STORE_OUT:
                self._store_out = True
            case _ if mishap in ERRORS:
                error = ERRORS[mishap]()
                raise error
        self.check_alive()
        return mishap

    async def _be_slow(self) -> None:
        if self._clock is None:
            await asyncio.sleep(0)
        else:
            await self._clock.sleep(SLOW_S)


def faulty_handler(
    handler: Callable[[Item, int], Awaitable[Any]], faults: Faults, number_of: Callable[[str], int]
) -> Callable[[Item, int], Awaitable[Any]]:
    """A handler whose attempts meet what the plan says of `item N` and `handles`.

    Args:
        handler: The app's own.
        faults: The plan as it happens.
        number_of: Number of an item in the listing, from 1, by its key; 0 if it is not there.
    """

    async def handle(item: Item, fence: int) -> Any:
        await faults.attempt(f"item {number_of(item.key)}", "handles")
        return await handler(item, fence)

    return handle
