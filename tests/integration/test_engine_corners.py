"""What happens seldom in an engine: effects of an app, skipped items that stay broken, richer records that are refused."""

import asyncio
import re
import sqlite3
from typing import Any

import attrs
import pytest
from scripted import ids, stored

from twitor_fsm.config import Settings
from twitor_fsm.core.states import (
    DEFAULT_SPEC,
    Durability,
    Kind,
    MachineSpec,
    Row,
    State,
    StateDef,
    Step,
    endings,
)
from twitor_fsm.engine import CrawlEngine
from twitor_fsm.errors import AuthenticationFailed, ConfigurationError
from twitor_fsm.sources.base import InvalidRaw, Item
from twitor_fsm.testing import ListSource, VirtualClock, assert_conforms


def nothing(_: object) -> None:
    """An effect that leaves the draft as it is."""


SPEC: MachineSpec = DEFAULT_SPEC.extend(
    states=[StateDef("on_hold", Kind.WAITING)],
    rows=[
        Row("hold", (State.RUNNING,), "on_hold", ("announce", "fail", "unheard")),
        Row("go_on", ("on_hold",), State.RUNNING),
        *endings("on_hold"),
    ],
    effects={"announce": nothing, "fail": nothing, "unheard": nothing},
)


async def test_an_apps_effect_is_carried_out_when_its_step_is_durable_and_stops_nothing(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    announced: list[tuple[str, str]] = []

    async def announce(step: Step) -> None:
        (session,) = await engine.sessions()
        announced.append((str(step.session.state), str(session.value.state)))

    async def fail(step: Step) -> None:
        raise RuntimeError(step)

    effects = {"announce": announce, "fail": fail}
    async with CrawlEngine(
        db, settings=Settings(), clock=clock, spec=SPEC, effects=effects
    ) as engine:
        handle = await engine.start(ListSource(ids(40)), user_id="me")
        handle.post("hold")
        handle.post("go_on")
        report = await handle.wait()

        assert report.completed
        assert_conforms(await engine.journal(report.session_id), SPEC)
    assert announced == [("on_hold", "on_hold")]
    assert "effect fail failed: RuntimeError; the session goes on" in caplog.text


async def test_an_apps_effect_on_a_step_that_rides_is_carried_out_with_the_commit_that_writes_it(
    db: str, clock: VirtualClock
) -> None:
    """A skip rides; what an app does about one is done once, when the skipped item is kept."""
    rows = tuple(
        attrs.evolve(row, effects=(*row.effects, "tell")) if row.trigger == "item_skipped" else row
        for row in DEFAULT_SPEC.rows
    )
    spec = attrs.evolve(DEFAULT_SPEC, rows=rows, effects={**DEFAULT_SPEC.effects, "tell": nothing})
    kept: list[list[str]] = []

    async def tell(step: Step) -> None:
        kept.append([row.skip.key for row in await engine.skipped("me")])

    async with CrawlEngine(
        db, settings=Settings(), clock=clock, spec=spec, effects={"tell": tell}
    ) as engine:
        report = await engine.crawl(ListSource(ids(40), bad={ids(40)[7]}), user_id="me")

    assert report.completed
    assert kept == [[ids(40)[7]]]


async def test_an_apps_effect_on_a_step_that_is_dropped_is_not_carried_out(
    db: str, clock: VirtualClock
) -> None:
    """An AUTH error drops what rides: it never became true."""
    glance = Row("glance", (State.RUNNING,), None, ("tell",), durability=Durability.RIDES)
    spec = DEFAULT_SPEC.extend(rows=[glance], effects={"tell": nothing})
    told: list[Step] = []

    async def tell(step: Step) -> None:
        told.append(step)

    async def refused(item: Item, _fence: int) -> None:
        if item.key == keys[0]:
            handle.post("glance")
            return
        raise AuthenticationFailed("no")

    keys = ids(4)
    async with CrawlEngine(
        db, settings=Settings(), clock=clock, spec=spec, effects={"tell": tell}
    ) as engine:
        handle = await engine.start(ListSource(keys), user_id="me", handler=refused)
        report = await handle.wait()
        triggers = [row.trigger for row in await engine.journal(report.session_id)]

    assert triggers == ["auth_failed", "cleaned_up"]
    assert told == []


@attrs.define
class Undecodable(ListSource):
    """What it decodes again, later, is another item, or nothing."""

    def decode(self, raw: str) -> Item | InvalidRaw:
        if "5" in raw:
            return Item(key="another", raw=raw)
        if "8" in raw:
            return InvalidRaw(key="9", raw=raw, message="it has no text")
        raise KeyError(raw)


async def test_a_skipped_item_that_cannot_be_decoded_again_stays_skipped(
    engine: CrawlEngine,
) -> None:
    keys, bad = ["1", "5", "8", "3"], {"1", "5", "8"}
    await engine.crawl(ListSource(keys, bad=bad), user_id="me")
    assert await engine.retry_skipped("me") == 3

    assert (await engine.crawl(Undecodable(keys, bad=bad), user_id="me")).completed

    rows = {row.skip.key: row for row in await engine.skipped("me")}
    assert {key: (row.tries, row.due) for key, row in rows.items()} == {
        "1": (2, False),
        "5": (2, False),
        "8": (2, False),
    }
    assert "it has no text" in rows["8"].skip.message
    assert "KeyError in decode" in rows["1"].skip.message
    assert "it is read as another item now" in rows["5"].skip.message
    assert await stored(engine) == ["3"]


@attrs.define
class Rich(ListSource):
    """Says more of each item."""

    def _element(self, key: str) -> Item:
        return Item(key=key, raw=f'{{"id":"{key}","text":"more"}}', text="more", richness=9)


async def test_a_richer_record_that_the_database_refuses_leaves_the_stored_one(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ids(30)
    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        await engine.crawl(ListSource(keys, name="a"), user_id="me")
    with sqlite3.connect(db) as connection:
        connection.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON twitor_bookmark "
            f"WHEN NEW.item_id = '{keys[3]}' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    connection.close()

    async with CrawlEngine(db, settings=Settings(), clock=clock) as engine:
        report = await engine.crawl(Rich(keys, name="b"), user_id="me")

        texts = {bookmark.id: bookmark.text async for bookmark in engine.bookmarks("me")}
    assert report.completed
    assert (report.counters.already_known, report.counters.skipped) == (30, 0)
    assert texts == {key: f"text of {key}" if key == keys[3] else "more" for key in keys}
    assert "refuses a richer record of an item" in caplog.text


@pytest.mark.parametrize("heeds", [True, False])
async def test_an_apps_effect_that_hangs_keeps_nobody_from_ending_the_session(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture, *, heeds: bool
) -> None:
    released = asyncio.Event()

    async def hang(_: Step) -> None:
        try:
            await released.wait()
        except asyncio.CancelledError:
            if heeds:
                raise
            await released.wait()

    async with CrawlEngine(
        db,
        settings=Settings(cleanup_timeout_s=0.02),
        clock=clock,
        spec=SPEC,
        effects={"announce": hang},
    ) as engine:
        handle = await engine.start(ListSource(ids(40)), user_id="me")
        handle.post("hold")
        handle.cancel()
        assert (await handle.wait()).state == "shut_down"

        held = await engine.start(ListSource(ids(40)), user_id="me")
        held.post("hold")
        held.post("go_on")
        assert (await held.wait()).completed
        released.set()
    assert "effect announce did not end within 0.02 s and was left" in caplog.text


async def test_an_event_that_does_not_fit_is_dropped_and_the_session_goes_on(
    db: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends one cannot know what the session does meanwhile: a button pressed twice ends no crawl."""
    async with CrawlEngine(db, settings=Settings(), clock=clock, spec=SPEC) as engine:
        handle = await engine.start(ListSource(ids(40)), user_id="me")
        for trigger in ("go_on", "hold", "hold", "go_on", "go_on"):
            handle.post(trigger)
        report = await handle.wait()

        assert report.completed
        told = [row.trigger for row in await engine.journal(report.session_id)]
    assert told[:2] == ["hold", "go_on"]
    assert told.count("hold") == told.count("go_on") == 1
    assert caplog.text.count("the event was dropped, the session goes on") == 3


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ("hodl", "knows no event 'hodl'; nothing was sent. Its own are: go_on, hold"),
        ("cancel", "end the session with cancel(reason)"),
        ("resume", "is an event of the session itself"),
    ],
)
async def test_an_event_that_nobody_may_send_is_refused_where_it_is_sent(
    db: str, clock: VirtualClock, trigger: str, words: str
) -> None:
    async with CrawlEngine(db, settings=Settings(), clock=clock, spec=SPEC) as engine:
        handle = await engine.start(ListSource(ids(40)), user_id="me")
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            handle.post(trigger)
        assert (await handle.wait()).completed


@pytest.mark.parametrize(
    ("effects", "words"),
    [({"anounce": nothing}, "has no effect 'anounce'"), ({"announce": None}, "is a NoneType")],
)
def test_an_effect_that_would_never_be_carried_out_is_refused(
    db: str, effects: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        CrawlEngine(db, settings=Settings(), spec=SPEC, effects=effects)
