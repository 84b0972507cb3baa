"""Every instant of a crawl at which a process can be killed: the next run leaves what an undisturbed one leaves."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from crash_reference import PAGES, PROBES, REFUSED


@pytest.mark.parametrize("number", [0, 1], ids=["even", "odd"])
@pytest.mark.parametrize(("name", "http"), [("handler", PAGES + REFUSED + PROBES), ("bare", 0)])
def test_a_kill_at_any_point_of_a_crawl_loses_and_doubles_nothing(
    name: str, http: int, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers share the points. Every call of the crawl must have been heard: each counts twice."""
    program = Path(__file__).with_name("crash_reference.py")
    done = subprocess.run(
        [sys.executable, str(program), name, str(number), "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tried = json.loads(done.stdout)

    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {tried['told']}\n")
    kinds = Counter(kind for kind, _ in tried["calls"])
    words = Counter(word for _, word in tried["calls"])
    assert kinds["http"] == http
    assert words["BEGIN"] == words["COMMIT"] > 10
    assert tried["points"] == len(range(number, 2 * len(tried["calls"]), 2))
