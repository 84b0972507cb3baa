"""Kills a crawl before and after every statement and every request that it makes, and looks at what the next run finds.

Enumerated, not sampled: one run that nobody disturbs tells which calls there are; then, for each of them twice, a process
is killed (SIGKILL) right before or right after the call, and another one runs the crawl again.
Must not know: what is crawled.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Self, cast

import attrs

from ..core.states import DEFAULT_SPEC, MachineSpec
from .children import Child, Say
from .parts import require_function
from .soundness import Holdings, assert_sound, databases_in
from .tapping import Call, tapped

__all__ = ["CrashPoint", "CrashReport", "crash_points"]

Run = Callable[[Path], Awaitable[object]]
"""What a process does from start to end, with all its files in the folder."""

World = Callable[[Path], AbstractAsyncContextManager[object]]
"""What a process needs around it and what outlives it: a service. Entered in a process of its own."""

_TIMEOUT_S: Final = 60
_FINE: Final = "fine"
_SHOWN: Final = 10


@attrs.frozen
class CrashPoint:
    """A moment to be killed at.

    Attributes:
        call: The call.
        is_after: Right after it (its effect took place, nobody has heard of that), or right before.
    """

    call: Call
    is_after: bool

    def __str__(self) -> str:
        when = "after" if self.is_after else "before"
        text = " ".join(self.call.text.split())
        return f"{when} {self.call.kind} {self.call.number}: {text:.80}"


@attrs.frozen
class CrashReport:
    """What came of it.

    Attributes:
        calls: What the undisturbed run does, in order.
        points: The moments that a process was killed at: those of the share, two for each call.
        truth: What the undisturbed run leaves, by database file; what every resumed one left.
    """

    calls: tuple[Call, ...]
    points: tuple[CrashPoint, ...]
    truth: dict[str, Holdings]

    def __str__(self) -> str:
        kinds = [call.kind for call in self.calls]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        stored = sum(len(found.stored) for found in self.truth.values())
        skipped = sum(len(found.skipped) for found in self.truth.values())
        return (
            f"{len(self.points)} crash points of {2 * len(kinds)} (before and after each of {counts}): each time "
            f"{stored} stored once and {skipped} skipped after the next run"
        )


def crash_points(
    run: Run,
    *,
    world: World | None = None,
    check: Callable[[Path], object] | None = None,
    folder: Path | None = None,
    share: tuple[int, int] = (0, 1),
    spec: MachineSpec = DEFAULT_SPEC,
) -> CrashReport:
    """Kill a run at every point, run it again, and compare what it leaves with what an undisturbed run leaves.

    After the kill and after the next run every database in the folder is asserted to be sound (`assert_sound`); after the
    next run it must hold what the undisturbed run left: the same bookmarks, each once, the same skipped items,
    every crawl completed.

    `run` must make the same calls each time: it uses no real clock to wait, and at most one request at a time (besides
    the engine's own prefetch). It runs in forked processes: it must be called where no event loop runs, and what it
    changes outside of the folder is lost.

    Args:
        run: The whole life of one process, given the folder of its files: opens a database there, crawls, closes.
        world: A context around both runs, given the same folder: a simulated service writes its address into a file
            there. All are entered, one after the other, in a process of their own, which is not killed. What it asserts at
            its end is a further check.
        check: A further check, given the folder, after the next run.
        folder: Where the folders of the runs are made, one at a time; None takes a temporary one.
        share: (n, of): try only every `of`-th point, beginning with the n-th from 0, so that workers can share the points.
        spec: The machine, if it is not the default one.

    Returns:
        What was tried; `str` of it is one line.

    Raises:
        AssertionError: With the first points at which something was lost, doubled, or left unsound.
        ConfigurationError: What was given cannot be called as it is said here.
    """
    require_function(run, "crash_points", "a run: async def run(folder)", arguments=1)
    if world is not None:
        asked = "a world: a function of the folder that gives an async context manager"
        require_function(world, "crash_points", asked, arguments=1, may_be_class=True)
    if check is not None:
        require_function(check, "crash_points", "a check: def check(folder)", arguments=1)
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trial = _Trial(run, world, check, folder, share, spec)
        ended = Child(trial.conduct, timeout_s=60 * _TIMEOUT_S).wait()
        if not ended.is_fine:
            raise AssertionError(f"the crash points could not be tried; the process {ended}")
    found = json.loads(ended.said)
    if found["problems"]:
        shown = "\n".join(found["problems"][:_SHOWN])
        raise AssertionError(
            f"{len(found['problems'])} of {found['tried']} crash points are not survived:\n{shown}"
        )
    calls = tuple(Call(**call) for call in found["calls"])
    truth = {name: _holdings_from(held) for name, held in found["truth"].items()}
    return CrashReport(calls, _points(calls, share), truth)


def _points(calls: tuple[Call, ...], share: tuple[int, int]) -> tuple[CrashPoint, ...]:
    number, of = share
    every = [CrashPoint(call, is_after) for call in calls for is_after in (False, True)]
    return tuple(every[number::of])


@attrs.define
class _Trial:
    """All points, one after the other, from a process that has neither threads nor a loop."""

    run: Run
    world: World | None
    check: Callable[[Path], object] | None
    folder: Path
    share: tuple[int, int]
    spec: MachineSpec

    def conduct(self, say: Say) -> None:
        """Find the calls and the truth, then try every point; say what came of it, as JSON."""
        problems = []
        with _Worlds(self.world) as worlds:
            calls, truth = self._undisturbed(worlds)
            points = _points(calls, self.share)
            for point in points:
                problem = self._try(point, truth, worlds)
                if problem:
                    problems.append(f"- {point}\n  {problem}")
        told = [{"kind": call.kind, "number": call.number, "text": call.text} for call in calls]
        said = {name: attrs.asdict(held) for name, held in truth.items()}
        say(json.dumps({"calls": told, "tried": len(points), "truth": said, "problems": problems}))

    def _undisturbed(self, worlds: "_Worlds") -> tuple[tuple[Call, ...], dict[str, Holdings]]:
        """Run in this very process, so that what it imports and caches is there for all that fork from it."""
        heard = _Heard()
        with worlds.around(self.folder) as place:
            self._live(place, heard)
            truth = self._held(place)
        if not any(held.stored for held in truth.values()):
            raise AssertionError("the undisturbed run stored nothing in a database in its folder")
        for name, held in truth.items():
            if held.unfinished:
                raise AssertionError(
                    f"the undisturbed run did not complete {held.unfinished} in {name}"
                )
        gc.collect()
        gc.freeze()  # a child's garbage collector leaves our pages alone
        return tuple(heard.calls), truth

    def _try(self, point: CrashPoint, truth: dict[str, Holdings], worlds: "_Worlds") -> str | None:
        """Kill, look, run again, look; what is wrong, or None."""
        try:
            with worlds.around(self.folder) as place:
                self._kill(point, place)
                self._held(place)
                again = Child(lambda _: self._live(place, None), timeout_s=_TIMEOUT_S).wait()
                if not again.is_fine:
                    return f"the next run {again}"
                held = self._held(place)
                if self.check is not None:
                    self.check(place)
        except Exception as exc:  # noqa: BLE001 - a check may raise anything; it is told
            return _told(exc)
        return None if held == truth else f"left {_difference(truth, held)}"

    def _kill(self, point: CrashPoint, place: Path) -> None:
        ended = Child(lambda _: self._live(place, _Killer(point)), timeout_s=_TIMEOUT_S).wait()
        if ended.signal != signal.SIGKILL:
            raise AssertionError(f"the run was not killed, as if it made no such call; it {ended}")

    def _live(self, place: Path, tap: "_Heard | _Killer | None") -> None:
        with tapped(tap) if tap is not None else contextlib.nullcontext():
            asyncio.run(cast("Any", self.run(place)))

    def _held(self, place: Path) -> dict[str, Holdings]:
        """What the databases hold; asserts that they are sound."""
        return {
            database.name: assert_sound(database, spec=self.spec)
            for database in databases_in(place)
        }


class _Heard:
    """Remembers every call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def before(self, call: Call) -> None:
        self.calls.append(call)

    def after(self, call: Call) -> None:
        pass


class _Killer:
    """Kills the process at one point."""

    def __init__(self, point: CrashPoint) -> None:
        self._at = (point.call.kind, point.call.number)
        self._is_after = point.is_after

    def before(self, call: Call) -> None:
        if not self._is_after:
            self._kill_at(call)

    def after(self, call: Call) -> None:
        if self._is_after:
            self._kill_at(call)

    def _kill_at(self, call: Call) -> None:
        if (call.kind, call.number) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


class _Worlds:
    """The worlds around the runs, in a process of their own."""

    def __init__(self, world: World | None) -> None:
        self._world = world

    def __enter__(self) -> Self:
        if self._world is not None:
            world = self._world
            orders, self._orders = os.pipe()
            self._child = Child(
                lambda say: asyncio.run(self._serve(world, orders, say)), timeout_s=_TIMEOUT_S
            )
            os.close(orders)
        return self

    def __exit__(self, *_: object) -> None:
        if self._world is not None:
            os.close(self._orders)
            self._child.wait()

    @contextlib.contextmanager
    def around(self, folder: Path) -> Iterator[Path]:
        """A new folder, and the world around it; raises what that asserts at its end."""
        with tempfile.TemporaryDirectory(dir=folder) as name:
            self._order(name)
            try:
                yield Path(name)
            except BaseException:
                with contextlib.suppress(AssertionError):  # what came first is told
                    self._order("")
                raise
            self._order("")

    def _order(self, what: str) -> None:
        if self._world is None:
            return
        os.write(self._orders, f"{what}\n".encode())
        answer = self._child.next_line()
        if answer != _FINE:
            raise AssertionError(
                f"the world says: {json.loads(answer) if answer else 'nothing, it is dead'}"
            )

    async def _serve(self, world: World, orders: int, say: Say) -> None:
        """In the child: enter a world for each folder named, leave it when told so."""
        os.close(self._orders)  # the parent's end alone keeps us waiting
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(orders)
        )
        while place := (await lines.readline()).decode().rstrip("\n"):
            signal.alarm(2 * _TIMEOUT_S)
            try:
                async with world(Path(place)):
                    say(f"{_FINE}\n")
                    await lines.readline()
                say(f"{_FINE}\n")
            except Exception:  # noqa: BLE001 - told to the parent
                say(f"{json.dumps(traceback.format_exc())}\n")


def _told(error: Exception) -> str:
    """An assertion's own words; where it has none, and of any other error, where it was raised."""
    if isinstance(error, AssertionError) and str(error):
        return str(error)
    return "".join(traceback.format_exception(error))


def _difference(truth: dict[str, Holdings], held: dict[str, Holdings]) -> str:
    told = []
    for name in sorted(truth | held):
        wanted, found = truth.get(name, Holdings()), held.get(name, Holdings())
        for field in attrs.fields(Holdings):
            one, two = list(getattr(wanted, field.name)), list(getattr(found, field.name))
            missing = [each for each in one if each not in two]
            beyond = [each for each in two if each not in one or two.count(each) > one.count(each)]
            if missing or beyond:
                told.append(f"{name}, {field.name}: missing {missing}, too many {beyond}")
    return "; ".join(told)


def _holdings_from(held: dict[str, Any]) -> Holdings:
    return Holdings(*(tuple(map(tuple, held[f.name])) for f in attrs.fields(Holdings)))
