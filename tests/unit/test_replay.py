"""A journal is what its machine does, row by row; the first row that is not is named."""

import json
from itertools import pairwise
from typing import Any

import attrs
import pytest
from made_journals import CANCELLED, COMPLETED, PAUSED, Happening, journal_of, network

from twitor_fsm.core.states import DEFAULT_SPEC, Durability, Kind, Row, StateDef, Trigger, endings
from twitor_fsm.errors import JournalRefused
from twitor_fsm.journal import read_journal, row_shape, write_journal
from twitor_fsm.replaying import Replayed, replay

EXTENDED = DEFAULT_SPEC.extend(
    states=(StateDef("resting", Kind.WAITING),),
    rows=(
        Row("rest", ("running",), "resting"),
        Row("rested", ("resting",), "running", durability=Durability.RIDES),
        *endings("resting"),
    ),
)


@pytest.mark.parametrize("happenings", [[], PAUSED, COMPLETED, CANCELLED])
def test_what_the_machine_wrote_it_allows(happenings: list[Happening]) -> None:
    rows = journal_of(happenings)

    steps = list(replay(rows))
    assert [step.row for step in steps] == rows
    assert [step.after.state for step in steps] == [row.target for row in rows]
    assert all(before.after == after.before for before, after in pairwise(steps))


def test_each_step_says_its_guard_and_its_effects() -> None:
    first, _, third, fourth = replay(journal_of(PAUSED))

    assert first.title == "network_failed [tries_left]"
    assert first.effects == ("schedule_retry",)
    assert third.title == "recovered"
    assert fourth.effects == ("save_checkpoint", "schedule_resume")
    assert fourth.after.resume_at == fourth.row.at + 880.0


def test_of_two_rules_the_one_whose_guard_held_is_named() -> None:
    down = [network(float(after), 1.0) for after in range(6)]

    titles = [step.title for step in replay(journal_of(down))]
    assert titles == ["network_failed [tries_left]"] * 5 + ["network_failed [no_tries_left]"]


def test_an_absorbed_event_has_no_rule_and_no_effect() -> None:
    absorbed = [step for step in replay(journal_of(CANCELLED)) if step.row.absorbed]

    assert [(step.row.trigger, step.rule, step.effects) for step in absorbed] == [
        ("cancel", None, ()),
        ("fatal_failed", None, ()),
    ]


def test_a_machine_of_an_app_replays_its_own_journal_and_ours_refuses_it() -> None:
    rows = journal_of([Happening(1.0, "rest"), Happening(2.0, "rested")], EXTENDED)

    assert [step.after.state for step in replay(rows, EXTENDED)] == ["resting", "running"]
    with pytest.raises(JournalRefused, match=EXTENDED.fingerprint):
        list(replay(rows))


@pytest.mark.parametrize(
    ("position", "change", "why"),
    [
        (1, {"source": "retrying"}, "begins in retrying, but the session is in running"),
        (1, {"target": "aborting"}, "target is aborting, but network_failed gives retrying"),
        (2, {"seq": 3}, "step 2 was expected"),
        (2, {"tries": 1}, "tries is 1, but network_failed gives 2"),
        (2, {"trigger": "resume"}, "allows no resume in retrying"),
        (2, {"trigger": "nonsense"}, "allows no nonsense in retrying"),
        (3, {"absorbed": True}, "absorbed is True, but recovered gives False"),
        (4, {"spec": "0123456789abcdef"}, "written with another table"),
        (4, {"target": "running"}, "target is running"),
    ],
)
def test_the_first_wrong_row_is_named(position: int, change: dict[str, Any], why: str) -> None:
    rows = journal_of(PAUSED)
    rows[position - 1] = attrs.evolve(rows[position - 1], **change)

    taken: list[Replayed] = []
    with pytest.raises(JournalRefused, match=why) as refused:
        taken.extend(replay(rows))
    assert refused.value.position == position
    assert refused.value.seq == rows[position - 1].seq
    assert len(taken) == position - 1


def test_a_missing_and_a_doubled_row_are_seen() -> None:
    rows = journal_of(PAUSED)

    for broken, position in (([rows[0], *rows[2:]], 2), ([*rows[:2], rows[1], *rows[2:]], 3)):
        with pytest.raises(JournalRefused, match="missing or doubled") as refused:
            list(replay(broken))
        assert refused.value.position == position


def test_an_event_absorbed_twice_is_refused() -> None:
    rows = journal_of(CANCELLED)
    doubled = [*rows[:3], attrs.evolve(rows[2], seq=4)]

    with pytest.raises(JournalRefused, match="journalled once"):
        list(replay(doubled))


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("happenings", [PAUSED, CANCELLED])
def test_a_journal_survives_its_file(happenings: list[Happening]) -> None:
    rows = journal_of(happenings)

    read = read_journal(write_journal(rows, session_id="s1", started_at=5.0))
    assert list(read) == rows
    assert (read.session_id, read.started_at) == ("s1", 5.0)
    assert read_journal(write_journal(rows)).started_at is None


def test_blank_lines_and_unknown_keys_are_passed_over() -> None:
    lines = write_journal(journal_of(PAUSED)).splitlines()
    text = "\n\r\n".join(line.replace("{", '{"new": [1], ', 1) for line in lines)

    assert list(read_journal(text)) == journal_of(PAUSED)
    assert read_journal("\n").rows == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ('{"seq": 2}', "missing required field"),
        ('"\udce9"'.encode("utf-8", "surrogateescape"), "no step of a session"),
    ],
)
def test_a_line_that_is_no_step_is_named(line: str | bytes, why: str) -> None:
    before = write_journal(journal_of(PAUSED)).splitlines()[0].encode()
    broken = line.encode() if isinstance(line, str) else line

    with pytest.raises(JournalRefused, match=why) as refused:
        read_journal(before + b"\n" + broken + b"\n")
    assert (refused.value.position, refused.value.seq) == (2, None)


@pytest.mark.parametrize(
    "change", [{"at": -1.0}, {"at": 1e300}, {"delay_s": -5.0}, {"delay_s": 1e12}]
)
def test_times_that_no_machine_writes_are_refused(change: dict[str, float]) -> None:
    first, *_ = write_journal(journal_of(PAUSED)).splitlines()
    forged = json.dumps(json.loads(first) | change)

    with pytest.raises(JournalRefused, match="nothing of it was used") as refused:
        read_journal(forged)
    assert refused.value.position == 1


@pytest.mark.parametrize("items", ["7", -5, {}, 10**400, True])
def test_a_count_of_items_that_is_none_is_refused(items: object) -> None:
    first, *_ = write_journal(journal_of(PAUSED)).splitlines()
    row = json.loads(first)

    with pytest.raises(JournalRefused):
        read_journal(json.dumps(row | {"facts": row["facts"] | {"items": items}}))


def test_rows_of_two_sessions_make_no_journal() -> None:
    one, two = (
        write_journal(journal_of(PAUSED), session_id=name).splitlines() for name in ("a", "b")
    )

    with pytest.raises(JournalRefused, match="another session") as refused:
        read_journal("\n".join([one[0], *two[1:]]))
    assert refused.value.position == 2


def test_a_category_that_does_not_exist_is_refused() -> None:
    line = write_journal(journal_of(PAUSED)[:1]).replace("NETWORK", "WEATHER")

    with pytest.raises(JournalRefused, match="WEATHER"):
        read_journal(line)


def test_the_shape_of_a_row_has_stable_keys() -> None:
    assert list(row_shape(journal_of(PAUSED)[0])) == [
        "seq", "at", "trigger", "from", "to", "category", "reason", "delay_s", "tries",
        "tries_allowed", "facts", "absorbed", "spec",
    ]  # fmt: skip
    assert row_shape(journal_of(COMPLETED)[-1])["facts"] == {"items": 300}
    assert row_shape(journal_of(COMPLETED)[-1])["trigger"] == Trigger.FINISH
