"""The table, cell by cell, and what makes a table wrong."""

import logging
import sys
from itertools import product

import pytest

from twitor_fsm.core.states import (
    DEFAULT_SPEC,
    Absorb,
    Draft,
    Durability,
    Effect,
    Facts,
    Guard,
    Kind,
    MachineSpec,
    Row,
    SessionValue,
    State,
    StateDef,
    Trigger,
    check_for_crawls,
    endings,
)
from twitor_fsm.core.taxonomy import ErrorCategory, Reason
from twitor_fsm.errors import IllegalStep, SpecError
from twitor_fsm.machine import Machine, machine_for, step

T, S, E = Trigger, State, Effect
NOW = 1_700_000_000.0

# The design's table, written out once more by hand: trigger, tries before, sources, target (None: the same), effects.
TABLE = [
    (T.ITEM_SKIPPED, 0, {S.RUNNING, S.RETRYING}, S.RUNNING, (E.RESET_RETRIES, E.RECORD_SKIP)),
    (T.NETWORK_FAILED, 4, {S.RUNNING, S.RETRYING}, S.RETRYING, (E.SCHEDULE_RETRY,)),
    (
        T.NETWORK_FAILED,
        5,
        {S.RUNNING, S.RETRYING},
        S.ABORTING,
        (E.SAVE_CHECKPOINT, E.RUN_CLEANUP),
    ),
    (T.RECOVERED, 1, {S.RUNNING, S.RETRYING}, S.RUNNING, (E.RESET_RETRIES,)),
    (
        T.RATE_LIMITED,
        0,
        {S.RUNNING, S.RETRYING},
        S.PAUSED_RATE_LIMIT,
        (E.SAVE_CHECKPOINT, E.SCHEDULE_RESUME),
    ),
    (T.RESUME, 3, {S.PAUSED_RATE_LIMIT}, S.RUNNING, ()),
    (
        T.AUTH_FAILED,
        0,
        {S.RUNNING, S.RETRYING, S.PAUSED_RATE_LIMIT},
        S.ABORTING,
        (E.RUN_CLEANUP,),
    ),
    (
        T.FATAL_FAILED,
        0,
        {S.RUNNING, S.RETRYING, S.PAUSED_RATE_LIMIT},
        S.SHUTTING_DOWN,
        (E.SAVE_CHECKPOINT, E.RUN_CLEANUP),
    ),
    (
        T.STORE_FAILED,
        0,
        {S.RUNNING, S.RETRYING, S.PAUSED_RATE_LIMIT},
        S.SHUTTING_DOWN,
        (E.RUN_CLEANUP,),
    ),
    (
        T.CANCEL,
        0,
        {S.RUNNING, S.RETRYING, S.PAUSED_RATE_LIMIT},
        S.SHUTTING_DOWN,
        (E.SAVE_CHECKPOINT, E.RUN_CLEANUP),
    ),
    (T.FINISH, 0, {S.RUNNING}, S.COMPLETED, (E.SAVE_CHECKPOINT,)),
    (T.CLEANED_UP, 0, {S.ABORTING}, S.ABORTED, (E.END_SESSION,)),
    (T.CLEANED_UP, 0, {S.SHUTTING_DOWN}, S.SHUT_DOWN, (E.END_SESSION,)),
    (T.RESTARTED, 2, {S.RUNNING, S.RETRYING, S.PAUSED_RATE_LIMIT}, None, ()),
]
ABSORBED = {
    T.ITEM_SKIPPED,
    T.NETWORK_FAILED,
    T.RATE_LIMITED,
    T.AUTH_FAILED,
    T.FATAL_FAILED,
    T.STORE_FAILED,
    T.CANCEL,
}


def facts(**changes: object) -> Facts:
    """Facts of some event."""
    return Facts(now=NOW, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("trigger", "tries", "sources", "target", "effects"), TABLE)
def test_every_row_does_what_the_design_says(
    trigger: Trigger,
    tries: int,
    sources: set[State],
    target: State | None,
    effects: tuple[Effect, ...],
) -> None:
    for source in sources:
        taken = step(SessionValue(source, seq=7, tries=tries), trigger, facts())

        assert taken.session.state == (target or source)
        assert taken.effects == effects
        assert taken.session.seq == 8
        assert taken.journal is not None
        assert (taken.journal.source, taken.journal.target) == (source, target or source)


@pytest.mark.parametrize(("trigger", "state"), list(product(Trigger, State)))
def test_every_other_cell_is_absorbed_while_ending_or_illegal(
    trigger: Trigger, state: State
) -> None:
    rows = {(t, s) for t, _, sources, _, _ in TABLE for s in sources}
    if (trigger, state) in rows:
        return
    value = SessionValue(state, seq=3, tries=1)
    if state in {S.ABORTING, S.SHUTTING_DOWN} and trigger in ABSORBED:
        first = step(value, trigger, facts())
        again = step(first.session, trigger, facts())
        assert (first.session.state, first.effects) == (state, ())
        assert first.journal is not None
        assert first.journal.absorbed
        assert again.journal is None
        assert again.session == first.session
    else:
        with pytest.raises(IllegalStep):
            step(value, trigger, facts())


@pytest.mark.parametrize("state", [S.COMPLETED, S.ABORTED, S.SHUT_DOWN])
@pytest.mark.parametrize("trigger", list(Trigger))
def test_nothing_leaves_a_final_state(state: State, trigger: Trigger) -> None:
    with pytest.raises(IllegalStep, match="left as it was"):
        step(SessionValue(state), trigger, facts())


def test_a_retry_is_scheduled_and_its_timer_dies_with_its_state() -> None:
    failed = step(SessionValue(), T.NETWORK_FAILED, facts(delay_s=4.0)).session
    assert (failed.tries, failed.retry_at) == (1, NOW + 4.0)

    restarted = step(failed, T.RESTARTED, facts()).session
    assert (restarted.tries, restarted.retry_at) == (1, NOW + 4.0)

    recovered = step(restarted, T.RECOVERED, facts()).session
    assert (recovered.tries, recovered.retry_at) == (0, None)


def test_a_pause_keeps_the_tries_and_ends_with_its_state() -> None:
    paused = step(SessionValue(tries=2), T.RATE_LIMITED, facts(delay_s=900.0)).session
    assert (paused.tries, paused.resume_at) == (2, NOW + 900.0)

    running = step(paused, T.RESUME, facts()).session
    assert (running.tries, running.resume_at) == (2, None)


def test_a_recovery_without_failures_is_illegal() -> None:
    with pytest.raises(IllegalStep):
        step(SessionValue(), T.RECOVERED, facts())


def test_the_first_error_stays_the_reason_of_an_ending_session() -> None:
    ending = step(
        SessionValue(), T.AUTH_FAILED, facts(category=ErrorCategory.AUTH, reason="token_refused")
    ).session
    after = step(
        ending, T.FATAL_FAILED, facts(category=ErrorCategory.FATAL, reason=Reason.UNKNOWN)
    ).session
    ended = step(after, T.CLEANED_UP, facts()).session

    assert (ended.state, ended.category, ended.reason) == (
        S.ABORTED,
        ErrorCategory.AUTH,
        "token_refused",
    )


@pytest.mark.parametrize("state", [S.RUNNING, S.RETRYING])
def test_tries_never_pass_what_is_allowed(state: State) -> None:
    for tries, allowed in product(range(9), repeat=2):
        session = SessionValue(state, tries=tries)
        taken = step(session, T.NETWORK_FAILED, facts(tries_allowed=allowed)).session

        if tries < allowed:
            assert (taken.state, taken.tries) == (S.RETRYING, tries + 1)
        else:
            assert (taken.state, taken.tries) == (S.ABORTING, tries)


def test_what_a_row_commits_is_as_the_design_says() -> None:
    rides = {T.ITEM_SKIPPED, T.RECOVERED, T.RESUME, T.RESTARTED}
    for row in DEFAULT_SPEC.rows:
        expected = (
            Durability.RIDES
            if row.trigger in rides
            else Durability.ALONE
            if row.trigger == T.AUTH_FAILED
            else Durability.UNSAVED
            if row.trigger == T.STORE_FAILED
            else Durability.AT_ONCE
        )
        assert row.durability is expected, row


def _spec(**changes: object) -> MachineSpec:
    """The smallest machine, changed."""
    parts: dict[str, object] = {
        "states": (StateDef("a", Kind.WORK), StateDef("b", Kind.FINAL)),
        "initial": "a",
        "rows": (Row("go", ("a",), "b"),),
    }
    return MachineSpec(**{**parts, **changes})  # type: ignore[arg-type]


WRONG: list[tuple[dict[str, object], str]] = [
    ({"states": (StateDef("a", Kind.WORK), StateDef("a", Kind.FINAL))}, "defined twice"),
    ({"states": (StateDef("a", Kind.WORK), StateDef("=", Kind.FINAL))}, "can be named '='"),
    ({"rows": (Row("state", ("a",), "b"),)}, "no trigger can be named 'state'"),
    ({"initial": "z"}, "initial state 'z'"),
    ({"states": (StateDef("a", Kind.WORK), StateDef("b", Kind.WORK))}, "no state is final"),
    ({"rows": (Row("go", ("a",), "z"),)}, "go: a -> z: unknown state 'z'"),
    ({"rows": (Row("go", ("y",), "b"),)}, "unknown state 'y'"),
    ({"rows": (Row("go", (), "b"),)}, "no source"),
    ({"rows": (Row("go", ("a",), "b"), Row("back", ("b",), "a"))}, "leaves the final state 'b'"),
    (
        {"rows": (Row("go", ("a",), "b", ("fly",)),)},
        "no handler for effect 'fly'. Give one with extend",
    ),
    ({"rows": (Row("go", ("a",), "b", guard="maybe"),)}, "no guard 'maybe'"),
    ({"rows": (Row("go", ("a",), "b"), Row("go", ("a",), "a"))}, "never taken in 'a'"),
    (
        {
            "states": (
                StateDef("a", Kind.WORK),
                StateDef("b", Kind.FINAL),
                StateDef("c", Kind.FINAL),
            )
        },
        "state 'c' cannot be reached",
    ),
    (
        {
            "states": (
                StateDef("a", Kind.WORK),
                StateDef("b", Kind.FINAL),
                StateDef("c", Kind.WAITING),
            ),
            "rows": (Row("go", ("a",), "b"), Row("fall", ("a",), "c")),
        },
        "'c' has no way to a final state",
    ),
    (
        {"rows": (Row("go", ("a",), "b", durability=Durability.RIDES),)},
        "row go: a -> b: rides into a final state",
    ),
    (
        {
            "states": (
                StateDef("a", Kind.WORK),
                StateDef("b", Kind.FINAL),
                StateDef("c", Kind.ENDING),
            ),
            "rows": (
                Row("fall", ("a",), "c", (E.SAVE_CHECKPOINT,), durability=Durability.RIDES),
                Row("go", ("c",), "b"),
            ),
        },
        "row fall: a -> c: rides into an ending state",
    ),
    (
        {"rows": (Row("go", ("a",), "b", (E.RUN_CLEANUP,)),)},
        "row go: a -> b: asks for the cleanup",
    ),
    ({"absorbs": (Absorb(("b",), ("x",)),)}, "final and cannot absorb"),
    ({"absorbs": (Absorb(("a",), ("go",)),)}, "both absorbed and a row"),
    ({"absorbs": (Absorb(("q",), ("x",)),)}, "unknown state 'q'"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_table_is_refused_by_name_when_it_is_made(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        _spec(**changes)


def test_an_app_may_extend_the_machine() -> None:
    noted: list[str] = []

    def note(draft: Draft) -> None:
        noted.append(draft.state)

    spec = DEFAULT_SPEC.extend(
        states=[StateDef("on_hold", Kind.WAITING)],
        rows=[
            Row("hold", (S.RUNNING,), "on_hold", ("note",)),
            Row("go_on", ("on_hold",), S.RUNNING),
            Row(T.CANCEL, ("on_hold",), S.SHUTTING_DOWN, (E.SAVE_CHECKPOINT, E.RUN_CLEANUP)),
        ],
        effects={"note": note},
    )
    machine = Machine(spec)

    held = machine.step(SessionValue(), "hold", facts())
    assert (held.session.state, held.effects, noted) == ("on_hold", ("note",), ["running"])
    assert machine.step(held.session, "go_on", facts()).session.state == S.RUNNING
    assert machine.step(held.session, T.CANCEL, facts()).session.state == S.SHUTTING_DOWN
    assert spec.fingerprint != DEFAULT_SPEC.fingerprint


def test_a_guard_that_raises_leaves_the_value_as_it_was() -> None:
    def broken(_: Draft) -> bool:
        raise RuntimeError("no")

    machine = Machine(
        _spec(rows=(Row("go", ("a",), "b", guard="broken"),), guards={"broken": broken})
    )
    value = SessionValue("a")

    with pytest.raises(RuntimeError):
        machine.step(value, "go", facts())
    assert value == SessionValue("a")


def test_one_machine_serves_all_sessions_of_a_spec() -> None:
    assert machine_for(DEFAULT_SPEC) is machine_for(DEFAULT_SPEC)


def test_every_effect_and_guard_of_the_default_machine_is_used() -> None:
    assert {e for row in DEFAULT_SPEC.rows for e in row.effects} == set(Effect)
    assert {row.guard for row in DEFAULT_SPEC.rows if row.guard} == set(Guard)
    assert set(DEFAULT_SPEC.triggers) == set(Trigger)


def test_a_sessions_value_takes_at_most_400_bytes() -> None:
    value = SessionValue(
        S.RETRYING, 12, 3, NOW + 0.5, None, ErrorCategory.NETWORK, Reason.TIMEOUT, (T.CANCEL,)
    )
    own = [value, value.retry_at, value.absorbed, value.seq]

    assert sum(sys.getsizeof(part) for part in own) <= 400


def test_the_journal_row_gives_back_the_facts_of_its_event() -> None:
    given_facts = facts(
        category=ErrorCategory.NETWORK,
        reason=Reason.TIMEOUT,
        delay_s=2.0,
        tries_allowed=3,
        message="no answer",
        item="17",
        operation="fetch",
    )

    row = step(SessionValue(), T.NETWORK_FAILED, given_facts).journal

    assert row is not None
    assert row.to_facts() == given_facts
    assert row.spec == DEFAULT_SPEC.fingerprint


def test_a_machine_whose_sessions_could_hang_is_refused_for_crawls() -> None:
    states = [StateDef("on_hold", Kind.WAITING)]
    rows = [
        Row("hold", (State.RUNNING,), "on_hold"),
        Row("go_on", ("on_hold",), State.RUNNING),
    ]

    check_for_crawls(DEFAULT_SPEC)
    check_for_crawls(DEFAULT_SPEC.extend(states=states, rows=[*rows, *endings("on_hold")]))
    with pytest.raises(SpecError, match="state 'on_hold' has no row for 'cancel'"):
        check_for_crawls(DEFAULT_SPEC.extend(states=states, rows=rows))


def test_the_log_of_the_library_says_nothing_of_our_steps(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="transitions.core"):
        step(SessionValue(), Trigger.CANCEL, Facts(now=0.0))
        logging.getLogger("transitions.core").info("%sof another machine", "other: ")

    assert [record.getMessage() for record in caplog.records] == ["other: of another machine"]


def test_a_row_that_is_allowed_nowhere_is_refused() -> None:
    with pytest.raises(SpecError, match=r"row nowhere: .* no source state"):
        DEFAULT_SPEC.extend(rows=[Row("nowhere", (), State.RUNNING)])


def test_a_row_behind_one_that_always_wins_is_refused() -> None:
    always = Row("hold", (State.RUNNING,), State.RUNNING)
    guarded = Row("hold", (State.RUNNING,), State.RETRYING, guard=Guard.HAS_TRIES)

    DEFAULT_SPEC.extend(rows=[guarded, always])
    for rows in ([always, guarded], [always, always], [guarded, guarded]):
        with pytest.raises(SpecError, match="never taken in 'running'"):
            DEFAULT_SPEC.extend(rows=rows)


def test_the_repr_of_a_machine_names_it_and_is_short() -> None:
    spec = DEFAULT_SPEC

    assert repr(spec) == (
        f"<MachineSpec {spec.fingerprint}: {len(spec.states)} states, {len(spec.rows)} rows>"
    )
    assert len(repr(spec)) < 60
