"""`twitor verify`: what it prints, and how it ends; the snippet of docs/verification.md."""

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import twitor_fsm.proving
from twitor_fsm.cli.app import twitor
from twitor_fsm.core.checking import scope
from twitor_fsm.core.recovery import RecoveryStrategy, decide
from twitor_fsm.core.taxonomy import ErrorAction, ErrorCategory

TINY = scope.Scope(
    name="tiny", sentence="one item", items=1, page_sizes=(1,), checkpoint_every=1, max_retries=1
)
LARGER = scope.Scope(
    name="larger", sentence="two items", items=2, page_sizes=(1,), checkpoint_every=1, max_retries=0
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "SMALL", (TINY,))
    monkeypatch.setattr(scope, "FULL", (LARGER,))


def run(*args: str) -> Result:
    return CliRunner().invoke(twitor, ["verify", *args], prog_name="twitor")


def hasty(*args: Any, **options: Any) -> RecoveryStrategy:
    """A policy that retries what the credentials are refused for."""
    strategy = decide(*args, **options)
    if strategy.category is not ErrorCategory.AUTH:
        return strategy
    return RecoveryStrategy(ErrorAction.RETRY, 1.0, "again", False, ErrorCategory.AUTH)


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = partial(twitor_fsm.proving.prove, decide=hasty)
    monkeypatch.setattr(twitor_fsm.proving, "prove", broken)


def test_it_prints_worlds_edges_time_and_what_holds() -> None:
    result = run()

    assert result.exit_code == 0
    first = result.stdout.splitlines()[0]
    assert re.fullmatch(r"[\d,]+ worlds, [\d,]+ edges in \d+\.\d s \([\d,]+ worlds/s\)", first)
    assert result.stdout.count("  holds     ") == 19
    assert "violated" not in result.stdout
    assert "decisions are proved; their execution is simulated and crash-tested" in result.stdout
    assert result.stderr.startswith("tiny ")


def test_json_has_one_object_with_every_invariant_and_scope() -> None:
    result = run("--json")
    told = json.loads(result.stdout)

    assert (result.exit_code, told["exit_code"], told["holds"]) == (0, 0, True)
    assert {each["verdict"] for each in told["invariants"]} == {"holds"}
    assert [each["name"] for each in told["scopes"]] == ["tiny"]
    assert told["worlds"] == told["scopes"][0]["worlds"] > 100
    assert told["edges"] > told["worlds"]
    assert told["violation"] is None
    assert told["scopes"][-1]["after_s"] == told["seconds"]
    assert result.stderr == ""


def test_full_explores_the_real_numbers_too() -> None:
    told = json.loads(run("--full", "--json").stdout)

    assert [each["name"] for each in told["scopes"]] == ["tiny", "larger"]


@pytest.mark.usefixtures("_broken")
def test_a_violation_is_told_as_a_sequence_and_drawn() -> None:
    result = run()

    assert result.exit_code == 1
    assert "  violated  tries never exceed MAX_RETRIES" in result.stdout
    assert "in scope tiny: start, fetch page 1: AUTH, wait 1 s, fetch page 1: AUTH" in result.stdout
    assert "flowchart TD" in result.stdout
    assert "  open      completed: every item" in result.stdout


@pytest.mark.usefixtures("_broken")
def test_a_violation_in_json() -> None:
    result = run("--json")
    told = json.loads(result.stdout)

    assert (result.exit_code, told["exit_code"], told["holds"]) == (1, 1, False)
    assert told["violation"]["invariant"] == "tries_are_bounded"
    assert told["violation"]["mermaid"].startswith("flowchart TD\n")


def test_the_snippet_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "verification.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}

    exec(compile(code, "docs/verification.md", "exec"), names)

    assert re.fullmatch(r"[\d,]+ worlds, 20 invariants\n", capsys.readouterr().out)
    assert names["proof"].worlds > 1000


FORKED = """
from twitor_fsm.core.checking.scope import SMALL
from twitor_fsm.core.recovery import RecoveryStrategy, decide
from twitor_fsm.core.taxonomy import ErrorAction, ErrorCategory
from twitor_fsm.proving import prove
import os

def hasty(*args, **options):
    strategy = decide(*args, **options)
    if strategy.category is not ErrorCategory.AUTH:
        return strategy
    return RecoveryStrategy(ErrorAction.RETRY, 1.0, "again", False, ErrorCategory.AUTH)

scopes = sorted(SMALL, key=lambda scope: scope.name in {"loop", "early_stop"})[-2:]
forks = []
os.register_at_fork(after_in_parent=lambda: forks.append(1))
one = prove(scopes=scopes)
assert not forks
assert prove(scopes=scopes, processes=2) == one
assert len(forks) == 2, forks
assert one.holds

broken = prove(scopes=scopes, decide=hasty)
assert not broken.holds
assert prove(scopes=scopes, decide=hasty, processes=2) == broken
"""


def test_scopes_in_processes_of_their_own_give_the_same_proof() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


WAITING = """
import os, time
from twitor_fsm.core.checking.scope import SMALL
from twitor_fsm.proving import prove

def told(explored):
    print(os.getpid(), flush=True)
    time.sleep(60)

prove(scopes=SMALL[:2], processes=2, told=told)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the forks in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_who_is_killed_leaves_no_process_behind(how: signal.Signals) -> None:
    """They would hold its pipes open, and whoever reads them, a CI say, would wait for ever."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2

        process.send_signal(how)

        assert process.stdout.read() == ""  # until the last one that holds it has ended
        assert process.wait() == -how
