"""The suites can fail: each planted fault is caught by the layers that claim it, and by none when there is no fault."""

import asyncio
import gc
import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, find, settings
from hypothesis.stateful import run_state_machine_as_test

from planted import PLANTED, Planted
from twitor_fsm.config import Settings
from twitor_fsm.sources.base import Item, Source
from twitor_fsm.storage.store import SqlStore
from twitor_fsm.testing import (
    CrawlMachine,
    HandlerContract,
    ListSource,
    Plan,
    StoreContract,
    assert_survives,
    fault_plans,
)
from twitor_fsm.testing.contracts.handler import PLANS as HANDLER_PLANS
from twitor_fsm.testing.contracts.place import Place
from twitor_fsm.testing.simulation import simulate
from twitor_fsm.testing.trial import Handler

ROOT = Path(__file__).parents[2]

PLANS = [
    "item 2: RATE_LIMIT",
    "item 2: VALIDATION; item 3: AUTH",
    "item 2: NETWORK; item 3: NETWORK",
    "item 5: NETWORK, NETWORK, NETWORK, NETWORK, NETWORK, NETWORK",
    "item 4: CANCEL",
    "item 5: FATAL; page 2: DEATH",
    "item 2: AUTH; commit 4: DEATH_AFTER",
    "commit 1: BUSY; commit 3: LOST_ANSWER",
    "commit 1: LOST_ANSWER",
    "page 2: RATE_LIMIT; page 1: CANCEL",
    "item 1: DATABASE; item 2: BUG; page 3: AUTH",
]


async def answer(item: Item, fence: int) -> str:
    return item.key


def sequences() -> None:
    """A handful of the sequences that `test_sequences.py` draws by the hundred."""
    for plan in PLANS:
        source = ListSource([f"{n * 7919 % 1009}" for n in range(1, 9)], size=3)
        assert_survives(Plan(plan), source, handler=answer, settings=Settings(checkpoint_every=3))


def simulation() -> None:
    """The first of the seeds."""
    for seed in range(60):
        simulate(seed)


def handler_contract() -> None:
    class Contract(HandlerContract):
        def make_handler(self) -> Handler:
            return answer

    asyncio.run(Contract().test_a_crawl_with_it_survives_and_keeps_its_results(HANDLER_PLANS[0]))


def store_contract() -> None:
    """All tests of the contract that need nothing but a database."""
    contract: Any = StoreContract()
    for name, test in inspect.getmembers(contract, inspect.iscoroutinefunction):
        if name.startswith("test_") and list(inspect.signature(test).parameters) == ["place"]:
            asyncio.run(_on_a_database(test))


async def _on_a_database(test: Callable[[Place[SqlStore]], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as closing:
            path = Path(folder) / "bookmarks.db"
            try:
                await test(Place(lambda: SqlStore(path), closing=closing))
            except pytest.skip.Exception:
                return


LAYERS: dict[str, Callable[[], None]] = {
    "sequences": sequences,
    "simulation": simulation,
    "handler contract": handler_contract,
    "store contract": store_contract,
}


def caught_by(run: Callable[[], None]) -> type[BaseException] | None:
    """The kind of what `run` finds; none if it finds nothing."""
    try:
        run()
    except (Exception, pytest.fail.Exception) as exc:  # noqa: BLE001 - whatever it finds
        return type(exc)
    return None


SHELL = [fault for fault in PLANTED.values() if fault.place != "core"]
CLAIMS = [(fault, layer) for fault in SHELL for layer in fault.caught_by]


@pytest.mark.parametrize("layer", ["sequences", "handler contract"])  # the others run elsewhere
def test_without_a_fault_nothing_is_caught(layer: str) -> None:
    LAYERS[layer]()


@pytest.mark.parametrize(
    ("fault", "layer"), CLAIMS, ids=[f"{fault.name}-{layer}" for fault, layer in CLAIMS]
)
def test_a_planted_fault_is_caught(
    fault: Planted, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault.apply(monkeypatch)

    finding = caught_by(LAYERS[layer])
    assert finding not in {None, TypeError, NameError, AttributeError}

    gc.collect()  # what a failed run leaves behind complains here, not in the middle of another test


def test_every_part_of_the_engine_has_its_faults() -> None:
    assert {fault.place for fault in PLANTED.values()} == {
        "core",
        "session",
        "steps",
        "ledger",
        "store",
    }
    assert len(SHELL) >= 10
    assert all(fault.caught_by for fault in PLANTED.values())


def test_the_page_lists_every_fault_and_who_catches_it() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \| (.+) \|$", page, flags=re.MULTILINE)

    assert rows == [(f.name, f.place, f.sentence, ", ".join(f.caught_by)) for f in SHELL]


def test_the_option_makes_the_suite_go_red() -> None:
    test = "tests/unit/test_machine.py"  # which passes in this very run
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", test]
    done = subprocess.run(
        [*command, "--planted", "tries_not_reset"], cwd=ROOT, capture_output=True, check=False
    )

    assert done.returncode == 1
    assert b"planted fault: a success leaves the tries" in done.stdout


def test_a_failing_plan_shrinks_to_a_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED["pause_leaves_items_behind"].apply(monkeypatch)

    def fails(plan: Plan) -> bool:
        source = ListSource(["5", "3", "8", "1"], size=2)
        try:
            assert_survives(plan, source, handler=answer)
        except AssertionError:
            return True
        return False

    found = find(
        fault_plans(items=4, pages=2, commits=3),
        fails,
        settings=settings(max_examples=300, deadline=None, derandomize=True, database=None),
    )

    assert repr(found) == "Plan('item 1: RATE_LIMIT')"


def test_the_machine_that_drives_a_crawl_finds_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED["pause_leaves_items_behind"].apply(monkeypatch)

    class Crawls(CrawlMachine):
        def make_source(self) -> Source:
            return ListSource(["5", "3", "8", "1"], size=2)

        def make_handler(self) -> Handler:
            return answer

    generate = settings(
        max_examples=200,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )
    with pytest.raises(AssertionError, match="paused_rate_limit without a checkpoint"):
        run_state_machine_as_test(Crawls, settings=generate)
