"""What is promised holds in every world of the small scopes; what counts as one world may count as one."""

import attrs
import pytest

from twitor_fsm import MachineSpec, prove
from twitor_fsm.core.checking.atlas import Atlas
from twitor_fsm.core.checking.deciding import Decisions
from twitor_fsm.core.checking.normal import Normal
from twitor_fsm.core.checking.proof import Verdict
from twitor_fsm.core.checking.scope import SMALL, Scope
from twitor_fsm.core.checking.shell import Shell
from twitor_fsm.core.checking.world import Work
from twitor_fsm.core.states import DEFAULT_SPEC
from twitor_fsm.core.values import SessionValue
from twitor_fsm.machine import machine_for

IDLE_CELLS = {
    # Only a bug, or an event that an app posts, comes while a session is paused.
    "auth_failed: paused_rate_limit -> aborting",
    "fatal_failed: paused_rate_limit -> shutting_down",
    # While a session ends, nothing but a cancel and an app's events come out of the inbox.
    *(
        f"{trigger}: absorbed in {state}"
        for trigger in (
            "item_skipped",
            "network_failed",
            "rate_limited",
            "auth_failed",
            "fatal_failed",
            "store_failed",
        )
        for state in ("aborting", "shutting_down")
    ),
}
"""Cells of the table that no world takes, with the reason why they are there all the same."""


def test_everything_holds_in_every_world_of_the_small_scopes() -> None:
    proof = prove()

    assert proof.finding is None
    assert set(proof.verdicts.values()) == {Verdict.HOLDS}
    assert proof.verdicts.keys() == proof.sentences.keys()
    assert len(proof.verdicts) == 19
    assert proof.unreached == ()
    assert set(proof.dead) == IDLE_CELLS
    assert [explored.scope for explored in proof.explored] == list(SMALL)
    for explored in proof.explored:
        assert explored.edges > 3 * explored.worlds > 10_000, explored.scope.name


# -- the reduction --------------------------------------------------------------------------------

Key = tuple[SessionValue | None, SessionValue | None, Work, int]


def worlds(scope: Scope, spec: MachineSpec = DEFAULT_SPEC) -> set[Key]:
    """Every world that can be reached, by value, in the normal form of the reduced scope."""
    shell = Shell(scope, spec, Decisions(step=machine_for(spec).step), ())
    atlas, normal = Atlas(shell), Normal(attrs.evolve(scope, reduced=True))
    for number, code in enumerate(atlas.codes):
        atlas.note(number, shell.edges(code))
    values, works = shell.decider.values, shell.crawl.works
    return {
        (
            values[session] if session >= 0 else None,
            values[row] if row >= 0 else None,
            normal(works[work]),
            flags,
        )
        for session, row, work, flags in atlas.codes
    }


@pytest.mark.parametrize(
    "scope",
    [
        Scope(
            name="a page",
            sentence="skips within one page",
            items=3,
            page_sizes=(3,),
            checkpoint_every=3,
            max_retries=0,
        ),
        Scope(
            name="a run",
            sentence="a run of skips over pages",
            items=4,
            page_sizes=(2, 1),
            checkpoint_every=1,
            max_retries=0,
            max_skips_in_a_row=3,
        ),
    ],
    ids=lambda scope: scope.name,
)
def test_the_reduced_scope_has_the_worlds_of_the_exact_one(scope: Scope) -> None:
    exact, reduced = worlds(scope), worlds(attrs.evolve(scope, reduced=True))

    assert len(exact) > 500
    assert exact == reduced
