"""Any sequence of errors, cancels, deaths and lost answers on the real engine and real SQLite.

`Trial` checks after every run: each transaction as it is written, the journal against the machine, times and tries, the
rows. What is drawn here is what goes wrong, and where.
"""

import tempfile
from pathlib import Path
from typing import Any

import attrs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from twitor_fsm.config import Settings
from twitor_fsm.core.listing import End
from twitor_fsm.sources.base import Item
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import (
    ListSource,
    Mishap,
    Plan,
    Trial,
    assert_survives,
    error_sequences,
    fault_plans,
)
from twitor_fsm.testing.mishaps import CATEGORIES
from twitor_fsm.testing.surviving import run_alone

ANYTHING = (*CATEGORIES, Mishap.BUG, Mishap.CANCEL, Mishap.DEATH, Mishap.SLOW, Mishap.OK)


async def handler(item: Item, fence: int) -> dict[str, str]:
    return {"seen": item.key}


@attrs.frozen
class Shape:
    """What is crawled, and how."""

    count: int = 10
    size: int = 3
    every: int = 3
    prefetch: int = 1
    retries: int = 5
    verified: bool = True

    def source(self) -> ListSource:
        ids = [str((1000 + n * 7919) % 100_003) for n in range(self.count)]
        if self.verified:
            return ListSource(ids, size=self.size)
        return ListSource(ids, end=End.UNVERIFIED, page_sizes=(9, 4, 2), drops_above=4)

    @property
    def settings(self) -> Settings:
        return Settings(
            checkpoint_every=self.every,
            prefetch=self.prefetch,
            max_retries=self.retries,
            page_size=9,
        )


SHAPES = st.builds(
    Shape,
    count=st.integers(0, 40),
    size=st.integers(1, 20),
    every=st.sampled_from([1, 2, 3, 10]),
    prefetch=st.sampled_from([1, 0]),
    retries=st.sampled_from([5, 0, 1, 2]),
    verified=st.booleans(),
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(plan=error_sequences(mishaps=ANYTHING, max_size=30), shape=SHAPES)
@example(plan=Plan("handles: NETWORK, NETWORK, NETWORK, NETWORK, NETWORK, NETWORK"), shape=Shape())
def test_nothing_is_lost_whatever_the_handler_meets(plan: Plan, shape: Shape) -> None:
    assert_survives(plan, shape.source(), handler=handler, settings=shape.settings)


@FEW
@given(plan=error_sequences(at="fetches", mishaps=ANYTHING, max_size=30), shape=SHAPES)
@example(plan=Plan("fetches: OK, RATE_LIMIT, DEATH, RATE_LIMIT"), shape=Shape())
def test_nothing_is_lost_whatever_requests_meet(plan: Plan, shape: Shape) -> None:
    assert_survives(plan, shape.source(), settings=shape.settings)


@FEW
@given(plan=fault_plans(), shape=SHAPES)
def test_nothing_is_lost_whatever_fails_with_a_handler(plan: Plan, shape: Shape) -> None:
    assert_survives(plan, shape.source(), handler=handler, settings=shape.settings)


@FEW
@given(plan=fault_plans(handler=False), shape=SHAPES)
def test_nothing_is_lost_whatever_fails_without_a_handler(plan: Plan, shape: Shape) -> None:
    assert_survives(plan, shape.source(), settings=shape.settings)


@settings(FEW, max_examples=20)
@given(plan=fault_plans(), with_handler=st.booleans())
def test_a_file_on_a_thread_of_its_own_is_no_different(plan: Plan, with_handler: bool) -> None:
    async def story(path: Path) -> None:
        store = SqlStore(path)
        await store.open()
        try:
            options: dict[str, Any] = {"handler": handler} if with_handler else {}
            shape = Shape()
            async with Trial(
                shape.source(), plan, store=store, settings=shape.settings, **options
            ) as trial:
                await trial.finish()
        finally:
            await store.close()

    with tempfile.TemporaryDirectory() as folder:
        run_alone(story(Path(folder) / "bookmarks.db"))
