"""The explorer: a known-bad variant of anything is found out, on a shortest way, and told in one line."""

import attrs
import pytest
from planted_core import PLANTED

from twitor_fsm import Invariant, MachineSpec, Scope, World, prove
from twitor_fsm.core import plan as ops
from twitor_fsm.core.checking import proof as proofs
from twitor_fsm.core.checking.books import written
from twitor_fsm.core.checking.crawl import Crawl
from twitor_fsm.core.checking.normal import Normal
from twitor_fsm.core.checking.scope import FULL, SMALL
from twitor_fsm.core.checking.story import Moment, Story
from twitor_fsm.core.checking.world import Durable, Kept, Work
from twitor_fsm.core.listing import End, Known, Mark, Run, Sighting, Verdict
from twitor_fsm.core.page import Entry, PageInHand, Status
from twitor_fsm.core.progress import Rules, begin
from twitor_fsm.core.spec import Row, StateDef
from twitor_fsm.core.states import DEFAULT_SPEC, endings
from twitor_fsm.core.words import Durability, Effect, Kind, State, Trigger
from twitor_fsm.errors import SpecError

CAUGHT = {
    "pause_without_save": ("handler", "paused_is_durable"),
    "auth_saves": ("handler", "auth_writes_nothing"),
    "fatal_drops_work": ("handler", "checkpoints_are_written"),
    "retries_not_reset": ("handler", "every_operation_has_its_tries"),
    "pause_gives_tries_back": ("handler", "every_operation_has_its_tries"),
    "cancel_swallowed": ("handler", "cancel_is_honoured"),
    "restart_ends_pause": ("handler", "waits_are_waited_out"),
    "event_refused": ("handler", "no_event_is_refused"),
    "final_left": ("tiny", "final_is_final"),
    "tries_unbounded": ("handler", "tries_are_bounded"),
    "gives_up_early": ("handler", "every_operation_has_its_tries"),
    "auth_is_retried": ("handler", "tries_are_bounded"),
    "pause_not_waited_out": ("handler", "waits_are_waited_out"),
    "backoff_ignored": ("handler", "waits_are_waited_out"),
    "closed_source_asked": ("handler", "waits_are_waited_out"),
    "no_checkpoint_within_a_page": ("handler", "little_is_at_risk"),
    "retry_never_due": ("tiny", "ends_when_faults_stop"),
    "cleanup_waits_for_an_event": ("tiny", "ends_when_faults_stop"),
    "checkpoint_before_items": ("handler", "checkpoint_names_durable_items"),
    "skip_not_recorded": ("handler", "counts_add_up"),
    "end_believed": ("tokens", "checkpoint_names_durable_items"),
    "counted_twice": ("handler", "counts_add_up"),
    "known_stored_again": ("handler", "nothing_is_stored_twice"),
    "resumed_walk_trusted": ("arrivals", "completed_is_complete"),
}
"""Planted fault -> the scope and the invariant that find it out."""

TINY = Scope(
    name="tiny",
    sentence="one item",
    items=1,
    page_sizes=(1,),
    checkpoint_every=1,
    max_retries=1,
)


def scope(name: str) -> Scope:
    (found,) = [each for each in (TINY, *SMALL, *FULL) if each.name == name]
    return found


def test_every_planted_fault_is_expected_somewhere() -> None:
    assert set(CAUGHT) == set(PLANTED)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_out(name: str) -> None:
    where, invariant = CAUGHT[name]

    proof = prove(scopes=[scope(where)], **PLANTED[name][1]())

    assert proof.finding is not None
    assert proof.finding.name == invariant
    assert proof.verdicts[invariant] is proofs.Verdict.VIOLATED
    assert not proof.holds


def test_a_skip_that_is_written_before_its_item_is_refused() -> None:
    rows = tuple(
        attrs.evolve(row, durability=Durability.AT_ONCE)
        if row.trigger == Trigger.ITEM_SKIPPED
        else row
        for row in DEFAULT_SPEC.rows
    )
    with pytest.raises(SpecError, match=r"row item_skipped: .* has to ride"):
        prove(attrs.evolve(DEFAULT_SPEC, rows=rows), scopes=[TINY])


@pytest.mark.parametrize("tries", [0, 1, 3])
def test_tries_never_exceed_max_retries(tries: int) -> None:
    proof = prove(scopes=[attrs.evolve(TINY, max_retries=tries)])

    assert proof.holds
    assert proof.verdicts["tries_are_bounded"] is proofs.Verdict.HOLDS


def test_the_way_to_a_fault_is_a_shortest_one() -> None:
    proof = prove(scopes=[scope("arrivals")], **PLANTED["resumed_walk_trusted"][1]())

    assert proof.finding is not None
    assert str(proof.finding.story) == (
        "start, fetch page 1, look up, commit, fetch page 1, look up, commit, death, a bookmark is added, restart, "
        "fetch from item 3, look up, finish"
    )
    assert str(proof.finding).startswith("completed_is_complete (completed: every item")


def test_exploration_stops_at_the_first_violation() -> None:
    proof = prove(scopes=[TINY, scope("tokens")], **PLANTED["auth_saves"][1]())

    assert [explored.scope.name for explored in proof.explored] == ["tiny"]
    assert proof.verdicts["completed_is_complete"] is proofs.Verdict.OPEN


def test_an_invariant_of_ones_own_is_asked_in_every_world() -> None:
    def holds(world: World) -> bool:
        return world.session is None or world.session.tries == 0

    never = Invariant(name="no_retries", sentence="nothing is ever tried again", of_world=holds)

    proof = prove(invariants=[never], scopes=[TINY])

    assert proof.finding is not None
    assert (proof.finding.name, str(proof.finding.story)) == (
        "no_retries", "start, fetch page 1: NETWORK",
    )  # fmt: skip
    assert proof.sentences["no_retries"] == "nothing is ever tried again"


def on_hold(*more: Row) -> MachineSpec:
    """Our machine, with a state of an app's own: crawling is on hold until the app says so."""
    return DEFAULT_SPEC.extend(
        states=[StateDef("on_hold", Kind.WAITING)],
        rows=[
            Row("hold", (State.RUNNING,), "on_hold", (Effect.SAVE_CHECKPOINT,)),
            Row("go_on", ("on_hold",), State.RUNNING, durability=Durability.RIDES),
            *endings("on_hold"),
            *more,
        ],
    )


def test_a_machine_of_ones_own_is_explored_with_its_own_events() -> None:
    proof = prove(on_hold(), scopes=[TINY])

    assert proof.finding is None
    assert proof.unreached == ()
    assert not [cell for cell in proof.dead if "hold" in cell and "failed" not in cell]


def test_a_cancel_that_an_extended_machine_swallows_is_found_out() -> None:
    deaf = MachineSpec(
        states=on_hold().states,
        initial=State.RUNNING,
        rows=tuple(
            attrs.evolve(row, target=None, durability=Durability.RIDES)
            if row.trigger == Trigger.CANCEL and row.sources == ("on_hold",)
            else row
            for row in on_hold().rows
        ),
        absorbs=DEFAULT_SPEC.absorbs,
    )

    proof = prove(deaf, scopes=[TINY])

    assert proof.finding is not None
    assert (proof.finding.name, str(proof.finding.story)) == (
        "cancel_is_honoured", "start, hold, cancel, cancel",
    )  # fmt: skip


def test_worlds_without_end_are_noticed() -> None:
    proof = prove(scopes=[TINY], most_worlds=50)

    assert proof.finding is not None
    assert proof.finding.name == "worlds_are_finite"


def test_each_scope_is_told_as_soon_as_it_is_explored() -> None:
    told: list[str] = []

    proof = prove(scopes=[TINY], told=lambda explored: told.append(explored.scope.name))

    assert told == ["tiny"]
    assert (proof.worlds, proof.edges) == (proof.explored[0].worlds, proof.explored[0].edges)


def test_no_scope_proves_nothing() -> None:
    proof = prove(scopes=[])

    assert (proof.worlds, proof.explored) == (0, ())
    assert set(proof.unreached) == {str(state.name) for state in DEFAULT_SPEC.states}


# -- stories --------------------------------------------------------------------------------------


def story(*whats: str) -> Story:
    return Story(tuple(Moment(what, "running", 1) for what in whats))


@pytest.mark.parametrize(
    ("whats", "told"),
    [
        (("handle item 1",), "handle item 1"),
        (("handle item 1", "handle item 2", "handle item 3"), "handle items 1-3"),
        (("handle item 1", "handle item 3"), "handle item 1, handle item 3"),
        (("handle item 1", "handle item 2", "commit", "handle item 3"), "handle items 1-2, commit, handle item 3"),
        (("handle item 1: NETWORK", "handle item 1"), "handle item 1: NETWORK, handle item 1"),
        ((), "from the very start"),
    ],
)  # fmt: skip
def test_a_story_is_one_line(whats: tuple[str, ...], told: str) -> None:
    assert str(story(*whats)) == told


def test_a_story_names_what_went_wrong() -> None:
    assert story("start", "fetch page 1: NETWORK", "commit", "death").errors == (
        "fetch page 1: NETWORK, death"
    )
    assert story("start", "commit").errors == "nothing"


def test_a_story_is_drawn_as_a_flow_chart() -> None:
    told = Story((Moment("start", "running", 0), Moment("fetch page 1: NETWORK", None, 2)))

    assert told.mermaid() == (
        "flowchart TD\n"
        '    m0(["nothing yet"])\n'
        '    m1["running<br/>0 safe"]\n'
        '    m0 -->|"start"| m1\n'
        '    m2["no process<br/>2 safe"]\n'
        '    m1 -->|"fetch page 1#58; NETWORK"| m2\n'
    )


# -- parts ----------------------------------------------------------------------------------------


def test_a_table_without_a_row_for_a_fatal_error_is_found_out() -> None:
    rows = tuple(row for row in DEFAULT_SPEC.rows if row.trigger != Trigger.FATAL_FAILED)
    spec = MachineSpec(
        states=DEFAULT_SPEC.states,
        initial=DEFAULT_SPEC.initial,
        rows=rows,
        absorbs=DEFAULT_SPEC.absorbs,
    )

    proof = prove(spec, scopes=[TINY])

    assert proof.finding is not None
    assert (proof.finding.name, str(proof.finding.story)) == (
        "no_event_is_refused", "start, fetch page 1: VALIDATION",
    )  # fmt: skip


def test_a_plan_that_ends_too_early_is_found_out() -> None:
    proof = prove(scopes=[TINY], plan=lambda *_, **__: ops.Plan(ops.End()))

    assert proof.finding is not None
    assert proof.finding.name == "ends_when_faults_stop"


def test_a_store_failure_that_needs_the_store_breaks_the_session() -> None:
    rows = tuple(
        attrs.evolve(row, durability=Durability.AT_ONCE)
        if row.trigger == Trigger.STORE_FAILED
        else row
        for row in DEFAULT_SPEC.rows
    )
    spec = MachineSpec(
        states=DEFAULT_SPEC.states,
        initial=DEFAULT_SPEC.initial,
        rows=rows,
        absorbs=DEFAULT_SPEC.absorbs,
    )

    proof = prove(spec, scopes=[TINY])

    assert proof.finding is not None
    assert proof.finding.name == "ends_without_store"


def test_walks_are_numbered_anew_in_their_order() -> None:
    page = PageInHand(
        ("0",),
        frozenset(),
        "1",
        End.MORE,
        entries=(Entry("0", Status.NEW, 0, counts=True),),
        sighting=Sighting((4, 7), 0),
        verdict=Verdict(Mark(walk=9), caught_up_at=(4, 7)),
    )
    progress = attrs.evolve(
        begin(None, rules=Rules(), ordinal=1),
        mark=Mark(walk=9, under_way=True),
        page=page,
        run=Run(3, (4, 6)),
    )
    durable = Durable((Kept(stored=True, walk=4, position=6),), Mark(walk=9, under_way=True))
    listing = Scope(
        name="long", sentence="", items=25, page_sizes=(5,), checkpoint_every=5, max_retries=0
    )

    found = Normal(listing)(Work(progress, durable)).progress

    assert found is not None
    assert found.page is not None
    assert found.page.sighting is not None
    assert found.page.verdict is not None
    assert (found.mark.walk, found.run.last) == (2, (1, 6))
    assert found.page.sighting.place == (1, 7)
    assert (found.page.verdict.mark.walk, found.page.verdict.caught_up_at) == (2, (1, 7))


def test_work_without_a_process_has_nothing_in_memory() -> None:
    crawl = Crawl(TINY, begin)

    with pytest.raises(AssertionError, match="no process is at it"):
        crawl.closed_until(crawl.first())


def test_the_books_note_nothing_of_an_item_that_has_no_row() -> None:
    nothing = Durable((Kept(), Kept()))
    progress = begin(None, rules=Rules(), ordinal=1)
    page = progress.fetched(("0", "1", "0"), next_cursor="2", end=End.MORE)
    listed = page.looked_up({"0": Known(stored=True)})

    after = written(nothing, listed, listed.save(), due=("0", "1"))

    assert after.items == (Kept(), Kept(skipped=True, due=True, walk=1, position=1, met=True))
