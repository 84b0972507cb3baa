"""Any sequence of errors on the real engine and real SQLite: nothing lost, nothing doubled, every end known."""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from scripted import ids, stored

from twitor_fsm.config import Settings
from twitor_fsm.core.states import DEFAULT_SPEC, Kind, SessionValue
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import (
    AuthenticationFailed,
    BillingRefused,
    CursorRefused,
    InvalidItem,
    RateLimited,
    SourceUnavailable,
)
from twitor_fsm.machine import machine_for
from twitor_fsm.sources.base import Item
from twitor_fsm.testing import ListSource, VirtualClock

ERRORS: dict[str, Callable[[], BaseException]] = {
    "NETWORK": lambda: SourceUnavailable("down"),
    "RATE_LIMIT": RateLimited,
    "AUTH": lambda: AuthenticationFailed("refused"),
    "FATAL": lambda: BillingRefused("no credits"),
    "CURSOR": lambda: CursorRefused("unknown"),
    "BUG": lambda: KeyError("a bug"),
    "VALIDATION": lambda: InvalidItem("bad"),
}
COUNT = 45


def replays(rows: list[object]) -> bool:
    """Whether the machine takes the journal's steps to the same states."""
    machine, value = machine_for(), None
    for row in rows:
        value = SessionValue(row.source) if value is None else value  # type: ignore[attr-defined]
        value = machine.step(value, row.trigger, row.to_facts()).session  # type: ignore[attr-defined]
        if str(value.state) != row.target:  # type: ignore[attr-defined]
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    fetches=st.dictionaries(st.integers(1, 14), st.sampled_from(sorted(ERRORS)), max_size=8),
    handles=st.dictionaries(st.integers(1, 70), st.sampled_from(sorted(ERRORS)), max_size=5),
    with_handler=st.booleans(),
    bad=st.sets(st.integers(0, COUNT - 1), max_size=4),
)
def test_whatever_fails_every_item_is_stored_once_or_recorded_as_skipped(
    fetches: dict[int, str], handles: dict[int, str], with_handler: bool, bad: set[int]
) -> None:
    async def story(folder: str) -> None:
        keys = ids(COUNT)
        script: dict[int, BaseException] = {n: ERRORS[kind]() for n, kind in fetches.items()}
        source = ListSource(keys, script=script, bad={keys[n] for n in bad})
        calls = 0

        async def handler(item: Item, fence: int) -> None:
            nonlocal calls
            calls += 1
            if calls in handles:
                error = ERRORS[handles[calls]]()
                raise error

        path = f"{folder}/b.db"
        async with CrawlEngine(path, settings=Settings(), clock=VirtualClock()) as engine:
            for _ in range(len(fetches) + len(handles) + 1):
                report = await engine.crawl(
                    source, user_id="me", handler=handler if with_handler else None
                )
                c = report.counters
                assert c.seen == c.stored + c.already_known + c.skipped
                assert DEFAULT_SPEC.kinds[report.state] is Kind.FINAL
                assert replays(list(await engine.journal(report.session_id)))
                checkpoint = await engine.store.checkpoint(
                    (await engine.status(report.session_id)).crawl
                )
                rows = await stored(engine)
                assert checkpoint is None or checkpoint.bookmarks_count == len(rows)
                assert len(rows) == len(set(rows))
                if report.completed:
                    break
            assert report.completed
            skipped = [row.skip.key for row in await engine.skipped("me")]
            assert sorted(rows + skipped) == sorted(keys)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(folder))
