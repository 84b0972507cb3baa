"""A state machine of Hypothesis that drives a real session one attempt at a time, to subclass with parts of one's own.

    class CrawlsMine(CrawlMachine):
        def make_source(self) -> Source:
            return MySource()

    TestMine = CrawlsMine.TestCase

Must not know: what must hold (`Trial` does).
"""

import asyncio
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ..config import Settings
from ..engine import CrawlEngine
from ..errors import StoreError
from ..sources.base import Source
from ..storage.base import Store
from .clock import QUIET_TURNS
from .mishaps import CATEGORIES, Mishap
from .parts import require_store
from .stores import MemoryStore
from .trial import Handler, Trial

__all__ = ["CrawlMachine"]

_STORE_MISHAPS: Final = (Mishap.BUSY, Mishap.LOST_ANSWER, Mishap.STORE_OUT)
_ATTEMPTS: Final = (*CATEGORIES, Mishap.SLOW)


class _Gate:
    """Lets attempts through one by one: each waits for a permit."""

    def __init__(self) -> None:
        self.permits = 0
        self.is_open = False
        self.waiting = 0
        self._more = asyncio.Event()

    async def pass_(self, place: str) -> None:
        """Wait for a permit, and use it; a sign of life needs none."""
        if place.startswith("heartbeat"):
            return
        self.waiting += 1
        while not self.is_open and self.permits == 0:
            self._more.clear()
            await self._more.wait()
        self.waiting -= 1
        self.permits = max(0, self.permits - 1)

    def let(self, count: int) -> None:
        """Give so many permits."""
        self.permits += count
        self._more.set()

    def open(self) -> None:
        """No permits are needed any more."""
        self.is_open = True
        self._more.set()


class CrawlMachine(RuleBasedStateMachine):
    """One crawl, driven step by step: what fails next, how far it comes, when time passes, when it is cancelled or dies.

    After every rule all that must hold is checked; at the end faults are taken away, and the crawl must become complete
    without a loss. Override `make_source`, and what else is yours.
    """

    settings_of_crawl = Settings(checkpoint_every=3)
    """How the engine is set; every item is handled between checkpoints of three."""

    def make_source(self) -> Source:
        """The source to crawl; it must say the same every time. To be overridden."""
        raise NotImplementedError("say what to crawl: override make_source(self)")

    def make_store(self) -> Store:
        """The store, not yet open; real, and empty."""
        return MemoryStore()

    def make_handler(self) -> Handler | None:
        """The app's handler, if it has one."""
        return None

    # -- life -------------------------------------------------------------------------------------

    def __init__(self) -> None:
        """Set up a loop, a database and a clock; nothing runs yet."""
        super().__init__()
        self._runner = asyncio.Runner()
        self._engine: CrawlEngine | None = None
        self._trial: Trial | None = None

    @property
    def trial(self) -> Trial:
        """What runs, and what is checked."""
        if self._trial is None:
            raise AssertionError("set up by the first rule")
        return self._trial

    @initialize()
    def set_up(self) -> None:
        """Open the database, learn the truth."""
        self._runner.run(self._set_up())

    async def _set_up(self) -> None:
        store = self.make_store()
        require_store(store, "make_store of the machine")
        trial = Trial(
            self.make_source(),
            handler=self.make_handler(),
            store=store,
            settings=self.settings_of_crawl,
        )
        await trial.__aenter__()
        await store.open()  # last: what fails before leaves nothing open
        trial.clock.hold()
        self._gate = _Gate()
        self._trial = trial

    def teardown(self) -> None:
        """Nothing goes wrong any more: the crawl becomes complete. Then everything is closed."""
        try:
            if self._trial is not None:
                self._runner.run(self._complete())
        finally:
            self._runner.close()

    async def _complete(self) -> None:
        trial = self.trial
        trial.clock.release()
        trial.faults.on = False
        try:
            await self._leave()
            trial.faults.step = None
            await trial.finish(runs=3)
        finally:
            await trial.store.close()

    async def _leave(self) -> None:
        """Let the session that runs come to its end."""
        self._gate.open()
        if self.trial.handle is not None:
            report = await self.trial.end()
            await self.trial.check(report)
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.close()

    # -- rules ------------------------------------------------------------------------------------

    @property
    def _runs(self) -> bool:
        return self._trial is not None and self._trial.handle is not None

    @rule()
    @precondition(lambda self: not self._runs)
    def start(self) -> None:
        """Start the crawl, or go on with it, in a new process."""
        self._runner.run(self._start())

    async def _start(self) -> None:
        await self._leave()
        self._gate = _Gate()
        self._engine = self.trial.engine()
        self.trial.faults.step = self._gate.pass_
        await self._engine.open()
        self._gate.let(1)  # a session that died in its end is buried by a commit of the start
        try:
            await self.trial.start(self._engine)
        except StoreError:
            await self._leave()
        else:
            await self._settled()

    @rule(count=st.integers(1, 6))
    @precondition(lambda self: self._runs)
    def work(self, count: int) -> None:
        """Let the next attempts happen: requests, calls of the handler, transactions, reads."""
        self._runner.run(self._work(count))

    async def _work(self, count: int) -> None:
        self._gate.let(count)
        await self._settled()

    @rule(what=st.sampled_from(_ATTEMPTS), times=st.integers(1, 6))
    def next_request_fails(self, what: Mishap, times: int) -> None:
        """The next requests meet this."""
        self.trial.faults.add("fetches", [what] * times)

    @rule(what=st.sampled_from(_ATTEMPTS), times=st.integers(1, 6))
    @precondition(lambda self: self.make_handler() is not None)
    def next_item_fails(self, what: Mishap, times: int) -> None:
        """The next calls of the handler meet this."""
        self.trial.faults.add("handles", [what] * times)

    @rule(what=st.sampled_from(_STORE_MISHAPS))
    def next_commit_fails(self, what: Mishap) -> None:
        """The next transaction meets this."""
        self.trial.faults.add_next("commit", what)

    @rule(seconds=st.sampled_from([1.0, 20.0, 900.0]))
    def time_passes(self, seconds: float) -> None:
        """Who waits for it wakes."""
        self._runner.run(self._pass(seconds))

    async def _pass(self, seconds: float) -> None:
        self.trial.clock.advance(seconds)
        await self._settled()

    @rule()
    @precondition(lambda self: self._runs)
    def cancel(self) -> None:
        """The user cancels; what is under way ends as it should."""
        self._runner.run(self._cancel())

    async def _cancel(self) -> None:
        self.trial.cancel()
        await self._settled()

    @rule()
    @precondition(lambda self: self._runs)
    def die(self) -> None:
        """The process dies; whatever it still attempts comes to nothing."""
        self._runner.run(self._die())

    async def _die(self) -> None:
        self.trial.faults.die()
        self.trial.cancel()  # ends its waits: a dead process does not wait either
        self.trial.clock.release()
        await self._leave()
        self.trial.clock.hold()

    async def _settled(self) -> None:
        """Wait until the session can go no further by itself: it waits for a permit or for time, or has ended."""
        trial, quiet = self.trial, 0
        while trial.handle is not None and quiet < QUIET_TURNS:
            if trial.ended is not None and trial.ended.done():
                await trial.check(await trial.end())
                return
            waits = self._gate.waiting or trial.clock.sleepers
            stands = (
                waits
                and not trial.clock.is_busy
                and not (self._gate.waiting and self._gate.permits)
            )
            quiet = quiet + 1 if stands else 0
            await asyncio.sleep(0)

    @invariant()
    def all_that_must_hold_holds(self) -> None:
        """Rows, journals and transactions are as they should be, in the middle of everything."""
        if self._trial is not None:
            self._runner.run(self.trial.check())
