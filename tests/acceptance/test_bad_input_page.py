"""The table of bad input names tests that exist, one for each class at least, and no test of ours is missing from it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bad-input.md").read_text("utf-8")
NAMED = re.findall(r"`(\w+\.py)::(test_\w+)`", PAGE)
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| input |", "| artefact |"))
]

CLASSES = {
    "links": "next link that is an address",
    "redirects": "a redirect",
    "names that lead elsewhere": "leads to somebody else's host",
    "bombs": "compression bomb",
    "endless answers": "never end",
    "header floods": "flood of headers",
    "cut answers": "reset in its middle",
    "deep JSON": "nested 100,000 deep",
    "wrong types": "an element with NaN",
    "NUL and surrogates": "half a surrogate pair",
    "giant items": "a giant item",
    "giant pages": "a giant page",
    "cursor loops": "the same next link again",
    "moving listings": "items repeated",
    "absurd resets": "a 429 whose reset",
    "mixed errors": "a 429 amid retries",
    "errors in a 200": "the body of a 200",
    "refused accounts": "a suspended account",
    "injection": "SQL, format strings",
    "forged log lines": "line ends of all kinds",
    "terminal escapes": "escape sequences",
    "markup in diagrams": "markup in the names",
    "formulas": "spreadsheet formulas",
    "payloads": "a record that is a pickle",
    "giant payloads": "beyond 65 MiB",
    "forged tasks": "a forged task",
    "stale tasks": "a stale one",
    "Valkey refuses for good": "refuses the password",
    "Valkey forgets": "loses everything",
    "Valkey refuses for now": "a replica, busy",
    "cancelled calls": "a call to Valkey cancelled",
    "cancelled checkpoints": "a cancel amid any checkpoint",
    "clocks": "a clock that jumps",
    "disks": "a disk that is full",
    "damaged databases": "damaged or none",
    "other schemas": "an older database; a newer one",
    "signals": "SIGTERM or SIGKILL in any state",
    "hostile ids": "ids that are paths",
    "open files": "others can read",
    "raising plugins": "raises anything",
    "nonsense of plugins": "returns nonsense",
    "blocked loops": "blocks the event loop",
}


def functions_of(file: str) -> set[str]:
    """Names of the test functions of the one file of this name."""
    found = [
        path
        for folder in ("tests", "src/twitor_fsm/testing")
        for path in (ROOT / folder).rglob(file)
    ]
    assert len(found) == 1, f"{file} is there {len(found)} times"
    return set(
        re.findall(r"^ *(?:async )?def (test_\w+)", found[0].read_text("utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_the_table_names_exists(file: str) -> None:
    assert {name for where, name in NAMED if where == file} - functions_of(file) == set()


@pytest.mark.parametrize("words", CLASSES.values(), ids=list(CLASSES))
def test_every_class_of_bad_input_has_a_row_with_a_test(words: str) -> None:
    (row,) = [row for row in ROWS if words in row[0]]
    assert len(row) == 5
    assert all(row), "a cell is empty"
    assert re.search(r"`\w+\.py::test_\w+`", row[4])


def test_every_row_names_a_test() -> None:
    assert [row[0] for row in ROWS if "::test_" not in row[-1]] == []
    assert len(ROWS) >= len(CLASSES)


@pytest.mark.parametrize(
    "file", sorted(path.name for path in Path(__file__).parent.glob("test_bad_input_*.py"))
)
def test_every_test_of_bad_input_is_in_the_table(file: str) -> None:
    if file == Path(__file__).name:
        return
    assert functions_of(file) - {name for where, name in NAMED if where == file} == set()
