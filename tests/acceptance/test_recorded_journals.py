"""The files of diagrams/ are what the engine does today: recorded again, replayed, drawn again."""

import re
import runpy
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from recorded import SESSIONS

from twitor_fsm.journal import read_journal
from twitor_fsm.replaying import replay

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "diagrams"

ENDS: Final = {
    "typical": "completed",
    "network-down": "aborted",
    "rate-limit": "paused_rate_limit",
    "auth": "aborted",
    "fatal": "shut_down",
    "killed": "completed",
}


@cache
def drawn() -> dict[str, bytes]:
    found: dict[str, bytes] = runpy.run_path(str(FOLDER / "draw.py"))["drawn"]()
    return found


def test_every_file_is_fresh() -> None:
    stale = [
        name
        for name, content in drawn().items()
        if (FOLDER / name).read_bytes() != content
        # pixels are compared where they were made: another processor may round otherwise
        and (not name.endswith(".png") or sys.platform == "linux")
    ]
    assert stale == [], "run: make diagrams"


def test_no_file_is_left_over() -> None:
    there = {
        str(file.relative_to(FOLDER))
        for file in FOLDER.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert there == {*drawn(), "draw.py"}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_recorded_journal_leads_where_its_session_ended(name: str) -> None:
    journal = read_journal((FOLDER / "sessions" / f"{name}.jsonl").read_bytes())

    *_, last = replay(journal)
    assert last.after.state == ENDS[name]
    assert last.position == len(journal.rows)


def test_the_readme_and_the_docs_show_them() -> None:
    assert "(diagrams/machine.svg)" in (ROOT / "README.md").read_text()
    page = (ROOT / "docs" / "diagrams.md").read_text()
    for name in SESSIONS:
        assert f"(../diagrams/sessions/{name}.svg)" in page
        assert f"(../diagrams/sessions/{name}-timeline.svg)" in page


def test_the_snippets_of_the_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "diagrams.md").read_text()
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "docs/diagrams.md", "exec"), names)
    assert "resting" in str(names["picture"])
