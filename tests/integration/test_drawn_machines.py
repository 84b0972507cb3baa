"""What is drawn is our table: a machine of `transitions` itself is refused with what draws it."""

from typing import Any

import pytest
from transitions import Machine
from transitions.extensions import HierarchicalMachine

from twitor_fsm.diagrams import render, render_session, render_timeline
from twitor_fsm.errors import ConfigurationError


@pytest.mark.parametrize("kind", [Machine, HierarchicalMachine])
@pytest.mark.parametrize(
    "draw",
    [
        render,
        lambda spec: render_session((), spec=spec),
        lambda spec: render_timeline((), spec=spec),
    ],
)
def test_a_machine_of_transitions_is_refused_with_what_draws_it(kind: Any, draw: Any) -> None:
    theirs = kind(None, states=["a", "b"], initial="a")

    said = rf"a MachineSpec, not a {kind.__name__}; nothing was drawn.*GraphMachine"
    with pytest.raises(ConfigurationError, match=said):
        draw(theirs)
