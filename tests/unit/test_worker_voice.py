"""What a worker says while it waits, on a clock and a queue that are scripted."""

import asyncio
import re
from collections.abc import Iterator

import attrs
import pytest

from twitor_fsm.cli.working import WorkerVoice
from twitor_fsm.core.records import Counters
from twitor_fsm.ending import RUN_AGAIN
from twitor_fsm.events import Event, SessionEnded, SessionStarted
from twitor_fsm.queue_manager import QueueHealth
from twitor_fsm.sources.credentials import HOW_TO_GET_A_TOKEN
from twitor_fsm.testing.clock import VirtualClock

NOTHING = (0, 0)
OURS = (0, 1)
AWAY = None


@attrs.define
class ScriptedQueue:
    """Its health at one look after the other; then the watching ends."""

    looks: Iterator[tuple[int, int] | None]

    async def health_check(self) -> QueueHealth:
        look = next(self.looks, ())
        if look == ():
            raise asyncio.CancelledError
        is_away = look is None
        size, in_flight = look or (None, None)
        return QueueHealth(
            status="unhealthy" if is_away else "healthy",
            error="away" if is_away else None,
            queue_size=size,
            in_flight=in_flight,
            delayed=None if is_away else 0,
            dead_letter_size=None if is_away else 0,
            oldest_s=None,
        )


async def said(
    voice: WorkerVoice, capsys: pytest.CaptureFixture[str], *looks: tuple[int, int] | None
) -> list[str]:
    """The beginnings of what it says at these looks."""
    queue = ScriptedQueue(iter(looks))
    with pytest.raises(asyncio.CancelledError):
        await voice.watch(queue, lease_s=30.0)  # type: ignore[arg-type]  # all that it asks of a queue
    return [line[:30] for line in capsys.readouterr().err.splitlines()]


@pytest.fixture
def voice() -> WorkerVoice:
    return WorkerVoice(VirtualClock())


OTHERS = "waiting: 1 task with other work"[:30]
IDLE = "waiting: nothing to do now"


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([NOTHING, NOTHING, NOTHING], [IDLE]),
        ([OURS, NOTHING], [IDLE]),
        ([OURS, OURS, OURS], [OTHERS]),
        ([OURS, OURS, NOTHING, OURS, OURS, NOTHING], [OTHERS, IDLE]),
        ([(1, 0), (1, 1), (1, 1)], []),
        ([AWAY, AWAY], []),
    ],
    ids=["idle", "its own task", "others' task", "others come and go", "work", "outage"],
)
async def test_what_is_waited_for_is_said_once(
    voice: WorkerVoice,
    capsys: pytest.CaptureFixture[str],
    looks: list[tuple[int, int] | None],
    expected: list[str],
) -> None:
    assert await said(voice, capsys, *looks) == expected


def events(state: str, *, stored: int = 5, message: str = "why") -> list[Event]:
    began = SessionStarted(
        session_id="s", at=0.0, user_id="42", source="x", state="running", resumed=False
    )
    counters = Counters(seen=stored, stored=stored)
    ended = SessionEnded(
        session_id="s", at=9.0, state=state, reason=None, message=message, counters=counters
    )
    return [began, ended]


async def test_it_is_said_again_after_a_session_of_ours(
    voice: WorkerVoice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await said(voice, capsys, NOTHING, NOTHING) == [IDLE]
    for event in events("completed"):
        voice.observe(event)
    told = await said(voice, capsys, NOTHING, NOTHING)
    assert told[1:] == [IDLE]


def test_how_to_get_a_token_is_told_once_however_many_need_one(
    voice: WorkerVoice, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = "the service refuses the token (401). Get a new one and run again"
    whole = f"{refused}. {HOW_TO_GET_A_TOKEN}. User action: Update credentials and retry"
    for message in (whole, "why", whole, whole):
        for event in events("aborted", message=message):
            voice.observe(event)
    first, other, *again = capsys.readouterr().err.splitlines()
    assert f"ended by an error: {whole}; its session stored" in first
    assert "ended by an error: why; its session stored" in other
    assert len(again) == 2
    assert all(f"ended by an error: {refused}; its session stored" in line for line in again)


def test_who_was_stopped_by_a_person_goes_on_when_asked_for_again(
    voice: WorkerVoice, capsys: pytest.CaptureFixture[str]
) -> None:
    for reason in ("signal", "stopped_by_user"):
        began, ended = events("shut_down", message=f"stopped; a checkpoint is saved{RUN_AGAIN}")
        assert isinstance(ended, SessionEnded)
        voice.observe(began)
        voice.observe(attrs.evolve(ended, reason=reason))
    by_signal, by_person = capsys.readouterr().err.splitlines()
    assert "a checkpoint is saved, the crawl goes back to the queue; its session" in by_signal
    assert "a checkpoint is saved, asked for again it goes on; its session" in by_person


def test_a_crawl_counts_once_by_its_last_end(
    voice: WorkerVoice, capsys: pytest.CaptureFixture[str]
) -> None:
    for state in ("paused_rate_limit", "shut_down", "paused_rate_limit", "completed"):
        for event in events(state):
            voice.observe(event)
    voice.tell_summary()
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"stopped after .*: 1 crawl, 1 completed; 20 bookmarks stored", last), last
    told = voice.summary()
    assert told["crawls"] == {"completed": 1}
    assert told["sessions"] == {"completed": 1, "paused_rate_limit": 2, "shut_down": 1}


def test_what_is_remembered_does_not_grow_with_the_users(
    voice: WorkerVoice, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twitor_fsm.cli.working.CRAWLS", 3)
    for user_id in ("1", "2", "3", "3", "4", "5", "4"):
        began, ended = events("aborted" if user_id == "1" else "completed")
        assert isinstance(began, SessionStarted)
        voice.observe(attrs.evolve(began, user_id=user_id))
        voice.observe(ended)
    assert voice.summary()["crawls"] == {"aborted": 1, "completed": 4}
    assert len(voice._crawls) == 3
    voice.tell_summary()
    assert "5 crawls, 1 ended by an error, 4 completed" in capsys.readouterr().err
