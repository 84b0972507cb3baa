"""What a picture says of a session is what its journal says."""

import re
from itertools import pairwise

import pytest
from made_journals import CANCELLED, COMPLETED, PAUSED, START, Happening, journal_of

from twitor_fsm.core.states import DEFAULT_SPEC, Kind, Row, StateDef, Trigger, endings
from twitor_fsm.diagrams import Format, render_session, render_timeline
from twitor_fsm.diagrams.graph import Event
from twitor_fsm.diagrams.path import Path, clock_text, span_text
from twitor_fsm.diagrams.scene import scene_of
from twitor_fsm.diagrams.timeline import MOST, Scale, Span, Timeline
from twitor_fsm.errors import ConfigurationError, JournalRefused


def path_of(
    happenings: list[Happening], now: float | None = None, alive: bool | None = None
) -> Path:
    return Path.of(
        DEFAULT_SPEC,
        journal_of(happenings),
        now=None if now is None else START + now,
        alive=alive,
    )


def test_edges_are_counted_event_by_event() -> None:
    path = path_of(PAUSED)

    assert path.count(("running", "retrying")) == 1
    assert path.count(("retrying", "retrying"), Event("network_failed", "tries_left")) == 1
    assert path.count(("running", "aborting")) == 0
    assert sum(path.counts.values()) == len(PAUSED)
    assert path.visited == {"running", "retrying", "paused_rate_limit"}


def test_a_session_without_a_step_is_where_it_begins() -> None:
    path = path_of([], alive=True)

    assert (path.current, path.notes) == ("running", ("runs now",))
    assert path.visited == {"running"}
    assert path.last_error is None
    assert "It is in running (runs now)." in scene_of(DEFAULT_SPEC, path).description


@pytest.mark.parametrize(
    ("happenings", "now", "alive", "notes"),
    [
        (PAUSED, 28.0, None, ("RATE_LIMIT: window used up", "resumes in 14 min 20 s")),
        (PAUSED, 28.0, True, ("RATE_LIMIT: window used up", "resumes in 14 min 20 s", "runs now")),
        (PAUSED, None, None, ("RATE_LIMIT: window used up", "resumes at 14:28:08 UTC")),
        (PAUSED, 900.0, False, ("RATE_LIMIT: window used up", "resumes now", "nobody runs it now")),
        (PAUSED[:2], 3.5, None, ("NETWORK: server error", "tries again in 2 s")),
        (COMPLETED, 900.0, None, ("end verified",)),
        (CANCELLED, 4.0, False, ("stopped by user",)),
    ],
)
def test_the_state_says_why_it_is_what_it_is(
    happenings: list[Happening], now: float | None, alive: bool | None, notes: tuple[str, ...]
) -> None:
    assert path_of(happenings, now, alive).notes == notes


def test_the_last_error_is_told_without_general_advice() -> None:
    assert path_of(PAUSED).last_error == "RATE_LIMIT at 14:13:28 UTC: the window is used up"
    assert path_of(PAUSED[:2]).last_error == (
        "NETWORK at 14:13:23 UTC (failure 2 of 5): server error"
    )


def test_absorbed_events_are_told_at_their_state_and_take_no_edge() -> None:
    path = path_of(CANCELLED)

    assert path.absorbed == {"shutting_down": {"cancel": 1, "fatal_failed": 1}}
    assert path.count(("shutting_down", "shutting_down")) == 0
    [box] = [b for b in scene_of(DEFAULT_SPEC, path).boxes if b.node.name == "shutting_down"]
    assert [line.text for line in box.inner] == ["cancel: no effect", "fatal_failed: no effect"]


def test_only_taken_edges_are_thick_and_only_the_current_state_is_filled() -> None:
    drawn = str(render_session(journal_of(COMPLETED)))

    links = [line for line in drawn.splitlines() if ":::taken" in line]
    assert len(links) == drawn.count("linkStyle") == 5
    assert drawn.count("_now\n") == 1
    assert "<b>completed</b><br/>end verified" in drawn
    assert "class s3,s4,s6,s7 never" in drawn  # the others were visited
    assert "-.->" in drawn


def test_how_often_is_written_where_it_is_more_than_once() -> None:
    more = [*PAUSED[:2], Happening(6.0, "recovered"), *PAUSED[:1]]
    drawn = str(render_session(journal_of(more), format="dot"))

    assert "<b>network_failed [tries_left] ×2</b>" in drawn
    assert "×1" not in drawn


@pytest.mark.parametrize("format_", ["mermaid", "dot"])
def test_a_journal_that_the_machine_does_not_allow_is_not_drawn(format_: Format) -> None:
    with pytest.raises(JournalRefused):
        render_session(journal_of(PAUSED)[1:], format=format_)


# -- time -----------------------------------------------------------------------------------------


def timeline_of(happenings: list[Happening], now: float | None = None) -> Timeline:
    return Timeline.of(
        DEFAULT_SPEC,
        journal_of(happenings),
        started_at=START,
        now=None if now is None else START + now,
    )


def test_spans_are_the_states_without_gaps() -> None:
    timeline = timeline_of(COMPLETED)

    assert [(s.state, s.begin - START, s.end - START) for s in timeline.spans] == [
        ("running", 0.0, 2.0),
        ("retrying", 2.0, 6.0),
        ("running", 6.0, 8.0),
        ("paused_rate_limit", 8.0, 888.0),
        ("running", 888.0, 890.0),
        ("completed", 890.0, 890.0),
    ]
    assert timeline.spent("running") == 6.0


def test_a_waiting_state_of_an_app_has_its_lane_above_the_ends() -> None:
    spec = DEFAULT_SPEC.extend(
        states=[StateDef("on_hold", Kind.WAITING)],
        rows=[
            Row("hold", ("running",), "on_hold"),
            Row("go_on", ("on_hold",), "running"),
            *endings("on_hold"),
        ],
    )
    held = [Happening(1.0, "hold"), Happening(2.0, "go_on"), Happening(3.0, Trigger.FINISH)]

    timeline = Timeline.of(spec, journal_of(held, spec), started_at=START)

    assert [state for state, _ in timeline.states] == ["running", "on_hold", "completed"]


def test_the_last_state_lasts_until_now() -> None:
    assert timeline_of(PAUSED, now=100.0).spent("paused_rate_limit") == 92.0
    assert timeline_of([], now=7.0).spans == (Span("running", START, START + 7.0),)


def test_errors_checkpoints_and_items_are_marked() -> None:
    timeline = timeline_of(COMPLETED)

    assert [(m.lane, m.at - START) for m in timeline.errors] == [
        ("NETWORK", 2.0),
        ("NETWORK", 3.5),
        ("RATE_LIMIT", 8.0),
    ]
    assert [(m.text, m.at - START) for m in timeline.checkpoints] == [
        ("rate_limited", 8.0),
        ("finish", 890.0),
    ]
    assert [count for _, count in timeline.items] == [180, 270, 270, 300]


def test_a_count_that_is_known_besides_the_journal_stands_at_the_end() -> None:
    timeline = Timeline.of(DEFAULT_SPEC, [], started_at=START, now=START + 9.0, items=900)

    assert timeline.items == ((START + 9.0, 900),)


def test_a_takeover_is_marked() -> None:
    rows = [Happening(5.0, "restarted", reason="taken_over")]

    assert [mark.at for mark in timeline_of(rows).restarts] == [START + 5.0]


def test_the_time_before_anybody_began_it_is_not_drawn_as_work() -> None:
    begun = Happening(50.0, "restarted", reason="asked_for")
    timeline = timeline_of([begun, Happening(60.0, "finish", reason="end_verified")])

    assert [(s.state, s.begin - START, s.end - START) for s in timeline.spans] == [
        ("not begun", 0.0, 50.0),
        ("running", 50.0, 60.0),
        ("completed", 60.0, 60.0),
    ]
    assert timeline.states[0] == ("not begun", Kind.WAITING)
    assert timeline.spent("running") == 10.0
    assert timeline.restarts == (), "nobody was there to take it over from"


def test_a_session_that_nobody_has_begun_is_drawn_as_asked_for() -> None:
    drawn = render_timeline([], started_at=START, now=START + 9.0, alive=False, begun=False)

    assert "not begun for 9 s." in drawn
    assert "not begun: it is only asked for" in drawn
    assert "running" not in drawn


@pytest.mark.parametrize("lasted_s", [0.0, 0.0011, 900.0])
@pytest.mark.parametrize("since_s", [0.0, 0.00074, 5000.0])
def test_a_final_state_is_a_narrow_end_without_a_duration(lasted_s: float, since_s: float) -> None:
    rows = journal_of([Happening(lasted_s, "finish", reason="end_verified")])
    now = START + lasted_s + since_s

    drawn = render_timeline(rows, started_at=START, now=now)

    (wide,) = re.findall(r'<rect class="final full"[^>]* width="([\d.]+)"', drawn)
    assert 7.0 < float(wide) < 10.0
    assert drawn.count(">completed</text>") == 2, "its lane's name, and its own"
    assert ". completed. 1 checkpoints" in drawn
    assert not since_s or span_text(since_s) not in drawn
    assert "completed for" not in drawn


def test_a_clock_that_falls_makes_no_span_negative() -> None:
    timeline = timeline_of([*PAUSED[:2], Happening(1.0, "recovered")])

    assert all(span.end >= span.begin for span in timeline.spans)
    assert all(a.end == b.begin for a, b in pairwise(timeline.spans))


def spans_of(lengths: list[float]) -> tuple[Span, ...]:
    spans, at = [], START
    for length in lengths:
        spans.append(Span("running", at, at + length))
        at += length
    return tuple(spans)


def test_long_spans_are_shortened_and_say_so() -> None:
    scale = Scale.of(spans_of([5.0, 900.0, 5.0, 900.0, 5.0]))

    assert scale.shortened == (False, True, False, True, False)
    shares = [right - left for left, right in pairwise(scale.begins)]
    assert shares[1] == shares[3] == pytest.approx(MOST / 2)
    assert shares[0] == pytest.approx((1 - MOST) / 3)


@pytest.mark.parametrize("lengths", [[10.0] * 4, [1.0, 2.0, 4.0, 8.0], [60.0], [0.0, 3.0]])
def test_spans_of_a_kind_are_drawn_to_scale(lengths: list[float]) -> None:
    assert not any(Scale.of(spans_of(lengths)).shortened)


def test_a_timeline_is_no_graph() -> None:
    with pytest.raises(ConfigurationError, match="not as 'mermaid'; nothing was drawn"):
        render_timeline(journal_of(PAUSED), format="mermaid")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (-3.0, "0 s"),
        (0.4242, "0.42 s"),
        (3.14, "3.1 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (860.0, "14 min 20 s"),
        (7500.0, "2 h 5 min"),
        (90_000.0, "1 d 1 h"),
    ],
)
def test_lengths_of_time_have_at_most_two_units(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_a_time_that_no_calendar_has_is_said() -> None:
    assert clock_text(1e30) == "a time that no calendar has"
