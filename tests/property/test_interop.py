"""`transitions` loads our table and then does what our machine does."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from transitions import Machine, MachineError

from twitor_fsm.core.states import (
    DEFAULT_SPEC,
    Durability,
    Facts,
    Kind,
    MachineSpec,
    Row,
    SessionValue,
    StateDef,
    endings,
)
from twitor_fsm.errors import IllegalStep
from twitor_fsm.interop import to_transitions
from twitor_fsm.machine import machine_for

EXTENDED = DEFAULT_SPEC.extend(
    states=(StateDef("resting", Kind.WAITING),),
    rows=(
        Row("rest", ("running",), "resting", ("record_skip",)),
        Row("rested", ("resting",), "running", durability=Durability.RIDES),
        *endings("resting"),
    ),
)

ALLOWED = 5


class Model:
    """What `transitions` moves: guards and effects by name, tries counted as the effects say."""

    state: str

    def __init__(self) -> None:
        self.tries = 0
        self.effects: list[str] = []
        self.states_at_effects: list[str] = []
        self.entered: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name not in DEFAULT_SPEC.effects:
            raise AttributeError(name)

        def effect() -> None:
            self.effects.append(name)
            self.states_at_effects.append(self.state)
            if name == "schedule_retry":
                self.tries += 1
            elif name == "reset_retries":
                self.tries = 0

        return effect

    def on_enter_shutting_down(self) -> None:
        self.entered.append(self.state)

    def tries_left(self) -> bool:
        return self.tries < ALLOWED

    def no_tries_left(self) -> bool:
        return self.tries >= ALLOWED

    def has_tries(self) -> bool:
        return self.tries > 0


def drive(spec: MachineSpec, triggers: list[str]) -> None:
    """Send the same events to both; after each, both are in the same state and asked for the same effects."""
    model, value = Model(), SessionValue(str(spec.initial))
    Machine(model, **json.loads(json.dumps(to_transitions(spec))))
    for trigger in triggers:
        before = len(model.effects)
        try:
            moved = bool(getattr(model, "trigger")(trigger))  # noqa: B009 - set at run time
        except (MachineError, AttributeError):
            moved = False
        try:
            step = machine_for(spec).step(value, trigger, Facts(now=1.0, tries_allowed=ALLOWED))
        except IllegalStep:
            assert not moved
        else:
            assert moved
            assert list(step.effects) == model.effects[before:]
            assert set(model.states_at_effects[before:]) <= {value.state}  # before the change
            value = step.session
        assert (model.state, model.tries) == (value.state, value.tries)


@given(st.lists(st.sampled_from(DEFAULT_SPEC.triggers), max_size=30))
def test_both_machines_go_the_same_way(triggers: list[str]) -> None:
    drive(DEFAULT_SPEC, [str(trigger) for trigger in triggers])


@given(st.lists(st.sampled_from(EXTENDED.triggers), max_size=30))
def test_an_extended_machine_goes_the_same_way_too(triggers: list[str]) -> None:
    drive(EXTENDED, [str(trigger) for trigger in triggers])


def test_every_cell_of_the_table_goes_the_same_way() -> None:
    """Whatever the state, reached by a shortest way, every trigger does the same in both."""
    ways = {
        "running": [],
        "retrying": ["network_failed"],
        "paused_rate_limit": ["rate_limited"],
        "aborting": ["auth_failed"],
        "shutting_down": ["cancel"],
        "completed": ["finish"],
        "aborted": ["auth_failed", "cleaned_up"],
        "shut_down": ["cancel", "cleaned_up"],
    }
    assert set(ways) == set(DEFAULT_SPEC.kinds)
    for way in ways.values():
        for trigger in DEFAULT_SPEC.triggers:
            drive(DEFAULT_SPEC, [*way, str(trigger)])
            drive(DEFAULT_SPEC, [*["network_failed"] * ALLOWED, *way, str(trigger)])


def test_an_absorbed_event_does_not_enter_its_state_again() -> None:
    model = Model()
    Machine(model, **to_transitions())

    for trigger in ("cancel", "cancel", "fatal_failed"):
        assert getattr(model, "trigger")(trigger)  # noqa: B009
    assert model.entered == ["shutting_down"]


def test_the_configuration_is_plain_and_whole() -> None:
    made = to_transitions()

    assert json.loads(json.dumps(made)) == made
    assert len(made["states"]) == 8
    absorbed = sum(len(absorb.triggers) for absorb in DEFAULT_SPEC.absorbs)
    assert len(made["transitions"]) == len(DEFAULT_SPEC.rows) + absorbed
