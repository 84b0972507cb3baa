"""A whole deployment simulated from one seed: processes, sessions, timers, faults of source and store, deaths, cancels.

    print(trace(42))

The same seed gives the same trace, byte for byte: one thread, one loop without real time, one source of chance. First
everything may go wrong; then nothing does any more, and every crawl has to become complete within bounded virtual time.
"""

import asyncio
import random
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

import attrs

from ..config import Settings
from ..core.records import Claim, CrawlKey
from ..errors import CrawlOwned, StoreError
from ..report import CrawlReport
from ..sources.base import Item
from ..storage.base import Batch
from .faults import faulty_handler
from .invariants import Durable, of_transaction
from .listings import Listing
from .rows import missing_of, of_items, of_session
from .simulated_time import LoopClock, SimulatedLoop
from .simulated_world import Chance, LivingListing, Process, summary, told
from .sources import FaultySource
from .stores import MemoryStore

__all__ = ["Simulation", "SimulationFailed", "simulate", "trace"]

CALM_S: Final = 4 * 3600.0
"""Virtual seconds within which every crawl must be complete once nothing goes wrong any more: a pause of at most
960 s may be under way, then the lease of a process that is frozen has to end; the rest is walking."""

_SHOWN: Final = 30

RUNS: Final = 6
"""Sessions that completion may take then: one that was left in its end, one that was resumed, one from the top."""


class SimulationFailed(AssertionError):
    """Something did not hold; the message names the seed, what is wrong, and ends with the trace's last lines.

    Attributes:
        seed: The seed.
        wrong: What is wrong.
        lines: The trace up to there.
    """

    def __init__(self, seed: int, wrong: str, lines: list[str]) -> None:
        """Say so."""
        self.seed, self.wrong, self.lines = seed, wrong, lines
        last = "\n".join(lines[-_SHOWN:])
        super().__init__(f"seed {seed}: {wrong}\n{last}")


@attrs.define
class _Crawl:
    """One user's crawl: what is to come, what has come, and who knows."""

    listing: LivingListing
    user: str
    has_handler: bool
    durable: Durable = attrs.field(factory=Durable)
    handled: dict[int, set[str]] = attrs.field(factory=dict)
    """What went through the handler in the session that a process runs, by the process's number."""

    @property
    def key(self) -> CrawlKey:
        return CrawlKey(self.user, self.listing.name)


class Simulation:
    """One seed's story.

    Attributes:
        lines: The trace so far.
        problems: What was found wrong.
    """

    def __init__(self, seed: int, loop: SimulatedLoop) -> None:
        """Draw the world of this seed."""
        self.lines: list[str] = []
        self.problems: list[str] = []
        self._loop = loop
        self._rng = rng = random.Random(seed)
        self._store = MemoryStore()
        self._settings = Settings(
            checkpoint_every=rng.choice((1, 3, 10)),
            prefetch=rng.choice((0, 1)),
            max_retries=rng.choice((0, 2, 5)),
            max_skips_in_a_row=rng.choice((4, 50)),
            page_size=rng.choice((4, 8)),
        )
        self._intensity = rng.choice((0.5, 1.0, 3.0, 6.0))
        self._storm_s = rng.uniform(300.0, 1500.0)
        self._crawls = [self._new_crawl(name) for name in ("anna", "ben")[: rng.choice((1, 1, 2))]]
        self._processes: list[Process] = []
        self._started = 0
        self._fresh_ids = 0
        self._is_calm = False
        self._wrong = asyncio.Event()
        self._crowd: list[asyncio.Task[Any]] = []

    def _new_crawl(self, user: str) -> _Crawl:
        rng = self._rng
        keys = [f"{user[0]}{n}" for n in range(rng.choice((0, 1, 5, 12, 25)))]
        listing = LivingListing(
            name="x",
            places={key: len(keys) - n for n, key in enumerate(keys)},
            bad={key for key in keys if rng.random() < 0.08},
            size=8,
            drops_above=rng.choice((None, 2, 4)),
        )
        return _Crawl(listing, user, has_handler=rng.random() < 0.5)

    def tell(self, who: object, what: str) -> None:
        """Add a line to the trace."""
        self.lines.append(f"{self._loop.time():11.3f}  {who!s:<10}  {what}")

    # -- the story --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Storm, then calm, then the reckoning.

        Raises:
            AssertionError: With the first thing that did not hold.
        """
        story = asyncio.create_task(self._story(), name="story")
        wrong = asyncio.create_task(self._wrong.wait(), name="wrong")
        await asyncio.wait({story, wrong}, return_when=asyncio.FIRST_COMPLETED)
        wrong.cancel()
        if not story.cancel():
            await story
        if self.problems:
            raise AssertionError("; ".join(dict.fromkeys(self.problems)))

    async def _story(self) -> None:
        self.tell("world", self._described())
        await self._store.open()
        for _ in range(self._rng.choice((1, 2))):
            await self._start_process()
        users = [
            asyncio.create_task(self._use(crawl), name=f"user {crawl.user}")
            for crawl in self._crawls
            for _ in range(self._rng.choice((1, 1, 2)))
        ]
        chaos = asyncio.create_task(self._chaos(), name="chaos")
        await self._within(self._storm_s + CALM_S, asyncio.gather(chaos, *users))
        await self._within(CALM_S, asyncio.gather(*self._crowd))
        for process in list(self._processes):
            await process.engine.close()
        await self._finish()
        await self._store.close()
        self._settle()

    def _described(self) -> str:
        s = self._settings
        crawls = ", ".join(
            f"{c.user} with {len(c.listing.places)} bookmarks{' and a handler' if c.has_handler else ''}"
            for c in self._crawls
        )
        return (
            f"{crawls}; a checkpoint every {s.checkpoint_every}, prefetch {s.prefetch}, {s.max_retries} retries, "
            f"intensity {self._intensity}"
        )

    async def _within(self, seconds: float, work: Awaitable[Any]) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work  # awaited itself: a gathering that `wait_for` cancels leaves an error that nobody reads
        except TimeoutError:
            raise AssertionError(f"not over after {seconds:.0f} virtual seconds") from None

    async def _start_process(self) -> Process:
        self._started += 1
        name = f"process {self._started}"
        clock = LoopClock(self._loop, skew_s=self._rng.choice((0.0, 0.0, -2.0, 5.0)))
        chance = Chance(
            self._rng, clock, self._intensity, lambda mishap: self.tell(name, f"meets {mishap}")
        )
        chance.on = not self._is_calm
        process = Process(
            self._started,
            self._store,
            chance,
            settings=self._settings,
            clock=clock,
            rng=random.Random(self._started),
        )
        process.store.on_commit = lambda batch: self._look_at(process, batch)
        process.store.on_claim = self._note_claim
        chance.on_cancel = lambda: self._cancel_one(process)
        chance.on_freeze = lambda: self._send_rescue(process)
        await process.engine.open()
        self._processes.append(process)
        self.tell(process, "starts")
        return process

    async def _living(self) -> Process:
        """Any process that lives; a new one in the place of one that has died."""
        for process in [p for p in self._processes if p.chance.is_dead]:
            self._processes.remove(process)
            self.tell(process, "is found dead")
            await self._start_process()
        process = self._rng.choice(self._processes)
        if process.chance.store_is_out and not process.handles:
            process.chance.revive()
        return process

    async def _use(self, crawl: _Crawl) -> None:
        """A user's habit: crawl, wait a while, crawl again."""
        while not self._is_calm:
            process = await self._living()
            report = await self._crawl_once(process, crawl, wait=self._rng.random() < 0.8)
            is_done = report is not None and report.completed
            longest = 600.0 if is_done else 60.0
            await LoopClock(self._loop).sleep(self._rng.uniform(longest / 6.0, longest))

    async def _crawl_once(
        self, process: Process, crawl: _Crawl, *, wait: bool = True
    ) -> CrawlReport | None:
        """One session on one process, or none if there is none to be had."""
        options: dict[str, Any] = {"wait": wait}
        if crawl.has_handler:
            work = _Handler(crawl.handled.setdefault(process.number, set()))
            options["handler"] = faulty_handler(work.handle, process.chance, lambda _: 1)
        if self._rng.random() < 0.1 and not self._is_calm:
            options["max_items"] = self._rng.randint(1, 8)
        source = FaultySource(crawl.listing, process.chance)
        try:
            handle = await process.engine.start(source, user_id=crawl.user, **options)
        except CrawlOwned:
            self.tell(crawl.user, f"{process} is refused: another has the crawl")
            return None
        except StoreError as exc:
            self.tell(crawl.user, f"{process} cannot start: {type(exc).__name__}")
            return None
        fence = (await self._store.session(handle.session_id)).fence
        crawl.handled.get(process.number, set()).clear()
        process.handles[crawl.user] = handle
        report = await handle.wait()
        process.handles.pop(crawl.user, None)
        state = "lost" if report.lost else report.state
        self.tell(crawl.user, f"{process} ends: {state}, {summary(report.counters)}")
        if not process.chance.is_dead:
            await self._compare(process, crawl, report, fence)
        return report

    async def _compare(
        self, process: Process, crawl: _Crawl, report: CrawlReport, fence: int
    ) -> None:
        """What a living process says of its session's end has to be what the rows say."""
        record = await self._store.session(report.session_id)
        if report.lost and record.fence == fence:
            self._wrong_is(
                crawl.user, f"{process} counts session {record.ordinal} as lost; nobody has it"
            )
        if not report.lost and report.durable and str(record.value.state) != report.state:
            self._wrong_is(
                crawl.user, f"{process} says {report.state}, the row says {record.value.state}"
            )

    def _wrong_is(self, who: str, problem: str) -> None:
        self.tell(who, f"WRONG: {problem}")
        self.problems.append(f"{who}: {problem}")
        self._wrong.set()

    # -- chance -----------------------------------------------------------------------------------

    async def _chaos(self) -> None:
        """What happens to the world from outside, until it calms down."""
        while self._loop.time() < self._storm_s:
            await LoopClock(self._loop).sleep(self._rng.uniform(10.0, 300.0))
            await self._happen()
        self._is_calm = True
        for process in self._processes:
            process.chance.on = False
            process.chance.frozen_until = 0.0
        self.tell("world", "nothing goes wrong any more")

    async def _happen(self) -> None:
        rng, crawl = self._rng, self._rng.choice(self._crawls)
        process = rng.choice(self._processes)
        match rng.randrange(8):
            case 0:
                self.tell(process, "dies")
                process.chance.die()
            case 1 | 2:
                self._cancel_one(process)
            case 3:
                await self._cancel_from_afar(crawl)
            case 4:
                await self._retry_skipped(crawl)
            case 5 if crawl.listing.places:
                key = rng.choice(crawl.listing.keys)
                crawl.listing.remove(key)
                self.tell(crawl.user, f"takes {key} away")
            case _:
                keys = [self._fresh_id(crawl) for _ in range(rng.choice((1, 2, 9)))]
                crawl.listing.bookmark(keys)
                self.tell(crawl.user, f"bookmarks {', '.join(keys)}")

    def _send_rescue(self, process: Process) -> None:
        """A process stands still; when its lease is over, somebody else crawls in its place."""
        for crawl in self._crawls:
            if crawl.user in process.handles:
                self._crowd.append(asyncio.create_task(self._rescue(crawl), name="rescue"))

    async def _rescue(self, crawl: _Crawl) -> None:
        clock = LoopClock(self._loop)
        await clock.sleep(self._settings.lease_s)
        process = await self._start_process()
        for _ in range(4):
            if await self._crawl_once(process, crawl) is not None:
                return
            await clock.sleep(5.0)

    def _fresh_id(self, crawl: _Crawl) -> str:
        self._fresh_ids += 1
        return f"{crawl.user[0]}new{self._fresh_ids}"

    def _cancel_one(self, process: Process) -> None:
        for name in sorted(process.handles)[:1]:
            self.tell(name, f"{process} is asked to cancel")
            process.handles[name].cancel()

    async def _cancel_from_afar(self, crawl: _Crawl) -> None:
        """Another process asks: by a wish in the session's row."""
        found = await self._store.sessions(user_id=crawl.user, limit=1)
        for session in found:
            if session.ended_at is None:
                self.tell(crawl.user, "a cancel is wished from afar")
                await self._store.wish_cancel(session.session_id, "wished")

    async def _retry_skipped(self, crawl: _Crawl) -> None:
        crawl.listing.bad = {key for key in sorted(crawl.listing.bad) if self._rng.random() < 0.5}
        count = await self._store.retry_skipped(user_id=crawl.user)
        self.tell(crawl.user, f"{count} skipped items are to be tried again")

    # -- what must hold ---------------------------------------------------------------------------

    def _note_claim(self, claim: Claim) -> None:
        """A process has a session now, and whoever had it before has not."""
        session = claim.session
        self._crawl_of(session.crawl).durable.raise_fence(session.session_id, session.fence)

    def _crawl_of(self, key: CrawlKey) -> _Crawl:
        (found,) = [crawl for crawl in self._crawls if crawl.key == key]
        return found

    def _look_at(self, process: Process, batch: Batch) -> None:
        """A transaction was written."""
        crawl = self._crawl_of(batch.crawl)
        listing = Listing((), crawl.listing.above)
        handled = crawl.handled.get(process.number, set())
        found = list(of_transaction(batch, crawl.durable, listing, handled))
        crawl.durable.apply(batch)
        written = [f"{len(batch.new)} stored"] if batch.new else []
        written += [f"{len(batch.skips)} skipped"] if batch.skips else []
        steps = [told(row) for row in batch.journal]
        what = "; ".join([*steps, *written]) or "nothing new"
        self.tell(crawl.user, f"{process} session {batch.ordinal} commits: {what}")
        for problem in found:
            self._wrong_is(crawl.user, problem)

    async def _finish(self) -> None:
        """Nothing goes wrong any more: every crawl must become complete, and every session end."""
        begin = self._loop.time()
        process = await self._start_process()
        for crawl in self._crawls:
            for _ in range(RUNS):
                report = await self._crawl_once(process, crawl)
                if report is not None and report.completed:
                    break
                await LoopClock(self._loop).sleep(self._settings.lease_s)
            else:
                self.problems.append(f"{crawl.user}'s crawl is not complete after {RUNS} runs")
            self.problems += await self._reckon(crawl)
        if self._loop.time() - begin > CALM_S:
            self.problems.append(f"completion took {self._loop.time() - begin:.0f} s")
        await process.engine.close()

    async def _reckon(self, crawl: _Crawl) -> list[str]:
        """What is wrong with the rows of a crawl that is complete."""
        listing = Listing((), crawl.listing.above)
        problems = await missing_of(self._store, crawl.key, crawl.listing.keys)
        problems += await of_items(self._store, crawl.key, crawl.durable, listing)
        if unknown := sorted(crawl.durable.stored - crawl.listing.ever):
            problems.append(f"{unknown} were never listed")
        for session in await self._store.sessions(user_id=crawl.user, limit=10_000):
            problems += await of_session(self._store, session.session_id)
            if session.ended_at is None:
                problems.append(f"session {session.ordinal} is {session.value.state} for ever")
        return [f"{crawl.user}: {problem}" for problem in problems]

    def _settle(self) -> None:
        ours = {"wrong", "story", "simulation"}
        left = sorted(name for t in asyncio.all_tasks() if (name := t.get_name()) not in ours)
        if left:
            self.problems.append(f"tasks were left running: {left}")
        self.tell("world", "ends")


@attrs.frozen
class _Handler:
    """An app's handler that always succeeds, and notes what it was given."""

    handled: set[str]

    async def handle(self, item: Item, fence: int) -> dict[str, int]:
        self.handled.add(item.key)
        return {"fence": fence}


async def _named(story: Coroutine[Any, Any, None]) -> None:
    if (task := asyncio.current_task()) is not None:
        task.set_name("simulation")
    await story


def simulate(seed: int) -> Simulation:
    """Run one seed's story to its end.

    Raises:
        SimulationFailed: Something did not hold.
    """
    loop = SimulatedLoop()
    simulation = Simulation(seed, loop)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_named(simulation.run()))
    except AssertionError as exc:
        raise SimulationFailed(seed, str(exc), simulation.lines) from exc
    return simulation


def trace(seed: int) -> str:
    """What happens in one seed's story, a line for each thing; a line with WRONG says what is, if something is."""
    try:
        return "\n".join(simulate(seed).lines)
    except SimulationFailed as exc:
        return "\n".join([*exc.lines, f"WRONG: {exc.wrong}"])
