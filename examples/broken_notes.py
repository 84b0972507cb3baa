"""The notes again, with a mistake that no good day shows: a cursor of this source works only once.

Run it: `pytest examples/broken_notes.py`. It fails; docs/testing.md shows how.
"""

import tempfile
from pathlib import Path

import attrs
from hypothesis import given, settings

from notes import PAGE, Notes, write_notes
from twitor_fsm import Page
from twitor_fsm.testing import Plan, assert_survives, fault_plans


class BrokenNotes(Notes):
    """Hands out numbers for pages, and forgets a number when it was used."""

    def __init__(self, folder: Path) -> None:
        """Read this folder."""
        super().__init__(folder)
        self.names: dict[str, str | None] = {}
        self.number = 0

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        """The page with this number."""
        below = None if cursor is None else self.names.pop(cursor)
        page = await super().fetch(user_id, below, page_size)
        if page.next_cursor is None:
            return page
        self.number += 1
        self.names[str(self.number)] = page.next_cursor
        return attrs.evolve(page, next_cursor=str(self.number))


def test_a_good_day() -> None:
    """Nothing goes wrong, and nothing is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        assert_survives(Plan(), BrokenNotes(write_notes(Path(folder), 3 * PAGE)))


@settings(max_examples=100, deadline=None, derandomize=True, report_multiple_bugs=False)
@given(plan=fault_plans(items=9, pages=3, handler=False))
def test_any_day(plan: Plan) -> None:
    """Anything goes wrong."""
    with tempfile.TemporaryDirectory() as folder:
        assert_survives(plan, BrokenNotes(write_notes(Path(folder), 3 * PAGE)))
