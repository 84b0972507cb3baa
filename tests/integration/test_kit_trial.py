"""What a trial says of a source that is not the same each time, before anybody looks for the fault elsewhere."""

import attrs
import pytest

from twitor_fsm.sources.base import Page
from twitor_fsm.testing import ListSource
from twitor_fsm.testing.mishaps import Plan
from twitor_fsm.testing.trial import Trial


@attrs.define
class Draining(ListSource):
    """Hands everything out once."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        page = await ListSource.fetch(self, user_id, cursor, page_size)
        if page.next_cursor is None:
            self.ids = ["new"]
        return page


async def test_a_source_that_changes_is_named_before_what_comes_of_it() -> None:
    with pytest.raises(AssertionError) as failed:
        async with Trial(Draining(list("54321"))) as trial:
            await trial.finish()

    first, *others = str(failed.value).splitlines()[1:-1]
    assert first == (
        "  the source does not say the same each time, as a trial needs it: 5, 4, 3, 2, 1 when it began, new now. "
        "What follows may come from that"
    )
    assert others


async def test_a_source_that_stays_the_same_is_not_blamed() -> None:
    with pytest.raises(AssertionError) as failed:
        async with Trial(ListSource(list("54321")), Plan("page 1: AUTH")) as trial:
            await trial.finish(runs=1)

    assert "not complete after 1 runs" in str(failed.value)
    assert "does not say the same" not in str(failed.value)


@attrs.define
class Breaking(ListSource):
    """Cannot be read twice."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        if cursor is None and self.requests >= 1:
            raise KeyError("gone")
        return await ListSource.fetch(self, user_id, cursor, page_size)


async def test_a_source_that_cannot_be_read_again_is_told() -> None:
    with pytest.raises(AssertionError, match="raises KeyError"):
        async with Trial(Breaking(list("21")), Plan("page 1: AUTH")) as trial:
            await trial.finish(runs=1)
