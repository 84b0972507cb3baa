"""What a trial says of a source that is not the same each time, before anybody looks for the fault elsewhere."""

from typing import Any

import attrs
import pytest

from twitor_fsm.errors import ConfigurationError
from twitor_fsm.sources.base import Page
from twitor_fsm.testing import CrawlMachine, ListSource, MemoryStore
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


@attrs.define
class Silent(ListSource):
    """Never answers."""

    async def fetch(self, user_id: str, cursor: str | None, page_size: int | None) -> Page:
        raise ConnectionError("no answer")


class Counted(MemoryStore):
    """Counts itself among the open ones."""

    open_ones = 0

    async def _open(self) -> None:
        await super()._open()
        Counted.open_ones += 1

    async def close(self) -> None:
        Counted.open_ones -= self._opened
        await super().close()


async def test_a_trial_whose_source_cannot_be_read_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("twitor_fsm.testing.trial.MemoryStore", Counted)
    source = Silent(["1"])
    with pytest.raises(ConnectionError):
        await Trial(source).__aenter__()

    assert (Counted.open_ones, source.closed) == (0, True)
    async with Trial(ListSource(["1"])):
        assert Counted.open_ones == 1


@pytest.mark.parametrize("source", [Silent(["1"]), None], ids=["silent", "missing"])
def test_a_machine_whose_source_is_wrong_leaves_nothing_open(source: Any) -> None:
    class Machine(CrawlMachine):
        def make_source(self) -> Any:
            return source

        def make_store(self) -> Counted:
            return Counted()

    machine = Machine()
    with pytest.raises((ConnectionError, ConfigurationError)):
        machine.set_up()
    machine.teardown()

    assert Counted.open_ones == 0
