"""The explorer: what is promised holds for every error sequence, and a known-bad variant of anything is found out."""

from functools import cache

import pytest
from planted_core import PLANTED

from twitor_fsm import prove
from twitor_fsm.core.checking.proof import Proof, Verdict
from twitor_fsm.core.checking.scope import FULL, SMALL, Scope

CAUGHT = {
    "pause_without_save": ("handler", "paused_is_durable"),
    "auth_saves": ("handler", "auth_writes_nothing"),
    "fatal_drops_work": ("handler", "checkpoints_are_written"),
    "retries_not_reset": ("handler", "every_operation_has_its_tries"),
    "cancel_swallowed": ("handler", "cancel_is_honoured"),
    "restart_ends_pause": ("handler", "waits_are_waited_out"),
    "event_refused": ("handler", "no_event_is_refused"),
    "final_left": ("handler", "final_is_final"),
    "tries_unbounded": ("handler", "tries_are_bounded"),
    "gives_up_early": ("handler", "every_operation_has_its_tries"),
    "auth_is_retried": ("handler", "tries_are_bounded"),
    "pause_not_waited_out": ("handler", "waits_are_waited_out"),
    "backoff_ignored": ("handler", "waits_are_waited_out"),
    "closed_source_asked": ("handler", "waits_are_waited_out"),
    "no_checkpoint_within_a_page": ("handler", "little_is_at_risk"),
    "retry_never_due": ("tokens", "ends_when_faults_stop"),
    "cleanup_waits_for_an_event": ("loop", "ends_when_faults_stop"),
    "checkpoint_before_items": ("handler", "checkpoint_names_durable_items"),
    "skip_not_recorded": ("handler", "counts_add_up"),
    "end_believed": ("tokens", "completed_is_complete"),
    "counted_twice": ("handler", "counts_add_up"),
    "known_stored_again": ("handler", "nothing_is_stored_twice"),
    "resumed_walk_trusted": ("arrivals", "completed_is_complete"),
}
"""Planted fault -> the scope and the invariant that find it out."""


def scope(name: str) -> Scope:
    (found,) = [each for each in (*SMALL, *FULL) if each.name == name]
    return found


@cache
def small_proof() -> Proof:
    return prove()


def test_everything_holds_in_every_world_of_the_small_scopes() -> None:
    proof = small_proof()

    assert proof.finding is None
    assert proof.holds
    assert set(proof.verdicts.values()) == {Verdict.HOLDS}
    assert len(proof.verdicts) == len(proof.sentences) >= 18


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_out(name: str) -> None:
    where, invariant = CAUGHT[name]

    proof = prove(scopes=[scope(where)], **PLANTED[name][1]())

    assert proof.finding is not None
    assert proof.finding.name == invariant
    assert proof.verdicts[invariant] is Verdict.VIOLATED
