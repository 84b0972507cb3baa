"""Whole deployments simulated from seeds: storms in which anything fails, and the calm in which all becomes complete."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from twitor_fsm.core.states import State, Trigger
from twitor_fsm.testing.mishaps import Mishap
from twitor_fsm.testing.simulation import SimulationFailed, simulate, trace


def test_every_seed_ends_well(seeds: range) -> None:
    for seed in seeds:
        simulate(seed)


def test_a_seed_is_replayed_byte_for_byte_in_another_process() -> None:
    code = (
        "import logging, sys; logging.disable(50)\n"
        "from twitor_fsm.testing.simulation import trace\n"
        "sys.stdout.write(trace(11))"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert traces == {trace(11).encode()}
    assert trace(12) != trace(11)


def test_the_storms_leave_nothing_out() -> None:
    """A simulation in which little happens would prove little."""
    met: Counter[str] = Counter()
    for seed in range(1000, 1040):
        for line in simulate(seed).lines:
            met.update(re.findall(r"[A-Za-z_]+", line))

    wanted = [
        *(mishap for mishap in Mishap if mishap is not Mishap.OK),
        *State,
        *(trigger for trigger in Trigger if trigger is not Trigger.RESUME),
        *(
            "lost",
            "refused",
            "standstill",
            "dies",
            "wished",
            "absorbed",
            "takes",
            "again",
            "bookmarks",
        ),
    ]
    assert [word for word in wanted if not met[word]] == []


def test_a_seed_that_fails_shows_its_seed_and_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    from twitor_fsm.ledger import Contents, Rows

    rows = Contents.rows

    def forgetful(self: Contents, *args: object) -> Rows:
        found = rows(self, *args)  # type: ignore[arg-type]
        return Rows(found.new[:-1], found.known, found.skips)

    monkeypatch.setattr(Contents, "rows", forgetful)
    with pytest.raises(SimulationFailed, match=r"^seed 7: ") as failed:
        simulate(7)

    assert "WRONG: the checkpoint" in str(failed.value)
    assert trace(7).splitlines() == [*failed.value.lines, f"WRONG: {failed.value.wrong}"]


def test_a_simulation_needs_nothing_of_the_extra() -> None:
    """`twitor verify --seed` comes with the command, the kit's strategies and contracts with the extra."""
    code = (
        "import sys, logging; logging.disable(50)\n"
        "sys.modules['hypothesis'] = sys.modules['pytest'] = sys.modules['pytest_asyncio'] = None\n"
        "from twitor_fsm.testing.simulation import simulate\n"
        "simulate(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
