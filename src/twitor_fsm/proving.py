"""`prove`: every error sequence, on a machine of one's own; in how many processes its scopes are explored.

Must not know: how worlds are explored (`core.checking`), who measures time.
"""

import gc
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from .core import plan as ops
from .core.checking.deciding import Decisions
from .core.checking.explore import MOST_WORLDS, prove_scopes
from .core.checking.invariants import Invariant
from .core.checking.proof import Explored, Proof
from .core.checking.scope import SMALL, Scope
from .core.progress import Progress, begin
from .core.recovery import RecoveryStrategy, decide
from .core.spec import MachineSpec
from .core.states import DEFAULT_SPEC, check_skips
from .core.values import Facts, SessionValue, Step
from .core.words import Trigger
from .machine import machine_for

__all__ = ["prove"]


def prove(
    spec: MachineSpec = DEFAULT_SPEC,
    invariants: Iterable[Invariant] = (),
    *,
    scopes: Iterable[Scope] = SMALL,
    step: Callable[[SessionValue, str, Facts], Step] | None = None,
    plan: Callable[..., ops.Plan] = ops.plan,
    trigger_for: Callable[..., Trigger] = ops.trigger_for,
    decide: Callable[..., RecoveryStrategy] = decide,
    begin: Callable[..., Progress] = begin,
    most_worlds: int = MOST_WORLDS,
    told: Callable[[Explored], Any] | None = None,
    processes: int = 1,
) -> Proof:
    """Explore every world that a crawl can come into, whatever fails, however often, in whatever order.

    Args:
        spec: The machine; an extended one works as it does in an engine. Events of its own may come
            at any time in the states that have rows for them.
        invariants: What must hold besides the invariants of every crawl.
        scopes: The settings to explore, one after the other, up to the first violation.
        step: In place of the machine's own step.
        plan: In place of `core.plan.plan`, to see a fault found.
        trigger_for: In place of `core.plan.trigger_for`.
        decide: In place of `core.recovery.decide`: a policy of one's own.
        begin: In place of `core.progress.begin`; it may make progress of a class of its own.
        most_worlds: A scope that needs more counts as endless. A million worlds take about 1 GB.
        told: Called with the result of each scope, in their order, as soon as it is there.
        processes: Scopes that are explored at a time, from 1. Above 1 each has a process, forked from this one; where there
            is no fork, or other threads run, they are explored one after the other.

    Returns:
        What holds, and the shortest way to what does not.

    Raises:
        SpecError: A row of `item_skipped` does not ride: there is nothing to explore.
    """
    check_skips(spec)
    decisions = Decisions(
        step=step if step is not None else machine_for(spec).step,
        plan=plan,
        trigger_for=trigger_for,
        decide=decide,
        begin=begin,
    )
    settings = tuple(scopes)
    is_forked = min(processes, len(settings)) > 1 and _may_fork()
    with _uncollected():
        return prove_scopes(
            spec,
            decisions,
            invariants,
            scopes=settings,
            most=most_worlds,
            told=told,
            over=partial(_in_forks, processes) if is_forked else map,
        )


def _may_fork() -> bool:
    return "fork" in get_all_start_methods() and threading.active_count() == 1


_explore: Callable[[Scope], Explored]
"""In a forked process: what was to be done when it was forked. A function of an app's own could not be sent there."""


def _in_forks(
    processes: int, explore: Callable[[Scope], Explored], scopes: Iterable[Scope]
) -> Iterator[Explored]:
    """`map`, each call in one of so many processes."""
    pool = ProcessPoolExecutor(processes, get_context("fork"), _remember, (explore,))
    try:
        yield from pool.map(_explore_one, scopes)
    finally:
        pool.shutdown(cancel_futures=True)


def _remember(explore: Callable[[Scope], Explored]) -> None:
    global _explore
    _explore = explore
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed takes nobody along: its forks would wait for work for ever, and hold its pipes open."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _explore_one(scope: Scope) -> Explored:
    return _explore(scope)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Every world is kept: looking for garbage among them finds none and costs a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
